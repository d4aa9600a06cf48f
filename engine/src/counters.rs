//! One counter for each thing that can happen to a packet or a lease, and the port's latencies.

use crate::lease::Ignored;
use crate::wire::{Discard, Oddity};
use hdrhistogram::Histogram;
use std::time::Duration;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of a port. All count from when the port was added.
        #[derive(Clone, Debug)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
            discards: [u64; Discard::ALL.len()],
            ignored: [u64; Ignored::ALL.len()],
            oddities: [u64; Oddity::ALL.len()],
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($name: 0,)*
                    discards: [0; Discard::ALL.len()],
                    ignored: [0; Ignored::ALL.len()],
                    oddities: [0; Oddity::ALL.len()],
                }
            }
        }

        impl Counters {
            /// Every counter with its name, refusals included: `discarded_…` for frames that
            /// were not taken for a packet, `ignored_…` for replies that changed nothing,
            /// `odd_…` for packets accepted in spite of something unusual.
            pub fn iter(&self) -> impl Iterator<Item = (String, u64)> {
                let own = [$((stringify!($name), self.$name),)*];
                own.into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .chain(Discard::ALL.iter().map(|reason| {
                        (format!("discarded_{}", reason.name()), self.discarded(*reason))
                    }))
                    .chain(Ignored::ALL.iter().map(|reason| {
                        (format!("ignored_{}", reason.name()), self.ignored(*reason))
                    }))
                    .chain(Oddity::ALL.iter().map(|oddity| {
                        (format!("odd_{}", oddity.name()), self.odd(*oddity))
                    }))
            }
        }
    };
}

counters! {
    /// Frames received, of any kind.
    frames_received,
    /// DHCP replies and ARP packets understood.
    packets_received,
    /// Frames handed to the kernel.
    frames_sent,
    /// Frames that the kernel refused.
    frames_failed,
    /// Packets too long for a transmit slot.
    frames_too_long,
    /// DISCOVERs sent, repetitions included.
    discovers_sent,
    /// REQUESTs sent in any state, repetitions included.
    requests_sent,
    /// RELEASEs sent.
    releases_sent,
    /// Messages sent again because no answer had come.
    retransmissions,
    /// ARP requests sent for a next hop.
    arp_requests_sent,
    /// ARP requests answered for addresses held.
    arp_answers_sent,
    /// ARP requests not answered because too many were waiting.
    arp_answers_dropped,
    /// OFFERs chosen.
    offers,
    /// OFFERs reported to a probe.
    offers_probed,
    /// OFFERs that a probe could not report because too many were waiting.
    offers_dropped,
    /// Leases bound from INIT.
    binds,
    /// Leases extended.
    renewals,
    /// DHCPNAKs obeyed.
    naks,
    /// Leases that ended because nobody extended them.
    expiries,
    /// Leases whose address another of our leases on the same network holds already.
    address_clashes,
}

impl Counters {
    /// Frames refused for this reason.
    #[must_use]
    pub const fn discarded(&self, reason: Discard) -> u64 {
        self.discards[reason as usize]
    }

    /// Replies ignored for this reason.
    #[must_use]
    pub const fn ignored(&self, reason: Ignored) -> u64 {
        self.ignored[reason as usize]
    }

    /// Packets accepted in spite of this.
    #[must_use]
    pub const fn odd(&self, oddity: Oddity) -> u64 {
        self.oddities[oddity as usize]
    }

    pub(crate) const fn accept(&mut self, oddity: Oddity) {
        self.oddities[oddity as usize] += 1;
    }

    pub(crate) const fn discard(&mut self, reason: Discard) {
        self.discards[reason as usize] += 1;
    }

    pub(crate) const fn ignore(&mut self, reason: Ignored) {
        self.ignored[reason as usize] += 1;
    }
}

/// The longest latency told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Latency histograms of a port, in microseconds with three significant digits, from 1 µs to an
/// hour. Each counts from the first transmission, repetitions included, so that a client which had
/// to repeat itself is not flattered.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// First DISCOVER to OFFER.
    pub discover_offer: Histogram<u32>,
    /// First REQUEST to ACK, in REQUESTING.
    pub request_ack: Histogram<u32>,
    /// First DISCOVER to ACK.
    pub acquire: Histogram<u32>,
    /// First REQUEST to ACK, in RENEWING and REBINDING.
    pub renew: Histogram<u32>,
}

impl Latencies {
    /// Empty histograms, about 400 KiB; `None` if the library refuses its own bounds.
    #[must_use]
    pub fn new() -> Option<Box<Self>> {
        let empty = || Histogram::new_with_bounds(1, LONGEST, 3).ok();
        Some(Box::new(Self {
            discover_offer: empty()?,
            request_ack: empty()?,
            acquire: empty()?,
            renew: empty()?,
        }))
    }
}

/// Adds a latency to a histogram; beyond an hour counts as an hour.
pub(crate) fn record(histogram: &mut Histogram<u32>, latency: Duration) {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST);
    histogram.saturating_record(micros.clamp(1, LONGEST));
}
