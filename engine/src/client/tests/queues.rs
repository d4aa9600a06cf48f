//! Who is served first, who waits, and what a full device or a used slot changes.

use super::*;
use crate::lease::tests::SERVER;
use crate::wire::arp::Arp;

fn window(size: u32) -> World {
    let pacing = Pacing { window: Window::Fixed(size), ..Pacing::default() };
    World::with(PortSpec { pacing, ..PortSpec::new("one", 1500) }, 1)
}

#[test]
fn no_more_exchanges_are_in_flight_than_the_window_has_places() {
    let mut world = window(7);
    world.mood = Mood::Silent;
    world.acquire_many(100);
    world.run(Duration::ZERO);
    assert_eq!(world.sent(MessageType::Discover), 7);
    assert_eq!(world.client.ports[0].pacer.in_flight(), 7);
    // Those that were not answered leave it after 3 to 5 s, and others have their turn.
    world.run(Duration::from_secs(6));
    assert!(world.sent(MessageType::Discover) > 14);
    assert_eq!(world.most_in_flight, 7);
    world.mood = Mood::Answers;
    world.run(minutes(3));
    assert_eq!(world.client.ports[0].bound, 100);
    assert_eq!((world.most_in_flight, world.client.ports[0].pacer.in_flight()), (7, 0));
}

#[test]
fn leases_that_go_away_leave_the_window() {
    let mut world = window(2);
    world.mood = Mood::Silent;
    let leases = world.acquire_many(4);
    world.run(Duration::ZERO);
    world.client.forget(leases[0], world.now);
    world.client.release(leases[1], world.now);
    world.run(Duration::ZERO);
    assert_eq!(world.sent(MessageType::Discover), 4);
    assert_eq!(world.client.ports[0].pacer.in_flight(), 2);
}

#[test]
fn a_probe_that_has_its_offer_is_no_congestion() {
    let mut world = World::new();
    world.acquire(Acquire { probe: true, ..lease(1) });
    world.run(minutes(1));
    assert_eq!(world.client.ports[0].pacer.window(), Some(32));
    assert_eq!(world.client.ports[0].pacer.in_flight(), 0);
}

/// What was sent, in order: the kinds, ARP answers as `None`.
fn order(world: &World) -> Vec<Option<MessageType>> {
    let kinds = world.log.iter().map(|(_, _, seen)| match seen {
        Seen::Arp(..) => None,
        Seen::Dhcp(sent) => Some(sent.kind),
    });
    kinds.collect()
}

#[test]
fn arp_answers_go_first_then_renewals_releases_requests_and_discovers() {
    let mut world = World::unpaced();
    let leases = world.acquire_many(3);
    world.run(Duration::ZERO);
    // A fourth has its OFFER, but its REQUEST finds no slot.
    let asking = world.acquire(lease(3));
    world.turn();
    world.devices[0].slots = Some(0);
    world.turn();
    assert_eq!(world.state(asking), "REQUESTING");
    // All of this waits, the last asked for first.
    world.acquire(lease(4));
    world.client.release(leases[0], world.now);
    world.client.renew(leases[1], world.now);
    let held = world.client.query(leases[2]).unwrap().terms.unwrap().address;
    let question = Arp::request(SERVER, SERVER_ID, held);
    world.hear(0, frame(&question));
    world.turn();
    world.log.clear();
    world.devices[0].slots = None;
    world.turn();
    assert_eq!(
        order(&world),
        [
            None,
            Some(MessageType::Request),
            Some(MessageType::Release),
            Some(MessageType::Request),
            Some(MessageType::Discover),
        ]
    );
    let requests: Vec<_> =
        world.dhcp().filter(|(_, sent)| sent.kind == MessageType::Request).collect();
    assert!(!requests[0].1.ciaddr.is_unspecified() && requests[1].1.ciaddr.is_unspecified());
}

/// A frame with this ARP question, untagged.
pub(super) fn frame(arp: &Arp) -> Vec<u8> {
    let vlans = crate::wire::vlan::VlanStack::NONE;
    let link = crate::wire::Link { destination: Mac::BROADCAST, source: arp.sender_mac, vlans };
    let body = crate::wire::TransmitBody::Arp(*arp);
    let mut frame = vec![0; 64];
    let len = crate::wire::emit(&crate::wire::Transmit { link, body }, &mut frame).unwrap();
    frame.truncate(len);
    frame
}

#[test]
fn a_full_device_leaves_every_lease_as_it_was() {
    let mut world = World::unpaced();
    let bound = world.acquire_many(20);
    world.run(Duration::ZERO);
    world.devices[0].slots = Some(0);
    let fresh: Vec<LeaseId> = (20..40).map(|number| world.acquire(lease(number))).collect();
    for lease in &bound[..10] {
        world.client.renew(*lease, world.now);
    }
    world.client.release(bound[19], world.now);
    let states = |world: &World| -> Vec<State> {
        bound.iter().chain(&fresh).map(|lease| world.client.query(*lease).unwrap().state).collect()
    };
    let before = states(&world);
    world.log.clear();
    for _ in 0..50 {
        // Nothing to do until the device has room: no busy loop either.
        let next = world.settle();
        assert!(next.is_none_or(|next| next > world.now));
        world.now = world.now + Duration::from_millis(1);
    }
    assert_eq!(states(&world), before);
    assert!(world.log.is_empty());
    world.devices[0].slots = Some(3);
    for _ in 0..200 {
        world.settle();
        world.now = world.now + Duration::from_millis(1);
    }
    world.read();
    assert_eq!(world.client.ports[0].bound, 39);
    assert_eq!((world.counters(0).renewals, world.counters(0).binds), (10, 40));
    assert_eq!(world.counters(0).retransmissions, 0);
}

