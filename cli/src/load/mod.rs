//! `lessee load`: bind many, release them, report.

mod progress;
mod report;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use lessee_engine::command::PortView;
use lessee_engine::lease::{BroadcastFlag, Profile};
use lessee_engine::pace::{Pacing, Window};
use lessee_linkctl::Link;

use crate::args::Load;
use crate::fleet::{Ended, Fleet, Limits, Plan, Watch};
use crate::lab_mode::{self, Lab};
use crate::lock::Lock;
use crate::macs::{self, MacRange};
use crate::output::{Output, count, note, seconds};
use crate::port::{self, Port, PortOptions};
use crate::signals::Stop;
use crate::usage::{self, Cpu};
use crate::{Outcome, why};
use progress::Progress;
use report::{Measured, Report};

/// How often events are taken: seldom enough that the engine need not wake us for each.
const LOOK: Duration = Duration::from_millis(5);
/// With this many leases left, each is waited for, so that the end is timed exactly.
const LAST: u32 = 256;
/// Without --timeout: how long the first lease may take, and each later one.
const FIRST_ANSWER: Duration = Duration::from_secs(30);
const STALL: Duration = Duration::from_secs(90);
/// Releases a second in the lab; what an unknown server takes is for the engine to find out.
const LAB_RELEASES: u32 = 100_000;
/// Clients that the server's host is trusted to unicast to.
const NEIGHBOURS: u32 = 1000;
/// Stranded clients that are named.
const NAMED: usize = 5;

/// What is loaded.
struct Ground {
    link: Link,
    port: Port,
    plan: Plan,
    lab: Option<Lab>,
    _lock: Option<Lock>,
}

pub(crate) fn run(args: &Load, out: &mut Output) -> anyhow::Result<Outcome> {
    let stop = Stop::install()?;
    let ground = Ground::open(args)?;
    let measured = measure(args, &ground, &stop);
    let Ground { link, port, plan, lab, .. } = ground;
    let closed = port.close();
    drop(lab);
    // The first thing that went wrong is the one to tell.
    let measured = measured?;
    closed?;
    let report = Report::new(args, &plan, &measured);
    out.text(&report.text())?;
    out.json(&report)?;
    if measured.bound < plan.count {
        complain(&link, &plan, &measured);
    }
    if measured.unreleased > 0 {
        let left = count(u64::from(measured.unreleased), "lease");
        note(&format!("lessee: {}: {left} could not be released", link.name));
    }
    let met = measured.bound == plan.count && measured.unreleased == 0;
    Ok(if met { Outcome::Met } else { Outcome::Unmet })
}

impl Ground {
    fn open(args: &Load) -> anyhow::Result<Self> {
        let options = PortOptions {
            latencies: true,
            pacing: Pacing {
                window: args.window.unwrap_or(match args.rate {
                    Some(_) => Window::Unlimited,
                    None => Window::Auto,
                }),
                starts_per_second: args.rate,
                // The lab's server takes them as fast as they come.
                others_per_second: args.lab.then_some(LAB_RELEASES),
            },
            ..PortOptions::large(!args.wire.no_promiscuous)
        };
        if args.lab {
            // Refused before anything is built.
            let plan = plan(args, args.mac_base.unwrap_or(lab_mode::MAC_BASE))?;
            let lab = Lab::build(args.leases)?;
            let link = lab.link()?;
            let here = link.clone();
            let port = lab.run(move || Port::open(&here, &options))?;
            return Ok(Self { link, port, plan, lab: Some(lab), _lock: None });
        }
        let interface = args.interface.as_deref().context("an interface or --lab is wanted")?;
        let link = port::look_up(interface)?;
        let plan = plan(args, args.mac_base.unwrap_or_else(|| macs::base_of_many(link.mac)))?;
        let lock = Lock::take(&link, plan.vlan, plan.macs)?;
        let port = Port::open(&link, &options)?;
        note(&format!(
            "{}: {} to be bound by the server behind it, MAC addresses {}",
            link.name,
            count(u64::from(plan.count), "lease"),
            plan.macs
        ));
        Ok(Self { link, port, plan, lab: None, _lock: Some(lock) })
    }
}

fn plan(args: &Load, first: lessee_engine::wire::ethernet::Mac) -> anyhow::Result<Plan> {
    Ok(Plan {
        count: args.leases,
        macs: MacRange::new(first, args.leases)?,
        vlan: args.wire.vlan.unwrap_or_default(),
        client_id: lessee_engine::lease::ClientIdentifier::Mac,
        hostname: None,
        request: None,
        profile: Arc::new(Profile {
            broadcast: broadcast(args),
            keep_options: false,
            ..Profile::default()
        }),
    })
}

