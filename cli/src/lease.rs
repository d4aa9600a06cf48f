//! `lessee lease`: acquire, tell, keep renewed, give back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lessee_engine::device::LinkFault;
use lessee_engine::lease::{Kinds, Lost, Notice, Profile};
use lessee_engine::wire::options::{OptionSet, code};
use lessee_linkctl::Link;
use serde::Serialize;

use crate::args::Lease;
use crate::describe::{self, TermsView};
use crate::fleet::{Ended, Fleet, Limits, News, Plan, Watch};
use crate::lock::Lock;
use crate::macs::{self, MacRange};
use crate::output::{Output, count, note, seconds};
use crate::port::{self, Port, PortOptions};
use crate::signals::Stop;
use crate::values::Hold;
use crate::{Outcome, why};

/// Options that a lease's first line says already.
const SAID: [u8; 7] = [
    code::SUBNET_MASK,
    code::ROUTER,
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::LEASE_TIME,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
];
/// How often signals are looked for while nothing happens.
const LOOK: Duration = Duration::from_millis(100);

/// An event of a lease in JSON.
#[derive(Debug, Serialize)]
struct LeaseEvent {
    time: String,
    event: &'static str,
    n: u64,
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_address: Option<std::net::Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(flatten)]
    terms: Option<TermsView>,
}

/// The link's event in JSON.
#[derive(Debug, Serialize)]
struct LinkEvent<'a> {
    time: String,
    event: &'static str,
    interface: &'a str,
}

/// The last line in JSON.
#[derive(Debug, Serialize)]
struct Summary {
    time: String,
    event: &'static str,
    leases: u32,
    bound: u32,
    lost: u32,
    naks: u64,
    retransmissions: u64,
    released: u64,
    kept: bool,
    ended: &'static str,
}

/// What a run works with.
struct Run<'a> {
    args: &'a Lease,
    link: &'a Link,
    out: &'a mut Output,
    stop: &'a Stop,
    /// The link went down, and nothing came through it since.
    down: bool,
}

pub(crate) fn run(args: &Lease, out: &mut Output) -> anyhow::Result<Outcome> {
    let stop = Stop::install()?;
    let link = port::look_up(&args.interface)?;
    let plan = plan(args, &link)?;
    let _lock = Lock::take(&link, plan.vlan, plan.macs)?;
    let options = PortOptions {
        only_mac: (plan.count == 1).then_some(plan.macs.first.0),
        ..if plan.count > 256 {
            PortOptions::large(!args.wire.no_promiscuous)
        } else {
            PortOptions::small(!args.wire.no_promiscuous)
        }
    };
    let port = Port::open(&link, &options)?;
    let mut run = Run { args, link: &link, out, stop: &stop, down: false };
    let outcome = run.go(&port, &plan);
    let closed = port.close();
    // The first thing that went wrong is the one to tell.
    let outcome = outcome?;
    closed?;
    Ok(outcome)
}

fn plan(args: &Lease, link: &Link) -> anyhow::Result<Plan> {
    let first = args.mac.or(args.mac_base).unwrap_or_else(|| {
        if args.is_many() { macs::base_of_many(link.mac) } else { macs::of_lease(link.mac) }
    });
    let macs = MacRange::new(first, args.count)?;
    let longest = |name: &String| name.replace("{i}", &(args.count - 1).to_string()).len();
    if let Some(len) = args.hostname.as_ref().map(longest).filter(|len| !(1..=255).contains(len)) {
        anyhow::bail!("--hostname: a hostname has 1 to 255 bytes, and this makes one of {len}");
    }
    let vendor_class = args.vendor_class.as_deref().unwrap_or_default();
    if vendor_class.len() > 255 {
        anyhow::bail!("--vendor-class: at most 255 bytes; these are {}", vendor_class.len());
    }
    Ok(Plan {
        count: args.count,
        macs,
        vlan: args.wire.vlan.unwrap_or_default(),
        client_id: args.client_id.clone(),
        hostname: args.hostname.clone(),
        request: args.request,
        profile: Arc::new(Profile {
            vendor_class: vendor_class.as_bytes().into(),
            broadcast: args.wire.broadcast,
            ..Profile::default()
        }),
    })
}

