//! AF_PACKET rings mapped into memory: the [`Device`] of production.
//!
//! One [`PacketRing`] per parent interface, never per lease: a receive ring that the kernel fills,
//! and slots to transmit from. Frames of any source MAC and VLAN go through it.
//!
//! The socket is made with protocol 0, gets its filter and its rings, and is bound last: no frame
//! that the filter would refuse is ever queued. It is bound to `ETH_P_ALL`, because a socket bound
//! to `ETH_P_IP` misses tagged frames, frames for macvlan children, and all frames on a bridge
//! port.
//!
//! `docs/rings.md` has the measurements behind the defaults. References: packet(7),
//! `Documentation/networking/packet_mmap.rst`, `net/packet/af_packet.c`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockFilter, Type};

use crate::device::{Device, DeviceStatistics, Flushed, Frame, LinkFault};

mod filter;
mod raw;
mod rx;
mod tx;

#[cfg(test)]
mod tests;

pub use filter::FilterSpec;

use raw::{Direction, Layout};
use rx::{BlockRing, FrameRing, Receiver};
use tx::{BatchSender, ETHERNET_HEADER, Outcome, RingSender, SlotShape, Transmitter, VLAN_TAG};

/// The least MTU that DHCP works over: every host must take a datagram of 576 bytes (RFC 2131 2).
pub const MTU_MIN: usize = 576;
/// The longest datagram that is received whole and may be sent, unless
/// [`RingConfig::datagram_bytes`] says otherwise.
const DATAGRAM_BYTES: usize = 1500;
/// The most memory that a receive ring may take, in bytes: 1 GiB.
const RX_BYTES_MAX: usize = 1 << 30;
/// The most slots to transmit from.
const TX_FRAMES_MAX: usize = 1 << 16;
/// How many blocks a TPACKET_V3 ring has, where its size allows.
const BLOCKS: usize = 8;

/// How received frames are handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxMode {
    /// TPACKET_V2: frame by frame, each at once. Least latency.
    #[default]
    V2,
    /// TPACKET_V3: blocks of frames, handed over when full or when the time-out ends. More
    /// throughput where frames never stop coming; the time-out is added to each exchange where they
    /// do.
    V3 {
        /// Milliseconds after which a block is handed over that is not full; 0 lets the kernel
        /// choose (8 ms, or by the link's speed).
        block_timeout_ms: u32,
    },
}

/// How frames are handed to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxMode {
    /// `sendmmsg(2)` from buffers of our own: the kernel copies each frame.
    #[default]
    SendMmsg,
    /// A mapped transmit ring (`PACKET_TX_RING`): the kernel sends the pages themselves, where the
    /// device can.
    Ring,
}

/// What a [`PacketRing`] is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Index of the interface.
    pub interface: u32,
    /// Its MTU in bytes, [`MTU_MIN`] or more. A frame may be 14 bytes longer, and 4 more with an
    /// 802.1Q tag.
    pub mtu: usize,
    /// Which frames are received.
    pub filter: FilterSpec,
    /// How received frames are handed over.
    pub rx: RxMode,
    /// How frames are handed to the kernel.
    pub tx: TxMode,
    /// Memory of the receive ring in bytes, rounded to whole slots; at most 1 GiB. A slot takes 2
    /// KiB for datagrams of up to 1,500 bytes, so the default of 256 KiB holds 128 frames.
    pub rx_bytes: usize,
    /// Slots to transmit from, and so the most frames that one flush can send; 1 to 65,536. A
    /// transmit ring rounds them up to fill its memory pages.
    pub tx_frames: usize,
    /// The longest datagram in bytes that is received whole and may be sent, if the MTU allows it.
    /// More is only of use on jumbo links, and makes all slots larger.
    pub datagram_bytes: usize,
    /// Receive frames for any MAC (`PACKET_MR_PROMISC`): a device that filters MACs or VLANs then
    /// passes those of emulated clients, and all others of the segment, each of which costs a run
    /// of the filter.
    pub promiscuous: bool,
    /// Send past the queueing discipline (`PACKET_QDISC_BYPASS`), which also hides our frames from
    /// packet captures on this host.
    pub qdisc_bypass: bool,
    /// Do not receive what this host sends (`PACKET_IGNORE_OUTGOING`, Linux 4.20).
    pub ignore_outgoing: bool,
}

