//! What is written is read back; whatever is read, nothing panics.

use super::support::{
    Raw, any_field, any_ip, any_mac, any_meta, bootp_fields, checksum, datagram, parse,
};
use crate::device::{Frame, Meta, VlanTag};
use crate::wire::arp::{Arp, Operation};
use crate::wire::dhcp::{ClientId, MessageType, Op, Outgoing};
use crate::wire::ethernet::Mac;
use crate::wire::vlan::VlanStack;
use crate::wire::{self, Body, Link, NoRoom, Oddities, Transmit, TransmitBody};
use proptest::collection::vec as vec_of;
use proptest::option::of;
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddrV4};

/// An [`Outgoing`] that owns its bytes.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    fixed: (bool, u8, u32, u16, bool, u8),
    pub(super) addresses: [Ipv4Addr; 4],
    chaddr: Mac,
    pub(super) client_id: Option<Vec<u8>>,
    mac_id: bool,
    optional: (Option<Ipv4Addr>, Option<Ipv4Addr>, Option<Ipv4Addr>),
    times: (Option<u32>, Option<u32>, Option<u32>, Option<u16>),
    texts: (String, Vec<u8>, Vec<u8>, String),
    pub(super) more: Vec<(u8, Vec<u8>)>,
    more_bytes: Vec<u8>,
}

impl Owned {
    pub(super) fn borrow(&self) -> Outgoing<'_> {
        let (reply, kind, xid, secs, broadcast, hops) = self.fixed;
        let op = if reply { Op::Reply } else { Op::Request };
        let [ciaddr, yiaddr, siaddr, giaddr] = self.addresses;
        Outgoing {
            secs,
            broadcast,
            hops,
            ciaddr,
            yiaddr,
            siaddr,
            giaddr,
            client_id: match &self.client_id {
                Some(bytes) => ClientId::Bytes(bytes),
                None if self.mac_id => ClientId::Mac,
                None => ClientId::None,
            },
            requested_address: self.optional.0,
            server_id: self.optional.1,
            subnet_mask: self.optional.2,
            lease_time: self.times.0,
            renewal_time: self.times.1,
            rebinding_time: self.times.2,
            max_message_size: self.times.3,
            hostname: self.texts.0.as_bytes(),
            vendor_class: &self.texts.1,
            parameter_requests: &self.texts.2,
            text: self.texts.3.as_bytes(),
            more: &self.more_bytes,
            ..Outgoing::new(op, MessageType::from_value(kind), xid, self.chaddr)
        }
    }
}

pub(super) fn any_outgoing() -> impl Strategy<Value = Owned> {
    let fixed = (any::<bool>(), 1u8..=18, any::<u32>(), any::<u16>(), any::<bool>(), any::<u8>());
    let addresses = [any_ip(), any_ip(), any_ip(), any_ip()];
    let ids = (any_mac(), of(vec_of(any::<u8>(), 2..270)), any::<bool>());
    let optional = (of(any_ip()), of(any_ip()), of(any_ip()));
    let times = (of(any::<u32>()), of(any::<u32>()), of(any::<u32>()), of(any::<u16>()));
    let texts =
        ("[a-z0-9-]{0,63}", vec_of(any::<u8>(), 0..270), vec_of(1u8..255, 0..60), "[ -~]{0,40}");
    let more = prop::collection::btree_map(225u8..=254, vec_of(any::<u8>(), 0..60), 0..4);
    (fixed, addresses, ids, optional, times, texts, more).prop_map(
        |(fixed, addresses, (chaddr, client_id, mac_id), optional, times, texts, more)| {
            let more: Vec<_> = more.into_iter().collect();
            let more_bytes = more
                .iter()
                .flat_map(|(code, value)| [vec![*code, value.len() as u8], value.clone()].concat())
                .collect();
            Owned {
                fixed,
                addresses,
                chaddr,
                client_id,
                mac_id,
                optional,
                times,
                texts,
                more,
                more_bytes,
            }
        },
    )
}

pub(super) fn any_vlans() -> impl Strategy<Value = VlanStack> {
    let vid = 1u16..=4094;
    prop_oneof![
        Just(VlanStack::NONE),
        (vid.clone(), 0u8..8).prop_map(|(vid, pcp)| VlanStack::single(vid, pcp).unwrap()),
        (vid.clone(), vid, 0u8..8).prop_map(|(a, b, pcp)| VlanStack::double(a, b, pcp).unwrap()),
    ]
}

pub(super) fn any_link() -> impl Strategy<Value = Link> {
    (any_mac(), any_mac(), any_vlans()).prop_map(|(destination, source, vlans)| Link {
        destination,
        source,
        vlans,
    })
}

