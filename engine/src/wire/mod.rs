//! Bytes to values and back: Ethernet, VLAN tags, ARP, IPv4, UDP and DHCPv4.
//!
//! Parsing borrows and allocates nothing. Each length is checked, and every refusal has a name
//! ([`Discard`]) that the engine counts. Writing goes straight into a transmit slot. The lease
//! code never sees an offset, and nothing here knows what a lease is.

pub mod arp;
pub mod dhcp;
pub mod ethernet;
pub mod ipv4;
pub mod names;
pub mod options;
pub mod udp;
pub mod vlan;

#[cfg(test)]
mod tests;

use crate::device::Frame;
use arp::Arp;
use dhcp::{Datagram, Outgoing};
use ethernet::Mac;
use std::net::SocketAddrV4;
use vlan::VlanStack;

/// Addresses and tags of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Destination MAC.
    pub destination: Mac,
    /// Source MAC.
    pub source: Mac,
    /// VLAN tags, outermost first.
    pub vlans: VlanStack,
}

/// A received packet that made sense.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Addresses and tags of its frame.
    pub link: Link,
    /// What it carries.
    pub body: Body<'a>,
    /// What was unusual about it, though no reason to refuse it.
    pub oddities: Oddities,
}

/// What a received packet carries.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// An ARP request or reply for IPv4 over Ethernet.
    Arp(Arp),
    /// A DHCPv4 message in UDP over IPv4.
    Dhcp(Datagram<'a>),
}

/// A packet to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Addresses and tags of its frame.
    pub link: Link,
    /// What it carries.
    pub body: TransmitBody<'a>,
}

/// What a packet to be sent carries.
#[derive(Clone, Copy, Debug)]
pub enum TransmitBody<'a> {
    /// ARP, padded to the Ethernet minimum.
    Arp(Arp),
    /// DHCPv4 in UDP over IPv4.
    Dhcp {
        /// IPv4 source address and UDP source port.
        source: SocketAddrV4,
        /// IPv4 destination address and UDP destination port.
        destination: SocketAddrV4,
        /// The message.
        message: Outgoing<'a>,
    },
}

