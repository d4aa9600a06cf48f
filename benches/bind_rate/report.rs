//! The table, and the same as JSON.

use crate::{Sample, Settings, Side};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// For each window: for each round, a sample of each side.
type Tables = [(u32, Vec<Vec<Sample>>)];

/// Least, lower quartile, median, upper quartile, most.
fn spread(mut values: Vec<f64>) -> [f64; 5] {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| {
        let place = last * part;
        let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
        below + (above - below) * place.fract()
    })
}

/// One side of one window.
struct Row {
    side: Side,
    rate: [f64; 5],
    /// Its rate over the ceiling's in the same round.
    ratio: Option<[f64; 5]>,
    client_cpu: f64,
    server_cpu: f64,
    repeated: u64,
}

fn rows(settings: &Settings, rounds: &[Vec<Sample>]) -> Vec<Row> {
    let sides = settings.sides.iter().enumerate();
    let row = |(at, side): (usize, &Side)| {
        let of = |field: fn(&Sample) -> f64| rounds.iter().map(|r| field(&r[at])).collect();
        let compared = at > 0 && settings.sides[0] == Side::Ceiling;
        let ratios = rounds.iter().map(|round| round[at].rate / round[0].rate).collect();
        Row {
            side: *side,
            rate: spread(of(|sample| sample.rate)),
            ratio: compared.then(|| spread(ratios)),
            client_cpu: spread(of(|sample| sample.client_cpu))[2],
            server_cpu: spread(of(|sample| sample.server_cpu))[2],
            repeated: rounds.iter().map(|round| round[at].repeated).sum(),
        }
    };
    sides.map(row).collect()
}

pub(crate) fn print(settings: &Settings, tables: &Tables) {
    let Settings { rounds, leases, .. } = settings;
    println!("bind rate on veth: {rounds} rounds of {leases} leases a side; {}\n", machine());
    println!(
        "| window | client | leases/s, median [min..max] | of the ceiling, median [quartiles] \
         | CPU µs a lease: client | server | repeated |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|");
    for (window, rounds) in tables {
        for row in rows(settings, rounds) {
            let [least, _, median, _, most] = row.rate;
            let ratio = row.ratio.map_or_else(String::new, |[_, low, median, high, _]| {
                format!("{median:.3} [{low:.3}..{high:.3}]")
            });
            println!(
                "| {window} | {} | {median:.0} [{least:.0}..{most:.0}] | {ratio} | {:.2} | {:.2} \
                 | {} |",
                row.side.name(),
                row.client_cpu,
                row.server_cpu,
                row.repeated
            );
        }
    }
}

pub(crate) fn write(settings: &Settings, tables: &Tables) {
    let windows: Vec<Value> = tables
        .iter()
        .map(|(window, rounds)| {
            let rows: Vec<Value> = rows(settings, rounds)
                .iter()
                .enumerate()
                .map(|(at, row)| {
                    let samples = rounds.iter().map(|round| round[at]);
                    let samples = samples.map(|s| {
                        json!({ "rate": s.rate, "client_cpu_us": s.client_cpu,
                                "server_cpu_us": s.server_cpu, "repeated": s.repeated })
                    });
                    json!({ "side": row.side.name(), "rate": row.rate, "ratio": row.ratio,
                            "samples": samples.collect::<Vec<_>>() })
                })
                .collect();
            json!({ "window": window, "rows": rows })
        })
        .collect();
    let report = json!({
        "bench": "bind_rate",
        "machine": machine(),
        "commit": output("git", &["rev-parse", "--short", "HEAD"]),
        "date": output("date", &["-u", "+%F"]),
        "rounds": settings.rounds,
        "leases": settings.leases,
        "spread": ["least", "lower quartile", "median", "upper quartile", "most"],
        "windows": windows,
    });
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let path = target.join("bench");
    let written = std::fs::create_dir_all(&path)
        .and_then(|()| std::fs::write(path.join("bind_rate.json"), format!("{report:#}\n")));
    assert!(written.is_ok(), "cannot write below {}", path.display());
}

/// Processor, cores, kernel.
fn machine() -> String {
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    format!("{model}, {} cores, kernel {}", cores(), read("/proc/sys/kernel/osrelease").trim())
}

/// Cores of the machine, whichever of them this thread may use.
pub(crate) fn cores() -> usize {
    read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().map(|output| output.stdout);
    String::from_utf8_lossy(&output.unwrap_or_default()).trim().to_owned()
}
