//! Every reason for a refusal, reached by one fault in a packet that is sound otherwise.

use super::support::{
    CLIENT, Raw, SERVER, bootp, bootp_fields, datagram, offer, parse, parse_tagged,
};
use crate::device::{Frame, Meta, VlanTag};
use crate::wire::vlan::{Domain, VlanStack};
use crate::wire::{self, Body, Discard, Oddity, arp};

fn udp_bytes(change: impl FnOnce(&mut Raw)) -> Vec<u8> {
    let mut raw = Raw::new(offer());
    change(&mut raw);
    raw.build()
}

fn dhcp_bytes(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = offer();
    change(&mut message);
    Raw::new(message).build()
}

fn arp_frame(payload: &[u8]) -> Vec<u8> {
    [&CLIENT[..], &SERVER, &[8, 6], payload].concat()
}

const ARP: [u8; 28] =
    [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xfe, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 77];

fn arp_with(at: usize, value: u8) -> Vec<u8> {
    let mut payload = ARP;
    payload[at] = value;
    arp_frame(&payload)
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn refused_frames() -> Vec<(Discard, &'static str, Vec<u8>)> {
    use Discard as D;
    let whole = Raw::new(offer()).build();
    let noise = |len: usize| vec![0u8; len];
    let fold = |n: u16| udp_bytes(|raw| raw.fragment = n);
    vec![
        (D::RuntFrame, "nothing", vec![]),
        (D::RuntFrame, "a cut Ethernet header", whole[..13].to_vec()),
        (D::RuntFrame, "nothing behind the Ethernet header", whole[..14].to_vec()),
        (D::RuntFrame, "a cut IPv4 header", whole[..33].to_vec()),
        (D::RuntFrame, "a cut tag", [&CLIENT[..], &SERVER, &[0x81, 0, 0, 5, 8]].concat()),
        (D::RuntFrame, "a cut ARP packet", arp_frame(&ARP[..27])),
        (
            D::JumboFrame,
            "IPv4 over 1,500 bytes",
            udp_bytes(|raw| {
                let missing = 1501 - 28 - raw.payload.len();
                raw.payload.extend(noise(missing));
            }),
        ),
        (D::JumboFrame, "a trailer beyond 1,500 bytes", udp_bytes(|raw| raw.trailer = noise(1300))),
        (D::JumboFrame, "ARP", arp_frame(&[&ARP[..], &noise(1473)].concat())),
        (D::TooManyTags, "three tags", udp_bytes(|raw| raw.tags = vec![(0x8100, 5); 3])),
        (D::EtherType, "IPv6", udp_bytes(|raw| raw.ether_type = 0x86dd)),
        (D::EtherType, "an 802.3 length", udp_bytes(|raw| raw.ether_type = 300)),
        (D::EtherType, "a tag of another type", udp_bytes(|raw| raw.tags = vec![(0x9100, 5)])),
        (D::ArpMalformed, "hardware type", arp_with(1, 6)),
        (D::ArpMalformed, "protocol type", arp_with(2, 9)),
        (D::ArpMalformed, "hardware length", arp_with(4, 8)),
        (D::ArpMalformed, "protocol length", arp_with(5, 16)),
        (D::ArpMalformed, "operation 0", arp_with(7, 0)),
        (D::ArpMalformed, "operation 3", arp_with(7, 3)),
        (D::ArpMalformed, "operation 257", arp_with(6, 1)),
        (D::IpVersion, "version 6", udp_bytes(|raw| raw.version = 6)),
        (
            D::IpLength,
            "one byte more than there is",
            udp_bytes(|raw| {
                raw.total_len = Some((28 + raw.payload.len() + 1) as u16);
            }),
        ),
        (D::IpLength, "less than the header", udp_bytes(|raw| raw.total_len = Some(19))),
        (D::IpLength, "a header of 16 bytes", {
            let mut frame = whole.clone();
            frame[14] = 0x44;
            frame
        }),
        (D::IpLength, "a header longer than the packet", {
            let mut frame = udp_bytes(|raw| raw.total_len = Some(56));
            frame[14] = 0x4f;
            frame
        }),
        (D::IpChecksum, "off by one", udp_bytes(|raw| raw.ip_checksum_error = 1)),
        (D::IpFragment, "the first fragment", fold(0x2000)),
        (D::IpFragment, "the second", fold(1)),
        (D::IpFragment, "the farthest", fold(0x1fff)),
        (D::NotUdp, "TCP", udp_bytes(|raw| raw.protocol = 6)),
        (D::UdpLength, "no room for the header", udp_bytes(|raw| raw.total_len = Some(27))),
        (D::UdpLength, "below its header", udp_bytes(|raw| raw.udp_len = Some(7))),
        (
            D::UdpLength,
            "one byte more than IPv4 has",
            udp_bytes(|raw| {
                raw.udp_len = Some((raw.payload.len() + 9) as u16);
            }),
        ),
        (D::UdpChecksum, "wrong", udp_bytes(|raw| raw.udp_checksum = Some(0x1111))),
        (D::NotDhcpPort, "DNS", udp_bytes(|raw| raw.ports = (67, 53))),
        (D::BootpLength, "no cookie", dhcp_bytes(|message| message.truncate(239))),
        (D::BootpLength, "nothing", dhcp_bytes(|message| message.clear())),
        (D::BootpOp, "0", dhcp_bytes(|message| message[0] = 0)),
        (D::BootpOp, "3", dhcp_bytes(|message| message[0] = 3)),
        (D::HardwareAddress, "hlen 16", dhcp_bytes(|message| message[2] = 16)),
        (D::HardwareAddress, "hlen 0", dhcp_bytes(|message| message[2] = 0)),
        (D::HardwareAddress, "hlen 255", dhcp_bytes(|message| message[2] = 255)),
        (D::HardwareAddress, "InfiniBand", dhcp_bytes(|message| message[1] = 32)),
        (D::MagicCookie, "its last byte", dhcp_bytes(|message| message[239] = 98)),
    ]
}

fn refused_messages() -> Vec<(Discard, &'static str, Vec<u8>)> {
    use Discard as D;
    vec![
        (D::OptionOverrun, "one byte", bootp(&[53, 1, 2, 3, 4, 1, 2, 3])),
        (D::OptionOverrun, "no length", bootp(&[53, 1, 2, 3])),
        (D::OptionOverrun, "in file", bootp_fields(&[53, 1, 2, 52, 1, 1, 255], &[12, 127, 1], &[])),
        (D::OptionOverrun, "in sname", bootp_fields(&[53, 1, 2, 52, 1, 2, 255], &[], &[12, 63, 1])),
        (D::OptionValue, "53 of two bytes", bootp(&[53, 2, 2, 2, 255])),
        (D::OptionValue, "53 of no byte", bootp(&[53, 0, 255])),
        (D::OptionValue, "53 twice", bootp(&[53, 1, 2, 53, 1, 2, 255])),
        (D::OptionValue, "51 of three bytes", bootp(&[53, 1, 2, 51, 3, 0, 0, 1, 255])),
        (D::OptionValue, "51 of no byte", bootp(&[53, 1, 2, 51, 0, 255])),
        (D::OptionValue, "54 of eight bytes", bootp(&[53, 1, 2, 54, 8, 1, 2, 3, 4, 1, 2, 3, 4])),
        (
            D::OptionValue,
            "54 in two places",
            bootp(&[53, 1, 2, 54, 4, 1, 2, 3, 4, 12, 1, 65, 54, 4, 1, 2, 3, 4, 255]),
        ),
        (D::OptionValue, "1 of one byte", bootp(&[53, 1, 2, 1, 1, 24, 255])),
        (D::OptionValue, "50 of five", bootp(&[53, 1, 2, 50, 5, 1, 2, 3, 4, 5, 255])),
        (D::OptionValue, "58 of two", bootp(&[53, 1, 2, 58, 2, 0, 9, 255])),
        (D::OptionValue, "59 of two", bootp(&[53, 1, 2, 59, 2, 0, 9, 255])),
        (D::OptionValue, "overload 0", bootp(&[53, 1, 2, 52, 1, 0, 255])),
        (D::OptionValue, "overload 4", bootp(&[53, 1, 2, 52, 1, 4, 255])),
        (D::OptionValue, "overload of no byte", bootp(&[53, 1, 2, 52, 0, 255])),
        (D::OptionValue, "overload of two bytes", bootp(&[53, 1, 2, 52, 2, 1, 1, 255])),
        (D::OptionValue, "overload twice", bootp(&[53, 1, 2, 52, 1, 1, 52, 1, 1, 255])),
        (D::MessageTypeMissing, "plain BOOTP", bootp(&[1, 4, 255, 0, 0, 0, 255])),
        (D::MessageTypeMissing, "no option at all", bootp(&[])),
        (D::MessageTypeMissing, "behind the end", bootp(&[255, 53, 1, 2])),
    ]
}

#[test]
fn every_reason_is_reached_by_one_fault() {
    assert!(parse(&Raw::new(offer()).build()).is_ok(), "the packet without the fault");
    assert!(parse(&arp_frame(&ARP)).is_ok(), "the ARP packet without the fault");
    let mut reached = vec![Discard::CutFrame];
    for (reason, what, bytes) in refused_frames() {
        assert_eq!(parse(&bytes).err(), Some(reason), "{what}");
        reached.push(reason);
    }
    for (reason, what, message) in refused_messages() {
        assert_eq!(parse(&Raw::new(message).build()).err(), Some(reason), "{what}");
        reached.push(reason);
    }
    for reason in Discard::ALL {
        assert!(reached.contains(reason), "{reason:?} is not reached");
    }
}

#[test]
fn a_cut_frame_is_refused_whatever_it_holds() {
    let bytes = Raw::new(offer()).build();
    let meta = |wire_len| Meta::plain(wire_len);
    let cut = wire::parse(Frame { bytes: &bytes, meta: meta(bytes.len() + 1) });
    assert_eq!(cut.err(), Some(Discard::CutFrame));
    assert!(wire::parse(Frame { bytes: &bytes, meta: meta(bytes.len()) }).is_ok());
}

#[test]
fn every_truncation_is_refused() {
    let bytes = Raw::new(offer()).build();
    for len in 0..bytes.len() {
        assert!(parse(&bytes[..len]).is_err(), "{len} bytes");
    }
    for len in 0..14 + ARP.len() {
        assert_eq!(parse(&arp_frame(&ARP)[..len]).err(), Some(Discard::RuntFrame));
    }
}

#[test]
fn names_of_reasons_are_unique_and_fit_counters() {
    let names = Discard::ALL.iter().map(|reason| reason.name());
    let names: Vec<_> = names.chain(Oddity::ALL.iter().map(|oddity| oddity.name())).collect();
    for (place, name) in names.iter().enumerate() {
        assert!(!names[..place].contains(name), "{name} twice");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
    }
    for (place, reason) in Discard::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, place);
    }
}