macro_rules! named {
    ($(#[$outer:meta])* $enum:ident { $($(#[$doc:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $enum { $($(#[$doc])* $name,)* }

        impl $enum {
            /// Every one, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The counter's name: lower case with underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

named! {
    /// Why a received frame was not taken for a packet of ours, one name for each reason.
    Discard {
        /// Shorter than its own headers.
        RuntFrame = "runt_frame",
        /// Longer on the wire than what was captured.
        CutFrame = "cut_frame",
        /// A payload over 1,500 bytes, the most that IEEE 802.3 allows: never a DHCP answer that we
        /// asked for.
        JumboFrame = "jumbo_frame",
        /// More than two VLAN tags.
        TooManyTags = "too_many_tags",
        /// Neither IPv4 nor ARP.
        EtherType = "ether_type",
        /// ARP that is not for IPv4 over Ethernet, or neither request nor reply.
        ArpMalformed = "arp_malformed",
        /// The IP version is not 4.
        IpVersion = "ip_version",
        /// The IPv4 header length or total length contradicts the frame.
        IpLength = "ip_length",
        /// The IPv4 header checksum is wrong.
        IpChecksum = "ip_checksum",
        /// A fragment: DHCP messages that matter fit one packet.
        IpFragment = "ip_fragment",
        /// Not UDP.
        NotUdp = "not_udp",
        /// The UDP length contradicts the IPv4 length.
        UdpLength = "udp_length",
        /// The UDP checksum is present and wrong.
        UdpChecksum = "udp_checksum",
        /// Neither to port 67 nor to port 68.
        NotDhcpPort = "not_dhcp_port",
        /// Shorter than the fixed part of a BOOTP message and the magic cookie.
        BootpLength = "bootp_length",
        /// `op` is neither BOOTREQUEST nor BOOTREPLY.
        BootpOp = "bootp_op",
        /// `htype` is not Ethernet or `hlen` is not 6.
        HardwareAddress = "hardware_address",
        /// The magic cookie is missing (RFC 2131 section 3).
        MagicCookie = "magic_cookie",
        /// An option runs past the end of its field.
        OptionOverrun = "option_overrun",
        /// An option that the protocol depends on has an impossible length or value.
        OptionValue = "option_value",
        /// No option 53: plain BOOTP.
        MessageTypeMissing = "message_type_missing",
    }
}

named! {
    /// Something unusual about a packet that is accepted all the same: counted, one name for each.
    Oddity {
        /// The IPv4 header has options.
        IpOptions = "ip_options",
        /// The sender made no UDP checksum (RFC 768 allows that).
        ChecksumAbsent = "udp_checksum_absent",
        /// A BOOTREPLY from a port other than 67, or a BOOTREQUEST from neither 67 nor 68
        /// (RFC 2131 4.1 speaks of destination ports only).
        SourcePort = "source_port",
        /// Bytes behind the end of the IPv4 packet.
        TrailingPadding = "trailing_padding",
        /// A VLAN tag with VID 0: only a priority, the packet counts as untagged.
        PriorityTag = "priority_tag",
    }
}

/// The set of a packet's oddities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities(u8);

impl Oddities {
    /// Nothing unusual.
    pub const NONE: Self = Self(0);

    /// True if nothing is unusual, as in most packets.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if `oddity` is among them.
    #[must_use]
    pub const fn contains(self, oddity: Oddity) -> bool {
        self.0 & (1 << oddity as u8) != 0
    }

    /// Those among them, in counter order.
    pub fn iter(self) -> impl Iterator<Item = Oddity> {
        Oddity::ALL.iter().copied().filter(move |oddity| self.contains(*oddity))
    }

    fn note(&mut self, oddity: Oddity, seen: bool) {
        self.0 |= u8::from(seen) << oddity as u8;
    }
}

/// The slot is too small for the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// The longest payload of an Ethernet frame, in bytes (IEEE 802.3).
const MAXIMUM_PAYLOAD: usize = 1500;

/// Reads a frame from its Ethernet header to its last DHCP option.
///
/// # Errors
/// The reason why the frame is none of ours; most are other people's traffic, not faults.
pub fn parse<'a>(frame: Frame<'a>) -> Result<Packet<'a>, Discard> {
    let bytes = frame.bytes;
    // A cut frame may still hold a whole packet with a long trailer, but nobody pads that much.
    if frame.meta.wire_len > bytes.len() {
        return Err(Discard::CutFrame);
    }
    let (ethernet, rest) = ethernet::parse(bytes)?;
    let (vlans, ether_type, rest) = vlan::parse(frame.meta.vlan, ethernet.ether_type, rest)?;
    let link = Link { destination: ethernet.destination, source: ethernet.source, vlans };
    let mut oddities = Oddities::NONE;
    oddities.note(Oddity::PriorityTag, vlans.has_priority_tag());
    let body = match ether_type {
        ethernet::TYPE_ARP | ethernet::TYPE_IPV4 if rest.len() > MAXIMUM_PAYLOAD => {
            return Err(Discard::JumboFrame);
        }
        ethernet::TYPE_ARP => Body::Arp(arp::parse(rest)?),
        ethernet::TYPE_IPV4 => {
            let ready = frame.meta.checksum_ready;
            Body::Dhcp(dhcp::parse_ipv4(rest, ready, &mut oddities)?)
        }
        _ => return Err(Discard::EtherType),
    };
    Ok(Packet { link, body, oddities })
}

/// Writes a packet into a transmit slot and returns the frame's length in bytes.
///
/// # Errors
/// [`NoRoom`] if the slot is too short for it.
pub fn emit(packet: &Transmit<'_>, slot: &mut [u8]) -> Result<usize, NoRoom> {
    let ether_type = match packet.body {
        TransmitBody::Arp(_) => ethernet::TYPE_ARP,
        TransmitBody::Dhcp { .. } => ethernet::TYPE_IPV4,
    };
    let header = ethernet::emit(&packet.link, ether_type, slot)?;
    let rest = &mut slot[header..];
    let body = match &packet.body {
        TransmitBody::Arp(arp) => arp::emit(arp, rest)?,
        TransmitBody::Dhcp { source, destination, message } => {
            dhcp::emit_ipv4(*source, *destination, message, rest)?
        }
    };
    Ok(header + body)
}

/// The two bytes at `at`, big endian; the caller has checked the length.
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The four bytes at `at`, big endian; the caller has checked the length.
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
