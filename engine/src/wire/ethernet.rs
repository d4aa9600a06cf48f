//! Ethernet II headers.

use super::{Discard, Link, NoRoom, be16};
use std::fmt;
use std::str::FromStr;

/// EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// Length of an untagged header, in bytes.
pub const HEADER_LEN: usize = 14;

/// A 48-bit MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// All zeros: "not known", as ARP requests have it.
    pub const ZERO: Self = Self([0; 6]);

    /// True for group addresses, broadcast included: they can never be a source.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The address `offset` further on, counting through all 48 bits; `None` past the last one.
    #[must_use]
    pub fn checked_add(self, offset: u64) -> Option<Self> {
        let sum = self.to_u64().checked_add(offset)?;
        (sum < 1 << 48).then(|| Self::from_u64(sum))
    }

    /// The address as a number below 2^48.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address that the lower 48 bits of `value` spell.
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six hexadecimal pairs joined by `:` or `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: six pairs of hexadecimal digits are wanted, as in 02:00:00:00:00:01")]
pub struct MacSyntax;

impl FromStr for Mac {
    type Err = MacSyntax;
    fn from_str(text: &str) -> Result<Self, MacSyntax> {
        let mut mac = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut mac {
            let part = parts.next().ok_or(MacSyntax)?;
            let hex = part.bytes().all(|c| c.is_ascii_hexdigit()) && part.len() == 2;
            *byte = hex.then(|| u8::from_str_radix(part, 16).ok()).flatten().ok_or(MacSyntax)?;
        }
        if parts.next().is_some() { Err(MacSyntax) } else { Ok(Self(mac)) }
    }
}

/// The fixed part of an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination MAC.
    pub destination: Mac,
    /// Source MAC.
    pub source: Mac,
    /// EtherType of what follows, which may be a VLAN tag.
    pub ether_type: u16,
}

/// Splits a frame into its header and the rest.
///
/// # Errors
/// [`Discard::RuntFrame`] if there is no whole header.
pub fn parse(bytes: &[u8]) -> Result<(Header, &[u8]), Discard> {
    let Some((head, rest)) = bytes.split_at_checked(HEADER_LEN) else {
        return Err(Discard::RuntFrame);
    };
    let mac = |at: usize| {
        Mac([head[at], head[at + 1], head[at + 2], head[at + 3], head[at + 4], head[at + 5]])
    };
    Ok((Header { destination: mac(0), source: mac(6), ether_type: be16(head, 12) }, rest))
}

/// Writes the header with its tags and returns its length: 14, 18 or 22 bytes.
///
/// # Errors
/// [`NoRoom`] if the slot is shorter than that.
pub fn emit(link: &Link, ether_type: u16, slot: &mut [u8]) -> Result<usize, NoRoom> {
    let len = HEADER_LEN + 4 * link.vlans.len();
    let head = slot.get_mut(..len).ok_or(NoRoom)?;
    head[..6].copy_from_slice(&link.destination.0);
    head[6..12].copy_from_slice(&link.source.0);
    let mut at = 12;
    for tag in link.vlans.tags() {
        head[at..at + 2].copy_from_slice(&tag.tpid.to_be_bytes());
        head[at + 2..at + 4].copy_from_slice(&tag.tci.to_be_bytes());
        at += 4;
    }
    head[at..at + 2].copy_from_slice(&ether_type.to_be_bytes());
    Ok(len)
}
