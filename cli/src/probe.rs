//! `lessee probe`: who answers, and with what. Nothing is ever requested.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use crossbeam_channel::RecvTimeoutError;
use lessee_engine::command::{Event, Offer};
use lessee_engine::device::LinkFault;
use lessee_engine::lease::timing::{INFINITE, Retransmission};
use lessee_engine::lease::{Acquire, ClientIdentifier, Profile};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::options::code;
use lessee_engine::wire::vlan::VlanStack;
use serde::Serialize;

use crate::args::Probe;
use crate::describe::{self, OptionView};
use crate::output::{Output, count, latency, note, seconds};
use crate::port::{self, PORT, Port, PortOptions};
use crate::signals::Stop;
use crate::{Outcome, macs, why};

/// Asked for beside what a lease asks for: what people want to see. (Not option 108, which would
/// make a server hold back its address.)
const MORE_REQUESTS: [u8; 10] = [2, 4, 7, 43, 44, 46, 66, 67, 114, 125];

/// A lost DISCOVER is repeated while a person waits.
const REPEAT: Retransmission = Retransmission {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(4),
    jitter: Duration::from_millis(200),
    requests: 1,
    renewal_floor: Duration::from_secs(60),
};

/// Once a server has answered, how long another one may take: longer than the 3 s for which dnsmasq
/// pings an address before it offers it, so that none is hidden by a faster one.
const LULL: Duration = Duration::from_secs(4);

/// The whole result in JSON.
#[derive(Debug, Serialize)]
struct Report {
    interface: String,
    vlan: Option<String>,
    mac: String,
    waited_seconds: f64,
    offers: Vec<OfferView>,
}

/// An offer in JSON.
#[derive(Debug, Serialize)]
struct OfferView {
    server: Option<Ipv4Addr>,
    server_mac: String,
    relay: Option<Ipv4Addr>,
    after_us: u64,
    address: Ipv4Addr,
    prefix: Option<u8>,
    mask: Option<Ipv4Addr>,
    routers: Vec<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    /// `null` if the server named none, or an infinite one: see the options.
    lease_seconds: Option<u32>,
    options: Vec<OptionView>,
}

impl OfferView {
    fn new(offer: &Offer) -> Self {
        let options = &offer.options;
        Self {
            server: offer.server_id,
            server_mac: offer.server_mac.to_string(),
            relay: offer.relay,
            after_us: offer.after_nanos / 1000,
            address: offer.address,
            prefix: describe::prefix(options),
            mask: describe::number(options, code::SUBNET_MASK).map(Ipv4Addr::from),
            routers: describe::routers(options),
            dns: describe::addresses(options, code::DOMAIN_NAME_SERVER),
            lease_seconds: describe::number(options, code::LEASE_TIME)
                .filter(|seconds| *seconds != INFINITE),
            options: describe::views(options),
        }
    }

    /// An answer that was seen already: a server repeats itself when we do.
    fn is_again(&self, other: &Self) -> bool {
        (self.server, &self.server_mac, self.relay)
            == (other.server, &other.server_mac, other.relay)
    }
}

pub(crate) fn run(args: &Probe, out: &mut Output) -> anyhow::Result<Outcome> {
    let stop = Stop::install()?;
    let link = port::look_up(&args.interface)?;
    let mac = args.mac.unwrap_or_else(|| macs::of_probe(link.mac));
    let vlan = args.wire.vlan.unwrap_or_default();
    let options =
        PortOptions { only_mac: Some(mac.0), ..PortOptions::small(!args.wire.no_promiscuous) };
    let port = Port::open(&link, &options)?;
    out.text(&format!(
        "{}: asking as {mac}, for up to {} …",
        place(&link.name, vlan),
        seconds(args.timeout)
    ))?;
    let began = Instant::now();
    port.handle().acquire(request(args, mac, vlan))?;
    let Heard { offers, gone } = listen(args, &port, &stop, out)?;
    let waited = began.elapsed();
    let view = port.view()?;
    port.close()?;
    let answered = !offers.is_empty();
    if answered {
        let servers = count(offers.len() as u64, "server");
        out.text(&format!("{servers} answered; nothing was requested, so no address is used up."))?;
    }
    out.json(&Report {
        interface: link.name.clone(),
        vlan: (!vlan.is_empty()).then(|| vlan.to_string()),
        mac: mac.to_string(),
        waited_seconds: (waited.as_millis() as f64) / 1e3,
        offers,
    })?;
    if answered {
        return Ok(Outcome::Met);
    }
    note(&format!("lessee: {}: no answer in {}", place(&link.name, vlan), seconds(waited)));
    if gone {
        return Ok(Outcome::Unmet);
    }
    for hint in why::silence(&view, &link.name, vlan, waited) {
        note(&format!("  - {hint}"));
    }
    Ok(Outcome::Unmet)
}

fn place(interface: &str, vlan: VlanStack) -> String {
    if vlan.is_empty() { interface.to_owned() } else { format!("{interface}, VLAN {vlan}") }
}

fn request(args: &Probe, mac: Mac, vlan: VlanStack) -> Acquire {
    let base = Profile::default();
    let requests = base.parameter_requests.iter().copied().chain(MORE_REQUESTS);
    let profile = Arc::new(Profile {
        parameter_requests: requests.collect(),
        broadcast: args.wire.broadcast,
        retransmission: REPEAT,
        ..base
    });
    let client_id: ClientIdentifier = args.client_id.clone();
    Acquire { vlans: vlan, client_id, probe: true, ..Acquire::new(PORT, mac, profile) }
}

/// What came of listening.
#[derive(Debug, Default)]
struct Heard {
    offers: Vec<OfferView>,
    /// The interface went away meanwhile.
    gone: bool,
}

/// Collects offers, one for each server, and prints each as it comes.
fn listen(args: &Probe, port: &Port, stop: &Stop, out: &mut Output) -> anyhow::Result<Heard> {
    let mut heard = Heard::default();
    let end = Instant::now() + args.timeout;
    let mut lull = None;
    while !stop.is_asked() && !out.is_closed() {
        let until = lull.map_or(end, |lull| end.min(lull));
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match port.handle().events().recv_timeout(left.min(Duration::from_millis(100))) {
            Ok(Event::Offer(offer)) => {
                let view = OfferView::new(&offer);
                if !heard.offers.iter().any(|other| other.is_again(&view)) {
                    out.text(&text(&offer, &view))?;
                    heard.offers.push(view);
                    lull = Some(Instant::now() + LULL);
                }
            }
            Ok(Event::Link { fault: LinkFault::Down, .. }) => {
                note(&format!("lessee: {} is down; the wait goes on", args.interface));
            }
            Ok(Event::Link { fault: LinkFault::Gone, .. }) => {
                note(&format!("lessee: {} does not exist any more", args.interface));
                heard.gone = true;
                break;
            }
            Ok(Event::Lease { .. }) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the engine has ended by itself"),
        }
    }
    Ok(heard)
}

fn text(offer: &Offer, view: &OfferView) -> String {
    let server = match offer.server_id {
        Some(address) => address.to_string(),
        None => "a server without an identifier (option 54 is missing)".to_owned(),
    };
    let relay = offer.relay.map_or_else(String::new, |relay| format!(", through relay {relay}"));
    let mut lines = vec![format!(
        "{server} ({}{relay}) offers {} after {}",
        offer.server_mac,
        describe::with_prefix(offer.address, view.prefix),
        latency(view.after_us)
    )];
    // The type is OFFER, and the server's address stands above.
    lines.extend(describe::lines(&offer.options, &[code::MESSAGE_TYPE, code::SERVER_ID]));
    lines.join("\n")
}
