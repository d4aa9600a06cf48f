//! A server that misbehaves in each way that the lab's embedded one can: the engine refuses by
//! name, is not led astray, and has its leases once the server comes to its senses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a story's helpers fail like the story")]

use lessee_engine::lease::Profile;
use lessee_engine::lease::timing::Retransmission;
use lessee_lab::embedded::{Kinds, Malformation, Misbehaviour as Bad, Rule, Running, ServerSpec};
use lessee_lab::topology::Wire;
use lessee_tests::{LabEngine, can_run};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const LEASES: u32 = 10;

/// What the server does, with the answers to what, and the counter that shows it.
struct Case {
    what: Bad,
    on: Kinds,
    counter: &'static str,
}

const fn case(what: Bad, on: Kinds, counter: &'static str) -> Case {
    Case { what, on, counter }
}

const OFFER: Kinds = Kinds::DISCOVER;
const ACK: Kinds = Kinds::SELECTING;

const CASES: &[Case] = &[
    case(Bad::Drop, OFFER, "retransmissions"),
    case(Bad::Drop, ACK, "retransmissions"),
    case(Bad::Silent, OFFER, "retransmissions"),
    case(Bad::Silent, ACK, "retransmissions"),
    case(Bad::Duplicate, OFFER, "ignored_late_offer"),
    case(Bad::Duplicate, ACK, "ignored_duplicate_ack"),
    case(Bad::Nak, ACK, "naks"),
    case(Bad::WrongServerId, ACK, "ignored_wrong_server"),
    case(Bad::MissingServerId, OFFER, "ignored_missing_server_id"),
    case(Bad::MissingServerId, ACK, "ignored_missing_server_id"),
    case(Bad::WrongXid, OFFER, "ignored_unknown_xid"),
    case(Bad::WrongXid, ACK, "ignored_unknown_xid"),
    case(Bad::WrongChaddr, OFFER, "ignored_wrong_hardware_address"),
    case(Bad::WrongChaddr, ACK, "ignored_wrong_hardware_address"),
    case(Bad::NoLeaseTime, OFFER, "ignored_missing_lease_time"),
    case(Bad::NoLeaseTime, ACK, "ignored_missing_lease_time"),
    case(Bad::ZeroAddress, OFFER, "ignored_bad_address"),
    case(Bad::ZeroAddress, ACK, "ignored_bad_address"),
    case(Bad::ForeignClientId, OFFER, "ignored_wrong_client_id"),
    case(Bad::ForeignClientId, ACK, "ignored_wrong_client_id"),
    case(Bad::SenselessMask, OFFER, "ignored_bad_mask"),
    case(Bad::SenselessMask, ACK, "ignored_bad_mask"),
    case(malformed(Malformation::Truncated), OFFER, "discarded_ip_length"),
    case(malformed(Malformation::OptionOverrun), OFFER, "discarded_option_overrun"),
    case(malformed(Malformation::BadCookie), OFFER, "discarded_magic_cookie"),
    case(malformed(Malformation::UdpChecksum), OFFER, "discarded_udp_checksum"),
    case(malformed(Malformation::IpChecksum), OFFER, "discarded_ip_checksum"),
    case(malformed(Malformation::LongHardwareAddress), OFFER, "discarded_hardware_address"),
    case(malformed(Malformation::NoMessageType), OFFER, "discarded_message_type_missing"),
];

const fn malformed(how: Malformation) -> Bad {
    Bad::Malformed(Some(how))
}

/// Retransmits soon, so that a story takes a second instead of a minute.
fn hasty() -> Arc<Profile> {
    let retransmission = Retransmission {
        first: Duration::from_millis(300),
        longest: Duration::from_secs(1),
        jitter: Duration::from_millis(20),
        renewal_floor: Duration::from_millis(100),
        ..Retransmission::default()
    };
    Arc::new(Profile { retransmission, ..Profile::default() })
}

