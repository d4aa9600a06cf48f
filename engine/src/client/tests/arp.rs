//! Answers for the addresses that emulated clients hold, and for no others.

use super::queues::frame;
use super::*;
use crate::lease::tests::SERVER;
use crate::wire::arp::{Arp, Operation};
use crate::wire::vlan::VlanStack;

/// The answers that were sent, with their ports.
fn answers(world: &mut World) -> Vec<(usize, crate::wire::Link, Arp)> {
    world.log.clear();
    world.run(Duration::ZERO);
    let log = std::mem::take(&mut world.log);
    log.into_iter()
        .filter_map(|(_, port, seen)| match seen {
            Seen::Arp(link, arp) => Some((port, link, arp)),
            Seen::Dhcp(_) => None,
        })
        .collect()
}

fn tagged(frame: &[u8], vid: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.splice(12..12, [0x81, 0, (vid >> 8) as u8, vid as u8]);
    frame
}

fn held(world: &World, lease: LeaseId) -> Ipv4Addr {
    world.client.query(lease).unwrap().terms.unwrap().address
}

#[test]
fn whoever_asks_for_an_address_that_is_held_gets_its_leases_mac() {
    let mut world = World::new();
    let lease = world.acquire(lease(1));
    world.run(Duration::ZERO);
    let question = Arp::request(SERVER, SERVER_ID, held(&world, lease));
    world.hear(0, frame(&question));
    let sent = answers(&mut world);
    let [(0, link, arp)] = sent[..] else { panic!("{sent:?}") };
    assert_eq!((link.destination, link.source, link.vlans), (SERVER, mac(1), VlanStack::NONE));
    assert_eq!(arp, question.answer(mac(1)));
    // RFC 5227: a probe is answered too, so that nobody takes the address.
    world.hear(0, frame(&Arp { sender_ip: Ipv4Addr::UNSPECIFIED, ..question }));
    assert_eq!(answers(&mut world).len(), 1);
    assert_eq!(world.counters(0).arp_answers_sent, 2);
}

#[test]
fn other_questions_get_no_answer() {
    let mut world = World::new();
    let id = world.acquire(lease(1));
    world.run(Duration::ZERO);
    let address = held(&world, id);
    let question = Arp::request(SERVER, SERVER_ID, address);
    for other in [
        Arp { target_ip: Ipv4Addr::new(10, 9, 9, 9), ..question },
        // An announcement, a reply, and our own question come back.
        Arp { sender_ip: address, ..question },
        Arp { operation: Operation::Reply, ..question },
        Arp { sender_mac: mac(1), ..question },
        Arp { sender_mac: Mac::BROADCAST, ..question },
    ] {
        world.hear(0, frame(&other));
        assert_eq!(answers(&mut world), [], "{other:?}");
    }
    world.client.release(id, world.now);
    world.run(Duration::ZERO);
    world.hear(0, frame(&question));
    assert_eq!(answers(&mut world), []);
}

#[test]
fn an_address_belongs_to_its_vlan_and_port() {
    let mut world = World::with(PortSpec::new("any", 1500), 2);
    let vlans = VlanStack::single(10, 3).unwrap();
    let ten = world.acquire(Acquire { vlans, ..lease(1) });
    world.run(Duration::ZERO);
    let question = frame(&Arp::request(SERVER, SERVER_ID, held(&world, ten)));
    world.hear(0, question.clone());
    world.hear(0, tagged(&question, 11));
    world.hear(1, tagged(&question, 10));
    assert_eq!(answers(&mut world), []);
    // The priority of the question does not matter; the answer has the lease's own.
    world.hear(0, tagged(&question, 0xa00a));
    let sent = answers(&mut world);
    assert_eq!((sent.len(), sent[0].0, sent[0].1.vlans), (1, 0, vlans));
}

#[test]
fn a_container_with_a_kernel_behind_it_answers_for_itself() {
    let mut world = World::new();
    let profile = Arc::new(Profile { answer_arp: false, ..Profile::default() });
    let id = world.acquire(Acquire { profile, ..lease(1) });
    world.run(Duration::ZERO);
    let question = Arp::request(SERVER, SERVER_ID, held(&world, id));
    world.hear(0, frame(&question));
    assert_eq!(answers(&mut world), []);
}

