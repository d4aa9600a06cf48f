//! A hierarchical timing wheel with ticks of one millisecond, keyed by lease slot.
//!
//! One deadline a key. Setting, moving and clearing take constant time and no allocation; a
//! deadline never fires early, and fires at the latest one tick after it was due. Eight levels of
//! 64 slots reach 2⁴⁸ ms, which is more than an [`Instant`] can hold (2⁴⁵ ms).

use crate::time::Instant;

const LEVELS: usize = 8;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const NONE: u32 = u32::MAX;

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    /// Ticks up to and including this one have been expired.
    now: u64,
    heads: [[u32; SLOTS]; LEVELS],
    /// One bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    nodes: Vec<Node>,
}

/// A key's place in a doubly linked list.
#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: u64,
    next: u32,
    previous: u32,
    /// Level × 64 + slot, or `UNSET`.
    bucket: u16,
}

const UNSET: u16 = u16::MAX;
const EMPTY: Node = Node { deadline: 0, next: NONE, previous: NONE, bucket: UNSET };

impl Wheel {
    /// An empty wheel that starts at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            now: now.as_millis(),
            heads: [[NONE; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            nodes: Vec::new(),
        }
    }

    /// Sets, moves or (with `None`) clears the deadline of `key`.
    pub fn set(&mut self, key: u32, deadline: Option<Instant>) {
        let index = key as usize;
        if index >= self.nodes.len() {
            if deadline.is_none() {
                return;
            }
            self.nodes.resize(index + 1, EMPTY);
        }
        // Rounded up: a deadline never fires early. The past fires at the next tick.
        let tick = deadline.map(|at| at.as_millis_ceil().max(self.now + 1));
        if self.nodes[index].bucket != UNSET {
            if Some(self.nodes[index].deadline) == tick {
                return;
            }
            self.unlink(key);
        }
        if let Some(tick) = tick {
            self.nodes[index].deadline = tick;
            self.link(key);
        }
    }

    /// The earliest instant at which [`Wheel::expire`] has something to do; `None` if no deadline
    /// is set. It may be earlier than the first deadline: the wheel then only sorts itself.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let due = self.heads[0][(self.now % SLOTS as u64) as usize] != NONE;
        let tick = if due { Some(self.now) } else { self.next_tick() };
        tick.map(|tick| Instant::from_nanos(tick.saturating_mul(1_000_000)))
    }

    /// Clears and returns one key whose deadline has come; `None` when there is none left.
    pub fn expire(&mut self, now: Instant) -> Option<u32> {
        let target = now.as_millis();
        loop {
            // Level 0's slot of the current tick holds what is due.
            let due = self.heads[0][(self.now % SLOTS as u64) as usize];
            if due != NONE && self.nodes[due as usize].deadline <= self.now {
                self.unlink(due);
                return Some(due);
            }
            match self.next_tick() {
                Some(tick) if tick <= target => self.advance(tick),
                _ => {
                    // Nothing happens up to `target`: jump there.
                    self.now = self.now.max(target);
                    return None;
                }
            }
        }
    }

    /// Number of bytes that the wheel holds for its keys.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }

    /// The next tick at which a slot must be looked at: the start of the nearest occupied one.
    fn next_tick(&self) -> Option<u64> {
        let mut nearest = None;
        for level in 0..LEVELS {
            let shift = level as u32 * SLOT_BITS;
            let position = self.now >> shift;
            let ahead = self.occupied[level].rotate_right((position % SLOTS as u64) as u32);
            // The current slot (bit 0) was looked at when the wheel got there.
            let ahead = ahead & !1;
            if ahead != 0 {
                let tick = (position + u64::from(ahead.trailing_zeros())) << shift;
                nearest = Some(nearest.map_or(tick, |other: u64| other.min(tick)));
            }
        }
        nearest
    }

    /// Moves to `tick` and spreads the slots that begin there over the lower levels.
    fn advance(&mut self, tick: u64) {
        self.now = tick;
        for level in (1..LEVELS).rev() {
            let shift = level as u32 * SLOT_BITS;
            if tick.trailing_zeros() < shift {
                continue;
            }
            let slot = ((tick >> shift) % SLOTS as u64) as usize;
            while self.heads[level][slot] != NONE {
                let key = self.heads[level][slot];
                self.unlink(key);
                self.link(key);
            }
        }
    }

    fn link(&mut self, key: u32) {
        let deadline = self.nodes[key as usize].deadline.max(self.now);
        // The level is where the two ticks' digits (to base 64) first differ, so that a slot is
        // always ahead of the wheel's position on its level, or is the current slot of level 0.
        let differing = (deadline ^ self.now).max(1);
        let level = (((63 - differing.leading_zeros()) / SLOT_BITS) as usize).min(LEVELS - 1);
        let slot = ((deadline >> (level as u32 * SLOT_BITS)) % SLOTS as u64) as usize;
        let head = self.heads[level][slot];
        let node = &mut self.nodes[key as usize];
        node.bucket = (level * SLOTS + slot) as u16;
        node.previous = NONE;
        node.next = head;
        if head != NONE {
            self.nodes[head as usize].previous = key;
        }
        self.heads[level][slot] = key;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, key: u32) {
        let node = self.nodes[key as usize];
        let (level, slot) = (usize::from(node.bucket) / SLOTS, usize::from(node.bucket) % SLOTS);
        if node.previous == NONE {
            self.heads[level][slot] = node.next;
            if node.next == NONE {
                self.occupied[level] &= !(1 << slot);
            }
        } else {
            self.nodes[node.previous as usize].next = node.next;
        }
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        self.nodes[key as usize].bucket = UNSET;
    }
}

#[cfg(test)]
mod tests;
