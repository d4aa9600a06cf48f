//! Which MAC an address has, found out by ARP before an answer leaves: what a server's kernel does
//! for servers that send through UDP sockets.
//!
//! As in Linux: three questions a second apart, three answers waiting for one address at most, and
//! a bounded table.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use lessee_engine::time::Instant;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::{Domain, VlanStack};

use super::answer::Answer;

/// How long a MAC is believed.
const REACHABLE: Duration = Duration::from_secs(30);
/// Between two questions.
const RETRY: Duration = Duration::from_secs(1);
/// Questions before giving up.
const QUESTIONS: u8 = 3;
/// Answers that wait for one address.
const WAITING: usize = 3;
/// Addresses in the table.
const TABLE: usize = 1 << 16;

type Key = (Domain, Ipv4Addr);

#[derive(Debug)]
enum Neighbour {
    Known { mac: Mac, until: Instant },
    Asked { vlans: VlanStack, waiting: Vec<Answer>, questions: u8, next: Instant },
}

/// What is to be done with an answer.
#[derive(Debug)]
pub(super) enum Step {
    /// It can go.
    Send(Answer),
    /// It waits; ask for this address.
    Ask(Question),
    /// It waits.
    Wait,
    /// It is lost: the table is full.
    Full,
    /// So many are lost: nobody replied, or too many waited.
    Lost(usize),
}

/// Who has this address?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) vlans: VlanStack,
    pub(super) address: Ipv4Addr,
}

/// The table of neighbours.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    table: HashMap<Key, Neighbour>,
    /// In order of time, as all wait equally long.
    retries: VecDeque<(Instant, Key)>,
    /// When the table was last searched for what is too old.
    swept: Instant,
}

impl Neighbours {
    /// Finds the MAC for an answer, or keeps the answer.
    pub(super) fn resolve(&mut self, mut answer: Answer, now: Instant) -> Step {
        let address = *answer.destination.ip();
        let key = (answer.domain(), address);
        if self.is_full_for(&key, now) {
            return Step::Full;
        }
        let vlans = answer.link.vlans;
        match self.table.entry(key) {
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Neighbour::Known { mac, until } if *until > now => {
                    answer.link.destination = *mac;
                    return Step::Send(answer);
                }
                Neighbour::Asked { waiting, .. } => {
                    waiting.push(answer);
                    if waiting.len() > WAITING {
                        waiting.remove(0);
                        return Step::Lost(1);
                    }
                    return Step::Wait;
                }
                known @ Neighbour::Known { .. } => *known = asked(answer, vlans, now),
            },
            Entry::Vacant(entry) => {
                entry.insert(asked(answer, vlans, now));
            }
        }
        self.retries.push_back((now + RETRY, key));
        Step::Ask(Question { vlans, address })
    }

    /// Notes who has an address, and returns the answers that waited for it, ready to go. Only
    /// addresses that were asked for, or are known, are noted.
    pub(super) fn learn(&mut self, key: Key, mac: Mac, now: Instant) -> Vec<Answer> {
        let Some(neighbour) = self.table.get_mut(&key) else { return Vec::new() };
        let known = Neighbour::Known { mac, until: now + REACHABLE };
        match std::mem::replace(neighbour, known) {
            Neighbour::Known { .. } => Vec::new(),
            Neighbour::Asked { mut waiting, .. } => {
                for answer in &mut waiting {
                    answer.link.destination = mac;
                    answer.resolve = false;
                }
                waiting
            }
        }
    }

    /// The next question that is due again, or what was given up.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Step> {
        while let Some((due, key)) = self.retries.front().copied() {
            if due > now {
                return None;
            }
            self.retries.pop_front();
            let Some(Neighbour::Asked { vlans, waiting, questions, next }) =
                self.table.get_mut(&key)
            else {
                continue;
            };
            if *next != due {
                continue;
            }
            if *questions == QUESTIONS {
                let lost = waiting.len();
                self.table.remove(&key);
                return Some(Step::Lost(lost));
            }
            *questions += 1;
            *next = now + RETRY;
            let question = Question { vlans: *vlans, address: key.1 };
            self.retries.push_back((now + RETRY, key));
            return Some(Step::Ask(question));
        }
        None
    }

    /// When [`Neighbours::poll`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.retries.front().map(|(due, _)| *due)
    }

    fn is_full_for(&mut self, key: &Key, now: Instant) -> bool {
        if self.table.len() < TABLE || self.table.contains_key(key) {
            return false;
        }
        // Searching is slow: once a second at most.
        if now.since(self.swept) >= RETRY {
            self.swept = now;
            self.table.retain(|_, neighbour| match neighbour {
                Neighbour::Known { until, .. } => *until > now,
                Neighbour::Asked { .. } => true,
            });
        }
        self.table.len() >= TABLE
    }
}

fn asked(answer: Answer, vlans: VlanStack, now: Instant) -> Neighbour {
    Neighbour::Asked { vlans, waiting: vec![answer], questions: 1, next: now + RETRY }
}