#[test]
fn oddities_are_accepted_and_told() {
    let oddities = |bytes: &[u8]| -> Vec<Oddity> {
        let packet = parse(bytes).unwrap();
        assert_eq!(datagram(&packet).message.xid, 0x1234_5678);
        packet.oddities.iter().collect()
    };
    assert_eq!(oddities(&Raw::new(offer()).build()), []);
    for len in [4, 40] {
        let options = udp_bytes(|raw| raw.ip_options = vec![1; len]);
        assert_eq!(oddities(&options), [Oddity::IpOptions]);
    }
    let unsummed = udp_bytes(|raw| raw.udp_checksum = Some(0));
    assert_eq!(oddities(&unsummed), [Oddity::ChecksumAbsent]);
    assert_eq!(oddities(&udp_bytes(|raw| raw.ports.0 = 1067)), [Oddity::SourcePort]);
    assert_eq!(oddities(&udp_bytes(|raw| raw.ports.0 = 68)), [Oddity::SourcePort]);
    let trailer = udp_bytes(|raw| raw.trailer = vec![0xaa; 18]);
    assert_eq!(oddities(&trailer), [Oddity::TrailingPadding]);
    assert_eq!(
        oddities(&udp_bytes(|raw| raw.tags = vec![(0x8100, 0xe000)])),
        [Oddity::PriorityTag]
    );
    assert_eq!(oddities(&udp_bytes(|raw| raw.fragment = 0x4000)), [], "don't fragment");
    // A relayed or a client's request comes from 67 or 68.
    for (port, expected) in [(67, vec![]), (68, vec![]), (1068, vec![Oddity::SourcePort])] {
        let request = udp_bytes(|raw| {
            raw.payload[0] = 1;
            raw.ports = (port, 67);
        });
        assert_eq!(oddities(&request), expected);
    }
}

