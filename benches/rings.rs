//! Which rings are fastest: each way to receive with each way to transmit, on a veth pair.
//!
//! `cargo bench -p lessee-benches --bench rings [-- --quick]`, as root. Everything happens in a
//! network namespace that ends with the program. A client keeps a window of 342-byte frames (a
//! DHCPDISCOVER's size) in flight to a reflector on the other core, which turns them round; an
//! exchange is one frame there and one back. Both sides sleep in poll(2) when nothing is there, as
//! the engine does. The combinations take turns, round by round, so that what else the machine does
//! meets all of them alike. The figures are kept in `docs/rings.md`.
#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::expect_used, clippy::panic, reason = "a measurement that fails is none")]

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lessee_engine::device::Device;
use lessee_engine::ring::{FilterSpec, PacketRing, RingConfig, RxMode, TxMode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};

/// Bytes of a frame, from the destination MAC on.
const FRAME: usize = 342;
const MTU: usize = 1500;
const WINDOWS: [usize; 3] = [1, 64, 1024];
const RECEIVE: [(&str, RxMode); 3] = [
    ("V2", RxMode::V2),
    ("V3, 1 ms", RxMode::V3 { block_timeout_ms: 1 }),
    ("V3, default", RxMode::V3 { block_timeout_ms: 0 }),
];
const TRANSMIT: [(&str, TxMode); 2] = [("sendmmsg", TxMode::SendMmsg), ("ring", TxMode::Ring)];
/// Where the frames carry their place in the window and their sequence number.
const PLACE: usize = 42;
const SEQUENCE: usize = 46;
/// A frame that is not back after this is taken for lost, and sent again.
const LOST: Duration = Duration::from_millis(200);
/// Frames between two looks at the clock.
const BATCH: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing measured: `cargo bench -p lessee-benches --bench rings` does it");
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (rounds, each) =
        if quick { (3, Duration::from_millis(200)) } else { (9, Duration::from_millis(500)) };
    let measured = std::thread::spawn(move || measure(rounds, each)).join();
    let rows = measured.expect("the measurement ended early");
    print_table(&rows, rounds, each);
}

/// One combination, and what its rounds gave.
struct Row {
    receive: (&'static str, RxMode),
    transmit: (&'static str, TxMode),
    window: usize,
    rates: Vec<f64>,
    /// Of all rounds, in nanoseconds.
    latencies: Vec<u32>,
    lost: u64,
}

fn measure(rounds: usize, each: Duration) -> Vec<Row> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        panic!("cannot make a network namespace ({error}): run as root");
    }
    ip("link add left type veth peer name right");
    ip("link set left up arp off");
    ip("link set right up arp off");
    let mut rows = Vec::new();
    for window in WINDOWS {
        for receive in RECEIVE {
            for transmit in TRANSMIT {
                let (rates, latencies) = (Vec::new(), Vec::new());
                rows.push(Row { receive, transmit, window, rates, latencies, lost: 0 });
            }
        }
    }
    for _ in 0..rounds {
        for row in &mut rows {
            run(row, each);
        }
    }
    rows
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn open(name: &str, row: &Row, filter: FilterSpec) -> PacketRing {
    let interface = nix::net::if_::if_nametoindex(name).expect("the veth pair");
    // As large as the window needs: this measures rings, not losses.
    let rx_bytes = (row.window * 2048 * 2).max(256 * 1024);
    let config = RingConfig {
        filter,
        rx: row.receive.1,
        tx: row.transmit.1,
        rx_bytes,
        ..RingConfig::new(interface, MTU)
    };
    PacketRing::open(&config).unwrap_or_else(|error| panic!("{error}"))
}

/// One round of one combination.
fn run(row: &mut Row, each: Duration) {
    let none = FilterSpec { client: false, server: false, arp: false };
    let mut reflector = open("right", row, FilterSpec { server: true, ..none });
    let mut client =
        Client::new(open("left", row, FilterSpec { client: true, ..none }), row.window);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| reflect(&mut reflector, &stop));
        // A tenth of the time warms up.
        client.exchange(each / 10);
        (client.done, client.lost) = (0, 0);
        client.latencies.clear();
        let took = client.exchange(each);
        row.rates.push(client.done as f64 / took.as_secs_f64());
        stop.store(true, Ordering::Relaxed);
    });
    row.latencies.append(&mut client.latencies);
    row.lost += client.lost;
}

/// Waits until something can be received, or for `limit`.
fn wait(ring: &PacketRing, limit: PollTimeout) {
    let mut fds = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, limit).expect("poll");
}

