//! Why it did not work, as far as the counters tell.

use std::time::Duration;

use lessee_engine::command::PortView;
use lessee_engine::wire::vlan::VlanStack;

use crate::output::{count, grouped};

/// Whoever waited for this long has heard a dnsmasq that pings first.
const PING_CHECK: Duration = Duration::from_secs(6);
/// Whoever waited for this long has seen a switch port begin to forward.
const SPANNING_TREE: Duration = Duration::from_secs(40);

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
pub(crate) fn silence(
    view: &PortView,
    interface: &str,
    vlan: VlanStack,
    waited: Duration,
) -> Vec<String> {
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
        hints.extend(reachability(interface, vlan, waited));
    }
    hints
}

/// What those that are not bound heard, by the counters: `naks` came.
pub(crate) fn unbound(rest: &str, naks: u64) -> String {
    if naks == 0 {
        return format!("{rest} silent: is the server's pool exhausted?");
    }
    format!(
        "{rest} without a lease; the server refused {} (NAK): is its pool exhausted?",
        count(naks, "REQUEST")
    )
}

/// What to look at when nobody answers at all.
fn reachability(interface: &str, vlan: VlanStack, waited: Duration) -> Vec<String> {
    let tags = if vlan.is_empty() {
        format!("is there a DHCP server on {interface}'s network, and untagged (else --vlan VID)?")
    } else {
        format!("does the switch port behind {interface} carry VLAN {vlan} tagged?")
    };
    let mut hints = vec![tags];
    if waited < PING_CHECK {
        hints.push(
            "dnsmasq pings an address for 3 s before it offers it: try --timeout 6s".to_owned(),
        );
    }
    if waited < SPANNING_TREE {
        hints.push(
            "a switch port with spanning tree forwards only 30 s after link-up: try --timeout 40s"
                .to_owned(),
        );
    }
    hints.extend([
        "some relays and access points lose unicasts to unknown stations: try --broadcast always"
            .to_owned(),
        format!(
            "a server on this host sees nothing of it if it listens on {interface} itself or on a \
             macvlan or ipvlan child of it: what is sent on {interface} leaves by the wire"
        ),
    ]);
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_is_not_said_to_be_silent() {
        assert!(unbound("2", 0).starts_with("2 silent: "));
        let refused = unbound("2", 3);
        assert!(refused.contains("refused 3 REQUESTs (NAK)"), "{refused}");
        assert!(!refused.contains("silent"), "{refused}");
    }
}
