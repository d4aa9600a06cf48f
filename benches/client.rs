//! The whole client over a link in memory: what an exchange costs without the kernel.
//!
//! An exchange here is DISCOVER, OFFER, REQUEST, ACK and the event, 64 in flight: two packets
//! parsed, two written, four steps of the machine, table, timer, pacing. The answers' making (see
//! `emit/OFFER, by patching a template` in the bench `wire`, twice an exchange) is included.
//! `cargo bench -p lessee-benches --bench client`.

use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_main};
use lessee_benches::loopback::Loopback;
use lessee_benches::{criterion, mac};
use lessee_engine::client::{Client, PortSpec};
use lessee_engine::command::Event;
use lessee_engine::lease::{Acquire, LeaseId, PortId, Profile, Table};
use lessee_engine::lease::{Kinds, Machine};
use lessee_engine::pace::{Pacing, Window};
use lessee_engine::time::Instant;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// Exchanges in flight, and leases bound in a round.
const WINDOW: u32 = 64;

fn benches() {
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("client");
    group.throughput(Throughput::Elements(1));
    for (name, bare, others) in [
        ("exchange, all features", false, 0),
        ("exchange, bare", true, 0),
        ("exchange, all features, among 100,000", false, 100_000),
        ("exchange, bare, among 100,000", true, 100_000),
    ] {
        group.bench_function(name, |bencher| exchanges(bencher, bare, others));
    }
    group.bench_function("acquire", acquiring);
    group.finish();
    routing(&mut criterion);
    criterion.final_summary();
}

/// A client, its link, and the leases that it has, oldest first.
struct Rig {
    client: Client,
    link: [Loopback; 1],
    profile: Arc<Profile>,
    leases: VecDeque<LeaseId>,
    macs: u32,
    now: Instant,
}

impl Rig {
    fn new(bare: bool) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let mut client = Client::new([1, 2, 3, 4, 5], now);
        let pacing = Pacing { window: Window::Fixed(WINDOW), ..Pacing::default() };
        let latencies = !bare;
        client.add_port(PortSpec { pacing, latencies, ..PortSpec::new("memory", 1500) }, now);
        let profile = Arc::new(Profile { keep_options: !bare, ..Profile::default() });
        Self { client, link: [Loopback::default()], profile, leases: VecDeque::new(), macs: 0, now }
    }

    /// Begins a window of leases.
    fn acquire(&mut self) {
        for _ in 0..WINDOW {
            let acquire = Acquire::new(PortId(0), mac(self.macs), Arc::clone(&self.profile));
            self.macs += 1;
            if let Ok(lease) = self.client.acquire(acquire, self.now) {
                self.leases.push_back(lease);
            }
        }
    }

    /// Takes turns until a window of leases is bound and told about.
    fn bind(&mut self) {
        let mut bound = 0;
        while bound < WINDOW {
            self.now = self.now + Duration::from_micros(20);
            self.client.turn(self.now, &mut self.link);
            while let Some(event) = self.client.poll_event() {
                let is_bound = |event: &Event| {
                    matches!(event,
                    Event::Lease { notice, .. } if notice.kinds.contains(Kinds::BOUND))
                };
                bound += u32::from(is_bound(black_box(&event)));
            }
        }
    }

    /// Ends the oldest leases without a word.
    fn forget(&mut self) {
        for lease in self.leases.drain(..WINDOW as usize) {
            self.client.forget(lease, self.now);
        }
        while self.client.poll_event().is_some() {}
    }
}

/// Times binding only; acquiring and ending are left out.
fn exchanges(bencher: &mut Bencher<'_>, bare: bool, others: u32) {
    let mut rig = Rig::new(bare);
    while rig.client.leases() < others {
        rig.acquire();
        rig.bind();
    }
    bencher.iter_custom(|iterations| {
        let mut took = Duration::ZERO;
        let rounds = iterations.div_ceil(u64::from(WINDOW));
        for _ in 0..rounds {
            rig.acquire();
            let start = std::time::Instant::now();
            rig.bind();
            took += start.elapsed();
            rig.forget();
        }
        took.mul_f64(iterations as f64 / (rounds * u64::from(WINDOW)) as f64)
    });
}

/// Times the beginning of leases only.
fn acquiring(bencher: &mut Bencher<'_>) {
    let mut rig = Rig::new(false);
    bencher.iter_custom(|iterations| {
        let mut took = Duration::ZERO;
        let rounds = iterations.div_ceil(u64::from(WINDOW));
        for _ in 0..rounds {
            let start = std::time::Instant::now();
            rig.acquire();
            took += start.elapsed();
            rig.forget();
        }
        took.mul_f64(iterations as f64 / (rounds * u64::from(WINDOW)) as f64)
    });
}

/// From an xid to its lease.
fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table/route");
    group.throughput(Throughput::Elements(1));
    for leases in [1_000_u32, 100_000] {
        let profile = Arc::new(Profile::default());
        let mut table = Table::new([1, 2, 3, 4]);
        for number in 0..leases {
            let acquire = Acquire::new(PortId(0), mac(number), Arc::clone(&profile));
            let machine = Machine::new(acquire, true, number);
            assert!(table.insert(PortId(0), machine).is_ok());
        }
        // Far apart, so that every lease is another cache line.
        let xids: Vec<u32> =
            (0..leases).map(|n| table.fresh_xid(n.wrapping_mul(7919) % leases)).collect();
        group.bench_function(BenchmarkId::from_parameter(leases), |bencher| {
            let mut xids = xids.iter().cycle();
            bencher.iter(|| {
                let slot = table.slot_of(black_box(xids.next().copied().unwrap_or(0)));
                table.entry(slot).and_then(|entry| entry.machine.as_ref()).map(Machine::mac)
            });
        });
    }
    group.finish();
}

criterion_main!(benches);
