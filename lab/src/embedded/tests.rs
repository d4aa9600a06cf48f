//! The server's rules, one by one, on a virtual clock. `arp` has those about ARP, `misbehave`
//! what it does on request, `model` random conversations.

mod arp;
mod misbehave;
mod model;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use lessee_engine::device::{Frame, Meta};
use lessee_engine::time::Instant;
use lessee_engine::wire::arp::Arp;
use lessee_engine::wire::dhcp::{ClientId, MessageType, Op, Outgoing};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::VlanStack;
use lessee_engine::wire::{self, Body, Discard, Link, Transmit, TransmitBody};

use super::{Counter, Identity, Server, ServerSpec, SpecError, Unknown};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const RELAY_MAC: Mac = Mac([2, 0, 0, 0xff, 0, 2]);
const UNSET: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// An answer of the server, owned.
#[derive(Clone, Debug)]
struct Answer {
    link: Link,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    kind: MessageType,
    xid: u32,
    broadcast: bool,
    ciaddr: Ipv4Addr,
    yiaddr: Ipv4Addr,
    giaddr: Ipv4Addr,
    chaddr: Mac,
    server_id: Option<Ipv4Addr>,
    lease_time: Option<u32>,
    t1: Option<u32>,
    t2: Option<u32>,
    mask: Option<Ipv4Addr>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Answer {
    fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(other, _)| *other == code).map(|(_, value)| &value[..])
    }
}

/// What came out of the server.
#[derive(Clone, Debug)]
enum Out {
    Dhcp(Answer),
    Arp(Link, Arp),
    Bad(Discard),
}

/// A server with a clock.
struct Net {
    server: Server,
    now: Instant,
}

fn ip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

fn mac(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, number])
}

fn spec() -> ServerSpec {
    ServerSpec { lease_time: 600, ..ServerSpec::new(SERVER, 24, ip(10), ip(19)) }
}

/// A message from the client with this number, its xid 1000 more.
fn message(kind: MessageType, client: u8) -> Outgoing<'static> {
    Outgoing::new(Op::Request, kind, 1000 + u32::from(client), mac(client))
}

fn discover(client: u8) -> Outgoing<'static> {
    message(MessageType::Discover, client)
}

fn selecting(client: u8, address: Ipv4Addr) -> Outgoing<'static> {
    Outgoing {
        requested_address: Some(address),
        server_id: Some(SERVER),
        ..message(MessageType::Request, client)
    }
}

fn init_reboot(client: u8, address: Ipv4Addr) -> Outgoing<'static> {
    Outgoing { requested_address: Some(address), ..message(MessageType::Request, client) }
}

fn renewing(client: u8, address: Ipv4Addr) -> Outgoing<'static> {
    Outgoing { ciaddr: address, ..message(MessageType::Request, client) }
}

fn release(client: u8, address: Ipv4Addr) -> Outgoing<'static> {
    let server_id = Some(SERVER);
    Outgoing { ciaddr: address, server_id, ..message(MessageType::Release, client) }
}

fn decline(client: u8, address: Ipv4Addr) -> Outgoing<'static> {
    let (server_id, requested_address) = (Some(SERVER), Some(address));
    Outgoing { requested_address, server_id, ..message(MessageType::Decline, client) }
}

