//! ARP for IPv4 over Ethernet (RFC 826).

use super::ethernet::Mac;
use super::{Discard, NoRoom, be16};
use std::net::Ipv4Addr;

/// Length of an ARP packet, in bytes.
const LEN: usize = 28;
/// Ethernet's minimum payload, in bytes (without the frame check sequence).
const MINIMUM_PAYLOAD: usize = 46;

/// ARP's operation code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has its address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: Mac,
    /// Protocol address of the sender; 0.0.0.0 in a probe (RFC 5227 section 1.1).
    pub sender_ip: Ipv4Addr,
    /// Hardware address of the target; zero where it is being asked for.
    pub target_mac: Mac,
    /// Protocol address of the target.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// The broadcast question "who has `target`?", asked by a lease.
    #[must_use]
    pub const fn request(sender_mac: Mac, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Self {
        let operation = Operation::Request;
        Self { operation, sender_mac, sender_ip, target_mac: Mac::ZERO, target_ip }
    }

    /// The answer to this request, from the owner of `mac`.
    #[must_use]
    pub const fn answer(&self, mac: Mac) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }
}

/// Reads the payload of an ARP frame; a trailer is ignored.
///
/// # Errors
/// [`Discard::RuntFrame`] if it is cut, [`Discard::ArpMalformed`] if it is not IPv4 over Ethernet.
pub fn parse(bytes: &[u8]) -> Result<Arp, Discard> {
    let arp = bytes.get(..LEN).ok_or(Discard::RuntFrame)?;
    // Hardware type 1 (Ethernet), protocol type IPv4, lengths 6 and 4.
    if arp[..6] != [0, 1, 8, 0, 6, 4] {
        return Err(Discard::ArpMalformed);
    }
    let operation = match be16(arp, 6) {
        1 => Operation::Request,
        2 => Operation::Reply,
        _ => return Err(Discard::ArpMalformed),
    };
    let mac =
        |at: usize| Mac([arp[at], arp[at + 1], arp[at + 2], arp[at + 3], arp[at + 4], arp[at + 5]]);
    let ip = |at: usize| Ipv4Addr::new(arp[at], arp[at + 1], arp[at + 2], arp[at + 3]);
    Ok(Arp {
        operation,
        sender_mac: mac(8),
        sender_ip: ip(14),
        target_mac: mac(18),
        target_ip: ip(24),
    })
}

/// Writes the packet, padded to Ethernet's minimum payload, and returns its length in bytes.
///
/// # Errors
/// [`NoRoom`] if the slot is too short.
pub fn emit(arp: &Arp, slot: &mut [u8]) -> Result<usize, NoRoom> {
    let out = slot.get_mut(..MINIMUM_PAYLOAD).ok_or(NoRoom)?;
    out[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
    let operation: u16 = match arp.operation {
        Operation::Request => 1,
        Operation::Reply => 2,
    };
    out[6..8].copy_from_slice(&operation.to_be_bytes());
    out[8..14].copy_from_slice(&arp.sender_mac.0);
    out[14..18].copy_from_slice(&arp.sender_ip.octets());
    out[18..24].copy_from_slice(&arp.target_mac.0);
    out[24..28].copy_from_slice(&arp.target_ip.octets());
    out[28..].fill(0);
    Ok(MINIMUM_PAYLOAD)
}
