//! One lease, sans-IO: packets and time in, packets, a deadline and notices out.
//!
//! Call `handle_*` with what arrives. Whenever [`Machine::wants_transmit`] says so, find a transmit
//! slot, then call [`Machine::poll_transmit`] and write what it returns into that slot: a call
//! counts as sent. After any call look at [`Machine::poll_timeout`] again, and call
//! [`Machine::handle_timeout`] when that time has come. The state diagram is in [`super::state`].

use super::accept::{self, Ignored, Reply, Verdict};
use super::identity::Identity;
use super::render;
use super::state::{Due, Exchange, Hop, State, Wait};
use super::terms::{Acquire, BroadcastFlag, Kinds, Lost, Notice, Profile, Terms};
use super::timing::nak_pause;
use crate::random::Random;
use crate::time::Instant;
use crate::wire::Transmit;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ethernet::Mac;
use crate::wire::options::{OptionSet, code};
use crate::wire::vlan::VlanStack;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// ARP requests for a next hop before it is given up.
const HOP_TRIES: u8 = 3;
/// Time between them.
const HOP_WAIT: Duration = Duration::from_secs(1);

/// What an accepted reply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An OFFER was chosen.
    Offered {
        /// Since the first DISCOVER.
        after: Duration,
        /// DISCOVERs sent for it.
        sent: u8,
    },
    /// An OFFER was only looked at, because the lease is a probe.
    Probed,
    /// An address was granted.
    Bound {
        /// Since the first REQUEST.
        after: Duration,
        /// Since the first DISCOVER.
        in_all: Duration,
        /// REQUESTs sent for it.
        sent: u8,
    },
    /// The lease was extended.
    Renewed {
        /// Since the first REQUEST of this round.
        after: Duration,
        /// REQUESTs sent for it.
        sent: u8,
    },
    /// The server refused; the lease starts again.
    Refused,
}

/// One lease.
#[derive(Debug)]
pub struct Machine {
    identity: Identity,
    state: State,
    /// Of the exchange in hand or, when there is none, of the last one.
    xid: u32,
    random: Random,
    /// DHCPNAKs in a row without a lease in between.
    naks: u8,
    probe: bool,
    /// To be given back as soon as it is granted: a REQUEST is out, and its ACK may be on its way.
    leaving: bool,
    /// A unicast answer to a client without an address could arrive.
    unicast_arrives: bool,
    /// The address to ask for in the next DISCOVER; unspecified: none.
    wanted: Ipv4Addr,
    news: News,
    options: Option<Arc<OptionSet>>,
}

/// What the reader of notices has not been told yet.
#[derive(Debug)]
struct News {
    tag: u64,
    kinds: Kinds,
    sequence: u32,
    lost: Option<Lost>,
    /// The address of the last notice; unspecified: none.
    reported: Ipv4Addr,
}

impl Machine {
    /// A lease in INIT. `unicast_arrives` says whether the port would receive a frame sent to the
    /// lease's MAC.
    #[must_use]
    pub fn new(acquire: Acquire, unicast_arrives: bool, seed: u32) -> Self {
        Self {
            state: State::Init,
            xid: 0,
            random: Random::new(seed),
            naks: 0,
            probe: acquire.probe,
            leaving: false,
            unicast_arrives,
            wanted: acquire.requested_address.unwrap_or(Ipv4Addr::UNSPECIFIED),
            news: News {
                tag: acquire.tag,
                kinds: Kinds::default(),
                sequence: 0,
                lost: None,
                reported: Ipv4Addr::UNSPECIFIED,
            },
            options: None,
            identity: Identity::new(acquire),
        }
    }

    /// Where the lease stands.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The transaction identifier of the exchange in hand or the last one; 0 before the first.
    #[must_use]
    pub const fn xid(&self) -> u32 {
        self.xid
    }

    /// The lease's MAC.
    #[must_use]
    pub const fn mac(&self) -> Mac {
        self.identity.mac
    }

    /// The tags that it sends with.
    #[must_use]
    pub const fn vlans(&self) -> VlanStack {
        self.identity.vlans
    }

    /// The caller's own number.
    #[must_use]
    pub const fn tag(&self) -> u64 {
        self.news.tag
    }

