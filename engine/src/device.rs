//! The only seam between the engine and the outside world.
//!
//! A device lends received frames one at a time and hands out transmit slots. The rings in
//! [`crate::ring`] implement it over AF_PACKET; tests and the simulator implement it over memory.
//!
//! The transmit side is acquire, write, commit: [`Device::acquire`] lends the next free slot, and
//! only [`Device::commit`] queues it. Acquiring twice without a commit lends the same slot again,
//! so a caller that finds it has nothing to say just walks away.

/// One VLAN tag: tag protocol identifier and tag control information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub tpid: u16,
    /// PCP (3 bits), DEI (1 bit) and VID (12 bits).
    pub tci: u16,
}

impl VlanTag {
    /// Tag protocol identifier of 802.1Q customer tags.
    pub const TPID_8021Q: u16 = 0x8100;
    /// Tag protocol identifier of 802.1ad service tags.
    pub const TPID_8021AD: u16 = 0x88a8;

    /// VLAN identifier, 0 to 4095; 0 is a priority tag and 4095 is reserved.
    #[must_use]
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// Priority code point, 0 to 7.
    #[must_use]
    pub const fn pcp(self) -> u8 {
        (self.tci >> 13) as u8
    }
}

/// What the kernel tells about a received frame beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The outermost VLAN tag, if the kernel took it out of the frame. (AF_PACKET always does: the
    /// tag is then found only here.)
    pub vlan: Option<VlanTag>,
    /// False if the sender left the UDP checksum to hardware that the frame never met
    /// (`TP_STATUS_CSUMNOTREADY`): the checksum field must then not be judged.
    pub checksum_ready: bool,
    /// Length of the frame on the wire, in bytes; more than was captured if it was cut.
    pub wire_len: usize,
    /// When the kernel saw the frame, in nanoseconds of `CLOCK_REALTIME`; 0 if unknown.
    pub timestamp: u64,
}

impl Meta {
    /// Metadata of a whole, untagged frame whose checksums can be judged.
    #[must_use]
    pub const fn plain(wire_len: usize) -> Self {
        Self { vlan: None, checksum_ready: true, wire_len, timestamp: 0 }
    }
}

/// A received frame on loan.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From the destination MAC on, as captured.
    pub bytes: &'a [u8],
    /// What the kernel knows about it.
    pub meta: Meta,
}

/// What a flush did with the committed frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Frames that the kernel took.
    pub sent: u32,
    /// Frames given up, because the kernel refused them (ENOBUFS, ENETDOWN, EMSGSIZE, wrong format).
    pub failed: u32,
    /// Frames still queued: the kernel takes no more right now.
    pub pending: u32,
}

/// Why a device does not work just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// The link is down (ENETDOWN); frames flow again when it comes up.
    Down,
    /// The interface does not exist any more (ENXIO, ENODEV); the device must be opened anew.
    Gone,
}

/// Running totals that the kernel keeps for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceStatistics {
    /// Frames that passed the filter, those dropped included.
    pub received: u64,
    /// Frames lost because the receive ring was full.
    pub dropped: u64,
    /// Times that the receive ring ran full (TPACKET_V3 only).
    pub freezes: u64,
}

/// The outside world as one lease-holding port sees it.
pub trait Device {
    /// Lends the oldest received frame to `visit` and takes it back. `None`: nothing is waiting.
    fn receive<R>(&mut self, visit: impl FnOnce(Frame<'_>) -> R) -> Option<R>;

    /// Lends the next free transmit slot; `None` while all are taken.
    fn acquire(&mut self) -> Option<&mut [u8]>;

    /// Queues the first `len` bytes of the slot that was acquired last.
    fn commit(&mut self, len: usize);

    /// Hands the queued frames to the kernel.
    fn flush(&mut self) -> Flushed;

    /// The fault since the last call, if the link went down or away.
    fn take_fault(&mut self) -> Option<LinkFault> {
        None
    }

    /// Totals since the device was opened.
    fn statistics(&mut self) -> DeviceStatistics {
        DeviceStatistics::default()
    }
}
