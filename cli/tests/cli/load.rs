//! `load`, in its own lab and on an interface.

use std::process::Command;
use std::time::Duration;

use lessee_lab::servers::{self, ServerConfig};
use lessee_lab::topology::Wire;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{LESSEE, can_run, run, served, server_holds, start};

#[test]
fn the_lab_needs_nothing_and_strands_nobody() {
    // Not `can_run`: this works without root too, where user namespaces are allowed.
    let output =
        Command::new(LESSEE).args(["load", "--lab", "--leases", "200", "--json"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(2) && stderr.contains("user namespace") {
        eprintln!("skipped: the_lab_needs_nothing_and_strands_nobody: {stderr}");
        assert!(std::env::var_os("CI").is_none(), "skipped in CI");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("Nothing outside of them is touched"), "{stderr}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (field, expected) in [
        ("version", 1),
        ("leases", 200),
        ("bound", 200),
        ("stranded", 0),
        ("released", 200),
        ("server_leases_after_bind", 200),
        ("server_leases_after_release", 0),
    ] {
        assert_eq!(json[field], expected, "{field}: {json}");
    }
    for exchange in ["discover_offer", "request_ack", "acquire"] {
        let at = |key: &str| json[format!("{exchange}_{key}_us")].as_u64().unwrap();
        let values = [at("p50"), at("p90"), at("p99"), at("p999"), at("max")];
        assert!(values.is_sorted() && values[0] > 0, "{exchange}: {values:?}");
    }
    assert!(json["bind_exchanges_per_second"].as_f64().unwrap() > 0.0);
    assert!(json["resident_peak_bytes"].as_u64().unwrap() > 1 << 20);
}

#[test]
fn a_load_is_told_as_a_table() {
    if !can_run("a_load_is_told_as_a_table") {
        return;
    }
    let (wire, server) = served(600);
    let ran = run(&wire.client, "load c0 --leases 500 --window 32");
    ran.expect(0, &["c0: 500 leases to be bound"]);
    for text in ["bind       500 of 500 leases", "release    500 leases", "p99.9", "0 clients"] {
        assert!(ran.stdout.contains(text), "no {text:?} in {}", ran.stdout);
    }
    server_holds(&server, 0);
    let ran = run(&wire.client, "load c0 --leases 100 --keep --json --mac-base 02:00:00:00:00:00");
    ran.expect(0, &[]);
    let json = ran.json();
    assert_eq!((&json["kept"], &json["released"]), (&true.into(), &0.into()));
    server_holds(&server, 100);
}

#[test]
fn kea_binds_twenty_thousand_and_strands_nobody() {
    let story = "kea_binds_twenty_thousand_and_strands_nobody";
    if !can_run(story) {
        return;
    }
    if servers::find(&servers::KEA).is_none() {
        eprintln!("skipped: {story}: install the Debian package kea-dhcp4-server");
        assert!(std::env::var_os("CI").is_none(), "skipped in CI: {story}");
        return;
    }
    let wire = Wire::new().unwrap();
    let config = ServerConfig::bench(&wire.spec);
    let _server = servers::start(&servers::KEA, &wire.server, config).unwrap();
    let ran = run(&wire.client, "load c0 --leases 20000 --json");
    ran.expect(0, &[]);
    let json = ran.json();
    assert_eq!((&json["bound"], &json["released"]), (&20_000.into(), &20_000.into()));
}

#[test]
fn a_rate_is_kept() {
    if !can_run("a_rate_is_kept") {
        return;
    }
    let (wire, _server) = served(600);
    let json = run(&wire.client, "load c0 --leases 200 --rate 200 --json").json();
    let took = json["bind_seconds"].as_f64().unwrap();
    assert!((0.95..1.6).contains(&took), "200 leases at 200/s took {took} s");
    assert_eq!(json["window"], Value::Null);
}

#[test]
fn ctrl_c_in_the_midst_of_a_load_releases_all() {
    if !can_run("ctrl_c_in_the_midst_of_a_load_releases_all") {
        return;
    }
    let (wire, server) = served(20_000);
    let mut load = start(&wire.client, "load c0 --leases 20000 --rate 1000 --json");
    load.wait_for("binding");
    std::thread::sleep(Duration::from_millis(200));
    load.signal(Signal::SIGINT);
    let ran = load.wait();
    ran.expect(1, &["of 20000 leases bound; interrupted after"]);
    let json = ran.json();
    assert_eq!(json["ended"], "interrupted");
    let (bound, released) = (json["bound"].as_u64().unwrap(), json["released"].as_u64().unwrap());
    assert!(bound >= 500 && released >= bound, "{json}");
    server_holds(&server, 0);
}
