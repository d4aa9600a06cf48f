//! The life of a lease against four real servers: renewed at T1 by unicast, rebound by broadcast
//! when its server is gone, bound again when it is back, and given up when it stays away.
//!
//! The servers' own timers are the witnesses, so these stories wait for real, with leases of
//! seconds (dnsmasq gives none below 120 s). They run side by side.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a story's helpers fail like the story")]

use lessee_engine::lease::{Lost, Profile};
use lessee_engine::wire::dhcp::{MessageType, Op};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::options::code;
use lessee_lab::servers::{self, Dhcpd, Dnsmasq, Kea, Running, Server, ServerConfig, Udhcpd};
use lessee_lab::topology::Wire;
use lessee_tests::{LabEngine, Seen, Witness, can_run, mac};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LEASES: u32 = 20;

/// A wire with a server, a witness, and an engine with leases bound.
struct Stage {
    wire: Wire,
    running: Running,
    witness: Witness,
    engine: LabEngine,
}

fn stage(server: &'static dyn Server, what: &str) -> Option<Stage> {
    if !can_run(&format!("{what} ({})", server.name()), Some(server)) {
        return None;
    }
    let wire = Wire::new().unwrap();
    // T1 leaves time to look at the table before the first renewal.
    let config = ServerConfig::proof(&wire.spec).pool_of(4 * LEASES).times(30, 5, 12);
    let running = servers::start(server, &wire.server, config).unwrap();
    let witness = Witness::start(&wire.client, "c0");
    let mut engine = LabEngine::start(&wire.client, "c0");
    let mut profile = Profile::default();
    // With the RFC's floor of 60 s no retry would fit into such a lease.
    profile.retransmission.renewal_floor = Duration::from_millis(500);
    engine.acquire_many(0, LEASES, &Arc::new(profile));
    engine.wait_bound(Duration::from_secs(20));
    Some(Stage { wire, running, witness, engine })
}

fn renews_and_rebinds(server: &'static dyn Server) {
    let Some(stage) = stage(server, "renew and rebind") else { return };
    let Stage { wire, mut running, witness, mut engine } = stage;
    let bound = engine.table();
    renewed(&mut engine, &witness, &mut running);

    let stopped = running.stop().unwrap();
    rebinding(&mut engine, &witness, config_server(&wire));
    let lost = engine.count(|held| held.lost > 0);
    assert_eq!(lost, 0, "no lease may end while its server is only away");

    let _running = stopped.start().unwrap();
    let renewals: u32 = engine.leases.values().map(|held| held.renewed).sum();
    // The retries come at half the remaining time: with dnsmasq's 120 s after 55 s.
    engine.wait("bound again", Duration::from_secs(70), |engine| {
        engine.leases.values().map(|held| held.renewed).sum::<u32>() >= renewals + LEASES
    });
    assert_eq!(engine.table(), bound, "the same addresses, from a server that remembers");
}

fn expires(server: &'static dyn Server) {
    let Some(stage) = stage(server, "expire") else { return };
    let Stage { wire: _wire, running, witness, mut engine } = stage;
    let bound = engine.table();
    let _stopped = running.stop().unwrap();
    expired(&mut engine, &witness, &bound);
}

fn config_server(wire: &Wire) -> Ipv4Addr {
    wire.spec.server.address.unwrap().0
}

/// When the server's own table says that each address is free again.
fn expiries(running: &mut Running) -> BTreeMap<Ipv4Addr, u64> {
    let leases = running.leases().unwrap().into_iter().filter(|lease| lease.is_active());
    leases.map(|lease| (lease.address, lease.expires.unwrap())).collect()
}

/// T1: unicast to the server identifier, ciaddr set, neither 50 nor 54; the server's expiry moves.
fn renewed(engine: &mut LabEngine, witness: &Witness, running: &mut Running) {
    let before = expiries(running);
    assert_eq!(before.len(), LEASES as usize);
    assert_eq!(engine.count(|held| held.renewed > 0), 0, "the machine is too slow for this story");
    engine.wait("renewed at T1", Duration::from_secs(12), |engine| {
        engine.count(|held| held.renewed > 0) == LEASES as usize
    });
    // The tables are in whole seconds, and some are written a moment later.
    let moved = |running: &mut Running| {
        let after = expiries(running);
        before.iter().all(|(address, expiry)| after.get(address).is_some_and(|at| at > expiry))
    };
    // Until then it was the first renewal: the second comes after T1 once more.
    let patience = Instant::now() + Duration::from_secs(3);
    while !moved(running) {
        assert!(Instant::now() < patience, "the server's expiries did not move: {before:?}");
        engine.pump(Duration::from_millis(200));
    }
    for index in 0..LEASES {
        let seen = witness.of(mac(index));
        let ack = seen.iter().find(|seen| seen.is(MessageType::Ack)).unwrap();
        let Seen::Dhcp { link, .. } = ack else { unreachable!() };
        let renewal = requests(&seen, |ciaddr| !ciaddr.is_unspecified());
        check_request(renewal.first().unwrap(), link.source, running.config().server_ip);
    }
}

