//! Recordings of exchanges between our client and four real servers, for `pcap-fixtures/`.
//!
//! With `LESSEE_RECORD=1` each server's four captures are written anew. Without, nothing is
//! written: each server that is installed binds one lease, and what passes on the wire must still
//! be the sequence of messages that the committed capture has.
//!
//! The client is turned by hand, with a fixed seed and fixed MACs: transaction identifiers and
//! jitter are the same in each recording, and the wire can be changed between two turns.

#![allow(clippy::unwrap_used, reason = "a story's helpers fail like the story")]

use lessee_engine::client::{Client, PortSpec};
use lessee_engine::device::{Device, Frame, Meta, VlanTag};
use lessee_engine::lease::{LeaseId, Profile};
use lessee_engine::ring::{FilterSpec, PacketRing, RingConfig};
use lessee_engine::time::Instant as Time;
use lessee_engine::wire::dhcp::MessageType::{self, Ack, Discover, Nak, Offer, Release, Request};
use lessee_engine::wire::{Body, parse};
use lessee_lab::servers::{self, Dhcpd, Dnsmasq, Kea, Running, Server, ServerConfig, Udhcpd};
use lessee_lab::topology::{Port, Wire, WireSpec};
use lessee_tests::{can_run, mac, plain};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Any answer of a server on the same machine comes sooner, even while it waits for a busy disk.
const PATIENCE: Duration = Duration::from_secs(30);
/// What may follow a last message, such as an ARP answer, has passed after this time.
const TAIL: Duration = Duration::from_millis(20);
const DORA: [MessageType; 4] = [Discover, Offer, Request, Ack];
/// After a DHCPNAK the client begins anew at once.
const REFUSED: [MessageType; 6] = [Request, Nak, Discover, Offer, Request, Ack];
const SERVER_MAC: [u8; 6] = [0x02, 0x1e, 0x55, 0xff, 0, 1];
/// Outside of the pool; ISC dhcpd wants it so.
const RESERVED: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 200);

/// A frame as it was on the wire.
struct Captured {
    at: u64,
    bytes: Vec<u8>,
}

/// One client, one server, and a witness between them.
struct Session {
    // The server goes before its namespace.
    running: Option<Running>,
    config: ServerConfig,
    client: Client,
    devices: [PacketRing; 1],
    witness: PacketRing,
    lease: LeaseId,
    captured: Vec<Captured>,
    expected: Vec<MessageType>,
    began: Instant,
    wire: Wire,
}

impl Session {
    /// A server, and a client about to send its first DISCOVER.
    fn start(server: &'static dyn Server, index: u32) -> Self {
        let (ip, prefix) = WireSpec::default().server.address.unwrap();
        let port = Port::new("s0").mac(SERVER_MAC).address(ip, prefix);
        let wire = Wire::with(WireSpec { server: port, ..WireSpec::default() }).unwrap();
        let config = ServerConfig::proof(&wire.spec).pool_of(100).times(600, 300, 500);
        let running = servers::start(server, &wire.server, config.clone()).unwrap();

        let link = wire.client.links().unwrap().get("c0").unwrap();
        let config_of = |ignore_outgoing: bool| {
            let mut ring = RingConfig::new(link.index, link.mtu as usize);
            ring.filter = FilterSpec { client: true, server: !ignore_outgoing, arp: true };
            ring.ignore_outgoing = ignore_outgoing;
            ring
        };
        let open = |config: RingConfig| wire.client.run(move || PacketRing::open(&config)).unwrap();
        let (witness, device) = (open(config_of(false)), open(config_of(true)));

        let mut client = Client::new([1, 2, 3, 4, index], Time::ZERO);
        client.add_port(PortSpec::new("c0", 1500), Time::ZERO);
        let mut profile = Profile::default();
        // Nothing is said twice in a capture: a slow server is waited for.
        profile.retransmission.first = 2 * PATIENCE;
        let mut acquire = plain(index, &Arc::new(profile));
        acquire.hostname = Some("fixture".into());
        let lease = client.acquire(acquire, Time::ZERO).unwrap();
        Self {
            running: Some(running),
            config,
            client,
            devices: [device],
            witness,
            lease,
            captured: Vec::new(),
            expected: Vec::new(),
            began: Instant::now(),
            wire,
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.began.elapsed().as_nanos() as u64)
    }

