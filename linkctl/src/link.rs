//! A link as a value.

use std::net::IpAddr;

use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

/// A network interface as the kernel described it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The interface index: what sockets bind to.
    pub index: u32,
    /// The name.
    pub name: String,
    /// The MAC address; all zeros for a link that has none of six bytes.
    pub mac: [u8; 6],
    /// The MTU in bytes.
    pub mtu: u32,
    /// Whether it is set up (`ip link set … up`).
    pub up: bool,
    /// Whether it has a carrier: the cable, or the veth peer, is there and up.
    pub carrier: bool,
    /// The kind of virtual link (`veth`, `vlan`, `bridge`, `macvlan` …);
    /// `None` for a physical one and for loopback.
    pub kind: Option<String>,
    /// Whether it carries Ethernet frames (`ARPHRD_ETHER`) and is not loopback.
    pub is_ethernet: bool,
    /// The link that this one is stacked on (VLAN, macvlan, ipvlan).
    pub parent: Option<u32>,
    /// The other end of a veth pair.
    pub peer: Option<u32>,
    /// Whether `parent` or `peer` is an index of another network namespace.
    pub lower_elsewhere: bool,
    /// The VLAN identifier of a VLAN link.
    pub vlan: Option<u16>,
    /// The bridge or bond that this link is a port of.
    pub master: Option<u32>,
}

impl Link {
    /// The MAC address as people write it.
    #[must_use]
    pub fn mac_text(&self) -> String {
        format_mac(&self.mac)
    }

    pub(crate) fn from_message(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: [0; 6],
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            kind: None,
            is_ethernet: message.header.link_layer_type == LinkLayerType::Ether
                && !flags.contains(LinkFlags::Loopback),
            parent: None,
            peer: None,
            lower_elsewhere: false,
            vlan: None,
            master: None,
        };
        for attribute in &message.attributes {
            link.apply(attribute);
        }
        if link.kind.as_deref() == Some("veth") {
            link.peer = link.parent.take();
        }
        link
    }

    fn apply(&mut self, attribute: &LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                if let Ok(mac) = <[u8; 6]>::try_from(bytes.as_slice()) {
                    self.mac = mac;
                }
            }
            LinkAttribute::Mtu(mtu) => self.mtu = *mtu,
            LinkAttribute::Carrier(carrier) => self.carrier = *carrier != 0,
            LinkAttribute::Link(index) => self.parent = Some(*index).filter(|i| *i != 0),
            LinkAttribute::LinkNetNsId(_) => self.lower_elsewhere = true,
            LinkAttribute::Controller(index) => self.master = Some(*index).filter(|i| *i != 0),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| self.apply_info(info)),
            _ => {}
        }
    }

    fn apply_info(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
            LinkInfo::Data(InfoData::Vlan(parts)) => {
                self.vlan = parts.iter().find_map(|part| match part {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address itself.
    pub ip: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
}

impl Address {
    pub(crate) fn from_message(message: &AddressMessage) -> Option<Self> {
        let pick = |want_local: bool| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) if want_local => Some(*ip),
                AddressAttribute::Address(ip) if !want_local => Some(*ip),
                _ => None,
            })
        };
        // On a point-to-point link `Address` is the other end's.
        let ip = pick(true).or_else(|| pick(false))?;
        Some(Self { ip, prefix: message.header.prefix_len })
    }
}

/// A MAC address as people write it: `02:00:00:00:00:01`.
#[must_use]
pub fn format_mac(mac: &[u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::InfoKind;

    use super::*;

    fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = attributes;
        message
    }

    #[test]
    fn a_vlan_link_knows_its_tag_and_its_parent() {
        let link = Link::from_message(&message(vec![
            LinkAttribute::IfName("eth0.7".into()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 9]),
            LinkAttribute::Mtu(1496),
            LinkAttribute::Link(3),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(7)])),
            ]),
        ]));
        assert_eq!((link.index, link.name.as_str(), link.mtu), (7, "eth0.7", 1496));
        assert_eq!((link.parent, link.peer, link.vlan), (Some(3), None, Some(7)));
        assert_eq!(link.mac_text(), "02:00:00:00:00:09");
        assert!(link.up && link.carrier && link.is_ethernet);
    }

    #[test]
    fn a_veth_has_a_peer_and_no_parent() {
        let link = Link::from_message(&message(vec![
            LinkAttribute::Link(4),
            LinkAttribute::LinkNetNsId(0),
            LinkAttribute::Carrier(0),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
        ]));
        assert_eq!((link.parent, link.peer, link.lower_elsewhere), (None, Some(4), true));
        assert!(!link.carrier);
    }

    #[test]
    fn loopback_and_tunnels_are_not_ethernet() {
        let mut lo = message(vec![LinkAttribute::Address(vec![0; 6])]);
        lo.header.flags |= LinkFlags::Loopback;
        assert!(!Link::from_message(&lo).is_ethernet);
        let mut tunnel = message(vec![LinkAttribute::Address(vec![10, 0, 0, 1])]);
        tunnel.header.link_layer_type = LinkLayerType::Ipgre;
        let tunnel = Link::from_message(&tunnel);
        assert!(!tunnel.is_ethernet);
        assert_eq!(tunnel.mac, [0; 6]);
    }
}
