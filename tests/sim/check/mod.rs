//! The rules that hold in every run: a model of each lease, fed with what is seen from outside
//! (frames, commands, views, notices), that says which rule was broken.
//!
//! It knows nothing of the engine's insides: what a lease holds must be explained by an ACK that
//! was delivered, and each frame by what was delivered before.

mod reader;
#[cfg(test)]
mod tests;
mod view;
pub(crate) mod wire;

use crate::coverage::{Coverage, Mark};
use crate::seen::{Body, Dhcp, Seen};
use lessee_engine::lease::{LeaseId, Terms};
use lessee_engine::time::Instant;
use lessee_engine::wire::dhcp::{MessageType, Op};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::Domain;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Lines of a lease's trace that are kept.
const TRACE: usize = 50;
/// How late the engine's timer may be: a tick.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// The rules, by the numbers of the issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// No address is used after its lease has ended.
    Expiry,
    /// No two leases hold one address.
    Unique,
    /// What may be sent in this state, and in what form.
    Form,
    /// When it may be sent.
    Timing,
    /// All are bound in time after the network has healed.
    Heals,
    /// Queues are bounded, and no turn spins.
    Bounded,
    /// The reader of events misses nothing.
    Events,
    /// Counters, tables and views agree.
    Books,
    /// Every change has its reason.
    Reason,
}

/// A broken rule.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) lease: Option<u32>,
    pub(crate) text: String,
}

pub(crate) type Checked = Result<(), Violation>;

/// Fails for a lease.
pub(crate) fn broken(rule: Rule, lease: u32, text: impl Into<String>) -> Checked {
    Err(Violation { rule, lease: Some(lease), text: text.into() })
}

/// Who a lease is and where it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) client: u8,
    pub(crate) port: u16,
    pub(crate) segment: u8,
    pub(crate) domain: Domain,
    pub(crate) mac: Mac,
    pub(crate) probe: bool,
}

/// The state as views show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Init,
    Selecting,
    Requesting,
    Bound,
    Renewing,
    Rebinding,
    Releasing,
    Waiting,
    Released,
}

/// How it was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Release,
    Forget,
}

/// Messages of one transaction.
#[derive(Clone, Copy, Debug, Default)]
struct Series {
    xid: u32,
    sent: u32,
    first: Instant,
    last: Instant,
    secs: u16,
    /// No earlier than so long after `last`.
    wait: Duration,
    rebinding: bool,
    /// The first of the round that RENEWING and REBINDING share.
    began: Instant,
    /// Whose answer counts; `None`: anybody's.
    server: Option<Ipv4Addr>,
    /// Answered, or given up: further answers count for nothing.
    closed: bool,
    /// An ACK ended the round.
    over: bool,
}

/// What an ACK that was delivered would grant.
#[derive(Clone, Copy, Debug)]
struct Grant {
    address: Ipv4Addr,
    server_id: Ipv4Addr,
    server_mac: Mac,
    lease_time: u32,
    start: Instant,
}

/// The model of a lease.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) home: Home,
    pub(crate) id: LeaseId,
    pub(crate) phase: Phase,
    pub(crate) terms: Option<Terms>,
    /// By the client's clock.
    pub(crate) acked: Instant,
    pub(crate) end: Option<End>,
    /// Nothing may be sent any more.
    mute: bool,
    /// Held an address since this was last cleared.
    pub(crate) was_bound: bool,
    discover: Series,
    request: Series,
    extend: Series,
    hops: Series,
    offers: Vec<(Ipv4Addr, Ipv4Addr)>,
    grants: Vec<Grant>,
    /// What was granted only to be given back.
    parting: Vec<Grant>,
    nak: bool,
    nak_at: Instant,
    /// NAKs obeyed since an address was last held, and when the last one was.
    naks: u32,
    refused_at: Instant,
    answered_bound: bool,
    renew_asked: bool,
    sequence: u32,
    known: Option<Ipv4Addr>,
    lost: bool,
    touched: u64,
}