/// The REQUESTs of a client whose ciaddr passes `test`.
fn requests(seen: &[Seen], test: impl Fn(Ipv4Addr) -> bool) -> Vec<Seen> {
    let ours = seen.iter().filter(|seen| {
        matches!(seen, Seen::Dhcp { op: Op::Request, kind: MessageType::Request, ciaddr, .. }
            if test(*ciaddr))
    });
    ours.cloned().collect()
}

fn check_request(request: &Seen, mac: Mac, to: Ipv4Addr) {
    let Seen::Dhcp { link, source, destination, ciaddr, options, broadcast, .. } = request else {
        panic!("not DHCP: {request:?}")
    };
    assert_eq!((*destination.ip(), destination.port()), (to, 67));
    assert_eq!((*source.ip(), source.port()), (*ciaddr, 68));
    assert_eq!(link.destination, mac);
    // RFC 2131 4.3.2: in RENEWING and REBINDING neither 50 nor 54 may be there.
    assert_eq!(options.get(code::REQUESTED_ADDRESS), None);
    assert_eq!(options.get(code::SERVER_ID), None);
    assert!(!broadcast);
}

/// T2 with the server gone: broadcast REQUESTs from each client.
fn rebinding(engine: &mut LabEngine, witness: &Witness, server: Ipv4Addr) {
    let is_broadcast = |seen: &Seen| matches!(seen, Seen::Dhcp { destination, .. } if destination.ip().is_broadcast());
    let rebind = |index| {
        let seen = requests(&witness.of(mac(index)), |ciaddr| !ciaddr.is_unspecified());
        seen.into_iter().find(is_broadcast)
    };
    for _ in 0..200 {
        engine.pump(Duration::from_millis(100));
        if (0..LEASES).all(|index| rebind(index).is_some()) {
            break;
        }
    }
    for index in 0..LEASES {
        let request = rebind(index).unwrap_or_else(|| panic!("{} did not rebind", mac(index)));
        check_request(&request, Mac::BROADCAST, Ipv4Addr::BROADCAST);
        // Before that it asked its server alone.
        let renew = requests(&witness.of(mac(index)), |ciaddr| !ciaddr.is_unspecified());
        let unicast = |seen: &&Seen| matches!(seen, Seen::Dhcp { destination, .. } if *destination.ip() == server);
        assert!(renew.iter().filter(unicast).count() >= 2);
    }
}

/// Nobody extends the leases: each is lost, the address is not used any more but asked for again.
fn expired(engine: &mut LabEngine, witness: &Witness, bound: &[(Mac, Ipv4Addr)]) {
    engine.wait("lost on expiry", Duration::from_secs(150), |engine| {
        engine.count(|held| held.lost > 0) == LEASES as usize
    });
    assert_eq!(engine.table(), [], "a lost address is not held");
    for held in engine.leases.values() {
        assert_eq!(held.last.as_ref().unwrap().lost, Some(Lost::Expired));
    }
    assert_eq!(engine.counter("expiries"), u64::from(LEASES));
    std::thread::sleep(Duration::from_millis(500));
    for (mac, address) in bound {
        let asked = witness.of(*mac).into_iter().rev().find(|seen| seen.is(MessageType::Discover));
        let Some(Seen::Dhcp { options, ciaddr, .. }) = asked else {
            panic!("{mac} did not start again")
        };
        assert!(ciaddr.is_unspecified());
        let wanted = options.get(code::REQUESTED_ADDRESS);
        assert_eq!(wanted, Some(address.octets().as_slice()));
    }
}

#[test]
fn dnsmasq_renews_and_rebinds() {
    renews_and_rebinds(&Dnsmasq);
}

#[test]
fn dnsmasq_leases_expire() {
    expires(&Dnsmasq);
}

#[test]
fn kea_renews_and_rebinds() {
    renews_and_rebinds(&Kea);
}

#[test]
fn kea_leases_expire() {
    expires(&Kea);
}

#[test]
fn dhcpd_renews_and_rebinds() {
    renews_and_rebinds(&Dhcpd);
}

#[test]
fn dhcpd_leases_expire() {
    expires(&Dhcpd);
}

#[test]
fn udhcpd_renews_and_rebinds() {
    renews_and_rebinds(&Udhcpd);
}

#[test]
fn udhcpd_leases_expire() {
    expires(&Udhcpd);
}
