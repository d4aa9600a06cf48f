//! Tagged clients: the engine writes 802.1Q and 802.1ad tags on a parent that has no VLAN device,
//! and reads the answers' tags from the ring's metadata.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a story's helpers fail like the story")]

use lessee_engine::command::Command;
use lessee_engine::device::VlanTag;
use lessee_engine::lease::Profile;
use lessee_engine::wire::dhcp::{MessageType, Op};
use lessee_engine::wire::vlan::VlanStack;
use lessee_lab::embedded::{Running, ServerSpec};
use lessee_lab::topology::Wire;
use lessee_tests::{LabEngine, Seen, Witness, can_run, mac, plain};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const EACH: u32 = 100;

#[test]
fn untagged_tagged_and_doubly_tagged_clients_on_one_parent() {
    if !can_run("tagged clients", None) {
        return;
    }
    let wire = Wire::new().unwrap();
    let address = Ipv4Addr::new(10, 77, 0, 1);
    let pool = (Ipv4Addr::new(10, 77, 1, 0), Ipv4Addr::new(10, 77, 1, 255));
    // One pool for each VLAN: the same addresses are held in all three networks at once.
    let spec = ServerSpec { pool_per_vlan: true, ..ServerSpec::new(address, 16, pool.0, pool.1) };
    let server = Running::start(&wire.server, "s0", spec, Vec::new()).unwrap();
    let witness = Witness::start(&wire.client, "c0");
    let mut engine = LabEngine::start(&wire.client, "c0");
    let profile = Arc::new(Profile::default());
    let stacks = stacks();
    for (network, stack) in stacks.iter().enumerate() {
        for index in 0..EACH {
            let mut acquire = plain(index + EACH * network as u32, &profile);
            acquire.vlans = *stack;
            engine.acquire(acquire);
        }
    }
    engine.wait_bound(Duration::from_secs(10));

    let theirs = server.leases();
    assert_eq!(theirs.len(), 3 * EACH as usize);
    for lease in &theirs {
        let index = u32::from_be_bytes([0, lease.mac.0[3], lease.mac.0[4], lease.mac.0[5]]);
        let network = (index / EACH) as usize;
        assert_eq!(lease.domain, stacks[network].domain());
        assert!(engine.table().contains(&(lease.mac, lease.address)));
    }
    assert_eq!(engine.counter("address_clashes"), 0, "same address, but in different networks");
    // Renewals and releases carry the tags as well.
    let leases: Vec<_> = engine.leases.keys().copied().collect();
    for lease in leases {
        engine.handle.send(Command::Renew(lease)).unwrap();
    }
    engine.wait("renewed", Duration::from_secs(5), |engine| {
        engine.count(|held| held.renewed > 0) == 3 * EACH as usize
    });
    engine.release_all(Duration::from_secs(5));
    engine.pump(Duration::from_millis(100));
    assert_eq!(server.leases(), []);
    use MessageType::{Ack, Discover, Offer, Release, Request};
    for (network, stack) in stacks.iter().enumerate() {
        let kinds = tags_on_the_wire(&witness, EACH * network as u32, *stack);
        assert_eq!(kinds, [Discover, Offer, Request, Ack, Request, Ack, Release]);
    }
}

fn stacks() -> [VlanStack; 3] {
    [VlanStack::NONE, VlanStack::single(10, 5).unwrap(), VlanStack::double(100, 10, 0).unwrap()]
}

/// What the client sent and was answered; all of it had the client's tags on the wire.
fn tags_on_the_wire(witness: &Witness, index: u32, stack: VlanStack) -> Vec<MessageType> {
    let seen = witness.of(mac(index));
    let mut kinds = Vec::new();
    for packet in &seen {
        let Seen::Dhcp { link, op, kind, .. } = packet else { panic!("not DHCP") };
        kinds.push(*kind);
        let tags: Vec<VlanTag> = link.vlans.tags().collect();
        let expected: Vec<VlanTag> = stack.tags().collect();
        match op {
            Op::Request => assert_eq!(tags, expected, "TPIDs, priority and VIDs as asked for"),
            Op::Reply => assert_eq!(link.vlans.domain(), stack.domain()),
        }
    }
    kinds
}

#[test]
fn the_same_mac_lives_in_two_vlans() {
    if !can_run("one MAC in two VLANs", None) {
        return;
    }
    let wire = Wire::new().unwrap();
    let address = Ipv4Addr::new(10, 77, 0, 1);
    let pool = (Ipv4Addr::new(10, 77, 1, 0), Ipv4Addr::new(10, 77, 1, 9));
    let spec = ServerSpec { pool_per_vlan: true, ..ServerSpec::new(address, 16, pool.0, pool.1) };
    let server = Running::start(&wire.server, "s0", spec, Vec::new()).unwrap();
    let mut engine = LabEngine::start(&wire.client, "c0");
    let profile = Arc::new(Profile::default());
    for vid in [10, 20] {
        let mut acquire = plain(1, &profile);
        acquire.vlans = VlanStack::single(vid, 0).unwrap();
        engine.acquire(acquire);
    }
    engine.wait_bound(Duration::from_secs(5));
    assert_eq!(server.leases().len(), 2);
}
