//! The server without sockets and clocks (RFC 2131 4.3).
//!
//! ```text
//! in :  handle(frame, now)
//! out:  poll_transmit(now, slot) -> Option<length>   poll_timeout() -> Option<Instant>
//! ```
//!
//! Whoever drives it hands in frames, takes frames until there are none, and comes back with the
//! next frame or at the deadline. All that it keeps is bounded: leases by the pool, frames, VLANs
//! and neighbours by constants.
//!
//! Where it is laxer than the RFC, as all common servers are: a client that has a lease and sends
//! DISCOVER is offered a full lease time, not the rest of its lease (4.3.1), and every client gets
//! all configured options, whether it asked for them or not.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use lessee_engine::device::Frame;
use lessee_engine::time::Instant;
use lessee_engine::wire::arp::{Arp, Operation};
use lessee_engine::wire::dhcp::{Datagram, MessageType, Op};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::{Domain, VlanStack};
use lessee_engine::wire::{self, Body, Link, NoRoom, Transmit, TransmitBody, udp};

use super::answer::Answer;
use super::counters::{Counter, Counters};
use super::misbehave::{Conduct, Deeds, Kinds, Rule};
use super::neighbours::{Neighbours, Question, Step};
use super::pool::{Id, NEVER, Pool};
use super::queue::{Outbound, Queue};
use super::request::Request;
use super::spec::{ServerSpec, SpecError, Unknown};

/// An infinite lease time (RFC 2131 3.3).
const INFINITE: u32 = u32::MAX;
/// VLANs that can have a pool each.
const MOST_POOLS: usize = 4096;
/// Ended leases that are looked at in one go, for each pool.
const EXPIRY_BUDGET: usize = 256;

/// A lease, as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLease {
    /// The address.
    pub address: Ipv4Addr,
    /// The VLAN that its client is in.
    pub domain: Domain,
    /// The client's hardware address.
    pub mac: Mac,
    /// The client's option 61, if it sends one.
    pub client_id: Option<Vec<u8>>,
    /// The client's option 12, or the name in its option 81.
    pub hostname: Option<String>,
    /// When the lease ends; `None` for an infinite one.
    pub expiry: Option<Instant>,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    spec: ServerSpec,
    /// The configured options in wire form.
    options: Box<[u8]>,
    seed: u64,
    pools: Vec<Pool>,
    /// Places in `pools`, if each VLAN has its own.
    vlans: HashMap<Domain, usize>,
    conduct: Conduct,
    neighbours: Neighbours,
    queue: Queue,
    counters: Counters,
    scratch: Vec<u8>,
}

/// What is to become of a REQUEST.
enum Verdict {
    Grant(Ipv4Addr),
    Refuse(&'static str),
    Ignore(Counter),
}

impl Server {
    /// A server without leases that behaves well. The seed decides what chance decides: whether a
    /// rule with a probability applies, and how a packet is malformed.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn new(spec: ServerSpec, seed: u64) -> Result<Self, SpecError> {
        let options = spec.check()?;
        Ok(Self {
            spec,
            options,
            seed,
            pools: Vec::new(),
            vlans: HashMap::new(),
            conduct: Conduct::new(seed),
            neighbours: Neighbours::default(),
            queue: Queue::default(),
            counters: Counters::default(),
            scratch: Vec::new(),
        })
    }

