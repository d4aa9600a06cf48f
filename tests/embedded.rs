//! The embedded server on a real wire: BusyBox's client gets a lease from it, renews and releases
//! it, and a plain UDP socket gets an answer to INFORM. The client's side is all the kernel's.

#![allow(clippy::unwrap_used, reason = "a story's helpers fail like the story")]

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use lessee_engine::wire::dhcp::{self, MessageType, Op, Outgoing};
use lessee_engine::wire::ethernet::Mac;
use lessee_lab::embedded::{Counter, Kinds, Misbehaviour, Rule, Running, ServerSpec};
use lessee_lab::netns::{Netns, Process};
use lessee_lab::topology::{Port, Wire, WireSpec};
use lessee_lab::userns;
use nix::sys::signal::Signal;

const MAC: [u8; 6] = [2, 0, 0, 0, 0x0e, 0xff];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether this story cannot be told here; says so, and in CI fails.
fn cannot(story: &str) -> bool {
    let udhcpc = ["/usr/sbin/udhcpc", "/sbin/udhcpc"].iter().any(|path| Path::new(path).exists());
    if !userns::capable() {
        lessee_tests::skipped(story, "needs root");
    } else if !udhcpc {
        lessee_tests::skipped(story, "install the Debian package udhcpc");
    } else {
        return false;
    }
    true
}

/// A wire whose server end has no address: the kernel there stays out of it.
fn wire() -> Wire {
    let (client, server) = (Port::new("c0").mac(MAC), Port::new("s0"));
    Wire::with(WireSpec { client, server, ..WireSpec::default() }).unwrap()
}

fn spec() -> ServerSpec {
    let first = Ipv4Addr::new(10, 77, 1, 0);
    let last = Ipv4Addr::new(10, 77, 1, 9);
    ServerSpec {
        router: Some(SERVER),
        lease_time: 1000,
        ..ServerSpec::new(SERVER, 16, first, last)
    }
}

fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// BusyBox's client, which configures `c0` and notes each event with its address.
struct Udhcpc {
    dir: tempfile::TempDir,
    process: Process,
}

impl Udhcpc {
    fn start(netns: &Netns) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        let text = "#!/bin/sh\n[ \"$1\" = bound ] && ip address add $ip/$mask dev $interface\n\
                    echo \"$1 $ip $router $lease\" >> events\nexit 0\n";
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let process = netns.spawn("udhcpc", |command| {
            command.current_dir(dir.path());
            command.args(["-f", "-R", "-t", "10", "-T", "1", "-i", "c0", "-x", "hostname:tester"]);
            command.arg("-s").arg(&script);
        });
        Self { dir, process: process.unwrap() }
    }

    fn has_noted(&self, event: &str) -> bool {
        let events = fs::read_to_string(self.dir.path().join("events")).unwrap_or_default();
        events.lines().any(|line| line == event)
    }
}

/// Sends INFORM from a socket of the client's kernel and returns the answer's type, yiaddr and
/// lease time.
fn inform(address: Ipv4Addr) -> (MessageType, Ipv4Addr, Option<u32>) {
    let socket = UdpSocket::bind((address, 68)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut slot, inform) = ([0; 1500], MessageType::Inform);
    let message = Outgoing { ciaddr: address, ..Outgoing::new(Op::Request, inform, 77, Mac(MAC)) };
    let len = dhcp::emit(&message, &mut slot).unwrap();
    socket.send_to(&slot[..len], (SERVER, 67)).unwrap();
    let len = socket.recv(&mut slot).unwrap();
    let answer = dhcp::parse(&slot[..len]).unwrap();
    assert_eq!((answer.xid, answer.server_id), (77, Some(SERVER)));
    (answer.message_type, answer.yiaddr, answer.lease_time)
}

/// Bind, renew, inform, release.
fn lives(spec: ServerSpec) {
    let wire = wire();
    let resolves = spec.resolve_by_arp;
    // udhcpc 1.35 sends its renewal from a socket of its own, which it closes after that, and which
    // swallows an ACK that comes sooner: this server answers within 30 µs, so it has to take care.
    let unhurried = Rule::new(Misbehaviour::Delay(Duration::from_millis(20))).on(Kinds::RENEWING);
    let running = Running::start(&wire.server, "s0", spec, vec![unhurried]).unwrap();
    let mut client = Udhcpc::start(&wire.client);
    wait_until("bound", || client.has_noted("bound 10.77.1.0 10.77.0.1 1000"));
    let leases = running.leases();
    assert_eq!(leases.len(), 1);
    let lease = &leases[0];
    assert_eq!((lease.address, lease.mac), (Ipv4Addr::new(10, 77, 1, 0), Mac(MAC)));
    assert_eq!(lease.hostname.as_deref(), Some("tester"));
    assert_eq!(lease.client_id.as_deref(), Some(&[&[1], &MAC[..]].concat()[..]));

    client.process.signal(Signal::SIGUSR1).unwrap();
    wait_until("renewed", || client.has_noted("renew 10.77.1.0 10.77.0.1 1000"));
    let counters = running.counters();
    let renewals = [Counter::Renewing, Counter::Rebinding, Counter::Nak];
    assert_eq!(renewals.map(|counter| counters.get(counter)), [1, 0, 0]);
    assert!(counters.get(Counter::ArpRequest) >= 1, "the client's kernel looked for the server");
    assert_eq!(counters.get(Counter::ArpAsked) >= 1, resolves);
    assert!(running.leases()[0].expiry > lease.expiry);

    let address = lease.address;
    let answer = wire.client.run(move || inform(address));
    assert_eq!(answer, (MessageType::Ack, Ipv4Addr::UNSPECIFIED, None));

    client.process.terminate(PATIENCE).unwrap();
    wait_until("released", || running.leases().is_empty());
    let counters = running.stop();
    assert_eq!((counters.get(Counter::Released), counters.get(Counter::InformAck)), (1, 1));
}

#[test]
fn a_foreign_client_lives_a_lease_from_the_embedded_server() {
    if !cannot("a lease from the embedded server") {
        lives(spec());
    }
}

#[test]
fn a_foreign_client_lives_a_lease_from_an_embedded_server_that_resolves_by_arp() {
    if !cannot("a lease from the embedded server, by ARP") {
        lives(ServerSpec { resolve_by_arp: true, ..spec() });
    }
}

#[test]
fn the_embedded_server_can_be_told_to_misbehave_while_it_runs() {
    if cannot("misbehaviour of the embedded server") {
        return;
    }
    let wire = wire();
    let malformed = Misbehaviour::Malformed(None);
    let rules = vec![Rule::new(malformed).on(Kinds::DISCOVER)];
    let running = Running::start(&wire.server, "s0", spec(), rules).unwrap();
    let client = Udhcpc::start(&wire.client);
    wait_until("misbehaved", || running.counters().misbehaved(malformed) >= 1);
    assert!(running.leases().is_empty());
    running.pause();
    running.set_rules(Vec::new());
    let before = running.counters();
    running.resume();
    wait_until("bound", || client.has_noted("bound 10.77.1.0 10.77.0.1 1000"));
    assert!(running.counters().get(Counter::Discover) > before.get(Counter::Discover));
    assert_eq!(running.leases().len(), 1);
    running.forget();
    assert!(running.leases().is_empty());
    assert_eq!((running.fault(), running.send_failures()), (None, 0));
}
