//! The checker against traces made by hand: a good one passes, and each way to spoil it is caught
//! by the rule that is meant for it.

use super::wire::Sent;
use super::{Checked, Checker, End, Home, Rule};
use crate::seen::{Body, Dhcp, Seen};
use lessee_engine::command::LeaseView;
use lessee_engine::lease::state::{Exchange, Hop};
use lessee_engine::lease::{Kinds, LeaseId, Lost, Notice, PortId, State, Terms};
use lessee_engine::time::Instant;
use lessee_engine::wire::arp::Arp;
use lessee_engine::wire::dhcp::{MessageType, Op};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::{Domain, VlanStack};
use std::net::Ipv4Addr;

const MAC: Mac = Mac([2, 0x4c, 0, 0, 0, 1]);
const SERVER_MAC: Mac = Mac([2, 0x53, 10, 0, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 16, 1);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const LEASE: u32 = 3600;

const fn at(seconds: f64) -> Instant {
    Instant::from_nanos((seconds * 1e9) as u64)
}

fn terms(start: f64) -> Terms {
    Terms {
        address: ADDRESS,
        prefix: Some(16),
        server_id: SERVER,
        server_mac: SERVER_MAC,
        next_hop: Some(SERVER),
        lease_time: LEASE,
        renewal_time: None,
        rebinding_time: None,
        fuzz: 0,
        start: at(start),
    }
}

fn message(kind: MessageType, xid: u32) -> Dhcp {
    Dhcp {
        op: Op::Request,
        kind,
        xid,
        secs: 0,
        broadcast: false,
        ciaddr: NONE,
        yiaddr: NONE,
        chaddr: MAC,
        requested: None,
        server_id: None,
        lease_time: None,
        from: NONE,
        to: Ipv4Addr::BROADCAST,
        bare: false,
    }
}

fn request(xid: u32) -> Dhcp {
    let (requested, server_id) = (Some(ADDRESS), Some(SERVER));
    Dhcp { requested, server_id, ..message(MessageType::Request, xid) }
}

fn renewal(xid: u32) -> Dhcp {
    Dhcp { ciaddr: ADDRESS, from: ADDRESS, to: SERVER, ..message(MessageType::Request, xid) }
}

fn goodbye() -> Dhcp {
    let (kind, server_id) = (MessageType::Release, Some(SERVER));
    let message = message(kind, 9);
    Dhcp { ciaddr: ADDRESS, from: ADDRESS, to: SERVER, server_id, bare: true, ..message }
}

/// A checker with one lease, or with two under neighbouring MACs.
struct Trace {
    check: Checker,
}

impl Trace {
    fn new() -> Self {
        let mut trace = Self { check: Checker::new(1, None, at(0.0)) };
        trace.begin(0, MAC);
        trace
    }

    fn begin(&mut self, slot: u32, mac: Mac) -> u32 {
        let domain = Domain::default();
        let home = Home { client: 0, port: 0, segment: 0, domain, mac, probe: false };
        self.check.began(home, LeaseId { slot, generation: 0 }, at(0.0))
    }

    fn hears(&mut self, kind: MessageType, xid: u32, now: f64) {
        self.hears_for(MAC, kind, xid, now);
    }

    fn hears_for(&mut self, chaddr: Mac, kind: MessageType, xid: u32, now: f64) {
        let (server_id, lease_time) = (Some(SERVER), Some(LEASE));
        let message = message(kind, xid);
        let body =
            Dhcp { op: Op::Reply, yiaddr: ADDRESS, server_id, lease_time, chaddr, ..message };
        let seen = Seen {
            destination: chaddr,
            source: SERVER_MAC,
            domain: Domain::default(),
            body: Body::Dhcp(body),
        };
        assert!(self.check.heard(0, 0, &seen, at(now)).is_some());
    }

    fn shows(&mut self, lease: u32, state: State, now: f64) -> Checked {
        self.check.tick(0, at(now));
        let mac = self.check.leases[lease as usize].home.mac;
        let terms = state.terms().copied();
        let (tag, port, vlans) = (0, PortId(0), VlanStack::NONE);
        let view = LeaseView { mac, tag, port, vlans, state, terms, options: None };
        self.check.view(lease, Some(&view), at(now))?;
        self.check.early(lease, &state, at(now))
    }

    fn sends(&mut self, lease: u32, body: Dhcp, now: f64) -> Checked {
        let source = self.check.leases[lease as usize].home.mac;
        let unicast = body.to != Ipv4Addr::BROADCAST;
        let destination = if unicast { SERVER_MAC } else { Mac::BROADCAST };
        let domain = Domain::default();
        let seen = Seen { destination, source, domain, body: Body::Dhcp(body) };
        let held = self.check.leases[lease as usize].terms.or(Some(terms(1.0)));
        self.check.sent(lease, &Sent { seen: &seen, held, now: at(now) })
    }

    fn asks(&mut self, arp: Arp, now: f64) -> Checked {
        let (destination, domain) = (Mac::BROADCAST, Domain::default());
        let seen = Seen { destination, source: MAC, domain, body: Body::Arp(arp) };
        self.check.sent(0, &Sent { seen: &seen, held: None, now: at(now) })
    }

    /// DISCOVER at 0 s, REQUEST at 1 s.
    fn requesting(mut self) -> Self {
        self.shows(0, selecting(), 0.0).unwrap();
        self.sends(0, message(MessageType::Discover, 7), 0.0).unwrap();
        self.hears(MessageType::Offer, 7, 1.0);
        self.shows(0, asking(), 1.0).unwrap();
        self.sends(0, request(7), 1.0).unwrap();
        self
    }

    /// ACK at 2 s.
    fn bound(self) -> Self {
        let mut trace = self.requesting();
        trace.hears(MessageType::Ack, 7, 2.0);
        trace.shows(0, State::Bound { terms: terms(1.0) }, 2.0).unwrap();
        trace
    }
}

fn selecting() -> State {
    State::Selecting { exchange: Exchange::due(at(0.0)) }
}

fn asking() -> State {
    let exchange = Exchange::due(at(1.0));
    State::Requesting { exchange, discovered: at(0.0), address: ADDRESS, server_id: SERVER }
}

fn renewing(start: f64) -> State {
    let (exchange, hop) = (Exchange::due(at(1801.0)), Hop::Known(SERVER_MAC));
    State::Renewing { terms: terms(start), exchange, hop }
}

fn rebinding() -> State {
    State::Rebinding {
        terms: terms(1.0),
        exchange: Exchange::due(at(3151.0)),
        began: Instant::NEVER,
    }
}

#[track_caller]
fn breaks(rule: Rule, outcome: Checked) {
    let violation = outcome.expect_err("nothing was noticed");
    assert_eq!(violation.rule, rule, "{}", violation.text);
}

fn notice(kinds: Kinds, sequence: u32, terms: Option<Terms>, previous: bool) -> Notice {
    let lost = kinds.contains(Kinds::LOST).then_some(Lost::Expired);
    let previous = previous.then_some(ADDRESS);
    Notice { tag: 0, mac: MAC, kinds, sequence, terms, previous, lost, options: None }
}

#[test]
fn a_life_by_the_book_passes() {
    let mut trace = Trace::new().bound();
    trace.check.notice(0, &notice(Kinds::BOUND, 1, Some(terms(1.0)), false), at(2.0)).unwrap();
    trace.shows(0, renewing(1.0), 1801.0).unwrap();
    trace.sends(0, renewal(8), 1801.0).unwrap();
    trace.hears(MessageType::Ack, 8, 1802.0);
    trace.shows(0, State::Bound { terms: terms(1801.0) }, 1802.0).unwrap();
    trace.check.ended(0, End::Release, at(1900.0));
    trace.shows(0, State::Released, 1900.0).unwrap();
    trace.sends(0, goodbye(), 1900.0).unwrap();
    breaks(Rule::Form, trace.sends(0, goodbye(), 1900.0));
}

#[test]
fn repetitions_keep_their_times() {
    for (second, good) in [(2.9, false), (3.1, true), (4.9, true), (5.1, false)] {
        let mut trace = Trace::new();
        trace.shows(0, selecting(), 0.0).unwrap();
        trace.sends(0, message(MessageType::Discover, 7), 0.0).unwrap();
        let again = Dhcp { secs: second as u16, ..message(MessageType::Discover, 7) };
        let outcome = trace.sends(0, again, second);
        if good { outcome.unwrap() } else { breaks(Rule::Timing, outcome) }
    }
    // Whoever was kept from sending may be late, but never early.
    let mut trace = Trace::new();
    trace.shows(0, selecting(), 0.0).unwrap();
    trace.sends(0, message(MessageType::Discover, 7), 0.0).unwrap();
    trace.check.troubled(0, at(60.0));
    let again = Dhcp { secs: 60, ..message(MessageType::Discover, 7) };
    trace.sends(0, again, 60.0).unwrap();
    // Half of what is left until T2 at 3151 s, from 1801 s on.
    for (second, good) in [(2470.0, false), (2477.0, true)] {
        let mut trace = Trace::new().bound();
        trace.shows(0, renewing(1.0), 1801.0).unwrap();
        trace.sends(0, renewal(8), 1801.0).unwrap();
        let again = Dhcp { secs: (second - 1801.0) as u16, ..renewal(8) };
        let outcome = trace.sends(0, again, second);
        if good { outcome.unwrap() } else { breaks(Rule::Timing, outcome) }
    }
}

#[test]
fn requests_have_the_form_of_their_state() {
    let spoilt = [
        Dhcp { server_id: None, ..request(7) },
        Dhcp { requested: None, ..request(7) },
        Dhcp { requested: Some(Ipv4Addr::new(10, 0, 16, 9)), ..request(7) },
        Dhcp { xid: 8, ..request(7) },
        Dhcp { to: SERVER, ..request(7) },
    ];
    for body in spoilt {
        let mut trace = Trace::new().requesting();
        breaks(Rule::Form, trace.sends(0, body, 5.0));
    }
    let spoilt = [
        Dhcp { server_id: Some(SERVER), ..renewal(8) },
        Dhcp { requested: Some(ADDRESS), ..renewal(8) },
        Dhcp { to: Ipv4Addr::BROADCAST, ..renewal(8) },
        Dhcp { broadcast: true, ..renewal(8) },
        Dhcp { from: NONE, ..renewal(8) },
    ];
    for body in spoilt {
        let mut trace = Trace::new().bound();
        trace.shows(0, renewing(1.0), 1801.0).unwrap();
        breaks(Rule::Form, trace.sends(0, body, 1801.0));
    }
    for body in [
        Dhcp { bare: false, ..goodbye() },
        Dhcp { server_id: None, ..goodbye() },
        Dhcp { secs: 1, ..goodbye() },
    ] {
        let mut trace = Trace::new().bound();
        trace.check.ended(0, End::Release, at(3.0));
        trace.shows(0, State::Released, 3.0).unwrap();
        breaks(Rule::Form, trace.sends(0, body, 3.0));
    }
}

#[test]
fn nothing_is_sent_after_the_end() {
    let mut trace = Trace::new().bound();
    trace.check.ended(0, End::Forget, at(3.0));
    trace.shows(0, State::Released, 3.0).unwrap();
    breaks(Rule::Form, trace.sends(0, message(MessageType::Discover, 8), 4.0));
    let mut trace = Trace::new().bound();
    breaks(Rule::Form, trace.sends(0, goodbye(), 3.0));
}

#[test]
fn an_address_is_not_used_after_its_end() {
    let mut trace = Trace::new().bound();
    trace.shows(0, renewing(1.0), 1801.0).unwrap();
    trace.shows(0, rebinding(), 3151.0).unwrap();
    let rebind = Dhcp { to: Ipv4Addr::BROADCAST, ..renewal(8) };
    trace.sends(0, rebind, 3151.0).unwrap();
    breaks(Rule::Expiry, trace.sends(0, Dhcp { secs: 450, ..rebind }, 3601.0));
    let arp = Arp::request(MAC, ADDRESS, SERVER);
    breaks(Rule::Expiry, trace.asks(arp.answer(MAC), 3601.0));
    assert_eq!(trace.check.overdue(0, at(3600.9)), None);
    assert_eq!(trace.check.overdue(0, at(3601.1)), Some(0));
    breaks(Rule::Expiry, trace.check.settled(0, at(3601.1)));
}

#[test]
fn no_address_has_two_holders() {
    let mut trace = Trace::new().bound();
    let other = Mac([2, 0x4c, 0, 0, 0, 2]);
    let twin = trace.begin(1, other);
    let as_other = |body: Dhcp| Dhcp { chaddr: other, ..body };
    trace.shows(twin, selecting(), 3.0).unwrap();
    trace.sends(twin, as_other(message(MessageType::Discover, 5)), 3.0).unwrap();
    trace.hears_for(other, MessageType::Offer, 5, 3.0);
    trace.shows(twin, asking(), 3.0).unwrap();
    trace.sends(twin, as_other(request(5)), 3.0).unwrap();
    trace.hears_for(other, MessageType::Ack, 5, 3.0);
    let bound = State::Bound { terms: terms(3.0) };
    breaks(Rule::Unique, trace.shows(twin, bound, 3.0));
}

#[test]
fn changes_have_their_reasons() {
    // Terms that no ACK granted, and terms that start with the ACK.
    let mut trace = Trace::new().requesting();
    breaks(Rule::Reason, trace.shows(0, State::Bound { terms: terms(1.0) }, 2.0));
    let mut trace = Trace::new().requesting();
    trace.hears(MessageType::Ack, 7, 2.0);
    breaks(Rule::Reason, trace.shows(0, State::Bound { terms: terms(2.0) }, 2.0));
    // An ACK to another transaction.
    let mut trace = Trace::new().requesting();
    trace.hears(MessageType::Ack, 6, 2.0);
    breaks(Rule::Reason, trace.shows(0, State::Bound { terms: terms(1.0) }, 2.0));
    // Given up, ended, started again for nothing.
    breaks(Rule::Reason, Trace::new().bound().shows(0, State::Init, 3.0));
    breaks(Rule::Reason, Trace::new().bound().shows(0, State::Released, 3.0));
    let mut trace = Trace::new().requesting();
    trace.shows(0, selecting(), 3.0).unwrap();
    breaks(Rule::Reason, trace.sends(0, message(MessageType::Discover, 8), 3.0));
    // A second NAK without a pause.
    let mut trace = Trace::new().requesting();
    trace.hears(MessageType::Nak, 7, 2.0);
    trace.shows(0, selecting(), 2.0).unwrap();
    trace.sends(0, message(MessageType::Discover, 8), 2.0).unwrap();
    trace.hears(MessageType::Offer, 8, 3.0);
    trace.shows(0, asking(), 3.0).unwrap();
    trace.sends(0, request(8), 3.0).unwrap();
    trace.hears(MessageType::Nak, 8, 4.0);
    trace.shows(0, selecting(), 4.0).unwrap();
    breaks(Rule::Timing, trace.sends(0, message(MessageType::Discover, 9), 4.1));
    // States before their time.
    breaks(Rule::Timing, Trace::new().bound().shows(0, renewing(1.0), 1800.0));
    breaks(Rule::Timing, Trace::new().bound().shows(0, rebinding(), 3150.0));
}

#[test]
fn readers_miss_nothing() {
    let bound = || {
        let mut trace = Trace::new().bound();
        trace.check.notice(0, &notice(Kinds::BOUND, 1, Some(terms(1.0)), false), at(2.0)).unwrap();
        trace
    };
    let lost = || {
        let mut trace = bound();
        trace.shows(0, State::Init, 3601.0).unwrap();
        trace
    };
    let tell = |mut trace: Trace, notice: Notice| trace.check.notice(0, &notice, at(3601.0));
    tell(lost(), notice(Kinds::LOST, 2, None, true)).unwrap();
    for kinds in [Kinds::BOUND, Kinds::RENEWED, Kinds::RELEASED] {
        breaks(Rule::Events, tell(lost(), notice(kinds, 2, None, true)));
    }
    breaks(Rule::Events, tell(lost(), notice(Kinds::LOST, 3, None, true)));
    breaks(Rule::Events, tell(lost(), notice(Kinds::LOST, 2, None, false)));
    breaks(Rule::Events, tell(lost(), notice(Kinds::LOST, 2, Some(terms(1.0)), true)));
    breaks(Rule::Events, tell(bound(), notice(Kinds::LOST, 2, None, true)));
}
