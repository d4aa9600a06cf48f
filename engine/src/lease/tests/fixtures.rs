//! Exchanges with real servers, recorded in `pcap-fixtures/`, replayed through the machine: it
//! must send what it sent then, byte for byte, and understand what it was told.

mod damage;

use crate::arp::{Answers, deserves_answer, transmit};
use crate::device::{Frame, Meta};
use crate::lease::{Acquire, Kinds, Lost, Machine, Outcome, PortId, Profile, Reply, State};
use crate::time::Instant;
use crate::wire::dhcp::MessageType::{self, Ack, Discover, Nak, Offer, Release, Request};
use crate::wire::ethernet::Mac;
use crate::wire::options::code;
use crate::wire::{Body, Packet, Transmit, emit, parse};
use pcap_file::pcap::PcapReader;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// What the recorder's servers had in common (`tests/record.rs`).
const SERVER: Mac = Mac([0x02, 0x1e, 0x55, 0xff, 0, 1]);
const SERVER_ID: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HOSTNAME: &str = "fixture";
/// When a replay begins.
const START: Instant = Instant::from_nanos(1_000_000_000_000);

/// A part of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The client sends this message.
    Sends(MessageType),
    /// The server's message is accepted.
    Takes(MessageType),
    /// The server resolves the client's address, and the client answers.
    Resolves,
    /// The caller asks for a renewal.
    Renew,
    /// The caller gives the lease back.
    Leave,
}
use Step::{Leave, Renew, Resolves, Sends, Takes};

const D: Step = Sends(Discover);
const O: Step = Takes(Offer);
const R: Step = Sends(Request);
const A: Step = Takes(Ack);
const N: Step = Takes(Nak);

/// A capture and all that is to come of it.
pub(crate) struct Fixture {
    pub(crate) file: &'static str,
    /// The last byte of the client's MAC.
    client: u8,
    story: &'static [Step],
    /// Frames whose UDP checksum was left to hardware that they never met.
    pub(crate) unsummed: &'static [usize],
    /// What each notice told.
    notices: &'static [(Kinds, Option<Lost>)],
    /// What is held in the end.
    held: Option<Granted>,
}

/// What a server was configured to give, and gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Granted {
    address: Ipv4Addr,
    prefix: u8,
    server_id: Ipv4Addr,
    router: Ipv4Addr,
    lease_time: u32,
    t1: u32,
    t2: u32,
}

/// An address and, but for T1 and T2, what the recorder has every server give.
const fn granted(host: [u8; 2], [t1, t2]: [u32; 2]) -> Option<Granted> {
    Some(Granted {
        address: Ipv4Addr::new(10, 77, host[0], host[1]),
        prefix: 16,
        server_id: SERVER_ID,
        router: Ipv4Addr::new(10, 77, 0, 1),
        lease_time: 600,
        t1,
        t2,
    })
}

/// T1 and T2 as configured.
const PLAIN: [u32; 2] = [300, 500];
/// dnsmasq makes both shorter by one random time whenever it extends a lease.
const FUZZED: [u32; 2] = [270, 470];

type Told = (Kinds, Option<Lost>);
const BOUND: Told = (Kinds::BOUND, None);
const RENEWED: Told = (Kinds::RENEWED, None);
const REFUSED: Told = (Kinds::LOST, Some(Lost::Nak));
const RELEASED: Told = (Kinds::RELEASED, None);

const DORA: &[Step] = &[D, O, R, A];
const RELEASE: &[Step] = &[D, O, R, A, Leave, Sends(Release)];
const RENEW: &[Step] = &[D, O, R, A, Renew, R, A];
const RENEW_RESOLVING: &[Step] = &[D, O, R, A, Renew, R, Resolves, A];
const NAK_AT_RENEWAL: &[Step] = &[D, O, R, A, Renew, R, N, D, O, R, A];
const NAK_AT_REQUEST: &[Step] = &[D, O, R, N, D, O, R, A];

