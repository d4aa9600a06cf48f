//! What is asked for, what was granted, and what is told about it: the lease's plain values.

use super::timing::{self, Retransmission, Schedule};
use crate::time::Instant;
use crate::wire::ethernet::Mac;
use crate::wire::options::{OptionSet, code};
use crate::wire::vlan::VlanStack;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// A port: one parent interface with its rings. The number is its place in the driver's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// When to ask the server to broadcast its answers (RFC 2131 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BroadcastFlag {
    /// Set where a unicast answer could not arrive on the port, whenever a message has to be
    /// repeated because its answer may not have arrived, and for all leases of a port on which
    /// eight were answered only then.
    #[default]
    Auto,
    /// Always set before BOUND.
    Always,
    /// Never set.
    Never,
}

/// What many leases have in common. Shared, so that a lease pays eight bytes for it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Option 55, the same in every DISCOVER and REQUEST, in this order.
    pub parameter_requests: Box<[u8]>,
    /// Option 60; empty: not sent.
    pub vendor_class: Box<[u8]>,
    /// Further options for DISCOVER and REQUEST, in wire form without an end.
    pub more_options: Box<[u8]>,
    /// Option 57: the longest message taken, in bytes; at least 576 (RFC 2132 9.10).
    pub max_message_size: u16,
    /// Option 51 of a DISCOVER: the lease time wanted, in seconds.
    pub lease_time: Option<u32>,
    /// When to ask for broadcast answers.
    pub broadcast: BroadcastFlag,
    /// How to repeat.
    pub retransmission: Retransmission,
    /// Keep all options of the last ACK, to be shown with the terms.
    pub keep_options: bool,
    /// Answer ARP requests for the address held: for clients with no kernel behind them.
    pub answer_arp: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            parameter_requests: Box::new([
                code::SUBNET_MASK,
                // RFC 3442: option 121 is asked for before 3 and 33.
                code::CLASSLESS_ROUTE,
                code::ROUTER,
                code::STATIC_ROUTE,
                code::DOMAIN_NAME_SERVER,
                code::HOSTNAME,
                code::DOMAIN_NAME,
                code::DOMAIN_SEARCH,
                code::INTERFACE_MTU,
                code::BROADCAST_ADDRESS,
                code::NTP_SERVERS,
                code::LEASE_TIME,
                code::RENEWAL_TIME,
                code::REBINDING_TIME,
            ]),
            vendor_class: Box::default(),
            more_options: Box::default(),
            max_message_size: 1472,
            lease_time: None,
            broadcast: BroadcastFlag::Auto,
            retransmission: Retransmission::default(),
            keep_options: true,
            answer_arp: true,
        }
    }
}

/// Option 61 as a lease owns it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientIdentifier {
    /// Not sent.
    None,
    /// Hardware type 1 and the MAC (RFC 2132 9.14).
    #[default]
    Mac,
    /// Other bytes: 2 to 255 of them.
    Bytes(Box<[u8]>),
}

/// What a lease is asked for with.
#[derive(Clone, Debug)]
pub struct Acquire {
    /// The caller's own number for this lease, given back with each event.
    pub tag: u64,
    /// The port to lease on.
    pub port: PortId,
    /// The lease's own MAC: unicast, not zero.
    pub mac: Mac,
    /// VLAN tags to send with, outermost first.
    pub vlans: VlanStack,
    /// Option 61.
    pub client_id: ClientIdentifier,
    /// Option 12: 1 to 255 bytes (RFC 2132 3.14).
    pub hostname: Option<Box<str>>,
    /// Option 50 of the DISCOVER: the address wanted.
    pub requested_address: Option<Ipv4Addr>,
    /// Only ask who offers what: OFFERs are reported as events, and never followed by a REQUEST.
    pub probe: bool,
    /// What it shares with others.
    pub profile: Arc<Profile>,
}