impl Net {
    fn new(spec: ServerSpec) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1000);
        Self { server: Server::new(spec, 7).unwrap(), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    fn hand_in(&mut self, transmit: &Transmit<'_>) {
        let mut slot = [0; 1600];
        let len = wire::emit(transmit, &mut slot).unwrap();
        self.server.handle(Frame { bytes: &slot[..len], meta: Meta::plain(len) }, self.now);
    }

    /// Hands in a message; `to` is the server for a unicast.
    fn send_in(&mut self, vlans: VlanStack, source: Mac, to: Ipv4Addr, message: Outgoing<'_>) {
        let destination = if to == SERVER { self.server.spec().mac } else { Mac::BROADCAST };
        let from = if message.giaddr.is_unspecified() { message.ciaddr } else { message.giaddr };
        let body = TransmitBody::Dhcp {
            source: SocketAddrV4::new(from, 68),
            destination: SocketAddrV4::new(to, 67),
            message,
        };
        self.hand_in(&Transmit { link: Link { destination, source, vlans }, body });
    }

    fn send(&mut self, message: Outgoing<'_>) {
        self.send_in(VlanStack::NONE, message.chaddr, Ipv4Addr::BROADCAST, message);
    }

    /// All that the server has to send now.
    fn drain(&mut self) -> Vec<Out> {
        let mut slot = [0; 1600];
        let mut all = Vec::new();
        while let Some(len) = self.server.poll_transmit(self.now, &mut slot) {
            let frame = Frame { bytes: &slot[..len], meta: Meta::plain(len) };
            all.push(match wire::parse(frame) {
                Err(reason) => Out::Bad(reason),
                Ok(wire::Packet { link, body: Body::Arp(arp), .. }) => Out::Arp(link, arp),
                Ok(wire::Packet { link, body: Body::Dhcp(datagram), .. }) => {
                    let m = datagram.message;
                    assert_eq!((m.op, m.secs), (Op::Reply, 0));
                    Out::Dhcp(Answer {
                        link,
                        source: datagram.source,
                        destination: datagram.destination,
                        kind: m.message_type,
                        xid: m.xid,
                        broadcast: m.broadcast,
                        ciaddr: m.ciaddr,
                        yiaddr: m.yiaddr,
                        giaddr: m.giaddr,
                        chaddr: m.chaddr,
                        server_id: m.server_id,
                        lease_time: m.lease_time,
                        t1: m.renewal_time,
                        t2: m.rebinding_time,
                        mask: m.subnet_mask,
                        options: m.options.pieces().map(|(code, v)| (code, v.to_vec())).collect(),
                    })
                }
            });
        }
        all
    }

    /// All DHCP answers that the server has to send now.
    fn answers(&mut self) -> Vec<Answer> {
        let dhcp = |out| match out {
            Out::Dhcp(answer) => answer,
            other => panic!("not a DHCP answer: {other:?}"),
        };
        self.drain().into_iter().map(dhcp).collect()
    }

    /// The answer, if there is one.
    fn ask(&mut self, message: Outgoing<'_>) -> Option<Answer> {
        self.send(message);
        let mut answers = self.answers();
        assert!(answers.len() <= 1, "{answers:?}");
        answers.pop()
    }

    /// As [`Net::ask`], by unicast to the server.
    fn ask_unicast(&mut self, message: Outgoing<'_>) -> Option<Answer> {
        self.send_in(VlanStack::NONE, message.chaddr, SERVER, message);
        self.answers().pop()
    }

    /// The type of the answer and its address.
    fn told(&mut self, message: Outgoing<'_>) -> Option<(MessageType, Ipv4Addr)> {
        self.ask(message).map(|answer| (answer.kind, answer.yiaddr))
    }

    /// Goes through the four packets.
    fn bind(&mut self, client: u8) -> Ipv4Addr {
        let offer = self.ask(discover(client)).unwrap();
        assert_eq!(offer.kind, MessageType::Offer);
        let told = self.told(selecting(client, offer.yiaddr));
        assert_eq!(told, Some((MessageType::Ack, offer.yiaddr)));
        offer.yiaddr
    }

    fn held(&self) -> Vec<(Ipv4Addr, Mac)> {
        self.server.leases(self.now).iter().map(|lease| (lease.address, lease.mac)).collect()
    }

    fn count(&self, counter: Counter) -> u64 {
        self.server.counters().get(counter)
    }
}

const ACK: MessageType = MessageType::Ack;
const NAK: MessageType = MessageType::Nak;
const OFFER: MessageType = MessageType::Offer;

