//! Transmit: acquire a slot, write a frame, commit it; then one flush hands all to the kernel.
//!
//! Two ways behind one face. *Batch*: buffers of our own and `sendmmsg(2)`. *Ring*: a ring mapped
//! into memory (`PACKET_TX_RING`), which the kernel sends from in place where the device lets it.
//!
//! Both treat a refused frame alike: it alone is given up and counted, the frames behind it go on,
//! in order. A link that is down or gone gives up everything that is queued. A kernel that has no
//! room leaves the frames queued. So every flush ends after at most one system call per frame, and
//! in the usual case after one.

use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{tpacket2_hdr, tpacket3_hdr};
use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

use super::raw::{Batch, Cells};
use crate::device::{Flushed, LinkFault, VlanTag};

#[cfg(test)]
mod tests;

/// Bytes of an Ethernet header without tags.
pub(super) const ETHERNET_HEADER: usize = 14;
/// Bytes that one VLAN tag adds.
pub(super) const VLAN_TAG: usize = 4;

/// What the transmitters ask the kernel for; tests put a kernel of their own here.
pub(super) trait Kernel {
    /// Sends frames from the batch: see [`Batch::send`].
    fn send(&mut self, batch: &mut Batch, first: usize, count: usize) -> Result<usize, Errno>;
    /// Sends what stands in the ring.
    fn kick(&mut self, cells: &mut Cells) -> Result<(), Errno>;
}

/// The kernel, by way of a socket.
pub(super) struct Socket<'a>(pub(super) BorrowedFd<'a>);

impl Kernel for Socket<'_> {
    fn send(&mut self, batch: &mut Batch, first: usize, count: usize) -> Result<usize, Errno> {
        batch.send(self.0, first, count)
    }

    fn kick(&mut self, _cells: &mut Cells) -> Result<(), Errno> {
        nix::sys::socket::send(self.0.as_raw_fd(), &[], MsgFlags::MSG_DONTWAIT).map(drop)
    }
}

/// What a flush did, and what it showed about the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) flushed: Flushed,
    pub(super) fault: Option<LinkFault>,
}

/// What an error of a send means for the frames that are queued.
enum Verdict {
    /// No room just now: keep them.
    Full,
    /// The link does not work: give all of them up.
    Link(LinkFault),
    /// The kernel refuses the first of them: give it up.
    Refused,
}

impl Verdict {
    fn of(error: Errno) -> Self {
        match error {
            Errno::EAGAIN | Errno::EINTR => Self::Full,
            Errno::ENETDOWN => Self::Link(LinkFault::Down),
            Errno::ENXIO | Errno::ENODEV => Self::Link(LinkFault::Gone),
            _ => Self::Refused,
        }
    }
}

/// Either way to transmit.
pub(super) enum Transmitter {
    /// `sendmmsg(2)`.
    Batch(BatchSender),
    /// `PACKET_TX_RING`.
    Ring(RingSender),
}

impl Transmitter {
    #[inline]
    pub(super) fn acquire(&mut self) -> Option<&mut [u8]> {
        match self {
            Self::Batch(sender) => sender.acquire(),
            Self::Ring(sender) => sender.acquire(),
        }
    }

    #[inline]
    pub(super) fn commit(&mut self, len: usize) {
        match self {
            Self::Batch(sender) => sender.commit(len),
            Self::Ring(sender) => sender.commit(len),
        }
    }

    pub(super) fn flush(&mut self, kernel: &mut impl Kernel) -> Outcome {
        match self {
            Self::Batch(sender) => sender.flush(kernel),
            Self::Ring(sender) => sender.flush(kernel),
        }
    }
}

/// Slots in use, of `count` in a circle: `queued` from `first` on. Counts frames refused at commit
/// until the next flush reports them.
struct Queue {
    count: usize,
    first: usize,
    queued: usize,
    acquired: bool,
    refused: u32,
    mtu: usize,
}

impl Queue {
    fn new(count: usize, mtu: usize) -> Self {
        Self { count, first: 0, queued: 0, acquired: false, refused: 0, mtu }
    }

    /// The slot behind the queue; `None` while all are taken.
    fn vacant(&self) -> Option<usize> {
        (self.queued < self.count).then(|| self.slot(self.queued))
    }

    /// The slot of the frame at `position` in the queue.
    fn slot(&self, position: usize) -> usize {
        (self.first + position) % self.count
    }

    /// Whether the kernel would send this frame: `af_packet.c` refuses (EMSGSIZE) what is longer
    /// than the MTU and a header, but allows one 802.1Q tag more (`packet_extra_vlan_len_allowed`;
    /// not an 802.1ad one), and (EINVAL) what is shorter than a header.
    fn allows(&self, frame: &[u8]) -> bool {
        let tagged = frame.get(12..14) == Some(&VlanTag::TPID_8021Q.to_be_bytes()[..]);
        let most = self.mtu + ETHERNET_HEADER + if tagged { VLAN_TAG } else { 0 };
        (ETHERNET_HEADER..=most).contains(&frame.len())
    }

