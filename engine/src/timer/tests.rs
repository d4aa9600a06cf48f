//! The wheel against a naive list of deadlines.

use super::Wheel;
use crate::time::Instant;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn drain(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
    let mut keys: Vec<u32> = std::iter::from_fn(|| wheel.expire(now)).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_deadline_fires_at_its_tick_and_not_before() {
    let mut wheel = Wheel::new(ms(5));
    wheel.set(3, Some(Instant::from_nanos(10_000_001)));
    assert_eq!(drain(&mut wheel, Instant::from_nanos(10_999_999)), []);
    assert_eq!(drain(&mut wheel, ms(11)), [3]);
    assert_eq!(wheel.next(), None);
}

#[test]
fn the_past_fires_at_the_next_tick() {
    let mut wheel = Wheel::new(ms(100));
    wheel.set(0, Some(ms(7)));
    assert_eq!(wheel.next(), Some(ms(101)));
    assert_eq!(drain(&mut wheel, ms(101)), [0]);
}

#[test]
fn what_was_not_taken_is_still_due() {
    let mut wheel = Wheel::new(ms(0));
    wheel.set(0, Some(ms(9)));
    wheel.set(1, Some(ms(9)));
    assert!(wheel.expire(ms(9)).is_some());
    assert_eq!(wheel.next(), Some(ms(9)));
    assert!(wheel.expire(ms(9)).is_some());
    assert_eq!(wheel.expire(ms(9)), None);
}

#[test]
fn a_lease_of_136_years_fits() {
    let mut wheel = Wheel::new(ms(1_000));
    let end = ms(1_000 + u64::from(u32::MAX) * 1_000);
    wheel.set(9, Some(end));
    assert_eq!(drain(&mut wheel, end - std::time::Duration::from_millis(1)), []);
    assert_eq!(drain(&mut wheel, end), [9]);
}

proptest! {
    #[test]
    fn agrees_with_a_naive_list(
        start in 0u64..1 << 40,
        steps in prop::collection::vec((0u32..20, prop::option::of(0u64..1 << 22), 0u64..1 << 20), 1..200),
    ) {
        let mut wheel = Wheel::new(ms(start));
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now = start;
        for (key, deadline, forward) in steps {
            match deadline {
                Some(ahead) => {
                    // Mixes near and far: half of the range is below one second.
                    let ahead = if ahead % 2 == 0 { ahead % 1_000 } else { ahead };
                    wheel.set(key, Some(ms(now + ahead)));
                    model.insert(key, (now + ahead).max(now + 1));
                }
                None => {
                    wheel.set(key, None);
                    model.remove(&key);
                }
            }
            if let (Some(next), Some(first)) = (wheel.next(), model.values().min()) {
                prop_assert!(next <= ms(*first));
            }
            prop_assert_eq!(wheel.next().is_some(), !model.is_empty());
            now += if forward % 3 == 0 { forward } else { forward % 100 };
            let due: Vec<u32> =
                model.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
            model.retain(|_, at| *at > now);
            prop_assert_eq!(drain(&mut wheel, ms(now)), due);
        }
    }
}
