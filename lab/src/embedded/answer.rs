//! One answer of the server, from the decision to its bytes.

use std::net::{Ipv4Addr, SocketAddrV4};

use lessee_engine::wire::dhcp::{ClientId, MessageType, Op, Outgoing};
use lessee_engine::wire::ethernet::{self, Mac};
use lessee_engine::wire::options::{END, PAD};
use lessee_engine::wire::vlan::{Domain, VlanStack};
use lessee_engine::wire::{Link, NoRoom, Transmit, TransmitBody, ipv4, udp};

use super::misbehave::{Deeds, Malformation};
use super::pool::Id;
use super::spec::ServerSpec;

/// Option 80 (RFC 4039).
pub(super) const RAPID_COMMIT: u8 = 80;
/// Option 82 (RFC 3046).
pub(super) const RELAY_AGENT: u8 = 82;

/// What the server found out about a request before it decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heading {
    pub(super) xid: u32,
    pub(super) broadcast: bool,
    pub(super) ciaddr: Ipv4Addr,
    pub(super) giaddr: Ipv4Addr,
    pub(super) chaddr: Mac,
    /// Where the request came from.
    pub(super) source: Mac,
    pub(super) vlans: VlanStack,
}

/// An answer on its way.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) message_type: MessageType,
    pub(super) xid: u32,
    pub(super) broadcast: bool,
    pub(super) ciaddr: Ipv4Addr,
    pub(super) yiaddr: Ipv4Addr,
    pub(super) giaddr: Ipv4Addr,
    pub(super) chaddr: Mac,
    /// Option 61, sent back as it came (RFC 6842 section 3).
    pub(super) id: Id,
    pub(super) server_id: Option<Ipv4Addr>,
    pub(super) lease_time: Option<u32>,
    pub(super) renewal_time: Option<u32>,
    pub(super) rebinding_time: Option<u32>,
    pub(super) mask: Option<Ipv4Addr>,
    /// The configured options go along.
    pub(super) options: bool,
    pub(super) rapid: bool,
    /// It answers an INFORM.
    pub(super) inform: bool,
    /// Option 82, sent back as it came (RFC 3046 2.2).
    pub(super) relay: Option<Box<[u8]>>,
    pub(super) text: &'static str,
    pub(super) malformed: Option<Malformation>,
    pub(super) link: Link,
    pub(super) destination: SocketAddrV4,
    /// The MAC of `destination` is to be found by ARP first.
    pub(super) resolve: bool,
}

impl Answer {
    /// An answer with nothing but addresses in it, sent where RFC 2131 4.1 says.
    pub(super) fn new(
        spec: &ServerSpec,
        to: &Heading,
        message_type: MessageType,
        yiaddr: Ipv4Addr,
    ) -> Self {
        let is_nak = message_type == MessageType::Nak;
        let (mac, destination, resolve) = route(spec, to, is_nak, yiaddr);
        let relayed_nak = is_nak && !to.giaddr.is_unspecified();
        // RFC 2131 table 3: ciaddr is the client's in an ACK, else 0.
        let ciaddr =
            if message_type == MessageType::Ack { to.ciaddr } else { Ipv4Addr::UNSPECIFIED };
        Self {
            message_type,
            xid: to.xid,
            // RFC 2131 4.3.2: so that the relay agent broadcasts the NAK.
            broadcast: to.broadcast || relayed_nak,
            ciaddr,
            yiaddr,
            giaddr: to.giaddr,
            chaddr: to.chaddr,
            id: Id::None,
            server_id: Some(spec.address),
            lease_time: None,
            renewal_time: None,
            rebinding_time: None,
            mask: None,
            options: false,
            rapid: false,
            inform: false,
            relay: None,
            text: "",
            malformed: None,
            link: Link { destination: mac, source: spec.mac, vlans: to.vlans },
            destination,
            resolve,
        }
    }

    /// The network that it goes to.
    pub(super) fn domain(&self) -> Domain {
        self.link.vlans.domain()
    }

    /// Makes it go wrong.
    pub(super) fn spoil(&mut self, deeds: &Deeds) {
        if deeds.wrong_server_id {
            // Another host of the same network.
            self.server_id = self.server_id.map(|id| Ipv4Addr::from(u32::from(id) ^ 2));
        }
        if deeds.missing_server_id {
            self.server_id = None;
        }
        self.xid ^= deeds.xid;
        if deeds.wrong_chaddr {
            self.chaddr = Mac::from_u64(self.chaddr.to_u64() ^ 0xff_ff00);
        }
        if deeds.no_lease_time {
            self.lease_time = None;
        }
        if deeds.zero_address {
            self.yiaddr = Ipv4Addr::UNSPECIFIED;
        }
        if let Some(id) = &deeds.foreign_client_id {
            self.id = Id::new(id);
        }
        if deeds.senseless_mask {
            self.mask = Some(Ipv4Addr::new(255, 0, 255, 0));
        }
        self.malformed = deeds.malformed;
    }

