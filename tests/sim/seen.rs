//! A frame as the checker sees it: what the rules are about, read out of the bytes once.

use lessee_engine::device::{Frame, Meta};
use lessee_engine::wire::arp::Arp;
use lessee_engine::wire::dhcp::{Datagram, MessageType, Op};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::options::code;
use lessee_engine::wire::vlan::Domain;
use lessee_engine::wire::{self, Discard};
use std::net::Ipv4Addr;

/// A frame that makes sense.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) domain: Domain,
    pub(crate) body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Body {
    Arp(Arp),
    Dhcp(Dhcp),
}

/// A DHCP message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dhcp {
    pub(crate) op: Op,
    pub(crate) kind: MessageType,
    pub(crate) xid: u32,
    pub(crate) secs: u16,
    pub(crate) broadcast: bool,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) chaddr: Mac,
    pub(crate) requested: Option<Ipv4Addr>,
    pub(crate) server_id: Option<Ipv4Addr>,
    pub(crate) lease_time: Option<u32>,
    /// IPv4 source and destination.
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    /// Only options that RELEASE and DECLINE may carry (RFC 2131 table 5), 50 aside.
    pub(crate) bare: bool,
}

/// Reads a frame with its tags inline.
pub(crate) fn see(bytes: &[u8]) -> Result<Seen, Discard> {
    let packet = wire::parse(Frame { bytes, meta: Meta::plain(bytes.len()) })?;
    let body = match packet.body {
        wire::Body::Arp(arp) => Body::Arp(arp),
        wire::Body::Dhcp(datagram) => Body::Dhcp(dhcp(&datagram)),
    };
    Ok(Seen {
        destination: packet.link.destination,
        source: packet.link.source,
        domain: packet.link.vlans.domain(),
        body,
    })
}

fn dhcp(datagram: &Datagram<'_>) -> Dhcp {
    let message = &datagram.message;
    let bare = matches!(message.message_type, MessageType::Release | MessageType::Decline)
        && message.options.pieces().all(|(code, _)| {
            [code::MESSAGE_TYPE, code::SERVER_ID, code::CLIENT_ID, code::MESSAGE].contains(&code)
        });
    Dhcp {
        op: message.op,
        kind: message.message_type,
        xid: message.xid,
        secs: message.secs,
        broadcast: message.broadcast,
        ciaddr: message.ciaddr,
        yiaddr: message.yiaddr,
        chaddr: message.chaddr,
        requested: message.requested_address,
        server_id: message.server_id,
        lease_time: message.lease_time,
        from: *datagram.source.ip(),
        to: *datagram.destination.ip(),
        bare,
    }
}
