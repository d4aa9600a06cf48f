//! What the parser makes of a captured frame, and what can still be told of one that it refuses.

use std::net::Ipv4Addr;

use lessee_engine::device::{Frame, Meta};
use lessee_engine::wire::arp::{self, Arp};
use lessee_engine::wire::dhcp::{self, Datagram};
use lessee_engine::wire::ethernet::{self, Mac};
use lessee_engine::wire::vlan::{self, VlanStack};
use lessee_engine::wire::{self, Body, Discard, Oddities, ipv4, udp};

/// The longest payload that the parser takes from an Ethernet frame; held for the others as well.
const MAXIMUM_PAYLOAD: usize = 1500;
/// EtherTypes of VLAN tags: 802.1Q, 802.1ad, and what came before it.
const TAGS: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
/// The Ethernet addresses in front of everything else.
const ADDRESSES: usize = 12;
/// The part of a BOOTP message that a refused one is recognised by.
const BOOTP_HEAD: usize = 34;

/// What frames begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    Ethernet,
    /// Captured on `any`: no destination MAC, the kernel's header in place of Ethernet's.
    CookedV1,
    CookedV2,
    /// An IPv4 packet and nothing in front of it.
    RawIp,
}

impl Medium {
    /// By tcpdump.org's registry of link types.
    pub(super) const fn of(link_type: u16) -> Option<Self> {
        Some(match link_type {
            1 => Self::Ethernet,
            113 => Self::CookedV1,
            276 => Self::CookedV2,
            // 12 and 14 are what some systems write for 101.
            12 | 14 | 101 | 228 => Self::RawIp,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::CookedV1 => "linux_cooked_v1",
            Self::CookedV2 => "linux_cooked_v2",
            Self::RawIp => "raw_ip",
        }
    }

    /// Source MAC, EtherType and the rest of what is no Ethernet frame.
    fn uncook(self, bytes: &[u8]) -> Option<(Option<Mac>, u16, &[u8])> {
        let half = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?));
        let source = |len: usize, at: usize| {
            let mac = bytes.get(at..).and_then(|rest| rest.first_chunk::<6>());
            mac.filter(|_| len == 6).map(|mac| Mac(*mac))
        };
        Some(match self {
            Self::Ethernet => {
                let mac = source(6, 6);
                (mac, half(ADDRESSES)?, bytes.get(ethernet::HEADER_LEN..)?)
            }
            Self::CookedV1 => (source(usize::from(half(4)?), 6), half(14)?, bytes.get(16..)?),
            Self::CookedV2 => {
                (source(usize::from(*bytes.get(11)?), 12), half(0)?, bytes.get(20..)?)
            }
            Self::RawIp => (None, ethernet::TYPE_IPV4, bytes),
        })
    }
}

/// A frame that the parser took.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pub(super) source: Option<Mac>,
    pub(super) destination: Option<Mac>,
    pub(super) vlans: VlanStack,
    pub(super) body: Body<'a>,
    pub(super) oddities: Oddities,
    /// The checksum that is wrong and was not judged.
    pub(super) unjudged: Option<Discard>,
}

/// What became of a frame.
#[derive(Debug)]
pub(super) enum Verdict<'a> {
    Dhcp(Taken<'a>, Datagram<'a>),
    Arp(Taken<'a>, Arp),
    /// By all that can be seen of it, a DHCP message.
    Refused(Discard, Sketch),
    /// Anything else.
    Other(Discard, Sketch),
}

/// Reads frames; `ignore_checksums` takes those too whose checksums were left to hardware.
#[derive(Debug)]
pub(super) struct Reader {
    ignore_checksums: bool,
    /// A frame with its IPv4 checksum put right.
    mended: Vec<u8>,
}

impl Reader {
    pub(super) const fn new(ignore_checksums: bool) -> Self {
        Self { ignore_checksums, mended: Vec::new() }
    }

    pub(super) fn read<'a>(
        &'a mut self,
        medium: Medium,
        bytes: &'a [u8],
        wire_len: usize,
    ) -> Verdict<'a> {
        let taken = match take(medium, bytes, wire_len, true) {
            Err(why @ (Discard::IpChecksum | Discard::UdpChecksum)) if self.ignore_checksums => {
                self.unjudged(medium, bytes, wire_len, why)
            }
            other => other,
        };
        match taken {
            Ok(taken) => match taken.body {
                Body::Dhcp(datagram) => Verdict::Dhcp(taken, datagram),
                Body::Arp(arp) => Verdict::Arp(taken, arp),
            },
            Err(why) => {
                let sketch = Sketch::of(medium, bytes);
                if sketch.is_dhcp() {
                    Verdict::Refused(why, sketch)
                } else {
                    Verdict::Other(why, sketch)
                }
            }
        }
    }

    fn unjudged<'a>(
        &'a mut self,
        medium: Medium,
        bytes: &'a [u8],
        wire_len: usize,
        why: Discard,
    ) -> Result<Taken<'a>, Discard> {
        let mut read = bytes;
        if why == Discard::IpChecksum {
            self.mended.clear();
            self.mended.extend_from_slice(bytes);
            let header = Sketch::of(medium, bytes).ip_header;
            let header = header.and_then(|(at, len)| self.mended.get_mut(at..at + len));
            let header = header.filter(|header| header.len() >= ipv4::HEADER_LEN).ok_or(why)?;
            header[10..12].fill(0);
            let checksum = !ipv4::fold(ipv4::sum(header));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            read = &self.mended;
        }
        let taken = take(medium, read, wire_len, false)?;
        Ok(Taken { unjudged: Some(why), ..taken })
    }
}