    /// Writes the frame and returns its length. `options` are the configured ones; `scratch` is
    /// overwritten.
    pub(super) fn emit(
        &self,
        server: Ipv4Addr,
        options: &[u8],
        scratch: &mut Vec<u8>,
        slot: &mut [u8],
    ) -> Result<usize, NoRoom> {
        let mut more = if self.options { options } else { &[] };
        if self.rapid || self.relay.is_some() {
            scratch.clear();
            scratch.extend_from_slice(more);
            if self.rapid {
                scratch.extend_from_slice(&[RAPID_COMMIT, 0]);
            }
            // RFC 3046 2.1: the last option.
            for piece in self.relay.iter().flat_map(|relay| relay.chunks(255)) {
                scratch.extend_from_slice(&[RELAY_AGENT, piece.len() as u8]);
                scratch.extend_from_slice(piece);
            }
            more = scratch;
        }
        let message = Outgoing {
            broadcast: self.broadcast,
            ciaddr: self.ciaddr,
            yiaddr: self.yiaddr,
            giaddr: self.giaddr,
            client_id: match self.id.as_bytes() {
                [] => ClientId::None,
                id => ClientId::Bytes(id),
            },
            server_id: self.server_id,
            lease_time: self.lease_time,
            renewal_time: self.renewal_time,
            rebinding_time: self.rebinding_time,
            subnet_mask: self.mask,
            text: self.text.as_bytes(),
            more,
            ..Outgoing::new(Op::Reply, self.message_type, self.xid, self.chaddr)
        };
        let source = SocketAddrV4::new(server, udp::SERVER_PORT);
        let body = TransmitBody::Dhcp { source, destination: self.destination, message };
        let len = lessee_engine::wire::emit(&Transmit { link: self.link, body }, slot)?;
        let Some(how) = self.malformed else { return Ok(len) };
        malform(how, ethernet::HEADER_LEN + 4 * self.link.vlans.len(), &mut slot[..len])
    }
}

/// RFC 2131 4.1, by which addresses an answer travels: MAC, address and port, and whether the MAC
/// is only where the request came from.
fn route(
    spec: &ServerSpec,
    to: &Heading,
    is_nak: bool,
    yiaddr: Ipv4Addr,
) -> (Mac, SocketAddrV4, bool) {
    let client = |address| SocketAddrV4::new(address, udp::CLIENT_PORT);
    // "to the 'DHCP server' port on the BOOTP relay agent whose address appears in 'giaddr'"
    if !to.giaddr.is_unspecified() {
        let relay = SocketAddrV4::new(to.giaddr, udp::SERVER_PORT);
        return (to.source, relay, spec.resolve_by_arp);
    }
    // "In all cases, when 'giaddr' is zero, the server broadcasts any DHCPNAK messages"
    if is_nak {
        return (Mac::BROADCAST, client(Ipv4Addr::BROADCAST), false);
    }
    // "unicasts DHCPOFFER and DHCPACK messages to the address in 'ciaddr'"
    if !to.ciaddr.is_unspecified() {
        return (to.source, client(to.ciaddr), spec.resolve_by_arp);
    }
    // "If the broadcast bit is not set … unicasts … to the client's hardware address and 'yiaddr'
    // address"
    if to.broadcast || yiaddr.is_unspecified() {
        (Mac::BROADCAST, client(Ipv4Addr::BROADCAST), false)
    } else {
        (to.chaddr, client(yiaddr), false)
    }
}

/// Spoils a frame that holds a whole message, whose IPv4 header is at `ip`. Checksums are made
/// right again, unless they are what is to be wrong: each way has one fault only.
fn malform(how: Malformation, ip: usize, frame: &mut [u8]) -> Result<usize, NoRoom> {
    let len = frame.len();
    let at_udp = ip + ipv4::HEADER_LEN;
    let at_dhcp = at_udp + udp::HEADER_LEN;
    match how {
        Malformation::Truncated => return Ok(at_dhcp + 200),
        Malformation::UdpChecksum => {
            // Never 0, which would mean that there is none.
            let wrong = u16::from_be_bytes([frame[at_udp + 6], frame[at_udp + 7]]) ^ 0x0101;
            let wrong = if wrong == 0 { 0x1010 } else { wrong };
            frame[at_udp + 6..at_dhcp].copy_from_slice(&wrong.to_be_bytes());
            return Ok(len);
        }
        Malformation::IpChecksum => {
            frame[ip + 10] ^= 0x01;
            return Ok(len);
        }
        Malformation::OptionOverrun => overrun(&mut frame[at_dhcp + 240..]),
        Malformation::BadCookie => frame[at_dhcp + 236] ^= 0xff,
        Malformation::LongHardwareAddress => frame[at_dhcp + 2] = 16,
        // Option 53 is the first one, and three bytes long.
        Malformation::NoMessageType => frame[at_dhcp + 240..at_dhcp + 243].fill(PAD),
    }
    let word = |at: usize| [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
    let header = ipv4::Header {
        source: Ipv4Addr::from(word(ip + 12)),
        destination: Ipv4Addr::from(word(ip + 16)),
    };
    let [a, b, c, d] = word(at_udp);
    let ports =
        udp::Header { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) };
    udp::emit(&header, ports, &mut frame[at_udp..])?;
    Ok(len)
}

/// Puts an option in the place of the end that claims more bytes than are left.
fn overrun(options: &mut [u8]) {
    let mut at = 0;
    while let Some(code) = options.get(at).copied() {
        match code {
            END => {
                let rest = &mut options[at..];
                rest.fill(0xfe);
                return;
            }
            PAD => at += 1,
            _ => at += 2 + usize::from(options.get(at + 1).copied().unwrap_or(0)),
        }
    }
}