#[test]
fn a_checksum_left_to_hardware_is_not_judged() {
    let bytes = udp_bytes(|raw| raw.udp_checksum = Some(0x1111));
    let judged = |checksum_ready| {
        let meta = Meta { checksum_ready, ..Meta::plain(bytes.len()) };
        wire::parse(Frame { bytes: &bytes, meta }).map(|packet| packet.oddities)
    };
    assert_eq!(judged(true).err(), Some(Discard::UdpChecksum));
    assert!(judged(false).unwrap().is_empty());
    // But the IPv4 header's own is: no sender leaves that to hardware on a raw socket.
    let bytes = udp_bytes(|raw| raw.ip_checksum_error = 7);
    let meta = Meta { checksum_ready: false, ..Meta::plain(bytes.len()) };
    assert_eq!(wire::parse(Frame { bytes: &bytes, meta }).err(), Some(Discard::IpChecksum));
}

#[test]
fn the_end_of_udp_is_the_end_of_the_message() {
    // Options that lie behind the UDP length, or behind the IPv4 length, are not read.
    let mut raw = Raw::new(bootp(&[53, 1, 2]));
    raw.udp_len = Some((8 + raw.payload.len()) as u16);
    raw.payload.extend([54, 4, 1, 2, 3, 4]);
    assert_eq!(datagram(&parse(&raw.build()).unwrap()).message.server_id, None);
    let mut raw = Raw::new(bootp(&[53, 1, 2]));
    raw.trailer = vec![54, 4, 1, 2, 3, 4];
    assert_eq!(datagram(&parse(&raw.build()).unwrap()).message.server_id, None);
}

