//! `load`, in its own lab and on an interface.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use lessee_lab::embedded::Counter;
use lessee_lab::servers::{self, ServerConfig};
use lessee_lab::topology::Wire;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{LESSEE, can_run, has, run, served, server_holds, skipped, start};

#[test]
fn the_lab_needs_nothing_and_strands_nobody() {
    // Not `can_run`: this works without root too, where user namespaces are allowed.
    let output =
        Command::new(LESSEE).args(["load", "--lab", "--leases", "200", "--json"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(2) && stderr.contains("user namespace") {
        return skipped("the_lab_needs_nothing_and_strands_nobody", &stderr);
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
fn an_ordinary_user_has_a_lab() {
    let story = "an_ordinary_user_has_a_lab";
    // Where that user can read it.
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("lessee");
    fs::copy(LESSEE, &program).unwrap();
    for path in [dir.path(), program.as_path()] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        command.arg(&program).args(words).current_dir("/").output().unwrap()
    };
    let version = as_nobody(&["--version"]);
    if !version.status.success() {
        let why = String::from_utf8_lossy(&version.stderr);
        return skipped(story, &format!("cannot become another user, which needs root: {why}"));
    }
    let output = as_nobody(&["load", "--lab", "--leases", "500", "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(2) && stderr.contains("refuses an unprivileged user namespace")
    {
        return skipped(story, &stderr);
    }
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["bound"], &json["stranded"]), (&500.into(), &0.into()), "{json}");
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
    if !can_run(story) || !has(story, &servers::KEA) {
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

#[test]
fn nothing_new_begins_after_ctrl_c() {
    if !can_run("nothing_new_begins_after_ctrl_c") {
        return;
    }
    for keep in ["", " --keep"] {
        let (wire, server) = served(2_000);
        let mut load =
            start(&wire.client, &format!("load c0 --leases 2000 --rate 50 --json{keep}"));
        load.wait_for("binding");
        let before = server.counters().get(Counter::Discover);
        load.signal(Signal::SIGINT);
        let ran = load.wait();
        ran.expect(1, &["of 2000 leases bound; interrupted after"]);
        let more = server.counters().get(Counter::Discover) - before;
        assert!(more <= 2, "{more} DISCOVERs after the signal{keep}: {ran:?}");
        assert!(!ran.stderr.contains("could not be released"), "{ran:?}");
        let json = ran.json();
        let number = |field: &str| json[field].as_u64().unwrap();
        let (bound, released) = (number("bound"), number("released"));
        assert!(bound >= 40, "{json}");
        if keep.is_empty() {
            assert!((bound..=bound + 2).contains(&released), "{json}");
            server_holds(&server, 0);
        } else {
            assert_eq!((released, number("releases_sent")), (0, 0), "{json}");
            assert!(server.leases().len() as u64 >= bound, "{json}");
        }
    }
}