/// The model of all leases.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) leases: Vec<Lease>,
    pub(crate) coverage: Coverage,
    by_mac: HashMap<(u8, u16, Domain, Mac), u32>,
    by_id: HashMap<(u8, LeaseId), u32>,
    holders: HashMap<(u8, Domain, Ipv4Addr), u32>,
    expiries: Vec<BinaryHeap<Reverse<(Instant, u32)>>>,
    clocks: Vec<Instant>,
    /// Until when a client was kept from sending.
    trouble: Vec<Instant>,
    /// Pools of servers that lost their memory: segment, first, last.
    forgetful: Vec<(u8, Ipv4Addr, Ipv4Addr)>,
    /// Addresses of which servers were led to believe something wrong.
    exempt: HashSet<(u8, Ipv4Addr)>,
    /// For each client, leases with something that its reader does not know.
    unread: Vec<Vec<u32>>,
    /// For each client, leases whose last notice was not read.
    living: Vec<u32>,
    watched: Option<u32>,
    trace: VecDeque<String>,
}

impl Checker {
    /// A model of nothing yet; `watched` is the lease whose trace is kept.
    pub(crate) fn new(clients: usize, watched: Option<u32>, now: Instant) -> Self {
        Self {
            expiries: vec![BinaryHeap::new(); clients],
            clocks: vec![now; clients],
            trouble: vec![now; clients],
            unread: vec![Vec::new(); clients],
            living: vec![0; clients],
            watched,
            ..Self::default()
        }
    }

    /// The client's clock now.
    pub(crate) fn tick(&mut self, client: u8, now: Instant) {
        self.clocks[usize::from(client)] = now;
    }

    /// Up to now the client could not send when it wanted to.
    pub(crate) fn troubled(&mut self, client: u8, now: Instant) {
        self.trouble[usize::from(client)] = now;
    }

    pub(crate) fn forgot(&mut self, segment: u8, first: Ipv4Addr, last: Ipv4Addr) {
        self.forgetful.push((segment, first, last));
    }

    /// Servers may from now on be wrong about this address.
    pub(crate) fn excuse(&mut self, segment: u8, address: Ipv4Addr) {
        self.exempt.insert((segment, address));
    }

    /// True if servers may have given the address away.
    pub(crate) fn is_excused(&self, segment: u8, address: Ipv4Addr) -> bool {
        self.exempt.contains(&(segment, address))
            || self
                .forgetful
                .iter()
                .any(|(at, first, last)| *at == segment && (*first..=*last).contains(&address))
    }

    pub(crate) fn by_mac(&self, client: u8, port: u16, domain: Domain, mac: Mac) -> Option<u32> {
        self.by_mac.get(&(client, port, domain, mac)).copied()
    }

    /// A lease was begun.
    pub(crate) fn began(&mut self, home: Home, id: LeaseId, now: Instant) -> u32 {
        let place = self.leases.len() as u32;
        self.leases.push(Lease {
            home,
            id,
            phase: Phase::Init,
            terms: None,
            acked: now,
            end: None,
            mute: false,
            was_bound: false,
            discover: Series::default(),
            request: Series::default(),
            extend: Series::default(),
            hops: Series::default(),
            offers: Vec::new(),
            grants: Vec::new(),
            parting: Vec::new(),
            nak: false,
            nak_at: Instant::ZERO,
            naks: 0,
            refused_at: Instant::ZERO,
            answered_bound: false,
            renew_asked: false,
            sequence: 0,
            known: None,
            lost: false,
            touched: 0,
        });
        self.by_mac.insert((home.client, home.port, home.domain, home.mac), place);
        self.by_id.insert((home.client, id), place);
        self.living[usize::from(home.client)] += 1;
        self.say(place, now, || format!("acquire {:?} {id:?}", home.mac));
        place
    }

    /// True the first time that a lease is touched at this step.
    pub(crate) fn touch(&mut self, place: u32, step: u64) -> bool {
        std::mem::replace(&mut self.leases[place as usize].touched, step) != step
    }

