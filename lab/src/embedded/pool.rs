//! Who holds which address: the bookkeeping of one pool, without packets.
//!
//! Each address is a slot, and a client owns at most one slot: that two clients never hold one
//! address follows from the layout. A slot remembers its last client after the lease has ended,
//! until the address is needed for another one (RFC 2131 4.3.1: "the client's previous address").
//!
//! Whether a lease has ended is judged by its deadline whenever it is looked at; the queue of
//! deadlines only brings ended leases into the free list, a few with each packet.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use hashbrown::HashTable;
use lessee_engine::time::Instant;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::Domain;

use super::misbehave::mix;
use super::spec::{Identity, ServerSpec};

/// The deadline of an infinite lease.
pub(super) const NEVER: Instant = Instant::from_nanos(u64::MAX);

/// Slots that are made at once.
const CHUNK: usize = 1024;

/// A client as it names itself in a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) domain: Domain,
    pub(super) mac: Mac,
    /// Option 61; empty if it was not sent.
    pub(super) id: &'a [u8],
}

/// A client identifier; those that occur in practice take no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Id {
    /// Not sent.
    #[default]
    None,
    /// Length and bytes.
    Short(u8, [u8; 22]),
    /// Any other.
    Long(Box<[u8]>),
}

impl Id {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut short = [0; 22];
        match short.get_mut(..bytes.len()) {
            _ if bytes.is_empty() => Self::None,
            Some(place) => {
                place.copy_from_slice(bytes);
                Self::Short(bytes.len() as u8, short)
            }
            None => Self::Long(bytes.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Short(len, bytes) => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// What an address is being used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing; its last client may be remembered.
    Free,
    /// Kept for its client.
    Offered,
    /// Leased to its client.
    Bound,
    /// Kept from everybody.
    Declined,
}

/// One address.
#[derive(Clone, Debug)]
struct Slot {
    /// Deadline of the state; no meaning while free.
    until: Instant,
    /// The entry in the queue of deadlines that counts; `None` as zero.
    queued: Instant,
    id: Id,
    hostname: Option<Box<[u8]>>,
    domain: Domain,
    mac: Mac,
    state: State,
    /// `domain`, `mac` and `id` name a client whose table entry leads here.
    owned: bool,
    /// Was in use once.
    touched: bool,
    /// Has an entry in the free list.
    listed: bool,
}

impl Slot {
    fn empty() -> Self {
        Self {
            until: Instant::ZERO,
            queued: Instant::ZERO,
            id: Id::None,
            hostname: None,
            domain: Domain::default(),
            mac: Mac::ZERO,
            state: State::Free,
            owned: false,
            touched: false,
            listed: false,
        }
    }

    fn state_at(&self, now: Instant) -> State {
        if self.until > now { self.state } else { State::Free }
    }
}

/// An entry of the client table: the client's hash, so that growing reads no slot, and the slot.
#[derive(Clone, Copy, Debug)]
struct Link {
    hash: u32,
    slot: u32,
}

/// What a client is to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) address: Ipv4Addr,
    /// [`State::Free`] if the lease or offer has ended and nobody else got the address yet.
    pub(super) state: State,
}

/// Leases and offers that ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    pub(super) leases: u64,
    pub(super) offers: u64,
}

/// A lease, as [`Pool::leases`] shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseView<'a> {
    pub(super) address: Ipv4Addr,
    pub(super) domain: Domain,
    pub(super) mac: Mac,
    pub(super) id: &'a [u8],
    pub(super) hostname: Option<&'a [u8]>,
    pub(super) until: Instant,
}

/// The addresses of one pool.
#[derive(Debug)]
pub(super) struct Pool {
    first: u32,
    /// Number of addresses.
    size: u64,
    reserved: [Option<Ipv4Addr>; 4],
    identity: Identity,
    key: u64,
    clients: HashTable<Link>,
    /// Slots by offset from `first`, made when first used.
    chunks: Vec<Option<Box<[Slot]>>>,
    /// Below it, no address is untouched.
    fresh: u64,
    /// Touched addresses that may be free, longest free first.
    free: VecDeque<u32>,
    deadlines: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Slots that have a current entry in `deadlines`.
    queued: usize,
    /// Not yet reported.
    ended: Ended,
}