/// The parser's word; for other media than Ethernet, that of its parts.
fn take(
    medium: Medium,
    bytes: &[u8],
    wire_len: usize,
    judge_checksum: bool,
) -> Result<Taken<'_>, Discard> {
    if medium == Medium::Ethernet {
        let meta = Meta { checksum_ready: judge_checksum, ..Meta::plain(wire_len) };
        let packet = wire::parse(Frame { bytes, meta })?;
        return Ok(Taken {
            source: Some(packet.link.source),
            destination: Some(packet.link.destination),
            vlans: packet.link.vlans,
            body: packet.body,
            oddities: packet.oddities,
            unjudged: None,
        });
    }
    if wire_len > bytes.len() {
        return Err(Discard::CutFrame);
    }
    let (source, ether_type, rest) = medium.uncook(bytes).ok_or(Discard::RuntFrame)?;
    let (vlans, ether_type, rest) = vlan::parse(None, ether_type, rest)?;
    let mut oddities = Oddities::NONE;
    let body = match ether_type {
        ethernet::TYPE_ARP | ethernet::TYPE_IPV4 if rest.len() > MAXIMUM_PAYLOAD => {
            return Err(Discard::JumboFrame);
        }
        ethernet::TYPE_ARP => Body::Arp(arp::parse(rest)?),
        ethernet::TYPE_IPV4 => Body::Dhcp(dhcp::parse_ipv4(rest, judge_checksum, &mut oddities)?),
        _ => return Err(Discard::EtherType),
    };
    Ok(Taken { source, destination: None, vlans, body, oddities, unjudged: None })
}

/// What can be seen of a frame without judging it: each part may be missing or wrong.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    pub(super) source: Option<Mac>,
    pub(super) destination: Option<Mac>,
    pub(super) vids: Vec<u16>,
    pub(super) ether_type: Option<u16>,
    /// Where the IPv4 header is, and how long it says that it is.
    ip_header: Option<(usize, usize)>,
    /// Source and destination.
    pub(super) addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    pub(super) protocol: Option<u8>,
    /// Source and destination.
    pub(super) ports: Option<(u16, u16)>,
    /// Transaction identifier and hardware address.
    pub(super) bootp: Option<(u32, Mac)>,
}

impl Sketch {
    pub(super) fn of(medium: Medium, bytes: &[u8]) -> Self {
        let mut sketch = Self::default();
        // What is missing is left out.
        let _ = sketch.fill(medium, bytes);
        sketch
    }

    /// Reads as far as there is something: `None` only ends it.
    fn fill(&mut self, medium: Medium, bytes: &[u8]) -> Option<()> {
        if medium == Medium::Ethernet {
            self.destination = Some(Mac(*bytes.first_chunk::<6>()?));
        }
        let (source, mut ether_type, mut rest) = medium.uncook(bytes)?;
        self.source = source;
        while TAGS.contains(&ether_type) {
            let ([a, b, c, d], after) = rest.split_first_chunk::<4>()?;
            self.vids.push(u16::from_be_bytes([*a, *b]) & 0x0fff);
            (ether_type, rest) = (u16::from_be_bytes([*c, *d]), after);
        }
        self.ether_type = Some(ether_type);
        if ether_type != ethernet::TYPE_IPV4 {
            return None;
        }
        let head = rest.first_chunk::<{ ipv4::HEADER_LEN }>()?;
        let header_len = usize::from(head[0] & 0x0f) * 4;
        self.ip_header = Some((bytes.len() - rest.len(), header_len));
        let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
        self.addresses = Some((address(12), address(16)));
        self.protocol = Some(head[9]);
        let offset = u16::from_be_bytes([head[6], head[7]]) & 0x1fff;
        if head[9] != ipv4::PROTOCOL_UDP || offset != 0 {
            return None;
        }
        let (ports, payload) =
            rest.get(header_len..)?.split_first_chunk::<{ udp::HEADER_LEN }>()?;
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        self.ports = Some((port(0), port(2)));
        let bootp = payload.first_chunk::<BOOTP_HEAD>().filter(|_| self.is_dhcp())?;
        let [.., a, b, c, d, e, f] = *bootp;
        let xid = u32::from_be_bytes([bootp[4], bootp[5], bootp[6], bootp[7]]);
        self.bootp = Some((xid, Mac([a, b, c, d, e, f])));
        Some(())
    }

    /// Sent to a DHCP port.
    fn is_dhcp(&self) -> bool {
        matches!(self.ports, Some((_, udp::SERVER_PORT | udp::CLIENT_PORT)))
    }
}
