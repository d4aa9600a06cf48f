//! Each of the four servers is started from values, gives a lease to a client
//! that we did not write, and its own lease table says so.

#![allow(clippy::unwrap_used, reason = "a story's helpers fail like the story")]

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lessee_lab::netns::{Netns, Process};
use lessee_lab::servers::{self, LeaseState, Profile, Server, ServerConfig, ServerError};
use lessee_lab::topology::{Port, Wire, WireSpec};
use lessee_lab::userns;

const MAC: [u8; 6] = [2, 0, 0, 0, 0x0a, 0xff];

/// Whether this story cannot be told here; says so, and in CI fails.
fn cannot(story: &str, server: &dyn Server) -> bool {
    let story = format!("{story} ({})", server.name());
    if !userns::capable() {
        lessee_tests::skipped(&story, "needs root");
        return true;
    }
    for (found, package) in [
        (servers::find(server).is_some(), server.package()),
        (Path::new("/usr/sbin/udhcpc").exists() || Path::new("/sbin/udhcpc").exists(), "udhcpc"),
    ] {
        if !found {
            lessee_tests::skipped(&story, &format!("install the Debian package {package}"));
            return true;
        }
    }
    false
}

fn wire() -> Wire {
    Wire::with(WireSpec { client: Port::new("c0").mac(MAC), ..WireSpec::default() }).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// BusyBox's client, and where its script writes down what it was given.
struct Udhcpc {
    dir: tempfile::TempDir,
    process: Process,
}

impl Udhcpc {
    fn start(netns: &Netns, extra: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        let text = "#!/bin/sh\n[ \"$1\" = bound ] && env > told.new && mv told.new told\nexit 0\n";
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let process = netns.spawn("udhcpc", |command| {
            command.current_dir(dir.path());
            command.args(["-f", "-n", "-t", "5", "-T", "2", "-i", "c0", "-s"]);
            command.arg(&script).args(["-x", "hostname:lab-client"]).args(extra);
            for option in ["mtu", "ntpsrv", "search", "staticroutes", "58", "59"] {
                command.args(["-O", option]);
            }
        });
        Self { dir, process: process.unwrap() }
    }

    /// What it was given, by BusyBox's own names.
    fn told(&mut self) -> HashMap<String, String> {
        let (path, began) = (self.dir.path().join("told"), Instant::now());
        let told = loop {
            match fs::read_to_string(&path) {
                Ok(told) => break told,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none_or(|status| status.success()), "udhcpc: {ended:?}");
            assert!(began.elapsed() < Duration::from_secs(20), "udhcpc got no lease");
        };
        told.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Runs BusyBox's client once.
fn udhcpc(netns: &Netns, extra: &[&str]) -> HashMap<String, String> {
    let mut client = Udhcpc::start(netns, &[&["-q"], extra].concat());
    let told = client.told();
    let status = client.process.wait_timeout(Duration::from_secs(20)).unwrap();
    assert!(status.is_some_and(|status| status.success()), "udhcpc: {status:?}");
    told
}

fn gives_a_lease_and_says_so(server: &'static dyn Server) {
    if cannot("a lease from a real server", server) {
        return;
    }
    let wire = wire();
    let began = Instant::now();
    let mut running =
        servers::start(server, &wire.server, ServerConfig::proof(&wire.spec)).unwrap();
    eprintln!("{}: ready after {:?}", server.name(), began.elapsed());
    assert_eq!(running.leases().unwrap(), []);

    let told = udhcpc(&wire.client, &[]);
    check_options(server, running.config(), &told);

    // The server's table.
    let leases = running.leases().unwrap();
    eprintln!("{}: {leases:?}", server.name());
    assert_eq!(leases.len(), 1, "{leases:?}");
    let lease = &leases[0];
    assert_eq!(lease.address.to_string(), told["ip"]);
    assert_eq!((lease.mac, lease.state), (MAC, LeaseState::Active));
    assert_eq!(lease.hostname.as_deref(), Some("lab-client"));
    if server.limits().keeps_client_id {
        let expected = [&[1], &MAC[..]].concat();
        assert_eq!(lease.client_id.as_deref(), Some(expected.as_slice()));
    }
    let left = lease.expires.unwrap() - now();
    assert!(left <= u64::from(running.config().lease_time) + 1, "{left} s left");

    if let Some(dir) = std::env::var_os("LESSEE_KEEP_SAMPLES") {
        eprintln!("log:\n{}", running.log());
        keep_samples(Path::new(&dir), &running);
    }
    a_restart_remembers_and_a_release_is_written(server, &wire, running, lease.address);
}

fn keep_samples(into: &Path, running: &servers::Running) {
    let into = into.join(running.server().program());
    fs::create_dir_all(&into).unwrap();
    for entry in fs::read_dir(running.dir()).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), into.join(entry.file_name())).unwrap();
        }
    }
}

fn check_options(server: &dyn Server, config: &ServerConfig, told: &HashMap<String, String>) {
    let name = server.name();
    for (option, expected) in [
        ("lease", config.lease_time.to_string()),
        ("subnet", "255.255.0.0".to_owned()),
        ("serverid", "10.77.0.1".to_owned()),
        ("router", "10.77.0.1".to_owned()),
        ("dns", "10.77.0.53 10.77.0.54".to_owned()),
        ("domain", "lab.example".to_owned()),
        ("mtu", "1400".to_owned()),
        ("ntpsrv", "10.77.0.123".to_owned()),
        ("search", "lab.example example.net".to_owned()),
        ("staticroutes", "192.0.2.0/24 10.77.0.9".to_owned()),
        ("opt58", "00000004".to_owned()),
        ("opt59", "00000008".to_owned()),
    ] {
        assert_eq!(told.get(option), Some(&expected), "{name}: option {option} in {told:?}");
    }
}

