//! A frame as people and programs read it. Nothing in it can act on a terminal.

use std::fmt::Display;
use std::net::Ipv4Addr;

use lessee_engine::wire::arp::{Arp, Operation};
use lessee_engine::wire::dhcp::{Datagram, Message, MessageType, Op};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::names::message_type_name;
use lessee_engine::wire::options::{OptionSet, code};
use lessee_engine::wire::{Discard, Oddity};
use serde::Serialize;

use super::capture::Record;
use super::frames::{Medium, Sketch, Taken, Verdict};
use crate::describe::{self, OptionView};

/// Where a frame was found.
#[derive(Debug, Serialize)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    /// From 1, as other programs count.
    pub(super) frame: u64,
    pub(super) time: Option<String>,
    pub(super) interface: Option<String>,
    pub(super) medium: &'static str,
    pub(super) captured: usize,
    pub(super) length: usize,
}

impl<'a> Place<'a> {
    pub(super) fn new(file: &'a str, frame: u64, medium: Medium, record: &Record<'_>) -> Self {
        Self {
            file,
            frame,
            time: record.time.map(|time| time.to_string()),
            interface: record.interface.clone(),
            medium: medium.name(),
            captured: record.bytes.len(),
            length: record.wire_len,
        }
    }
}

/// A frame in JSON. What is not known is `null`.
#[derive(Debug, Serialize)]
pub(super) struct FrameView<'a> {
    record: &'static str,
    #[serde(flatten)]
    place: &'a Place<'a>,
    source_mac: Option<String>,
    destination_mac: Option<String>,
    /// Outermost first.
    vlans: Vec<u16>,
    source: Option<Ipv4Addr>,
    source_port: Option<u16>,
    destination: Option<Ipv4Addr>,
    destination_port: Option<u16>,
    /// `accepted`, `refused` or `other`.
    verdict: &'static str,
    /// The name of the refusal, or of what sets other traffic apart.
    reason: Option<&'static str>,
    checksum_ignored: Option<&'static str>,
    oddities: Vec<&'static str>,
    xid: Option<String>,
    chaddr: Option<String>,
    message: Option<MessageView>,
    arp: Option<ArpView>,
}

/// An accepted DHCP message in JSON.
#[derive(Debug, Serialize)]
struct MessageView {
    #[serde(rename = "type")]
    kind: String,
    op: &'static str,
    hops: u8,
    secs: u16,
    broadcast: bool,
    ciaddr: Ipv4Addr,
    yiaddr: Ipv4Addr,
    siaddr: Ipv4Addr,
    giaddr: Ipv4Addr,
    options: Vec<OptionView>,
}

#[derive(Debug, Serialize)]
struct ArpView {
    operation: &'static str,
    sender_mac: String,
    sender: Ipv4Addr,
    target_mac: String,
    target: Ipv4Addr,
}

impl<'a> FrameView<'a> {
    pub(super) fn new(place: &'a Place<'a>, verdict: &Verdict<'_>) -> Self {
        let view = Self::bare(place);
        match verdict {
            Verdict::Dhcp(taken, datagram) => view.taken(taken).datagram(datagram),
            Verdict::Arp(taken, arp) => Self {
                verdict: "other",
                reason: Some("arp"),
                arp: Some(ArpView::new(arp)),
                ..view.taken(taken)
            },
            Verdict::Refused(why, sketch) => view.sketched("refused", *why, sketch),
            Verdict::Other(why, sketch) => view.sketched("other", *why, sketch),
        }
    }

    const fn bare(place: &'a Place<'a>) -> Self {
        Self {
            record: "frame",
            place,
            source_mac: None,
            destination_mac: None,
            vlans: Vec::new(),
            source: None,
            source_port: None,
            destination: None,
            destination_port: None,
            verdict: "accepted",
            reason: None,
            checksum_ignored: None,
            oddities: Vec::new(),
            xid: None,
            chaddr: None,
            message: None,
            arp: None,
        }
    }

