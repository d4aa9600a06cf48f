//! All leases over all ports: one bounded pass, [`Client::turn`], does everything.
//!
//! It makes no system call of its own: devices and the time are handed in, so that the driver and
//! the tests run the same code.

mod port;
mod turn;

pub use port::PortSpec;

use crate::arp::Answers;
use crate::command::{Event, LeaseView, Offer, PortView};
use crate::device::{Device, LinkFault};
use crate::error::AcquireError;
use crate::lease::{Acquire, ClientIdentifier, Due, LeaseId, Machine, PortId, State, Table};
use crate::pace::Class;
use crate::random::Random;
use crate::time::Instant;
use crate::timer::Wheel;
use crate::wire::vlan::Domain;
use port::Port;
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

/// OFFERs and link faults that may wait for a reader; further ones are counted and dropped.
const NOTES_WAITING: usize = 1024;

/// Places in a ready queue that leases which are gone may always hold.
const READY_SLACK: usize = 64;

/// What a turn leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// When the next turn has something to do; `None`: when a frame or a command comes. A device
    /// without a free slot does not count: its owner knows when it may have one.
    pub next: Option<Instant>,
    /// There is more to do right now: a bound was reached.
    pub more: bool,
}

/// The engine without its loop.
#[derive(Debug)]
pub struct Client {
    table: Table,
    wheel: Wheel,
    ports: Vec<Port>,
    /// Who holds an address on a port's broadcast domain.
    holders: HashMap<(PortId, Domain, Ipv4Addr), u32>,
    /// Leases with news, each at most once.
    news: VecDeque<u32>,
    /// Events that belong to no lease's news.
    notes: VecDeque<Event>,
    seeds: Random,
    shutting_down: bool,
}

impl Client {
    /// A client without ports. The seed decides every jitter and every xid.
    #[must_use]
    pub fn new(seed: [u32; 5], now: Instant) -> Self {
        let [a, b, c, d, e] = seed;
        Self {
            table: Table::new([a, b, c, d]),
            wheel: Wheel::new(now),
            ports: Vec::new(),
            holders: HashMap::new(),
            news: VecDeque::new(),
            notes: VecDeque::new(),
            seeds: Random::new(e),
            shutting_down: false,
        }
    }

    /// Adds a port. Its device must be at the returned number's place in the list that
    /// [`Client::turn`] is given.
    pub fn add_port(&mut self, spec: PortSpec, now: Instant) -> PortId {
        // A process has far fewer interfaces than 65,536; the last number is shared past that.
        let id = PortId(u16::try_from(self.ports.len()).unwrap_or(u16::MAX));
        self.ports.push(Port::new(id, spec, now));
        id
    }

    /// Begins a lease.
    ///
    /// # Errors
    /// Why it cannot be begun.
    pub fn acquire(&mut self, acquire: Acquire, now: Instant) -> Result<LeaseId, AcquireError> {
        if self.shutting_down {
            return Err(AcquireError::ShuttingDown);
        }
        let port = acquire.port;
        let spec = self.ports.get(usize::from(port.0)).map(|port| &port.spec);
        let spec = spec.ok_or(AcquireError::NoSuchPort(port))?;
        check(&acquire, spec)?;
        let mut machine = Machine::new(acquire, spec.unicast_arrives, self.seeds.next());
        // Fragments are refused, so nothing is invited that would not fit the link. Whether the size
        // includes the IPv4 and UDP headers is read either way (RFC 2132 9.10): 28 bytes less fits.
        machine.limit_message_size(spec.mtu.saturating_sub(28));
        let inserted = self.table.insert(port, machine);
        let id = inserted.map_err(|_| AcquireError::TableFull)?;
        self.ports[usize::from(port.0)].leases += 1;
        self.settle(id.slot, None, now);
        Ok(id)
    }

    /// Gives a lease back: RELEASE if it holds an address.
    pub fn release(&mut self, lease: LeaseId, now: Instant) {
        if self.table.get(lease).is_some() {
            self.change(lease.slot, now, Machine::release);
        }
    }

    /// Ends a lease without a word to the server.
    pub fn forget(&mut self, lease: LeaseId, now: Instant) {
        if self.table.get(lease).is_some() {
            self.change(lease.slot, now, Machine::forget);
        }
    }

    /// Renews a lease now.
    pub fn renew(&mut self, lease: LeaseId, now: Instant) {
        if self.table.get(lease).is_some() {
            self.change(lease.slot, now, |machine| machine.renew(now));
        }
    }

    /// Gives all leases back.
    pub fn release_all(&mut self, now: Instant) {
        for slot in 0..self.table.slots() {
            if self.table.id(slot).is_some() {
                self.change(slot, now, Machine::release);
            }
        }
    }