#[rustfmt::skip]
pub(crate) const ALL: &[Fixture] = &[
    Fixture { file: "dnsmasq-dora.pcap", client: 1, story: DORA, unsummed: &[1, 3],
              notices: &[BOUND], held: granted([1, 40], PLAIN) },
    Fixture { file: "dnsmasq-renew.pcap", client: 1, story: RENEW, unsummed: &[1, 3, 5],
              notices: &[BOUND, RENEWED], held: granted([1, 40], FUZZED) },
    Fixture { file: "dnsmasq-nak.pcap", client: 1, story: NAK_AT_RENEWAL, unsummed: &[1, 3, 5, 7, 9],
              notices: &[BOUND, REFUSED, BOUND], held: granted([1, 200], PLAIN) },
    Fixture { file: "dnsmasq-release.pcap", client: 1, story: RELEASE, unsummed: &[1, 3],
              notices: &[BOUND, RELEASED], held: None },
    Fixture { file: "kea-dora.pcap", client: 2, story: DORA, unsummed: &[],
              notices: &[BOUND], held: granted([1, 0], PLAIN) },
    Fixture { file: "kea-renew.pcap", client: 2, story: RENEW, unsummed: &[],
              notices: &[BOUND, RENEWED], held: granted([1, 0], PLAIN) },
    Fixture { file: "kea-nak.pcap", client: 2, story: NAK_AT_RENEWAL, unsummed: &[],
              notices: &[BOUND, REFUSED, BOUND], held: granted([1, 200], PLAIN) },
    Fixture { file: "kea-release.pcap", client: 2, story: RELEASE, unsummed: &[],
              notices: &[BOUND, RELEASED], held: None },
    Fixture { file: "dhcpd-dora.pcap", client: 3, story: DORA, unsummed: &[],
              notices: &[BOUND], held: granted([1, 0], PLAIN) },
    Fixture { file: "dhcpd-renew.pcap", client: 3, story: RENEW_RESOLVING, unsummed: &[7],
              notices: &[BOUND, RENEWED], held: granted([1, 0], PLAIN) },
    Fixture { file: "dhcpd-nak.pcap", client: 3, story: NAK_AT_RENEWAL, unsummed: &[],
              notices: &[BOUND, REFUSED, BOUND], held: granted([1, 200], PLAIN) },
    Fixture { file: "dhcpd-release.pcap", client: 3, story: RELEASE, unsummed: &[],
              notices: &[BOUND, RELEASED], held: None },
    Fixture { file: "udhcpd-dora.pcap", client: 4, story: DORA, unsummed: &[],
              notices: &[BOUND], held: granted([1, 16], PLAIN) },
    Fixture { file: "udhcpd-renew.pcap", client: 4, story: RENEW, unsummed: &[],
              notices: &[BOUND, RENEWED], held: granted([1, 16], PLAIN) },
    Fixture { file: "udhcpd-nak.pcap", client: 4, story: NAK_AT_REQUEST, unsummed: &[],
              notices: &[BOUND], held: granted([1, 16], PLAIN) },
    Fixture { file: "udhcpd-release.pcap", client: 4, story: RELEASE, unsummed: &[],
              notices: &[BOUND, RELEASED], held: None },
];

/// A recorded frame.
pub(crate) struct Recorded {
    at: Instant,
    checksum_ready: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Recorded {
    /// The frame as the kernel lent it when it was recorded.
    pub(crate) fn frame(&self) -> Frame<'_> {
        self.frame_of(&self.bytes)
    }

    /// Other bytes in its place.
    fn frame_of<'a>(&self, bytes: &'a [u8]) -> Frame<'a> {
        let meta = Meta { checksum_ready: self.checksum_ready, ..Meta::plain(bytes.len()) };
        Frame { bytes, meta }
    }
}

impl Fixture {
    pub(crate) const fn client(&self) -> Mac {
        Mac([0x02, 0x1e, 0x55, 0, 0, self.client])
    }

    pub(crate) fn read(&self) -> Vec<Recorded> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../pcap-fixtures/");
        let file = std::fs::File::open(format!("{folder}{}", self.file)).unwrap();
        let mut reader = PcapReader::new(file).unwrap();
        let (mut frames, mut first) = (Vec::new(), None);
        while let Some(packet) = reader.next_packet() {
            let packet = packet.unwrap();
            let since = packet.timestamp - *first.get_or_insert(packet.timestamp);
            frames.push(Recorded {
                at: START + since,
                checksum_ready: !self.unsummed.contains(&frames.len()),
                bytes: packet.data.into_owned(),
            });
        }
        frames
    }

    fn machine(&self) -> Machine {
        let mut acquire = Acquire::new(PortId(0), self.client(), Arc::new(Profile::default()));
        acquire.hostname = Some(HOSTNAME.into());
        Machine::new(acquire, true, 7)
    }
}

