//! UDP headers (RFC 768).

use super::ipv4::{self, fold, sum};
use super::{Discard, NoRoom, be16};

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 8;
/// The DHCP server's port, which relay agents listen on as well.
pub const SERVER_PORT: u16 = 67;
/// The DHCP client's port.
pub const CLIENT_PORT: u16 = 68;

/// Source and destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port: servers may send from any (RFC 2131 4.1 speaks of destination ports only).
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

/// Checks the header and returns it with its payload. `judge` is false where the sender left the
/// checksum to hardware that the frame never met.
///
/// # Errors
/// [`Discard::UdpLength`] or [`Discard::UdpChecksum`].
pub fn parse<'a>(
    ip: &ipv4::Header,
    bytes: &'a [u8],
    judge: bool,
) -> Result<(Header, &'a [u8]), Discard> {
    if bytes.len() < HEADER_LEN {
        return Err(Discard::UdpLength);
    }
    let len = usize::from(be16(bytes, 4));
    if len < HEADER_LEN || len > bytes.len() {
        return Err(Discard::UdpLength);
    }
    let datagram = &bytes[..len];
    // RFC 768: a checksum of zero means that the sender made none.
    if judge && be16(datagram, 6) != 0 && fold(pseudo(ip, len) + sum(datagram)) != 0xffff {
        return Err(Discard::UdpChecksum);
    }
    let header = Header { source: be16(datagram, 0), destination: be16(datagram, 2) };
    Ok((header, &datagram[HEADER_LEN..]))
}

/// Writes the header in front of a payload that is already in `datagram` behind its first eight
/// bytes.
///
/// # Errors
/// [`NoRoom`] if there is no room for the header or the datagram is longer than 65,535 bytes.
pub fn emit(ip: &ipv4::Header, header: Header, datagram: &mut [u8]) -> Result<(), NoRoom> {
    let len = u16::try_from(datagram.len()).map_err(|_| NoRoom)?;
    let out = datagram.get_mut(..HEADER_LEN).ok_or(NoRoom)?;
    out[..2].copy_from_slice(&header.source.to_be_bytes());
    out[2..4].copy_from_slice(&header.destination.to_be_bytes());
    out[4..6].copy_from_slice(&len.to_be_bytes());
    out[6..8].copy_from_slice(&[0, 0]);
    let checksum = match !fold(pseudo(ip, usize::from(len)) + sum(datagram)) {
        // RFC 768: a checksum that computes to zero is sent as all ones.
        0 => 0xffff,
        checksum => checksum,
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// Sum of the pseudo header: addresses, protocol, length.
fn pseudo(ip: &ipv4::Header, len: usize) -> u64 {
    sum(&ip.source.octets())
        + sum(&ip.destination.octets())
        + u64::from(ipv4::PROTOCOL_UDP)
        + len as u64
}
