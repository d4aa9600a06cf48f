//! `probe` and `lease` against servers.

use lessee_lab::servers::{self, ServerConfig};
use lessee_lab::topology::Wire;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{can_run, has, run, served, server_holds, start, wire};

fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn a_probe_shows_all_and_takes_nothing() {
    if !can_run("a_probe_shows_all_and_takes_nothing") {
        return;
    }
    let (wire, server) = served(10);
    let ran = run(&wire.client, "probe c0 --timeout 1500ms --json");
    ran.expect(0, &[]);
    let json = ran.json();
    let [offer] = json["offers"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!(offer["server"], "10.77.0.1");
    assert_eq!((&offer["prefix"], &offer["lease_seconds"]), (&16.into(), &3600.into()));
    assert_eq!(offer["routers"][0], "10.77.0.1");
    assert_eq!(offer["dns"][0], "10.77.0.53");
    let options = offer["options"].as_array().unwrap();
    let mask = options.iter().find(|option| option["name"] == "subnet-mask").unwrap();
    assert_eq!(mask["value"], "255.255.0.0");
    server_holds(&server, 0);
    let text = run(&wire.client, "probe c0 --timeout 300ms");
    text.expect(0, &[]);
    assert!(text.stdout.contains(json["mac"].as_str().unwrap()), "the same MAC: {text:?}");
    assert!(text.stdout.contains("domain-name-servers"), "{text:?}");
    assert!(text.stdout.contains("1 server answered"), "{text:?}");
}

#[test]
fn a_probe_waits_for_a_dnsmasq_that_pings_first() {
    let story = "a_probe_waits_for_a_dnsmasq_that_pings_first";
    if !can_run(story) || !has(story, &servers::DNSMASQ) {
        return;
    }
    let wire = Wire::new().unwrap();
    let config = ServerConfig { ping_check: true, ..ServerConfig::proof(&wire.spec) };
    let _server = servers::start(&servers::DNSMASQ, &wire.server, config).unwrap();
    let ran = run(&wire.client, "probe c0 --json");
    ran.expect(0, &[]);
    let after = ran.json()["offers"][0]["after_us"].as_u64().unwrap();
    assert!(after > 2_500_000, "dnsmasq did not ping: its offer came after {after} µs");
}

#[test]
fn a_probe_ends_when_no_further_server_answers() {
    if !can_run("a_probe_ends_when_no_further_server_answers") {
        return;
    }
    let (wire, _server) = served(10);
    let ran = run(&wire.client, "probe c0 --timeout 30s --json");
    ran.expect(0, &[]);
    let waited = ran.json()["waited_seconds"].as_f64().unwrap();
    assert!((4.0..15.0).contains(&waited), "waited {waited} s");
}

#[test]
fn a_probe_outlives_a_flap_and_tells_what_it_found() {
    if !can_run("a_probe_outlives_a_flap_and_tells_what_it_found") {
        return;
    }
    let silent = wire();
    let links = silent.client.links().unwrap();
    let mut probe = start(&silent.client, "probe c0 --timeout 2s");
    probe.wait_for("asking as");
    links.set_down("c0").unwrap();
    probe.wait_for("c0 is down; the wait goes on");
    links.set_up("c0").unwrap();
    let ran = probe.wait();
    ran.expect(1, &["c0: no answer in 2"]);
    assert!(!ran.stderr.contains("Down"), "{ran:?}");
    let (served, _server) = served(10);
    let mut probe = start(&served.client, "probe c0");
    probe.wait_for("offers 10.77.1.");
    served.client.links().unwrap().delete("c0").unwrap();
    let ran = probe.wait();
    // Down at first, and seen to be gone only later.
    ran.expect(0, &["lessee: c0 "]);
    assert!(ran.stdout.contains("1 server answered"), "{ran:?}");
    let probe = start(&silent.client, "probe c0 --timeout 50s --json");
    std::thread::sleep(std::time::Duration::from_millis(500));
    silent.client.links().unwrap().delete("c0").unwrap();
    let ran = probe.wait();
    ran.expect(1, &["c0 does not exist any more"]);
    assert!(ran.json()["waited_seconds"].as_f64().unwrap() < 20.0, "{ran:?}");
}

#[test]
fn a_link_that_works_again_is_said_to() {
    if !can_run("a_link_that_works_again_is_said_to") {
        return;
    }
    let (wire, server) = served(10);
    let links = wire.client.links().unwrap();
    server.pause();
    let mut lease = start(&wire.client, "lease c0 --timeout 60s");
    // Before its first answer, so that the lease is the later event.
    std::thread::sleep(std::time::Duration::from_millis(500));
    links.set_down("c0").unwrap();
    lease.wait_for("c0 is down; leases go on meanwhile");
    links.set_up("c0").unwrap();
    server.resume();
    lease.wait_for("c0: the link works again");
    lease.signal(Signal::SIGINT);
    lease.wait().expect(0, &[]);
}

#[test]
fn a_lease_is_told_held_and_given_back() {
    if !can_run("a_lease_is_told_held_and_given_back") {
        return;
    }
    let (wire, server) = served(10);
    let line = "lease c0 --mac 02:00:00:00:00:2a --hostname printer --request 10.77.1.5 --hold 1h";
    let mut lease = start(&wire.client, line);
    lease.wait_for("Bound; held for 1h, then released.");
    let [held] = server.leases().try_into().unwrap();
    assert_eq!(held.address.to_string(), "10.77.1.5");
    assert_eq!(held.hostname.as_deref(), Some("printer"));
    lease.signal(Signal::SIGTERM);
    let ran = lease.wait();
    ran.expect(0, &[]);
    assert!(ran.stdout.contains("10.77.1.5/16 from 10.77.0.1, router 10.77.0.1, lease 1h, T1 2"));
    assert!(ran.stdout.ends_with("1 lease released.\n"), "{ran:?}");
    server_holds(&server, 0);
}

#[test]
fn many_leases_are_released_at_ctrl_c() {
    if !can_run("many_leases_are_released_at_ctrl_c") {
        return;
    }
    let (wire, server) = served(100);
    let line = "lease c0 --count 50 --mac-base 02:00:00:00:00:00 --hostname host-{i}";
    let mut lease = start(&wire.client, line);
    lease.wait_for("All 50 leases bound");
    server_holds(&server, 50);
    let names = server.leases().into_iter().filter_map(|lease| lease.hostname);
    let mut names: Vec<String> = names.collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    assert_eq!((names[0].as_str(), names[49].as_str()), ("host-0", "host-49"));
    lease.signal(Signal::SIGINT);
    lease.wait().expect(0, &[]);
    server_holds(&server, 0);
}

#[test]
fn kept_leases_stay_and_come_again() {
    if !can_run("kept_leases_stay_and_come_again") {
        return;
    }
    let (wire, server) = served(100);
    let bind = |extra: &str| {
        let ran = run(&wire.client, &format!("lease c0 --count 5 --hold 0s --json{extra}"));
        ran.expect(0, &[]);
        let events = events(&ran.stdout);
        let bound = named(&events, "bound").len();
        let released = named(&events, "released").len();
        let summary = named(&events, "summary")[0];
        assert_eq!((&summary["bound"], &summary["ended"]), (&5.into(), &"complete".into()));
        (bound, released)
    };
    assert_eq!(bind(" --keep"), (5, 0));
    server_holds(&server, 5);
    // Under the same addresses as before, so that there still are five.
    assert_eq!(bind(" --keep"), (5, 0));
    server_holds(&server, 5);
    assert_eq!(bind(""), (5, 5));
    server_holds(&server, 0);
}

#[test]
fn a_second_run_with_the_same_macs_is_refused() {
    if !can_run("a_second_run_with_the_same_macs_is_refused") {
        return;
    }
    let (wire, server) = served(100);
    let mut first = start(&wire.client, "lease c0 --count 10 --mac-base 02:00:00:00:00:10");
    first.wait_for("All 10 leases bound");
    let second = |line: &str| run(&wire.client, line);
    let texts = ["c0: process ", "02:00:00:00:00:10 to 02:00:00:00:00:19", "--mac-base"];
    second("lease c0 --mac 02:00:00:00:00:19").expect(2, &texts);
    second("load c0 --leases 17 --mac-base 02:00:00:00:00:00").expect(2, &texts);
    // Beside it, on another VLAN, or only asking, all is well.
    second("lease c0 --mac 02:00:00:00:00:1a --hold 0s").expect(0, &[]);
    second("probe c0 --timeout 300ms --mac 02:00:00:00:00:10").expect(0, &[]);
    second("load c0 --leases 16 --mac-base 02:00:00:00:00:00 --vlan 5").expect(0, &[]);
    server_holds(&server, 10);
    first.signal(Signal::SIGINT);
    first.wait().expect(0, &[]);
    second("lease c0 --mac 02:00:00:00:00:19 --hold 0s").expect(0, &[]);
    server_holds(&server, 0);
}

#[test]
fn an_unread_pipe_ends_it_quietly() {
    if !can_run("an_unread_pipe_ends_it_quietly") {
        return;
    }
    let (wire, server) = served(100);
    // The reader takes one line and goes; the lease must not outlive it.
    let line = format!("{} lease c0 --count 30 | head -n 1 >/dev/null", crate::support::LESSEE);
    let ran = crate::support::start_program(&wire.client, "sh", ["-c", &line]).wait();
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    server_holds(&server, 0);
}

#[test]
fn dnsmasq_leases_to_the_command() {
    let story = "dnsmasq_leases_to_the_command";
    if !can_run(story) || !has(story, &servers::DNSMASQ) {
        return;
    }
    let wire = Wire::new().unwrap();
    let config = ServerConfig::proof(&wire.spec);
    let mut server = servers::start(&servers::DNSMASQ, &wire.server, config).unwrap();
    let mut lease = start(&wire.client, "lease c0 --count 20 --hostname h{i} --json");
    lease.wait_for("\"n\":19");
    let held = server.leases().unwrap();
    assert_eq!(held.iter().filter(|lease| lease.is_active()).count(), 20, "{held:?}");
    lease.signal(Signal::SIGINT);
    let ran = lease.wait();
    ran.expect(0, &[]);
    let events = events(&ran.stdout);
    let domain = &named(&events, "bound")[0]["options"];
    assert!(domain.to_string().contains("lab.example"), "{domain}");
    assert_eq!(named(&events, "released").len(), 20);
    assert!(server.leases().unwrap().iter().all(|lease| !lease.is_active()));
}