    /// What it shares with others.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.identity.profile
    }

    /// The options of the last ACK, where the profile keeps them.
    #[must_use]
    pub fn options(&self) -> Option<&Arc<OptionSet>> {
        self.options.as_ref()
    }

    /// Takes a DHCP reply that the table has routed here by its xid.
    ///
    /// # Errors
    /// Why it was ignored; nothing has then changed.
    pub fn handle_reply(&mut self, reply: &Reply<'_>, now: Instant) -> Result<Outcome, Ignored> {
        let verdict = accept::judge(&self.state, &self.identity, self.xid, reply, now)?;
        Ok(match (self.state, verdict) {
            (State::Selecting { exchange }, Verdict::Offer { address, server_id }) => {
                self.chosen(exchange, address, server_id, now)
            }
            (State::Requesting { exchange, discovered, .. }, Verdict::Ack(terms)) => {
                if self.leaving {
                    self.state = State::Releasing { terms };
                } else {
                    self.bound(terms, reply);
                }
                Outcome::Bound {
                    after: now.since(exchange.first),
                    in_all: now.since(discovered),
                    sent: exchange.sent,
                }
            }
            (
                State::Renewing { exchange, terms: old, .. }
                | State::Rebinding { exchange, terms: old, .. },
                Verdict::Ack(terms),
            ) => {
                self.renewed(&old, terms, reply);
                Outcome::Renewed { after: now.since(exchange.first), sent: exchange.sent }
            }
            (_, Verdict::Nak) => {
                if self.leaving {
                    self.forget();
                } else {
                    self.refused(now);
                }
                Outcome::Refused
            }
            // `judge` gives a verdict only in the states above.
            (_, Verdict::Offer { .. } | Verdict::Ack(_)) => return Err(Ignored::Unexpected),
        })
    }

    /// Takes an ARP packet that concerns the address held.
    pub fn handle_arp(&mut self, arp: &Arp, now: Instant) {
        let State::Renewing { terms, exchange, hop } = &mut self.state else {
            return;
        };
        let answers = arp.operation == Operation::Reply
            && Some(arp.sender_ip) == terms.next_hop
            && !arp.sender_mac.is_multicast()
            && arp.sender_mac != Mac::ZERO;
        if answers && matches!(hop, Hop::Ask(1..)) {
            *hop = Hop::Known(arp.sender_mac);
            exchange.next = now;
        }
    }

    /// Moves to the state that the passing of time demands.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Bound { terms }
            | State::Renewing { terms, .. }
            | State::Rebinding { terms, .. }
                if past(terms.expiry(), now) =>
            {
                // RFC 2131 4.4.5: at expiry the client MUST stop using the address and return to
                // INIT. It may ask for the same address again (table 5).
                self.lost(Lost::Expired);
                self.wanted = terms.address;
                self.state = State::Init;
            }
            State::Bound { terms } | State::Renewing { terms, .. } if past(terms.t2(), now) => {
                let began = self.state.exchange().filter(|exchange| exchange.sent > 0);
                let began = began.map_or(Instant::NEVER, |exchange| exchange.first);
                self.state = State::Rebinding { terms, exchange: Exchange::due(now), began };
            }
            State::Bound { terms } if past(terms.t1(), now) => self.start_renewing(terms, now),
            State::Renewing { terms, mut exchange, hop: Hop::Ask(HOP_TRIES..) }
                if exchange.next <= now =>
            {
                self.state = if let Some(t2) = terms.t2() {
                    // Nobody knows the way: wait for T2 and broadcast.
                    exchange.next = t2;
                    State::Renewing { terms, exchange, hop: Hop::Ask(HOP_TRIES) }
                } else {
                    // An infinite lease was renewed by command, and needs no answer.
                    State::Bound { terms }
                };
            }
            State::Requesting { exchange, .. } if self.leaving && exchange.next <= now => {
                self.forget()
            }
            State::Requesting { exchange, .. }
                if exchange.next <= now && exchange.sent >= self.requests() =>
            {
                // RFC 2131 4.4.1 with 3.1(5): no answer to the REQUEST; start again.
                self.state = State::Init;
            }
            // RFC 2131 4.4.5: an address is not used after its end, not even to give it back.
            State::Releasing { terms } if past(terms.expiry(), now) => self.forget(),
            State::Waiting { until, .. } if until <= now => self.state = State::Init,
            _ => {}
        }
    }

    /// When to call [`Machine::handle_timeout`] or to look at [`Machine::wants_transmit`] again;
    /// what wants to be sent already is not counted. `None`: never.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let due = self.wants_transmit(now);
        let next = |exchange: &Exchange| (!due).then_some(exchange.next);
        let earlier = |a: Option<Instant>, b: Option<Instant>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match &self.state {
            State::Selecting { exchange } | State::Requesting { exchange, .. } => next(exchange),
            State::Bound { terms } => terms.t1(),
            State::Renewing { terms, exchange, .. } => earlier(next(exchange), terms.t2()),
            State::Rebinding { terms, exchange, .. } => earlier(next(exchange), terms.expiry()),
            State::Waiting { until, .. } => Some(*until),
            State::Releasing { terms } => terms.expiry(),
            State::Init | State::Released => None,
        }
    }

    /// True if a packet is due.
    #[must_use]
    pub fn wants_transmit(&self, now: Instant) -> bool {
        self.due(now).is_some()
    }

    /// What is due to be sent.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Due> {
        match &self.state {
            State::Init => Some(Due::Discover),
            State::Selecting { exchange } if exchange.next <= now => Some(Due::Discover),
            State::Requesting { exchange, .. }
                if exchange.next <= now && exchange.sent < self.requests() && !self.leaving =>
            {
                Some(Due::Request)
            }
            // Past the end of the state nothing is sent from it: its timer is only late.
            State::Renewing { terms, exchange, hop }
                if exchange.next <= now && !past(terms.t2(), now) =>
            {
                match hop {
                    Hop::Known(mac) => Some(Due::Renew(*mac)),
                    Hop::Ask(0..HOP_TRIES) => terms.next_hop.map(Due::ResolveHop),
                    Hop::Ask(_) => None,
                }
            }
            State::Rebinding { terms, exchange, .. }
                if exchange.next <= now && !past(terms.expiry(), now) =>
            {
                Some(Due::Rebind)
            }
            State::Releasing { terms } if !past(terms.expiry(), now) => Some(Due::Release),
            State::Selecting { .. }
            | State::Requesting { .. }
            | State::Bound { .. }
            | State::Renewing { .. }
            | State::Rebinding { .. }
            | State::Releasing { .. }
            | State::Waiting { .. }
            | State::Released => None,
        }
    }

    /// Takes the step that sends what is due, and returns it: a slot for it must be at hand.
    /// `fresh` is the xid for a new exchange, should this packet begin one.
    pub fn poll_transmit(&mut self, now: Instant, fresh: u32) -> Option<Transmit<'_>> {
        let due = self.due(now)?;
        let released = if let State::Releasing { terms } = self.state { Some(terms) } else { None };
        self.sent(due, now, fresh);
        Some(render::packet(due, released, &self.state, &self.identity, self.xid, self.wanted))
    }

    /// Gives the lease back: RELEASE if an address is held, silence if not. With a REQUEST under way
    /// the answer is waited for until the request would be repeated, so that no server grants a
    /// lease that nobody gives back.
    pub fn release(&mut self) {
        match self.state {
            // RFC 2131 4.4.6: a RELEASE goes to the server that leased the address.
            State::Bound { terms }
            | State::Renewing { terms, .. }
            | State::Rebinding { terms, .. }
            | State::Releasing { terms } => self.state = State::Releasing { terms },
            State::Requesting { exchange, .. } if exchange.sent > 0 => self.leaving = true,
            State::Init
            | State::Selecting { .. }
            | State::Requesting { .. }
            | State::Waiting { .. }
            | State::Released => self.forget(),
        }
    }

    /// True while something is still to be said or heard before the lease is over.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        match self.state {
            State::Releasing { .. } => true,
            State::Requesting { .. } => self.leaving,
            _ => false,
        }
    }

    /// Takes no messages longer than `most` bytes (option 57), but always those of 576.
    pub fn limit_message_size(&mut self, most: u16) {
        // RFC 2132 9.10: "The minimum legal value is 576 octets."
        let size = &mut self.identity.max_message_size;
        *size = (*size).min(most).max(576);
    }

    /// Asks for broadcast answers from now on, where the profile leaves that to the engine.
    pub const fn doubt_unicast(&mut self) {
        self.unicast_arrives = false;
    }

    /// Ends the lease without a word; the server keeps it until it expires.
    pub fn forget(&mut self) {
        if self.state != State::Released {
            self.state = State::Released;
            self.news.kinds.insert(Kinds::RELEASED);
        }
    }

    /// Renews at once instead of at T1. Without an address, or when already renewing, nothing.
    pub fn renew(&mut self, now: Instant) {
        if let State::Bound { terms } = self.state {
            self.start_renewing(terms, now);
        }
    }

    /// True if [`Machine::poll_notice`] has something to tell.
    #[must_use]
    pub const fn has_news(&self) -> bool {
        !self.news.kinds.is_empty()
    }

    /// All that happened since the last notice, with the terms as they are now.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        if self.news.kinds.is_empty() {
            return None;
        }
        let terms = self.state.terms().copied();
        let previous = self.news.reported;
        self.news.sequence = self.news.sequence.wrapping_add(1);
        self.news.reported = terms.map_or(Ipv4Addr::UNSPECIFIED, |terms| terms.address);
        Some(Notice {
            tag: self.news.tag,
            mac: self.identity.mac,
            kinds: std::mem::take(&mut self.news.kinds),
            sequence: self.news.sequence,
            terms,
            previous: (!previous.is_unspecified()).then_some(previous),
            lost: self.news.lost.take(),
            options: if terms.is_some() { self.options.clone() } else { None },
        })
    }

    fn requests(&self) -> u8 {
        self.identity.profile.retransmission.requests.max(1)
    }

    fn chosen(
        &mut self,
        discovers: Exchange,
        address: Ipv4Addr,
        server_id: Ipv4Addr,
        now: Instant,
    ) -> Outcome {
        if self.probe {
            return Outcome::Probed;
        }
        // The REQUEST inherits broadcast and secs from the DISCOVER (RFC 2131 3.1(3)).
        let exchange = Exchange { first: now, next: now, sent: 0, ..discovers };
        let discovered = discovers.first;
        self.state = State::Requesting { exchange, discovered, address, server_id };
        Outcome::Offered { after: now.since(discovered), sent: discovers.sent }
    }

    fn bound(&mut self, terms: Terms, reply: &Reply<'_>) {
        let fuzz = (self.random.next() >> 16) as u16;
        self.state = State::Bound { terms: Terms { fuzz, ..terms } };
        self.naks = 0;
        self.wanted = Ipv4Addr::UNSPECIFIED;
        self.news.kinds.insert(Kinds::BOUND);
        self.keep_options(reply);
    }

    fn renewed(&mut self, old: &Terms, terms: Terms, reply: &Reply<'_>) {
        let fuzz = (self.random.next() >> 16) as u16;
        self.state = State::Bound { terms: Terms { fuzz, ..terms } };
        self.naks = 0;
        self.news.kinds.insert(Kinds::RENEWED);
        let before = self.options.clone();
        self.keep_options(reply);
        let same = (old.address, old.prefix, old.next_hop)
            == (terms.address, terms.prefix, terms.next_hop)
            && !options_differ(before.as_deref(), self.options.as_deref());
        if !same {
            self.news.kinds.insert(Kinds::CHANGED);
        }
    }

    fn keep_options(&mut self, reply: &Reply<'_>) {
        if self.identity.profile.keep_options {
            let options = OptionSet::from_options(&reply.datagram.message.options);
            if self.options.as_deref() != Some(&options) {
                self.options = Some(Arc::new(options));
            }
        }
    }

    fn refused(&mut self, now: Instant) {
        if self.state.terms().is_some() {
            self.lost(Lost::Nak);
        }
        self.naks = self.naks.saturating_add(1);
        // The address that was refused is not asked for again.
        self.wanted = Ipv4Addr::UNSPECIFIED;
        let pause = nak_pause(self.naks, &mut self.random);
        // RFC 2131 3.1(5): "If the client receives a DHCPNAK message, the client restarts the
        // configuration process." At once the first time; a storm backs off.
        self.state = if pause.is_zero() {
            State::Init
        } else {
            State::Waiting { until: now + pause, why: Wait::Nak }
        };
    }

    fn lost(&mut self, why: Lost) {
        self.news.kinds.insert(Kinds::LOST);
        self.news.lost = Some(why);
        self.options = None;
    }

    fn start_renewing(&mut self, terms: Terms, now: Instant) {
        // The first RENEW goes to the MAC that the ACK came from; only a retry resolves it anew.
        let hop = Hop::Known(terms.server_mac);
        self.state = State::Renewing { terms, exchange: Exchange::due(now), hop };
    }

    /// The step that sending `due` takes.
    fn sent(&mut self, due: Due, now: Instant, fresh: u32) {
        let plan = self.identity.profile.retransmission;
        let repeated = self.state.exchange().is_some_and(|exchange| exchange.sent > 0);
        let broadcast = self.wants_broadcast(repeated);
        match (&mut self.state, due) {
            (State::Init, Due::Discover) => {
                self.xid = fresh;
                let mut exchange = Exchange::due(now);
                exchange.broadcast = broadcast;
                exchange.sent = 1;
                exchange.next = now + plan.wait(1, &mut self.random);
                self.state = State::Selecting { exchange };
            }
            (State::Selecting { exchange }, Due::Discover) => {
                let mut exchange = *exchange;
                exchange.broadcast = broadcast;
                exchange.secs = seconds(now.since(exchange.first));
                exchange.sent = exchange.sent.saturating_add(1);
                exchange.next = now + plan.wait(exchange.sent, &mut self.random);
                self.state = State::Selecting { exchange };
            }
            (State::Requesting { exchange, .. }, Due::Request) => {
                if exchange.sent == 0 {
                    exchange.first = now;
                }
                exchange.broadcast |= broadcast;
                exchange.sent = exchange.sent.saturating_add(1);
                exchange.next = now + plan.wait(exchange.sent, &mut self.random);
            }
            (State::Renewing { terms, exchange, hop }, Due::Renew(mac)) => {
                begin(exchange, &mut self.xid, now, fresh);
                let remaining = terms.t2().map_or(plan.longest, |t2| t2.since(now));
                exchange.next = now + plan.renewal_wait(remaining);
                *hop = match (terms.t2(), terms.next_hop) {
                    (None, _) => Hop::Ask(HOP_TRIES),
                    (_, Some(_)) => Hop::Ask(0),
                    (_, None) => Hop::Known(mac),
                };
            }
            (State::Renewing { exchange, hop: Hop::Ask(asked), .. }, Due::ResolveHop(_)) => {
                *asked += 1;
                exchange.next = now + HOP_WAIT;
            }
            (State::Rebinding { terms, exchange, began }, Due::Rebind) => {
                begin(exchange, &mut self.xid, now, fresh);
                // RFC 2131 table 1: since the client began the renewal process.
                *began = (*began).min(exchange.first);
                exchange.secs = seconds(now.since(*began));
                let remaining = terms.expiry().map_or(Duration::MAX, |end| end.since(now));
                exchange.next = now + plan.renewal_wait(remaining);
            }
            (State::Releasing { .. }, Due::Release) => {
                // RFC 2131 table 5: the RELEASE's xid is "selected by client".
                self.xid = fresh;
                self.forget();
            }
            // `due` is read off the state, so no other pair exists.
            (_, _) => {}
        }
    }

    fn wants_broadcast(&self, repeated: bool) -> bool {
        match self.identity.profile.broadcast {
            BroadcastFlag::Auto => !self.unicast_arrives || repeated,
            BroadcastFlag::Always => true,
            BroadcastFlag::Never => false,
        }
    }
}