impl Acquire {
    /// An untagged lease for `mac` on `port` with nothing else asked for.
    #[must_use]
    pub fn new(port: PortId, mac: Mac, profile: Arc<Profile>) -> Self {
        Self {
            tag: 0,
            port,
            mac,
            vlans: VlanStack::NONE,
            client_id: ClientIdentifier::Mac,
            hostname: None,
            requested_address: None,
            probe: false,
            profile,
        }
    }
}

/// What a server granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The address: yiaddr of the ACK.
    pub address: Ipv4Addr,
    /// Length of the subnet mask (option 1), 0 to 32; `None` if the server sent none.
    pub prefix: Option<u8>,
    /// The server identifier (option 54).
    pub server_id: Ipv4Addr,
    /// Source MAC of the ACK's frame: the server's own or its relay agent's or router's.
    pub server_mac: Mac,
    /// Where unicast to the server goes first: the server itself if it is on-link, else the router
    /// from option 121 or 3; `None` if neither is known.
    pub next_hop: Option<Ipv4Addr>,
    /// Lease time in seconds (option 51); 0xffffffff is infinite.
    pub lease_time: u32,
    /// T1 in seconds as the server sent it (option 58).
    pub renewal_time: Option<u32>,
    /// T2 in seconds as the server sent it (option 59).
    pub rebinding_time: Option<u32>,
    /// This lease's share of the random fuzz on T1 and T2: 0 to 65,535 for 0 to −10 %.
    pub fuzz: u16,
    /// When the lease began: the first transmission of the REQUEST that it answers
    /// (RFC 2131 4.4.1).
    pub start: Instant,
}

impl Terms {
    /// Offsets of T1, T2 and expiry from [`Terms::start`].
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        timing::schedule(self.lease_time, self.renewal_time, self.rebinding_time, self.fuzz)
    }

    /// When RENEWING begins; `None`: never.
    #[must_use]
    pub fn t1(&self) -> Option<Instant> {
        self.at(self.schedule().t1)
    }

    /// When REBINDING begins; `None`: never.
    #[must_use]
    pub fn t2(&self) -> Option<Instant> {
        self.at(self.schedule().t2)
    }

    /// When the lease ends; `None`: never.
    #[must_use]
    pub fn expiry(&self) -> Option<Instant> {
        self.at(self.schedule().expiry)
    }

    fn at(&self, offset: Option<Duration>) -> Option<Instant> {
        offset.map(|offset| self.start + offset)
    }
}

/// Kinds of things that happened to a lease, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// An address was granted where there was none.
    pub const BOUND: Self = Self(1);
    /// The lease was extended.
    pub const RENEWED: Self = Self(2);
    /// The terms are not those reported before: another address, mask, router or option.
    pub const CHANGED: Self = Self(4);
    /// The address must not be used any more.
    pub const LOST: Self = Self(8);
    /// The lease was given back or given up at the caller's wish; its slot is free.
    pub const RELEASED: Self = Self(16);

    /// True if nothing happened.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if all of `other` are in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds `other`.
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Why an address was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its time ran out with no server extending it (RFC 2131 4.4.5).
    Expired,
    /// A server answered DHCPNAK.
    Nak,
}

/// What a reader is told of a lease: its present state and what happened since it last looked.
/// A reader that is slow misses intermediate terms, but never a kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The caller's number from [`Acquire::tag`].
    pub tag: u64,
    /// The lease's MAC.
    pub mac: Mac,
    /// All that happened since the last notice.
    pub kinds: Kinds,
    /// Counts the notices of this lease, from 1.
    pub sequence: u32,
    /// The terms in force; `None` while there is no address.
    pub terms: Option<Terms>,
    /// The address of the notice before; `None` if there was none.
    pub previous: Option<Ipv4Addr>,
    /// Why an address was lost, if one was.
    pub lost: Option<Lost>,
    /// All options of the last ACK, where the profile keeps them.
    pub options: Option<Arc<OptionSet>>,
}