#[test]
fn a_question_that_waited_is_not_answered_for_an_address_given_up_since() {
    let mut world = World::new();
    let id = world.acquire(lease(1));
    world.run(Duration::ZERO);
    world.devices[0].slots = Some(0);
    let question = Arp::request(SERVER, SERVER_ID, held(&world, id));
    world.hear(0, frame(&question));
    world.settle();
    world.client.forget(id, world.now);
    world.devices[0].slots = None;
    assert_eq!(answers(&mut world), []);
}

#[test]
fn an_address_that_is_leased_twice_is_counted_and_stays_the_first_ones() {
    let mut world = World::new();
    let one = Ipv4Addr::new(10, 0, 0, 9);
    for number in [1, 2] {
        world.addresses.insert(mac(number), one);
    }
    let leases = world.acquire_many(3);
    world.run(Duration::ZERO);
    assert_eq!(world.counters(0).address_clashes, 1);
    world.hear(0, frame(&Arp::request(SERVER, SERVER_ID, one)));
    assert_eq!(answers(&mut world)[0].2.sender_mac, mac(1));
    // The second one leaves: the first is still there.
    world.client.release(leases[2], world.now);
    world.run(Duration::ZERO);
    world.hear(0, frame(&Arp::request(SERVER, SERVER_ID, one)));
    assert_eq!(answers(&mut world).len(), 1);
    assert_eq!(world.client.ports[0].bound, 2);
}

#[test]
fn the_same_address_on_two_vlans_is_no_clash() {
    let mut world = World::new();
    let one = Ipv4Addr::new(10, 0, 0, 9);
    for number in [1, 2] {
        world.addresses.insert(mac(number), one);
        let vlans = VlanStack::single(number as u16, 0).unwrap();
        world.acquire(Acquire { vlans, ..lease(number) });
    }
    world.run(Duration::ZERO);
    assert_eq!(world.counters(0).address_clashes, 0);
    assert_eq!(world.client.ports[0].bound, 2);
}

#[test]
fn a_retried_renewal_goes_to_the_mac_that_arp_found() {
    let mut world = World::new();
    let id = world.acquire(lease(1));
    world.run(minutes(1));
    world.mood = Mood::DeafToUnicast;
    let gateway = Mac([2, 0, 0, 0, 0, 0xfd]);
    world.log.clear();
    let mut asked = None;
    for _ in 0..100 {
        world.now = world.settle().unwrap();
        asked = world.log.iter().find_map(|(_, _, seen)| match seen {
            Seen::Arp(_, arp) => Some(*arp),
            Seen::Dhcp(_) => None,
        });
        if asked.is_some() {
            break;
        }
    }
    let question = asked.unwrap();
    assert_eq!((question.sender_mac, question.sender_ip), (mac(1), held(&world, id)));
    world.log.clear();
    // Broadcast answers are announcements at best; one to another lease's MAC is not ours.
    let mut answer = frame(&question.answer(gateway));
    world.hear(0, answer.clone());
    world.settle();
    assert_eq!(world.sent(MessageType::Request), 0);
    answer[..6].copy_from_slice(&mac(1).0);
    world.hear(0, answer);
    world.settle();
    let (_, sent) = world.dhcp().next().unwrap();
    assert_eq!((sent.link.destination, *sent.destination.ip()), (gateway, SERVER_ID));
}

#[test]
fn after_a_long_sleep_no_question_is_answered_for_a_lease_that_is_over() {
    let mut world = World::unpaced();
    world.times = (600, None, None);
    let leases = world.acquire_many(1100);
    world.run(Duration::ZERO);
    let addresses: Vec<Ipv4Addr> = leases.iter().map(|lease| held(&world, *lease)).collect();
    // More leases are over than a turn has deadlines for; whichever are left may not answer.
    world.now = world.now + Duration::from_secs(601);
    for address in addresses.iter().take(32).chain(addresses.iter().rev().take(32)) {
        world.hear(0, frame(&Arp::request(SERVER, SERVER_ID, *address)));
    }
    world.log.clear();
    world.turn();
    let answered = world.log.iter().filter(|(_, _, seen)| matches!(seen, Seen::Arp(..)));
    assert_eq!(answered.count(), 0);
}