    fn taken(self, taken: &Taken<'_>) -> Self {
        Self {
            source_mac: taken.source.map(|mac| mac.to_string()),
            destination_mac: taken.destination.map(|mac| mac.to_string()),
            vlans: taken.vlans.tags().map(|tag| tag.vid()).collect(),
            checksum_ignored: taken.unjudged.map(Discard::name),
            oddities: taken.oddities.iter().map(Oddity::name).collect(),
            ..self
        }
    }

    fn datagram(self, datagram: &Datagram<'_>) -> Self {
        Self {
            source: Some(*datagram.source.ip()),
            source_port: Some(datagram.source.port()),
            destination: Some(*datagram.destination.ip()),
            destination_port: Some(datagram.destination.port()),
            xid: Some(xid(datagram.message.xid)),
            chaddr: Some(datagram.message.chaddr.to_string()),
            message: Some(MessageView::new(&datagram.message)),
            ..self
        }
    }

    fn sketched(self, verdict: &'static str, why: Discard, sketch: &Sketch) -> Self {
        Self {
            verdict,
            reason: Some(why.name()),
            source_mac: sketch.source.map(|mac| mac.to_string()),
            destination_mac: sketch.destination.map(|mac| mac.to_string()),
            vlans: sketch.vids.clone(),
            source: sketch.addresses.map(|(source, _)| source),
            source_port: sketch.ports.map(|(source, _)| source),
            destination: sketch.addresses.map(|(_, destination)| destination),
            destination_port: sketch.ports.map(|(_, destination)| destination),
            xid: sketch.bootp.map(|(number, _)| xid(number)),
            chaddr: sketch.bootp.map(|(_, mac)| mac.to_string()),
            ..self
        }
    }
}

impl MessageView {
    fn new(message: &Message<'_>) -> Self {
        Self {
            kind: type_name(message.message_type),
            op: match message.op {
                Op::Request => "request",
                Op::Reply => "reply",
            },
            hops: message.hops,
            secs: message.secs,
            broadcast: message.broadcast,
            ciaddr: message.ciaddr,
            yiaddr: message.yiaddr,
            siaddr: message.siaddr,
            giaddr: message.giaddr,
            options: describe::views(&OptionSet::from_options(&message.options)),
        }
    }
}

impl ArpView {
    fn new(arp: &Arp) -> Self {
        Self {
            operation: match arp.operation {
                Operation::Request => "request",
                Operation::Reply => "reply",
            },
            sender_mac: arp.sender_mac.to_string(),
            sender: arp.sender_ip,
            target_mac: arp.target_mac.to_string(),
            target: arp.target_ip,
        }
    }
}

/// `DHCPOFFER`; `type 42` where there is no name.
pub(super) fn type_name(kind: MessageType) -> String {
    message_type_name(kind).map_or_else(|| format!("type {}", kind.value()), str::to_owned)
}

fn xid(number: u32) -> String {
    format!("{number:#010x}")
}

/// A frame for people: one line, and a DHCP message's options below it.
pub(super) fn text(place: &Place<'_>, verdict: &Verdict<'_>) -> String {
    match verdict {
        Verdict::Dhcp(taken, datagram) => accepted(place, taken, datagram),
        Verdict::Arp(taken, arp) => {
            let vids = taken.vlans.tags().map(|tag| tag.vid()).collect();
            let head = head(place, taken.source, taken.destination, vids);
            let Arp { sender_ip, target_ip, .. } = arp;
            match arp.operation {
                Operation::Request => format!("{head}ARP: who has {target_ip}? tell {sender_ip}"),
                Operation::Reply => format!("{head}ARP: {sender_ip} is at {}", arp.sender_mac),
            }
        }
        Verdict::Refused(why, sketch) => {
            format!("{}refused: {}", sketched(place, sketch), reason(place, *why))
        }
        Verdict::Other(why, sketch) => {
            format!("{}other: {}", sketched(place, sketch), reason(place, *why))
        }
    }
}