/// A machine on its way through a capture.
struct Replay<'f> {
    frames: &'f [Recorded],
    /// How many of them have passed.
    passed: usize,
    machine: Machine,
    /// When the exchange in hand began.
    asked: Instant,
    told: Vec<Told>,
}

impl<'f> Replay<'f> {
    fn new(fixture: &Fixture, frames: &'f [Recorded]) -> Self {
        let machine = fixture.machine();
        Self { frames, passed: 0, machine, asked: START, told: Vec::new() }
    }

    fn next(&mut self) -> (&'f Recorded, Packet<'f>) {
        let recorded = &self.frames[self.passed];
        self.passed += 1;
        (recorded, parse(recorded.frame()).unwrap())
    }

    fn run(&mut self, story: &[Step]) {
        for step in story {
            match step {
                Sends(kind) => self.sends(*kind),
                Takes(kind) => self.takes(*kind),
                Resolves => self.resolves(),
                Renew => self.machine.renew(self.frames[self.passed].at),
                Leave => self.machine.release(),
            }
            if let Some(notice) = self.machine.poll_notice() {
                self.told.push((notice.kinds, notice.lost));
            }
        }
    }

    /// The machine sends just what was recorded, given the recorded transaction identifier.
    fn sends(&mut self, kind: MessageType) {
        let (recorded, packet) = self.next();
        let Body::Dhcp(datagram) = packet.body else { panic!("{packet:?}") };
        assert_eq!(datagram.message.message_type, kind);
        let before = *self.machine.state();
        self.machine.handle_timeout(recorded.at);
        assert_eq!(*self.machine.state(), before, "no timer may have run out");
        // Only where a new exchange begins may the machine use it.
        let begins = !matches!(before, State::Requesting { .. });
        let fresh = if begins { datagram.message.xid } else { !datagram.message.xid };
        let sent = self.machine.poll_transmit(recorded.at, fresh).unwrap();
        assert_eq!(bytes(&sent), recorded.bytes, "{sent:?}");
        assert!(!self.machine.wants_transmit(recorded.at));
        self.asked = recorded.at;
    }

    /// The machine accepts what the server sent.
    fn takes(&mut self, kind: MessageType) {
        let (recorded, packet) = self.next();
        let Body::Dhcp(datagram) = packet.body else { panic!("{packet:?}") };
        assert_eq!(datagram.message.message_type, kind);
        let renewing = matches!(self.machine.state(), State::Renewing { .. });
        let reply = Reply { link: packet.link, datagram };
        let outcome = self.machine.handle_reply(&reply, recorded.at).unwrap();
        let waited = recorded.at.since(self.asked);
        match (kind, outcome) {
            (Offer, Outcome::Offered { after, sent: 1 }) => assert_eq!(after, waited),
            (Ack, Outcome::Bound { after, in_all, sent: 1 }) if !renewing => {
                assert_eq!(after, waited);
                assert!(in_all > after);
            }
            (Ack, Outcome::Renewed { after, sent: 1 }) if renewing => assert_eq!(after, waited),
            (Nak, Outcome::Refused) => assert_eq!(*self.machine.state(), State::Init),
            _ => panic!("{kind:?}: {outcome:?}"),
        }
        if kind == Ack {
            let terms = self.machine.state().terms().unwrap();
            assert_eq!(terms.start, self.asked, "a lease begins with its REQUEST");
            assert_eq!(terms.server_mac, SERVER);
        }
    }

    /// The client's answer to the server's ARP question is the recorded one.
    fn resolves(&mut self) {
        let (_, question) = self.next();
        let (answer, _) = self.next();
        let Body::Arp(question) = question.body else { panic!("{question:?}") };
        assert!(deserves_answer(&question));
        let held = self.machine.state().terms().unwrap().address;
        assert_eq!((question.sender_mac, question.target_ip), (SERVER, held));
        let mut answers = Answers::default();
        assert!(answers.push(&question, self.machine.mac(), self.machine.vlans()));
        let (arp, vlans) = answers.pop().unwrap();
        assert_eq!(bytes(&transmit(arp, vlans)), answer.bytes);
    }

