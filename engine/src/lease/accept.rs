//! Is this reply ours, and may its sender say so? One function decides, in every state.

use super::identity::Identity;
use super::state::State;
use super::terms::{ClientIdentifier, Terms};
use crate::time::Instant;
use crate::wire::Link;
use crate::wire::dhcp::{Datagram, Message, MessageType, Op};
use crate::wire::ethernet::Mac;
use crate::wire::options::code;
use std::net::Ipv4Addr;

/// A DHCP message with the frame that it came in.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Addresses and tags of the frame.
    pub link: Link,
    /// The message.
    pub datagram: Datagram<'a>,
}

macro_rules! ignored {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a reply changed nothing, one name for each reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Ignored { $($(#[$doc])* $name,)* }

        impl Ignored {
            /// Every reason, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The counter's name: lower case with underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

ignored! {
    /// BOOTREQUEST: another client's message.
    NotAReply = "not_a_reply",
    /// No lease of ours has this xid: somebody else's exchange, or one long over.
    UnknownXid = "unknown_xid",
    /// The xid is ours, `chaddr` is not.
    WrongHardwareAddress = "wrong_hardware_address",
    /// It came over another VLAN or port than the lease's.
    WrongNetwork = "wrong_network",
    /// It echoes another client identifier (RFC 6842).
    WrongClientId = "wrong_client_id",
    /// A type that this state does not wait for.
    Unexpected = "unexpected",
    /// An OFFER after another was chosen.
    LateOffer = "late_offer",
    /// An ACK once more.
    DuplicateAck = "duplicate_ack",
    /// From another server than the one chosen or leasing.
    WrongServer = "wrong_server",
    /// No server identifier (option 54).
    MissingServerId = "missing_server_id",
    /// A server identifier that is no host's address.
    BadServerId = "bad_server_id",
    /// No lease time (option 51), or one of zero.
    MissingLeaseTime = "missing_lease_time",
    /// yiaddr is zero, multicast, broadcast, loopback, or the server's own.
    BadAddress = "bad_address",
    /// The subnet mask has holes, or makes yiaddr the network's or broadcast address.
    BadMask = "bad_mask",
    /// The frame's source is a group address or zero.
    BadSource = "bad_source",
    /// The lease that it extends, or the one that it grants, is over already.
    TooLate = "too_late",
}

/// What an acceptable reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server offers this address.
    Offer { address: Ipv4Addr, server_id: Ipv4Addr },
    /// The server grants these terms; the fuzz is still to be filled in.
    Ack(Terms),
    /// The server refuses.
    Nak,
}

/// Decides about a reply for a lease in `state`.
pub(super) fn judge(
    state: &State,
    identity: &Identity,
    xid: u32,
    reply: &Reply<'_>,
    now: Instant,
) -> Result<Verdict, Ignored> {
    let message = &reply.datagram.message;
    is_ours(identity, xid, reply)?;
    let server = server(message)?;
    match (message.message_type, state) {
        (MessageType::Offer, State::Selecting { .. }) => {
            let terms = terms(reply, server)?;
            Ok(Verdict::Offer { address: terms.address, server_id: server })
        }
        (MessageType::Offer, State::Requesting { .. } | State::Bound { .. }) => {
            Err(Ignored::LateOffer)
        }
        (
            kind @ (MessageType::Ack | MessageType::Nak),
            State::Requesting { exchange, .. }
            | State::Renewing { exchange, .. }
            | State::Rebinding { exchange, .. },
        ) => {
            // The xid is still the last exchange's until a first REQUEST has been sent.
            if exchange.sent == 0 {
                return Err(Ignored::Unexpected);
            }
            // RFC 2131 4.4.1, 4.4.5: the chosen server in REQUESTING, the leasing server in
            // RENEWING, any server in REBINDING.
            if expected(state).is_some_and(|expected| expected != server) {
                return Err(Ignored::WrongServer);
            }
            // RFC 2131 4.4.5: "If the lease expires before the client receives a DHCPACK, the
            // client moves to INIT state".
            if state.terms().is_some_and(|terms| is_over(terms, now)) {
                return Err(Ignored::TooLate);
            }
            if kind == MessageType::Nak {
                return Ok(Verdict::Nak);
            }
            // RFC 2131 4.4.1: the lease runs from when the REQUEST was sent.
            let terms = Terms { start: exchange.first, ..terms(reply, server)? };
            if is_over(&terms, now) { Err(Ignored::TooLate) } else { Ok(Verdict::Ack(terms)) }
        }
        (MessageType::Ack, State::Bound { .. }) => Err(Ignored::DuplicateAck),
        _ => Err(Ignored::Unexpected),
    }
}

/// Transaction, hardware address and client identifier are the lease's own.
fn is_ours(identity: &Identity, xid: u32, reply: &Reply<'_>) -> Result<(), Ignored> {
    let message = &reply.datagram.message;
    if message.op != Op::Reply {
        return Err(Ignored::NotAReply);
    }
    if message.xid != xid {
        return Err(Ignored::UnknownXid);
    }
    if message.chaddr != identity.mac {
        return Err(Ignored::WrongHardwareAddress);
    }
    if reply.link.vlans.domain() != identity.vlans.domain() {
        return Err(Ignored::WrongNetwork);
    }
    if reply.link.source.is_multicast() || reply.link.source == Mac::ZERO {
        return Err(Ignored::BadSource);
    }
    // RFC 6842 section 3: a client discards a message whose client identifier is not its own.
    if message.has_client_id && !echoes(identity, message) {
        return Err(Ignored::WrongClientId);
    }
    Ok(())
}

fn echoes(identity: &Identity, message: &Message<'_>) -> bool {
    let echoed = message.options.get(code::CLIENT_ID).unwrap_or_default();
    match identity.client_id() {
        ClientIdentifier::Mac => echoed.split_first() == Some((&1, identity.mac.0.as_slice())),
        ClientIdentifier::Bytes(bytes) => *echoed == **bytes,
        // We sent none, so there is none to be echoed.
        ClientIdentifier::None => false,
    }
}

/// The server identifier, which RFC 2131 table 3 makes a MUST in OFFER, ACK and NAK.
fn server(message: &Message<'_>) -> Result<Ipv4Addr, Ignored> {
    let server = message.server_id.ok_or(Ignored::MissingServerId)?;
    if is_host(server) { Ok(server) } else { Err(Ignored::BadServerId) }
}

/// The server whose word counts in this state; `None`: any.
fn expected(state: &State) -> Option<Ipv4Addr> {
    match state {
        State::Requesting { server_id, .. } => Some(*server_id),
        State::Renewing { terms, .. } => Some(terms.server_id),
        _ => None,
    }
}

fn is_over(terms: &Terms, now: Instant) -> bool {
    terms.expiry().is_some_and(|end| end <= now)
}

/// An address that one host can have.
fn is_host(address: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this network", 224.0.0.0 and up are multicast, reserved and broadcast.
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

/// What an OFFER or ACK grants, if it makes sense.
fn terms(reply: &Reply<'_>, server_id: Ipv4Addr) -> Result<Terms, Ignored> {
    let message = &reply.datagram.message;
    let address = message.yiaddr;
    if !is_host(address) || address == server_id {
        return Err(Ignored::BadAddress);
    }
    let lease_time =
        message.lease_time.filter(|time| *time != 0).ok_or(Ignored::MissingLeaseTime)?;
    let prefix = message.subnet_mask.map(|mask| prefix(mask, address)).transpose()?;
    Ok(Terms {
        address,
        prefix,
        server_id,
        server_mac: reply.link.source,
        next_hop: next_hop(message, address, prefix, server_id),
        lease_time,
        renewal_time: message.renewal_time,
        rebinding_time: message.rebinding_time,
        fuzz: 0,
        start: Instant::ZERO,
    })
}

/// The mask's length, if it is one and leaves `address` to a host.
fn prefix(mask: Ipv4Addr, address: Ipv4Addr) -> Result<u8, Ignored> {
    let mask = mask.to_bits();
    let len = mask.leading_ones();
    if mask.checked_shl(len).unwrap_or(0) != 0 || len == 0 {
        return Err(Ignored::BadMask);
    }
    let host = address.to_bits() & !mask;
    // RFC 3021: in a /31 both addresses are hosts'; a /32 has but one.
    if len <= 30 && (host == 0 || host == !mask) {
        return Err(Ignored::BadMask);
    }
    Ok(len as u8)
}

/// Where unicast to the server goes: to itself on its own link, else to a router.
fn next_hop(
    message: &Message<'_>,
    address: Ipv4Addr,
    prefix: Option<u8>,
    server: Ipv4Addr,
) -> Option<Ipv4Addr> {
    let mask = prefix.map_or(0, |len| u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0));
    if (address.to_bits() ^ server.to_bits()) & mask == 0 {
        return Some(server);
    }
    // RFC 3442: where option 121 is present, options 3 and 33 are ignored.
    match message.options.get(code::CLASSLESS_ROUTE) {
        Some(routes) => route_to(&routes, server),
        None => message.options.first_address(code::ROUTER),
    }
    .filter(|router| is_host(*router))
}

/// The router of the most specific route in option 121 that covers `server` (RFC 3442).
fn route_to(routes: &[u8], server: Ipv4Addr) -> Option<Ipv4Addr> {
    let mut best: Option<(u8, Ipv4Addr)> = None;
    let mut rest = routes;
    while let Some((&len, after)) = rest.split_first() {
        let significant = usize::from(len.div_ceil(8));
        let (destination, after) = after.split_at_checked(significant)?;
        let (router, after) = after.split_first_chunk::<4>()?;
        if len > 32 {
            return None;
        }
        let mut network = [0; 4];
        network[..significant].copy_from_slice(destination);
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        let covers = (u32::from_be_bytes(network) ^ server.to_bits()) & mask == 0;
        if covers && best.is_none_or(|(longest, _)| len > longest) {
            // RFC 3442: a router of 0.0.0.0 puts the destination on the local link.
            let router = Ipv4Addr::from(*router);
            best = Some((len, if router.is_unspecified() { server } else { router }));
        }
        rest = after;
    }
    best.map(|(_, router)| router)
}

#[cfg(test)]
mod tests;