impl Run<'_> {
    fn go(&mut self, port: &Port, plan: &Plan) -> anyhow::Result<Outcome> {
        let mut fleet = Fleet::new(port, plan);
        let ended = self.acquire(&mut fleet)?;
        let complete = ended == Ended::Complete;
        if complete {
            self.holding(plan)?;
        }
        let ended = if complete { self.hold(&mut fleet)? } else { ended };
        // What it came to, before the leases are given back.
        let (bound, lost) = (fleet.bound, fleet.lost);
        if !complete {
            self.complain(port, plan, &fleet, ended)?;
        } else if bound < plan.count {
            note(&format!(
                "lessee: {} lost and not regained",
                count(u64::from(plan.count - bound), "lease")
            ));
        }
        self.give_back(port, &mut fleet)?;
        let view = port.view()?;
        self.out.json(&Summary {
            time: describe::now(),
            event: "summary",
            leases: plan.count,
            bound,
            lost,
            naks: view.counters.naks,
            retransmissions: view.counters.retransmissions,
            released: view.counters.releases_sent,
            kept: self.args.keep,
            ended: ended.name(),
        })?;
        let met = complete && bound == plan.count && ended != Ended::Gone;
        Ok(if met { Outcome::Met } else { Outcome::Unmet })
    }

    fn acquire(&mut self, fleet: &mut Fleet<'_>) -> anyhow::Result<Ended> {
        let limits = Limits { whole: Some(self.args.timeout), first: None, stall: None };
        let mut watch = Watch::new(limits, self.stop);
        let mut more = true;
        loop {
            if more {
                more = fleet.submit()?;
            }
            if let Some(ended) = watch.check(fleet) {
                return Ok(ended);
            }
            if self.out.is_closed() {
                return Ok(Ended::Unread);
            }
            let patience = if more { Duration::ZERO } else { LOOK };
            if let Some(news) = fleet.next(patience)? {
                self.tell(&news)?;
            }
        }
    }

    fn hold(&mut self, fleet: &mut Fleet<'_>) -> anyhow::Result<Ended> {
        let began = Instant::now();
        loop {
            let left = match self.args.hold {
                Hold::Forever => LOOK,
                Hold::For(time) => time.saturating_sub(began.elapsed()).min(LOOK),
            };
            if left.is_zero() {
                return Ok(Ended::Complete);
            }
            if self.stop.is_asked() {
                return Ok(Ended::Interrupted);
            }
            if fleet.is_gone() {
                note(&format!("lessee: {} has gone away", self.link.name));
                return Ok(Ended::Gone);
            }
            if self.out.is_closed() {
                return Ok(Ended::Unread);
            }
            if let Some(news) = fleet.next(left)? {
                self.tell(&news)?;
            }
        }
    }

    fn holding(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let what = if plan.count == 1 {
            "Bound".to_owned()
        } else {
            format!("All {} bound", count(u64::from(plan.count), "lease"))
        };
        let end = if self.args.keep { "left to the server" } else { "released" };
        self.out.text(&match self.args.hold {
            Hold::Forever => format!("{what}; renewed until Ctrl-C, then {end}."),
            Hold::For(time) if time.is_zero() => format!("{what}."),
            Hold::For(time) => {
                format!("{what}; held for {}, then {end}.", humantime::format_duration(time))
            }
        })
    }

    /// Releases, or leaves all to the server.
    fn give_back(&mut self, port: &Port, fleet: &mut Fleet<'_>) -> anyhow::Result<()> {
        let (keep, full) = (self.args.keep, !self.args.is_many());
        let out = &mut *self.out;
        if !fleet.is_gone() {
            fleet.end(keep, |_, notice| tell_lease(out, notice, full))?;
        }
        if keep || fleet.is_gone() {
            let kept = count(u64::from(fleet.bound), "lease");
            return self.out.text(&format!("{kept} left to the server, not released."));
        }
        if fleet.unreleased() > 0 {
            let left = count(u64::from(fleet.unreleased()), "lease");
            note(&format!("lessee: {}: {left} could not be released", self.link.name));
        }
        let released = port.view()?.counters.releases_sent;
        if released > 0 {
            self.out.text(&format!("{} released.", count(released, "lease")))?;
        }
        Ok(())
    }

    fn tell(&mut self, news: &News) -> anyhow::Result<()> {
        match news {
            News::Lease(notice) => {
                let granted = [Kinds::BOUND, Kinds::RENEWED];
                if self.down && granted.into_iter().any(|kind| notice.kinds.contains(kind)) {
                    self.down = false;
                    note(&format!("lessee: {}: the link works again", self.link.name));
                }
                tell_lease(self.out, notice, !self.args.is_many())
            }
            News::Link(fault) => {
                self.down = true;
                let (event, what) = match fault {
                    LinkFault::Down => ("link_down", "is down; leases go on meanwhile"),
                    LinkFault::Gone => ("link_gone", "does not exist any more"),
                };
                let interface = &self.link.name;
                note(&format!("lessee: {interface} {what}"));
                self.out.json(&LinkEvent { time: describe::now(), event, interface })
            }
            News::Nothing => Ok(()),
        }
    }

    /// Says how many are not bound, and why as far as that can be told.
    fn complain(
        &self,
        port: &Port,
        plan: &Plan,
        fleet: &Fleet<'_>,
        ended: Ended,
    ) -> anyhow::Result<()> {
        if ended == Ended::Unread {
            return Ok(());
        }
        let (name, bound) = (&self.link.name, fleet.bound);
        let after = match ended {
            Ended::Interrupted => "when it was interrupted".to_owned(),
            Ended::Gone => "when the interface went away".to_owned(),
            _ => format!("in {}", seconds(self.args.timeout)),
        };
        let view = port.view()?;
        let naks = view.counters.naks;
        let silent = view.counters.offers == 0 && naks == 0;
        let what = match (plan.count, bound) {
            (1, _) if silent => format!("no answer {after}"),
            (1, _) => format!("no lease {after}"),
            (n, 0) if silent => format!("no answer {after}; none of {n} leases is bound"),
            (n, 0) => format!("none of {n} leases is bound {after}"),
            (n, bound) if ended == Ended::Interrupted || ended == Ended::Gone => {
                format!("{bound} of {n} leases bound {after}")
            }
            (n, bound) => {
                let rest = why::unbound(&(n - bound).to_string(), naks);
                format!("{bound} of {n} leases bound {after}, {rest}")
            }
        };
        note(&format!("lessee: {name}: {what}"));
        if ended == Ended::Interrupted {
            return Ok(());
        }
        for hint in why::silence(&view, name, plan.vlan, self.args.timeout) {
            note(&format!("  - {hint}"));
        }
        Ok(())
    }
}

