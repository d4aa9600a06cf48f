//! Packet for packet as tshark reads it, wherever both accept.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::files::{Block, Order, frames, ng, tagged, uncooked};
use super::{dissect, fixtures, parsed};

/// What is asked of tshark, in order.
const FIELDS: [&str; 20] = [
    "frame.number",
    "frame.time_epoch",
    "dhcp.option.dhcp",
    "dhcp.id",
    "dhcp.ip.client",
    "dhcp.ip.your",
    "dhcp.ip.server",
    "dhcp.ip.relay",
    "dhcp.hw.mac_addr",
    "ip.src",
    "ip.dst",
    "udp.srcport",
    "dhcp.secs",
    "dhcp.option.type",
    "dhcp.option.dhcp_server_id",
    "dhcp.option.ip_address_lease_time",
    "dhcp.option.requested_ip_address",
    "dhcp.option.subnet_mask",
    "ieee8021ad.id",
    "vlan.id",
];

/// tshark's DHCP packets, a row each; `None` if it is not installed.
fn rows(file: &Path) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-r", file.to_str().unwrap(), "-n", "-Y", "dhcp", "-T", "fields"]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            crate::support::skipped(
                "the comparison with tshark",
                "install the Debian package tshark",
            );
            return None;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// An option's value by its code; empty where it is absent, as tshark has it.
fn option(line: &Value, code: u8) -> String {
    let options = line["message"]["options"].as_array().unwrap();
    let found = options.iter().find(|option| option["code"] == code);
    found.map_or_else(String::new, |option| plain(&option["value"]))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// RFC 3339 as seconds since 1970.
fn epoch(time: &Value) -> String {
    let time = humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

fn agree(line: &Value, row: &[String], what: &str) {
    let theirs = |name: &str| {
        let at = FIELDS.iter().position(|field| *field == name).unwrap();
        row[at].as_str()
    };
    let message = &line["message"];
    let types = ["", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"];
    let number: usize = theirs("dhcp.option.dhcp").parse().unwrap();
    assert_eq!(message["type"], format!("DHCP{}", types[number]), "{what}");
    for (field, ours) in [
        ("frame.number", plain(&line["frame"])),
        ("frame.time_epoch", epoch(&line["time"])),
        ("dhcp.id", plain(&line["xid"])),
        ("dhcp.ip.client", plain(&message["ciaddr"])),
        ("dhcp.ip.your", plain(&message["yiaddr"])),
        ("dhcp.ip.server", plain(&message["siaddr"])),
        ("dhcp.ip.relay", plain(&message["giaddr"])),
        ("ip.src", plain(&line["source"])),
        ("ip.dst", plain(&line["destination"])),
        ("udp.srcport", plain(&line["source_port"])),
        ("dhcp.secs", plain(&message["secs"])),
        ("dhcp.option.dhcp_server_id", option(line, 54)),
        ("dhcp.option.ip_address_lease_time", option(line, 51)),
        ("dhcp.option.requested_ip_address", option(line, 50)),
        ("dhcp.option.subnet_mask", option(line, 1)),
    ] {
        assert_eq!(ours, theirs(field), "{what}: {field}");
    }
    let vids = [theirs("ieee8021ad.id"), theirs("vlan.id")];
    let vids: Vec<&str> = vids.into_iter().filter(|vid| !vid.is_empty()).collect();
    let ours: Vec<String> = line["vlans"].as_array().unwrap().iter().map(plain).collect();
    assert_eq!(ours, vids, "{what}: tags");
    // Twice where option 61 holds it as well.
    let mac = theirs("dhcp.hw.mac_addr").split(',').next().unwrap();
    assert_eq!(plain(&line["chaddr"]), mac, "{what}");
    let codes = theirs("dhcp.option.type").split(',').map(|code| code.parse::<u64>().unwrap());
    // Pads and ends are no options.
    let codes: BTreeSet<u64> = codes.filter(|code| !matches!(code, 0 | 255)).collect();
    let options = message["options"].as_array().unwrap();
    let ours: BTreeSet<u64> = options.iter().map(|o| o["code"].as_u64().unwrap()).collect();
    assert_eq!(ours, codes, "{what}: options");
}

/// Compares all of a file and returns the number of messages; `None` without tshark.
fn compare(file: &Path) -> Option<usize> {
    let rows = rows(file)?;
    let ran = dissect(&[file.to_str().unwrap(), "--json", "--ignore-checksums"], &[]);
    ran.expect(0, &[]);
    let (lines, _) = parsed(&ran);
    assert!(lines.iter().all(|line| line["verdict"] == "accepted"), "{}", file.display());
    assert_eq!(lines.len(), rows.len(), "{}", file.display());
    for (line, row) in lines.iter().zip(&rows) {
        agree(line, row, &format!("{} frame {}", file.display(), line["frame"]));
    }
    Some(lines.len())
}

#[test]
fn tshark_reads_the_fixtures_alike() {
    let mut messages = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pcap") {
            let Some(compared) = compare(&path) else { return };
            messages += compared;
        }
    }
    assert!(messages > 80, "{messages}");
}

#[test]
fn tshark_reads_crafted_files_alike() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("crafted.pcapng");
    for name in ["kea-nak.pcap", "dnsmasq-renew.pcap", "udhcpd-release.pcap"] {
        let frames = frames(&fs::read(fixtures().join(name)).unwrap());
        let frames: Vec<_> = frames.into_iter().filter(|frame| frame[12..14] == [8, 0]).collect();
        for order in [Order::Little, Order::Big] {
            let wrapped = frames.iter().enumerate().map(|(number, frame)| match number % 5 {
                0 => (0, frame.clone()),
                1 => (0, tagged(frame, &[(0x8100, 0x6064)])),
                2 => (0, tagged(frame, &[(0x88a8, 4094), (0x8100, 1)])),
                3 => (1, uncooked(frame, 113)),
                _ => (2, frame[14..].to_vec()),
            });
            let wrapped: Vec<(u32, Vec<u8>)> = wrapped.collect();
            let mut blocks = vec![
                Block::Interface { link: 1, resolution: None, name: "a" },
                Block::Interface { link: 113, resolution: Some(9), name: "b" },
                Block::Interface { link: 101, resolution: Some(3), name: "c" },
            ];
            blocks.extend(wrapped.iter().map(|(interface, frame)| Block::Packet {
                interface: *interface,
                units: 1_234_567_890_123,
                frame,
            }));
            fs::write(&path, ng(order, &blocks)).unwrap();
            let Some(compared) = compare(&path) else { return };
            assert_eq!(compared, frames.len(), "{name}");
        }
    }
}
