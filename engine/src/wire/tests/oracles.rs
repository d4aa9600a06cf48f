//! dhcproto and pnet as judges: neither was written by us.

use super::roundtrip::{any_arp, any_link, any_outgoing, any_ports, emit};
use super::support::{Raw, any_ip, any_mac, bootp, datagram, parse};
use crate::wire::dhcp::{self, ClientId, Op, Outgoing};
use crate::wire::{Body, Transmit, TransmitBody};
use dhcproto::v4::{self, DhcpOption, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use pnet_packet::Packet as _;
use pnet_packet::arp::ArpPacket;
use pnet_packet::ethernet::{EtherTypes, EthernetPacket};
use pnet_packet::ipv4::{Ipv4Packet, checksum as ip_checksum};
use pnet_packet::udp::{UdpPacket, ipv4_checksum};
use pnet_packet::vlan::VlanPacket;
use proptest::prelude::*;
use std::net::Ipv4Addr;

pub(super) fn decode(bytes: &[u8]) -> v4::Message {
    v4::Message::decode(&mut Decoder::new(bytes)).unwrap()
}

/// An option's bytes as dhcproto would write them, without code and length.
fn bytes_of(option: &DhcpOption) -> Vec<u8> {
    let mut bytes = Vec::new();
    option.encode(&mut Encoder::new(&mut bytes)).unwrap();
    // Long options come in pieces again: drop the head of each.
    let (mut value, mut rest) = (Vec::new(), bytes.as_slice());
    while let [_, len, after @ ..] = rest {
        value.extend(&after[..usize::from(*len)]);
        rest = &after[usize::from(*len)..];
    }
    value
}

pub(super) fn option(message: &v4::Message, code: u8) -> Option<Vec<u8>> {
    message.opts().get(OptionCode::from(code)).map(bytes_of)
}

fn agree(out: &Outgoing<'_>, theirs: &v4::Message) {
    let op = if out.op == Op::Request { v4::Opcode::BootRequest } else { v4::Opcode::BootReply };
    assert_eq!(theirs.opcode(), op);
    assert_eq!((theirs.htype(), theirs.hlen()), (v4::HType::Eth, 6));
    assert_eq!((theirs.hops(), theirs.xid(), theirs.secs()), (out.hops, out.xid, out.secs));
    assert_eq!(theirs.flags().broadcast(), out.broadcast);
    assert_eq!(u16::from(theirs.flags()) & 0x7fff, 0);
    assert_eq!((theirs.ciaddr(), theirs.yiaddr()), (out.ciaddr, out.yiaddr));
    assert_eq!((theirs.siaddr(), theirs.giaddr()), (out.siaddr, out.giaddr));
    assert_eq!(theirs.chaddr(), out.chaddr.0);
    let put = |value: &[u8]| (!value.is_empty()).then(|| value.to_vec());
    let ip = |address: Option<Ipv4Addr>| address.map(|address| address.octets().to_vec());
    let number = |number: Option<u32>| number.map(|number| number.to_be_bytes().to_vec());
    let expected = [
        (53, Some(vec![out.message_type.value()])),
        (
            61,
            match out.client_id {
                ClientId::None => None,
                ClientId::Mac => Some([&[1], &out.chaddr.0[..]].concat()),
                ClientId::Bytes(bytes) => Some(bytes.to_vec()),
            },
        ),
        (50, ip(out.requested_address)),
        (54, ip(out.server_id)),
        (51, number(out.lease_time)),
        (58, number(out.renewal_time)),
        (59, number(out.rebinding_time)),
        (1, ip(out.subnet_mask)),
        (57, out.max_message_size.map(|size| size.to_be_bytes().to_vec())),
        (12, put(out.hostname)),
        (60, put(out.vendor_class)),
        (55, put(out.parameter_requests)),
        (56, put(out.text)),
    ];
    for (code, value) in expected {
        assert_eq!(option(theirs, code), value, "option {code}");
    }
}

/// Options in wire form that dhcproto reads without loss: right lengths, no code twice.
fn sound_options() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let word = || any::<[u8; 4]>().prop_map(|word| word.to_vec());
    let maybe = |code: u8, value: BoxedStrategy<Vec<u8>>| {
        proptest::option::of(value).prop_map(move |value| value.map(|value| (code, value)))
    };
    let words = [1u8, 50, 51, 54, 58, 59, 28].map(|code| maybe(code, word().boxed()));
    let lists = [3u8, 6, 42].map(|code| {
        let list = prop::collection::vec(any::<[u8; 4]>(), 1..5).prop_map(|list| list.concat());
        maybe(code, list.boxed())
    });
    let texts =
        [12u8, 15, 56].map(|code| maybe(code, "[ -~]{1,40}".prop_map(String::into_bytes).boxed()));
    let blobs = [60u8, 61, 43, 230]
        .map(|code| maybe(code, prop::collection::vec(any::<u8>(), 1..600).boxed()));
    (words, lists, texts, blobs, 1u8..=9).prop_flat_map(|(words, lists, texts, blobs, kind)| {
        let all: Vec<_> = std::iter::once((53, vec![kind]))
            .chain(words.into_iter().chain(lists).chain(texts).chain(blobs).flatten())
            .collect();
        Just(all).prop_shuffle()
    })
}

