//! The system calls and the shared memory that the rings stand on: the only `unsafe` of lessee.
//!
//! Everything public here is safe to call. Three things are dangerous below, and each is fenced by
//! a type:
//!
//! - **Memory that the kernel writes too** is a [`Cells`]: cells of equal size, each with one
//!   status word that says whose it is. Bytes of a cell are lent only while its status word says
//!   that it is ours, and handing a cell back takes `&mut self`, so no borrow of its bytes
//!   outlives that. Nothing read from a cell is trusted as a position: each access is checked
//!   against the cell's size, in release builds too.
//! - **Structures that system calls take** are listed by the sealed trait [`OptionValue`].
//! - **Raw pointers in message headers** live in [`Batch`], which writes them anew, from slices that
//!   it owns, before each `sendmmsg(2)`.
//!
//! References: packet(7), `Documentation/networking/packet_mmap.rst`, `net/packet/af_packet.c`.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use nix::errno::Errno;

/// Bytes of a memory page; ring blocks are multiples of it.
pub(super) fn page_size() -> usize {
    // SAFETY: sysconf(3) takes no pointer and may be called at any time.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

/// A mapping of memory, unmapped when the last [`Cells`] over it is dropped.
struct Mapping {
    base: NonNull<u8>,
    len: NonZeroUsize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it, and `Mapping` itself
// gives no access to the memory: it only unmaps it once.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference to a `Mapping` can do nothing.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are what mmap(2) returned and was asked for, the mapping is
        // unmapped only here, and every `Cells` that points into it holds an `Arc` of `self`, so
        // none is left. The kernel keeps its own reference to the pages that it still sends from.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len.get()) };
    }
}

impl Mapping {
    /// Maps `len` bytes, to read and write: of `fd`, or else private ones that are zero.
    fn new(fd: Option<BorrowedFd<'_>>, len: NonZeroUsize) -> Result<Self, Errno> {
        let flags = match fd {
            Some(_) => libc::MAP_SHARED | libc::MAP_POPULATE,
            None => libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        };
        let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len.get(), access, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let base = NonNull::new(base.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Self { base, len })
    }
}

/// Who else writes to the cells, and so which status means "ours".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The kernel fills cells: one is ours while `TP_STATUS_USER` is set.
    Receive,
    /// We fill cells: one is ours while neither `TP_STATUS_SEND_REQUEST` nor `TP_STATUS_SENDING`
    /// is set.
    Transmit,
}

/// How memory is divided into cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Who fills the cells.
    pub(super) direction: Direction,
    /// Number of cells, 1 or more.
    pub(super) count: usize,
    /// Bytes of one cell, a multiple of 16.
    pub(super) stride: usize,
    /// Where the status word lies in each cell, a multiple of 4.
    pub(super) status_at: usize,
}

impl Layout {
    /// Bytes of all cells together.
    pub(super) fn bytes(&self) -> usize {
        self.count.saturating_mul(self.stride)
    }

    fn is_sound(&self) -> bool {
        self.count > 0
            && self.stride.is_multiple_of(16)
            && self.status_at.is_multiple_of(4)
            && self.status_at + 4 <= self.stride
            && self.count.checked_mul(self.stride).is_some()
    }
}

/// Cells of memory that are shared with the kernel.
///
/// Invariants: `base` points to `layout.bytes()` mapped, writable bytes, aligned to 16, that no
/// other `Cells` covers; the mapping lives as long as `_mapping`. The kernel keeps to the protocol
/// of its rings: it neither writes nor reads a cell whose status word says that it is ours. (It is
/// the kernel: if it wanted to write elsewhere, it could.)
pub(super) struct Cells {
    _mapping: Arc<Mapping>,
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: see `Mapping`; the bytes are reached only through `&self` and `&mut self` of the one
// `Cells` that covers them, so moving it to another thread moves the access with it.
unsafe impl Send for Cells {}

/// Maps the rings of the packet socket `fd`: the receive ring, behind it the transmit ring if
/// there is one. The layouts must be what the socket was told with `PACKET_RX_RING` and
/// `PACKET_TX_RING`: mmap(2) fails with EINVAL if their sum is not the size of the rings.
pub(super) fn map_rings(
    fd: BorrowedFd<'_>,
    receive: Layout,
    transmit: Option<Layout>,
) -> Result<(Cells, Option<Cells>), Errno> {
    let split = receive.bytes();
    let total = transmit.map_or(Some(split), |layout| split.checked_add(layout.bytes()));
    let len = total.and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)?;
    if !receive.is_sound() || transmit.is_some_and(|layout| !layout.is_sound()) {
        return Err(Errno::EINVAL);
    }
    let mapping = Arc::new(Mapping::new(Some(fd), len)?);
    let base = mapping.base;
    // SAFETY: `split` is at most `len`, so the pointer stays inside the mapping (or one past it).
    let behind = unsafe { base.add(split) };
    let second = transmit.map(|layout| Cells { _mapping: mapping.clone(), base: behind, layout });
    Ok((Cells { _mapping: mapping, base, layout: receive }, second))
}

