//! The rings against a real kernel: what one ring sends over a veth pair, the other receives, and
//! what the kernel says about links, tags and checksums comes through.
//!
//! Each story runs on a thread of its own in a network namespace of its own, which ends with the
//! thread. That takes root; without it the stories say `skipped:`, or fail where `CI` is set.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure is a panic")]

use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use lessee_engine::device::{Device, Flushed, LinkFault, Meta, VlanTag};
use lessee_engine::ring::{FilterSpec, PacketRing, RingConfig, RingError, RxMode, TxMode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};

/// How long a frame may take over a veth pair before a story fails.
const PATIENCE: Duration = Duration::from_secs(5);

// ---------------------------------------------------------------------------------------------
// Stories
// ---------------------------------------------------------------------------------------------

#[test]
fn a_frame_arrives_byte_for_byte() {
    in_each_mode("a_frame_arrives_byte_for_byte", |modes| {
        let (mut left, mut right) = modes.pair();
        for len in [300, 342, 576, 1514] {
            let frame = dhcp(&[], 68, len);
            assert_eq!(send(&mut left, &[&frame]), sent(1));
            let (bytes, meta) = next(&mut right);
            assert_eq!(bytes, frame);
            assert_eq!(meta, Meta { timestamp: meta.timestamp, ..Meta::plain(len) });
            assert!(meta.timestamp > 1_700_000_000_000_000_000, "{}", meta.timestamp);
        }
        assert_eq!(left.receive(|_| ()), None, "a ring does not hear itself");
        assert_eq!(right.senseless_slots(), 0);
    });
}

#[test]
fn many_frames_arrive_in_order() {
    in_each_mode("many_frames_arrive_in_order", |modes| {
        let (mut left, mut right) = modes.pair();
        // More than both rings hold, so that every slot is used again.
        for round in 0..40_u8 {
            let frames: Vec<Vec<u8>> = (0..20).map(|i| numbered(round, i)).collect();
            let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            assert_eq!(send(&mut left, &frames), sent(20));
            for frame in frames {
                assert_eq!(next(&mut right).0, frame);
            }
        }
        let statistics = right.statistics();
        assert_eq!((statistics.received, statistics.dropped), (800, 0));
    });
}

#[test]
fn a_tag_that_we_write_arrives_in_the_metadata() {
    in_each_mode("a_tag_that_we_write_arrives_in_the_metadata", |modes| {
        let (mut left, mut right) = modes.pair();
        let untagged = dhcp(&[], 68, 342);
        for tag in [(0x8100, 0xa00a), (0x8100, 0), (0x88a8, 0x0fff)] {
            assert_eq!(send(&mut left, &[&dhcp(&[tag], 68, 346)]), sent(1));
            let (bytes, meta) = next(&mut right);
            assert_eq!(meta.vlan, Some(VlanTag { tpid: tag.0, tci: tag.1 }));
            assert_eq!(bytes, untagged, "the tag is not in the bytes");
        }
        // The longest frame there is: 1500 bytes, header and one tag.
        assert_eq!(send(&mut left, &[&dhcp(&[(0x8100, 5)], 68, 1518)]), sent(1));
        assert_eq!(next(&mut right).1.wire_len, 1514);
    });
}

#[test]
fn of_two_tags_the_outer_is_metadata_and_the_inner_inline() {
    in_each_mode("of_two_tags_the_outer_is_metadata_and_the_inner_inline", |modes| {
        let (mut left, mut right) = modes.pair();
        let frame = dhcp(&[(0x88a8, 100), (0x8100, 0x6007)], 68, 350);
        assert_eq!(send(&mut left, &[&frame]), sent(1));
        let (bytes, meta) = next(&mut right);
        assert_eq!(meta.vlan, Some(VlanTag { tpid: 0x88a8, tci: 100 }));
        assert_eq!(bytes, dhcp(&[(0x8100, 0x6007)], 68, 346));
    });
}

