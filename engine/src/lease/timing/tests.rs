//! Back-off, renewal waits and lease schedules against RFC 2131's numbers.

use super::*;
use proptest::prelude::*;

const FUZZ: [u16; 3] = [0, 40_000, u16::MAX];

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn waits_double_from_4_to_64_seconds_and_spread_evenly_by_a_second_either_way() {
    let plan = Retransmission::default();
    for (sent, middle) in
        [(1, 4.0), (2, 8.0), (3, 16.0), (4, 32.0), (5, 64.0), (6, 64.0), (255, 64.0)]
    {
        let waits: Vec<f64> = (0..2000)
            .map(|seed| plan.wait(sent, &mut Random::new(seed)).as_secs_f64() - middle)
            .collect();
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        assert!(waits.iter().all(|off| off.abs() <= 1.0), "{sent}");
        // The mean of 2,000 uniform values: a standard deviation of 0.013.
        assert!(mean.abs() < 0.06, "{sent}: {mean}");
        assert!(waits.iter().any(|off| *off < -0.98) && waits.iter().any(|off| *off > 0.98));
        let early = waits.iter().filter(|off| **off < -0.5).count();
        assert!((400..=600).contains(&early), "{sent}: {early}");
    }
}

#[test]
fn a_short_first_wait_never_becomes_none() {
    let plan = Retransmission { first: millis(500), ..Retransmission::default() };
    assert!((0..500).all(|seed| plan.wait(1, &mut Random::new(seed)) >= millis(250)));
    let none = Retransmission { first: Duration::ZERO, ..Retransmission::default() };
    assert!((0..500).all(|seed| !none.wait(1, &mut Random::new(seed)).is_zero()));
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn renewals_wait_half_of_what_is_left_and_at_least_a_minute() {
    let plan = Retransmission::default();
    for (left, wait) in
        [(1000, 500), (200, 100), (120, 60), (119, 60), (61, 60), (60, 60), (59, 59)]
    {
        let (left, wait) = (Duration::from_secs(left), Duration::from_secs(wait));
        assert_eq!(plan.renewal_wait(left), wait, "{left:?}");
    }
}

#[test]
fn naks_pause_not_at_all_then_a_second_doubling_to_five_minutes() {
    let mut random = Random::new(7);
    assert_eq!(nak_pause(0, &mut random), Duration::ZERO);
    assert_eq!(nak_pause(1, &mut random), Duration::ZERO);
    for (naks, longest) in
        [(2, 1), (3, 2), (4, 4), (5, 8), (9, 128), (10, 256), (11, 300), (12, 300), (255, 300)]
    {
        let longest = Duration::from_secs(longest);
        let pauses: Vec<Duration> = (0..500).map(|_| nak_pause(naks, &mut random)).collect();
        assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{naks}");
        assert!(pauses.iter().any(|pause| *pause < longest * 11 / 20), "{naks}");
        assert!(pauses.iter().any(|pause| *pause > longest * 19 / 20), "{naks}");
    }
}

/// T1 and T2 in seconds without fuzz.
fn times(lease: u32, t1: Option<u32>, t2: Option<u32>) -> (f64, f64) {
    let plan = schedule(lease, t1, t2, 0);
    assert_eq!(plan.expiry, Some(Duration::from_secs(u64::from(lease))));
    (plan.t1.unwrap().as_secs_f64(), plan.t2.unwrap().as_secs_f64())
}

#[test]
fn absent_times_default_and_sound_ones_are_kept() {
    assert_eq!(times(800, None, None), (400.0, 700.0));
    assert_eq!(times(800, Some(10), Some(20)), (10.0, 20.0));
    assert_eq!(times(800, Some(10), None), (10.0, 700.0));
    assert_eq!(times(800, None, Some(500)), (400.0, 500.0));
    assert_eq!(times(800, Some(799), None), (400.0, 700.0));
    assert_eq!(times(1, None, None), (0.5, 0.875));
    assert_eq!(times(2, Some(1), None), (1.0, 1.75));
}

#[test]
fn nonsense_is_put_right() {
    // zero
    assert_eq!(times(800, Some(0), Some(0)), (400.0, 700.0));
    // T1 at or behind T2
    assert_eq!(times(800, Some(600), Some(600)), (400.0, 600.0));
    assert_eq!(times(800, Some(700), Some(600)), (400.0, 600.0));
    // T2 at or behind the end
    assert_eq!(times(800, Some(10), Some(800)), (10.0, 700.0));
    assert_eq!(times(800, Some(10), Some(u32::MAX)), (10.0, 700.0));
    assert_eq!(times(800, Some(u32::MAX), Some(u32::MAX)), (400.0, 700.0));
    // the default T1 is not before the server's T2: the same proportion of T2
    assert_eq!(times(800, None, Some(70)), (40.0, 70.0));
    assert_eq!(times(800, Some(0), Some(70)), (40.0, 70.0));
}

#[test]
fn an_infinite_lease_has_no_deadlines_and_the_next_shorter_one_has() {
    let none = Schedule { t1: None, t2: None, expiry: None };
    assert_eq!(schedule(INFINITE, Some(10), Some(20), 99), none);
    let (t1, t2) = times(u32::MAX - 1, None, None);
    assert!((t1 - 2_147_483_647.0).abs() < 1.0 && (t2 - 3_758_096_382.25).abs() < 1.0);
}

#[test]
fn the_fuzz_is_0_to_minus_10_percent_and_never_late() {
    for (fuzz, share) in [(0, 1.0), (u16::MAX / 2, 0.95), (u16::MAX, 0.9)] {
        let plan = schedule(80_000, None, None, fuzz);
        for (time, whole) in [(plan.t1, 40_000.0), (plan.t2, 70_000.0)] {
            let time = time.unwrap().as_secs_f64();
            assert!((time / whole - share).abs() < 0.0001 && time <= whole, "{fuzz} {time}");
        }
        // The end of the lease is the server's to set.
        assert_eq!(plan.expiry, Some(s(80_000.0)));
    }
}

fn seconds() -> impl Strategy<Value = u32> {
    prop_oneof![1u32..10, 1u32..100_000, Just(u32::MAX - 1), any::<u32>()]
}

proptest! {
    #[test]
    fn t1_is_before_t2_and_t2_before_the_end_whatever_the_server_says(
        lease in seconds(),
        t1 in prop::option::of(seconds()),
        t2 in prop::option::of(seconds()),
        fuzz: u16,
    ) {
        prop_assume!(lease != 0 && lease != INFINITE);
        for fuzz in FUZZ.into_iter().chain([fuzz]) {
            let plan = schedule(lease, t1, t2, fuzz);
            let (at1, at2, end) = (plan.t1.unwrap(), plan.t2.unwrap(), plan.expiry.unwrap());
            prop_assert!(!at1.is_zero() && at1 < at2 && at2 < end, "{:?}", plan);
            let plain = schedule(lease, t1, t2, 0);
            prop_assert!(at1 <= plain.t1.unwrap() && at1 >= plain.t1.unwrap() / 10 * 9);
            prop_assert!(at2 <= plain.t2.unwrap() && at2 >= plain.t2.unwrap() / 10 * 9);
            prop_assert_eq!(Some(end), plain.expiry);
        }
    }

    #[test]
    fn a_wait_stays_in_its_bounds_whatever_is_configured(
        first: u64, longest: u64, jitter: u64, sent: u8, seed: u32,
    ) {
        let plan = Retransmission {
            first: Duration::from_secs(first),
            longest: Duration::from_secs(longest),
            jitter: Duration::from_nanos(jitter),
            ..Retransmission::default()
        };
        let wait = plan.wait(sent, &mut Random::new(seed));
        prop_assert!(!wait.is_zero());
        prop_assert!(wait <= plan.longest.saturating_mul(2).max(SHORTEST * 2));
    }

    #[test]
    fn a_renewal_wait_never_delays_the_end_of_the_state(left: u64, floor: u64) {
        let plan = Retransmission {
            renewal_floor: Duration::from_nanos(floor),
            ..Retransmission::default()
        };
        let left = Duration::from_nanos(left);
        let wait = plan.renewal_wait(left);
        prop_assert!(wait <= left && (wait >= left / 2 || wait == left));
        prop_assert!(wait >= SHORTEST.min(left));
    }
}