#[test]
fn an_offer_has_what_table_3_of_rfc_2131_wants() {
    let mut net = Net::new(ServerSpec {
        router: Some(ip(1)),
        dns: vec![ip(1), ip(2)],
        domain: "lab.test".into(),
        t1: Some(60),
        t2: Some(90),
        options: vec![(26, vec![5, 0xdc])],
        ..spec()
    });
    let id = ClientId::Bytes(&[255, 1, 2, 3]);
    let offer = net.ask(Outgoing { client_id: id, ..discover(1) }).unwrap();
    assert_eq!((offer.kind, offer.xid, offer.chaddr), (OFFER, 1001, mac(1)));
    assert_eq!((offer.yiaddr, offer.ciaddr, offer.giaddr), (ip(10), UNSET, UNSET));
    assert_eq!((offer.server_id, offer.lease_time), (Some(SERVER), Some(600)));
    assert_eq!((offer.t1, offer.t2), (Some(60), Some(90)));
    assert_eq!(offer.mask, Some(Ipv4Addr::new(255, 255, 255, 0)));
    assert_eq!(offer.option(3), Some(&[10, 0, 0, 1][..]));
    assert_eq!(offer.option(6), Some(&[10, 0, 0, 1, 10, 0, 0, 2][..]));
    assert_eq!(offer.option(15), Some(&b"lab.test"[..]));
    assert_eq!(offer.option(26), Some(&[5, 0xdc][..]));
    assert_eq!(offer.option(61), Some(&[255, 1, 2, 3][..]), "RFC 6842");
    assert_eq!(offer.option(50), None, "MUST NOT");
    assert_eq!(offer.source, SocketAddrV4::new(SERVER, 67));
}

#[test]
fn a_lease_starts_with_the_ack_and_ends_in_time() {
    let mut net = Net::new(spec());
    assert_eq!(net.bind(1), ip(10));
    assert_eq!(net.held(), [(ip(10), mac(1))]);
    let expiry = net.server.leases(net.now)[0].expiry;
    assert_eq!(expiry, Some(net.now + Duration::from_secs(600)));
    net.seconds(599);
    assert_eq!(net.held().len(), 1);
    net.seconds(1);
    assert!(net.held().is_empty());
    assert!(net.answers().is_empty());
    assert_eq!((net.count(Counter::Bound), net.count(Counter::Expired)), (1, 1));
    assert_eq!(net.server.poll_timeout(), None);
}

#[test]
fn an_infinite_lease_never_ends() {
    let mut net = Net::new(ServerSpec { lease_time: u32::MAX, ..spec() });
    net.bind(1);
    net.seconds(100 * 365 * 86400);
    let leases = net.server.leases(net.now);
    assert_eq!((leases.len(), leases[0].expiry), (1, None));
}

#[test]
fn a_client_gets_the_time_it_asks_for_up_to_the_configured_one() {
    let mut net = Net::new(ServerSpec { t1: Some(100), t2: Some(200), ..spec() });
    for (wanted, given, t1, t2) in [
        (None, 600, Some(100), Some(200)),
        (Some(150), 150, Some(100), None),
        (Some(u32::MAX), 600, Some(100), Some(200)),
        (Some(0), 600, Some(100), Some(200)),
    ] {
        let offer = net.ask(Outgoing { lease_time: wanted, ..discover(1) }).unwrap();
        assert_eq!((offer.lease_time, offer.t1, offer.t2), (Some(given), t1, t2), "{wanted:?}");
    }
}

