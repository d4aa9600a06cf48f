//! Events: state, not history, and no more of them than there are leases.

use super::*;
use crate::device::LinkFault;
use crate::lease::Ignored;

#[test]
fn a_reader_that_sleeps_for_a_day_finds_one_event_a_lease() {
    let mut world = World::new();
    world.acquire_many(50);
    let until = |world: &mut World, time: Duration| {
        let end = world.now + time;
        while let Some(next) = world.settle().filter(|next| *next <= end) {
            world.now = next;
        }
        world.now = end;
        world.settle();
    };
    until(&mut world, minutes(12 * 60));
    world.mood = Mood::Silent;
    until(&mut world, minutes(6 * 60));
    world.mood = Mood::Answers;
    until(&mut world, minutes(6 * 60));
    assert_eq!(world.client.news.len(), 50);
    world.read();
    assert_eq!(world.events.len(), 50);
    for (_, notice) in world.notices() {
        for kind in [Kinds::BOUND, Kinds::RENEWED, Kinds::LOST] {
            assert!(notice.kinds.contains(kind), "{notice:?}");
        }
        assert_eq!((notice.sequence, notice.lost), (1, Some(Lost::Expired)));
        assert!(notice.terms.is_some() && notice.previous.is_none());
    }
}

#[test]
fn a_lease_that_is_over_stays_until_its_last_event_is_read() {
    let mut world = World::new();
    let id = world.acquire(lease(1));
    world.run(Duration::ZERO);
    world.client.release(id, world.now);
    world.settle();
    assert_eq!((world.state(id), world.client.leases()), ("RELEASED", 1));
    world.read();
    assert_eq!((world.state(id), world.client.leases()), ("gone", 0));
    let (last, notice) = world.notices().last().unwrap();
    assert_eq!((last, notice.kinds, notice.terms), (id, Kinds::RELEASED, None));
}

#[test]
fn a_probe_reports_offers_and_never_sends_a_request() {
    let mut world = World::new();
    let id = world.acquire(Acquire { probe: true, ..lease(1) });
    world.run(minutes(10));
    assert_eq!(world.sent(MessageType::Request), 0);
    let discovers = world.sent(MessageType::Discover);
    let offers: Vec<&Offer> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Offer(offer) => Some(&**offer),
            Event::Lease { .. } | Event::Link { .. } => None,
        })
        .collect();
    assert_eq!(offers.len(), discovers);
    assert!(offers.iter().all(|offer| offer.lease == id && offer.tag == 1));
    assert_eq!(offers[0].server_id, Some(SERVER_ID));
    assert_eq!(offers[0].address, world.addresses[&mac(1)]);
    assert_eq!(world.counters(0).offers_probed, discovers as u64);
    // More of them than a reader takes are dropped, and counted.
    let xid = world.dhcp().next().unwrap().1.xid;
    for _ in 0..3000 {
        world.hear(0, Answer::new(MessageType::Offer, xid, mac(1)).frame());
    }
    world.settle();
    assert_eq!(world.client.notes.len(), NOTES_WAITING);
    assert_eq!(world.counters(0).offers_dropped, 3000 - NOTES_WAITING as u64);
}

#[test]
fn other_peoples_traffic_is_counted_by_name_and_changes_nothing() {
    let mut world = World::with(PortSpec::new("any", 1500), 2);
    world.mood = Mood::Silent;
    let id = world.acquire(lease(1));
    world.run(Duration::ZERO);
    let xid = world.dhcp().next().unwrap().1.xid;
    let good = Answer::new(MessageType::Offer, xid, mac(1));
    world.hear(0, Answer { xid: xid ^ 0x40, ..good.clone() }.frame());
    world.hear(0, Answer { chaddr: mac(2), ..good.clone() }.frame());
    world.hear(0, Answer { tags: vec![(0x8100, 9)], ..good.clone() }.frame());
    world.hear(1, good.frame());
    world.hear(0, vec![0; 60]);
    world.run(Duration::ZERO);
    assert_eq!(world.state(id), "SELECTING");
    let (one, two) = (world.counters(0), world.counters(1));
    for reason in [Ignored::UnknownXid, Ignored::WrongHardwareAddress, Ignored::WrongNetwork] {
        assert_eq!(one.ignored(reason), 1, "{reason:?}");
    }
    assert_eq!(two.ignored(Ignored::WrongNetwork), 1);
    assert_eq!(one.discarded(crate::wire::Discard::EtherType), 1);
    assert_eq!((one.frames_received, one.packets_received), (4, 3));
    world.hear(0, good.frame());
    world.run(Duration::ZERO);
    assert_eq!(world.state(id), "REQUESTING");
}

#[test]
fn a_link_that_goes_is_told_and_leases_run_on() {
    let mut world = World::new();
    let id = world.acquire(lease(1));
    world.run(Duration::ZERO);
    world.client.link_fault(PortId(0), LinkFault::Down);
    world.run(minutes(1));
    assert!(world.events.contains(&Event::Link { port: PortId(0), fault: LinkFault::Down }));
    assert_eq!(world.state(id), "BOUND");
}

#[test]
fn a_shutdown_without_release_keeps_every_lease() {
    let mut world = World::new();
    let leases = world.acquire_many(10);
    world.run(Duration::ZERO);
    world.client.shut_down(false, world.now);
    world.run(minutes(1));
    assert!(!world.client.is_releasing());
    assert_eq!(world.sent(MessageType::Release), 0);
    assert!(leases.iter().all(|lease| world.state(*lease) == "BOUND"));
}
