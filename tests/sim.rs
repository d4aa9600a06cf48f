//! The simulator: many leases, several servers and a hostile network on a virtual clock, all drawn
//! from one seed, under rules that are checked at every step (`make sim SEED=…`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a simulation that breaks a rule fails")]

#[path = "sim/check/mod.rs"]
mod check;
#[path = "sim/coverage.rs"]
mod coverage;
#[path = "sim/device.rs"]
mod device;
#[path = "sim/dice.rs"]
mod dice;
#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/hosts.rs"]
mod hosts;
#[path = "sim/network.rs"]
mod network;
#[path = "sim/sabotage.rs"]
mod sabotage;
#[path = "sim/scenario.rs"]
mod scenario;
#[path = "sim/seen.rs"]
mod seen;
#[path = "sim/world.rs"]
mod world;

use check::Rule;
use sabotage::Sabotage;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::{Failure, Report, run};

/// What continuous integration must get through.
const SEEDS: u64 = 1000;
const PACKETS: u64 = 5_000_000;
const THREADS: usize = 2;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs seeds on all threads until `enough` says so, and adds up what they were like.
fn run_all(first: u64, enough: impl Fn(u64, u64) -> bool + Sync) -> Result<(u64, Report), Failure> {
    let next = AtomicU64::new(first);
    let sum = Mutex::new((0, Report::default()));
    let failure = Mutex::new(None::<Failure>);
    let work = || {
        loop {
            let packets = sum.lock().unwrap().1.delivered;
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if enough(seed - first, packets) || failure.lock().unwrap().is_some() {
                return;
            }
            match run(seed, Sabotage::None) {
                Ok(report) => {
                    let mut sum = sum.lock().unwrap();
                    sum.0 += 1;
                    sum.1.leases += report.leases;
                    sum.1.delivered += report.delivered;
                    sum.1.virtual_nanos = sum.1.virtual_nanos.saturating_add(report.virtual_nanos);
                    // Commutative, as threads finish in any order.
                    sum.1.hash = sum.1.hash.wrapping_add(report.hash);
                    sum.1.coverage.add(&report.coverage);
                }
                Err(failed) => {
                    let mut failure = failure.lock().unwrap();
                    if failure.as_ref().is_none_or(|other| failed.seed < other.seed) {
                        *failure = Some(*failed);
                    }
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    match failure.into_inner().unwrap() {
        Some(failed) => Err(failed),
        None => Ok(sum.into_inner().unwrap()),
    }
}

#[test]
fn every_rule_holds_for_every_seed() {
    let began = Instant::now();
    let (first, seeds) = (number("SIM_SEED"), number("SIM_SEEDS"));
    let all = first.is_none() && seeds.is_none_or(|seeds| seeds >= SEEDS);
    let wanted = seeds.unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let packets = if all { PACKETS } else { 0 };
    let outcome =
        run_all(first.unwrap_or(0), |run, delivered| run >= wanted && delivered >= packets);
    let (seeds, sum) = outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let days = Duration::from_nanos(sum.virtual_nanos).as_secs() / 86_400;
    // Past the test harness, which shows nothing of a test that passes.
    let line = format!(
        "sim: {seeds} seeds, {} leases, {} packets delivered, {days} days of virtual time, {:.1} s, \
         frames {:016x}\n",
        sum.leases,
        sum.delivered,
        began.elapsed().as_secs_f64(),
        sum.hash
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    println!("{}", sum.coverage);
    let missing = sum.coverage.missing();
    assert!(!all || missing.is_empty(), "never seen any more: {missing:#?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in [1, 2, 3, 5, 8, 13, 21] {
        let [once, again] = [(); 2].map(|()| run(seed, Sabotage::None).unwrap_or_default());
        assert_ne!(once.delivered, 0, "seed {seed}");
        assert_eq!(
            (once.hash, once.delivered, once.virtual_nanos),
            (again.hash, again.delivered, again.virtual_nanos),
            "seed {seed}"
        );
    }
    let other = |seed| run(seed, Sabotage::None).unwrap_or_default().hash;
    assert_ne!(other(1), other(2));
}

/// The rules that a fault in the harness breaks, and how often in so many runs.
fn caught(sabotage: Sabotage, rules: &[Rule]) {
    let failures: Vec<_> = (0..60).filter_map(|seed| run(seed, sabotage).err()).take(3).collect();
    assert!(!failures.is_empty(), "{sabotage:?} was not caught");
    for failure in failures {
        assert!(rules.contains(&failure.violation.rule), "{sabotage:?}: {failure}");
    }
}

#[test]
fn a_reader_that_is_not_told_of_losses_is_noticed() {
    caught(Sabotage::HideLost, &[Rule::Events]);
    caught(Sabotage::LoseNotices, &[Rule::Events]);
}

#[test]
fn servers_that_lease_an_address_twice_are_noticed() {
    caught(Sabotage::SharePool, &[Rule::Unique]);
    caught(Sabotage::Amnesia, &[Rule::Unique, Rule::Books]);
}

#[test]
fn frames_at_the_wrong_time_are_noticed() {
    caught(Sabotage::Replay, &[Rule::Form, Rule::Timing, Rule::Expiry, Rule::Reason]);
    caught(Sabotage::Lag, &[Rule::Expiry, Rule::Timing, Rule::Bounded, Rule::Reason]);
}

#[test]
fn leases_that_stay_unbound_are_noticed() {
    caught(Sabotage::Deaf, &[Rule::Heals]);
}
