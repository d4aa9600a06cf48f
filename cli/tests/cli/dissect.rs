//! `lessee dissect`: fixtures, crafted captures, damaged ones; and tshark's word beside ours.

mod files;
mod tshark;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{LESSEE, Ran};
use files::{Block, Order, frames, ng, pcap, spoiled, tagged, uncooked};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcap-fixtures")
}

/// Runs `lessee dissect` with these arguments, and these bytes as its standard input.
fn dissect(args: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(LESSEE);
    command.arg("dissect").args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // It may end before it has read all.
        scope.spawn(move || stdin.write_all(input));
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Ran { status: output.status.code(), stdout, stderr }
    })
}

/// The JSON lines: frames, and the summary.
fn parsed(ran: &Ran) -> (Vec<Value>, Value) {
    let line = |line: &str| serde_json::from_str(line).unwrap();
    let mut lines: Vec<Value> = ran.stdout.lines().map(line).collect();
    let summary = lines.pop().unwrap_or_else(|| panic!("no summary: {ran:?}"));
    assert_eq!(summary["record"], "summary");
    assert!(lines.iter().all(|line| line["record"] == "frame"));
    (lines, summary)
}

/// What is made of bytes on standard input, all frames of them.
fn made_of(bytes: &[u8], more: &[&str]) -> (Vec<Value>, Value) {
    let ran = dissect(&[&["-", "--json", "--all"], more].concat(), bytes);
    ran.expect(0, &[]);
    parsed(&ran)
}

/// Verdicts in short: the message's type, or verdict and reason.
fn verdicts(lines: &[Value]) -> Vec<String> {
    let short = |line: &Value| match line["verdict"].as_str().unwrap() {
        "accepted" => line["message"]["type"].as_str().unwrap().to_owned(),
        verdict => format!("{verdict} {}", line["reason"].as_str().unwrap()),
    };
    lines.iter().map(short).collect()
}

/// The first two frames of an exchange with Kea, whose checksums are right.
fn pair() -> [Vec<u8>; 2] {
    let frames = frames(&fs::read(fixtures().join("kea-dora.pcap")).unwrap());
    frames[..2].to_vec().try_into().unwrap()
}

#[test]
fn every_fixture_holds_the_messages_that_it_is_named_for() {
    let table = [
        ("dora", "DISCOVER OFFER REQUEST ACK"),
        ("renew", "DISCOVER OFFER REQUEST ACK REQUEST ACK"),
        ("release", "DISCOVER OFFER REQUEST ACK RELEASE"),
        ("nak", "DISCOVER OFFER REQUEST ACK REQUEST NAK DISCOVER OFFER REQUEST ACK"),
    ];
    for (server, unsummed) in
        [("dnsmasq", true), ("kea", false), ("dhcpd", true), ("udhcpd", false)]
    {
        for (exchange, messages) in table {
            let path = fixtures().join(format!("{server}-{exchange}.pcap"));
            let path = path.to_str().unwrap();
            let ran = dissect(&[path, "--json", "--ignore-checksums"], &[]);
            ran.expect(0, &[]);
            let (lines, summary) = parsed(&ran);
            let expected = match (server, exchange) {
                // It forgets before it is asked (pcap-fixtures/README.md).
                ("udhcpd", "nak") => "DISCOVER OFFER REQUEST NAK DISCOVER OFFER REQUEST ACK",
                _ => messages,
            };
            let expected: Vec<String> = expected.split(' ').map(|m| format!("DHCP{m}")).collect();
            assert_eq!(verdicts(&lines), expected, "{path}");
            assert!(lines.iter().all(|line| line["oddities"].as_array().unwrap().is_empty()));
            let judged = parsed(&dissect(&[path, "--json"], &[])).1;
            let ignored = summary["checksums_ignored"]["udp_checksum"].as_u64().unwrap_or(0);
            assert_eq!(judged["refused"]["udp_checksum"].as_u64().unwrap_or(0), ignored, "{path}");
            assert!(unsummed || ignored == 0, "{path}");
        }
    }
}