impl RingConfig {
    /// The defaults for a DHCP client on the interface with index `interface` and this MTU.
    #[must_use]
    pub fn new(interface: u32, mtu: usize) -> Self {
        Self {
            interface,
            mtu,
            filter: FilterSpec::client(),
            rx: RxMode::default(),
            tx: TxMode::default(),
            rx_bytes: 256 * 1024,
            tx_frames: 256,
            datagram_bytes: DATAGRAM_BYTES,
            promiscuous: false,
            qdisc_bypass: false,
            ignore_outgoing: true,
        }
    }

    /// Bytes of the longest frame that is sent: datagram, header, one tag.
    fn frame_bytes(&self) -> usize {
        self.datagram_bytes.min(self.mtu) + ETHERNET_HEADER + VLAN_TAG
    }

    /// The receive ring's cells. Slots and blocks are powers of two, and so lie one behind the
    /// other without gaps.
    fn receive_layout(&self) -> Layout {
        // A frame starts at most 16 bytes behind its headers, so that the datagram is aligned
        // (`tpacket_rcv`); one tag is in the metadata, and one may be in the bytes.
        let headers = libc::TPACKET3_HDRLEN + 16;
        let slot = (headers + self.frame_bytes()).next_power_of_two();
        let page = raw::page_size();
        let direction = Direction::Receive;
        match self.rx {
            RxMode::V2 => {
                let count = round_to_blocks(self.rx_bytes / slot, slot, page).max(2);
                Layout { direction, count, stride: slot, status_at: SlotShape::V2.status_at }
            }
            RxMode::V3 { .. } => {
                let block = (self.rx_bytes / BLOCKS).max(1).next_power_of_two();
                let block = block.min(1 << 20).max(4 * slot).max(page);
                let count = (self.rx_bytes / block).max(2);
                Layout { direction, count, stride: block, status_at: rx::BLOCK_STATUS }
            }
        }
    }

    /// The transmit ring's cells, if there is to be one.
    fn transmit_layout(&self) -> Option<Layout> {
        let shape = self.slot_shape();
        let stride = (shape.header + self.frame_bytes()).next_power_of_two();
        let count = round_to_blocks(self.tx_frames, stride, raw::page_size());
        let layout =
            Layout { direction: Direction::Transmit, count, stride, status_at: shape.status_at };
        (self.tx == TxMode::Ring).then_some(layout)
    }

    /// A socket has one version for both rings.
    fn slot_shape(&self) -> SlotShape {
        match self.rx {
            RxMode::V2 => SlotShape::V2,
            RxMode::V3 { .. } => SlotShape::V3,
        }
    }

    fn check(&self) -> Result<(), RingError> {
        let (interface, mtu) = (self.interface, self.mtu);
        if mtu < MTU_MIN {
            return Err(RingError::MtuTooSmall { interface, mtu });
        }
        let sizes = [
            ("rx_bytes", self.rx_bytes, 1, RX_BYTES_MAX),
            ("tx_frames", self.tx_frames, 1, TX_FRAMES_MAX),
            ("datagram_bytes", self.datagram_bytes, MTU_MIN, 65_535),
        ];
        match sizes.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((field, value, least, most)) => {
                Err(RingError::Size { interface, field, value, least, most })
            }
            None => Ok(()),
        }
    }
}

/// `slots` of `slot` bytes, rounded up to fill whole blocks of at least a page.
fn round_to_blocks(slots: usize, slot: usize, page: usize) -> usize {
    let per_block = (page / slot).max(1);
    slots.max(1).next_multiple_of(per_block)
}

