//! Why it did not work, as far as the counters tell.

use lessee_engine::command::PortView;
use lessee_engine::wire::vlan::VlanStack;

use crate::output::{count, grouped};

/// Counters that name frames or replies refused, and are not zero: name and number.
pub(crate) fn refusals(view: &PortView) -> Vec<(String, u64)> {
    let named = |name: &str| name.starts_with("ignored_") || name.starts_with("discarded_");
    view.counters.iter().filter(|(name, value)| *value > 0 && named(name)).collect()
}

/// Refusals on one line: `ignored_bad_mask 3, discarded_ip_checksum 1`.
pub(crate) fn refusals_line(view: &PortView) -> Option<String> {
    let all = refusals(view);
    let parts: Vec<String> =
        all.iter().map(|(name, value)| format!("{name} {}", grouped(*value))).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What a server's silence towards `missing` clients may mean: a line for each thing.
pub(crate) fn silence(view: &PortView, interface: &str, vlan: VlanStack) -> Vec<String> {
    let counters = &view.counters;
    let mut hints = vec![format!(
        "sent: {} and {} ({} of both); answers: {}, {}",
        count(counters.discovers_sent, "DISCOVER"),
        count(counters.requests_sent, "REQUEST"),
        count(counters.retransmissions, "repetition"),
        count(counters.offers + counters.offers_probed, "OFFER"),
        count(counters.naks, "NAK"),
    )];
    if let Some(refused) = refusals_line(view) {
        hints.push(format!("packets came and were refused: {refused}"));
    }
    if counters.frames_failed > 0 {
        hints.push(format!("{} could not be sent", count(counters.frames_failed, "frame")));
    }
    if view.device.dropped > 0 {
        hints.push(format!("{} lost in the receive ring", count(view.device.dropped, "frame")));
    }
    if view.bound == 0 && counters.offers + counters.offers_probed == 0 {
        hints.extend(reachability(interface, vlan));
    }
    hints
}

/// What to look at when nobody answers at all.
fn reachability(interface: &str, vlan: VlanStack) -> Vec<String> {
    let tags = if vlan.is_empty() {
        format!("is there a DHCP server on {interface}'s network, and untagged (else --vlan VID)?")
    } else {
        format!("does the switch port behind {interface} carry VLAN {vlan} tagged?")
    };
    vec![
        tags,
        "a switch port with spanning tree forwards only 30 s after link-up: try --timeout 40s"
            .to_owned(),
        "some relays and access points lose unicasts to unknown stations: try --broadcast always"
            .to_owned(),
        format!(
            "a server on this host sees nothing of it if it listens on {interface} itself or on a \
             macvlan or ipvlan child of it: what is sent on {interface} leaves by the wire"
        ),
    ]
}
