//! When to send again and when a lease ends: pure functions of RFC 2131's numbers.

use crate::random::Random;
use std::time::Duration;

/// A lease time of this many seconds never ends (RFC 2131 section 3.3).
pub const INFINITE: u32 = u32::MAX;

/// No wait is shorter than this, whatever is configured: a tick of the timing wheel.
const SHORTEST: Duration = Duration::from_millis(1);

/// How a client repeats itself (RFC 2131 section 4.1). The defaults are the RFC's; load tests may
/// shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmission {
    /// Wait after the first transmission; each later wait doubles. Default 4 s.
    pub first: Duration,
    /// The longest wait. Default 64 s.
    pub longest: Duration,
    /// Each wait is moved by a uniform random amount of up to this much either way, but by no more
    /// than half of itself. Default 1 s.
    pub jitter: Duration,
    /// DHCPREQUESTs sent for an offer before starting again at INIT. Default 4.
    pub requests: u8,
    /// The shortest wait between two requests in RENEWING or REBINDING. Default 60 s
    /// (RFC 2131 4.4.5); it never delays T2 or expiry.
    pub renewal_floor: Duration,
}

impl Default for Retransmission {
    fn default() -> Self {
        // RFC 2131 4.1: 4 s doubling to 64 s, each randomized by −1 to +1 s.
        Self {
            first: Duration::from_secs(4),
            longest: Duration::from_secs(64),
            jitter: Duration::from_secs(1),
            requests: 4,
            renewal_floor: Duration::from_secs(60),
        }
    }
}

impl Retransmission {
    /// The wait after transmission number `sent` (1 for the first).
    #[must_use]
    pub fn wait(&self, sent: u8, random: &mut Random) -> Duration {
        // RFC 2131 4.1: "randomized exponential backoff".
        let doublings = u32::from(sent.saturating_sub(1)).min(31);
        let base = self.first.saturating_mul(1 << doublings).min(self.longest);
        let base = base.max(SHORTEST);
        // More jitter than half of the wait would let a repetition follow at once.
        let span = nanos(self.jitter.min(base / 2));
        let moved = Duration::from_nanos(random.up_to(span.saturating_mul(2)));
        base.saturating_add(moved).saturating_sub(Duration::from_nanos(span))
    }

    /// The wait before the next request in RENEWING or REBINDING, with `remaining` until the
    /// state ends.
    #[must_use]
    pub fn renewal_wait(&self, remaining: Duration) -> Duration {
        // RFC 2131 4.4.5: "one-half of the remaining time … down to a minimum of 60 seconds".
        (remaining / 2).max(self.renewal_floor).max(SHORTEST).min(remaining)
    }
}

/// The pause before INIT after the `naks`-th DHCPNAK in a row without a lease in between: none
/// after the first, then random between half and all of 1 s doubling to 300 s.
#[must_use]
pub fn nak_pause(naks: u8, random: &mut Random) -> Duration {
    let Some(repeat) = naks.checked_sub(2) else {
        return Duration::ZERO;
    };
    let longest = Duration::from_secs((1u64 << repeat.min(9)).min(300));
    longest / 2 + Duration::from_nanos(random.up_to(nanos(longest / 2)))
}

/// Offsets of a lease's deadlines from its start. `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Start of RENEWING.
    pub t1: Option<Duration>,
    /// Start of REBINDING.
    pub t2: Option<Duration>,
    /// End of the lease.
    pub expiry: Option<Duration>,
}

/// Lays out a lease of `lease_time` seconds with the server's T1 and T2 (options 58 and 59).
///
/// `fuzz`, 0 to 65,535, moves T1 and T2 together by 0 to −10 %, so that leases bound in one
/// storm do not renew as one. This is the one place where senseless values are put right: an
/// absent or zero T2, or one at or behind the lease's end, becomes 0.875 of the lease; an absent or
/// zero T1, or one at or behind T2, becomes 0.5 of the lease or, if that is not before T2 either,
/// 4/7 of T2 (the same proportion).
#[must_use]
pub fn schedule(lease_time: u32, t1: Option<u32>, t2: Option<u32>, fuzz: u16) -> Schedule {
    if lease_time == INFINITE {
        // RFC 2131 section 3.3; an infinite lease needs no renewing.
        return Schedule { t1: None, t2: None, expiry: None };
    }
    let seconds = |value: u32| Duration::from_secs(u64::from(value));
    let lease = seconds(lease_time);
    // RFC 2131 4.4.5: T2 defaults to 0.875 and T1 to 0.5 of the lease; T1 MUST be earlier than
    // T2, and T2 earlier than the expiry.
    let t2 = t2.map(seconds).filter(|t2| !t2.is_zero() && *t2 < lease).unwrap_or(lease / 8 * 7);
    let t1 = t1
        .map(seconds)
        .filter(|t1| !t1.is_zero() && *t1 < t2)
        .unwrap_or_else(|| if lease / 2 < t2 { lease / 2 } else { t2 / 7 * 4 });
    let scale = |time: Duration| {
        // RFC 2131 4.4.5: T1 and T2 with "some random fuzz around a fixed value".
        let cut = nanos(time) / (10 * u64::from(u16::MAX)) * u64::from(fuzz);
        time - Duration::from_nanos(cut)
    };
    Schedule { t1: Some(scale(t1)), t2: Some(scale(t2)), expiry: Some(lease) }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
