//! Ranges of MAC addresses, and the ones that are used where none were asked for.

use std::fmt;

use lessee_engine::wire::ethernet::Mac;

/// First byte of derived addresses: unicast, locally administered (IEEE 802 8.2.2).
const LOCAL: u8 = 0x02;
/// The same for probes: another range, so that a probe is never in the way of a lease.
const LOCAL_PROBE: u8 = 0x06;

/// Consecutive MAC addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MacRange {
    pub(crate) first: Mac,
    pub(crate) last: Mac,
}

impl MacRange {
    /// `count` addresses from `first` on. They stay under its first byte, which says whether they
    /// are unicast and locally administered.
    pub(crate) fn new(first: Mac, count: u32) -> anyhow::Result<Self> {
        let more = u64::from(count.saturating_sub(1));
        match first.checked_add(more).filter(|last| last.0[0] == first.0[0]) {
            Some(last) => Ok(Self { first, last }),
            None => {
                let [byte, ..] = first.0;
                let room = (1_u64 << 40) - (first.to_u64() & ((1 << 40) - 1));
                anyhow::bail!(
                    "{count} leases do not fit the MAC addresses from {first} on: only {room} are \
                     left that begin with {byte:02x}; choose a lower --mac-base, like \
                     {byte:02x}:00:00:00:00:00, or fewer leases"
                )
            }
        }
    }

    /// The `n`-th address of the range, from 0.
    pub(crate) fn get(self, n: u32) -> Mac {
        // In range by construction.
        self.first.checked_add(u64::from(n)).unwrap_or(self.last)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for MacRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{} to {}", self.first, self.last)
        }
    }
}

/// The MAC of probes on an interface: always the same, so that a server holds at most one offer.
pub(crate) fn of_probe(interface: [u8; 6]) -> Mac {
    let [_, _, _, a, b, c, d, e] = hash(b"probe", interface).to_be_bytes();
    Mac([LOCAL_PROBE, a, b, c, d, e])
}

/// The MAC of a single lease on an interface: always the same, so that it gets its address back.
pub(crate) fn of_lease(interface: [u8; 6]) -> Mac {
    let [_, _, _, a, b, c, d, e] = hash(b"lease", interface).to_be_bytes();
    Mac([LOCAL, a, b, c, d, e])
}

/// The first MAC of many on an interface: room for 16,777,216, more than a process can hold.
pub(crate) fn base_of_many(interface: [u8; 6]) -> Mac {
    let [.., a, b] = hash(b"many", interface).to_be_bytes();
    Mac([LOCAL, a, b, 0, 0, 0])
}

/// FNV-1a with 64 bits, and a last round to mix the upper bits down: stable for ever, since
/// servers remember what comes of it.
fn hash(purpose: &[u8], interface: [u8; 6]) -> u64 {
    let bytes = purpose.iter().chain(&interface);
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (sum ^ (sum >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(text: &str) -> Mac {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_counts_through_its_bytes_and_ends_with_them() {
        let range = MacRange::new(mac("02:00:00:00:00:fe"), 4).unwrap();
        assert_eq!(range.get(2), mac("02:00:00:00:01:00"));
        assert_eq!(range.to_string(), "02:00:00:00:00:fe to 02:00:00:00:01:01");
        assert!(MacRange::new(mac("02:ff:ff:ff:ff:00"), 256).is_ok());
        let error = MacRange::new(mac("02:ff:ff:ff:ff:00"), 257).unwrap_err().to_string();
        assert!(error.contains("only 256 are left"), "{error}");
        assert!(MacRange::new(mac("fe:ff:ff:ff:ff:ff"), 2).is_err());
    }

    #[test]
    fn ranges_overlap_at_their_ends() {
        let range = |first, count| MacRange::new(mac(first), count).unwrap();
        let one = range("02:00:00:00:00:10", 16);
        assert!(one.overlaps(range("02:00:00:00:00:1f", 1)));
        assert!(one.overlaps(range("02:00:00:00:00:00", 17)));
        assert!(!one.overlaps(range("02:00:00:00:00:20", 1)));
        assert!(!one.overlaps(range("02:00:00:00:00:00", 16)));
    }

    #[test]
    fn derived_addresses_are_local_unicast_stable_and_apart() {
        let interface = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
        let (probe, lease, many) =
            (of_probe(interface), of_lease(interface), base_of_many(interface));
        for mac in [probe, lease, many] {
            assert!(!mac.is_multicast() && mac.0[0] & 2 == 2, "{mac}");
        }
        assert_ne!(probe, lease);
        assert_eq!(lease, of_lease(interface));
        assert_ne!(lease, of_lease([0x52, 0x54, 0, 0x12, 0x34, 0x57]));
        // Servers remember it: this must never change.
        assert_eq!(lease, mac("02:24:bf:33:e1:ab"));
    }
}