fn spec() -> ServerSpec {
    let address = Ipv4Addr::new(10, 77, 0, 1);
    let pool = (Ipv4Addr::new(10, 77, 1, 0), Ipv4Addr::new(10, 77, 1, 255));
    ServerSpec { lease_time: 1000, ..ServerSpec::new(address, 16, pool.0, pool.1) }
}

fn stage(rules: Vec<Rule>, spec: ServerSpec) -> (Wire, Running, LabEngine) {
    let wire = Wire::new().unwrap();
    let server = Running::start(&wire.server, "s0", spec, rules).unwrap();
    let engine = LabEngine::start(&wire.client, "c0");
    (wire, server, engine)
}

/// The server's table holds exactly the engine's leases.
fn agree(server: &Running, engine: &LabEngine) {
    let mut theirs: Vec<_> =
        server.leases().into_iter().map(|lease| (lease.mac, lease.address)).collect();
    theirs.sort_unstable();
    assert_eq!(theirs, engine.table());
}

#[test]
fn each_misbehaviour_is_counted_by_name_and_survived() {
    if !can_run("misbehaviour", None) {
        return;
    }
    for Case { what, on, counter } in CASES {
        let rule = Rule::new(*what).on(*on).first(u64::from(LEASES));
        let (_wire, server, mut engine) = stage(vec![rule], spec());
        engine.acquire_many(0, LEASES, &hasty());
        engine.wait_bound(Duration::from_secs(10));
        // A duplicate may still be on its way.
        engine.pump(Duration::from_millis(50));
        let counted = engine.counter(counter);
        assert_eq!(counted, u64::from(LEASES), "{what:?}: {counter}: {}", engine.summary());
        agree(&server, &engine);
    }
}

#[test]
fn a_server_that_never_makes_sense_gets_no_client() {
    if !can_run("a server that never makes sense", None) {
        return;
    }
    let hopeless = [Bad::WrongXid, Bad::ZeroAddress, Bad::Malformed(None), Bad::SenselessMask];
    for what in hopeless {
        let (_wire, server, mut engine) = stage(vec![Rule::new(what)], spec());
        engine.acquire_many(0, LEASES, &hasty());
        engine.pump(Duration::from_millis(1200));
        assert_eq!(engine.table(), [], "{what:?}");
        assert!(engine.counter("retransmissions") >= u64::from(LEASES), "{what:?}");
        assert_eq!(server.leases(), [], "{what:?}");
    }
}

#[test]
fn late_answers_are_taken_once() {
    if !can_run("late answers", None) {
        return;
    }
    // Later than the first repetition: each OFFER and each ACK comes twice.
    let rule = Rule::new(Bad::Delay(Duration::from_millis(450)));
    let (_wire, server, mut engine) = stage(vec![rule], spec());
    engine.acquire_many(0, LEASES, &hasty());
    engine.wait_bound(Duration::from_secs(10));
    engine.pump(Duration::from_secs(1));
    assert!(engine.counter("retransmissions") >= 2 * u64::from(LEASES));
    assert!(engine.counter("ignored_late_offer") >= u64::from(LEASES));
    assert!(engine.counter("ignored_duplicate_ack") >= u64::from(LEASES));
    assert_eq!(engine.counter("binds"), u64::from(LEASES));
    agree(&server, &engine);
}

#[test]
fn answers_out_of_order_reach_the_right_lease() {
    if !can_run("answers out of order", None) {
        return;
    }
    let rule = Rule::new(Bad::Reorder).probability(0.5);
    let (_wire, server, mut engine) = stage(vec![rule], spec());
    engine.acquire_many(0, 20 * LEASES, &hasty());
    engine.wait_bound(Duration::from_secs(10));
    agree(&server, &engine);
    let reordered = server.counters().misbehaved(Bad::Reorder);
    assert!(reordered >= u64::from(LEASES), "only {reordered} answers were held back");
}