    /// Drops `frames` from the front.
    fn advance(&mut self, frames: usize) {
        self.first = self.slot(frames);
        self.queued -= frames;
    }

    /// What a flush reports so far: the frames refused at commit.
    fn outcome(&mut self) -> Outcome {
        let failed = std::mem::take(&mut self.refused);
        self.acquired = false;
        Outcome { flushed: Flushed { failed, ..Flushed::default() }, fault: None }
    }
}

/// Sends by `sendmmsg(2)`, from buffers of its own.
pub(super) struct BatchSender {
    batch: Batch,
    slot_len: usize,
    queue: Queue,
}

impl BatchSender {
    /// `count` slots of `slot_len` bytes.
    pub(super) fn new(count: usize, slot_len: usize, mtu: usize) -> Self {
        // Buffers start on cache lines of their own.
        let batch = Batch::new(count, slot_len.next_multiple_of(64));
        Self { batch, slot_len, queue: Queue::new(count, mtu) }
    }

    fn acquire(&mut self) -> Option<&mut [u8]> {
        let slot = self.queue.vacant()?;
        self.queue.acquired = true;
        self.batch.buffer_mut(slot)?.get_mut(..self.slot_len)
    }

    fn commit(&mut self, len: usize) {
        let slot = self.queue.vacant().filter(|_| self.queue.acquired && len <= self.slot_len);
        let set = slot.is_some_and(|slot| {
            self.batch.set_len(slot, len) && self.queue.allows(self.batch.frame(slot))
        });
        if set {
            self.queue.queued += 1;
        } else {
            self.queue.refused += 1;
        }
        self.queue.acquired = false;
    }

    fn flush(&mut self, kernel: &mut impl Kernel) -> Outcome {
        let mut outcome = self.queue.outcome();
        let done = &mut outcome.flushed;
        // Each pass sends a frame, gives one up, or is the last, but for one retry.
        while self.queue.queued > 0 {
            match kernel.send(&mut self.batch, self.queue.first, self.queue.queued) {
                Ok(0) => break,
                Ok(sent) => {
                    let sent = sent.min(self.queue.queued);
                    self.queue.advance(sent);
                    done.sent += sent as u32;
                }
                Err(error) => match Verdict::of(error) {
                    Verdict::Full => break,
                    Verdict::Refused => {
                        self.queue.advance(1);
                        done.failed += 1;
                    }
                    // The first error may be left over from a flap that has ended: a socket
                    // reports it once. A second one is the link's state now.
                    Verdict::Link(fault) => {
                        if outcome.fault.replace(fault).is_some() {
                            done.failed += self.queue.queued as u32;
                            self.queue.advance(self.queue.queued);
                        }
                    }
                },
            }
        }
        if self.queue.queued == 0 {
            // Start over in the buffers that are in the cache.
            self.queue.first = 0;
        }
        done.pending = self.queue.queued as u32;
        outcome
    }
}

/// Where things lie in the slots of a transmit ring, by version.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotShape {
    /// The header's size: the frame starts behind it.
    pub(super) header: usize,
    /// Where the status word lies.
    pub(super) status_at: usize,
    /// Where the frame's length goes.
    len_at: usize,
    /// A field that must be 0 (V3's `tp_next_offset`: anything else is EINVAL).
    zero_at: Option<usize>,
}

impl SlotShape {
    /// Slots of TPACKET_V2.
    pub(super) const V2: Self = Self {
        header: size_of::<tpacket2_hdr>(),
        status_at: offset_of!(tpacket2_hdr, tp_status),
        len_at: offset_of!(tpacket2_hdr, tp_len),
        zero_at: None,
    };
    /// Slots of TPACKET_V3.
    pub(super) const V3: Self = Self {
        header: size_of::<tpacket3_hdr>(),
        status_at: offset_of!(tpacket3_hdr, tp_status),
        len_at: offset_of!(tpacket3_hdr, tp_len),
        zero_at: Some(offset_of!(tpacket3_hdr, tp_next_offset)),
    };

    /// Where the frame starts: behind the header and, for V3, the status word.
    /// (`tpacket_parse_header`: `tp_hdrlen - sizeof(struct sockaddr_ll)`.)
    const fn frame_at(self) -> usize {
        self.header.next_multiple_of(libc::TPACKET_ALIGNMENT)
    }
}