    /// What it serves.
    #[must_use]
    pub const fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// Replaces the rules by which it misbehaves; their counting begins anew.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        self.conduct.set(rules);
    }

    /// What it counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The leases that run, ordered by address in each pool.
    #[must_use]
    pub fn leases(&self, now: Instant) -> Vec<ServerLease> {
        let leases = self.pools.iter().flat_map(|pool| pool.leases(now));
        leases
            .map(|lease| ServerLease {
                address: lease.address,
                domain: lease.domain,
                mac: lease.mac,
                client_id: (!lease.id.is_empty()).then(|| lease.id.to_vec()),
                hostname: lease.hostname.map(|name| String::from_utf8_lossy(name).into_owned()),
                expiry: (lease.until != NEVER).then_some(lease.until),
            })
            .collect()
    }

    /// The addresses that were declined and are still kept from everybody.
    #[must_use]
    pub fn declined(&self, now: Instant) -> Vec<Ipv4Addr> {
        self.pools.iter().flat_map(|pool| pool.declined(now)).collect()
    }

    /// Loses all memory, as a server without a lease file does when it is restarted: leases,
    /// offers, neighbours, and answers that are under way. Rules and counters stay.
    pub fn forget(&mut self) {
        self.pools.clear();
        self.vlans.clear();
        self.neighbours = Neighbours::default();
        self.queue = Queue::default();
    }

    /// Loses what a restart loses even with a lease file: neighbours, and answers under way.
    pub fn restart(&mut self) {
        self.neighbours = Neighbours::default();
        self.queue = Queue::default();
    }

    /// Takes in a frame.
    pub fn handle(&mut self, frame: Frame<'_>, now: Instant) {
        let packet = match wire::parse(frame) {
            Ok(packet) => packet,
            Err(reason) => return self.counters.discard(reason),
        };
        let destination = packet.link.destination;
        if destination != self.spec.mac && !destination.is_multicast() {
            return self.counters.add(Counter::NotForUs);
        }
        match packet.body {
            Body::Arp(arp) => self.handle_arp(&packet.link, &arp, now),
            Body::Dhcp(datagram) => self.handle_dhcp(&packet.link, &datagram, now),
        }
    }

    /// Writes the next frame that is due into `slot` and returns its length; `None` if there is
    /// none. Call it until then: the last call also clears away what has expired.
    pub fn poll_transmit(&mut self, now: Instant, slot: &mut [u8]) -> Option<usize> {
        loop {
            let written = match self.neighbours.poll(now) {
                Some(step) => self.step(step, slot),
                None => match self.queue.pop(now) {
                    Some(Outbound::Arp(link, arp)) => Some(self.emit_arp(link, arp, slot)),
                    Some(Outbound::Dhcp(answer)) if answer.resolve => {
                        let step = self.neighbours.resolve(answer, now);
                        self.step(step, slot)
                    }
                    Some(Outbound::Dhcp(answer)) => Some(self.emit_answer(&answer, slot)),
                    None => break,
                },
            };
            match written {
                Some(Ok(len)) => return Some(len),
                Some(Err(NoRoom)) => self.counters.add(Counter::NoRoom),
                None => {}
            }
        }
        for pool in &mut self.pools {
            let ended = pool.expire(now, EXPIRY_BUDGET);
            self.counters.add_many(Counter::Expired, ended.leases);
            self.counters.add_many(Counter::OfferExpired, ended.offers);
        }
        None
    }

    /// When [`Server::poll_transmit`] is to be called next, if no frame comes before. It may be in
    /// the past: then at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pools = self.pools.iter().filter_map(Pool::next_deadline);
        let others = [self.queue.next_deadline(), self.neighbours.next_deadline()];
        pools.chain(others.into_iter().flatten()).min()
    }

    fn handle_arp(&mut self, link: &Link, arp: &Arp, now: Instant) {
        let asked = arp.operation == Operation::Request && arp.target_ip == self.spec.address;
        if arp.target_ip == self.spec.address && !arp.sender_ip.is_unspecified() {
            let key = (link.vlans.domain(), arp.sender_ip);
            for answer in self.neighbours.learn(key, arp.sender_mac, now) {
                self.push(Outbound::Dhcp(answer), &Deeds::default(), now);
            }
        }
        // Who has our address as well announces it or probes for it; arguing is not for a lab.
        if !asked || !self.spec.answer_arp || arp.sender_ip == self.spec.address {
            return;
        }
        self.counters.add(Counter::ArpRequest);
        if self.conduct.drops(Kinds::ARP, &mut self.counters) {
            return;
        }
        let deeds = self.conduct.judge(Kinds::ARP, &mut self.counters);
        if deeds.silent {
            return;
        }
        let reply = Link { destination: link.source, source: self.spec.mac, vlans: link.vlans };
        self.push(Outbound::Arp(reply, arp.answer(self.spec.mac)), &deeds, now);
    }

    fn handle_dhcp(&mut self, link: &Link, datagram: &Datagram<'_>, now: Instant) {
        if datagram.message.op != Op::Request || datagram.destination.port() != udp::SERVER_PORT {
            return self.counters.add(Counter::NotARequest);
        }
        let destination = *datagram.destination.ip();
        let ours = [self.spec.address, Ipv4Addr::BROADCAST, self.spec.broadcast()];
        if !ours.contains(&destination) {
            return self.counters.add(Counter::NotForUs);
        }
        let request = match Request::read(link, datagram, self.spec.address) {
            Ok(request) => request,
            Err(why) => return self.counters.add(why),
        };
        self.counters.add(received(request.kind));
        if request.forbidden {
            self.counters.add(Counter::ForbiddenOptions);
        }
        if self.conduct.drops(request.kind, &mut self.counters) {
            return;
        }
        let Some(pool) = self.pool_of(link.vlans) else {
            return self.counters.add(Counter::TooManyVlans);
        };
        match request.kind {
            Kinds::DISCOVER => self.discover(&request, pool, now),
            Kinds::RELEASE | Kinds::DECLINE => self.give_back(&request, pool, now),
            Kinds::INFORM => self.inform(&request, now),
            _ => self.request(&request, pool, now),
        }
    }

    /// The place of the pool for a VLAN, which is made when first needed.
    fn pool_of(&mut self, vlans: VlanStack) -> Option<usize> {
        if !self.spec.pool_per_vlan {
            if self.pools.is_empty() {
                self.pools.push(Pool::new(&self.spec, self.seed));
            }
            return Some(0);
        }
        let domain = vlans.domain();
        if let Some(place) = self.vlans.get(&domain) {
            return Some(*place);
        }
        if self.pools.len() >= MOST_POOLS {
            return None;
        }
        self.pools.push(Pool::new(&self.spec, self.seed));
        self.vlans.insert(domain, self.pools.len() - 1);
        Some(self.pools.len() - 1)
    }

    /// RFC 2131 4.3.1.
    fn discover(&mut self, request: &Request<'_>, pool: usize, now: Instant) {
        let (client, wanted) = (request.client(), request.message.requested_address);
        let until = now + self.spec.offer_hold;
        let Some(address) = self.pools[pool].offer(&client, wanted, until, now) else {
            return self.counters.add(Counter::Exhausted);
        };
        let deeds = self.conduct.judge(request.kind, &mut self.counters);
        if deeds.nak {
            return self.refuse(request, "told to refuse", &deeds, now);
        }
        // RFC 4039 3.1: commits at once and answers with an ACK.
        if self.spec.rapid_commit && request.rapid {
            return self.grant(request, pool, address, &deeds, now);
        }
        let mut offer = self.answer(request, MessageType::Offer, address);
        self.add_terms(&mut offer, self.lease_time(request, &deeds));
        self.reply(offer, &deeds, now);
    }

    /// RFC 2131 4.3.2.
    fn request(&mut self, request: &Request<'_>, pool: usize, now: Instant) {
        let verdict = if request.kind == Kinds::SELECTING {
            self.judge_selecting(request, pool, now)
        } else {
            self.judge_holder(request, pool, now)
        };
        let (address, why) = match verdict {
            Verdict::Ignore(counter) => return self.counters.add(counter),
            Verdict::Grant(address) => (Some(address), "told to refuse"),
            Verdict::Refuse(why) => (None, why),
        };
        let deeds = self.conduct.judge(request.kind, &mut self.counters);
        match address {
            Some(address) if !deeds.nak => self.grant(request, pool, address, &deeds, now),
            _ => self.refuse(request, why, &deeds, now),
        }
    }

    /// "DHCPREQUEST generated during SELECTING state": an answer to an offer, ours or another's.
    fn judge_selecting(&mut self, request: &Request<'_>, pool: usize, now: Instant) -> Verdict {
        let (client, message) = (request.client(), &request.message);
        let (Some(address), Some(server)) = (message.requested_address, message.server_id) else {
            return Verdict::Ignore(Counter::FormlessRequest);
        };
        if server != self.spec.address {
            // "those servers not selected by the DHCPREQUEST message use the DHCPREQUEST as
            // notification that the client has declined that server's offer" (3.1 step 4)
            if self.pools[pool].withdraw(&client, now) {
                self.counters.add(Counter::OfferWithdrawn);
            }
            return Verdict::Ignore(Counter::OtherServer);
        }
        match self.pools[pool].holding(&client, now) {
            Some(own) if own.address == address => Verdict::Grant(address),
            Some(_) => Verdict::Refuse("another address was offered"),
            // We made the offer, and have lost our memory since.
            None if self.spec.unknown == Unknown::Adopt => self.adopt(request, pool, address, now),
            None => Verdict::Refuse("no such offer"),
        }
    }

    /// "DHCPREQUEST generated during INIT-REBOOT / RENEWING / REBINDING state": from a client that
    /// says which address it has.
    fn judge_holder(&self, request: &Request<'_>, pool: usize, now: Instant) -> Verdict {
        let (client, message) = (request.client(), &request.message);
        let address = match message.requested_address {
            Some(address) if request.kind == Kinds::INIT_REBOOT => address,
            _ => message.ciaddr,
        };
        // "SHOULD send a DHCPNAK message to the client if the 'requested IP address' is incorrect,
        // or is on the wrong network"
        if !self.spec.contains(address) {
            return Verdict::Refuse("wrong network");
        }
        match self.pools[pool].holding(&client, now) {
            Some(own) if own.address == address => Verdict::Grant(address),
            Some(_) => Verdict::Refuse("not your address"),
            // "If the DHCP server has no record of this client, then it MUST remain silent"
            None => match self.spec.unknown {
                Unknown::Silent => Verdict::Ignore(Counter::UnknownClient),
                Unknown::Nak => Verdict::Refuse("no such lease"),
                Unknown::Adopt => self.adopt(request, pool, address, now),
            },
        }
    }

    fn adopt(
        &self,
        request: &Request<'_>,
        pool: usize,
        address: Ipv4Addr,
        now: Instant,
    ) -> Verdict {
        if self.pools[pool].available(&request.client(), address, now) {
            Verdict::Grant(address)
        } else {
            Verdict::Refuse("address not available")
        }
    }

    /// RFC 2131 4.3.3 (DECLINE) and 4.3.4 (RELEASE): neither has an answer.
    fn give_back(&mut self, request: &Request<'_>, pool: usize, now: Instant) {
        let (client, message) = (request.client(), &request.message);
        if message.server_id.is_some_and(|server| server != self.spec.address) {
            return self.counters.add(Counter::OtherServer);
        }
        let pool = &mut self.pools[pool];
        let (done, counter) = if request.kind == Kinds::RELEASE {
            (pool.release(&client, message.ciaddr, now), Counter::Released)
        } else {
            let address = message.requested_address.unwrap_or(message.ciaddr);
            let until = now + self.spec.decline_hold;
            (pool.decline(&client, address, until, now), Counter::Declined)
        };
        self.counters.add(if done { counter } else { Counter::NotTheHolder });
    }

    /// RFC 2131 4.3.5: options only; no lease is looked at, no lease time told, yiaddr left alone.
    fn inform(&mut self, request: &Request<'_>, now: Instant) {
        let deeds = self.conduct.judge(request.kind, &mut self.counters);
        if deeds.nak {
            return self.refuse(request, "told to refuse", &deeds, now);
        }
        let mut heading = request.heading;
        // Some clients leave ciaddr out, where it MUST be (4.4.3).
        if heading.ciaddr.is_unspecified() {
            heading.ciaddr = request.source;
        }
        let mut answer = Answer::new(&self.spec, &heading, MessageType::Ack, Ipv4Addr::UNSPECIFIED);
        answer.id = Id::new(&request.id);
        answer.relay = request.relay.as_deref().map(Into::into);
        answer.mask = Some(self.spec.mask());
        answer.options = true;
        answer.inform = true;
        self.reply(answer, &deeds, now);
    }

    /// Binds the address to the client and says so.
    fn grant(
        &mut self,
        request: &Request<'_>,
        pool: usize,
        address: Ipv4Addr,
        deeds: &Deeds,
        now: Instant,
    ) {
        let seconds = self.lease_time(request, deeds);
        let until =
            if seconds == INFINITE { NEVER } else { now + Duration::from_secs(u64::from(seconds)) };
        let (client, hostname) = (request.client(), request.hostname());
        match self.pools[pool].bind(&client, address, hostname, until, now) {
            None => return self.refuse(request, "address not available", deeds, now),
            Some(true) => self.counters.add(Counter::Bound),
            Some(false) => {}
        }
        let mut ack = self.answer(request, MessageType::Ack, address);
        self.add_terms(&mut ack, seconds);
        // RFC 4039 section 4: an ACK to a DISCOVER MUST carry option 80.
        ack.rapid = request.kind == Kinds::DISCOVER;
        self.reply(ack, deeds, now);
    }

    fn refuse(&mut self, request: &Request<'_>, why: &'static str, deeds: &Deeds, now: Instant) {
        let mut nak = self.answer(request, MessageType::Nak, Ipv4Addr::UNSPECIFIED);
        nak.text = why;
        self.reply(nak, deeds, now);
    }

    /// RFC 2131 4.3.1: what the client asks for, up to what is configured.
    fn lease_time(&self, request: &Request<'_>, deeds: &Deeds) -> u32 {
        deeds.lease.unwrap_or_else(|| {
            let wanted = request.message.lease_time.filter(|seconds| *seconds != 0);
            wanted.map_or(self.spec.lease_time, |seconds| seconds.min(self.spec.lease_time))
        })
    }

    fn answer(&self, request: &Request<'_>, kind: MessageType, yiaddr: Ipv4Addr) -> Answer {
        let mut answer = Answer::new(&self.spec, &request.heading, kind, yiaddr);
        answer.id = Id::new(&request.id);
        answer.relay = request.relay.as_deref().map(Into::into);
        answer
    }

    /// Times, mask and configured options.
    fn add_terms(&self, answer: &mut Answer, seconds: u32) {
        answer.lease_time = Some(seconds);
        answer.renewal_time = self.spec.t1.filter(|t1| *t1 < seconds);
        answer.rebinding_time = self.spec.t2.filter(|t2| *t2 < seconds);
        answer.mask = Some(self.spec.mask());
        answer.options = true;
    }

    fn reply(&mut self, mut answer: Answer, deeds: &Deeds, now: Instant) {
        if deeds.silent {
            return;
        }
        answer.spoil(deeds);
        self.push(Outbound::Dhcp(answer), deeds, now);
    }

    fn push(&mut self, frame: Outbound, deeds: &Deeds, now: Instant) {
        let lost = self.queue.push(frame, deeds, now);
        self.counters.add_many(Counter::QueueFull, lost);
    }

    /// Does what the neighbours say.
    fn step(&mut self, step: Step, slot: &mut [u8]) -> Option<Result<usize, NoRoom>> {
        match step {
            Step::Send(answer) => return Some(self.emit_answer(&answer, slot)),
            Step::Ask(Question { vlans, address }) => {
                let (source, destination) = (self.spec.mac, Mac::BROADCAST);
                let arp = Arp::request(source, self.spec.address, address);
                return Some(self.emit_arp(Link { destination, source, vlans }, arp, slot));
            }
            Step::Wait => {}
            Step::Full => self.counters.add(Counter::NeighboursFull),
            Step::Lost(count) => self.counters.add_many(Counter::Unreachable, count as u64),
        }
        None
    }

    fn emit_arp(&mut self, link: Link, arp: Arp, slot: &mut [u8]) -> Result<usize, NoRoom> {
        let len = wire::emit(&Transmit { link, body: TransmitBody::Arp(arp) }, slot)?;
        self.counters.add(match arp.operation {
            Operation::Request => Counter::ArpAsked,
            Operation::Reply => Counter::ArpReply,
        });
        Ok(len)
    }

    fn emit_answer(&mut self, answer: &Answer, slot: &mut [u8]) -> Result<usize, NoRoom> {
        let len = answer.emit(self.spec.address, &self.options, &mut self.scratch, slot)?;
        self.counters.add(match answer.message_type {
            MessageType::Offer => Counter::Offer,
            MessageType::Nak => Counter::Nak,
            _ if answer.inform => Counter::InformAck,
            _ => Counter::Ack,
        });
        Ok(len)
    }
}

/// The counter of a received message.
const fn received(kind: Kinds) -> Counter {
    match kind {
        Kinds::DISCOVER => Counter::Discover,
        Kinds::SELECTING => Counter::Selecting,
        Kinds::INIT_REBOOT => Counter::InitReboot,
        Kinds::RENEWING => Counter::Renewing,
        Kinds::REBINDING => Counter::Rebinding,
        Kinds::RELEASE => Counter::Release,
        Kinds::DECLINE => Counter::Decline,
        _ => Counter::Inform,
    }
}
