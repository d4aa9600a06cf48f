//! Answers for emulated clients: who asks for an address that a lease holds gets the lease's MAC.
//!
//! Without them a server or router that resolves by ARP could never reach a client which has no
//! kernel behind it, and its renewals would get no answer.

use crate::wire::arp::{Arp, Operation};
use crate::wire::ethernet::Mac;
use crate::wire::vlan::VlanStack;
use crate::wire::{Link, Transmit, TransmitBody};
use std::collections::VecDeque;

/// ARP answers that may wait on a port: a second's worth of a busy server, and little memory.
const WAITING: usize = 1024;

/// The ARP answers that wait on a port.
#[derive(Debug, Default)]
pub struct Answers {
    waiting: VecDeque<(Arp, VlanStack)>,
}

impl Answers {
    /// Queues the answer to `request` from the owner of `mac`. False: too many are waiting.
    pub fn push(&mut self, request: &Arp, mac: Mac, vlans: VlanStack) -> bool {
        let room = self.waiting.len() < WAITING;
        if room {
            self.waiting.push_back((request.answer(mac), vlans));
        }
        room
    }

    /// The oldest answer, taken out, and the tags to send it with.
    pub fn pop(&mut self) -> Option<(Arp, VlanStack)> {
        self.waiting.pop_front()
    }

    /// True with none waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The packet for an answer.
#[must_use]
pub const fn transmit(arp: Arp, vlans: VlanStack) -> Transmit<'static> {
    let link = Link { destination: arp.target_mac, source: arp.sender_mac, vlans };
    Transmit { link, body: TransmitBody::Arp(arp) }
}

/// True if a request deserves an answer from the address that it asks for: a probe of RFC 5227
/// (sender 0.0.0.0) does, a gratuitous announcement (sender and target the same) does not.
#[must_use]
pub fn deserves_answer(arp: &Arp) -> bool {
    arp.operation == Operation::Request
        && arp.sender_ip != arp.target_ip
        && !arp.sender_mac.is_multicast()
        && arp.sender_mac != Mac::ZERO
}

#[cfg(test)]
mod tests;