#[test]
fn addresses_are_chosen_as_4_3_1_says() {
    let mut net = Net::new(spec());
    let wanting = |client, host| Outgoing { requested_address: Some(ip(host)), ..discover(client) };
    assert_eq!(net.told(wanting(1, 15)), Some((OFFER, ip(15))), "the one it wants");
    assert_eq!(net.told(wanting(2, 15)), Some((OFFER, ip(10))), "that is offered already");
    assert_eq!(net.told(wanting(3, 99)), Some((OFFER, ip(11))), "that is not in the pool");
    assert_eq!(net.told(wanting(1, 16)), Some((OFFER, ip(15))), "its offer stands");
    assert_eq!(net.told(selecting(1, ip(15))), Some((ACK, ip(15))));
    assert_eq!(net.told(wanting(1, 16)), Some((OFFER, ip(15))), "its lease");
    assert_eq!(net.held(), [(ip(15), mac(1))], "an offer does not end a lease");
    net.send(release(1, ip(15)));
    assert_eq!(net.told(wanting(1, 16)), Some((OFFER, ip(15))), "its previous address");
}

#[test]
fn special_addresses_are_never_given() {
    let pool = ServerSpec::new(SERVER, 28, ip(0), ip(15));
    let mut net = Net::new(ServerSpec { router: Some(ip(2)), ..pool });
    let given: Vec<_> = (1..=12).map(|client| net.bind(client)).collect();
    assert_eq!(given, (3..=14).map(ip).collect::<Vec<_>>());
    for host in [0, 1, 2, 15] {
        let wanting = Outgoing { requested_address: Some(ip(host)), ..discover(99) };
        assert_eq!(net.told(wanting), None);
    }
}

#[test]
fn an_exhausted_pool_is_silent_until_an_address_comes_back() {
    let mut net = Net::new(spec());
    for client in 1..=10 {
        net.bind(client);
    }
    assert_eq!(net.told(discover(11)), None);
    assert_eq!(net.count(Counter::Exhausted), 1);
    net.send(release(4, ip(13)));
    assert_eq!(net.bind(11), ip(13));
    assert_eq!(net.told(init_reboot(4, ip(13))), Some((NAK, UNSET)), "it is somebody else's");
    net.seconds(600);
    // All have ended, and nothing but the next DISCOVER looks.
    assert_eq!(net.told(discover(12)).map(|told| told.0), Some(OFFER));
    assert_eq!(net.told(discover(13)).map(|told| told.0), Some(OFFER));
}

#[test]
fn the_address_that_is_free_longest_goes_first() {
    let mut net = Net::new(spec());
    for client in 1..=10 {
        net.bind(client);
    }
    for client in [7, 2, 9] {
        net.send(release(client, ip(9 + client)));
    }
    let given: Vec<_> = (21..=23).map(|client| net.bind(client)).collect();
    assert_eq!(given, [ip(16), ip(11), ip(18)]);
}

#[test]
fn an_offer_is_kept_for_a_while() {
    let mut net = Net::new(ServerSpec { last: ip(10), ..spec() });
    assert_eq!(net.told(discover(1)), Some((OFFER, ip(10))));
    assert_eq!(net.told(discover(2)), None);
    net.seconds(60);
    assert_eq!(net.told(discover(2)), Some((OFFER, ip(10))));
    assert_eq!(net.told(selecting(1, ip(10))), Some((NAK, UNSET)), "too late");
    assert_eq!(net.count(Counter::OfferExpired), 1);
    net.seconds(60);
    assert_eq!(net.told(selecting(2, ip(10))), Some((ACK, ip(10))), "late, but nobody else came");
}

#[test]
fn choosing_another_server_forgets_the_offer() {
    let mut net = Net::new(ServerSpec { last: ip(10), ..spec() });
    net.ask(discover(1)).unwrap();
    let other = Outgoing { server_id: Some(ip(3)), ..selecting(1, ip(200)) };
    assert_eq!(net.told(other), None);
    assert_eq!((net.count(Counter::OtherServer), net.count(Counter::OfferWithdrawn)), (1, 1));
    assert_eq!(net.bind(2), ip(10));
    // A lease stays: the client may yet come back to it.
    let other = Outgoing { server_id: Some(ip(3)), ..selecting(2, ip(200)) };
    assert_eq!(net.told(other), None);
    assert_eq!(net.held(), [(ip(10), mac(2))]);
}

