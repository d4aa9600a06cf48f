//! A port's device in memory, with rings that fill up and flushes that fail.

use crate::dice::Dice;
use crate::network::Packet;
use lessee_engine::device::{Device, Flushed, Frame, Meta, VlanTag};
use std::collections::VecDeque;
use std::rc::Rc;

/// Frames that the receive ring holds.
const RECEIVE_ROOM: usize = 512;
/// Longest frame, tags included.
const SLOT: usize = 1522;

/// The device.
#[derive(Debug)]
pub(crate) struct Port {
    inbox: VecDeque<Rc<Packet>>,
    /// Frames that the client took since this was last cleared.
    pub(crate) taken: Vec<Rc<Packet>>,
    slot: Vec<u8>,
    committed: Vec<Vec<u8>>,
    /// Flushed frames, and whether they made it.
    pub(crate) outbox: Vec<(Vec<u8>, bool)>,
    /// Slots of the transmit ring.
    pub(crate) slots: usize,
    /// A slot was asked for in vain since this was last cleared.
    pub(crate) refused: bool,
    /// How many flushed frames in a million fail.
    pub(crate) fails: u32,
    /// The outermost tag comes in the metadata, as from the kernel.
    strips: bool,
    dice: Dice,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) failed: u64,
}

impl Port {
    pub(crate) fn new(strips: bool, dice: Dice) -> Self {
        Self {
            inbox: VecDeque::new(),
            taken: Vec::new(),
            slot: vec![0; SLOT],
            committed: Vec::new(),
            outbox: Vec::new(),
            slots: usize::MAX,
            refused: false,
            fails: 0,
            strips,
            dice,
            received: 0,
            sent: 0,
            failed: 0,
        }
    }

    /// A frame arrives; false: no room.
    pub(crate) fn arrive(&mut self, packet: Rc<Packet>) -> bool {
        let room = self.inbox.len() < RECEIVE_ROOM;
        if room {
            self.inbox.push_back(packet);
        }
        room
    }

    pub(crate) fn has_frames(&self) -> bool {
        !self.inbox.is_empty()
    }
}

/// Takes the outermost tag out of a frame, as the kernel does.
fn strip(bytes: &[u8]) -> Option<(Vec<u8>, VlanTag)> {
    let tpid = u16::from_be_bytes([*bytes.get(12)?, *bytes.get(13)?]);
    let tci = u16::from_be_bytes([*bytes.get(14)?, *bytes.get(15)?]);
    let tagged = matches!(tpid, VlanTag::TPID_8021Q | VlanTag::TPID_8021AD);
    let rest = [&bytes[..12], bytes.get(16..)?].concat();
    tagged.then_some((rest, VlanTag { tpid, tci }))
}

impl Device for Port {
    fn receive<R>(&mut self, visit: impl FnOnce(Frame<'_>) -> R) -> Option<R> {
        let packet = self.inbox.pop_front()?;
        self.received += 1;
        let bytes = &packet.bytes;
        let stripped = if self.strips { strip(bytes) } else { None };
        let result = match &stripped {
            Some((rest, tag)) => {
                let meta = Meta { vlan: Some(*tag), ..Meta::plain(rest.len()) };
                visit(Frame { bytes: rest, meta })
            }
            None => visit(Frame { bytes, meta: Meta::plain(bytes.len()) }),
        };
        self.taken.push(packet);
        Some(result)
    }

    fn acquire(&mut self) -> Option<&mut [u8]> {
        if self.committed.len() >= self.slots {
            self.refused = true;
            return None;
        }
        Some(&mut self.slot)
    }

    fn commit(&mut self, len: usize) {
        self.committed.push(self.slot[..len].to_vec());
    }

    fn flush(&mut self) -> Flushed {
        let mut flushed = Flushed::default();
        for frame in self.committed.drain(..) {
            let made_it = !self.dice.ppm(self.fails);
            flushed.sent += u32::from(made_it);
            flushed.failed += u32::from(!made_it);
            self.outbox.push((frame, made_it));
        }
        self.sent += u64::from(flushed.sent);
        self.failed += u64::from(flushed.failed);
        flushed
    }
}