/// Why a ring could not be opened, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// EPERM.
    #[error(
        "opening a packet socket on interface {interface} needs CAP_NET_RAW: run as root, give the \
         program the capability (setcap cap_net_raw+ep), or run it in a user namespace of its own"
    )]
    Permission {
        /// The interface's name, or its index.
        interface: String,
    },
    /// ENODEV, ENXIO.
    #[error(
        "there is no interface with index {interface} in this network namespace: `ip link` lists \
         those there are"
    )]
    NoInterface {
        /// The index asked for.
        interface: u32,
    },
    /// The interface does not carry Ethernet frames.
    #[error(
        "interface {interface} is not Ethernet (hardware type {hardware_type}; 772 is loopback): \
         choose an Ethernet interface, a bridge, or a VLAN, macvlan or veth device"
    )]
    NotEthernet {
        /// The interface's name.
        interface: String,
        /// Its `ARPHRD_*` value.
        hardware_type: u16,
    },
    /// The MTU is below [`MTU_MIN`].
    #[error(
        "interface with index {interface} has an MTU of {mtu} bytes, and DHCP needs 576 (RFC 2131 \
         section 2): raise it with `ip link set mtu`"
    )]
    MtuTooSmall {
        /// The interface's index.
        interface: u32,
        /// The MTU asked for.
        mtu: usize,
    },
    /// A size of the configuration is out of its range.
    #[error(
        "ring for the interface with index {interface}: {field} is {value}, but must be {least} to \
         {most}"
    )]
    Size {
        /// The interface's index.
        interface: u32,
        /// The field of [`RingConfig`].
        field: &'static str,
        /// What it was.
        value: usize,
        /// The least it may be.
        least: usize,
        /// The most it may be.
        most: usize,
    },
    /// Any other refusal of the operating system.
    #[error("cannot {doing} for interface {interface}{hint}")]
    Os {
        /// What was being done.
        doing: &'static str,
        /// The interface's name.
        interface: String,
        /// What to do about it, if that is known: starts with a colon.
        hint: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A pair of rings on one interface.
pub struct PacketRing {
    // Declared before the socket, and so unmapped before it is closed.
    receiver: Receiver,
    transmitter: Transmitter,
    socket: OwnedFd,
    totals: DeviceStatistics,
    link: Link,
}

/// What is known about the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Link {
    /// Nothing to report.
    #[default]
    Works,
    /// A send found the fault, and `take_fault` has not reported it yet.
    Failed,
    /// Reported as down.
    Down,
    /// Reported as gone.
    Gone,
}

impl PacketRing {
    /// Opens the rings and binds them to their interface; from then on frames are received. An
    /// interface that is down can be opened: [`Device::take_fault`] then says so at its first
    /// call.
    ///
    /// A ring's size is fixed. To replace it by a larger one, open that first, then receive from
    /// the old one until it is empty; frames that come in between arrive in both.
    ///
    /// # Errors
    /// See [`RingError`]. Nothing is left behind.
    pub fn open(config: &RingConfig) -> Result<Self, RingError> {
        config.check()?;
        let name = interface_name(config.interface)?;
        let os = |doing: &'static str, hint: &'static str| {
            let interface = name.clone();
            move |source| RingError::Os { doing, interface, hint, source }
        };
        let socket = match open_socket() {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                return Err(RingError::Permission { interface: name });
            }
            other => other.map_err(os("open a packet socket", ""))?,
        };
        attach_filter(&socket, config.filter).map_err(os("attach the packet filter", ""))?;
        let socket = OwnedFd::from(socket);
        set_options(socket.as_fd(), config)
            .map_err(os("set the packet socket's options", ": lessee needs Linux 4.20 or newer"))?;
        let (receiver, transmitter) = make_rings(socket.as_fd(), config).map_err(os(
            "make the packet rings",
            ": if memory is short, ask for smaller ones (rx_bytes, tx_frames)",
        ))?;
        let ring = Self {
            receiver,
            transmitter,
            socket,
            totals: DeviceStatistics::default(),
            link: Link::default(),
        };
        ring.bind(config, name)?;
        Ok(ring)
    }

    fn bind(&self, config: &RingConfig, name: String) -> Result<(), RingError> {
        let fd = self.socket.as_fd();
        let vanished =
            |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO));
        let os = |doing, source| RingError::Os { doing, interface: name.clone(), hint: "", source };
        match raw::bind(fd, config.interface) {
            Err(error) if vanished(&error) => {
                return Err(RingError::NoInterface { interface: config.interface });
            }
            other => other.map_err(|error| os("bind the packet socket", error))?,
        }
        let (_, hardware_type) =
            raw::bound_to(fd).map_err(|error| os("ask for the hardware type", error.into()))?;
        if hardware_type != ARPHRD_ETHER {
            return Err(RingError::NotEthernet { interface: name, hardware_type });
        }
        if config.promiscuous {
            let membership = libc::packet_mreq {
                mr_ifindex: config.interface.cast_signed(),
                mr_type: libc::PACKET_MR_PROMISC as u16,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            raw::set_option(fd, libc::PACKET_ADD_MEMBERSHIP, membership)
                .map_err(|error| os("switch on promiscuous mode", error))?;
        }
        Ok(())
    }

    /// Slots of the receive ring that made no sense (a length or offset that points outside the
    /// slot) and were handed back unread, since the ring was opened. Always 0 with a sane kernel.
    #[must_use]
    pub fn senseless_slots(&self) -> u64 {
        self.receiver.senseless()
    }

    /// The fault that the socket itself has noted since it was last asked (`SO_ERROR`).
    fn socket_error(&self) -> Option<Errno> {
        let error =
            nix::sys::socket::getsockopt(&self.socket, nix::sys::socket::sockopt::SocketError);
        error.ok().filter(|error| *error != 0).map(Errno::from_raw)
    }
}