fn tag(tpid: u16, tci: u16) -> VlanTag {
    VlanTag { tpid, tci }
}

#[test]
fn tags_of_the_metadata_go_before_those_in_the_frame() {
    let (q, ad) = (0x8100, 0x88a8);
    let single = VlanStack::single(100, 0).unwrap().domain();
    let double = VlanStack::double(100, 10, 0).unwrap().domain();
    type Case = (Option<VlanTag>, Vec<(u16, u16)>, Result<(usize, Domain), Discard>);
    let cases: Vec<Case> = vec![
        (None, vec![], Ok((0, Domain::default()))),
        (Some(tag(q, 100)), vec![], Ok((1, single))),
        (None, vec![(q, 100)], Ok((1, single))),
        (Some(tag(q, 0xe064)), vec![], Ok((1, single))),
        (Some(tag(ad, 100)), vec![(q, 10)], Ok((2, double))),
        (Some(tag(q, 100)), vec![(q, 10)], Ok((2, double))),
        (None, vec![(ad, 100), (q, 10)], Ok((2, double))),
        (Some(tag(q, 0)), vec![], Ok((1, Domain::default()))),
        (Some(tag(q, 0)), vec![(q, 100)], Ok((2, single))),
        (Some(tag(q, 100)), vec![(q, 0)], Ok((2, single))),
        (Some(tag(q, 0)), vec![(q, 0)], Ok((2, Domain::default()))),
        (Some(tag(ad, 100)), vec![(q, 10), (q, 7)], Err(Discard::TooManyTags)),
        (Some(tag(q, 0)), vec![(ad, 100), (q, 10)], Err(Discard::TooManyTags)),
    ];
    for (meta, inline, expected) in cases {
        let bytes = udp_bytes(|raw| raw.tags = inline.clone());
        let found = parse_tagged(&bytes, meta)
            .map(|packet| (packet.link.vlans.len(), packet.link.vlans.domain()));
        assert_eq!(found, expected, "{meta:?} {inline:?}");
    }
    assert_ne!(double, VlanStack::double(10, 100, 0).unwrap().domain());
    let bytes = udp_bytes(|raw| raw.tags = vec![(q, 0xf00a)]);
    let stack = parse_tagged(&bytes, Some(tag(ad, 0x2064)));
    let tags: Vec<_> = stack.unwrap().link.vlans.tags().collect();
    assert_eq!(tags, [tag(ad, 0x2064), tag(q, 0xf00a)], "priorities and DEI are kept");
}

