//! A link that lives in memory: each frame committed is answered by a [`Reflector`] at once.

use crate::reflector::{FRAME, Reflector};
use lessee_engine::device::{Device, Flushed, Frame, Meta};

/// Answers that may wait: as many as a turn can ask for.
const WAITING: usize = 1024;
/// Bytes of the transmit slot.
const SLOT: usize = 1518;

/// The device. It allocates nothing once it is made.
#[derive(Debug)]
pub struct Loopback {
    reflector: Reflector,
    slot: Box<[u8; SLOT]>,
    answers: Box<[[u8; FRAME]]>,
    first: usize,
    waiting: usize,
    sent: u32,
}

impl Default for Loopback {
    fn default() -> Self {
        Self {
            reflector: Reflector::default(),
            slot: Box::new([0; SLOT]),
            answers: vec![[0; FRAME]; WAITING].into(),
            first: 0,
            waiting: 0,
            sent: 0,
        }
    }
}

impl Device for Loopback {
    fn receive<R>(&mut self, visit: impl FnOnce(Frame<'_>) -> R) -> Option<R> {
        if self.waiting == 0 {
            return None;
        }
        let bytes = self.answers[self.first].as_slice();
        self.first = (self.first + 1) % WAITING;
        self.waiting -= 1;
        Some(visit(Frame { bytes, meta: Meta::plain(FRAME) }))
    }

    fn acquire(&mut self) -> Option<&mut [u8]> {
        (self.waiting < WAITING).then_some(self.slot.as_mut_slice())
    }

    fn commit(&mut self, len: usize) {
        self.sent += 1;
        let place = (self.first + self.waiting) % WAITING;
        let answer = self.reflector.answer(&self.slot[..len], &mut self.answers[place]);
        self.waiting += usize::from(answer.is_some());
    }

    fn flush(&mut self) -> Flushed {
        Flushed { sent: std::mem::take(&mut self.sent), ..Flushed::default() }
    }
}