#[test]
fn selecting_an_address_that_was_not_offered_is_refused() {
    let mut net = Net::new(spec());
    net.ask(discover(1)).unwrap();
    assert_eq!(net.told(selecting(1, ip(12))), Some((NAK, UNSET)));
    assert_eq!(net.told(selecting(2, ip(12))), Some((NAK, UNSET)), "no offer at all");
    assert!(net.held().is_empty());
}

#[test]
fn init_reboot_follows_4_3_2() {
    for (unknown, stranger) in [
        (Unknown::Silent, None),
        (Unknown::Nak, Some((NAK, UNSET))),
        (Unknown::Adopt, Some((ACK, ip(17)))),
    ] {
        let mut net = Net::new(ServerSpec { unknown, ..spec() });
        net.bind(1);
        assert_eq!(net.told(init_reboot(1, ip(10))), Some((ACK, ip(10))));
        assert_eq!(net.told(init_reboot(1, ip(11))), Some((NAK, UNSET)), "not its address");
        let elsewhere = Ipv4Addr::new(192, 168, 0, 1);
        assert_eq!(net.told(init_reboot(1, elsewhere)), Some((NAK, UNSET)), "wrong network");
        assert_eq!(net.told(init_reboot(2, elsewhere)), Some((NAK, UNSET)), "wrong network");
        assert_eq!(net.told(init_reboot(2, ip(17))), stranger, "{unknown:?}");
        let taken = net.told(init_reboot(3, ip(10)));
        assert_eq!(taken.is_some(), unknown != Unknown::Silent);
        assert!(!net.held().contains(&(ip(10), mac(3))));
    }
}

#[test]
fn renewing_and_rebinding_extend_the_lease() {
    let mut net = Net::new(spec());
    net.bind(1);
    for unicast in [true, false] {
        net.seconds(500);
        let request = renewing(1, ip(10));
        let ack = if unicast { net.ask_unicast(request) } else { net.ask(request) }.unwrap();
        assert_eq!((ack.kind, ack.yiaddr, ack.ciaddr), (ACK, ip(10), ip(10)));
        assert_eq!(ack.lease_time, Some(600));
        let expiry = net.server.leases(net.now)[0].expiry;
        assert_eq!(expiry, Some(net.now + Duration::from_secs(600)));
    }
    assert_eq!((net.count(Counter::Renewing), net.count(Counter::Rebinding)), (1, 1));
    assert_eq!(net.count(Counter::Bound), 1, "the same lease");
    assert_eq!(net.told(renewing(1, ip(11))), Some((NAK, UNSET)), "not its address");
    assert_eq!(net.told(renewing(2, ip(10))), Some((NAK, UNSET)), "somebody else's");
    net.seconds(600);
    assert_eq!(net.told(renewing(1, ip(10))), Some((ACK, ip(10))), "ended, but still free");
    assert_eq!(net.count(Counter::ForbiddenOptions), 0);
    net.ask(Outgoing { server_id: Some(SERVER), ..renewing(1, ip(10)) }).unwrap();
    net.ask(Outgoing { requested_address: Some(ip(10)), ..renewing(1, ip(10)) }).unwrap();
    assert_eq!(net.count(Counter::ForbiddenOptions), 2);
}

#[test]
fn release_ends_a_lease_and_has_no_answer() {
    let mut net = Net::new(spec());
    net.bind(1);
    for wrong in [
        release(1, ip(11)),
        release(2, ip(10)),
        Outgoing { server_id: Some(ip(3)), ..release(1, ip(10)) },
    ] {
        assert!(net.ask(wrong).is_none());
        assert_eq!(net.held().len(), 1);
    }
    assert_eq!((net.count(Counter::NotTheHolder), net.count(Counter::OtherServer)), (2, 1));
    assert!(net.ask(release(1, ip(10))).is_none());
    assert!(net.held().is_empty());
    assert_eq!(net.count(Counter::Released), 1);
    assert!(net.ask(release(1, ip(10))).is_none());
    assert_eq!(net.count(Counter::Released), 1, "only once");
}

