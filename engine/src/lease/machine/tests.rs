//! The machine, state by state.

mod contents;
mod extend;
mod naks;
mod notices;
mod random;
mod resend;
mod table;

use super::super::tests::{ADDRESS, Answer, CLIENT, SERVER, SERVER_ID, Seen, acquire, secs};
use super::*;
use crate::wire::dhcp::MessageType;

/// A machine with what a table and a server would supply.
pub(super) struct Rig {
    pub(super) machine: Machine,
    pub(super) now: Instant,
    /// Of the next exchange.
    pub(super) fresh: u32,
    /// Made into every ACK: lease time, T1, T2.
    pub(super) times: (u32, Option<u32>, Option<u32>),
}

impl Rig {
    pub(super) fn new(seed: u32) -> Self {
        Self::with(acquire(), seed)
    }

    pub(super) fn with(acquire: Acquire, seed: u32) -> Self {
        let machine = Machine::new(acquire, true, seed);
        Self { machine, now: secs(1000), fresh: 0x1000_0000, times: (3600, None, None) }
    }

    /// Sends what is due.
    pub(super) fn send(&mut self) -> Seen {
        let seen = Seen::packet(&self.machine.poll_transmit(self.now, self.fresh).unwrap());
        if self.machine.xid() == self.fresh {
            self.fresh += 1;
        }
        seen
    }

    pub(super) fn answer(&self, kind: MessageType) -> Answer {
        let mut answer = Answer::new(kind, self.machine.xid(), self.machine.mac());
        if kind != MessageType::Nak {
            let (lease, t1, t2) = self.times;
            answer.lease_time = Some(lease);
            (answer.renewal_time, answer.rebinding_time) = (t1, t2);
        }
        answer
    }

    pub(super) fn take(&mut self, answer: &Answer) -> Result<Outcome, Ignored> {
        answer.with(|reply| self.machine.handle_reply(reply, self.now))
    }

    pub(super) fn hear(&mut self, kind: MessageType) -> Result<Outcome, Ignored> {
        self.take(&self.answer(kind))
    }

    /// Lets time pass until the machine's next deadline, and handles it.
    pub(super) fn sleep(&mut self) -> Duration {
        let next = self.machine.poll_timeout(self.now).unwrap();
        let slept = next.since(self.now);
        self.go(next);
        slept
    }

    pub(super) fn go(&mut self, to: Instant) {
        assert!(to >= self.now);
        self.now = to;
        self.machine.handle_timeout(to);
    }

    pub(super) fn state(&self) -> &'static str {
        self.machine.state().name()
    }

    pub(super) fn terms(&self) -> Terms {
        *self.machine.state().terms().unwrap()
    }

    pub(super) fn selecting(mut self) -> Self {
        self.send();
        self
    }

    pub(super) fn requesting(mut self) -> Self {
        self = self.selecting();
        self.hear(MessageType::Offer).unwrap();
        self.send();
        self
    }

    pub(super) fn bound(mut self) -> Self {
        self = self.requesting();
        self.hear(MessageType::Ack).unwrap();
        self
    }

    /// In RENEWING, the first REQUEST sent.
    pub(super) fn renewing(mut self) -> Self {
        self = self.bound();
        self.sleep();
        self.send();
        self
    }

    /// In REBINDING, the first REQUEST sent.
    pub(super) fn rebinding(mut self) -> Self {
        self = self.bound();
        self.go(self.terms().t2().unwrap());
        self.send();
        self
    }

    pub(super) fn releasing(mut self) -> Self {
        self = self.bound();
        self.machine.release();
        self
    }

    /// Paused after a second NAK.
    pub(super) fn waiting(mut self) -> Self {
        for _ in 0..2 {
            self = self.requesting();
            self.hear(MessageType::Nak).unwrap();
        }
        self
    }

    pub(super) fn released(mut self) -> Self {
        self = self.bound();
        self.machine.forget();
        self
    }
}