pub(super) fn any_arp() -> impl Strategy<Value = Arp> {
    let operation = prop_oneof![Just(Operation::Request), Just(Operation::Reply)];
    (operation, any_mac(), any_ip(), any_mac(), any_ip()).prop_map(
        |(operation, sender_mac, sender_ip, target_mac, target_ip)| Arp {
            operation,
            sender_mac,
            sender_ip,
            target_mac,
            target_ip,
        },
    )
}

pub(super) fn any_ports() -> impl Strategy<Value = (SocketAddrV4, SocketAddrV4)> {
    let port = || prop_oneof![Just(67u16), Just(68)];
    (any_ip(), any_ip(), port(), port())
        .prop_map(|(a, b, from, to)| (SocketAddrV4::new(a, from), SocketAddrV4::new(b, to)))
}

/// Emits into a slot of exactly the needed length, and shows that one byte less is refused.
pub(super) fn emit(packet: &Transmit<'_>) -> Vec<u8> {
    let mut slot = vec![0xee; 2048];
    let len = wire::emit(packet, &mut slot).unwrap();
    assert!(slot[len..].iter().all(|byte| *byte == 0xee), "written beyond the end");
    let mut exact = vec![0x55; len];
    assert_eq!(wire::emit(packet, &mut exact), Ok(len));
    assert_eq!(exact, slot[..len], "what the slot held before shines through");
    assert_eq!(wire::emit(packet, &mut exact[..len - 1]), Err(NoRoom));
    exact
}

/// As AF_PACKET shows a frame: the outer tag is in the metadata, not in the bytes.
fn strip(frame: &[u8]) -> (Vec<u8>, Option<VlanTag>) {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    match word(12) {
        0x8100 | 0x88a8 => {
            let tag = VlanTag { tpid: word(12), tci: word(14) };
            ([&frame[..12], &frame[16..]].concat(), Some(tag))
        }
        _ => (frame.to_vec(), None),
    }
}