impl Cells {
    /// Cells in private memory, for tests in which the test itself plays the kernel.
    #[cfg(test)]
    pub(super) fn anonymous(layout: Layout) -> Self {
        assert!(layout.is_sound(), "{layout:?}");
        let len = NonZeroUsize::new(layout.bytes()).unwrap();
        let mapping = Mapping::new(None, len).unwrap();
        Self { base: mapping.base, _mapping: Arc::new(mapping), layout }
    }

    /// The whole cell, whoever owns it: only for tests that play the kernel on anonymous memory.
    #[cfg(test)]
    pub(super) fn as_kernel(&mut self, cell: usize) -> &mut [u8] {
        assert!(cell < self.layout.count);
        // SAFETY: the cell is inside the mapping, `&mut self` is the only way to it, and no kernel
        // writes to the anonymous memory that tests use.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.base.add(cell * self.layout.stride).as_ptr(),
                self.layout.stride,
            )
        }
    }

    /// Number of cells.
    pub(super) fn count(&self) -> usize {
        self.layout.count
    }

    /// Bytes of one cell.
    pub(super) fn stride(&self) -> usize {
        self.layout.stride
    }

    /// The address of `len` bytes at `at` in `cell`, if they lie inside the cell.
    fn address(&self, cell: usize, at: usize, len: usize) -> Option<NonNull<u8>> {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.layout.stride);
        if cell >= self.layout.count || !inside {
            return None;
        }
        // SAFETY: `cell < count` and `at + len <= stride`, so the offset is within the
        // `count * stride` bytes that `base` points to; the product cannot overflow, because
        // `is_sound` checked `count * stride`.
        Some(unsafe { self.base.add(cell * self.layout.stride + at) })
    }

    fn word(&self, cell: usize, at: usize) -> Option<&AtomicU32> {
        let address = self.address(cell, at, 4)?.cast::<u32>();
        if !address.is_aligned() {
            return None;
        }
        // SAFETY: the address is mapped for as long as `self` lives, aligned, and of memory that we
        // never read or write other than atomically while it is not ours; the kernel writes such
        // words with single stores.
        Some(unsafe { AtomicU32::from_ptr(address.as_ptr()) })
    }

    /// The status word of `cell`; 0 (the kernel's) if there is no such cell. Acquire: what the
    /// kernel wrote to the cell before it set this status is visible afterwards.
    #[inline]
    pub(super) fn status(&self, cell: usize) -> u32 {
        self.word(cell, self.layout.status_at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Whether `cell` is ours to read and write.
    #[inline]
    pub(super) fn is_ours(&self, cell: usize) -> bool {
        let status = self.status(cell);
        match self.layout.direction {
            Direction::Receive => status & libc::TP_STATUS_USER != 0,
            Direction::Transmit => {
                status & (libc::TP_STATUS_SEND_REQUEST | libc::TP_STATUS_SENDING) == 0
            }
        }
    }

    /// Hands `cell`, which is ours, to the kernel: empty (receive) or to be sent (transmit).
    /// Release: what we wrote to the cell before is visible to the kernel. False, and nothing done,
    /// if it is not ours.
    #[inline]
    pub(super) fn hand_over(&mut self, cell: usize) -> bool {
        let status = match self.layout.direction {
            Direction::Receive => libc::TP_STATUS_KERNEL,
            Direction::Transmit => libc::TP_STATUS_SEND_REQUEST,
        };
        let ours = self.is_ours(cell);
        if ours && let Some(word) = self.word(cell, self.layout.status_at) {
            word.store(status, Ordering::Release);
        }
        ours
    }

    /// Takes back a transmit cell that the kernel was asked to send and has not begun with, or has
    /// refused. The kernel looks at such cells only inside our own send(2), which `&mut self`
    /// excludes: one it has begun with (`TP_STATUS_SENDING`) is left alone.
    pub(super) fn take_back(&mut self, cell: usize) {
        let begun = self.status(cell) & libc::TP_STATUS_SENDING != 0;
        if self.layout.direction == Direction::Transmit
            && !begun
            && let Some(word) = self.word(cell, self.layout.status_at)
        {
            word.store(libc::TP_STATUS_AVAILABLE, Ordering::Release);
        }
    }

    /// A header field of 32 bits at `at` in `cell`; `None` if it is not inside or not aligned.
    #[inline]
    pub(super) fn u32(&self, cell: usize, at: usize) -> Option<u32> {
        self.word(cell, at).map(|word| word.load(Ordering::Relaxed))
    }

    /// A header field of 16 bits at `at` in `cell`; `None` if it is not inside or not aligned.
    #[inline]
    pub(super) fn u16(&self, cell: usize, at: usize) -> Option<u16> {
        let address = self.address(cell, at, 2)?.cast::<u16>();
        if !address.is_aligned() {
            return None;
        }
        // SAFETY: as in `word`: mapped while `self` lives, aligned, and read in one piece.
        Some(unsafe { AtomicU16::from_ptr(address.as_ptr()) }.load(Ordering::Relaxed))
    }

    /// Writes a header field of 32 bits to a cell that is ours.
    pub(super) fn set_u32(&mut self, cell: usize, at: usize, value: u32) {
        if self.is_ours(cell)
            && let Some(word) = self.word(cell, at)
        {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// `len` bytes at `at` in `cell`, if the cell is ours and they lie inside it.
    #[inline]
    pub(super) fn bytes(&self, cell: usize, at: usize, len: usize) -> Option<&[u8]> {
        let address = self.address(cell, at, len)?;
        if !self.is_ours(cell) {
            return None;
        }
        // SAFETY: the range is mapped and initialised (the kernel zeroes ring pages), and lives as
        // long as `self`. Nobody writes to it while the slice lives: the cell's status word says
        // that it is ours, which the kernel respects, and only `&mut self` methods write or change
        // the status.
        Some(unsafe { std::slice::from_raw_parts(address.as_ptr(), len) })
    }

    /// As [`Cells::bytes`], to write. The status word itself is never lent: `at` must lie behind
    /// it.
    #[inline]
    pub(super) fn bytes_mut(&mut self, cell: usize, at: usize, len: usize) -> Option<&mut [u8]> {
        let address = self.address(cell, at, len)?;
        if !self.is_ours(cell) || at < self.layout.status_at + 4 {
            return None;
        }
        // SAFETY: as in `bytes`; and `&mut self` makes this the only borrow.
        Some(unsafe { std::slice::from_raw_parts_mut(address.as_ptr(), len) })
    }

    /// Copies `len` bytes at `at` of cell `from` to the same place of cell `to`, if both are ours;
    /// false, and nothing done, if not.
    pub(super) fn copy(&mut self, from: usize, to: usize, at: usize, len: usize) -> bool {
        let (Some(source), Some(target)) = (self.address(from, at, len), self.address(to, at, len))
        else {
            return false;
        };
        let ours = self.is_ours(from) && self.is_ours(to) && at >= self.layout.status_at + 4;
        if ours && from != to {
            // SAFETY: both ranges are inside cells that are ours, and so not written by the kernel;
            // different cells do not overlap; `&mut self` excludes borrows of either.
            unsafe { source.copy_to_nonoverlapping(target, len) };
        }
        ours
    }
}

/// Frame buffers of our own, sent by `sendmmsg(2)`.
pub(super) struct Batch {
    bytes: Box<[u8]>,
    stride: usize,
    lens: Box<[usize]>,
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers in `vectors` and `messages` are read by nobody but the kernel inside
// `Batch::send`, which writes them anew first, from buffers that the batch owns and that move with
// it.
unsafe impl Send for Batch {}

impl Batch {
    /// `count` buffers of `stride` bytes.
    pub(super) fn new(count: usize, stride: usize) -> Self {
        // SAFETY: all-zero is a valid value of these C structures: null pointers, lengths of 0.
        let (vector, message): (libc::iovec, libc::mmsghdr) = unsafe { (zeroed(), zeroed()) };
        Self {
            bytes: vec![0; count * stride].into(),
            stride,
            lens: vec![0; count].into(),
            vectors: vec![vector; count].into(),
            messages: vec![message; count].into(),
        }
    }

    /// Number of buffers.
    pub(super) fn count(&self) -> usize {
        self.lens.len()
    }

    /// The whole buffer `slot`.
    pub(super) fn buffer_mut(&mut self, slot: usize) -> Option<&mut [u8]> {
        let at = slot.checked_mul(self.stride)?;
        self.bytes.get_mut(at..at.checked_add(self.stride)?)
    }

    /// Says that the first `len` bytes of `slot` are a frame; false, if it is not that long.
    pub(super) fn set_len(&mut self, slot: usize, len: usize) -> bool {
        let fits = len <= self.stride;
        match self.lens.get_mut(slot) {
            Some(of_slot) if fits => *of_slot = len,
            Some(_) | None => return false,
        }
        true
    }

    /// The frame in `slot`; empty, if there is no such slot.
    pub(super) fn frame(&self, slot: usize) -> &[u8] {
        let len = self.lens.get(slot).copied().unwrap_or(0);
        let at = slot.saturating_mul(self.stride);
        self.bytes.get(at..at.saturating_add(len)).unwrap_or(&[])
    }

    /// Sends up to `count` frames from slot `first` on, going round at the end, in one system
    /// call. Returns how many the kernel took, in order. An error means that it took none: the
    /// first frame is the one refused.
    pub(super) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        first: usize,
        count: usize,
    ) -> Result<usize, Errno> {
        let slots = self.count();
        let count = count.min(slots);
        for index in 0..count {
            let frame = self.frame((first + index) % slots);
            let (base, len) = (frame.as_ptr().cast_mut().cast(), frame.len());
            self.vectors[index] = libc::iovec { iov_base: base, iov_len: len };
        }
        for (message, vector) in self.messages.iter_mut().zip(self.vectors.iter_mut()).take(count) {
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
        }
        let vlen = u32::try_from(count).unwrap_or(u32::MAX);
        let flags = libc::MSG_DONTWAIT as _;
        // SAFETY: the first `count` messages each point to one of our vectors, each of which points
        // to a frame inside `self.bytes`; none of the three is touched until the call returns. The
        // kernel only reads the frames, and writes `msg_len` of the messages, which we own.
        let taken =
            unsafe { libc::sendmmsg(fd.as_raw_fd(), self.messages.as_mut_ptr(), vlen, flags) };
        Errno::result(taken).map(|taken| usize::try_from(taken).unwrap_or(0))
    }
}

mod sealed {
    /// Types that setsockopt(2) may read.
    ///
    /// # Safety
    /// Plain C structures or integers without padding or pointers.
    pub(in super::super) unsafe trait OptionValue: Copy {}
    // SAFETY: an integer.
    unsafe impl OptionValue for libc::c_int {}
    // SAFETY: four integers of 32 bits.
    unsafe impl OptionValue for libc::tpacket_req {}
    // SAFETY: seven integers of 32 bits.
    unsafe impl OptionValue for libc::tpacket_req3 {}
    // SAFETY: an int, two shorts and eight bytes, without padding.
    unsafe impl OptionValue for libc::packet_mreq {}
}
pub(super) use sealed::OptionValue;

/// Sets option `name` of level `SOL_PACKET`.
pub(super) fn set_option<T: OptionValue>(
    fd: BorrowedFd<'_>,
    name: c_int,
    value: T,
) -> io::Result<()> {
    // SAFETY: `value` is a plain C value that lives across the call, and its true size is given.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            (&raw const value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

/// What the kernel has counted since the last call: packets that passed the filter (dropped ones
/// included), packets dropped, and times the queue froze. Reading sets them to 0.
pub(super) fn read_statistics(fd: BorrowedFd<'_>) -> Result<[u32; 3], Errno> {
    // SAFETY: three integers of 32 bits; all-zero is a valid value.
    let mut stats: libc::tpacket_stats_v3 = unsafe { zeroed() };
    let mut len = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `stats` (for TPACKET_V2 only the first two
    // fields, which are the same), both of which live across the call.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    Errno::result(done)?;
    let freezes = if len as usize > offset_of!(libc::tpacket_stats_v3, tp_freeze_q_cnt) {
        stats.tp_freeze_q_cnt
    } else {
        0
    };
    Ok([stats.tp_packets, stats.tp_drops, freezes])
}

/// Binds a packet socket to all protocols on one interface: from here on it receives.
pub(super) fn bind(fd: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    // SAFETY: integers and a byte array; all-zero is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = i32::try_from(interface).map_err(|_| Errno::ENODEV)?;
    // SAFETY: `address` is a whole sockaddr_ll that lives across the call, with its true size.
    let done = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

/// The interface that a packet socket is bound to and its hardware type (`ARPHRD_*`): -1 and 0
/// once the interface has gone.
pub(super) fn bound_to(fd: BorrowedFd<'_>) -> Result<(i32, u16), Errno> {
    // SAFETY: integers and a byte array; all-zero is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `address`; both live across the call.
    let done =
        unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
    Errno::result(done)?;
    Ok((address.sll_ifindex, address.sll_hatype))
}