    /// Notes what has passed.
    fn capture(&mut self) {
        while let Some(captured) = self.witness.receive(as_on_the_wire) {
            self.captured.push(captured);
        }
    }

    /// Turns the client until these messages have passed, and checks that no others did.
    fn expect(&mut self, messages: &[MessageType]) {
        self.expected.extend(messages);
        let began = Instant::now();
        while self.messages().len() < self.expected.len() {
            assert!(began.elapsed() < PATIENCE, "waiting for {messages:?}: {}", self.summary());
            let now = self.now();
            self.client.turn(now, &mut self.devices);
            while self.client.poll_event().is_some() {}
            self.capture();
            std::thread::sleep(Duration::from_micros(200));
        }
        assert_eq!(self.messages(), self.expected, "{}", self.summary());
    }

    /// Leaves the client alone until these messages have passed.
    fn pass(&mut self, messages: &[MessageType]) {
        self.expected.extend(messages);
        let began = Instant::now();
        while self.messages().len() < self.expected.len() {
            assert!(began.elapsed() < PATIENCE, "waiting for {messages:?}: {}", self.summary());
            self.capture();
            std::thread::sleep(Duration::from_micros(200));
        }
        assert_eq!(self.messages(), self.expected, "{}", self.summary());
    }

    /// Turns on for a moment: an ARP question behind the last message gets its answer.
    fn end(&mut self) {
        let began = Instant::now();
        while began.elapsed() < TAIL {
            let now = self.now();
            self.client.turn(now, &mut self.devices);
            while self.client.poll_event().is_some() {}
            std::thread::sleep(Duration::from_micros(200));
        }
        self.capture();
        assert_eq!(self.messages(), self.expected, "{}", self.summary());
    }

    fn messages(&self) -> Vec<MessageType> {
        messages(self.captured.iter().map(|captured| captured.bytes.as_slice()))
    }

    /// What has passed, ARP included, and what the server says of it.
    fn summary(&self) -> String {
        let lines = self.captured.iter().map(|captured| {
            let meta = Meta { checksum_ready: false, ..Meta::plain(captured.bytes.len()) };
            let packet = parse(Frame { bytes: &captured.bytes, meta }).unwrap();
            let what = match packet.body {
                Body::Dhcp(datagram) => format!("{:?}", datagram.message.message_type),
                Body::Arp(arp) => format!("{arp:?}"),
            };
            format!(
                "{} {} to {}: {what}\n",
                captured.at, packet.link.source, packet.link.destination
            )
        });
        let log = self.running.as_ref().map(Running::log).unwrap_or_default();
        format!("\n{}{log}", lines.collect::<String>())
    }

    /// Starts the server again with what it remembers and these lines in its configuration.
    fn restart_with(&mut self, extra: String) {
        let mut stopped = self.running.take().unwrap().stop().unwrap();
        stopped.config_mut().extra.push(extra);
        self.running = Some(stopped.start().unwrap());
    }

    /// Starts another server of the same kind, which remembers nothing.
    fn forget(&mut self, server: &'static dyn Server) {
        drop(self.running.take().unwrap().stop().unwrap());
        let config = self.config.clone();
        self.running = Some(servers::start(server, &self.wire.server, config).unwrap());
    }
}

/// The frame with the tag back in that the kernel took out.
fn as_on_the_wire(frame: Frame<'_>) -> Captured {
    let mut bytes = frame.bytes.to_vec();
    if let Some(tag) = frame.meta.vlan {
        let [tpid, tci] = [tag.tpid, tag.tci].map(u16::to_be_bytes);
        bytes.splice(12..12, tpid.into_iter().chain(tci));
    }
    Captured { at: frame.meta.timestamp, bytes }
}

/// The types of the DHCP messages among frames. Checksums that the sender's kernel left to
/// hardware are not judged.
fn messages<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Vec<MessageType> {
    let packets = frames.filter_map(|bytes| {
        let meta = Meta { checksum_ready: false, ..Meta::plain(bytes.len()) };
        match parse(Frame { bytes, meta }).unwrap().body {
            Body::Dhcp(datagram) => Some(datagram.message.message_type),
            Body::Arp(_) => None,
        }
    });
    packets.collect()
}

fn path(name: &str, exchange: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../pcap-fixtures");
    root.join(format!("{name}-{exchange}.pcap"))
}

