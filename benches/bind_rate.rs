//! How fast the whole engine binds leases, beside the ceiling of this machine.
//!
//! `cargo bench -p lessee-benches --bench bind_rate [-- --quick]`. Two private namespaces are joined
//! by a veth pair. On the server's side a reflector answers, which knows no leases; on the client's
//! side take turns:
//!
//! - the *ceiling*: rings and a window, no lease logic: it patches a template and counts ACKs;
//! - the *engine* with all its features (options kept, latencies kept), and *bare*, without these:
//!   the leases wait in its queue before the clock starts;
//! - the engine *from cold*: the clock runs from the first command on;
//! - the engine against the lab's *embedded* server, which does keep leases.
//!
//! The client's side has one core and the server's side another. Figures within a round are
//! compared, as other work on the machine meets all of a round. Prints a table and writes
//! `target/bench/bind_rate.json`; `docs/performance.md` holds a recorded run.
#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::expect_used, clippy::panic, reason = "a measurement that fails is none")]

mod bind_rate {
    pub(super) mod ceiling;
    pub(super) mod engine;
    pub(super) mod report;
    pub(super) mod server;
}

use bind_rate::{ceiling, engine, report, server};
use lessee_engine::ring::{FilterSpec, RingConfig};
use lessee_lab::topology::{Port, Wire, WireSpec};
use lessee_lab::userns;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// Rounds, leases in a measurement, exchanges in flight.
const ROUNDS: u32 = 9;
const LEASES: u32 = 100_000;
const WINDOW: u32 = 64;
const QUICK: (u32, u32) = (5, 30_000);
/// Cores, where there are two.
const CLIENT_CORE: usize = 0;
const SERVER_CORE: usize = 1;

/// What is measured, in the order of a round; the first is what the others are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ceiling,
    Engine,
    Bare,
    Cold,
    Embedded,
}

impl Side {
    const ALL: [Self; 5] = [Self::Ceiling, Self::Engine, Self::Bare, Self::Cold, Self::Embedded];

    const fn name(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling",
            Self::Engine => "engine",
            Self::Bare => "engine, bare",
            Self::Cold => "engine, from cold",
            Self::Embedded => "engine, embedded server",
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// Exchanges a second.
    rate: f64,
    /// CPU time an exchange in µs: of the client's thread, and of the server's.
    client_cpu: f64,
    server_cpu: f64,
    /// Messages repeated, or taken for lost.
    repeated: u64,
}

/// A wish from the command line.
#[derive(Clone, Debug)]
struct Settings {
    rounds: u32,
    leases: u32,
    windows: Vec<u32>,
    sides: Vec<Side>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing measured: `cargo bench -p lessee-benches --bench bind_rate` does it");
        return;
    }
    let settings = settings(&arguments);
    userns::enter().unwrap_or_else(|error| panic!("{error}"));
    let wire = WireSpec { server: Port::new("s0"), ..WireSpec::default() };
    let wire = Wire::with(wire).unwrap_or_else(|error| panic!("{error}"));
    let mut tables = Vec::new();
    for &window in &settings.windows {
        let rounds: Vec<Vec<Sample>> = (0..settings.rounds)
            .map(|_| settings.sides.iter().map(|side| measure(*side, &wire, &settings, window)))
            .map(Iterator::collect)
            .collect();
        tables.push((window, rounds));
    }
    report::print(&settings, &tables);
    report::write(&settings, &tables);
}

/// Reads `--pairs n`, `--leases n`, `--windows n,n`, `--only name`, `--quick`.
fn settings(arguments: &[String]) -> Settings {
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(at + 1).unwrap_or_else(|| panic!("{name} wants a value")).as_str())
    };
    let number =
        |text: &str| -> u32 { text.parse().unwrap_or_else(|_| panic!("{text} is not a number")) };
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (rounds, leases) = if quick { QUICK } else { (ROUNDS, LEASES) };
    let mut sides = Side::ALL.to_vec();
    if let Some(only) = value("--only") {
        sides.retain(|side| side.name() == only);
        assert!(!sides.is_empty(), "--only takes one of {:?}", Side::ALL.map(Side::name));
    }
    Settings {
        rounds: value("--pairs").map_or(rounds, number).max(1),
        leases: value("--leases").map_or(leases, number).clamp(1, 1 << 21),
        windows: value("--windows")
            .map_or(vec![WINDOW], |list| list.split(',').map(number).collect()),
        sides,
    }
}

fn measure(side: Side, wire: &Wire, settings: &Settings, window: u32) -> Sample {
    let leases = settings.leases;
    pin(SERVER_CORE);
    let server = match side {
        Side::Embedded => server::Server::embedded(wire, leases),
        _ => server::Server::reflector(wire, window),
    };
    pin(CLIENT_CORE);
    match side {
        Side::Ceiling => ceiling::measure(wire, &server, leases, window),
        _ => engine::measure(side, wire, &server, leases, window),
    }
}

/// Binds this thread, and those that it starts from now on, to a core.
fn pin(core: usize) {
    let mut set = CpuSet::new();
    let several = report::cores() > 1;
    if several && set.set(core).is_ok() {
        // On a machine with one core there is nothing to choose.
        let _one_core = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// The same rings for everybody: 4 KiB for each exchange in flight, and at least the default.
fn ring_config(interface: u32, filter: FilterSpec, window: u32) -> RingConfig {
    let rx_bytes = (window as usize * 4096).max(256 * 1024);
    RingConfig { filter, rx_bytes, ..RingConfig::new(interface, 1500) }
}

/// CPU time that a thread of this process has used, by its name.
fn cpu_of(thread: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    for task in tasks.flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").trim() == thread {
            let nanos = read("schedstat").split(' ').next().and_then(|text| text.parse().ok());
            return Duration::from_nanos(nanos.unwrap_or(0));
        }
    }
    panic!("no thread is called {thread}")
}

/// What a measurement came to: CPU time is what the threads have used since `before`.
fn sample(leases: u32, took: Duration, threads: [&str; 2], before: [Duration; 2]) -> Sample {
    let leases = f64::from(leases);
    let used =
        |at: usize| cpu_of(threads[at]).saturating_sub(before[at]).as_secs_f64() * 1e6 / leases;
    Sample {
        rate: leases / took.as_secs_f64(),
        client_cpu: used(0),
        server_cpu: used(1),
        repeated: 0,
    }
}

/// A clock for what waits for an end that should come.
fn patience() -> impl Fn() {
    let start = Instant::now();
    move || assert!(start.elapsed() < Duration::from_secs(120), "no progress: something is broken")
}