    /// What the machine holds, with the router that it was told of.
    fn held(&self) -> Option<Granted> {
        let terms = self.machine.state().terms()?;
        let router = self.machine.options().unwrap().get(code::ROUTER).unwrap();
        Some(Granted {
            address: terms.address,
            prefix: terms.prefix.unwrap(),
            server_id: terms.server_id,
            router: Ipv4Addr::from(<[u8; 4]>::try_from(router).unwrap()),
            lease_time: terms.lease_time,
            t1: terms.renewal_time.unwrap(),
            t2: terms.rebinding_time.unwrap(),
        })
    }
}

/// A packet as it goes into a transmit slot.
pub(crate) fn bytes(packet: &Transmit<'_>) -> Vec<u8> {
    let mut slot = vec![0xaa; 1518];
    let len = emit(packet, &mut slot).unwrap();
    slot.truncate(len);
    slot
}

fn replays(server: &str) {
    let fixtures: Vec<_> = ALL.iter().filter(|fixture| fixture.file.starts_with(server)).collect();
    assert_eq!(fixtures.len(), 4);
    for fixture in fixtures {
        let frames = fixture.read();
        let mut replay = Replay::new(fixture, &frames);
        replay.run(fixture.story);
        let file = fixture.file;
        assert_eq!(replay.passed, frames.len(), "{file}: frames beyond the story");
        assert_eq!(replay.told, fixture.notices, "{file}");
        assert_eq!(replay.held(), fixture.held, "{file}");
        let end = frames[frames.len() - 1].at;
        assert!(!replay.machine.wants_transmit(end), "{file}");
        match (*replay.machine.state(), fixture.held) {
            (State::Bound { terms }, Some(held)) => {
                let t1 = terms.t1().unwrap().since(terms.start);
                let fixed = Duration::from_secs(u64::from(held.t1));
                assert!(t1 <= fixed && t1 >= fixed * 9 / 10, "{file}: {t1:?}");
                let lease_time = Duration::from_secs(u64::from(held.lease_time));
                assert_eq!(terms.expiry(), Some(terms.start + lease_time));
                assert_eq!(terms.next_hop, Some(SERVER_ID));
                assert_eq!(replay.machine.poll_timeout(end), terms.t1());
            }
            (State::Released, None) => assert_eq!(replay.machine.poll_timeout(end), None),
            (state, _) => panic!("{file}: {state:?}"),
        }
    }
}

#[test]
fn dnsmasq_is_understood() {
    replays("dnsmasq-");
}

#[test]
fn kea_is_understood() {
    replays("kea-");
}

#[test]
fn dhcpd_is_understood() {
    replays("dhcpd-");
}

#[test]
fn udhcpd_is_understood() {
    replays("udhcpd-");
}

#[test]
fn the_options_reach_the_caller() {
    for fixture in ALL.iter().filter(|fixture| fixture.held.is_some()) {
        let frames = fixture.read();
        let mut replay = Replay::new(fixture, &frames);
        replay.run(fixture.story);
        let options = replay.machine.options().unwrap();
        let ip = |host: u8| [10, 77, 0, host];
        let search = b"\x03lab\x07example\0\x07example\x03net\0".as_slice();
        for (code, expected) in [
            (code::DOMAIN_NAME_SERVER, [ip(53), ip(54)].concat().as_slice()),
            (code::DOMAIN_NAME, b"lab.example"),
            (code::INTERFACE_MTU, &1400u16.to_be_bytes()),
            (code::NTP_SERVERS, &ip(123)),
            (code::CLASSLESS_ROUTE, &[24, 192, 0, 2, 10, 77, 0, 9]),
            (code::DOMAIN_SEARCH, search),
        ] {
            let found = options.get(code).unwrap();
            assert_eq!(found, expected, "{}: option {code}", fixture.file);
        }
    }
}

/// The witness heard the client, too: its own messages are no answers.
#[test]
fn the_clients_own_messages_change_nothing() {
    for fixture in ALL {
        let frames = fixture.read();
        for steps in 1..=fixture.story.len() {
            let mut replay = Replay::new(fixture, &frames);
            replay.run(&fixture.story[..steps]);
            let before = *replay.machine.state();
            for recorded in &frames {
                let packet = parse(recorded.frame()).unwrap();
                if packet.link.source != fixture.client() {
                    continue;
                }
                if let Body::Dhcp(datagram) = packet.body {
                    let reply = Reply { link: packet.link, datagram };
                    let refused = replay.machine.handle_reply(&reply, recorded.at);
                    assert_eq!(refused, Err(crate::lease::Ignored::NotAReply));
                }
            }
            assert_eq!(*replay.machine.state(), before);
        }
    }
}
