//! The link goes down, loses its carrier, or is removed while leases are held: it is reported, and
//! the leases live on by their own clocks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a story's helpers fail like the story")]

use lessee_engine::command::{Command, Event};
use lessee_engine::device::LinkFault;
use lessee_engine::lease::{PortId, Profile};
use lessee_lab::embedded::{Running, ServerSpec};
use lessee_lab::topology::Wire;
use lessee_tests::{LabEngine, can_run};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const LEASES: u32 = 20;

fn stage(lease_time: u32) -> (Wire, Running, LabEngine) {
    let wire = Wire::new().unwrap();
    let address = Ipv4Addr::new(10, 77, 0, 1);
    let pool = (Ipv4Addr::new(10, 77, 1, 0), Ipv4Addr::new(10, 77, 1, 255));
    let spec = ServerSpec { lease_time, ..ServerSpec::new(address, 16, pool.0, pool.1) };
    let server = Running::start(&wire.server, "s0", spec, Vec::new()).unwrap();
    let mut engine = LabEngine::start(&wire.client, "c0");
    let mut profile = Profile::default();
    profile.retransmission.renewal_floor = Duration::from_millis(200);
    engine.acquire_many(0, LEASES, &Arc::new(profile));
    engine.wait_bound(Duration::from_secs(10));
    (wire, server, engine)
}

fn fault(engine: &LabEngine, fault: LinkFault) -> bool {
    engine.notes.contains(&Event::Link { port: PortId(0), fault })
}

#[test]
fn a_link_that_goes_down_and_comes_up_again_costs_no_lease() {
    if !can_run("a link flaps", None) {
        return;
    }
    // T1 after 3 s, T2 after 5.25 s, expiry after 6 s.
    let (wire, _server, mut engine) = stage(6);
    let links = wire.client.links().unwrap();
    links.set_down("c0").unwrap();
    engine
        .wait("the fault is told", Duration::from_secs(3), |engine| fault(engine, LinkFault::Down));
    engine.pump(Duration::from_millis(500));
    assert_eq!(engine.table().len(), LEASES as usize, "held on");
    links.set_up("c0").unwrap();
    links.wait_carrier("c0", Duration::from_secs(5)).unwrap();
    engine.wait("renewed after the flap", Duration::from_secs(10), |engine| {
        engine.count(|held| held.renewed > 0) == LEASES as usize
    });
    assert_eq!(engine.count(|held| held.lost > 0), 0);
}

#[test]
fn leases_expire_by_their_own_clocks_while_the_link_is_down() {
    if !can_run("expiry without a link", None) {
        return;
    }
    let (wire, _server, mut engine) = stage(2);
    wire.client.links().unwrap().set_down("c0").unwrap();
    engine.wait("lost without a link", Duration::from_secs(5), |engine| {
        engine.count(|held| held.lost > 0) == LEASES as usize
    });
    assert_eq!(engine.table(), []);
}

#[test]
fn an_interface_that_is_removed_is_reported_and_the_engine_goes_on() {
    if !can_run("a removed interface", None) {
        return;
    }
    let (wire, _server, mut engine) = stage(1000);
    wire.client.links().unwrap().delete("c0").unwrap();
    engine.wait("the removal is told", Duration::from_secs(5), |engine| {
        fault(engine, LinkFault::Gone)
    });
    assert_eq!(engine.table().len(), LEASES as usize, "the leases are still the server's word");
    // Commands are still obeyed; nothing can be sent any more, and that is no crash.
    let leases: Vec<_> = engine.leases.keys().copied().collect();
    for lease in leases {
        engine.handle.send(Command::Release(lease)).unwrap();
    }
    engine.wait("given up", Duration::from_secs(5), |engine| {
        engine.count(|held| held.released) == LEASES as usize
    });
}
