//! Whole lives of many leases: bound, renewed, rebound, lost, released.

use super::*;

#[test]
fn five_thousand_leases_are_bound_renewed_and_released() {
    let mut world = World::new();
    let leases = world.acquire_many(5000);
    world.run(minutes(1));
    assert_eq!(world.client.ports[0].bound, 5000);
    assert_eq!(world.told(Kinds::BOUND), 5000);
    assert!(leases.iter().all(|lease| world.state(*lease) == "BOUND"));
    assert_eq!(world.sent(MessageType::Discover), 5000);
    assert_eq!(world.sent(MessageType::Request), 5000);
    // Never more at once than a server's socket buffer takes.
    assert!(world.most_in_flight <= 128, "{}", world.most_in_flight);

    // T1 is 27 to 30 minutes after the REQUEST.
    world.run(minutes(25));
    assert_eq!(world.sent(MessageType::Request), 5000);
    world.run(minutes(5));
    assert_eq!(world.counters(0).renewals, 5000);
    assert_eq!(world.told(Kinds::RENEWED), 5000);

    world.client.shut_down(true, world.now);
    assert!(world.client.is_releasing());
    world.run(minutes(1));
    assert!(!world.client.is_releasing());
    assert_eq!(world.sent(MessageType::Release), 5000);
    assert!(world.addresses.is_empty());
    assert_eq!(world.told(Kinds::RELEASED), 5000);
    let port = &world.client.ports[0];
    assert_eq!((port.leases, port.bound, port.leaving), (0, 0, 0));
    assert_eq!((world.client.leases(), world.client.holders.len()), (0, 0));
    assert!(world.client.acquire(lease(1), world.now) == Err(AcquireError::ShuttingDown));
    assert_eq!(world.settle(), None);
}

#[test]
fn once_eight_were_heard_only_by_broadcast_all_ask_for_one() {
    let mut world = World::new();
    world.mood = Mood::UnheardUnlessBroadcast;
    world.acquire_many(2000);
    // The first window's clients wait 4 s each before they ask for a broadcast answer.
    world.run(Duration::from_secs(12));
    assert_eq!(world.told(Kinds::BOUND), 2000);
    let doubtful = world.dhcp().filter(|(_, sent)| sent.flags == 0).count();
    assert!(doubtful <= 128, "{doubtful} messages could not be answered");
}

#[test]
fn frames_that_the_device_holds_are_waited_for() {
    let mut world = World::new();
    world.acquire_many(1);
    world.run(Duration::from_secs(1));
    world.client.shut_down(true, world.now);
    world.run(Duration::from_secs(1));
    assert!(!world.client.is_releasing());
    world.client.ports[0].pending = 1;
    assert!(world.client.is_releasing());
    world.settle();
    assert!(!world.client.is_releasing(), "the device took them");
}

#[test]
fn deadlines_are_met_to_the_millisecond() {
    let mut world = World::unpaced();
    world.times = (600, Some(100), Some(400));
    let leases = world.acquire_many(200);
    world.run(Duration::ZERO);
    let t1s: HashMap<Mac, Instant> = leases
        .iter()
        .map(|lease| world.client.query(*lease).unwrap())
        .map(|view| (view.mac, view.terms.unwrap().t1().unwrap()))
        .collect();
    world.log.clear();
    world.mood = Mood::Silent;
    world.run(Duration::from_secs(100));
    assert_eq!(world.sent(MessageType::Request), 200);
    for (at, sent) in world.dhcp() {
        let t1 = t1s[&sent.chaddr];
        assert!(at >= t1 && at.since(t1) <= Duration::from_millis(1), "{at:?} {t1:?}");
    }
}

#[test]
fn without_the_leasing_server_leases_are_rebound_and_without_any_they_end() {
    let mut world = World::new();
    let leases = world.acquire_many(300);
    world.run(minutes(1));
    world.mood = Mood::DeafToUnicast;
    // T1 27 to 30, T2 47 to 52.5 minutes.
    world.run(minutes(45));
    assert!(leases.iter().all(|lease| world.state(*lease) == "RENEWING"));
    assert_eq!(world.counters(0).renewals, 0);
    // The retry asked for the server's MAC, three times.
    assert_eq!(world.counters(0).arp_requests_sent, 3 * 300);
    world.run(minutes(8));
    assert_eq!(world.counters(0).renewals, 300);
    assert_eq!((world.told(Kinds::RENEWED), world.told(Kinds::LOST)), (300, 0));

    world.mood = Mood::Silent;
    world.log.clear();
    world.run(minutes(62));
    assert_eq!(world.told(Kinds::LOST), 300);
    assert_eq!(world.counters(0).expiries, 300);
    assert_eq!((world.client.ports[0].bound, world.client.holders.len()), (0, 0));
    // They ask for the same address again, and get it.
    assert!(
        world
            .dhcp()
            .filter(|(_, sent)| sent.kind == MessageType::Discover)
            .all(|(_, sent)| sent.requested == Some(world.addresses[&sent.chaddr]))
    );
    world.mood = Mood::Answers;
    world.run(minutes(15));
    assert_eq!(world.client.ports[0].bound, 300);
    assert_eq!(world.told(Kinds::BOUND), 600);
}

