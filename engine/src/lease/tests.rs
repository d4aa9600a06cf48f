//! What the tests of leases and of the client have in common: a server's answers, built from
//! parts that tests set wrong, and packets as the wire shows them.

pub(crate) mod fixtures;

use super::{Acquire, PortId, Profile, Reply};
use crate::device::{Frame, Meta};
use crate::time::Instant;
use crate::wire::arp::Arp;
use crate::wire::dhcp::{ClientId, MessageType, Op, Outgoing};
use crate::wire::ethernet::Mac;
use crate::wire::options::OptionSet;
use crate::wire::{Body, Link, Transmit, TransmitBody, emit, parse, vlan::VlanStack};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

pub(crate) const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// The MAC that the server's frames come from.
pub(crate) const SERVER: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);
pub(crate) const SERVER_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const OTHER_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
pub(crate) const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// The lease time of an answer that does not say otherwise, in seconds.
pub(crate) const LEASE: u32 = 3600;

/// An instant on the virtual clock.
pub(crate) const fn secs(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

pub(crate) fn acquire() -> Acquire {
    Acquire::new(PortId(0), CLIENT, Arc::new(Profile::default()))
}

/// A server's message to be built, in parts that tests set wrong.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) op: Op,
    pub(crate) kind: MessageType,
    pub(crate) xid: u32,
    pub(crate) chaddr: Mac,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) server_id: Option<Ipv4Addr>,
    pub(crate) lease_time: Option<u32>,
    pub(crate) renewal_time: Option<u32>,
    pub(crate) rebinding_time: Option<u32>,
    pub(crate) mask: Option<Ipv4Addr>,
    pub(crate) client_id: Option<Vec<u8>>,
    /// Further options in wire form.
    pub(crate) more: Vec<u8>,
    pub(crate) source: Mac,
    /// VLAN tags as protocol identifier and control information, outermost first.
    pub(crate) tags: Vec<(u16, u16)>,
}

impl Answer {
    /// An answer that nothing is wrong with.
    pub(crate) fn new(kind: MessageType, xid: u32, chaddr: Mac) -> Self {
        let grants = kind != MessageType::Nak;
        Self {
            op: Op::Reply,
            kind,
            xid,
            chaddr,
            yiaddr: if grants { ADDRESS } else { Ipv4Addr::UNSPECIFIED },
            server_id: Some(SERVER_ID),
            lease_time: grants.then_some(LEASE),
            renewal_time: None,
            rebinding_time: None,
            mask: grants.then_some(MASK),
            client_id: None,
            more: Vec::new(),
            source: SERVER,
            tags: Vec::new(),
        }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut message = Outgoing::new(self.op, self.kind, self.xid, self.chaddr);
        message.yiaddr = self.yiaddr;
        // Never where a client may send to (RFC 2131 section 2).
        message.siaddr = Ipv4Addr::new(192, 0, 2, 200);
        message.server_id = self.server_id;
        message.lease_time = self.lease_time;
        message.renewal_time = self.renewal_time;
        message.rebinding_time = self.rebinding_time;
        message.subnet_mask = self.mask;
        message.client_id = self.client_id.as_deref().map_or(ClientId::None, ClientId::Bytes);
        message.more = &self.more;
        let link = Link { destination: self.chaddr, source: self.source, vlans: VlanStack::NONE };
        let body = TransmitBody::Dhcp {
            source: SocketAddrV4::new(self.server_id.unwrap_or(SERVER_ID), 67),
            destination: SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
            message,
        };
        let mut frame = vec![0; 1514];
        let len = emit(&Transmit { link, body }, &mut frame).unwrap();
        frame.truncate(len);
        let tags = self.tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()]);
        frame.splice(12..12, tags.flatten());
        frame
    }

    pub(crate) fn with<R>(&self, take: impl FnOnce(&Reply<'_>) -> R) -> R {
        let frame = self.frame();
        let packet = parse(Frame { bytes: &frame, meta: Meta::plain(frame.len()) }).unwrap();
        match packet.body {
            Body::Dhcp(datagram) => take(&Reply { link: packet.link, datagram }),
            Body::Arp(_) => panic!("ARP"),
        }
    }
}

/// A packet that was sent, as the wire shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Arp(Link, Arp),
    Dhcp(Box<Sent>),
}

/// A DHCP message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) link: Link,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
    pub(crate) op: Op,
    pub(crate) kind: MessageType,
    pub(crate) xid: u32,
    pub(crate) secs: u16,
    /// All 16 bits.
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) siaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) chaddr: Mac,
    pub(crate) requested: Option<Ipv4Addr>,
    pub(crate) server_id: Option<Ipv4Addr>,
    /// Codes in the order of the wire.
    pub(crate) codes: Vec<u8>,
    pub(crate) options: OptionSet,
}

impl Seen {
    pub(crate) fn frame(bytes: &[u8]) -> Self {
        let packet = parse(Frame { bytes, meta: Meta::plain(bytes.len()) }).unwrap();
        assert!(packet.oddities.iter().next().is_none(), "{:?}", packet.oddities);
        let datagram = match packet.body {
            Body::Arp(arp) => return Self::Arp(packet.link, arp),
            Body::Dhcp(datagram) => datagram,
        };
        let message = datagram.message;
        // The flags lie behind the link, IPv4 and UDP headers and ten bytes of BOOTP.
        let at = 14 + 4 * packet.link.vlans.len() + 20 + 8 + 10;
        Self::Dhcp(Box::new(Sent {
            link: packet.link,
            source: datagram.source,
            destination: datagram.destination,
            op: message.op,
            kind: message.message_type,
            xid: message.xid,
            secs: message.secs,
            flags: u16::from_be_bytes([bytes[at], bytes[at + 1]]),
            ciaddr: message.ciaddr,
            yiaddr: message.yiaddr,
            siaddr: message.siaddr,
            giaddr: message.giaddr,
            chaddr: message.chaddr,
            requested: message.requested_address,
            server_id: message.server_id,
            codes: message.options.pieces().map(|(code, _)| code).collect(),
            options: OptionSet::from_options(&message.options),
        }))
    }

    pub(crate) fn packet(packet: &Transmit<'_>) -> Self {
        let mut frame = vec![0xaa; 1518];
        let len = emit(packet, &mut frame).unwrap();
        Self::frame(&frame[..len])
    }

    pub(crate) fn dhcp(self) -> Sent {
        match self {
            Self::Dhcp(sent) => *sent,
            Self::Arp(link, arp) => panic!("{link:?} {arp:?}"),
        }
    }

    pub(crate) fn arp(self) -> (Link, Arp) {
        match self {
            Self::Arp(link, arp) => (link, arp),
            Self::Dhcp(sent) => panic!("{sent:?}"),
        }
    }
}
