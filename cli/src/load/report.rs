//! What a load test came to, as a table and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use lessee_engine::command::PortView;
use lessee_engine::wire::ethernet::Mac;
use serde::Serialize;

use crate::args::Load;
use crate::fleet::{Ended, Plan};
use crate::output::{count, grouped, latency};
use crate::usage::Cpu;
use crate::why;

/// Raised whenever a field changes its meaning or goes away. New fields may come at any time.
const VERSION: u32 = 1;

/// What was measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) ended: Ended,
    pub(super) bound: u32,
    /// The first few that are not bound.
    pub(super) stranded: Vec<Mac>,
    pub(super) lost: u32,
    pub(super) bind: Duration,
    pub(super) bind_cpu: Cpu,
    /// At the end of the bind phase.
    pub(super) bound_view: PortView,
    /// How many, in what time; `None` if they were kept.
    pub(super) released: Option<(u32, Duration)>,
    pub(super) unreleased: u32,
    /// At the end.
    pub(super) view: PortView,
    pub(super) cpu: Cpu,
    pub(super) whole: Duration,
    pub(super) resident_peak: u64,
    pub(super) resident: u64,
    pub(super) server_bound: Option<u64>,
    pub(super) server_left: Option<u64>,
}

/// The result, as documented in `docs/cli.md`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: u32,
    lab: bool,
    interface: Option<String>,
    vlan: Option<String>,
    mac_first: String,
    mac_last: String,
    ended: &'static str,
    leases: u32,
    bound: u32,
    stranded: u32,
    lost: u32,
    bind_seconds: f64,
    bind_exchanges_per_second: f64,
    bind_cpu_user_seconds: f64,
    bind_cpu_system_seconds: f64,
    kept: bool,
    released: u32,
    unreleased: u32,
    release_seconds: Option<f64>,
    releases_per_second: Option<f64>,
    #[serde(flatten)]
    latencies: BTreeMap<String, u64>,
    discovers_sent: u64,
    requests_sent: u64,
    releases_sent: u64,
    retransmissions: u64,
    naks: u64,
    address_clashes: u64,
    ring_drops: u64,
    frames_failed: u64,
    /// Frames and replies refused, by name; those that are zero are left out.
    refused: BTreeMap<String, u64>,
    /// The window at the end of binding; `null` if there was none.
    window: Option<u32>,
    cpu_user_seconds: f64,
    cpu_system_seconds: f64,
    whole_seconds: f64,
    resident_peak_bytes: u64,
    resident_bytes: u64,
    /// With --lab only.
    server_leases_after_bind: Option<u64>,
    server_leases_after_release: Option<u64>,
}

/// The percentiles that are reported, with their names in JSON and in the table.
const PERCENTILES: [(f64, &str, &str); 4] =
    [(50.0, "p50", "p50"), (90.0, "p90", "p90"), (99.0, "p99", "p99"), (99.9, "p999", "p99.9")];

/// The exchanges that are reported, with their names in JSON and in the table.
const EXCHANGES: [(&str, &str); 3] = [
    ("discover_offer", "DISCOVER to OFFER"),
    ("request_ack", "REQUEST to ACK"),
    ("acquire", "whole acquisition"),
];

impl Report {
    pub(super) fn new(args: &Load, plan: &Plan, measured: &Measured) -> Self {
        let (view, counters) = (&measured.view, &measured.view.counters);
        let seconds = |time: Duration| time.as_secs_f64();
        let released = measured.released;
        Self {
            version: VERSION,
            lab: args.lab,
            interface: args.interface.clone(),
            vlan: (!plan.vlan.is_empty()).then(|| plan.vlan.to_string()),
            mac_first: plan.macs.first.to_string(),
            mac_last: plan.macs.last.to_string(),
            ended: measured.ended.name(),
            leases: plan.count,
            bound: measured.bound,
            stranded: plan.count - measured.bound,
            lost: measured.lost,
            bind_seconds: seconds(measured.bind),
            bind_exchanges_per_second: per_second(measured.bound, measured.bind),
            bind_cpu_user_seconds: seconds(measured.bind_cpu.user),
            bind_cpu_system_seconds: seconds(measured.bind_cpu.system),
            kept: args.keep,
            released: released.map_or(0, |(number, _)| number),
            unreleased: measured.unreleased,
            release_seconds: released.map(|(_, time)| seconds(time)),
            releases_per_second: released.map(|(number, time)| per_second(number, time)),
            latencies: latencies(&measured.bound_view),
            discovers_sent: counters.discovers_sent,
            requests_sent: counters.requests_sent,
            releases_sent: counters.releases_sent,
            retransmissions: counters.retransmissions,
            naks: counters.naks,
            address_clashes: counters.address_clashes,
            ring_drops: view.device.dropped,
            frames_failed: counters.frames_failed,
            refused: why::refusals(view).into_iter().collect(),
            window: measured.bound_view.window,
            cpu_user_seconds: seconds(measured.cpu.user),
            cpu_system_seconds: seconds(measured.cpu.system),
            whole_seconds: seconds(measured.whole),
            resident_peak_bytes: measured.resident_peak,
            resident_bytes: measured.resident,
            server_leases_after_bind: measured.server_bound,
            server_leases_after_release: measured.server_left,
        }
    }