#[test]
fn a_declined_address_goes_to_nobody_for_a_while() {
    let mut net = Net::new(ServerSpec { last: ip(11), ..spec() });
    net.bind(1);
    assert!(net.ask(decline(2, ip(10))).is_none(), "not its address");
    assert!(net.server.declined(net.now).is_empty());
    assert!(net.ask(decline(1, ip(10))).is_none());
    assert!(net.held().is_empty());
    assert_eq!(net.server.declined(net.now), [ip(10)]);
    assert_eq!(net.bind(1), ip(11), "another one");
    assert_eq!(net.told(discover(2)), None);
    net.seconds(599);
    assert_eq!(net.told(discover(2)), None);
    net.seconds(1);
    assert_eq!(net.told(discover(2)), Some((OFFER, ip(10))));
}

#[test]
fn inform_gets_options_but_no_address() {
    let mut net = Net::new(ServerSpec { router: Some(ip(1)), ..spec() });
    let inform = Outgoing { ciaddr: ip(200), ..message(MessageType::Inform, 1) };
    // "unicast to the address given in the 'ciaddr' field", broadcast bit or not.
    let ack = net.ask(Outgoing { broadcast: true, ..inform }).unwrap();
    assert_eq!((ack.kind, ack.yiaddr, ack.ciaddr), (ACK, UNSET, ip(200)));
    assert_eq!((ack.lease_time, ack.t1, ack.t2), (None, None, None));
    assert_eq!((ack.server_id, ack.option(3)), (Some(SERVER), Some(&[10, 0, 0, 1][..])));
    assert_eq!(*ack.destination.ip(), ip(200));
    assert_eq!(ack.link.destination, mac(1));
    assert!(net.held().is_empty());
    assert_eq!((net.count(Counter::InformAck), net.count(Counter::Ack)), (1, 0));
}

#[test]
fn answers_go_where_4_1_says() {
    let mut net = Net::new(ServerSpec { unknown: Unknown::Adopt, ..spec() });
    let wide = Outgoing { broadcast: true, ..discover(1) };
    let relayed = Outgoing { giaddr: RELAY, ..discover(1) };
    let lost = Ipv4Addr::new(192, 168, 0, 1);
    let everybody = (Mac::BROADCAST, Ipv4Addr::BROADCAST, 68);
    for (message, kind, expected) in [
        (discover(1), OFFER, (mac(1), ip(10), 68)),
        (wide, OFFER, everybody),
        (relayed, OFFER, (RELAY_MAC, RELAY, 67)),
        (selecting(1, ip(10)), ACK, (mac(1), ip(10), 68)),
        (renewing(1, ip(10)), ACK, (mac(1), ip(10), 68)),
        (Outgoing { broadcast: true, ..renewing(1, ip(10)) }, ACK, (mac(1), ip(10), 68)),
        (init_reboot(1, lost), NAK, everybody),
        (renewing(1, lost), NAK, everybody),
        (Outgoing { giaddr: RELAY, ..init_reboot(1, lost) }, NAK, (RELAY_MAC, RELAY, 67)),
    ] {
        let source = if message.giaddr == RELAY { RELAY_MAC } else { message.chaddr };
        net.send_in(VlanStack::NONE, source, Ipv4Addr::BROADCAST, message);
        let answer = net.answers().pop().unwrap();
        let (to, port) = (*answer.destination.ip(), answer.destination.port());
        assert_eq!((answer.link.destination, to, port), expected, "{message:?}");
        assert_eq!((answer.kind, answer.giaddr), (kind, message.giaddr));
        // 4.3.2: a relayed NAK has the broadcast bit set; otherwise flags are the client's.
        let relayed_nak = kind == NAK && message.giaddr == RELAY;
        assert_eq!(answer.broadcast, message.broadcast || relayed_nak);
        assert_eq!(answer.link.source, net.server.spec().mac);
    }
}