#[test]
fn a_week_of_renewals_of_a_hundred_leases() {
    let mut world = World::new();
    world.acquire_many(100);
    world.run(minutes(7 * 24 * 60));
    let renewals = world.counters(0).renewals;
    // Each after 27 to 30 minutes.
    assert!((33_600..=37_400).contains(&renewals), "{renewals}");
    assert_eq!(world.counters(0).retransmissions, 0);
    assert_eq!(world.told(Kinds::LOST), 0);
    // The loop sleeps in between.
    assert!(world.turns < renewals * 12, "{}", world.turns);
}

#[test]
fn a_storm_of_naks_backs_off() {
    let mut world = World::new();
    world.mood = Mood::Refuses;
    world.acquire_many(50);
    world.run(minutes(60));
    let naks = world.counters(0).naks;
    // 0, 1, 2 … 256, 300 s: 9 in the first ten minutes, then one in 2.5 to 5 minutes.
    assert!((50 * 15..=50 * 40).contains(&naks), "{naks}");
    world.mood = Mood::Answers;
    world.run(minutes(10));
    assert_eq!(world.client.ports[0].bound, 50);
}

#[test]
fn a_server_that_comes_late_finds_every_client_waiting() {
    let mut world = World::new();
    world.mood = Mood::Silent;
    world.acquire_many(2000);
    world.run(minutes(10));
    // The window is down to one: few are let in, and those are patient.
    let sent = world.sent(MessageType::Discover);
    assert!((200..2000).contains(&sent), "{sent}");
    world.mood = Mood::Answers;
    world.run(minutes(2));
    assert_eq!(world.client.ports[0].bound, 2000);
}

#[test]
fn renewed_by_command_at_once_and_released_alone() {
    let mut world = World::new();
    let leases = world.acquire_many(3);
    world.run(minutes(1));
    world.client.renew(leases[1], world.now);
    world.run(Duration::ZERO);
    let renewed: Vec<LeaseId> = world
        .notices()
        .filter(|(_, notice)| notice.kinds.contains(Kinds::RENEWED))
        .map(|(lease, _)| lease)
        .collect();
    assert_eq!(renewed, [leases[1]]);
    world.client.release(leases[1], world.now);
    world.run(Duration::ZERO);
    assert_eq!(world.state(leases[1]), "gone");
    assert_eq!((world.client.leases(), world.sent(MessageType::Release)), (2, 1));
}

#[test]
fn what_no_lease_can_live_with_is_refused() {
    let mut world = World::new();
    let mut refused = |change: &dyn Fn(&mut Acquire)| {
        let mut acquire = lease(1);
        change(&mut acquire);
        world.client.acquire(acquire, world.now).unwrap_err()
    };
    assert_eq!(refused(&|a| a.port = PortId(1)), AcquireError::NoSuchPort(PortId(1)));
    assert_eq!(refused(&|a| a.mac = Mac::ZERO), AcquireError::BadMac(Mac::ZERO));
    assert_eq!(refused(&|a| a.mac = Mac::BROADCAST), AcquireError::BadMac(Mac::BROADCAST));
    assert_eq!(refused(&|a| a.hostname = Some("".into())), AcquireError::BadHostname(0));
    assert_eq!(
        refused(&|a| a.hostname = Some("x".repeat(256).into())),
        AcquireError::BadHostname(256)
    );
    assert_eq!(
        refused(&|a| a.client_id = ClientIdentifier::Bytes([1].into())),
        AcquireError::BadClientId(1)
    );
    for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)] {
        assert_eq!(
            refused(&|a| a.requested_address = Some(address)),
            AcquireError::BadAddress(address)
        );
    }
    let long = Arc::new(Profile { more_options: vec![0; 1500].into(), ..Profile::default() });
    assert!(matches!(refused(&|a| a.profile = long.clone()), AcquireError::TooLong(_)));
    assert_eq!(world.client.leases(), 0);
}