/// True if the deadline has come.
fn past(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|at| at <= now)
}

/// Counts a request of RENEWING or REBINDING; the first one begins a new transaction.
fn begin(exchange: &mut Exchange, xid: &mut u32, now: Instant, fresh: u32) {
    if exchange.sent == 0 {
        *xid = fresh;
        exchange.first = now;
    }
    exchange.secs = seconds(now.since(exchange.first));
    exchange.sent = exchange.sent.saturating_add(1);
}

/// Whole seconds for the field `secs`, which ends at 65,535.
fn seconds(duration: Duration) -> u16 {
    u16::try_from(duration.as_secs()).unwrap_or(u16::MAX)
}

/// True if two sets of options differ in more than the running times (51, 58, 59).
fn options_differ(before: Option<&OptionSet>, after: Option<&OptionSet>) -> bool {
    fn lasting(set: &OptionSet) -> impl Iterator<Item = (u8, &[u8])> {
        const RUNNING: [u8; 3] = [code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME];
        // The server identifier may change at REBINDING without any matter to the address.
        set.iter().filter(|(code, _)| !RUNNING.contains(code) && *code != code::SERVER_ID)
    }
    match (before, after) {
        (Some(before), Some(after)) => !lasting(before).eq(lasting(after)),
        (None, None) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