    /// Takes no further leases; with `release` gives all back.
    pub fn shut_down(&mut self, release: bool, now: Instant) {
        self.shutting_down = true;
        if release {
            self.release_all(now);
        }
    }

    /// True while a lease waits for its RELEASE to be sent, or a device for its frames to be taken.
    #[must_use]
    pub fn is_releasing(&self) -> bool {
        self.ports.iter().any(|port| port.leaving > 0 || port.pending > 0)
    }

    /// Number of leases, in any state.
    #[must_use]
    pub const fn leases(&self) -> u32 {
        self.table.len()
    }

    /// Frames that a port has received, of any kind; 0 if there is no such port.
    #[must_use]
    pub fn frames_received(&self, port: PortId) -> u64 {
        self.ports.get(usize::from(port.0)).map_or(0, |port| port.counters.frames_received)
    }

    /// Takes note that a port's link is down or away. Leases keep their timers.
    pub fn link_fault(&mut self, port: PortId, fault: LinkFault) {
        self.note(Event::Link { port, fault });
    }

    /// How a lease stands; `None` if it is gone.
    #[must_use]
    pub fn query(&self, lease: LeaseId) -> Option<LeaseView> {
        let machine = self.table.get(lease)?;
        Some(LeaseView {
            mac: machine.mac(),
            tag: machine.tag(),
            port: self.table.entry(lease.slot)?.port,
            vlans: machine.vlans(),
            state: *machine.state(),
            terms: machine.state().terms().copied(),
            options: machine.options().cloned(),
        })
    }

    /// How the ports stand.
    pub fn ports<D: Device>(&self, devices: &mut [D]) -> Vec<PortView> {
        let views = self.ports.iter().zip(devices);
        views.map(|(port, device)| port.view(device.statistics())).collect()
    }

    /// The next event. A lease that is over leaves the table once its last event is read.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(note) = self.notes.pop_front() {
            return Some(note);
        }
        while let Some(slot) = self.news.pop_front() {
            let Some(lease) = self.table.id(slot) else { continue };
            let Some(entry) = self.table.entry_mut(slot) else { continue };
            entry.reported = false;
            let port = entry.port;
            let Some(machine) = &mut entry.machine else { continue };
            let notice = machine.poll_notice();
            if *machine.state() == State::Released {
                self.table.remove(slot);
                self.wheel.set(slot, None);
                self.ports[usize::from(port.0)].leases -= 1;
            }
            if let Some(notice) = notice {
                return Some(Event::Lease { lease, notice });
            }
        }
        None
    }

    fn note(&mut self, event: Event) -> bool {
        let room = self.notes.len() < NOTES_WAITING;
        if room {
            self.notes.push_back(event);
        }
        room
    }

    /// Lets a machine take a step, and everybody else take note of it.
    fn change<R>(
        &mut self,
        slot: u32,
        now: Instant,
        step: impl FnOnce(&mut Machine) -> R,
    ) -> Option<R> {
        let machine = self.table.entry_mut(slot)?.machine.as_mut()?;
        let before = machine.state().terms().map(|terms| terms.address);
        let leaving = machine.is_leaving();
        let result = step(machine);
        let still = machine.is_leaving();
        if leaving != still {
            let port = self.table.entry(slot)?.port;
            let count = &mut self.ports[usize::from(port.0)].leaving;
            *count = if still { *count + 1 } else { count.saturating_sub(1) };
        }
        self.settle(slot, before, now);
        Some(result)
    }

    /// Brings index, window, ready queue, timer and news in line with a machine after a step.
    fn settle(&mut self, slot: u32, before: Option<Ipv4Addr>, now: Instant) {
        let Some(entry) = self.table.entry_mut(slot) else { return };
        let Some(machine) = &entry.machine else { return };
        let port = &mut self.ports[usize::from(entry.port.0)];
        let mut ready = None;
        let held = machine.state().terms().map(|terms| terms.address);
        if entry.in_flight && !is_acquiring(machine.state()) {
            entry.in_flight = false;
            port.pacer.left();
        }
        if !entry.queued
            && let Some(due) = machine.due(now)
        {
            entry.queued = true;
            ready = Some(class(machine, due));
        }
        self.wheel.set(slot, machine.poll_timeout(now));
        if machine.has_news() && !entry.reported {
            entry.reported = true;
            self.news.push_back(slot);
        }
        let (id, domain) = (entry.port, machine.vlans().domain());
        if before != held {
            self.moved(slot, id, domain, before, held);
        }
        if let (Some(class), Some(lease)) = (ready, self.table.id(slot)) {
            self.enqueue(id, class, lease);
        }
    }

    /// Puts a lease in a ready queue. Each lease is there at most once, but those that are gone stay
    /// until they are met or, as here, outnumber the living: the queue is bounded by the leases.
    fn enqueue(&mut self, id: PortId, class: Class, lease: LeaseId) {
        let port = &mut self.ports[usize::from(id.0)];
        let queue = &mut port.ready[class as usize];
        queue.push_back(lease);
        if queue.len() > 2 * port.leases as usize + READY_SLACK {
            queue.retain(|lease| self.table.get(*lease).is_some());
        }
    }

    /// Keeps the index of held addresses.
    fn moved(
        &mut self,
        slot: u32,
        id: PortId,
        domain: Domain,
        before: Option<Ipv4Addr>,
        held: Option<Ipv4Addr>,
    ) {
        let port = &mut self.ports[usize::from(id.0)];
        if let Some(address) = before {
            port.bound -= 1;
            if self.holders.get(&(id, domain, address)) == Some(&slot) {
                self.holders.remove(&(id, domain, address));
            }
        }
        if let Some(address) = held {
            port.bound += 1;
            // The first holder keeps the address; a server that leases it twice is counted.
            match self.holders.entry((id, domain, address)) {
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(slot);
                }
                std::collections::hash_map::Entry::Occupied(_) => {
                    port.counters.address_clashes += 1;
                }
            }
        }
    }
}

