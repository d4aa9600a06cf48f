//! Which questions get an answer, and what it says.

use super::*;
use std::net::Ipv4Addr;

const LEASE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ASKER: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);
const HELD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

#[test]
fn questions_and_probes_deserve_an_answer_announcements_and_nonsense_do_not() {
    let ask = Arp::request(ASKER, ROUTER, HELD);
    assert!(deserves_answer(&ask));
    // RFC 5227 1.1: a probe has the sender 0.0.0.0, and wants to be answered by the holder.
    assert!(deserves_answer(&Arp { sender_ip: Ipv4Addr::UNSPECIFIED, ..ask }));
    assert!(!deserves_answer(&Arp { sender_ip: HELD, ..ask }));
    assert!(!deserves_answer(&Arp { operation: Operation::Reply, ..ask }));
    assert!(!deserves_answer(&Arp { sender_mac: Mac::BROADCAST, ..ask }));
    assert!(!deserves_answer(&Arp { sender_mac: Mac::ZERO, ..ask }));
}

#[test]
fn an_answer_goes_to_the_asker_alone_with_the_tags_of_the_lease() {
    let mut answers = Answers::default();
    let vlans = VlanStack::single(10, 3).unwrap();
    assert!(answers.push(&Arp::request(ASKER, ROUTER, HELD), LEASE, vlans));
    let (arp, tags) = answers.pop().unwrap();
    let packet = transmit(arp, tags);
    assert_eq!(packet.link, Link { destination: ASKER, source: LEASE, vlans });
    let TransmitBody::Arp(arp) = packet.body else { panic!("{packet:?}") };
    assert_eq!(arp.operation, Operation::Reply);
    assert_eq!((arp.sender_mac, arp.sender_ip), (LEASE, HELD));
    assert_eq!((arp.target_mac, arp.target_ip), (ASKER, ROUTER));
    assert!(answers.is_empty());
}

#[test]
fn a_flood_of_questions_is_bounded_and_answered_in_order() {
    let mut answers = Answers::default();
    let asker = |number: usize| Mac::from_u64(0x0200_0000_0000 + number as u64);
    let taken = (0..5000)
        .filter(|number| {
            answers.push(&Arp::request(asker(*number), ROUTER, HELD), LEASE, VlanStack::NONE)
        })
        .count();
    assert_eq!(taken, WAITING);
    for number in 0..taken {
        assert_eq!(answers.pop().unwrap().0.target_mac, asker(number));
    }
    assert!(answers.pop().is_none());
}