/// Sends from a ring mapped into memory.
///
/// The kernel sends slots in order while they say `TP_STATUS_SEND_REQUEST`, and stops for good at
/// one that does not: so no slot may be skipped, and giving up the oldest frame means moving the
/// ones behind it forward. `PACKET_LOSS` is left at 0, so that a frame which the kernel finds wrong
/// is shown to us (`TP_STATUS_WRONG_FORMAT`) and counted, instead of vanishing.
pub(super) struct RingSender {
    cells: Cells,
    shape: SlotShape,
    slot_len: usize,
    queue: Queue,
}

impl RingSender {
    /// Slots of `slot_len` bytes over `cells`, each at least that and a header long.
    pub(super) fn new(cells: Cells, shape: SlotShape, slot_len: usize, mtu: usize) -> Self {
        let queue = Queue::new(cells.count(), mtu);
        Self { cells, shape, slot_len, queue }
    }

    fn acquire(&mut self) -> Option<&mut [u8]> {
        let slot = self.queue.vacant()?;
        // `None` while the kernel still sends what stood here.
        let bytes = self.cells.bytes_mut(slot, self.shape.frame_at(), self.slot_len)?;
        self.queue.acquired = true;
        Some(bytes)
    }

    fn commit(&mut self, len: usize) {
        let slot = self.queue.vacant().filter(|_| self.queue.acquired && len <= self.slot_len);
        let queued = slot.is_some_and(|slot| {
            let frame = self.cells.bytes(slot, self.shape.frame_at(), len);
            frame.is_some_and(|frame| self.queue.allows(frame)) && self.publish(slot, len as u32)
        });
        if queued {
            self.queue.queued += 1;
        } else {
            self.queue.refused += 1;
        }
        self.queue.acquired = false;
    }

    /// Makes the slot, which is ours, one to be sent.
    fn publish(&mut self, slot: usize, len: u32) -> bool {
        self.cells.set_u32(slot, self.shape.len_at, len);
        if let Some(at) = self.shape.zero_at {
            self.cells.set_u32(slot, at, 0);
        }
        self.cells.hand_over(slot)
    }

    fn flush(&mut self, kernel: &mut impl Kernel) -> Outcome {
        let mut outcome = self.queue.outcome();
        let done = &mut outcome.flushed;
        // Each pass sends a frame, gives one up, or is the last, but for one retry.
        while self.queue.queued > 0 {
            let result = kernel.kick(&mut self.cells);
            let taken = self.taken();
            self.queue.advance(taken);
            done.sent += taken as u32;
            if self.queue.queued == 0 {
                break;
            }
            let wrong = self.cells.status(self.queue.first) & libc::TP_STATUS_WRONG_FORMAT != 0;
            let verdict = match result {
                _ if wrong => Verdict::Refused,
                Ok(()) => Verdict::Full,
                Err(error) => Verdict::of(error),
            };
            match verdict {
                Verdict::Full => break,
                Verdict::Refused => {
                    done.failed += self.give_up_first();
                }
                // As for the batch: the first error may be left over from a flap.
                Verdict::Link(fault) => {
                    if outcome.fault.replace(fault).is_some() {
                        done.failed += self.queue.queued as u32;
                        self.give_up_all();
                    }
                }
            }
        }
        done.pending = self.queue.queued as u32;
        outcome
    }

    /// How many frames from the front of the queue the kernel has taken.
    fn taken(&self) -> usize {
        let stays = libc::TP_STATUS_SEND_REQUEST | libc::TP_STATUS_WRONG_FORMAT;
        let waits = |position: &usize| self.cells.status(self.queue.slot(*position)) & stays != 0;
        (0..self.queue.queued).find(waits).unwrap_or(self.queue.queued)
    }

    /// Takes back the slots of the queue. The kernel's own place in the ring does not move, so the
    /// next frame has to go where the first one stood; that is where `vacant` then points.
    fn give_up_all(&mut self) {
        for position in 0..self.queue.queued {
            self.cells.take_back(self.queue.slot(position));
        }
        self.queue.queued = 0;
    }

    /// Gives up the first frame of the queue, and moves the others one slot forward, in order.
    /// Returns how many it gave up: 1.
    fn give_up_first(&mut self) -> u32 {
        let queued = self.queue.queued;
        self.give_up_all();
        for position in 1..queued {
            let (to, from) = (self.queue.slot(position - 1), self.queue.slot(position));
            let len = self.cells.u32(from, self.shape.len_at).unwrap_or(0);
            if !self.cells.copy(from, to, self.shape.frame_at(), len as usize)
                || !self.publish(to, len)
            {
                break;
            }
            self.queue.queued += 1;
        }
        (queued - self.queue.queued) as u32
    }

    #[cfg(test)]
    fn cells_mut(&mut self) -> &mut Cells {
        &mut self.cells
    }
}