/// Turns every frame round: swaps the MACs and the ports.
fn reflect(ring: &mut PacketRing, stop: &AtomicBool) {
    let mut buffer = [0; FRAME];
    while !stop.load(Ordering::Relaxed) {
        let mut frames = 0;
        while ring.receive(|frame| buffer.copy_from_slice(&frame.bytes[..FRAME])).is_some() {
            frames += 1;
            let answer = if let Some(slot) = ring.acquire() {
                slot
            } else {
                ring.flush();
                let Some(slot) = ring.acquire() else { continue };
                slot
            };
            answer[..FRAME].copy_from_slice(&buffer);
            answer[..6].copy_from_slice(&buffer[6..12]);
            answer[6..12].copy_from_slice(&buffer[..6]);
            answer[34..36].copy_from_slice(&buffer[36..38]);
            answer[36..38].copy_from_slice(&buffer[34..36]);
            ring.commit(FRAME);
        }
        if frames == 0 {
            wait(ring, PollTimeout::from(10_u8));
        } else {
            ring.flush();
        }
    }
}

struct Client {
    ring: PacketRing,
    template: [u8; FRAME],
    /// For each place in the window, the sequence number in flight and when it was sent.
    flights: Vec<(u32, Instant)>,
    /// Places that may be sent from.
    ready: Vec<usize>,
    latencies: Vec<u32>,
    done: u64,
    lost: u64,
}

impl Client {
    fn new(ring: PacketRing, window: usize) -> Self {
        let mut template = [0; FRAME];
        template[..12].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
        template[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        template[23] = 17;
        template[34..38].copy_from_slice(&[0, 68, 0, 67]);
        Self {
            ring,
            template,
            flights: vec![(0, Instant::now()); window],
            ready: (0..window).collect(),
            latencies: Vec::with_capacity(1 << 20),
            done: 0,
            lost: 0,
        }
    }

    /// Exchanges frames for the given time; returns how long it took.
    fn exchange(&mut self, each: Duration) -> Duration {
        let start = Instant::now();
        let mut now = start;
        let mut heard = start;
        while now.duration_since(start) < each {
            self.send(now);
            let received = self.receive();
            if received == 0 {
                wait(&self.ring, PollTimeout::from(10_u8));
            }
            now = Instant::now();
            if received > 0 {
                heard = now;
            } else if now.duration_since(heard) > LOST {
                // Whatever is in flight was lost: answers to it no longer count.
                let missing: Vec<_> =
                    (0..self.flights.len()).filter(|at| !self.ready.contains(at)).collect();
                self.lost += missing.len() as u64;
                self.ready.extend(missing);
                heard = now;
            }
        }
        now.duration_since(start)
    }

    fn send(&mut self, now: Instant) {
        while let Some(&place) = self.ready.last() {
            let Some(slot) = self.ring.acquire() else { break };
            self.ready.pop();
            let flight = &mut self.flights[place];
            *flight = (flight.0.wrapping_add(1), now);
            slot[..FRAME].copy_from_slice(&self.template);
            slot[PLACE..PLACE + 4].copy_from_slice(&(place as u32).to_be_bytes());
            slot[SEQUENCE..SEQUENCE + 4].copy_from_slice(&flight.0.to_be_bytes());
            self.ring.commit(FRAME);
        }
        self.ring.flush();
    }

    /// Takes up to a batch of answers.
    fn receive(&mut self) -> usize {
        let mut places = [0; BATCH];
        let mut received = 0;
        while received < BATCH {
            let word = |bytes: &[u8], at| {
                u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            let answer = self
                .ring
                .receive(|frame| (word(frame.bytes, PLACE) as usize, word(frame.bytes, SEQUENCE)));
            let Some((place, sequence)) = answer else { break };
            if self.flights.get(place).is_some_and(|flight| flight.0 == sequence) {
                places[received] = place;
                received += 1;
            }
        }
        let now = Instant::now();
        for place in &places[..received] {
            let took = now.duration_since(self.flights[*place].1).as_nanos();
            self.latencies.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
        self.ready.extend(&places[..received]);
        self.done += received as u64;
        received
    }
}

fn print_table(rows: &[Row], rounds: usize, each: Duration) {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!(
        "rings on veth: kernel {}, {cores} cores, {rounds} rounds of {each:?} each, {FRAME}-byte \
         frames\n",
        kernel.trim()
    );
    println!(
        "| window | receive | transmit | exchanges/s, median [min..max] | p50 µs | p99 µs | lost |"
    );
    println!("|---:|---|---|---:|---:|---:|---:|");
    for row in rows {
        let mut rates = row.rates.clone();
        rates.sort_by(f64::total_cmp);
        let mut latencies = row.latencies.clone();
        latencies.sort_unstable();
        let at = |part: f64| {
            let index = (latencies.len() as f64 * part) as usize;
            latencies.get(index).map_or(0.0, |nanos| f64::from(*nanos) / 1000.0)
        };
        let [least, most] = [rates.first(), rates.last()].map(|rate| rate.copied().unwrap_or(0.0));
        println!(
            "| {} | {} | {} | {:.0} [{least:.0}..{most:.0}] | {:.1} | {:.1} | {} |",
            row.window,
            row.receive.0,
            row.transmit.0,
            rates.get(rates.len() / 2).copied().unwrap_or(0.0),
            at(0.5),
            at(0.99),
            row.lost
        );
    }
}