#[test]
fn a_full_device_with_a_paced_queue_does_not_spin() {
    let pacing = Pacing { others_per_second: Some(10), ..Pacing::default() };
    let mut world = World::with(PortSpec { pacing, ..PortSpec::new("one", 1500) }, 1);
    let leases = world.acquire_many(40);
    world.run(Duration::ZERO);
    // A burst of 32 goes out, the rest waits: first for tokens, then for the device.
    leases.iter().for_each(|lease| world.client.renew(*lease, world.now));
    world.settle();
    world.devices[0].slots = Some(0);
    for _ in 0..10 {
        // `settle` panics if the next turn is due at once.
        world.settle();
        world.now = world.now + Duration::from_millis(100);
    }
    world.devices[0].slots = None;
    world.settle();
    assert_eq!(world.counters(0).renewals, 40);
}

#[test]
fn a_full_device_with_starts_that_wait_for_tokens_does_not_spin() {
    let pacing = Pacing { starts_per_second: Some(10), ..Pacing::default() };
    let mut world = World::with(PortSpec { pacing, ..PortSpec::new("one", 1500) }, 1);
    world.acquire_many(3);
    world.turn();
    // The first has its OFFER; its REQUEST finds no slot and keeps the others from being looked at.
    world.devices[0].slots = Some(0);
    for _ in 0..10 {
        world.settle();
        world.now = world.now + Duration::from_millis(100);
    }
    world.devices[0].slots = None;
    world.run(Duration::from_secs(1));
    assert_eq!(world.client.ports[0].bound, 3);
}

#[test]
fn a_rate_of_others_is_kept_and_the_loop_sleeps_in_between() {
    let pacing = Pacing { others_per_second: Some(10), ..Pacing::default() };
    let mut world = World::with(PortSpec { pacing, ..PortSpec::new("one", 1500) }, 1);
    world.acquire_many(132);
    world.run(Duration::from_secs(1));
    let turns = world.turns;
    world.client.release_all(world.now);
    world.run(Duration::from_secs(5));
    // A burst of 32, then ten a second.
    assert!(
        (81..=83).contains(&world.sent(MessageType::Release)),
        "{}",
        world.sent(MessageType::Release)
    );
    world.run(Duration::from_secs(6));
    assert_eq!(world.sent(MessageType::Release), 132);
    assert!(world.turns - turns < 400, "{}", world.turns - turns);
}

#[test]
fn an_old_name_does_nothing_to_the_lease_that_has_its_slot_now() {
    let mut world = World::new();
    let old = world.acquire(lease(1));
    world.run(Duration::ZERO);
    world.client.forget(old, world.now);
    world.read();
    let new = world.acquire(lease(2));
    assert_eq!((old.slot, world.state(old)), (new.slot, "gone"));
    world.run(Duration::ZERO);
    world.log.clear();
    world.client.release(old, world.now);
    world.client.forget(old, world.now);
    world.client.renew(old, world.now);
    world.run(Duration::ZERO);
    assert_eq!(world.state(new), "BOUND");
    assert!(world.log.is_empty());
}

#[test]
fn an_answer_to_the_lease_before_is_not_taken_by_the_one_that_has_its_slot_now() {
    let mut world = World::new();
    world.mood = Mood::Silent;
    let old = world.acquire(lease(1));
    world.run(Duration::ZERO);
    let xid = world.dhcp().next().unwrap().1.xid;
    world.client.forget(old, world.now);
    world.read();
    // Even under the same MAC.
    let new = world.acquire(lease(1));
    world.run(Duration::ZERO);
    world.hear(0, Answer::new(MessageType::Offer, xid, mac(1)).frame());
    world.run(Duration::ZERO);
    assert_eq!(world.state(new), "SELECTING");
    assert_eq!(world.counters(0).ignored(crate::lease::Ignored::UnknownXid), 1);
}

#[test]
fn a_slot_that_waited_on_one_port_sends_on_its_new_one_only() {
    let mut world = World::with(PortSpec::new("any", 1500), 2);
    world.devices[0].slots = Some(0);
    let old = world.acquire(lease(1));
    world.client.forget(old, world.now);
    world.read();
    let new = world.acquire(Acquire { port: PortId(1), ..lease(2) });
    assert_eq!(old.slot, new.slot);
    world.devices[0].slots = None;
    world.run(Duration::ZERO);
    assert_eq!(world.state(new), "BOUND");
    assert!(world.log.iter().all(|(_, port, _)| *port == 1));
}

#[test]
fn leases_that_come_and_go_unsent_do_not_fill_the_ready_queue() {
    let mut world = World::new();
    world.devices[0].slots = Some(0);
    for number in 0..10_000 {
        let id = world.acquire(lease(number));
        world.client.forget(id, world.now);
        world.read();
    }
    let waiting: usize = world.client.ports[0].ready.iter().map(VecDeque::len).sum();
    assert!(waiting <= 100, "{waiting}");
    assert!(world.client.table.slots() <= 2);
    world.devices[0].slots = None;
    world.run(Duration::ZERO);
    assert!(world.log.is_empty());
}

#[test]
fn nothing_is_sent_for_a_lease_that_was_forgotten() {
    for step in 0..6 {
        let mut world = World::new();
        let id = world.acquire(lease(1));
        for _ in 0..step {
            world.turn();
        }
        world.client.forget(id, world.now);
        world.log.clear();
        world.run(minutes(120));
        assert!(world.log.is_empty(), "step {step}: {:?}", world.log);
        assert_eq!(world.state(id), "gone");
        assert_eq!(world.client.turn(world.now, &mut world.devices).next, None);
    }
}