#[test]
fn a_folder_is_read_in_the_order_of_its_names() {
    let dir = TempDir::new().unwrap();
    for (name, from) in [("b.PCAP", "kea-nak"), ("a.cap", "kea-dora"), ("c.txt", "kea-dora")] {
        fs::copy(fixtures().join(format!("{from}.pcap")), dir.path().join(name)).unwrap();
    }
    fs::create_dir(dir.path().join("d.pcap")).unwrap();
    let ran = dissect(&[dir.path().to_str().unwrap()], &[]);
    ran.expect(0, &[]);
    let names: Vec<&str> = ran.stdout.lines().filter(|line| line.ends_with(':')).collect();
    assert!(
        matches!(names[..], [a, b] if a.ends_with("/a.cap:") && b.ends_with("/b.PCAP:")),
        "{names:?}"
    );
    assert!(ran.stdout.contains("2 files, 14 frames: 14 DHCP messages (DHCPACK 3,"), "{ran:?}");
    assert!(ran.stdout.contains("DHCPOFFER xid 0x") && ran.stdout.contains("\n    routers "));

    let empty = TempDir::new().unwrap();
    dissect(&[empty.path().to_str().unwrap()], &[]).expect(1, &["no *.pcap, *.pcapng or *.cap"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_next_one_is_read() {
    let dir = TempDir::new().unwrap();
    let whole = fs::read(fixtures().join("kea-dora.pcap")).unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut corrupt = whole.clone();
    // The length of the second frame.
    let second = 24 + 16 + pair()[0].len();
    corrupt[second + 8..second + 12].copy_from_slice(&300_000u32.to_le_bytes());
    // There is enough behind it to read so much.
    corrupt.resize(400_000, 0);
    for (name, bytes) in [
        ("empty", &[][..]),
        ("cut", &whole[..whole.len() - 1]),
        ("corrupt", &corrupt),
        ("text", b"no capture at all, but text"),
        ("packed", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("whole", &whole),
    ] {
        fs::write(path(name), bytes).unwrap();
    }
    let names = ["missing", "empty", "cut", "corrupt", "text", "packed", "whole"].map(path);
    let args: Vec<&str> = names.iter().map(String::as_str).chain(["--json"]).collect();
    let ran = dissect(&args, &[]);
    let corrupt = format!("corrupt: at offset {second}: a frame of 300000 bytes is impossible");
    ran.expect(1, &["missing: No such file", "empty: at offset 0: the file is empty", &corrupt]);
    ran.expect(1, &["text: at offset 0: neither pcap", "gzip", "`zcat FILE | lessee dissect -`"]);
    assert!(ran.stderr.contains("cut: at offset ") && ran.stderr.contains("ends in the middle"));
    let (lines, summary) = parsed(&ran);
    // Three of the one that was cut, one of the corrupt one.
    assert_eq!(lines.len(), 3 + 1 + 4);
    assert_eq!((&summary["files"], &summary["files_failed"]), (&7.into(), &6.into()));
}

/// Two sections, the second of the other byte order and with interfaces of its own.
fn sections(order: Order, [discover, offer]: &[Vec<u8>; 2]) -> Vec<u8> {
    let packet = |interface, units, frame| Block::Packet { interface, units, frame };
    let (cooked, uncooked) = (uncooked(offer, 276), uncooked(discover, 113));
    let tag = tagged(offer, &[(0x8100, 0x6064)]);
    let tags = tagged(discover, &[(0x88a8, 7), (0x8100, 8)]);
    let first = [
        Block::Interface { link: 1, resolution: None, name: "eth0" },
        Block::Interface { link: 276, resolution: Some(9), name: "any\u{1b}[2J" },
        Block::Interface { link: 127, resolution: Some(0x80 | 20), name: "" },
        packet(0, 1_500_000, discover),
        packet(1, 2_000_000_001, &cooked),
        packet(2, 3 << 20, b"radio"),
        Block::Obsolete { interface: 0, units: 4_000_000, frame: &tag },
        Block::Unknown,
        Block::Simple { frame: &tags },
    ];
    let other = if order == Order::Little { Order::Big } else { Order::Little };
    let second = [
        Block::Interface { link: 113, resolution: None, name: "" },
        packet(0, 5_000_000, &uncooked),
    ];
    [ng(order, &first), ng(other, &second)].concat()
}

#[test]
fn pcapng_may_have_many_sections_interfaces_and_link_types() {
    for order in [Order::Little, Order::Big] {
        let (lines, summary) = made_of(&sections(order, &pair()), &[]);
        let (d, o) = ("DHCPDISCOVER", "DHCPOFFER");
        assert_eq!(verdicts(&lines), [d, o, o, d, d]);
        let all = |name: &str| lines.iter().map(|line| line[name].to_string()).collect::<Vec<_>>();
        assert_eq!(all("frame"), ["1", "2", "4", "5", "6"]);
        assert_eq!(all("vlans"), ["[]", "[]", "[100]", "[7,8]", "[]"]);
        assert_eq!(lines[0]["time"], "1970-01-01T00:00:01.500000000Z");
        assert_eq!(lines[1]["time"], "1970-01-01T00:00:02.000000001Z");
        assert!(lines[3]["time"].is_null());
        assert_eq!(lines[0]["interface"], "eth0");
        assert_eq!(lines[1]["interface"], "any\\u{1b}[2J");
        assert_eq!(lines[4]["interface"], "#0");
        assert_eq!(lines[1]["medium"], "linux_cooked_v2");
        assert_eq!(lines[4]["medium"], "linux_cooked_v1");
        assert!(lines[1]["destination_mac"].is_null());
        for line in &lines {
            let first = if line["message"]["type"] == d { 0 } else { 2 };
            assert_eq!(line["xid"], lines[first]["xid"]);
            assert_eq!(line["source_mac"], lines[first]["source_mac"]);
            assert_eq!(line["message"]["options"], lines[first]["message"]["options"]);
        }
        let unsupported = summary["unsupported_link_types"].to_string();
        assert_eq!(unsupported, r#"{"127 (IEEE802_11_RADIOTAP)":1}"#);
        assert_eq!(summary["frames"], 6);
    }
}

/// A frame for each verdict, and the verdicts.
fn refusals() -> (Vec<u8>, [&'static str; 10]) {
    let [discover, offer] = pair();
    let (bad_ip, bad_udp) = (spoiled(&offer, 24), spoiled(&offer, 40));
    let long = tagged(&discover, &[(0x8100, 1), (0x8100, 2), (0x8100, 3)]);
    let ipv6 = [&discover[..12], &[0x86, 0xdd], &discover[14..]].concat();
    let dns = [&discover[..37], &[53], &discover[38..]].concat();
    // Without a UDP checksum, and without the cookie's first byte.
    let unsummed = [&offer[..40], &[0; 2], &offer[42..]].concat();
    let cookieless = spoiled(&unsummed, 42 + 236);
    let priority = tagged(&offer, &[(0x8100, 0xe000)]);
    let table: [(usize, &[u8], &str); 10] = [
        (0, &discover, "DHCPDISCOVER"),
        (60, &offer, "refused cut_frame"),
        (0, &bad_ip, "refused ip_checksum"),
        (0, &bad_udp, "refused udp_checksum"),
        (0, &long, "refused too_many_tags"),
        (0, &ipv6, "other ether_type"),
        (0, &dns, "other not_dhcp_port"),
        (0, &cookieless, "refused magic_cookie"),
        (0, &priority, "DHCPOFFER"),
        (0, &[1, 2, 3], "other runt_frame"),
    ];
    let frames = table.map(|(cut, frame, _)| (cut, frame));
    (pcap(Order::Big, 6, 1, &frames), table.map(|(_, _, verdict)| verdict))
}

#[test]
fn each_refusal_has_its_name_and_other_traffic_is_counted() {
    let (file, expected) = refusals();
    let (lines, summary) = made_of(&file, &[]);
    assert_eq!(verdicts(&lines), expected);
    // A refused message is still told apart from others.
    let ports = [68, 68, 68, 67];
    for (line, port) in lines[1..5].iter().zip(ports) {
        assert_eq!(line["destination_port"], port);
        assert_eq!(line["xid"], lines[0]["xid"]);
        assert_eq!(line["chaddr"], lines[0]["chaddr"]);
    }
    assert_eq!(lines[4]["vlans"], Value::from(vec![1, 2, 3]));
    assert_eq!(lines[8]["oddities"], Value::from(vec!["priority_tag"]));
    assert_eq!(summary["refused"]["cut_frame"], 1);
    assert_eq!(summary["other"]["runt_frame"], 1);

    let (lines, summary) = made_of(&file, &["--ignore-checksums"]);
    assert_eq!(verdicts(&lines)[2..4], ["DHCPOFFER", "DHCPOFFER"]);
    assert_eq!(lines[2]["checksum_ignored"], "ip_checksum");
    assert_eq!(lines[3]["checksum_ignored"], "udp_checksum");
    assert_eq!(summary["checksums_ignored"].to_string(), r#"{"ip_checksum":1,"udp_checksum":1}"#);
}

#[test]
fn refusals_are_told_to_people() {
    let (file, _) = refusals();
    let text = dissect(&["-"], &file);
    text.expect(0, &[]);
    let len = pair()[1].len();
    for part in [
        &format!("refused: cut_frame ({} of {len} bytes captured)", len - 60),
        "2 were refused for a checksum",
        "--ignore-checksums",
        "vlan 1.2.3",
        "(odd: priority_tag)",
    ] {
        assert!(text.stdout.contains(part), "no {part:?} in {}", text.stdout);
    }
    assert!(!text.stdout.contains("other:"), "{}", text.stdout);
    assert!(dissect(&["-", "--all"], &file).stdout.contains("type 0x86dd other: ether_type"));
}

#[test]
fn raw_ip_and_each_kind_of_pcap_are_read() {
    let [discover, _] = pair();
    let raw = &discover[14..];
    for order in [Order::Little, Order::Big] {
        for (digits, time) in
            [(6, "1970-01-01T00:00:01.000002000Z"), (9, "1970-01-01T00:00:01.000000002Z")]
        {
            for (link, frame) in [(1, &discover[..]), (101, raw), (228, raw)] {
                let (lines, summary) = made_of(&pcap(order, digits, link, &[(0, frame)]), &[]);
                assert_eq!(verdicts(&lines), ["DHCPDISCOVER"]);
                assert_eq!(lines[0]["time"], time);
                assert_eq!(summary["not_ethernet"]["raw_ip"].as_u64(), (link != 1).then_some(1));
            }
            let (lines, summary) = made_of(&pcap(order, digits, 147, &[(0, raw), (0, raw)]), &[]);
            assert!(lines.is_empty());
            assert_eq!(summary["unsupported_link_types"].as_object().unwrap().len(), 1);
        }
    }
}

#[test]
fn the_command_line_says_what_it_wants() {
    dissect(&[], &[]).expect(2, &["<FILE>"]);
    let help = dissect(&["--help"], &[]);
    help.expect(0, &[]);
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("Exit status:"));
}

/// As with `| head`: nothing is complained about.
#[test]
fn a_reader_that_goes_away_ends_it() {
    let mut command = Command::new(LESSEE);
    command.arg("dissect").arg(fixtures()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