#[test]
fn a_lease_shorter_than_offered_is_kept_by_what_the_ack_says() {
    if !can_run("a lease shorter than offered", None) {
        return;
    }
    // Offered for 1,000 s, granted for 2: the first renewal comes after at most a second.
    let rule = Rule::new(Bad::ShortLease(2)).on(ACK);
    let (_wire, server, mut engine) = stage(vec![rule], spec());
    engine.acquire_many(0, LEASES, &hasty());
    engine.wait_bound(Duration::from_secs(10));
    assert!(
        engine
            .leases
            .values()
            .all(|held| { held.last.as_ref().unwrap().terms.unwrap().lease_time == 2 })
    );
    engine.wait("renewed in time", Duration::from_secs(3), |engine| {
        engine.count(|held| held.renewed > 0) == LEASES as usize
    });
    assert_eq!(engine.count(|held| held.lost > 0), 0);
    assert_eq!(server.counters().misbehaved(Bad::ShortLease(2)), u64::from(LEASES));
    agree(&server, &engine);
}

#[test]
fn a_nak_in_renewing_loses_the_address_and_another_is_had_at_once() {
    if !can_run("a NAK in RENEWING", None) {
        return;
    }
    let (_wire, server, mut engine) = stage(Vec::new(), spec());
    engine.acquire_many(0, LEASES, &hasty());
    engine.wait_bound(Duration::from_secs(10));
    server.set_rules(vec![Rule::new(Bad::Nak).on(Kinds::RENEWING)]);
    let leases: Vec<_> = engine.leases.keys().copied().collect();
    for lease in leases {
        engine.handle.send(lessee_engine::command::Command::Renew(lease)).unwrap();
    }
    engine.wait("lost and bound again", Duration::from_secs(5), |engine| {
        engine.count(|held| held.lost == 1 && held.bound == 2) == LEASES as usize
    });
    assert_eq!(engine.counter("naks"), u64::from(LEASES));
}

#[test]
fn a_storm_of_naks_is_met_with_patience() {
    if !can_run("a storm of NAKs", None) {
        return;
    }
    let (_wire, _server, mut engine) = stage(vec![Rule::new(Bad::Nak).on(ACK)], spec());
    engine.acquire_many(0, LEASES, &hasty());
    engine.pump(Duration::from_secs(4));
    let naks = engine.counter("naks");
    // At once, then after 0.5 to 1, 1 to 2, 2 to 4 s: three to five in four seconds.
    assert!((3 * u64::from(LEASES)..=5 * u64::from(LEASES)).contains(&naks), "{naks} NAKs");
    assert_eq!(engine.table(), []);
}

#[test]
fn leases_of_a_second_are_kept_alive() {
    if !can_run("leases of a second", None) {
        return;
    }
    let (_wire, server, mut engine) = stage(Vec::new(), ServerSpec { lease_time: 1, ..spec() });
    engine.acquire_many(0, LEASES, &hasty());
    engine.wait("five renewals each", Duration::from_secs(10), |engine| {
        engine.count(|held| held.renewed >= 5) == LEASES as usize
    });
    assert_eq!(engine.count(|held| held.lost > 0), 0);
    agree(&server, &engine);
}

#[test]
fn an_exhausted_pool_leaves_the_rest_waiting_and_is_no_storm() {
    if !can_run("an exhausted pool", None) {
        return;
    }
    let pool = Ipv4Addr::new(10, 77, 1, 4);
    let (_wire, server, mut engine) = stage(Vec::new(), ServerSpec { last: pool, ..spec() });
    engine.acquire_many(0, LEASES, &hasty());
    engine.pump(Duration::from_millis(2500));
    assert_eq!(engine.table().len(), 5);
    agree(&server, &engine);
    // 0.3, 0.6, then a second each: four to five DISCOVERs of each client in 2.5 s.
    let sent = engine.counter("discovers_sent");
    assert!(sent <= 5 + 5 * 5, "{sent} DISCOVERs");
}
