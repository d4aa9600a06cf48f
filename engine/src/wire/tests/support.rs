//! Packets built byte by byte, with nothing of the code under test in them.

use crate::device::{Frame, Meta, VlanTag};
use crate::wire::{self, Discard, Packet};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub(super) const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

/// A frame to be built, in parts that tests set wrong.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) tags: Vec<(u16, u16)>,
    pub(super) ether_type: u16,
    pub(super) version: u8,
    pub(super) ip_options: Vec<u8>,
    pub(super) fragment: u16,
    pub(super) protocol: u8,
    pub(super) ports: (u16, u16),
    pub(super) total_len: Option<u16>,
    pub(super) udp_len: Option<u16>,
    /// Added to the right checksum.
    pub(super) ip_checksum_error: u16,
    /// `None` for the right one.
    pub(super) udp_checksum: Option<u16>,
    pub(super) payload: Vec<u8>,
    pub(super) trailer: Vec<u8>,
}

impl Raw {
    pub(super) fn new(payload: Vec<u8>) -> Self {
        Self {
            tags: vec![],
            ether_type: 0x0800,
            version: 4,
            ip_options: vec![],
            fragment: 0,
            protocol: 17,
            ports: (67, 68),
            total_len: None,
            udp_len: None,
            ip_checksum_error: 0,
            udp_checksum: None,
            payload,
            trailer: vec![],
        }
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let mut udp = Vec::new();
        let udp_len = self.udp_len.unwrap_or((8 + self.payload.len()) as u16);
        for word in [self.ports.0, self.ports.1, udp_len, 0] {
            udp.extend(word.to_be_bytes());
        }
        udp.extend(&self.payload);
        let addresses = [192, 0, 2, 1, 192, 0, 2, 77];
        let mut pseudo = addresses.to_vec();
        pseudo.extend([0, 17]);
        pseudo.extend(udp_len.to_be_bytes());
        pseudo.extend(&udp[..usize::from(udp_len).min(udp.len())]);
        let right = match checksum(&pseudo) {
            0 => 0xffff,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&self.udp_checksum.unwrap_or(right).to_be_bytes());

        let header_len = 20 + self.ip_options.len();
        let total_len = self.total_len.unwrap_or((header_len + udp.len()) as u16);
        let mut ip = vec![self.version << 4 | (header_len / 4) as u8, 0];
        ip.extend(total_len.to_be_bytes());
        ip.extend([0x12, 0x34]);
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([64, self.protocol, 0, 0]);
        ip.extend(addresses);
        ip.extend(&self.ip_options);
        let sum = checksum(&ip).wrapping_add(self.ip_checksum_error);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());

        let mut frame = [CLIENT, SERVER].concat();
        for (tpid, tci) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(self.ether_type.to_be_bytes());
        [frame, ip, udp, self.trailer.clone()].concat()
    }
}

/// RFC 1071 as a textbook has it.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A BOOTREPLY with these bytes as its options field, `file` and `sname`.
pub(super) fn bootp_fields(options: &[u8], file: &[u8], sname: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[4..8].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
    message[16..20].copy_from_slice(&[192, 0, 2, 77]);
    message[28..34].copy_from_slice(&CLIENT);
    message[44..44 + sname.len()].copy_from_slice(sname);
    message[108..108 + file.len()].copy_from_slice(file);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend(options);
    message
}

pub(super) fn bootp(options: &[u8]) -> Vec<u8> {
    bootp_fields(options, &[], &[])
}

/// An OFFER that nothing is wrong with.
pub(super) fn offer() -> Vec<u8> {
    bootp(&[
        53, 1, 2, 54, 4, 192, 0, 2, 1, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 3, 4, 192, 0,
        2, 1, 255,
    ])
}

pub(super) fn parse(bytes: &[u8]) -> Result<Packet<'_>, Discard> {
    parse_tagged(bytes, None)
}

pub(super) fn parse_tagged(bytes: &[u8], vlan: Option<VlanTag>) -> Result<Packet<'_>, Discard> {
    wire::parse(Frame { bytes, meta: Meta { vlan, ..Meta::plain(bytes.len()) } })
}

pub(super) fn datagram<'a>(packet: &Packet<'a>) -> wire::dhcp::Datagram<'a> {
    match packet.body {
        wire::Body::Dhcp(datagram) => datagram,
        wire::Body::Arp(_) => panic!("ARP"),
    }
}

/// The options of a message by a second, naive reading of RFC 2131, 2132 and 3396; `None` where
/// the message must be refused for them.
pub(super) fn model(message: &[u8]) -> Option<BTreeMap<u8, Vec<u8>>> {
    let mut joined: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    model_field(&message[240..], &mut joined)?;
    let overload = match joined.get(&52).map(Vec::as_slice) {
        None => 0,
        Some([value @ 1..=3]) => *value,
        Some(_) => return None,
    };
    if overload & 1 != 0 {
        model_field(&message[108..236], &mut joined)?;
    }
    if overload & 2 != 0 {
        model_field(&message[44..108], &mut joined)?;
    }
    Some(joined)
}

fn model_field(field: &[u8], joined: &mut BTreeMap<u8, Vec<u8>>) -> Option<()> {
    let mut at = 0;
    while at < field.len() && field[at] != 255 {
        if field[at] == 0 {
            at += 1;
            continue;
        }
        let end = at + 2 + usize::from(*field.get(at + 1)?);
        joined.entry(field[at]).or_default().extend(field.get(at + 2..end)?);
        at = end;
    }
    Some(())
}

pub(super) fn any_ip() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

pub(super) fn any_mac() -> impl Strategy<Value = wire::ethernet::Mac> {
    any::<[u8; 6]>().prop_map(wire::ethernet::Mac)
}

pub(super) fn any_meta() -> impl Strategy<Value = Meta> {
    let tpid = prop_oneof![Just(0x8100u16), Just(0x88a8), any::<u16>()];
    let tag = (tpid, any::<u16>()).prop_map(|(tpid, tci)| VlanTag { tpid, tci });
    (proptest::option::of(tag), any::<bool>()).prop_map(|(vlan, checksum_ready)| Meta {
        vlan,
        checksum_ready,
        ..Meta::plain(0)
    })
}

/// Pieces of an options field: mostly sound, of codes that matter, sometimes cut or noise.
pub(super) fn any_field(limit: usize) -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        4 => prop::sample::select(vec![1u8, 3, 50, 51, 52, 53, 54, 58, 59, 61, 82, 121, 224]),
        1 => any::<u8>()
    ];
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 4),
        3 => prop::collection::vec(0u8..4, 1),
        2 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    let piece =
        (code, value).prop_map(|(code, value)| [vec![code, value.len() as u8], value].concat());
    let token = prop_oneof![
        12 => piece,
        2 => Just(vec![0]),
        1 => Just(vec![255]),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    prop::collection::vec(token, 0..8).prop_map(move |tokens| {
        let mut field = tokens.concat();
        field.truncate(limit);
        field
    })
}
