//! What all files held, counted by name.

use std::collections::BTreeMap;

use lessee_engine::wire::Discard;
use pcap_file::DataLink;
use serde::Serialize;

use super::frames::{Medium, Verdict};
use super::report::type_name;
use crate::output::{count, grouped};

type Counts = BTreeMap<String, u64>;

/// The last line of the output.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tally {
    pub(super) files: u64,
    /// Files that could not be read, or not to their end.
    pub(super) files_failed: u64,
    pub(super) frames: u64,
    /// DHCP messages that were accepted, by type.
    pub(super) accepted: Counts,
    /// DHCP messages that were refused, by the reason's name.
    pub(super) refused: Counts,
    /// All other traffic: `arp`, or the name of what set it apart.
    pub(super) other: Counts,
    /// Of the accepted ones.
    pub(super) oddities: Counts,
    /// Accepted in spite of a wrong checksum, by the name of the refusal that it would have been.
    pub(super) checksums_ignored: Counts,
    /// Frames that were read by their IPv4 part alone, by medium.
    pub(super) not_ethernet: Counts,
    /// Frames that cannot be read, by link type.
    pub(super) unsupported_link_types: Counts,
}

impl Tally {
    pub(super) fn verdict(&mut self, medium: Medium, verdict: &Verdict<'_>) {
        self.frames += 1;
        if medium != Medium::Ethernet {
            add(&mut self.not_ethernet, medium.name());
        }
        match verdict {
            Verdict::Dhcp(taken, datagram) => {
                add(&mut self.accepted, &type_name(datagram.message.message_type));
                taken.oddities.iter().for_each(|oddity| add(&mut self.oddities, oddity.name()));
                if let Some(why) = taken.unjudged {
                    add(&mut self.checksums_ignored, why.name());
                }
            }
            Verdict::Arp(..) => add(&mut self.other, "arp"),
            Verdict::Refused(why, _) => add(&mut self.refused, why.name()),
            Verdict::Other(why, _) => add(&mut self.other, why.name()),
        }
    }

    pub(super) fn unsupported(&mut self, link_type: u16) {
        self.frames += 1;
        add(&mut self.unsupported_link_types, &link_name(link_type));
    }

    fn sum(&self, names: &[Discard]) -> u64 {
        names.iter().filter_map(|name| self.refused.get(name.name())).sum()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let messages = self.accepted.values().sum();
        let mut lines = vec![format!(
            "{}, {}: {}{}",
            count(self.files, "file"),
            count(self.frames, "frame"),
            count(messages, "DHCP message"),
            listed(&self.accepted)
        )];
        let mut more = |what: &str, counts: &Counts| {
            if !counts.is_empty() {
                let sum = grouped(counts.values().sum());
                lines.push(format!("  {what}: {sum}{}", listed(counts)));
            }
        };
        more("refused", &self.refused);
        more("odd", &self.oddities);
        more("accepted in spite of a checksum", &self.checksums_ignored);
        more("other traffic", &self.other);
        more("read without an Ethernet header", &self.not_ethernet);
        more("unsupported link types", &self.unsupported_link_types);
        if self.files_failed > 0 {
            lines.push(format!("  {} could not be read wholly", count(self.files_failed, "file")));
        }
        let checksums = self.sum(&[Discard::UdpChecksum, Discard::IpChecksum]);
        if checksums > 0 {
            lines.push(format!(
                "{} refused for a checksum. A capture made on the sending host has the checksums \
                 that its network card was still to fill in: --ignore-checksums reads those too.",
                if checksums == 1 {
                    "1 was".to_owned()
                } else {
                    format!("{} were", grouped(checksums))
                }
            ));
        }
        lines.join("\n")
    }
}

fn add(counts: &mut Counts, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => drop(counts.insert(name.to_owned(), 1)),
    }
}

fn listed(counts: &Counts) -> String {
    let each: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
    if each.is_empty() { String::new() } else { format!(" ({})", each.join(", ")) }
}

/// `127 (IEEE802_11_RADIO)`, or the number alone.
fn link_name(link_type: u16) -> String {
    match DataLink::from(u32::from(link_type)) {
        DataLink::Unknown(_) => link_type.to_string(),
        known => format!("{link_type} ({known:?})"),
    }
}