/// Tells all that happened to a lease, a line for each kind; in `full` with all options.
fn tell_lease(out: &mut Output, notice: &Notice, full: bool) -> anyhow::Result<()> {
    let options = notice.options.as_deref();
    let kinds = [
        (Kinds::LOST, "lost"),
        (Kinds::BOUND, "bound"),
        (Kinds::RENEWED, "renewed"),
        (Kinds::CHANGED, "changed"),
        (Kinds::RELEASED, "released"),
    ];
    for (kind, event) in kinds.into_iter().filter(|(kind, _)| notice.kinds.contains(*kind)) {
        if out.is_json() {
            out.json(&lease_event(kind, event, notice, options))?;
        } else if kind != Kinds::RELEASED {
            // In full when there is something new to see.
            let full = full && kind != Kinds::RENEWED;
            out.text(&lease_text(kind, event, notice, full))?;
        }
    }
    Ok(())
}

fn lease_event(
    kind: Kinds,
    event: &'static str,
    notice: &Notice,
    options: Option<&OptionSet>,
) -> LeaseEvent {
    let over = kind == Kinds::LOST || kind == Kinds::RELEASED;
    let terms = notice.terms.as_ref().filter(|_| !over);
    LeaseEvent {
        time: describe::now(),
        event,
        n: notice.tag,
        mac: notice.mac.to_string(),
        previous_address: notice.previous,
        reason: notice.lost.filter(|_| kind == Kinds::LOST).map(lost_name),
        terms: terms.map(|terms| TermsView::new(terms, options)),
    }
}

const fn lost_name(why: Lost) -> &'static str {
    match why {
        Lost::Expired => "expired",
        Lost::Nak => "nak",
    }
}

fn lease_text(kind: Kinds, event: &str, notice: &Notice, full: bool) -> String {
    let mac = notice.mac;
    let options = notice.options.as_deref();
    if kind == Kinds::LOST {
        let address = notice.previous.map_or_else(|| "its address".to_owned(), |a| a.to_string());
        let why = match notice.lost {
            Some(Lost::Expired) => "its time ran out and no server extended it",
            Some(Lost::Nak) => "the server refused it (NAK)",
            None => "no reason given",
        };
        return format!("{mac} lost     {address}: {why}");
    }
    let Some(terms) = &notice.terms else { return format!("{mac} {event:<8}") };
    let mut text = format!("{mac} {event:<8} {}", TermsView::new(terms, options).line());
    if let Some(options) = options.filter(|_| full) {
        for line in describe::lines(options, &SAID) {
            text.push('\n');
            text.push_str(&line);
        }
    }
    text
}
