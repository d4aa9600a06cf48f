//! The timing wheel with a thousand, a hundred thousand and a million keys.
//!
//! `cargo bench -p lessee-benches --bench timer`.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_main};
use lessee_benches::criterion;
use lessee_engine::random::Random;
use lessee_engine::time::Instant;
use lessee_engine::timer::Wheel;

const KEYS: [u32; 3] = [1_000, 100_000, 1_000_000];
/// Deadlines lie within an hour.
const SPAN: u64 = 3_600_000_000_000;

fn benches() {
    let mut criterion = criterion();
    setting(&mut criterion);
    expiring(&mut criterion);
    criterion.final_summary();
}

/// A wheel in which every key has a deadline.
fn full(keys: u32, random: &mut Random) -> Wheel {
    let mut wheel = Wheel::new(Instant::ZERO);
    for key in 0..keys {
        wheel.set(key, Some(Instant::from_nanos(random.up_to(SPAN))));
    }
    wheel
}

/// Moves the deadline of any key.
fn setting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer/move");
    for keys in KEYS {
        let mut random = Random::new(1);
        let mut wheel = full(keys, &mut random);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            bencher.iter(|| {
                let key = random.up_to(u64::from(keys) - 1) as u32;
                wheel.set(key, Some(Instant::from_nanos(random.up_to(SPAN))));
            });
        });
    }
    group.finish();
}

/// Lets an hour pass at once: every key fires, in order.
fn expiring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer/expire all");
    group.sample_size(10);
    for keys in KEYS {
        group.throughput(Throughput::Elements(u64::from(keys)));
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            let mut random = Random::new(1);
            bencher.iter_batched_ref(
                || full(keys, &mut random),
                |wheel| {
                    let end = Instant::from_nanos(SPAN + 1_000_000);
                    let mut fired = 0;
                    while wheel.expire(end).is_some() {
                        fired += 1;
                    }
                    assert_eq!(fired, keys);
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_main!(benches);