/// A host keeps 1,024 neighbours (`gc_thresh3`) unless it is told otherwise, and drops unicasts to
/// further ones. Servers that leave unicasting to their kernel, like dnsmasq, would answer the
/// clients beyond only by broadcast; so those are asked for where there are more.
fn broadcast(args: &Load) -> BroadcastFlag {
    match args.wire.broadcast {
        BroadcastFlag::Auto if args.leases > NEIGHBOURS && !args.lab => BroadcastFlag::Always,
        other => other,
    }
}

/// Binds, releases, and takes the figures between.
fn measure(args: &Load, ground: &Ground, stop: &Stop) -> anyhow::Result<Measured> {
    let (port, plan, lab) = (&ground.port, &ground.plan, ground.lab.as_ref());
    let mut fleet = Fleet::new(port, plan);
    let (started, cpu) = (Instant::now(), Cpu::now());
    let (ended, bind) = bind(args, &mut fleet, stop)?;
    let bind_cpu = Cpu::now().since(cpu);
    // What the phase came to. What is still in flight then only comes to its end.
    let bound = fleet.bound;
    let bound_view = port.view()?;
    let stranded = fleet.unbound().take(NAMED).map(|n| plan.macs.get(n)).collect();
    let server_bound = lab.map(Lab::server_leases);
    let (resident_peak, resident) = usage::memory();
    let releasing = Instant::now();
    let release = !args.keep && !fleet.is_gone();
    if release {
        let progress = Progress::new("releasing", bound);
        fleet.end(false, |fleet, _| {
            progress.set(bound.saturating_sub(fleet.bound));
            Ok(())
        })?;
        progress.finish();
    } else if ended != Ended::Complete && !fleet.is_gone() {
        fleet.end(true, |_, _| Ok(()))?;
    }
    let release_time = releasing.elapsed();
    let server_left = lab.filter(|_| release).map(|lab| settle(lab, &fleet));
    let view: PortView = port.view()?;
    // More than were bound if an answer was still on its way; those that never were say nothing.
    let released = u32::try_from(view.counters.releases_sent).unwrap_or(u32::MAX);
    Ok(Measured {
        ended,
        bound,
        stranded,
        lost: fleet.lost,
        bind,
        bind_cpu,
        bound_view,
        released: release.then_some((released, release_time)),
        unreleased: if release { fleet.unreleased() } else { 0 },
        view,
        cpu: Cpu::now().since(cpu),
        whole: started.elapsed(),
        resident_peak,
        resident,
        server_bound,
        server_left,
    })
}

fn bind(args: &Load, fleet: &mut Fleet<'_>, stop: &Stop) -> anyhow::Result<(Ended, Duration)> {
    let limits = Limits {
        whole: args.duration,
        first: Some(args.timeout.unwrap_or(FIRST_ANSWER)),
        stall: Some(args.timeout.unwrap_or(STALL)),
    };
    let progress = Progress::new("binding", args.leases);
    let mut watch = Watch::new(limits, stop);
    let mut more = true;
    loop {
        if more {
            more = fleet.submit()?;
        } else if args.leases - fleet.bound <= LAST {
            fleet.next(LOOK)?;
        } else {
            thread::sleep(LOOK);
        }
        fleet.drain()?;
        progress.set(fleet.bound);
        if let Some(ended) = watch.check(fleet) {
            let time = watch.elapsed();
            progress.finish();
            return Ok((ended, time));
        }
    }
}

/// Waits until the lab's server has taken in all RELEASEs, and says how many leases it has left.
fn settle(lab: &Lab, fleet: &Fleet<'_>) -> u64 {
    let began = Instant::now();
    let expected = u64::from(fleet.unreleased());
    loop {
        let left = lab.server_leases();
        if left <= expected || began.elapsed() > Duration::from_secs(1) {
            return left;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Says how many are stranded, and why as far as that can be told.
fn complain(link: &Link, plan: &Plan, measured: &Measured) {
    let name = &link.name;
    let (count, bound) = (plan.count, measured.bound);
    let when = match measured.ended {
        Ended::Interrupted => format!("interrupted after {}", seconds(measured.bind)),
        Ended::Gone => "the interface went away".to_owned(),
        Ended::TimeOver => format!("--duration was over after {}", seconds(measured.bind)),
        _ if bound == 0 && measured.bound_view.counters.naks == 0 => {
            format!("no answer in {}", seconds(measured.bind))
        }
        _ => why::unbound(
            if bound == 0 { "all" } else { "the rest" },
            measured.bound_view.counters.naks,
        ),
    };
    note(&format!("lessee: {name}: {bound} of {count} leases bound; {when}"));
    if measured.ended == Ended::Interrupted {
        return;
    }
    let macs: Vec<String> = measured.stranded.iter().map(ToString::to_string).collect();
    let more = (count - bound) as usize > macs.len();
    note(&format!("  - not bound: {}{}", macs.join(", "), if more { " …" } else { "" }));
    for hint in why::silence(&measured.bound_view, name, plan.vlan, measured.bind) {
        note(&format!("  - {hint}"));
    }
}
