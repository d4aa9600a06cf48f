//! The receive ring: lends the oldest frame, and hands its memory back to the kernel.
//!
//! Our duty: look at a slot only after its status said, with Acquire, that it is ours, and hand it
//! back, with Release, once and in order. The kernel's: fill slots in order, and leave ours alone.
//! Nothing that a slot says about lengths and offsets is believed: a slot that makes no sense is
//! handed back unread, and counted.

use std::mem::{offset_of, size_of};

use libc::{tpacket_hdr_v1, tpacket2_hdr, tpacket3_hdr};

use super::raw::Cells;
use crate::device::{Frame, Meta, VlanTag};

#[cfg(test)]
mod tests;

/// Where the part of a block descriptor starts that `tpacket_hdr_v1` describes.
pub(super) const BLOCK_HEADER: usize = offset_of!(libc::tpacket_block_desc, hdr);
/// Where the status of a TPACKET_V3 block lies.
pub(super) const BLOCK_STATUS: usize = BLOCK_HEADER + offset_of!(tpacket_hdr_v1, block_status);
const BLOCK_FRAMES: usize = BLOCK_HEADER + offset_of!(tpacket_hdr_v1, num_pkts);
const BLOCK_FIRST: usize = BLOCK_HEADER + offset_of!(tpacket_hdr_v1, offset_to_first_pkt);

/// A receive ring of either version.
pub(super) enum Receiver {
    /// TPACKET_V2: one frame a slot.
    Frames(FrameRing),
    /// TPACKET_V3: blocks of frames.
    Blocks(BlockRing),
}

impl Receiver {
    /// See [`crate::device::Device::receive`].
    #[inline]
    pub(super) fn receive<R>(&mut self, visit: impl FnOnce(Frame<'_>) -> R) -> Option<R> {
        match self {
            Self::Frames(ring) => ring.receive(visit),
            Self::Blocks(ring) => ring.receive(visit),
        }
    }

    /// Slots that made no sense since the ring was made.
    pub(super) fn senseless(&self) -> u64 {
        match self {
            Self::Frames(ring) => ring.senseless,
            Self::Blocks(ring) => ring.senseless,
        }
    }
}

/// What the headers of both versions say about a frame, unchecked.
struct Described {
    status: u32,
    mac: u16,
    captured: u32,
    wire_len: u32,
    vlan: (u16, u16),
    time: (u32, u32),
}

impl Described {
    /// Where the frame's bytes lie behind the start of its header (of `header` bytes), if that
    /// makes sense.
    fn place(&self, header: usize) -> Option<(usize, usize)> {
        let sensible = usize::from(self.mac) >= header && self.captured <= self.wire_len;
        sensible.then_some((usize::from(self.mac), self.captured as usize))
    }

    fn meta(&self) -> Meta {
        let (tci, tpid) = self.vlan;
        // TP_STATUS_VLAN_VALID, not the value, says whether there was a tag: a tci of 0 is legal.
        let vlan = (self.status & libc::TP_STATUS_VLAN_VALID != 0).then(|| {
            let known = self.status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            VlanTag { tpid: if known { tpid } else { VlanTag::TPID_8021Q }, tci }
        });
        let (sec, nsec) = self.time;
        let nsec = if nsec < 1_000_000_000 { nsec } else { 0 };
        Meta {
            vlan,
            checksum_ready: self.status & libc::TP_STATUS_CSUMNOTREADY == 0,
            wire_len: self.wire_len as usize,
            timestamp: u64::from(sec) * 1_000_000_000 + u64::from(nsec),
        }
    }
}

/// A TPACKET_V2 ring: each cell is a slot with one frame.
pub(super) struct FrameRing {
    cells: Cells,
    next: usize,
    senseless: u64,
}

/// A slot on loan: whatever ends the visit, a panic included, hands it back.
struct SlotLoan<'a>(&'a mut FrameRing);

impl Drop for SlotLoan<'_> {
    fn drop(&mut self) {
        let ring = &mut *self.0;
        ring.cells.hand_over(ring.next);
        ring.next = (ring.next + 1) % ring.cells.count();
    }
}

impl FrameRing {
    pub(super) fn new(cells: Cells) -> Self {
        Self { cells, next: 0, senseless: 0 }
    }

    fn receive<R>(&mut self, visit: impl FnOnce(Frame<'_>) -> R) -> Option<R> {
        // One round at most: only senseless slots make a second pass.
        for _ in 0..self.cells.count() {
            if !self.cells.is_ours(self.next) {
                return None;
            }
            let loan = SlotLoan(self);
            if let Some(frame) = loan.0.frame() {
                return Some(visit(frame));
            }
            loan.0.senseless += 1;
        }
        None
    }

    fn frame(&self) -> Option<Frame<'_>> {
        let described = self.described()?;
        let (at, len) = described.place(size_of::<tpacket2_hdr>())?;
        let bytes = self.cells.bytes(self.next, at, len)?;
        Some(Frame { bytes, meta: described.meta() })
    }

