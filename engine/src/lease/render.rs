//! The packet for each state: RFC 2131 tables 4 and 5 and section 4.3.2.

use super::identity::Identity;
use super::state::{Due, State};
use super::terms::{ClientIdentifier, Terms};
use crate::wire::arp::Arp;
use crate::wire::dhcp::{ClientId, MessageType, Op, Outgoing};
use crate::wire::ethernet::Mac;
use crate::wire::udp::{CLIENT_PORT, SERVER_PORT};
use crate::wire::{Link, Transmit, TransmitBody};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Renders what is due, from the state after the step that sends it. `released` are the terms of
/// a lease that this very RELEASE ends; `wanted` is the address to ask for in a DISCOVER, if any.
pub(super) fn packet<'a>(
    due: Due,
    released: Option<Terms>,
    state: &State,
    identity: &'a Identity,
    xid: u32,
    wanted: Ipv4Addr,
) -> Transmit<'a> {
    let held = released.or_else(|| state.terms().copied());
    let address = held.map_or(Ipv4Addr::UNSPECIFIED, |terms| terms.address);
    if let Due::ResolveHop(hop) = due {
        let link = link(identity, Mac::BROADCAST);
        return Transmit {
            link,
            body: TransmitBody::Arp(Arp::request(identity.mac, address, hop)),
        };
    }
    let message = message(due, held.as_ref(), state, identity, xid, wanted);
    let (mac, to) = match (due, &held) {
        // RFC 2131 4.1, 4.4.5, 4.4.6: RENEWING and RELEASE go to the server identifier.
        (Due::Renew(mac), Some(terms)) => (mac, terms.server_id),
        (Due::Release, Some(terms)) => (terms.server_mac, terms.server_id),
        _ => (Mac::BROADCAST, Ipv4Addr::BROADCAST),
    };
    Transmit {
        link: link(identity, mac),
        body: TransmitBody::Dhcp {
            source: SocketAddrV4::new(address, CLIENT_PORT),
            destination: SocketAddrV4::new(to, SERVER_PORT),
            message,
        },
    }
}

fn link(identity: &Identity, destination: Mac) -> Link {
    Link { destination, source: identity.mac, vlans: identity.vlans }
}

fn message<'a>(
    due: Due,
    held: Option<&Terms>,
    state: &State,
    identity: &'a Identity,
    xid: u32,
    wanted: Ipv4Addr,
) -> Outgoing<'a> {
    let kind = match due {
        Due::Discover => MessageType::Discover,
        Due::Release => MessageType::Release,
        Due::Request | Due::Renew(_) | Due::Rebind | Due::ResolveHop(_) => MessageType::Request,
    };
    let mut message = Outgoing::new(Op::Request, kind, xid, identity.mac);
    message.client_id = client_id(identity);
    match state {
        State::Selecting { exchange } => {
            message.secs = exchange.secs;
            message.broadcast = exchange.broadcast;
            message.requested_address = (!wanted.is_unspecified()).then_some(wanted);
            message.lease_time = identity.profile.lease_time;
        }
        State::Requesting { exchange, address, server_id, .. } => {
            // RFC 2131 4.3.2: in SELECTING the REQUEST has 54 and 50 and a ciaddr of zero.
            message.secs = exchange.secs;
            message.broadcast = exchange.broadcast;
            message.requested_address = Some(*address);
            message.server_id = Some(*server_id);
            message.lease_time = identity.profile.lease_time;
        }
        State::Renewing { exchange, .. } | State::Rebinding { exchange, .. } => {
            // RFC 2131 4.3.2: neither 54 nor 50; ciaddr is the client's address.
            message.secs = exchange.secs;
            message.lease_time = identity.profile.lease_time;
        }
        State::Init
        | State::Bound { .. }
        | State::Releasing { .. }
        | State::Waiting { .. }
        | State::Released => {}
    }
    if let Some(terms) = held {
        message.ciaddr = terms.address;
    }
    if due == Due::Release {
        // RFC 2131 table 5: RELEASE MUST carry 54 and none of the options below.
        message.server_id = held.map(|terms| terms.server_id);
        return message;
    }
    let profile = &identity.profile;
    message.max_message_size = Some(identity.max_message_size);
    message.hostname = identity.hostname();
    message.vendor_class = &profile.vendor_class;
    // RFC 2131 4.4.1: the list MUST be the same in every DISCOVER and REQUEST.
    message.parameter_requests = &profile.parameter_requests;
    message.more = &profile.more_options;
    message
}

fn client_id(identity: &Identity) -> ClientId<'_> {
    match identity.client_id() {
        ClientIdentifier::Mac => ClientId::Mac,
        ClientIdentifier::None => ClientId::None,
        ClientIdentifier::Bytes(bytes) => ClientId::Bytes(bytes),
    }
}