    /// The caller ended a lease; a view must follow.
    pub(crate) fn ended(&mut self, place: u32, end: End, now: Instant) {
        self.say(place, now, || format!("{end:?} by command"));
        let lease = &mut self.leases[place as usize];
        if lease.end.is_none() {
            self.coverage.mark(match (end, lease.phase) {
                (End::Forget, _) => Mark::Forget,
                (_, Phase::Bound) => Mark::ReleaseBound,
                (_, Phase::Renewing) => Mark::ReleaseRenewing,
                (_, Phase::Rebinding) => Mark::ReleaseRebinding,
                _ => Mark::GiveUp,
            });
        }
        // Forgetting wins over a release under way.
        if lease.end.is_none() || end == End::Forget {
            lease.end = Some(end);
        }
        lease.mute |= end == End::Forget;
    }

    /// The caller wants a lease renewed now.
    pub(crate) fn renew_asked(&mut self, place: u32, now: Instant) {
        self.say(place, now, || "renew by command".to_owned());
        let lease = &mut self.leases[place as usize];
        if lease.phase == Phase::Bound {
            lease.renew_asked = true;
            self.coverage.mark(Mark::RenewCommand);
        }
    }

    /// A port took a frame in; the lease that it may concern comes back.
    pub(crate) fn heard(
        &mut self,
        client: u8,
        port: u16,
        seen: &Seen,
        now: Instant,
    ) -> Option<u32> {
        let Body::Dhcp(message) = seen.body else { return None };
        if message.op != Op::Reply {
            return None;
        }
        let place = self.by_mac(client, port, seen.domain, message.chaddr)?;
        self.say(place, now, || {
            format!(
                "hears {:?} {:08x} yiaddr {} from {:?} for {:?} s",
                message.kind, message.xid, message.yiaddr, message.server_id, message.lease_time
            )
        });
        self.leases[place as usize].hear(&message, seen.source, now);
        Some(place)
    }

    fn say(&mut self, place: u32, now: Instant, line: impl FnOnce() -> String) {
        if self.watched == Some(place) {
            if self.trace.len() == TRACE {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{now:?} {}", line()));
        }
    }

    /// The last things that happened to the lease that is watched.
    pub(crate) fn trace(&self) -> impl Iterator<Item = &String> {
        self.trace.iter()
    }
}

impl Lease {
    fn hear(&mut self, message: &Dhcp, source: Mac, now: Instant) {
        self.answered_bound = self.phase == Phase::Bound;
        let asked = |series: &&Series| {
            let theirs = series.server.is_none() || series.server == message.server_id;
            series.sent > 0 && !series.closed && series.xid == message.xid && theirs
        };
        let start = [self.request, self.extend].iter().find(asked).map(|series| series.first);
        match (message.kind, start) {
            (MessageType::Offer, _) if message.xid == self.discover.xid => {
                if let Some(server_id) = message.server_id {
                    self.offers.push((message.yiaddr, server_id));
                }
            }
            // RFC 2131 table 3: option 54 is a MUST in a NAK.
            (MessageType::Nak, Some(_)) if message.server_id.is_some() => {
                (self.nak, self.nak_at) = (true, now);
            }
            (MessageType::Ack, Some(start)) => {
                if let (Some(server_id), Some(lease_time)) = (message.server_id, message.lease_time)
                {
                    self.grants.push(Grant {
                        address: message.yiaddr,
                        server_id,
                        server_mac: source,
                        lease_time,
                        start,
                    });
                }
            }
            _ => {}
        }
    }

    /// True while an address is held at `now`.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.terms.is_some_and(|terms| lasts(&terms, now))
    }
}

/// When terms end, by the RFC's words and not by the engine's arithmetic; `None`: never.
pub(crate) fn end_of(terms: &Terms) -> Option<Instant> {
    (terms.lease_time != u32::MAX)
        .then(|| terms.start + Duration::from_secs(u64::from(terms.lease_time)))
}

pub(crate) fn lasts(terms: &Terms, now: Instant) -> bool {
    end_of(terms).is_none_or(|end| now < end)
}