/// Number, time, interface, MACs and tags, with a blank behind.
fn head(
    place: &Place<'_>,
    source: Option<Mac>,
    destination: Option<Mac>,
    vids: Vec<u16>,
) -> String {
    let mut head = format!("#{}", place.frame);
    let mut add = |text: String| {
        head.push(' ');
        head.push_str(&text);
    };
    if let Some(time) = &place.time {
        add(time.clone());
    }
    if let Some(name) = &place.interface {
        add(format!("on {name}"));
    }
    match (source, destination) {
        (Some(source), Some(destination)) => add(format!("{source} > {destination}")),
        (Some(mac), None) => add(format!("{mac} > ?")),
        (None, Some(mac)) => add(format!("? > {mac}")),
        (None, None) => {}
    }
    if !vids.is_empty() {
        let vids: Vec<String> = vids.iter().map(ToString::to_string).collect();
        add(format!("vlan {}", vids.join(".")));
    }
    head.push(' ');
    head
}

fn accepted(place: &Place<'_>, taken: &Taken<'_>, datagram: &Datagram<'_>) -> String {
    let message = &datagram.message;
    let vids = taken.vlans.tags().map(|tag| tag.vid()).collect();
    let mut line = head(place, taken.source, taken.destination, vids);
    line.push_str(&format!(
        "{} > {} {} xid {} chaddr {}",
        datagram.source,
        datagram.destination,
        type_name(message.message_type),
        xid(message.xid),
        message.chaddr
    ));
    let mut add = |name: &str, value: &dyn Display, shown: bool| {
        if shown {
            line.push_str(&format!(" {name} {value}"));
        }
    };
    for (name, address) in [
        ("ciaddr", message.ciaddr),
        ("yiaddr", message.yiaddr),
        ("siaddr", message.siaddr),
        ("giaddr", message.giaddr),
    ] {
        add(name, &address, !address.is_unspecified());
    }
    add("hops", &message.hops, message.hops != 0);
    add("secs", &message.secs, message.secs != 0);
    if message.broadcast {
        line.push_str(" broadcast");
    }
    let mut lines = vec![line];
    if let Some(why) = taken.unjudged {
        lines.push(format!("    ({}, ignored)", why.name()));
    }
    if !taken.oddities.is_empty() {
        let names: Vec<&str> = taken.oddities.iter().map(Oddity::name).collect();
        lines.push(format!("    (odd: {})", names.join(", ")));
    }
    // The type stands above.
    let options = OptionSet::from_options(&message.options);
    lines.extend(describe::lines(&options, &[code::MESSAGE_TYPE]));
    lines.join("\n")
}

fn sketched(place: &Place<'_>, sketch: &Sketch) -> String {
    let mut line = head(place, sketch.source, sketch.destination, sketch.vids.clone());
    match (sketch.addresses, sketch.ports, sketch.protocol) {
        (Some((from, to)), Some((source, destination)), _) => {
            line.push_str(&format!("{from}:{source} > {to}:{destination} "));
        }
        (Some((from, to)), None, Some(protocol)) => {
            line.push_str(&format!("{from} > {to} protocol {protocol} "));
        }
        _ => {
            if let Some(ether_type) = sketch.ether_type {
                line.push_str(&format!("type {ether_type:#06x} "));
            }
        }
    }
    if let Some((number, mac)) = sketch.bootp {
        line.push_str(&format!("xid {} chaddr {mac} ", xid(number)));
    }
    line
}

fn reason(place: &Place<'_>, why: Discard) -> String {
    match why {
        Discard::CutFrame => {
            format!("{} ({} of {} bytes captured)", why.name(), place.captured, place.length)
        }
        _ => why.name().to_owned(),
    }
}
