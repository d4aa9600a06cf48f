//! IPv4 headers (RFC 791) and the Internet checksum (RFC 1071).

use super::{Discard, NoRoom, be16};
use std::net::Ipv4Addr;

/// Length of the header that we write, which has no options.
pub const HEADER_LEN: usize = 20;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Time to live of what we send: RFC 1340's recommended default.
const TTL: u8 = 64;

/// What the rest of a packet needs to know of its IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
}

/// Checks the header and returns it with exactly the bytes of its UDP payload: a trailer, such as
/// Ethernet padding, is cut off. Options are skipped.
///
/// # Errors
/// The named reason for the refusal.
pub fn parse(bytes: &[u8]) -> Result<(Header, &[u8]), Discard> {
    let first = *bytes.first().ok_or(Discard::RuntFrame)?;
    if first >> 4 != 4 {
        return Err(Discard::IpVersion);
    }
    if bytes.len() < HEADER_LEN {
        return Err(Discard::RuntFrame);
    }
    let header_len = usize::from(first & 0x0f) * 4;
    let total_len = usize::from(be16(bytes, 2));
    if header_len < HEADER_LEN || total_len < header_len || total_len > bytes.len() {
        return Err(Discard::IpLength);
    }
    let header = &bytes[..header_len];
    if fold(sum(header)) != 0xffff {
        return Err(Discard::IpChecksum);
    }
    // More-fragments flag or an offset.
    if be16(header, 6) & 0x3fff != 0 {
        return Err(Discard::IpFragment);
    }
    if header[9] != PROTOCOL_UDP {
        return Err(Discard::NotUdp);
    }
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let parsed = Header { source: address(12), destination: address(16) };
    Ok((parsed, &bytes[header_len..total_len]))
}

/// Writes a header for a UDP payload of `payload_len` bytes.
///
/// # Errors
/// [`NoRoom`] if the slot is shorter than the header or the packet longer than 65,535 bytes.
pub fn emit(header: &Header, payload_len: usize, slot: &mut [u8]) -> Result<(), NoRoom> {
    let total_len = u16::try_from(HEADER_LEN + payload_len).map_err(|_| NoRoom)?;
    let out = slot.get_mut(..HEADER_LEN).ok_or(NoRoom)?;
    out[..2].copy_from_slice(&[0x45, 0]);
    out[2..4].copy_from_slice(&total_len.to_be_bytes());
    // Identification 0 is right for a packet that is never fragmented (RFC 6864 4.1), which
    // don't-fragment makes sure of.
    out[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
    out[8..12].copy_from_slice(&[TTL, PROTOCOL_UDP, 0, 0]);
    out[12..16].copy_from_slice(&header.source.octets());
    out[16..20].copy_from_slice(&header.destination.octets());
    let checksum = !fold(sum(out));
    out[10..12].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// The ones' complement sum of the 16-bit words of `bytes`, an odd last byte padded with zero
/// (RFC 1071 section 1). Sums may be added up; [`fold`] ends them.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    // Summed in words of 64 bits in the machine's own byte order, the carries added back in: by
    // RFC 1071 section 2 (B) and (C) only the result needs its bytes in order.
    let add = |total: u64, word: u64| {
        let (total, carry) = total.overflowing_add(word);
        total + u64::from(carry)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let total = words.iter().fold(0, |total, word| add(total, u64::from_ne_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    u64::from(u16::from_be(fold(add(total, u64::from_ne_bytes(last)))))
}

/// Folds a sum into 16 bits; 0xffff over data that includes a right checksum.
#[must_use]
pub const fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    total as u16
}
