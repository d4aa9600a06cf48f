//! All leases of a client: a slab of machines in chunks, so that growth never moves a million.
//!
//! The table issues transaction identifiers: a keyed permutation of slot and generation. An xid
//! is therefore unique in the process, tells a stranger nothing, and leads back to its slot
//! without a hash.

use super::machine::Machine;
use super::terms::PortId;

/// Bits of an xid that name the slot: at most 2,097,152 leases.
const SLOT_BITS: u32 = 21;
/// Leases that a table can hold.
pub const CAPACITY: u32 = 1 << SLOT_BITS;
const CHUNK: usize = 1024;

/// A lease's name within its client. A slot that is used again gets another generation, so that
/// an old name never means a new lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId {
    /// Place in the table.
    pub slot: u32,
    /// How many leases the place has had before.
    pub generation: u32,
}

/// One place in the table.
#[derive(Debug)]
pub struct Entry {
    generation: u32,
    /// Counts the xids issued for this slot.
    transactions: u32,
    /// The port that the lease lives on.
    pub port: PortId,
    /// It waits in one of its port's ready queues.
    pub queued: bool,
    /// It waits to be reported.
    pub reported: bool,
    /// It counts among its port's exchanges in flight.
    pub in_flight: bool,
    /// The lease; `None` in a free place.
    pub machine: Option<Machine>,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    chunks: Vec<Vec<Entry>>,
    free: Vec<u32>,
    live: u32,
    key: [u32; 4],
}

impl Table {
    /// An empty table. The key should be random: it keeps xids from being guessed.
    #[must_use]
    pub const fn new(key: [u32; 4]) -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), live: 0, key }
    }

    /// Number of leases.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.live
    }

    /// True without any lease.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Number of slots ever used, and so an upper bound of every slot number.
    #[must_use]
    pub fn slots(&self) -> u32 {
        // Chunks are filled in order: only the last may be short.
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        (full + self.chunks.last().map_or(0, Vec::len)) as u32
    }

    /// Adds a lease; `None` (the machine comes back) if the table is full.
    ///
    /// # Errors
    /// The machine, if [`CAPACITY`] leases are there already.
    pub fn insert(&mut self, port: PortId, machine: Machine) -> Result<LeaseId, Box<Machine>> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots() < CAPACITY => self.grow(),
            None => return Err(Box::new(machine)),
        };
        self.live += 1;
        // The slot is free or new, so it exists.
        let Some(entry) = self.entry_mut(slot) else { return Err(Box::new(machine)) };
        entry.port = port;
        entry.machine = Some(machine);
        Ok(LeaseId { slot, generation: entry.generation })
    }

    /// Takes a lease out; its slot may be used again.
    pub fn remove(&mut self, slot: u32) {
        let Some(entry) = self.entry_mut(slot) else { return };
        if entry.machine.take().is_some() {
            entry.generation = entry.generation.wrapping_add(1);
            (entry.queued, entry.reported, entry.in_flight) = (false, false, false);
            self.live -= 1;
            self.free.push(slot);
        }
    }

    /// The place with this number.
    #[must_use]
    pub fn entry(&self, slot: u32) -> Option<&Entry> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)
    }

    /// The place with this number.
    pub fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)
    }

    /// The lease's name, if there is one in this slot.
    #[must_use]
    pub fn id(&self, slot: u32) -> Option<LeaseId> {
        let entry = self.entry(slot)?;
        entry.machine.is_some().then_some(LeaseId { slot, generation: entry.generation })
    }

    /// The lease of this name, if it is still there.
    #[must_use]
    pub fn get(&self, id: LeaseId) -> Option<&Machine> {
        let entry = self.entry(id.slot)?;
        if entry.generation == id.generation { entry.machine.as_ref() } else { None }
    }

    /// The slot that an xid was issued for, whether or not it is that lease's present one.
    #[must_use]
    pub fn slot_of(&self, xid: u32) -> u32 {
        unpermute(xid, self.key) % CAPACITY
    }

    /// The xid for the next exchange of a slot. It is not used up until [`Table::used`].
    #[must_use]
    pub fn fresh_xid(&self, slot: u32) -> u32 {
        let transactions = self.entry(slot).map_or(0, |entry| entry.transactions);
        permute((transactions << SLOT_BITS) | (slot % CAPACITY), self.key)
    }

    /// Notes that a machine took the fresh xid.
    pub fn used(&mut self, slot: u32) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.transactions = entry.transactions.wrapping_add(1);
        }
    }

    /// Bytes that the table holds for its leases, what they point to not included.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<Entry>()).sum::<usize>()
            + self.free.capacity() * size_of::<u32>()
    }

    fn grow(&mut self) -> u32 {
        let slot = self.slots();
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Entry {
                generation: 0,
                transactions: 0,
                port: PortId(0),
                queued: false,
                reported: false,
                in_flight: false,
                machine: None,
            });
        }
        slot
    }
}

/// A four-round Feistel network over two halves of 16 bits: a permutation of 32 bits.
fn permute(value: u32, key: [u32; 4]) -> u32 {
    let (mut left, mut right) = ((value >> 16) as u16, value as u16);
    for round in key {
        (left, right) = (right, left ^ mix(right, round));
    }
    u32::from(left) << 16 | u32::from(right)
}

fn unpermute(value: u32, key: [u32; 4]) -> u32 {
    let (mut left, mut right) = ((value >> 16) as u16, value as u16);
    for round in key.into_iter().rev() {
        (left, right) = (right ^ mix(left, round), left);
    }
    u32::from(left) << 16 | u32::from(right)
}

fn mix(half: u16, round: u32) -> u16 {
    let x = (u32::from(half) ^ round).wrapping_mul(0x9e37_79b1);
    ((x ^ (x >> 15)).wrapping_mul(0x85eb_ca77) >> 16) as u16
}

#[cfg(test)]
mod tests;