#[test]
fn vlan_identifiers_are_checked() {
    for vid in [0, 4095, 4096, u16::MAX] {
        assert_eq!(VlanStack::single(vid, 0), None);
        assert_eq!(VlanStack::double(1, vid, 0), None);
        assert_eq!(VlanStack::double(vid, 1, 0), None);
    }
    assert_eq!(VlanStack::single(1, 8), None);
    let stack = VlanStack::single(4094, 7).unwrap();
    assert_eq!(stack.tags().collect::<Vec<_>>(), [tag(0x8100, 0xeffe)]);
    assert_eq!(VlanStack::double(100, 10, 0).unwrap().to_string(), "100.10");
}

#[test]
fn arp_is_read_with_and_without_padding() {
    for padding in [0, 18, 200] {
        let bytes = arp_frame(&[&ARP[..], &vec![0xaa; padding]].concat());
        let packet = parse(&bytes).unwrap();
        let Body::Arp(found) = packet.body else { panic!("not ARP") };
        assert_eq!(found.operation, arp::Operation::Request);
        assert_eq!(found.sender_mac.0, SERVER);
        assert_eq!(found.target_ip.octets(), [192, 0, 2, 77]);
        assert!(packet.oddities.is_empty(), "padding is usual in ARP");
        let answer = found.answer(wire::ethernet::Mac(CLIENT));
        assert_eq!(answer.sender_ip, found.target_ip);
        assert_eq!((answer.target_mac, answer.target_ip), (found.sender_mac, found.sender_ip));
    }
}

#[test]
fn mac_addresses_are_read_and_written() {
    use wire::ethernet::Mac;
    assert_eq!("02:00:00:00:00:fe".parse(), Ok(Mac(SERVER)));
    assert_eq!("02-00-00-00-00-FE".parse(), Ok(Mac(SERVER)));
    assert_eq!(Mac(SERVER).to_string(), "02:00:00:00:00:fe");
    for bad in
        ["", "02", "2:0:0:0:0:1", "02:00:00:00:00:01:02", "02:00:00:00:00:+1", "0g:00:00:00:00:00"]
    {
        assert!(bad.parse::<Mac>().is_err(), "{bad}");
    }
    assert_eq!(Mac([0, 0, 0, 0, 0, 255]).checked_add(1), Some(Mac([0, 0, 0, 0, 1, 0])));
    assert_eq!(Mac::BROADCAST.checked_add(1), None);
    assert_eq!(Mac(CLIENT).checked_add(u64::MAX), None);
}
