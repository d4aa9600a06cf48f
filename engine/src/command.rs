//! What other threads say to the engine and hear from it: plain values.

use crate::counters::{Counters, Latencies};
use crate::device::{DeviceStatistics, LinkFault};
use crate::error::AcquireError;
use crate::lease::{Acquire, LeaseId, Notice, PortId, State, Terms};
use crate::wire::ethernet::Mac;
use crate::wire::options::OptionSet;
use crate::wire::vlan::VlanStack;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A reply channel of capacity one.
pub type Reply<T> = crossbeam_channel::Sender<T>;

/// What a caller may ask of the engine.
#[derive(Debug)]
pub enum Command {
    /// Begin a lease; its name comes back at once, the address later as an event.
    Acquire(Box<Acquire>, Option<Reply<Result<LeaseId, AcquireError>>>),
    /// Give a lease back to the server.
    Release(LeaseId),
    /// End a lease without telling the server.
    Forget(LeaseId),
    /// Renew now instead of at T1.
    Renew(LeaseId),
    /// Give all leases back.
    ReleaseAll,
    /// How a lease stands; `None` if it is gone.
    Query(LeaseId, Reply<Option<LeaseView>>),
    /// How all ports stand.
    Ports(Reply<Vec<PortView>>),
    /// Stop; with `release`, give all leases back first.
    Shutdown {
        /// Send a RELEASE for every address held.
        release: bool,
    },
}

/// What the engine tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something happened to a lease. At most one of these waits for each lease.
    Lease {
        /// The lease.
        lease: LeaseId,
        /// What happened, and how it stands now.
        notice: Notice,
    },
    /// An OFFER came for a probe.
    Offer(Box<Offer>),
    /// A port's link went down or away. Leases keep their timers.
    Link {
        /// The port.
        port: PortId,
        /// What is wrong.
        fault: LinkFault,
    },
}

/// An OFFER that a probe has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The probe.
    pub lease: LeaseId,
    /// The caller's number from [`Acquire::tag`].
    pub tag: u64,
    /// The address offered.
    pub address: Ipv4Addr,
    /// The server identifier; `None` if the server sent none (which RFC 2131 table 3 forbids).
    pub server_id: Option<Ipv4Addr>,
    /// The relay agent that it came through.
    pub relay: Option<Ipv4Addr>,
    /// Source MAC of the frame.
    pub server_mac: Mac,
    /// Nanoseconds since the first DISCOVER.
    pub after_nanos: u64,
    /// All its options.
    pub options: Arc<OptionSet>,
}

/// How a lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Its MAC.
    pub mac: Mac,
    /// The caller's number.
    pub tag: u64,
    /// Its port.
    pub port: PortId,
    /// Its VLAN tags.
    pub vlans: VlanStack,
    /// Its state and what belongs to it.
    pub state: State,
    /// Its terms, if it holds an address.
    pub terms: Option<Terms>,
    /// The options of the last ACK, where they are kept.
    pub options: Option<Arc<OptionSet>>,
}

/// How a port stands.
#[derive(Clone, Debug)]
pub struct PortView {
    /// Its number.
    pub port: PortId,
    /// Leases on it, in any state.
    pub leases: u32,
    /// Of those, how many hold an address.
    pub bound: u32,
    /// Exchanges in flight.
    pub in_flight: u32,
    /// Exchanges that may be in flight; `None`: any number.
    pub window: Option<u32>,
    /// Its counters.
    pub counters: Counters,
    /// Its rings' counters.
    pub device: DeviceStatistics,
    /// Its latencies, where the port keeps them.
    pub latencies: Option<Box<Latencies>>,
}
