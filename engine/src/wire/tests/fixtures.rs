//! Frames of real servers and of our own client among them (`pcap-fixtures/`), judged by dhcproto
//! and by writing them anew.

use super::oracles::{decode, option};
use crate::device::Frame;
use crate::lease::tests::fixtures::{ALL, Fixture, Recorded, bytes};
use crate::wire::dhcp::{ClientId, Datagram, Op, Outgoing};
use crate::wire::options::{OptionSet, code};
use crate::wire::{Body, Discard, Link, Oddities, Packet, Transmit, TransmitBody, parse};
use dhcproto::v4;

/// Calls `visit` with each frame of each capture, its number and its packet.
fn each_frame(mut visit: impl FnMut(&Fixture, usize, &Recorded, Packet<'_>)) {
    for fixture in ALL {
        for (number, recorded) in fixture.read().iter().enumerate() {
            let packet = parse(recorded.frame());
            let packet = packet.unwrap_or_else(|why| panic!("{} {number}: {why:?}", fixture.file));
            visit(fixture, number, recorded, packet);
        }
    }
}

#[test]
fn every_frame_is_accepted_and_nothing_about_it_is_odd() {
    let mut frames = 0;
    each_frame(|fixture, number, recorded, packet| {
        assert_eq!(packet.oddities, Oddities::NONE, "{} {number}", fixture.file);
        assert!(packet.link.vlans.is_empty());
        assert!(recorded.bytes.len() <= 1514);
        frames += 1;
    });
    assert!(frames > 80, "{frames}");
}

/// A capture does not tell that a checksum was left to hardware; the ring's metadata does.
#[test]
fn a_checksum_left_to_hardware_is_judged_by_the_metadata_alone() {
    each_frame(|fixture, number, recorded, packet| {
        let mut meta = recorded.frame().meta;
        meta.checksum_ready = true;
        let judged = parse(Frame { bytes: &recorded.bytes, meta });
        if fixture.unsummed.contains(&number) {
            assert_eq!(judged.unwrap_err(), Discard::UdpChecksum, "{} {number}", fixture.file);
            assert_ne!(packet.link.source, fixture.client(), "ours are summed");
        } else {
            assert!(judged.is_ok(), "{} {number}", fixture.file);
        }
    });
}

#[test]
fn dhcproto_reads_the_same_in_every_message() {
    let mut messages = 0;
    each_frame(|fixture, number, recorded, packet| {
        if let Body::Dhcp(datagram) = packet.body {
            // Ethernet, IPv4 and UDP headers.
            agree(&datagram, &decode(&recorded.bytes[42..]), &format!("{} {number}", fixture.file));
            messages += 1;
        }
    });
    assert!(messages > 80, "{messages}");
}

fn agree(datagram: &Datagram<'_>, theirs: &v4::Message, what: &str) {
    let ours = &datagram.message;
    let op = if ours.op == Op::Request { v4::Opcode::BootRequest } else { v4::Opcode::BootReply };
    assert_eq!(op, theirs.opcode(), "{what}");
    assert_eq!((ours.hops, ours.xid), (theirs.hops(), theirs.xid()), "{what}");
    assert_eq!((ours.secs, ours.broadcast), (theirs.secs(), theirs.flags().broadcast()), "{what}");
    assert_eq!((ours.ciaddr, ours.yiaddr), (theirs.ciaddr(), theirs.yiaddr()), "{what}");
    assert_eq!((ours.siaddr, ours.giaddr), (theirs.siaddr(), theirs.giaddr()), "{what}");
    assert_eq!(ours.chaddr.0, theirs.chaddr(), "{what}");

    let options = OptionSet::from_options(&ours.options);
    for (code, value) in options.iter() {
        assert_eq!(option(theirs, code).as_deref(), Some(value), "{what}: option {code}");
    }
    assert_eq!(options.iter().count(), theirs.opts().len(), "{what}");
    let ip = |address: Option<std::net::Ipv4Addr>| address.map(|ip| ip.octets().to_vec());
    let number = |number: Option<u32>| number.map(|number| number.to_be_bytes().to_vec());
    for (code, read_out) in [
        (code::MESSAGE_TYPE, Some(vec![ours.message_type.value()])),
        (code::REQUESTED_ADDRESS, ip(ours.requested_address)),
        (code::SERVER_ID, ip(ours.server_id)),
        (code::SUBNET_MASK, ip(ours.subnet_mask)),
        (code::LEASE_TIME, number(ours.lease_time)),
        (code::RENEWAL_TIME, number(ours.renewal_time)),
        (code::REBINDING_TIME, number(ours.rebinding_time)),
    ] {
        assert_eq!(read_out, option(theirs, code), "{what}: option {code}");
    }
    assert_eq!(ours.has_client_id, option(theirs, code::CLIENT_ID).is_some(), "{what}");
}

#[test]
fn the_clients_frames_written_anew_are_the_same_bytes() {
    let mut rewritten = 0;
    each_frame(|fixture, number, recorded, packet| {
        if packet.link.source == fixture.client() {
            let again = match &packet.body {
                Body::Arp(arp) => {
                    bytes(&Transmit { link: packet.link, body: TransmitBody::Arp(*arp) })
                }
                Body::Dhcp(datagram) => write(packet.link, datagram),
            };
            assert_eq!(again, recorded.bytes, "{} {number}", fixture.file);
            rewritten += 1;
        }
    });
    assert!(rewritten > 40, "{rewritten}");
}

/// Writes a message of our client from the values that were read.
fn write(link: Link, datagram: &Datagram<'_>) -> Vec<u8> {
    let read = &datagram.message;
    let get = |code: u8| read.options.get(code).unwrap_or_default();
    let [hostname, vendor_class, requests, identifier, size] = [
        code::HOSTNAME,
        code::VENDOR_CLASS,
        code::PARAMETER_REQUESTS,
        code::CLIENT_ID,
        code::MAX_MESSAGE_SIZE,
    ]
    .map(get);
    let mut message = Outgoing::new(read.op, read.message_type, read.xid, read.chaddr);
    (message.secs, message.broadcast, message.hops) = (read.secs, read.broadcast, read.hops);
    (message.ciaddr, message.yiaddr) = (read.ciaddr, read.yiaddr);
    (message.siaddr, message.giaddr) = (read.siaddr, read.giaddr);
    message.client_id = ClientId::Bytes(&identifier);
    message.requested_address = read.requested_address;
    message.server_id = read.server_id;
    message.lease_time = read.lease_time;
    message.max_message_size = size.first_chunk::<2>().map(|size| u16::from_be_bytes(*size));
    message.hostname = &hostname;
    message.vendor_class = &vendor_class;
    message.parameter_requests = &requests;
    let (source, destination) = (datagram.source, datagram.destination);
    bytes(&Transmit { link, body: TransmitBody::Dhcp { source, destination, message } })
}