#[test]
fn a_nak_says_only_why() {
    let mut net = Net::new(spec());
    let nak = net.ask(init_reboot(1, ip(12))).unwrap();
    assert_eq!((nak.kind, nak.ciaddr, nak.yiaddr), (NAK, UNSET, UNSET));
    assert_eq!((nak.server_id, nak.lease_time, nak.mask), (Some(SERVER), None, None));
    assert!(nak.option(56).is_some());
}

#[test]
fn option_82_comes_back_last() {
    let mut net = Net::new(ServerSpec { dns: vec![ip(1)], ..spec() });
    let more = [82, 4, 1, 2, 7, 7];
    let relayed = Outgoing { giaddr: RELAY, more: &more, ..discover(1) };
    let offer = net.ask(relayed).unwrap();
    assert_eq!(offer.options.last(), Some(&(82, vec![1, 2, 7, 7])));
    assert_eq!(offer.option(6), Some(&[10, 0, 0, 1][..]));
}

#[test]
fn rapid_commit_needs_both_sides() {
    for (server, client, kind) in [(true, true, ACK), (true, false, OFFER), (false, true, OFFER)] {
        let mut net = Net::new(ServerSpec { rapid_commit: server, ..spec() });
        let more: &[u8] = if client { &[80, 0] } else { &[] };
        let answer = net.ask(Outgoing { more, ..discover(1) }).unwrap();
        assert_eq!(answer.kind, kind);
        assert_eq!(answer.option(80).is_some(), kind == ACK);
        assert_eq!(net.held().len(), usize::from(kind == ACK));
    }
}

#[test]
fn clients_are_told_apart_by_identifier_or_by_mac() {
    let with_id = |client, id| Outgoing { client_id: ClientId::Bytes(id), ..discover(client) };
    let long = [9; 200];
    let mut net = Net::new(spec());
    assert_eq!(net.told(with_id(1, b"aa")), Some((OFFER, ip(10))));
    assert_eq!(net.told(with_id(1, b"bb")), Some((OFFER, ip(11))), "one MAC, two clients");
    assert_eq!(net.told(discover(1)), Some((OFFER, ip(12))), "and one without");
    assert_eq!(net.told(with_id(2, b"aa")), Some((OFFER, ip(10))), "moved to another MAC");
    assert_eq!(net.told(with_id(1, &long)), Some((OFFER, ip(13))));
    assert_eq!(net.told(with_id(1, &long)), Some((OFFER, ip(13))));
    let mut net = Net::new(ServerSpec { identity: Identity::Mac, ..spec() });
    assert_eq!(net.told(with_id(1, b"aa")), Some((OFFER, ip(10))));
    assert_eq!(net.told(with_id(1, b"bb")), Some((OFFER, ip(10))));
    assert_eq!(net.told(with_id(2, b"aa")), Some((OFFER, ip(11))));
}

#[test]
fn the_table_has_names_and_identifiers() {
    let mut net = Net::new(ServerSpec { rapid_commit: true, ..spec() });
    let id = ClientId::Bytes(&[255, 1]);
    let host = Outgoing { hostname: b"alpha", client_id: id, more: &[80, 0], ..discover(1) };
    net.ask(host).unwrap();
    let encoded = [80, 0, 81, 3 + 10, 4, 0, 0, 4, b'b', b'e', b't', b'a', 3, b'l', b'a', b'b', 0];
    net.ask(Outgoing { more: &encoded, ..discover(2) }).unwrap();
    let ascii = [80, 0, 81, 3 + 5, 0, 0, 0, b'g', b'a', b'm', b'm', b'a'];
    net.ask(Outgoing { more: &ascii, ..discover(3) }).unwrap();
    let leases = net.server.leases(net.now);
    let names: Vec<_> = leases.iter().map(|lease| lease.hostname.as_deref()).collect();
    assert_eq!(names, [Some("alpha"), Some("beta.lab"), Some("gamma")]);
    assert_eq!(leases[0].client_id.as_deref(), Some(&[255, 1][..]));
    assert_eq!(leases[1].client_id, None);
}