impl Device for PacketRing {
    /// No system call: with TPACKET_V2 a frame is here as soon as the kernel has written it.
    #[inline]
    fn receive<R>(&mut self, visit: impl FnOnce(Frame<'_>) -> R) -> Option<R> {
        self.receiver.receive(visit)
    }

    /// The slot holds whatever was last sent from it. Its length is the longest frame that may be
    /// sent with a tag: MTU (or [`RingConfig::datagram_bytes`], if less) + 18 bytes.
    #[inline]
    fn acquire(&mut self) -> Option<&mut [u8]> {
        self.transmitter.acquire()
    }

    /// A frame that the kernel would refuse is not queued, but counted as failed at the next
    /// flush: one of fewer than 14 bytes, or of more than the MTU + 14 bytes (+ 18 with a tag of
    /// type 0x8100), or one that was not acquired.
    #[inline]
    fn commit(&mut self, len: usize) {
        self.transmitter.commit(len);
    }

    /// One system call, if anything is queued and nothing refused. A frame that is refused
    /// (ENOBUFS, EMSGSIZE, wrong format …) is given up and the next one tried; on a link that is
    /// down or gone all are given up, and [`Device::take_fault`] says which it is. `pending`
    /// frames go first at the next flush: call it when the socket is writable, or at a later turn.
    fn flush(&mut self) -> Flushed {
        let outcome = self.transmitter.flush(&mut tx::Socket(self.socket.as_fd()));
        self.note(&outcome);
        outcome.flushed
    }

    /// To be called when epoll reports an error or hang-up on the socket, and after a flush that
    /// had failures: one getsockopt(2) if nothing is wrong, one getsockname(2) more if something
    /// is.
    ///
    /// [`LinkFault::Down`] is reported once each time that the link goes down (also if it is up
    /// again by then), [`LinkFault::Gone`] once. The kernel gives one error for a link that goes
    /// down and away; if it was asked in between, the answer was `Down`: so after `Down`, ask again
    /// now and then, until frames are sent.
    fn take_fault(&mut self) -> Option<LinkFault> {
        let error = self.socket_error();
        let fresh = error == Some(Errno::ENETDOWN) || self.link == Link::Failed;
        if self.link == Link::Gone || (!fresh && self.link == Link::Works) {
            return None;
        }
        // The kernel unbinds the socket for good when the interface is removed or moved to another
        // namespace (`packet_notifier`, NETDEV_UNREGISTER). This cannot be misled by another
        // interface that got the same index or name since, as asking for either could.
        let gone = raw::bound_to(self.socket.as_fd()).is_ok_and(|(interface, _)| interface < 0);
        if gone {
            self.link = Link::Gone;
            return Some(LinkFault::Gone);
        }
        self.link = Link::Down;
        fresh.then_some(LinkFault::Down)
    }

    /// One getsockopt(2), which sets the kernel's own counters to 0: nobody else should read them.
    fn statistics(&mut self) -> DeviceStatistics {
        if let Ok([received, dropped, freezes]) = raw::read_statistics(self.socket.as_fd()) {
            self.totals.received += u64::from(received);
            self.totals.dropped += u64::from(dropped);
            self.totals.freezes += u64::from(freezes);
        }
        self.totals
    }
}

impl PacketRing {
    fn note(&mut self, outcome: &Outcome) {
        if outcome.fault.is_some() && self.link != Link::Gone {
            // Sends on a link that is known to be down say nothing new.
            if self.link == Link::Works || outcome.fault == Some(LinkFault::Gone) {
                self.link = Link::Failed;
            }
        }
        if outcome.flushed.sent > 0 && self.link == Link::Down {
            self.link = Link::Works;
        }
    }
}

impl AsFd for PacketRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for PacketRing {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl std::fmt::Debug for PacketRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketRing")
            .field("fd", &self.socket.as_raw_fd())
            .field("totals", &self.totals)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ARPHRD_ETHER: u16 = 1;

fn interface_name(interface: u32) -> Result<String, RingError> {
    // Index 0 would bind to all interfaces.
    let name = Some(interface).filter(|index| *index != 0).map(nix::net::if_::if_indextoname);
    match name {
        Some(Ok(name)) => Ok(name.to_string_lossy().into_owned()),
        Some(Err(_)) | None => Err(RingError::NoInterface { interface }),
    }
}

/// A packet socket with protocol 0: it receives nothing until it is bound.
fn open_socket() -> io::Result<socket2::Socket> {
    let kind = Type::RAW.nonblocking().cloexec();
    socket2::Socket::new(Domain::PACKET, kind, Some(Protocol::from(0)))
}

fn attach_filter(socket: &socket2::Socket, filter: FilterSpec) -> io::Result<()> {
    let program: Vec<SockFilter> = filter
        .program()
        .into_iter()
        .map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k))
        .collect();
    socket.attach_filter(&program)
}