impl Pool {
    pub(super) fn new(spec: &ServerSpec, seed: u64) -> Self {
        let (first, last) = (u32::from(spec.first), u32::from(spec.last));
        Self {
            first,
            size: u64::from(last.saturating_sub(first)) + 1,
            reserved: spec.reserved(),
            identity: spec.identity,
            key: mix(seed),
            clients: HashTable::new(),
            chunks: Vec::new(),
            fresh: 0,
            free: VecDeque::new(),
            deadlines: BinaryHeap::new(),
            queued: 0,
            ended: Ended::default(),
        }
    }

    /// What the pool knows of a client.
    pub(super) fn holding(&self, client: &Client<'_>, now: Instant) -> Option<Holding> {
        let offset = self.find(client)?;
        let state = self.slot(offset)?.state_at(now);
        Some(Holding { address: self.address(offset), state })
    }

    /// Whether `client` could get `address` now: it is in the pool, and is its own or nobody's.
    pub(super) fn available(&self, client: &Client<'_>, address: Ipv4Addr, now: Instant) -> bool {
        match (self.offset(address), self.find(client)) {
            (None, _) => false,
            (Some(offset), Some(own)) => offset == own,
            (Some(offset), None) => self.is_free(offset, now),
        }
    }

    /// Chooses an address in the order of RFC 2131 4.3.1 (the client's own; its previous one; the
    /// one it wants; any) and keeps it for the client until `until`. A lease stays a lease.
    pub(super) fn offer(
        &mut self,
        client: &Client<'_>,
        wanted: Option<Ipv4Addr>,
        until: Instant,
        now: Instant,
    ) -> Option<Ipv4Addr> {
        let offset = match self.find(client) {
            Some(own) => own,
            None => wanted
                .and_then(|address| self.offset(address))
                .filter(|offset| self.is_free(*offset, now))
                .or_else(|| self.untouched())
                .or_else(|| self.longest_free(now))?,
        };
        if self.slot(offset).is_none_or(|slot| slot.state_at(now) != State::Bound) {
            self.settle(offset, client, State::Offered, until);
        }
        Some(self.address(offset))
    }

    /// Gives `address` to the client until `until`. Returns whether it is a new lease; `None` if
    /// the address is not [`Pool::available`] to it.
    pub(super) fn bind(
        &mut self,
        client: &Client<'_>,
        address: Ipv4Addr,
        hostname: Option<&[u8]>,
        until: Instant,
        now: Instant,
    ) -> Option<bool> {
        if !self.available(client, address, now) {
            return None;
        }
        let offset = self.offset(address)?;
        let fresh = self.slot(offset).is_none_or(|slot| slot.state_at(now) != State::Bound);
        let slot = self.settle(offset, client, State::Bound, until);
        if slot.hostname.as_deref() != hostname {
            slot.hostname = hostname.map(Into::into);
        }
        Some(fresh)
    }

    /// Forgets an offer; returns whether there was one.
    pub(super) fn withdraw(&mut self, client: &Client<'_>, now: Instant) -> bool {
        let offered = self
            .find(client)
            .filter(|offset| self.slot(*offset).is_some_and(|s| s.state_at(now) == State::Offered));
        if let Some(offset) = offered {
            self.vacate(offset);
        }
        offered.is_some()
    }

    /// Ends the client's lease of `address`; returns false if it has none. The client is
    /// remembered (RFC 2131 4.3.4: "SHOULD retain a record").
    pub(super) fn release(&mut self, client: &Client<'_>, address: Ipv4Addr, now: Instant) -> bool {
        let held = self.held(client, address, now);
        if let Some(offset) = held {
            self.vacate(offset);
        }
        held.is_some()
    }

    /// Takes `address` out of use until `until`, if it is the client's.
    pub(super) fn decline(
        &mut self,
        client: &Client<'_>,
        address: Ipv4Addr,
        until: Instant,
        now: Instant,
    ) -> bool {
        let Some(offset) = self.held(client, address, now) else { return false };
        self.disown(offset);
        let slot = self.slot_mut(offset);
        slot.state = State::Declined;
        slot.until = until;
        self.arm(offset);
        true
    }