#[test]
fn answers_carry_the_tags_of_their_requests() {
    let stacks = [
        VlanStack::NONE,
        VlanStack::single(100, 3).unwrap(),
        VlanStack::double(100, 10, 0).unwrap(),
    ];
    for (per_vlan, expected) in [(true, [10, 10, 10]), (false, [10, 11, 12])] {
        let mut net = Net::new(ServerSpec { pool_per_vlan: per_vlan, ..spec() });
        for (vlans, host) in stacks.into_iter().zip(expected) {
            for request in [discover(1), selecting(1, ip(host))] {
                net.send_in(vlans, mac(1), Ipv4Addr::BROADCAST, request);
                let answer = net.answers().pop().unwrap();
                assert_eq!((answer.link.vlans, answer.yiaddr), (vlans, ip(host)));
            }
        }
        let leases = net.server.leases(net.now);
        let domains: Vec<_> = leases.iter().map(|lease| lease.domain).collect();
        assert_eq!(domains, stacks.map(VlanStack::domain));
    }
}

#[test]
fn foreign_and_senseless_messages_are_counted_and_ignored() {
    let mut net = Net::new(spec());
    let formless = message(MessageType::Request, 1);
    net.send(formless);
    net.send(message(MessageType::Offer, 1));
    net.send(Outgoing { op: Op::Reply, ..message(MessageType::Offer, 1) });
    net.send_in(VlanStack::NONE, mac(1), ip(77), discover(1));
    net.send(Outgoing { client_id: ClientId::Bytes(&[7; 300]), ..discover(1) });
    net.server.handle(Frame { bytes: &[0; 60], meta: Meta::plain(60) }, net.now);
    assert!(net.answers().is_empty());
    for counter in [
        Counter::FormlessRequest,
        Counter::UnexpectedType,
        Counter::NotARequest,
        Counter::NotForUs,
        Counter::LongClientId,
    ] {
        assert_eq!(net.count(counter), 1, "{counter:?}");
    }
    assert_eq!(net.server.counters().discarded(Discard::EtherType), 1);
}

#[test]
fn forgetting_forgets_and_the_pool_starts_anew() {
    let mut net = Net::new(spec());
    net.bind(1);
    net.bind(2);
    net.send(discover(3));
    net.server.forget();
    assert!(net.answers().is_empty(), "answers under way are lost");
    assert!(net.held().is_empty());
    assert_eq!(net.told(renewing(2, ip(11))), Some((NAK, UNSET)));
    assert_eq!(net.bind(2), ip(10));
}

#[test]
fn a_spec_that_cannot_be_served_is_refused() {
    let spoiled = [
        (ServerSpec { prefix: 0, ..spec() }, SpecError::Prefix(0)),
        (ServerSpec { last: ip(9), ..spec() }, SpecError::Pool { first: ip(10), last: ip(9) }),
        (
            ServerSpec { prefix: 28, ..spec() },
            SpecError::Outside { address: ip(19), server: SERVER, prefix: 28 },
        ),
        (ServerSpec { mac: Mac::BROADCAST, ..spec() }, SpecError::Mac(Mac::BROADCAST)),
        (ServerSpec { lease_time: 0, ..spec() }, SpecError::LeaseTime),
        (ServerSpec { options: vec![(54, vec![1])], ..spec() }, SpecError::Option(54)),
        (ServerSpec { options: vec![(119, vec![1; 700])], ..spec() }, SpecError::TooLong),
    ];
    for (spec, error) in spoiled {
        assert_eq!(Server::new(spec, 0).err(), Some(error));
    }
}
