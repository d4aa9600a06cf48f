//! A macvlan child with the lease's own MAC exists on the parent, as in a container host: the
//! answers that the kernel steers to the child still reach the engine.

#![allow(clippy::unwrap_used, reason = "a story's helpers fail like the story")]

use lessee_engine::command::Command;
use lessee_engine::lease::Profile;
use lessee_lab::servers::{self, Dhcpd, Dnsmasq, Kea, Server, ServerConfig, Udhcpd};
use lessee_lab::topology::Wire;
use lessee_linkctl::MacvlanMode;
use lessee_tests::{LabEngine, can_run, mac, plain};
use std::sync::Arc;
use std::time::Duration;

fn story(server: &'static dyn Server) {
    if !can_run(&format!("a macvlan child renews ({})", server.name()), Some(server)) {
        return;
    }
    let wire = Wire::new().unwrap();
    let config = ServerConfig::proof(&wire.spec).pool_of(10).times(600, 300, 500);
    let _running = servers::start(server, &wire.server, config).unwrap();
    let mut engine = LabEngine::start(&wire.client, "c0");
    let lease = engine.acquire(plain(1, &Arc::new(Profile::default())));
    // The child comes while nobody has an answer yet, and is up when the renewal is answered.
    let links = wire.client.links().unwrap();
    links.add_macvlan("child", "c0", MacvlanMode::Bridge, Some(mac(1).0)).unwrap();
    links.set_up("child").unwrap();
    engine.wait_bound(Duration::from_secs(20));
    let address = engine.table()[0].1;

    for round in 1..=3 {
        engine.handle.send(Command::Renew(lease)).unwrap();
        engine.wait("renewed beside a child", Duration::from_secs(5), |engine| {
            engine.leases[&lease].renewed == round
        });
    }
    assert_eq!(engine.table(), [(mac(1), address)]);
    assert_eq!(engine.counter("retransmissions"), 0, "each answer arrived at once");
}

#[test]
fn dnsmasq() {
    story(&Dnsmasq);
}

#[test]
fn kea() {
    story(&Kea);
}

#[test]
fn dhcpd() {
    story(&Dhcpd);
}

#[test]
fn udhcpd() {
    story(&Udhcpd);
}