fn a_restart_remembers_and_a_release_is_written(
    server: &'static dyn Server,
    wire: &Wire,
    running: servers::Running,
    address: Ipv4Addr,
) {
    let id = running.id();
    let stopped = running.stop().unwrap();
    assert!(!Path::new(&format!("/proc/{id}")).exists(), "{} is gone", server.name());
    let active =
        |leases: Vec<servers::ServerLease>| leases.iter().filter(|l| l.is_active()).count();
    assert_eq!(active(stopped.leases().unwrap()), 1);
    let mut running = stopped.start().unwrap();
    assert_eq!(active(running.leases().unwrap()), 1, "{} remembers", server.name());

    // udhcpc releases from the address itself, so it must be there.
    wire.client.links().unwrap().add_address("c0", IpAddr::V4(address), 16).unwrap();
    let mut client = Udhcpc::start(&wire.client, &["-R", "-r", &address.to_string()]);
    let told = client.told();
    assert_eq!(told["ip"], address.to_string(), "{}: the same address again", server.name());
    client.process.terminate(Duration::from_secs(5)).unwrap();
    let began = Instant::now();
    loop {
        let leases = running.leases().unwrap();
        if active(leases.clone()) == 0 {
            eprintln!("{}: after release {leases:?}", server.name());
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(3), "{}: {leases:?}", server.name());
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(dir) = std::env::var_os("LESSEE_KEEP_SAMPLES") {
        keep_samples(&Path::new(&dir).join("released"), &running);
    }
}

#[test]
fn dnsmasq_gives_a_lease_and_says_so() {
    gives_a_lease_and_says_so(&servers::DNSMASQ);
}

#[test]
fn kea_gives_a_lease_and_says_so() {
    gives_a_lease_and_says_so(&servers::KEA);
}

#[test]
fn isc_dhcpd_gives_a_lease_and_says_so() {
    gives_a_lease_and_says_so(&servers::DHCPD);
}

#[test]
fn udhcpd_gives_a_lease_and_says_so() {
    gives_a_lease_and_says_so(&servers::UDHCPD);
}

#[test]
fn every_server_also_runs_for_speed() {
    for server in servers::ALL {
        if cannot("the bench profile", server) {
            continue;
        }
        let wire = wire();
        let config = ServerConfig::bench(&wire.spec);
        assert_eq!(config.profile, Profile::Bench);
        let running = servers::start(server, &wire.server, config).unwrap();
        assert!(running.config().pool_size() <= server.limits().pool);
        let told = udhcpc(&wire.client, &[]);
        assert_eq!(told["lease"], "86400", "{}", server.name());
        assert_eq!(told.get("router"), None, "{} offers no router", server.name());
    }
}

#[test]
fn a_paused_server_is_silent_and_then_answers() {
    let server: &'static dyn Server = &servers::KEA;
    if cannot("a paused server", server) {
        return;
    }
    let wire = wire();
    let config = ServerConfig::proof(&wire.spec);
    let mut running = servers::start(server, &wire.server, config).unwrap();
    running.pause().unwrap();
    let mut client = wire
        .client
        .spawn("udhcpc", |command| {
            command.args(["-f", "-q", "-n", "-t", "1", "-T", "1", "-i", "c0", "-s", "/bin/true"]);
        })
        .unwrap();
    let status = client.wait_timeout(Duration::from_secs(10)).unwrap().unwrap();
    assert!(!status.success(), "no lease from a paused server");
    assert!(running.is_alive());
    running.resume().unwrap();
    assert!(udhcpc(&wire.client, &[]).contains_key("ip"));
}

#[test]
fn a_server_that_cannot_start_says_why() {
    for server in servers::ALL {
        if cannot("a server that cannot start", server) {
            continue;
        }
        let wire = wire();
        let mut config = ServerConfig::proof(&wire.spec);
        config.extra = vec!["this is not a statement of any server ((".to_owned()];
        let error = servers::start(server, &wire.server, config).map(|r| r.log());
        // udhcpd ignores what it does not know.
        if server.name() != "udhcpd" {
            let text = error.unwrap_err().to_string();
            eprintln!("{text}\n");
            assert!(text.contains(server.name()) && text.contains("log ends"), "{text}");
            assert!(!text.contains("printed nothing"), "{text}");
        }
        let mut config = ServerConfig::proof(&wire.spec);
        config.interface = "eth9".to_owned();
        let text = servers::start(server, &wire.server, config).unwrap_err().to_string();
        assert!(text.contains("eth9") && text.contains("s0"), "{text}");
        let config = ServerConfig::proof(&wire.spec)
            .pool(Ipv4Addr::new(10, 77, 0, 0), Ipv4Addr::new(10, 77, 0, 9));
        let error = servers::start(server, &wire.server, config).unwrap_err();
        assert!(matches!(error, ServerError::Config { .. }), "{error}");
    }
}
