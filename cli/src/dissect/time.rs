//! Times of captured frames, whatever a file says them to be.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// The first second of the year 10000, which RFC 3339 cannot write.
const YEAR_10000: i128 = 253_402_300_800;

/// When a frame was captured, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    seconds: i128,
    nanos: u32,
}

/// How a file counts time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Units in a second; more than 2^64 are as many as ever needed.
    per_second: u128,
    /// Seconds to be added.
    offset: i64,
}

impl Clock {
    /// `resolution` as pcapng's if_tsresol has it: a negative power of 10, or of 2 if the upper
    /// bit is set.
    pub(super) fn new(resolution: u8, offset: i64) -> Self {
        let (base, power) =
            if resolution & 0x80 == 0 { (10u128, resolution) } else { (2, resolution & 0x7f) };
        let per_second = base.checked_pow(u32::from(power)).unwrap_or(u128::MAX);
        Self { per_second, offset }
    }

    /// So many units since 1970.
    pub(super) fn units(&self, units: u64) -> Time {
        let units = u128::from(units);
        let (seconds, rest) = (units / self.per_second, units % self.per_second);
        // Both below 2^64 times 10^9.
        let nanos = rest * 1_000_000_000 / self.per_second;
        Time { seconds: seconds as i128 + i128::from(self.offset), nanos: nanos as u32 }
    }

    /// Seconds and units, which may be more than a second in a corrupt file.
    pub(super) fn split(&self, seconds: u32, units: u32) -> Time {
        let part = self.units(u64::from(units));
        Time { seconds: part.seconds + i128::from(seconds), nanos: part.nanos }
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC; seconds since 1970 behind an `@` where that has no such year.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, nanos } = *self;
        if (0..YEAR_10000).contains(&seconds) {
            let time = UNIX_EPOCH + Duration::new(seconds as u64, nanos);
            return fmt::Display::fmt(&humantime::format_rfc3339_nanos(time), f);
        }
        write!(f, "@{seconds}.{nanos:09}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resolution_is_understood() {
        let said =
            |resolution, offset, units| Clock::new(resolution, offset).units(units).to_string();
        assert_eq!(said(6, 0, 1_500_000), "1970-01-01T00:00:01.500000000Z");
        assert_eq!(said(9, 0, 1_500_000_001), "1970-01-01T00:00:01.500000001Z");
        assert_eq!(said(0, 86_400, 1), "1970-01-02T00:00:01.000000000Z");
        assert_eq!(said(0x80 | 10, 0, 1024 + 512), "1970-01-01T00:00:01.500000000Z");
        assert_eq!(said(127, 0, u64::MAX), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(said(0xff, 0, u64::MAX), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(said(0, 0, u64::MAX), "@18446744073709551615.000000000");
        assert_eq!(said(6, -1, 0), "@-1.000000000");
        assert_eq!(said(6, i64::MIN, u64::MAX), "@-9223353590110702099.551615000");
    }

    #[test]
    fn a_fraction_over_a_second_is_carried() {
        let time = Clock::new(6, 0).split(1, 2_000_001);
        assert_eq!(time.to_string(), "1970-01-01T00:00:03.000001000Z");
    }
}