proptest! {
    #[test]
    fn dhcproto_reads_what_we_write(
        link in any_link(), (source, destination) in any_ports(), owned in any_outgoing(),
    ) {
        let message = owned.borrow();
        let mut bytes = emit(&Transmit { link, body: TransmitBody::Dhcp { source, destination, message } });
        bytes.drain(..14 + 4 * link.vlans.len() + 28);
        let theirs = decode(&bytes);
        agree(&message, &theirs);
        for (code, value) in &owned.more {
            prop_assert_eq!(option(&theirs, *code), Some(value.clone()));
        }
        // And writes the same number of options: none is lost, none is invented.
        let ours = dhcp::parse(&bytes).unwrap();
        let set = crate::wire::options::OptionSet::from_options(&ours.options);
        prop_assert_eq!(theirs.opts().len(), set.iter().count());
    }

    #[test]
    fn we_read_as_dhcproto_does(options in sound_options(), pads in 0usize..4) {
        let mut field = Vec::new();
        for (code, value) in &options {
            for piece in value.chunks(255) {
                field.extend([&[*code, piece.len() as u8], piece].concat());
            }
            field.extend(vec![0; pads]);
        }
        field.push(255);
        let bytes = bootp(&field);
        let ours = dhcp::parse(&bytes).unwrap();
        let theirs = decode(&bytes);
        prop_assert_eq!(theirs.opts().len(), options.len());
        for (code, value) in &options {
            prop_assert_eq!(ours.options.get(*code).unwrap(), value.as_slice());
            prop_assert_eq!(&option(&theirs, *code).unwrap(), value);
        }
        prop_assert_eq!(ours.lease_time, theirs.opts().get(OptionCode::AddressLeaseTime).map(|found| {
            let DhcpOption::AddressLeaseTime(time) = found else { panic!("{found:?}") };
            *time
        }));
        prop_assert_eq!(ours.server_id, theirs.opts().get(OptionCode::ServerIdentifier).map(|found| {
            let DhcpOption::ServerIdentifier(id) = found else { panic!("{found:?}") };
            *id
        }));
        prop_assert_eq!(ours.chaddr.0.as_slice(), theirs.chaddr());
        prop_assert_eq!((ours.xid, ours.yiaddr), (theirs.xid(), theirs.yiaddr()));
    }

    #[test]
    fn we_read_what_dhcproto_writes(
        xid in any::<u32>(), mac in any_mac(), ips in [any_ip(), any_ip(), any_ip(), any_ip()],
        lease in any::<u32>(), server in any_ip(), broadcast in any::<bool>(), kind in 1u8..=8,
    ) {
        let [ciaddr, yiaddr, siaddr, giaddr] = ips;
        let mut theirs = v4::Message::new_with_id(xid, ciaddr, yiaddr, siaddr, giaddr, &mac.0);
        theirs.set_opcode(v4::Opcode::BootReply);
        if broadcast {
            theirs.set_flags(v4::Flags::default().set_broadcast());
        }
        theirs.opts_mut().insert(DhcpOption::MessageType(kind.into()));
        theirs.opts_mut().insert(DhcpOption::AddressLeaseTime(lease));
        theirs.opts_mut().insert(DhcpOption::ServerIdentifier(server));
        let mut bytes = Vec::new();
        theirs.encode(&mut Encoder::new(&mut bytes)).unwrap();
        let frame = Raw::new(bytes).build();
        let ours = datagram(&parse(&frame).unwrap()).message;
        prop_assert_eq!((ours.op, ours.xid, ours.broadcast), (Op::Reply, xid, broadcast));
        prop_assert_eq!([ours.ciaddr, ours.yiaddr, ours.siaddr, ours.giaddr], ips);
        prop_assert_eq!(ours.message_type.value(), kind);
        prop_assert_eq!((ours.lease_time, ours.server_id), (Some(lease), Some(server)));
        prop_assert_eq!(ours.chaddr, mac);
    }

    #[test]
    fn pnet_reads_our_headers(
        link in any_link(), (source, destination) in any_ports(), owned in any_outgoing(),
    ) {
        let body = TransmitBody::Dhcp { source, destination, message: owned.borrow() };
        let bytes = emit(&Transmit { link, body });
        let (ether_type, payload) = pnet_link(&bytes, &link);
        prop_assert_eq!(ether_type, EtherTypes::Ipv4.0);
        let ip = Ipv4Packet::new(&payload).unwrap();
        prop_assert_eq!((ip.get_version(), ip.get_header_length(), ip.get_ttl()), (4, 5, 64));
        prop_assert_eq!(usize::from(ip.get_total_length()), payload.len());
        prop_assert_eq!((ip.get_flags(), ip.get_fragment_offset()), (2, 0));
        prop_assert_eq!((ip.get_source(), ip.get_destination()), (*source.ip(), *destination.ip()));
        prop_assert_eq!(ip.get_next_level_protocol().0, 17);
        prop_assert_eq!(ip.get_checksum(), ip_checksum(&ip));
        let udp = UdpPacket::new(ip.payload()).unwrap();
        prop_assert_eq!((udp.get_source(), udp.get_destination()), (source.port(), destination.port()));
        prop_assert_eq!(usize::from(udp.get_length()), ip.payload().len());
        let sum = ipv4_checksum(&udp, source.ip(), destination.ip());
        prop_assert_eq!(udp.get_checksum(), if sum == 0 { 0xffff } else { sum });
    }

    #[test]
    fn pnet_reads_our_arp(link in any_link(), arp in any_arp()) {
        let bytes = emit(&Transmit { link, body: TransmitBody::Arp(arp) });
        let (ether_type, payload) = pnet_link(&bytes, &link);
        prop_assert_eq!(ether_type, EtherTypes::Arp.0);
        let theirs = ArpPacket::new(&payload).unwrap();
        prop_assert_eq!((theirs.get_hardware_type().0, theirs.get_protocol_type().0), (1, 0x0800));
        prop_assert_eq!((theirs.get_hw_addr_len(), theirs.get_proto_addr_len()), (6, 4));
        prop_assert_eq!(theirs.get_operation().0, arp.operation as u16 + 1);
        prop_assert_eq!(theirs.get_sender_hw_addr().octets(), arp.sender_mac.0);
        prop_assert_eq!(theirs.get_target_hw_addr().octets(), arp.target_mac.0);
        prop_assert_eq!(theirs.get_sender_proto_addr(), arp.sender_ip);
        prop_assert_eq!(theirs.get_target_proto_addr(), arp.target_ip);
        prop_assert!(matches!(parse(&bytes).unwrap().body, Body::Arp(found) if found == arp));
    }
}

/// Checks the Ethernet header and the tags against `link`; returns what follows them.
fn pnet_link(bytes: &[u8], link: &crate::wire::Link) -> (u16, Vec<u8>) {
    let ethernet = EthernetPacket::new(bytes).unwrap();
    assert_eq!(ethernet.get_destination().octets(), link.destination.0);
    assert_eq!(ethernet.get_source().octets(), link.source.0);
    let (mut ether_type, mut payload) = (ethernet.get_ethertype().0, ethernet.payload().to_vec());
    for tag in link.vlans.tags() {
        assert_eq!(ether_type, tag.tpid);
        let vlan = VlanPacket::new(&payload).unwrap();
        assert_eq!(vlan.get_vlan_identifier(), tag.vid());
        assert_eq!(vlan.get_priority_code_point().0, tag.pcp());
        (ether_type, payload) = (vlan.get_ethertype().0, vlan.payload().to_vec());
    }
    (ether_type, payload)
}