fn write(path: &PathBuf, captured: &[Captured]) {
    let header = PcapHeader {
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::NanoSecond,
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for Captured { at, bytes } in captured {
        let packet = PcapPacket::new(Duration::from_nanos(*at), bytes.len() as u32, bytes);
        writer.write_packet(&packet).unwrap();
    }
    fs::write(path, writer.into_writer()).unwrap();
}

fn read(path: &PathBuf) -> Vec<Captured> {
    let file = fs::File::open(path).unwrap();
    let mut reader = PcapReader::new(file).unwrap();
    let mut captured = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        let at = packet.timestamp.as_nanos() as u64;
        captured.push(Captured { at, bytes: packet.data.into_owned() });
    }
    captured
}

/// How a server is brought to refuse us, and what passes from then on.
enum Refusal {
    /// It reserves another address for the client, and is asked to renew the old one.
    Reservation(fn(&str) -> String),
    /// It loses its memory between its OFFER and our REQUEST.
    Forgetting,
}

fn bound(server: &'static dyn Server, index: u32) -> Session {
    let mut session = Session::start(server, index);
    session.expect(&DORA);
    session
}

fn refused(server: &'static dyn Server, index: u32, refusal: &Refusal) -> Session {
    match refusal {
        Refusal::Reservation(line) => {
            let mut session = bound(server, index);
            session.restart_with(line(&mac(index).to_string()));
            let now = session.now();
            session.client.renew(session.lease, now);
            session.expect(&REFUSED);
            session
        }
        Refusal::Forgetting => {
            let mut session = Session::start(server, index);
            session.expect(&[Discover]);
            session.pass(&[Offer]);
            session.forget(server);
            session.expect(&REFUSED);
            session
        }
    }
}

fn story(name: &str, server: &'static dyn Server, index: u32, refusal: &Refusal) {
    let record = std::env::var_os("LESSEE_RECORD").is_some_and(|value| value == "1");
    if !can_run(&format!("recording ({name})"), Some(server)) {
        return;
    }
    let mut dora = bound(server, index);
    dora.end();
    if !record {
        let recorded = read(&path(name, "dora"));
        let recorded = messages(recorded.iter().map(|captured| captured.bytes.as_slice()));
        assert_eq!(dora.messages(), recorded, "{name}: no longer as in pcap-fixtures");
        return;
    }
    write(&path(name, "dora"), &dora.captured);

    let mut renew = bound(server, index);
    let now = renew.now();
    renew.client.renew(renew.lease, now);
    renew.expect(&[Request, Ack]);
    renew.end();
    write(&path(name, "renew"), &renew.captured);

    let mut nak = refused(server, index, refusal);
    nak.end();
    write(&path(name, "nak"), &nak.captured);

    let mut release = bound(server, index);
    let now = release.now();
    release.client.release(release.lease, now);
    release.expect(&[Release]);
    release.end();
    write(&path(name, "release"), &release.captured);
}

#[test]
fn dnsmasq() {
    let line = |mac: &str| format!("dhcp-host={mac},{RESERVED}");
    story("dnsmasq", &Dnsmasq, 1, &Refusal::Reservation(line));
}

#[test]
fn kea() {
    let line = |mac: &str| {
        let host = format!(r#"{{ "hw-address": "{mac}", "ip-address": "{RESERVED}" }}"#);
        format!(r#""reservations-global": true, "reservations": [ {host} ]"#)
    };
    story("kea", &Kea, 2, &Refusal::Reservation(line));
}

#[test]
fn dhcpd() {
    let line = |mac: &str| {
        format!("host fixture {{ hardware ethernet {mac}; fixed-address {RESERVED}; }}")
    };
    story("dhcpd", &Dhcpd, 3, &Refusal::Reservation(line));
}

#[test]
fn udhcpd() {
    // It ignores a RENEW for an address that is not the client's.
    story("udhcpd", &Udhcpd, 4, &Refusal::Forgetting);
}

#[test]
fn a_tag_goes_back_to_where_it_was() {
    let bytes: Vec<u8> = (0..20).collect();
    let vlan = Some(VlanTag { tpid: 0x88a8, tci: 0x6064 });
    let meta = Meta { vlan, timestamp: 7, ..Meta::plain(bytes.len()) };
    let captured = as_on_the_wire(Frame { bytes: &bytes, meta });
    let expected = [&bytes[..12], &[0x88, 0xa8, 0x60, 0x64], &bytes[12..]].concat();
    assert_eq!((captured.at, captured.bytes), (7, expected));
}
