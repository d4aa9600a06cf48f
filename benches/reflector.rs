//! A server without any lease logic: an answer is a template with a few fields written over.
//!
//! It knows untagged requests whose option 53 comes first, as ours do, and answers DISCOVER with an
//! OFFER and REQUEST with an ACK. The address follows from the MAC, so that nothing is remembered.

use lessee_engine::wire::dhcp::{MessageType, Op, Outgoing};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::udp::{CLIENT_PORT, SERVER_PORT};
use lessee_engine::wire::vlan::VlanStack;
use lessee_engine::wire::{Link, Transmit, TransmitBody, emit, ipv4};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of every frame: an untagged DHCP message of 300 bytes.
pub const FRAME: usize = 342;
/// The server's MAC.
pub const SERVER_MAC: Mac = Mac([0x02, 0x53, 0, 0, 0, 1]);
/// The server's address and identifier.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Where things lie in an untagged frame.
pub mod at {
    /// IPv4 header.
    pub const IP: usize = 14;
    /// Its checksum.
    pub const IP_SUM: usize = 24;
    /// Its destination.
    pub const IP_TO: usize = 30;
    /// UDP header.
    pub const UDP: usize = 34;
    /// Its checksum.
    pub const UDP_SUM: usize = 40;
    /// Transaction identifier.
    pub const XID: usize = 46;
    /// "Your" address.
    pub const YIADDR: usize = 58;
    /// The client's hardware address.
    pub const CHADDR: usize = 70;
    /// The value of option 53.
    pub const TYPE: usize = 284;
}

/// Options 3, 6 and 15 in wire form. With 53, 54, 51, 58, 59 and 1 an answer has nine.
const MORE: [u8; 25] = *b"\x03\x04\x0a\x00\x00\x01\x06\x04\x0a\x00\x00\x01\x0f\x0blab.example";

/// A server's answer with nine options in 300 bytes.
#[must_use]
pub fn answer(kind: MessageType, xid: u32, client: Mac) -> Outgoing<'static> {
    let mut message = Outgoing::new(Op::Reply, kind, xid, client);
    message.yiaddr = address(client);
    message.server_id = Some(SERVER);
    message.lease_time = Some(86_400);
    message.renewal_time = Some(43_200);
    message.rebinding_time = Some(75_600);
    message.subnet_mask = Some(Ipv4Addr::new(255, 0, 0, 0));
    message.more = &MORE;
    message
}

/// The answer in a frame to the client.
#[must_use]
pub fn packet(kind: MessageType, xid: u32, client: Mac, vlans: VlanStack) -> Transmit<'static> {
    Transmit {
        link: Link { destination: client, source: SERVER_MAC, vlans },
        body: TransmitBody::Dhcp {
            source: SocketAddrV4::new(SERVER, SERVER_PORT),
            destination: SocketAddrV4::new(address(client), CLIENT_PORT),
            message: answer(kind, xid, client),
        },
    }
}

/// The address of a client: 10.0.0.0/8 with the end of its MAC, from 10.1.0.0 on.
fn address(client: Mac) -> Ipv4Addr {
    let [.., a, b, c] = client.0;
    let number = u32::from_be_bytes([0, a, b, c]);
    Ipv4Addr::from(0x0a00_0000 | (number.wrapping_add(0x0001_0000) & 0x00ff_ffff))
}

/// The template, and the sums over what stays the same in it.
#[derive(Debug)]
pub struct Reflector {
    template: [u8; FRAME],
    ip_sum: u64,
    udp_sum: u64,
}

impl Default for Reflector {
    fn default() -> Self {
        let mut template = [0; FRAME];
        let packet = packet(MessageType::Other(0), 0, Mac::ZERO, VlanStack::NONE);
        // It fits: that is what FRAME is.
        let _len = emit(&packet, &mut template);
        for (start, len) in [(at::IP_SUM, 2), (at::IP_TO, 4), (at::UDP_SUM, 2), (at::YIADDR, 4)] {
            template[start..start + len].fill(0);
        }
        let datagram = &template[at::UDP..];
        let pseudo = ipv4::sum(&SERVER.octets()) + 17 + datagram.len() as u64;
        let udp_sum = pseudo + ipv4::sum(datagram);
        Self { template, ip_sum: ipv4::sum(&template[at::IP..at::UDP]), udp_sum }
    }
}

impl Reflector {
    /// Writes the answer to `request` into `slot`, with right checksums; `None` if it deserves none
    /// or the slot is too short.
    pub fn answer(&self, request: &[u8], slot: &mut [u8]) -> Option<usize> {
        if request.len() != FRAME {
            return None;
        }
        let kind = match request[at::TYPE] {
            1 => 2,
            3 => 5,
            _ => return None,
        };
        let out = slot.first_chunk_mut::<FRAME>()?;
        *out = self.template;
        let client = request[at::CHADDR..].first_chunk::<6>()?;
        let yiaddr = address(Mac(*client)).octets();
        out[..6].copy_from_slice(client);
        out[at::XID..at::XID + 4].copy_from_slice(&request[at::XID..at::XID + 4]);
        out[at::YIADDR..at::YIADDR + 4].copy_from_slice(&yiaddr);
        out[at::CHADDR..at::CHADDR + 6].copy_from_slice(client);
        out[at::IP_TO..at::IP_TO + 4].copy_from_slice(&yiaddr);
        out[at::TYPE] = kind;
        let varies = ipv4::sum(&yiaddr);
        let ip = !ipv4::fold(self.ip_sum + varies);
        out[at::IP_SUM..at::IP_SUM + 2].copy_from_slice(&ip.to_be_bytes());
        // yiaddr counts twice: in the message and as the destination. The transaction identifier
        // and chaddr begin at an even place, and so does option 53's value.
        let varies = 2 * varies
            + ipv4::sum(&request[at::XID..at::XID + 4])
            + ipv4::sum(client)
            + (u64::from(kind) << 8);
        let udp = !ipv4::fold(self.udp_sum + varies);
        // RFC 768: zero would say that there is none.
        let udp = if udp == 0 { 0xffff } else { udp };
        out[at::UDP_SUM..at::UDP_SUM + 2].copy_from_slice(&udp.to_be_bytes());
        Some(FRAME)
    }
}