fn non_empty(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

fn same(out: &Outgoing<'_>, found: &wire::dhcp::Message<'_>) {
    assert_eq!((found.op, found.message_type, found.xid), (out.op, out.message_type, out.xid));
    assert_eq!((found.secs, found.broadcast, found.hops), (out.secs, out.broadcast, out.hops));
    assert_eq!((found.ciaddr, found.yiaddr), (out.ciaddr, out.yiaddr));
    assert_eq!((found.siaddr, found.giaddr), (out.siaddr, out.giaddr));
    assert_eq!(found.chaddr, out.chaddr);
    assert_eq!(found.requested_address, out.requested_address);
    assert_eq!(found.server_id, out.server_id);
    assert_eq!(found.subnet_mask, out.subnet_mask);
    assert_eq!(found.lease_time, out.lease_time);
    assert_eq!(found.renewal_time, out.renewal_time);
    assert_eq!(found.rebinding_time, out.rebinding_time);
    assert_eq!(found.has_client_id, out.client_id != ClientId::None);
    let mac_id = [&[1], &out.chaddr.0[..]].concat();
    let client_id = match out.client_id {
        ClientId::None => None,
        ClientId::Mac => Some(mac_id.as_slice()),
        ClientId::Bytes(bytes) => Some(bytes),
    };
    assert_eq!(found.options.get(61).as_deref(), client_id);
    let size = out.max_message_size.map(u16::to_be_bytes);
    assert_eq!(found.options.get(57).as_deref(), size.as_ref().map(|size| &size[..]));
    assert_eq!(found.options.get(12).as_deref(), non_empty(out.hostname));
    assert_eq!(found.options.get(60).as_deref(), non_empty(out.vendor_class));
    assert_eq!(found.options.get(55).as_deref(), non_empty(out.parameter_requests));
    assert_eq!(found.options.get(56).as_deref(), non_empty(out.text));
    assert_eq!(found.options.pieces().next().map(|(code, _)| code), Some(53), "53 is first");
}

proptest! {
    #[test]
    fn dhcp_is_read_as_it_was_written(
        link in any_link(), (source, destination) in any_ports(), owned in any_outgoing(),
    ) {
        let message = owned.borrow();
        let body = TransmitBody::Dhcp { source, destination, message };
        let bytes = emit(&Transmit { link, body });
        prop_assert!(bytes.len() >= 14 + 28 + 300);
        let (stripped, vlan) = strip(&bytes);
        let meta = Meta { vlan, ..Meta::plain(stripped.len()) };
        for frame in [
            Frame { bytes: &bytes, meta: Meta::plain(bytes.len()) },
            Frame { bytes: &stripped, meta },
        ] {
            let packet = wire::parse(frame).unwrap();
            prop_assert_eq!(packet.link, link);
            let found = datagram(&packet);
            prop_assert_eq!((found.source, found.destination), (source, destination));
            same(&message, &found.message);
            for (code, value) in &owned.more {
                let found = found.message.options.get(*code);
                prop_assert_eq!(found.as_deref(), Some(value.as_slice()));
            }
        }
    }

    #[test]
    fn arp_is_read_as_it_was_written(link in any_link(), arp in any_arp()) {
        let bytes = emit(&Transmit { link, body: TransmitBody::Arp(arp) });
        prop_assert_eq!(bytes.len(), 60 + 4 * link.vlans.len());
        let packet = parse(&bytes).unwrap();
        prop_assert_eq!(packet.link, link);
        prop_assert_eq!(packet.oddities, Oddities::NONE);
        match packet.body {
            Body::Arp(found) => prop_assert_eq!(found, arp),
            Body::Dhcp(_) => prop_assert!(false, "not ARP"),
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        bytes in vec_of(any::<u8>(), 0..2000), meta in any_meta(), wire_len in 0usize..4000,
    ) {
        let _ = wire::parse(Frame { bytes: &bytes, meta: Meta { wire_len, ..meta } });
        let _ = wire::dhcp::parse(&bytes);
        let _ = wire::arp::parse(&bytes);
        let _ = wire::ipv4::parse(&bytes);
    }

    /// Mutations of sound packets get deeper than noise does: the IPv4 checksum is put right
    /// again, the UDP checksum is not judged.
    #[test]
    fn mutated_packets_do_no_harm(
        options in any_field(500), file in any_field(128), sname in any_field(64),
        flips in vec_of((any::<prop::sample::Index>(), 0u8..8), 0..6),
        insert in of((any::<prop::sample::Index>(), vec_of(any::<u8>(), 1..20))),
        cut in of(any::<prop::sample::Index>()),
        meta in any_meta(), tags in vec_of((Just(0x8100u16), any::<u16>()), 0..3),
    ) {
        let mut raw = Raw::new(bootp_fields(&options, &file, &sname));
        let at_ip = 14 + 4 * tags.len();
        raw.tags = tags;
        let mut bytes = raw.build();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Some((at, piece)) = insert {
            let at = at.index(bytes.len());
            bytes.splice(at..at, piece);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Some(header) = bytes.get_mut(at_ip..at_ip + 20) {
            header[10..12].fill(0);
            let sum = checksum(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let meta = Meta { wire_len: bytes.len(), ..meta };
        if let Ok(Packet { body: Body::Dhcp(found), .. }) = wire::parse(Frame { bytes: &bytes, meta }) {
            // Everything that a caller can reach stays inside, too.
            let set = wire::options::OptionSet::from_options(&found.message.options);
            for (code, value) in set.iter() {
                let _ = wire::names::describe(code, value).to_string();
            }
            prop_assert_eq!(set.get(53).unwrap(), &[found.message.message_type.value()]);
        }
    }

    /// One flipped bit never passes the checksums unnoticed in what they cover.
    #[test]
    fn a_flipped_bit_is_noticed(owned in any_outgoing(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let link = Link { destination: Mac::BROADCAST, source: Mac::ZERO, vlans: VlanStack::NONE };
        let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let destination = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        let body = TransmitBody::Dhcp { source, destination, message: owned.borrow() };
        let mut bytes = emit(&Transmit { link, body });
        let at = 14 + at.index(bytes.len() - 14);
        bytes[at] ^= 1 << bit;
        // (Only a checksum flipped to zero would pass: that means "none". One bit can do that.)
        prop_assume!(bytes[40..42] != [0, 0]);
        prop_assert!(parse(&bytes).is_err());
    }
}

use crate::wire::Packet;

#[test]
fn a_checksum_of_zero_is_written_as_ones() {
    // Search an xid for which the sum comes out as zero: it must be sent as 0xffff (RFC 768).
    let link = Link { destination: Mac::BROADCAST, source: Mac::ZERO, vlans: VlanStack::NONE };
    let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
    let destination = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
    let field = |xid: u32| {
        let message = Outgoing::new(Op::Request, MessageType::Discover, xid, Mac::ZERO);
        let mut slot = [0; 600];
        let body = TransmitBody::Dhcp { source, destination, message };
        let len = wire::emit(&Transmit { link, body }, &mut slot).unwrap();
        assert!(parse(&slot[..len]).unwrap().oddities.is_empty());
        u16::from_be_bytes([slot[40], slot[41]])
    };
    let all: Vec<u16> = (0..=0xffff).map(field).collect();
    assert!(all.contains(&0xffff));
    assert!(!all.contains(&0));
}
