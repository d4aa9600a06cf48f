//! Other people's DHCP on the same segment: other clients, other servers. It is neither answered
//! nor disturbed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a story's helpers fail like the story")]

use lessee_engine::lease::Profile;
use lessee_engine::wire::dhcp::{MessageType, Op};
use lessee_lab::netns::Netns;
use lessee_lab::servers::{self, Dnsmasq, Kea, ServerConfig};
use lessee_lab::topology::{Port, Segment, WireSpec};
use lessee_tests::{LabEngine, Seen, Witness, can_run, mac};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const LEASES: u32 = 50;
const FOREIGN: u8 = 10;

#[test]
fn two_servers_other_clients_and_us_on_one_switch() {
    if !can_run("foreign traffic", Some(&Dnsmasq)) || !can_run("foreign traffic", Some(&Kea)) {
        return;
    }
    let one = Port::new("s0").address(Ipv4Addr::new(10, 77, 0, 1), 16);
    let two = Port::new("s0").address(Ipv4Addr::new(10, 77, 0, 2), 16);
    let ports = [one.clone(), two.clone(), Port::new("c0"), Port::new("f0")];
    let segment = Segment::new(&ports).unwrap();
    let host = |number: usize| &segment.hosts[number].netns;
    let config = |server: &Port| {
        let wire = WireSpec { server: server.clone(), ..WireSpec::default() };
        ServerConfig::proof(&wire).times(600, 300, 500)
    };
    let pools = [(1, 0), (2, 0)].map(|(c, d)| Ipv4Addr::new(10, 77, c, d));
    let config_one = config(&one).pool(pools[0], Ipv4Addr::new(10, 77, 1, 255));
    let config_two = config(&two).pool(pools[1], Ipv4Addr::new(10, 77, 2, 255));
    let mut one = servers::start(&Dnsmasq, host(0), config_one).unwrap();
    let mut two = servers::start(&Kea, host(1), config_two).unwrap();
    let witness = Witness::start(host(2), "c0");
    let mut engine = LabEngine::start(host(2), "c0");

    engine.acquire_many(0, LEASES / 2, &Arc::new(Profile::default()));
    foreign_clients(host(3));
    engine.acquire_many(LEASES / 2, LEASES / 2, &Arc::new(Profile::default()));
    engine.wait_bound(Duration::from_secs(20));
    engine.pump(Duration::from_millis(300));

    // The foreign clients were on our segment while we listened, and were not taken for ours.
    let seen = witness.seen();
    assert!(seen.iter().any(|seen| matches!(seen, Seen::Dhcp { chaddr, op: Op::Request, .. }
        if chaddr.0[..5] == [2, 0, 0, 0, 0xf0])));
    for packet in &seen {
        check_ours(packet, &engine);
    }
    let mut theirs: Vec<_> = [one.leases().unwrap(), two.leases().unwrap()].concat();
    theirs.retain(|lease| lease.is_active());
    let foreign = theirs.iter().filter(|lease| lease.mac[..5] == [2, 0, 0, 0, 0xf0]).count();
    assert_eq!(foreign, usize::from(FOREIGN), "foreign clients have their leases");
    for (mac, address) in engine.table() {
        let found = theirs.iter().filter(|lease| lease.mac == mac.0 && lease.address == address);
        assert_eq!(found.count(), 1, "{mac} {address}");
    }
    assert!(engine.counter("ignored_late_offer") > 0, "the slower server's offers");
}

/// Every packet that left under one of our MACs is one of ours, and nothing was sent twice.
fn check_ours(packet: &Seen, engine: &LabEngine) {
    let Seen::Dhcp { link, op, chaddr, kind, .. } = packet else { return };
    let ours = (0..LEASES).any(|index| link.source == mac(index));
    if ours {
        assert_eq!((*op, *chaddr), (Op::Request, link.source));
        assert!(matches!(kind, MessageType::Discover | MessageType::Request));
    } else {
        // Nobody else may have spoken for our clients.
        assert!(*op == Op::Reply || !engine.table().iter().any(|(mac, _)| mac == chaddr));
    }
}

/// BusyBox's clients, one after the other, each under another MAC.
fn foreign_clients(netns: &Netns) {
    let links = netns.links().unwrap();
    for index in 0..FOREIGN {
        links.set_down("f0").unwrap();
        links.set_mac("f0", [2, 0, 0, 0, 0xf0, index]).unwrap();
        links.set_up("f0").unwrap();
        links.wait_carrier("f0", Duration::from_secs(5)).unwrap();
        let mut client = netns
            .spawn("udhcpc", |command| {
                command.args([
                    "-f",
                    "-q",
                    "-n",
                    "-t",
                    "10",
                    "-T",
                    "1",
                    "-i",
                    "f0",
                    "-s",
                    "/bin/true",
                ]);
            })
            .unwrap();
        let status = client.wait_timeout(Duration::from_secs(20)).unwrap();
        assert!(status.is_some_and(|status| status.success()), "udhcpc: {status:?}");
    }
}