    fn described(&self) -> Option<Described> {
        let word = |at| self.cells.u32(self.next, at);
        let half = |at| self.cells.u16(self.next, at);
        Some(Described {
            status: word(offset_of!(tpacket2_hdr, tp_status))?,
            mac: half(offset_of!(tpacket2_hdr, tp_mac))?,
            captured: word(offset_of!(tpacket2_hdr, tp_snaplen))?,
            wire_len: word(offset_of!(tpacket2_hdr, tp_len))?,
            vlan: (
                half(offset_of!(tpacket2_hdr, tp_vlan_tci))?,
                half(offset_of!(tpacket2_hdr, tp_vlan_tpid))?,
            ),
            time: (
                word(offset_of!(tpacket2_hdr, tp_sec))?,
                word(offset_of!(tpacket2_hdr, tp_nsec))?,
            ),
        })
    }

    #[cfg(test)]
    fn cells_mut(&mut self) -> &mut Cells {
        &mut self.cells
    }
}

/// A TPACKET_V3 ring: each cell is a block, a list of frames that the kernel closed.
pub(super) struct BlockRing {
    cells: Cells,
    /// The block that is read, or will be next.
    block: usize,
    /// Frames left in it; 0 until it is ours and opened.
    left: u32,
    /// Where the next frame's header lies in it.
    at: usize,
    senseless: u64,
}

/// A frame of a block on loan; when it ends, the next frame is `next` bytes further on, or the
/// block goes back.
struct FrameLoan<'a> {
    ring: &'a mut BlockRing,
    next: usize,
}

impl Drop for FrameLoan<'_> {
    fn drop(&mut self) {
        self.ring.left -= 1;
        if self.ring.left == 0 {
            self.ring.hand_back();
        } else {
            self.ring.at = self.ring.at.saturating_add(self.next);
        }
    }
}

impl BlockRing {
    pub(super) fn new(cells: Cells) -> Self {
        Self { cells, block: 0, left: 0, at: 0, senseless: 0 }
    }

    fn receive<R>(&mut self, visit: impl FnOnce(Frame<'_>) -> R) -> Option<R> {
        // One round at most: only empty and senseless blocks make a second pass.
        for _ in 0..=self.cells.count() {
            if self.left == 0 && !self.open()? {
                continue;
            }
            let Some((next, described)) = self.described() else {
                self.give_up();
                continue;
            };
            let Some((at, len)) = self.place(&described) else {
                self.give_up();
                continue;
            };
            let loan = FrameLoan { ring: self, next };
            let bytes = loan.ring.cells.bytes(loan.ring.block, at, len)?;
            return Some(visit(Frame { bytes, meta: described.meta() }));
        }
        None
    }

    /// Looks at the current block: `None`, it is still the kernel's; `Some(false)`, there was
    /// nothing in it to read, and it went back.
    fn open(&mut self) -> Option<bool> {
        if !self.cells.is_ours(self.block) {
            return None;
        }
        self.left = self.cells.u32(self.block, BLOCK_FRAMES)?;
        self.at = self.cells.u32(self.block, BLOCK_FIRST)? as usize;
        if self.left == 0 {
            self.hand_back();
            return Some(false);
        }
        if self.at < BLOCK_HEADER + size_of::<tpacket_hdr_v1>() {
            self.give_up();
            return Some(false);
        }
        Some(true)
    }

    /// The frame's place in the block, if it is sensible and inside.
    fn place(&self, described: &Described) -> Option<(usize, usize)> {
        let (mac, len) = described.place(size_of::<tpacket3_hdr>())?;
        let at = self.at.checked_add(mac)?;
        let inside = at.checked_add(len)? <= self.cells.stride();
        inside.then_some((at, len))
    }

    /// The next frame's header, and how far behind it the one after that lies. The last frame's
    /// distance is not looked at: the kernel leaves 0 there.
    fn described(&self) -> Option<(usize, Described)> {
        let word = |at| self.cells.u32(self.block, self.at.checked_add(at)?);
        let half = |at| self.cells.u16(self.block, self.at.checked_add(at)?);
        let next = word(offset_of!(tpacket3_hdr, tp_next_offset))? as usize;
        // Each step goes forward by at least a header, so that a block is read in bounded time.
        if self.left > 1 && next < size_of::<tpacket3_hdr>() {
            return None;
        }
        let described = Described {
            status: word(offset_of!(tpacket3_hdr, tp_status))?,
            mac: half(offset_of!(tpacket3_hdr, tp_mac))?,
            captured: word(offset_of!(tpacket3_hdr, tp_snaplen))?,
            wire_len: word(offset_of!(tpacket3_hdr, tp_len))?,
            vlan: (
                word(offset_of!(tpacket3_hdr, hv1.tp_vlan_tci))? as u16,
                half(offset_of!(tpacket3_hdr, hv1.tp_vlan_tpid))?,
            ),
            time: (
                word(offset_of!(tpacket3_hdr, tp_sec))?,
                word(offset_of!(tpacket3_hdr, tp_nsec))?,
            ),
        };
        Some((next, described))
    }

    /// The rest of the block makes no sense: hands it back unread.
    fn give_up(&mut self) {
        self.senseless += 1;
        self.hand_back();
    }

    fn hand_back(&mut self) {
        self.cells.hand_over(self.block);
        self.block = (self.block + 1) % self.cells.count();
        self.left = 0;
    }

    #[cfg(test)]
    fn cells_mut(&mut self) -> &mut Cells {
        &mut self.cells
    }
}