    /// The table for people.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![String::new(), self.bind_line(), self.release_line(), String::new()];
        lines.extend(self.latency_lines());
        lines.push(String::new());
        lines.push(row("stranded", &count(u64::from(self.stranded), "client")));
        lines.push(row("repeated", &count(self.retransmissions, "message")));
        lines.push(row("refused", &format!("{} by the server (NAK)", grouped(self.naks))));
        lines.push(row(
            "dropped",
            &format!(
                "{} lost in the receive ring, {} not sent",
                count(self.ring_drops, "frame"),
                grouped(self.frames_failed)
            ),
        ));
        if self.lost > 0 {
            lines.push(row("lost", &count(u64::from(self.lost), "lease")));
        }
        if self.address_clashes > 0 {
            lines.push(row("twice", &format!("{} leased twice", grouped(self.address_clashes))));
        }
        if !self.refused.is_empty() {
            let parts: Vec<String> =
                self.refused.iter().map(|(name, n)| format!("{name} {}", grouped(*n))).collect();
            lines.push(row("ignored", &parts.join(", ")));
        }
        lines.push(self.machine_line());
        if let Some(bound) = self.server_leases_after_bind {
            let after = self.server_leases_after_release;
            let after = after.map_or_else(String::new, |n| format!(", {} at the end", grouped(n)));
            lines.push(row(
                "server",
                &format!("its own table held {} when all was bound{after}", count(bound, "lease")),
            ));
        }
        lines.join("\n")
    }

    fn bind_line(&self) -> String {
        row(
            "bind",
            &format!(
                "{} of {} in {:.3} s: {} exchanges/s (DISCOVER, OFFER, REQUEST, ACK)",
                grouped(u64::from(self.bound)),
                count(u64::from(self.leases), "lease"),
                self.bind_seconds,
                grouped(self.bind_exchanges_per_second as u64)
            ),
        )
    }

    fn release_line(&self) -> String {
        match (self.release_seconds, self.releases_per_second) {
            (Some(time), Some(rate)) => {
                let late = match self.released.saturating_sub(self.bound) {
                    0 => String::new(),
                    late => format!(
                        " ({} of them granted after the end of binding)",
                        grouped(u64::from(late))
                    ),
                };
                row(
                    "release",
                    &format!(
                        "{} in {time:.3} s: {}/s{late}",
                        count(u64::from(self.released), "lease"),
                        grouped(rate as u64)
                    ),
                )
            }
            _ if self.kept => row("release", "none: --keep leaves them to the server"),
            _ => row("release", "none: the interface is gone"),
        }
    }

    fn latency_lines(&self) -> Vec<String> {
        let mut header = format!("{:<19}", "latency");
        for (_, _, title) in PERCENTILES {
            header.push_str(&format!("{title:>10}"));
        }
        let mut lines = vec![format!("{header}{:>10}", "max")];
        for (name, title) in EXCHANGES {
            let mut line = format!("  {title:<17}");
            let columns = PERCENTILES.iter().map(|(_, key, _)| *key).chain(["max"]);
            for key in columns {
                let value = self.latencies.get(&format!("{name}_{key}_us"));
                let value = value.map_or_else(|| "-".to_owned(), |micros| latency(*micros));
                line.push_str(&format!("{value:>10}"));
            }
            lines.push(line);
        }
        lines
    }

    fn machine_line(&self) -> String {
        let both = if self.lab { " (clients and server together)" } else { "" };
        row(
            "machine",
            &format!(
                "CPU {:.2} s user, {:.2} s system; memory {:.1} MiB at most{both}",
                self.cpu_user_seconds,
                self.cpu_system_seconds,
                self.resident_peak_bytes as f64 / f64::from(1 << 20)
            ),
        )
    }
}

fn row(name: &str, value: &str) -> String {
    format!("{name:<10} {value}")
}

fn per_second(number: u32, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { f64::from(number) / seconds } else { 0.0 }
}

/// `acquire_p99_us` and its like; none of them if nothing was measured.
fn latencies(view: &PortView) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let Some(kept) = &view.latencies else { return all };
    let histograms = [&kept.discover_offer, &kept.request_ack, &kept.acquire];
    for ((name, _), histogram) in EXCHANGES.into_iter().zip(histograms) {
        add(&mut all, name, histogram);
    }
    all
}

fn add(all: &mut BTreeMap<String, u64>, name: &str, histogram: &Histogram<u32>) {
    if histogram.is_empty() {
        return;
    }
    for (percentile, key, _) in PERCENTILES {
        let value = histogram.value_at_percentile(percentile);
        all.insert(format!("{name}_{key}_us"), value);
    }
    all.insert(format!("{name}_max_us"), histogram.max());
}
