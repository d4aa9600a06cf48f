//! Frames on their way out: at once, late, or after the next one. Bounded.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use lessee_engine::time::Instant;
use lessee_engine::wire::Link;
use lessee_engine::wire::arp::Arp;

use super::answer::Answer;
use super::misbehave::Deeds;

/// The most frames that wait at once, and again the most that wait for their time.
const ROOM: usize = 1 << 16;
/// How long a frame waits for another one to go first.
const PATIENCE: Duration = Duration::from_secs(1);

/// A frame to be sent.
#[derive(Clone, Debug)]
pub(super) enum Outbound {
    Arp(Link, Arp),
    Dhcp(Answer),
}

/// A frame with its time; the number keeps the order of equals.
#[derive(Debug)]
struct Late {
    due: Instant,
    number: u64,
    frame: Outbound,
}

impl Ord for Late {
    /// The greatest is the first that is due.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Late {}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Outbound>,
    late: BinaryHeap<Late>,
    /// Waits for the next one, or for its time.
    held: Option<(Instant, Outbound)>,
    number: u64,
}

impl Queue {
    /// Queues a frame; returns how many frames found no room.
    pub(super) fn push(&mut self, frame: Outbound, deeds: &Deeds, now: Instant) -> u64 {
        let copy = deeds.duplicate.then(|| frame.clone());
        let mut lost = self.push_one(frame, deeds, now);
        if let Some(copy) = copy {
            lost += self.push_one(copy, deeds, now);
        }
        lost
    }

    fn push_one(&mut self, frame: Outbound, deeds: &Deeds, now: Instant) -> u64 {
        if deeds.delay > Duration::ZERO {
            if self.late.len() >= ROOM {
                return 1;
            }
            self.number += 1;
            self.late.push(Late { due: now + deeds.delay, number: self.number, frame });
            return 0;
        }
        if deeds.reorder && self.held.is_none() {
            self.held = Some((now + PATIENCE, frame));
            return 0;
        }
        if self.ready.len() >= ROOM {
            return 1;
        }
        self.ready.push_back(frame);
        self.ready.extend(self.held.take().map(|(_, held)| held));
        0
    }

    /// Takes the next frame that may go.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Outbound> {
        if self.late.peek().is_some_and(|late| late.due <= now) {
            return self.late.pop().map(|late| late.frame);
        }
        if let Some((_, frame)) = self.held.take_if(|(due, _)| *due <= now) {
            return Some(frame);
        }
        self.ready.pop_front()
    }

    /// When there is a frame to take; the start of time if there is one already.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(Instant::ZERO);
        }
        let late = self.late.peek().map(|late| late.due);
        let held = self.held.as_ref().map(|(due, _)| *due);
        late.into_iter().chain(held).min()
    }
}