fn set_options(fd: BorrowedFd<'_>, config: &RingConfig) -> io::Result<()> {
    let version = match config.rx {
        RxMode::V2 => libc::tpacket_versions::TPACKET_V2,
        RxMode::V3 { .. } => libc::tpacket_versions::TPACKET_V3,
    };
    raw::set_option(fd, libc::PACKET_VERSION, version as libc::c_int)?;
    if config.ignore_outgoing {
        raw::set_option(fd, libc::PACKET_IGNORE_OUTGOING, 1)?;
    }
    if config.qdisc_bypass {
        raw::set_option(fd, libc::PACKET_QDISC_BYPASS, 1)?;
    }
    Ok(())
}

/// Asks the kernel for the rings and maps them.
fn make_rings(fd: BorrowedFd<'_>, config: &RingConfig) -> io::Result<(Receiver, Transmitter)> {
    let receive = config.receive_layout();
    request_ring(fd, libc::PACKET_RX_RING, receive, config.rx)?;
    let transmit = config.transmit_layout();
    if let Some(layout) = transmit {
        request_ring(fd, libc::PACKET_TX_RING, layout, config.rx)?;
    }
    let (cells, transmit) = raw::map_rings(fd, receive, transmit)?;
    let receiver = match config.rx {
        RxMode::V2 => Receiver::Frames(FrameRing::new(cells)),
        RxMode::V3 { .. } => Receiver::Blocks(BlockRing::new(cells)),
    };
    let (slot, mtu) = (config.frame_bytes(), config.mtu);
    let transmitter = match transmit {
        None => Transmitter::Batch(BatchSender::new(config.tx_frames, slot, mtu)),
        Some(cells) => Transmitter::Ring(RingSender::new(cells, config.slot_shape(), slot, mtu)),
    };
    Ok((receiver, transmitter))
}

fn request_ring(
    fd: BorrowedFd<'_>,
    option: libc::c_int,
    layout: Layout,
    mode: RxMode,
) -> io::Result<()> {
    let small = |value: usize| u32::try_from(value).map_err(|_| io::Error::from(Errno::EINVAL));
    let block = layout.stride.max(raw::page_size());
    let (block_size, block_nr) = (small(block)?, small(layout.bytes() / block)?);
    let (frame_size, frame_nr) = (small(layout.stride)?, small(layout.count)?);
    let RxMode::V3 { block_timeout_ms } = mode else {
        let request = libc::tpacket_req {
            tp_block_size: block_size,
            tp_block_nr: block_nr,
            tp_frame_size: frame_size,
            tp_frame_nr: frame_nr,
        };
        return raw::set_option(fd, option, request);
    };
    let request = libc::tpacket_req3 {
        tp_block_size: block_size,
        tp_block_nr: block_nr,
        tp_frame_size: frame_size,
        tp_frame_nr: frame_nr,
        // A transmit ring takes no time-out (EINVAL).
        tp_retire_blk_tov: if option == libc::PACKET_RX_RING { block_timeout_ms } else { 0 },
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    raw::set_option(fd, option, request)
}
