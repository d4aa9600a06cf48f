//! A server that resolves by ARP before it unicasts, as a kernel's UDP socket does: it reaches an
//! emulated client only because the client answers for the address it holds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a story's helpers fail like the story")]

use lessee_engine::command::Command;
use lessee_engine::lease::Profile;
use lessee_engine::wire::arp::Operation;
use lessee_lab::embedded::{Running, ServerSpec};
use lessee_lab::topology::Wire;
use lessee_tests::{LabEngine, Seen, Witness, can_run, mac, plain};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const LEASES: u32 = 50;

fn stage(answer_arp: bool) -> (Wire, Running, Witness, LabEngine) {
    let wire = Wire::new().unwrap();
    let address = Ipv4Addr::new(10, 77, 0, 1);
    let pool = (Ipv4Addr::new(10, 77, 1, 0), Ipv4Addr::new(10, 77, 1, 255));
    let spec = ServerSpec { resolve_by_arp: true, ..ServerSpec::new(address, 16, pool.0, pool.1) };
    let server = Running::start(&wire.server, "s0", spec, Vec::new()).unwrap();
    let witness = Witness::start(&wire.client, "c0");
    let mut engine = LabEngine::start(&wire.client, "c0");
    let profile = Arc::new(Profile { answer_arp, ..Profile::default() });
    for index in 0..LEASES {
        engine.acquire(plain(index, &profile));
    }
    engine.wait_bound(Duration::from_secs(10));
    let leases: Vec<_> = engine.leases.keys().copied().collect();
    for lease in leases {
        engine.handle.send(Command::Renew(lease)).unwrap();
    }
    (wire, server, witness, engine)
}

#[test]
fn renewals_reach_a_client_that_answers_arp() {
    if !can_run("renewals by way of ARP", None) {
        return;
    }
    let (_wire, _server, witness, mut engine) = stage(true);
    engine.wait("renewed", Duration::from_secs(5), |engine| {
        engine.count(|held| held.renewed > 0) == LEASES as usize
    });
    assert!(engine.counter("arp_answers_sent") >= u64::from(LEASES));
    let answers = witness.seen().into_iter().filter_map(|seen| match seen {
        Seen::Arp { arp, .. } if arp.operation == Operation::Reply => Some(arp),
        _ => None,
    });
    let table = engine.table();
    for answer in answers.filter(|arp| (0..LEASES).any(|index| arp.sender_mac == mac(index))) {
        assert!(table.contains(&(answer.sender_mac, answer.sender_ip)), "{answer:?}");
    }
}

#[test]
fn without_answers_the_renewals_are_lost() {
    if !can_run("renewals without ARP answers", None) {
        return;
    }
    let (_wire, _server, _witness, mut engine) = stage(false);
    engine.pump(Duration::from_secs(1));
    assert_eq!(engine.count(|held| held.renewed > 0), 0);
    assert_eq!(engine.counter("arp_answers_sent"), 0);
    assert_eq!(engine.table().len(), LEASES as usize, "and the leases are held on to");
}