/// True while an exchange that began with a DISCOVER is under way.
const fn is_acquiring(state: &State) -> bool {
    matches!(state, State::Selecting { .. } | State::Requesting { .. })
}

/// The ready queue for what is due.
const fn class(machine: &Machine, due: Due) -> Class {
    match due {
        Due::Renew(_) | Due::ResolveHop(_) | Due::Rebind => Class::Extend,
        Due::Release => Class::Release,
        Due::Request => Class::Request,
        // Only a new exchange needs to be let in; a repetition belongs to one that was.
        Due::Discover => match machine.state() {
            State::Selecting { .. } => Class::Request,
            _ => Class::Discover,
        },
    }
}

/// Refuses what no lease can live with.
fn check(acquire: &Acquire, spec: &PortSpec) -> Result<(), AcquireError> {
    use crate::wire::ethernet::Mac;
    if acquire.mac.is_multicast() || acquire.mac == Mac::ZERO {
        return Err(AcquireError::BadMac(acquire.mac));
    }
    let hostname = acquire.hostname.as_deref().map(str::len);
    if let Some(len) = hostname.filter(|len| !(1..=255).contains(len)) {
        return Err(AcquireError::BadHostname(len));
    }
    let client_id = match &acquire.client_id {
        ClientIdentifier::Bytes(bytes) => Some(bytes.len()),
        ClientIdentifier::None | ClientIdentifier::Mac => None,
    };
    if let Some(len) = client_id.filter(|len| !(2..=255).contains(len)) {
        return Err(AcquireError::BadClientId(len));
    }
    let unfit = |ip: &Ipv4Addr| ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast();
    if let Some(address) = acquire.requested_address.filter(unfit) {
        return Err(AcquireError::BadAddress(address));
    }
    let profile = &acquire.profile;
    let options = hostname.unwrap_or(0)
        + client_id.unwrap_or(7)
        + profile.vendor_class.len()
        + profile.parameter_requests.len()
        + profile.more_options.len();
    // IPv4, UDP and BOOTP headers take 268 bytes, the options of fixed length and all option
    // headers at most 60.
    if 268 + 60 + options + options / 255 * 2 > usize::from(spec.mtu) {
        return Err(AcquireError::TooLong(options));
    }
    Ok(())
}

/// The offer that a probe's packet made.
fn offer(
    lease: LeaseId,
    machine: &Machine,
    reply: &crate::lease::Reply<'_>,
    now: Instant,
) -> Offer {
    let message = &reply.datagram.message;
    let began = match machine.state() {
        State::Selecting { exchange } => exchange.first,
        _ => now,
    };
    Offer {
        lease,
        tag: machine.tag(),
        address: message.yiaddr,
        server_id: message.server_id,
        relay: (!message.giaddr.is_unspecified()).then_some(message.giaddr),
        server_mac: reply.link.source,
        after_nanos: u64::try_from(now.since(began).as_nanos()).unwrap_or(u64::MAX),
        options: std::sync::Arc::new(crate::wire::options::OptionSet::from_options(
            &message.options,
        )),
    }
}

/// The ARP answers of a port wait here; kept beside the port so that both stay short.
pub(crate) type ArpAnswers = Answers;

#[cfg(test)]
mod tests;