    /// The leases that run, by address.
    pub(super) fn leases(&self, now: Instant) -> impl Iterator<Item = LeaseView<'_>> {
        self.used().filter(move |(_, slot)| slot.state_at(now) == State::Bound).map(
            |(offset, slot)| LeaseView {
                address: self.address(offset),
                domain: slot.domain,
                mac: slot.mac,
                id: slot.id.as_bytes(),
                hostname: slot.hostname.as_deref(),
                until: slot.until,
            },
        )
    }

    /// The addresses that are kept from everybody.
    pub(super) fn declined(&self, now: Instant) -> impl Iterator<Item = Ipv4Addr> {
        self.used()
            .filter(move |(_, slot)| slot.state_at(now) == State::Declined)
            .map(|(offset, _)| self.address(offset))
    }

    /// When the next lease, offer or quarantine may end.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse((due, _))| *due)
    }

    /// Moves what has ended into the free list, looking at `budget` entries at most, and returns
    /// what ended since the last call.
    pub(super) fn expire(&mut self, now: Instant, budget: usize) -> Ended {
        for _ in 0..budget {
            if !self.expire_one(now) {
                break;
            }
        }
        std::mem::take(&mut self.ended)
    }

    /// Looks at the earliest entry of the queue; false if it is not due.
    fn expire_one(&mut self, now: Instant) -> bool {
        let Some(Reverse((due, offset))) = self.deadlines.peek().copied() else { return false };
        if due > now {
            return false;
        }
        self.deadlines.pop();
        let slot = self.slot_mut(offset);
        if slot.queued != due {
            return true;
        }
        slot.queued = Instant::ZERO;
        let (state, until) = (slot.state, slot.until);
        self.queued -= 1;
        if state != State::Free && until > now {
            self.arm(offset);
            return true;
        }
        match state {
            State::Bound => self.ended.leases += 1,
            State::Offered => self.ended.offers += 1,
            State::Free | State::Declined => {}
        }
        if state != State::Free {
            self.vacate(offset);
        }
        true
    }

    /// The slot where a client has a lease or offer of this address.
    fn held(&self, client: &Client<'_>, address: Ipv4Addr, now: Instant) -> Option<u32> {
        let offset = self.find(client).filter(|offset| self.address(*offset) == address)?;
        let held = matches!(self.slot(offset)?.state_at(now), State::Bound | State::Offered);
        held.then_some(offset)
    }

    fn address(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first + offset)
    }

    /// The place of an address that clients may get.
    fn offset(&self, address: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(address).checked_sub(self.first)?;
        let open = u64::from(offset) < self.size && !self.reserved.contains(&Some(address));
        open.then_some(offset)
    }

    fn slot(&self, offset: u32) -> Option<&Slot> {
        let place = offset as usize;
        Some(&self.chunks.get(place / CHUNK)?.as_ref()?[place % CHUNK])
    }

    fn slot_mut(&mut self, offset: u32) -> &mut Slot {
        let place = offset as usize;
        if self.chunks.len() <= place / CHUNK {
            self.chunks.resize(place / CHUNK + 1, None);
        }
        let chunk =
            self.chunks[place / CHUNK].get_or_insert_with(|| vec![Slot::empty(); CHUNK].into());
        &mut chunk[place % CHUNK]
    }

    fn used(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.chunks.iter().enumerate().flat_map(|(number, chunk)| {
            let slots = chunk.iter().flat_map(|chunk| chunk.iter());
            slots.enumerate().map(move |(place, slot)| ((number * CHUNK + place) as u32, slot))
        })
    }

    fn is_free(&self, offset: u32, now: Instant) -> bool {
        self.slot(offset).is_none_or(|slot| slot.state_at(now) == State::Free)
    }

    /// The next address that was never in use.
    fn untouched(&mut self) -> Option<u32> {
        while self.fresh < self.size {
            let offset = self.fresh as u32;
            let open = self.offset(self.address(offset)).is_some();
            if open && self.slot(offset).is_none_or(|slot| !slot.touched) {
                return Some(offset);
            }
            self.fresh += 1;
        }
        None
    }

    /// The address that has been free for the longest time.
    fn longest_free(&mut self, now: Instant) -> Option<u32> {
        loop {
            while let Some(offset) = self.free.pop_front() {
                let slot = self.slot_mut(offset);
                slot.listed = false;
                if slot.state_at(now) == State::Free {
                    return Some(offset);
                }
            }
            // What ended since the last look is not in the list yet.
            if !self.expire_one(now) {
                return None;
            }
        }
    }

    /// Makes `client` the owner of the slot, in this state.
    fn settle(
        &mut self,
        offset: u32,
        client: &Client<'_>,
        state: State,
        until: Instant,
    ) -> &mut Slot {
        let own = self.slot(offset).is_some_and(|slot| slot.owned && self.is(slot, client));
        if !own {
            self.disown(offset);
            let link = Link { hash: self.hash(client), slot: offset };
            self.clients.insert_unique(spread(link.hash), link, |link| spread(link.hash));
        }
        let slot = self.slot_mut(offset);
        slot.owned = true;
        slot.touched = true;
        slot.state = state;
        slot.until = until;
        slot.mac = client.mac;
        slot.domain = client.domain;
        if slot.id.as_bytes() != client.id {
            slot.id = Id::new(client.id);
        }
        self.arm(offset);
        self.slot_mut(offset)
    }

    /// Makes the slot free; its client is remembered.
    fn vacate(&mut self, offset: u32) {
        let slot = self.slot_mut(offset);
        slot.state = State::Free;
        if !slot.listed {
            slot.listed = true;
            self.free.push_back(offset);
        }
    }

    /// Forgets the slot's client.
    fn disown(&mut self, offset: u32) {
        let Some(slot) = self.slot(offset).filter(|slot| slot.owned) else { return };
        let client = Client { domain: slot.domain, mac: slot.mac, id: slot.id.as_bytes() };
        let hash = spread(self.hash(&client));
        if let Ok(entry) = self.clients.find_entry(hash, |link| link.slot == offset) {
            entry.remove();
        }
        let slot = self.slot_mut(offset);
        slot.owned = false;
        slot.hostname = None;
    }

    /// Makes sure that the slot has an entry in the queue that is no later than its deadline.
    fn arm(&mut self, offset: u32) {
        let slot = self.slot_mut(offset);
        let queued = slot.queued != Instant::ZERO;
        if slot.until == NEVER || (queued && slot.queued <= slot.until) {
            return;
        }
        slot.queued = slot.until;
        let until = slot.until;
        self.queued += usize::from(!queued);
        self.deadlines.push(Reverse((until, offset)));
        // Entries that were overtaken by an earlier one stay behind: not too many of them.
        if self.deadlines.len() > 2 * self.queued + CHUNK {
            let mut deadlines = std::mem::take(&mut self.deadlines).into_vec();
            deadlines.retain(|Reverse((due, offset))| {
                self.slot(*offset).is_some_and(|slot| slot.queued == *due)
            });
            deadlines.sort_unstable();
            deadlines.dedup();
            self.deadlines = deadlines.into();
        }
    }

    fn find(&self, client: &Client<'_>) -> Option<u32> {
        let hash = self.hash(client);
        let same = |link: &Link| {
            link.hash == hash && self.slot(link.slot).is_some_and(|slot| self.is(slot, client))
        };
        self.clients.find(spread(hash), same).map(|link| link.slot)
    }

    /// Whether the slot's client is this one.
    fn is(&self, slot: &Slot, client: &Client<'_>) -> bool {
        if slot.domain != client.domain {
            return false;
        }
        match (self.identity, slot.id.as_bytes(), client.id) {
            (Identity::Mac, ..) | (_, [], []) => slot.mac == client.mac,
            (Identity::ClientId, known, given) => known == given,
        }
    }

    fn hash(&self, client: &Client<'_>) -> u32 {
        let mut hash = self.key ^ number(client.domain);
        if self.identity == Identity::Mac || client.id.is_empty() {
            return mix(hash ^ client.mac.to_u64()) as u32;
        }
        for piece in client.id.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            hash = mix(hash ^ u64::from_le_bytes(word)).wrapping_add(piece.len() as u64);
        }
        mix(hash) as u32
    }
}

/// Gathers the few bytes that a [`Domain`] hashes into a number.
struct Gather(u64);

impl Hasher for Gather {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum << 8 | u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn number(domain: Domain) -> u64 {
    let mut gather = Gather(0);
    domain.hash(&mut gather);
    mix(gather.finish())
}

/// The table takes its bucket from the low bits and its tag from the high ones.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