#[test]
fn other_traffic_is_not_received() {
    in_each_mode("other_traffic_is_not_received", |modes| {
        let (mut left, mut right) = modes.pair();
        let mut tcp = dhcp(&[], 68, 342);
        tcp[23] = 6;
        let mut ipv6 = dhcp(&[], 68, 342);
        ipv6[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
        let mut fragment = dhcp(&[], 68, 342);
        fragment[21] = 10;
        let (dns, server) = (dhcp(&[], 53, 342), dhcp(&[], 67, 342));
        let (client, arp) = (dhcp(&[], 68, 342), arp());
        let frames: [&[u8]; 7] = [&tcp, &ipv6, &fragment, &dns, &server, &client, &arp];
        assert_eq!(send(&mut left, &frames), sent(7));
        assert_eq!(next(&mut right).0, client);
        assert_eq!(next(&mut right).0, arp);
        assert_eq!(right.statistics().received, 2, "the others never reached the ring");
    });
}

#[test]
fn the_filter_is_by_role() {
    in_each_mode("the_filter_is_by_role", |modes| {
        let (mut left, _) = modes.pair();
        let filter = FilterSpec { client: false, server: true, arp: false };
        let mut right = modes.open(RingConfig { filter, ..modes.config("right") });
        let server = dhcp(&[], 67, 342);
        let frames: [&[u8]; 3] = [&dhcp(&[], 68, 342), &arp(), &server];
        assert_eq!(send(&mut left, &frames), sent(3));
        assert_eq!(next(&mut right).0, server);
        assert_eq!(right.statistics().received, 1);
    });
}

#[test]
fn a_checksum_left_to_hardware_is_flagged() {
    in_each_mode("a_checksum_left_to_hardware_is_flagged", |modes| {
        let (mut left, mut right) = modes.pair();
        ip("address add 192.0.2.1/24 broadcast 192.0.2.255 dev left");
        let socket = std::net::UdpSocket::bind("192.0.2.1:67").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(&[7; 300], "192.0.2.255:68").unwrap();
        let is_udp = |bytes: &[u8]| bytes[12..14] == [8, 0];
        let meta = next_that(&mut right, is_udp).1;
        assert!(!meta.checksum_ready, "{meta:?}");
        assert_eq!(send(&mut left, &[&dhcp(&[], 68, 342)]), sent(1));
        assert!(next_that(&mut right, is_udp).1.checksum_ready, "ours is complete");
    });
}

#[test]
fn overflow_is_counted() {
    in_each_mode("overflow_is_counted", |modes| {
        let (mut left, _) = modes.pair();
        let mut right = modes.open(RingConfig { rx_bytes: 1, ..modes.config("right") });
        let frame = dhcp(&[], 68, 1514);
        for _ in 0..20 {
            assert_eq!(send(&mut left, &[frame.as_slice(); 10]), sent(10));
        }
        let mut received = 0;
        while wait(&right, Duration::from_millis(50)) {
            while right.receive(|frame| assert_eq!(frame.bytes.len(), 1514)).is_some() {
                received += 1;
            }
        }
        let statistics = right.statistics();
        assert_eq!(statistics.received, 200);
        assert!(statistics.dropped > 100, "{statistics:?}");
        assert_eq!(statistics.dropped + received, 200);
        assert_eq!(right.statistics(), statistics, "totals stay");
        // And it goes on.
        assert_eq!(send(&mut left, &[&frame]), sent(1));
        assert_eq!(next(&mut right).0, frame);
    });
}

#[test]
fn a_frame_that_the_kernel_refuses_does_not_stop_the_others() {
    in_each_mode("a_frame_that_the_kernel_refuses_does_not_stop_the_others", |modes| {
        let (_, mut right) = modes.pair();
        // The ring believes in a larger MTU than there is, so the kernel has to refuse.
        let config = RingConfig { mtu: 9000, datagram_bytes: 9000, ..modes.config("left") };
        let mut left = modes.open(config);
        let (long, good): (_, Vec<_>) =
            (dhcp(&[], 68, 3000), (0..3).map(|i| numbered(0, i)).collect());
        for _ in 0..30 {
            let frames: [&[u8]; 6] = [&long, &good[0], &long, &good[1], &good[2], &long];
            assert_eq!(send(&mut left, &frames), Flushed { sent: 3, failed: 3, pending: 0 });
            for frame in &good {
                assert_eq!(&next(&mut right).0, frame);
            }
        }
        assert_eq!(left.take_fault(), None);
    });
}

#[test]
fn a_frame_that_cannot_be_sent_is_refused_at_once() {
    in_each_mode("a_frame_that_cannot_be_sent_is_refused_at_once", |modes| {
        let (mut left, mut right) = modes.pair();
        let frames: [&[u8]; 5] = [
            &dhcp(&[], 68, 1515),
            &dhcp(&[], 68, 1518),
            &dhcp(&[(0x88a8, 5)], 68, 1518),
            &[0; 13],
            &dhcp(&[], 68, 400),
        ];
        assert_eq!(send(&mut left, &frames), Flushed { sent: 1, failed: 4, pending: 0 });
        assert_eq!(next(&mut right).0, frames[4]);
        assert_eq!(left.flush(), Flushed::default());
    });
}

#[test]
fn a_full_ring_has_no_slot_until_it_is_flushed() {
    in_each_mode("a_full_ring_has_no_slot_until_it_is_flushed", |modes| {
        let (_, mut right) = modes.pair();
        let mut left = modes.open(RingConfig { tx_frames: 4, ..modes.config("left") });
        for round in 0..5 {
            let frames: Vec<_> = (0..4).map(|i| numbered(round, i)).collect();
            for frame in &frames {
                put(&mut left, frame);
            }
            assert!(left.acquire().is_none());
            assert_eq!(left.flush(), sent(4));
            for frame in &frames {
                assert_eq!(&next(&mut right).0, frame);
            }
        }
    });
}

#[test]
fn a_link_that_goes_down_is_reported_and_comes_back() {
    in_each_mode("a_link_that_goes_down_is_reported_and_comes_back", |modes| {
        let (mut left, mut right) = modes.pair();
        let frame = dhcp(&[], 68, 342);
        assert_eq!(left.take_fault(), None);
        ip("link set left down");
        assert!(has_error(&left), "epoll hears of it");
        assert_eq!(left.take_fault(), Some(LinkFault::Down));
        assert_eq!(left.take_fault(), None, "once");
        let refused = Flushed { sent: 0, failed: 3, pending: 0 };
        assert_eq!(send(&mut left, &[frame.as_slice(); 3]), refused);
        assert_eq!(left.take_fault(), None, "nothing new");
        bring_up("left");
        for round in 0..3 {
            // Nothing stale goes out first.
            let frame = numbered(round, 0);
            assert_eq!(send(&mut left, &[&frame]), sent(1));
            assert_eq!(next(&mut right).0, frame);
            assert_eq!(send(&mut right, &[&frame]), sent(1));
            assert_eq!(next(&mut left).0, frame);
        }
        assert_eq!(left.take_fault(), None);
        // A send that meets the fault first reports it all the same.
        ip("link set left down");
        assert_eq!(send(&mut left, &[frame.as_slice(); 3]), refused);
        assert_eq!(left.take_fault(), Some(LinkFault::Down));
    });
}

#[test]
fn a_flap_loses_nothing_that_is_sent_after_it() {
    in_each_mode("a_flap_loses_nothing_that_is_sent_after_it", |modes| {
        let (mut left, mut right) = modes.pair();
        ip("link set left down");
        bring_up("left");
        // The error of the flap is still in the socket; the frames go out nevertheless.
        let frame = dhcp(&[], 68, 342);
        assert_eq!(send(&mut left, &[frame.as_slice(); 3]), sent(3));
        assert_eq!(left.take_fault(), Some(LinkFault::Down));
        assert_eq!(left.take_fault(), None);
        assert_eq!(next(&mut right).0, frame);
    });
}

#[test]
fn an_interface_that_is_removed_is_reported_as_gone() {
    in_each_mode("an_interface_that_is_removed_is_reported_as_gone", |modes| {
        let (mut left, mut right) = modes.pair();
        ip("link delete left");
        assert!(has_error(&left));
        assert_eq!(left.take_fault(), Some(LinkFault::Gone));
        assert_eq!(left.take_fault(), None, "once");
        let frame = dhcp(&[], 68, 342);
        let refused = Flushed { sent: 0, failed: 2, pending: 0 };
        assert_eq!(send(&mut left, &[frame.as_slice(); 2]), refused);
        assert_eq!(left.take_fault(), None);
        // Its peer went with it: there a send meets it first.
        assert_eq!(send(&mut right, &[frame.as_slice(); 2]), refused);
        assert_eq!(right.take_fault(), Some(LinkFault::Gone));
        // A new interface of the same name is another interface.
        make_links();
        assert_eq!(left.take_fault(), None);
        let (mut left, mut right) = modes.pair();
        assert_eq!(send(&mut left, &[&frame]), sent(1));
        assert_eq!(next(&mut right).0, frame);
    });
}

#[test]
fn down_first_and_gone_later_are_both_reported() {
    in_each_mode("down_first_and_gone_later_are_both_reported", |modes| {
        let (mut left, _) = modes.pair();
        ip("link set left down");
        assert_eq!(left.take_fault(), Some(LinkFault::Down));
        ip("link delete left");
        assert_eq!(left.take_fault(), Some(LinkFault::Gone));
        assert_eq!(left.take_fault(), None);
    });
}

#[test]
fn a_ring_may_be_opened_while_the_link_is_down() {
    in_each_mode("a_ring_may_be_opened_while_the_link_is_down", |modes| {
        ip("link set left down");
        let (mut left, mut right) = modes.pair();
        assert_eq!(left.take_fault(), Some(LinkFault::Down));
        bring_up("left");
        let frame = dhcp(&[], 68, 342);
        assert_eq!(send(&mut right, &[&frame]), sent(1));
        assert_eq!(next(&mut left).0, frame);
    });
}

#[test]
fn promiscuous_mode_lasts_as_long_as_the_ring() {
    in_each_mode("promiscuous_mode_lasts_as_long_as_the_ring", |modes| {
        let promiscuity = || ip("-details link show left").contains("promiscuity 1");
        let ring = modes.open(RingConfig { promiscuous: true, ..modes.config("left") });
        assert!(promiscuity());
        drop(ring);
        assert!(!promiscuity());
    });
}

#[test]
fn qdisc_bypass_sends_too() {
    in_each_mode("qdisc_bypass_sends_too", |modes| {
        let (_, mut right) = modes.pair();
        let mut left = modes.open(RingConfig { qdisc_bypass: true, ..modes.config("left") });
        let frame = dhcp(&[], 68, 342);
        assert_eq!(send(&mut left, &[&frame]), sent(1));
        assert_eq!(next(&mut right).0, frame);
    });
}

#[test]
fn a_wrong_interface_is_refused_by_name() {
    in_namespace("a_wrong_interface_is_refused_by_name", || {
        let open = |interface, mtu| PacketRing::open(&RingConfig::new(interface, mtu)).unwrap_err();
        assert!(matches!(open(999_999, 1500), RingError::NoInterface { interface: 999_999 }));
        assert!(matches!(open(0, 1500), RingError::NoInterface { interface: 0 }));
        match open(index("lo"), 1500) {
            RingError::NotEthernet { interface, hardware_type: 772 } => assert_eq!(interface, "lo"),
            other => panic!("{other}"),
        }
        let error = open(index("left"), 575);
        assert!(matches!(error, RingError::MtuTooSmall { mtu: 575, .. }), "{error}");
        let none = RingConfig { tx_frames: 0, ..RingConfig::new(index("left"), 1500) };
        let error = PacketRing::open(&none).unwrap_err();
        assert!(matches!(error, RingError::Size { field: "tx_frames", .. }), "{error}");
    });
}

/// A second program, in a user namespace that does not own this network namespace, has no
/// capability here, whoever it is there.
#[test]
fn without_the_capability_the_error_says_so() {
    const CHILD: &str = "LESSEE_RING_WITHOUT_CAPABILITY";
    if std::env::var_os(CHILD).is_some() {
        let error = PacketRing::open(&RingConfig::new(index("lo"), 1500)).unwrap_err();
        assert!(matches!(error, RingError::Permission { .. }), "{error:?}");
        assert!(error.to_string().contains("interface lo needs CAP_NET_RAW"), "{error}");
        return;
    }
    in_namespace("without_the_capability_the_error_says_so", || {
        let child = Command::new("unshare")
            .args(["--user", "--map-root-user"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "without_the_capability_the_error_says_so", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("unshare of util-linux");
        let text = String::from_utf8_lossy(&child.stderr);
        if text.contains("unshare failed") {
            lessee_tests::skipped("without_the_capability_the_error_says_so", &text);
        } else {
            assert!(child.status.success(), "{text}");
        }
    });
}

// ---------------------------------------------------------------------------------------------
// Namespaces, rings, frames
// ---------------------------------------------------------------------------------------------

/// One combination of receive and transmit modes.
#[derive(Clone, Copy, Debug)]
struct Modes {
    rx: RxMode,
    tx: TxMode,
}

impl Modes {
    fn config(self, name: &str) -> RingConfig {
        RingConfig { rx: self.rx, tx: self.tx, ..RingConfig::new(index(name), 1500) }
    }

    fn open(self, config: RingConfig) -> PacketRing {
        PacketRing::open(&config).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// A ring at each end of the veth pair.
    fn pair(self) -> (PacketRing, PacketRing) {
        (self.open(self.config("left")), self.open(self.config("right")))
    }
}

/// Runs the story in all four modes, each in a namespace of its own with a veth pair.
fn in_each_mode(name: &str, story: fn(Modes)) {
    for rx in [RxMode::V2, RxMode::V3 { block_timeout_ms: 1 }] {
        for tx in [TxMode::SendMmsg, TxMode::Ring] {
            in_namespace(name, move || {
                eprintln!("{rx:?} {tx:?}");
                story(Modes { rx, tx });
            });
        }
    }
}

/// Runs the story on a thread in a network namespace with a veth pair, `left` and `right`.
fn in_namespace(name: &str, story: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        make_links();
        story();
        Ok::<_, nix::Error>(())
    });
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            lessee_tests::skipped(name, &format!("no network namespace: {error} (root needed)"))
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn make_links() {
    ip("link add left type veth peer name right");
    // No ARP of the kernel's own; its IPv6 does not pass the filter. So every frame that a ring
    // receives is one that a story sent.
    ip("link set left up arp off");
    bring_up("right arp off");
}

/// Sets the link up, and waits until the kernel says so of both. Until then a device that had no
/// carrier drops what is sent, and reports success: its queue is taken away with the carrier, and
/// comes back with the state (`linkwatch_do_dev`), a little later than the carrier.
fn bring_up(link: &str) {
    ip(&format!("link set {link} up"));
    let deadline = Instant::now() + PATIENCE;
    while ip("-oneline link show type veth").lines().any(|line| !line.contains(" state UP ")) {
        assert!(Instant::now() < deadline, "the links do not come up");
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn index(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

fn sent(frames: u32) -> Flushed {
    Flushed { sent: frames, failed: 0, pending: 0 }
}

fn put(ring: &mut PacketRing, frame: &[u8]) {
    let slot = ring.acquire().expect("a free slot");
    let len = frame.len().min(slot.len());
    slot[..len].copy_from_slice(&frame[..len]);
    ring.commit(frame.len());
}

fn send(ring: &mut PacketRing, frames: &[&[u8]]) -> Flushed {
    for frame in frames {
        put(ring, frame);
    }
    ring.flush()
}

/// Waits until the ring is readable.
fn wait(ring: &PacketRing, limit: Duration) -> bool {
    let mut fds = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(limit).unwrap()).unwrap() > 0
}

fn has_error(ring: &PacketRing) -> bool {
    let mut fds = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap();
    fds[0].revents().unwrap().contains(PollFlags::POLLERR)
}

fn next(ring: &mut PacketRing) -> (Vec<u8>, Meta) {
    next_that(ring, |_| true)
}

/// The next frame that `wanted` is true of; the others are dropped.
fn next_that(ring: &mut PacketRing, wanted: fn(&[u8]) -> bool) -> (Vec<u8>, Meta) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let frame = ring.receive(|frame| (frame.bytes.to_vec(), frame.meta));
        match frame {
            Some(frame) if wanted(&frame.0) => return frame,
            Some(_) => {}
            None => {
                wait(ring, PATIENCE);
            }
        }
        assert!(Instant::now() < deadline, "no frame in {PATIENCE:?}");
    }
}

/// A frame of `len` bytes: tags, IPv4, UDP from port 67 to `port`, and a pattern.
fn dhcp(tags: &[(u16, u16)], port: u16, len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1]);
    for (tpid, tci) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    let total = len - frame.len() - 2;
    frame.extend([8, 0, 0x45, 0]);
    frame.extend(u16::try_from(total).unwrap().to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 255, 255, 255, 255, 0, 67]);
    frame.extend(port.to_be_bytes());
    frame.extend(u16::try_from(total - 20).unwrap().to_be_bytes());
    frame.extend([0, 0]);
    // The pattern starts anew behind the headers, so that tags do not change it.
    frame.extend((0_u8..=250).cycle().take(len - frame.len()));
    frame
}

fn numbered(round: u8, number: u8) -> Vec<u8> {
    let mut frame = dhcp(&[], 68, 300 + usize::from(number));
    frame[50..52].copy_from_slice(&[round, number]);
    frame
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.resize(60, 0);
    frame
}
