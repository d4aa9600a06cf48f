//! Each misbehaviour shows on the wire, and in its counter.

use std::time::Duration;

use lessee_engine::wire::arp::Arp;
use lessee_engine::wire::dhcp::ClientId;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::VlanStack;
use lessee_engine::wire::{Discard, Link, Transmit, TransmitBody};

use super::super::{Counter, Kinds, Malformation, Misbehaviour, Rule, ServerSpec};
use super::*;

fn net(rules: &[Rule]) -> Net {
    let mut net = Net::new(spec());
    net.server.set_rules(rules.to_vec());
    net
}

/// The OFFER under one misbehaviour.
fn spoiled(what: Misbehaviour) -> Answer {
    let mut net = net(&[Rule::new(what)]);
    let offer = net.ask(discover(1)).unwrap();
    assert_eq!(net.server.counters().misbehaved(what), 1);
    assert!(net.server.counters().iter().any(|count| count == (what.name(), 1)));
    assert_eq!(offer.link.destination, mac(1), "it still reaches the client");
    offer
}

#[test]
fn fields_go_wrong_one_at_a_time() {
    let right = Net::new(spec()).ask(discover(1)).unwrap();
    let like_right = |wrong: &Answer| {
        (wrong.xid == right.xid, wrong.chaddr == right.chaddr, wrong.yiaddr == right.yiaddr)
    };
    let wrong = spoiled(Misbehaviour::WrongServerId);
    assert!(wrong.server_id.is_some_and(|id| id != SERVER));
    assert_eq!(like_right(&wrong), (true, true, true));
    let wrong = spoiled(Misbehaviour::MissingServerId);
    assert_eq!((wrong.server_id, like_right(&wrong)), (None, (true, true, true)));
    let wrong = spoiled(Misbehaviour::WrongXid);
    assert_eq!(like_right(&wrong), (false, true, true));
    let wrong = spoiled(Misbehaviour::WrongChaddr);
    assert_eq!(like_right(&wrong), (true, false, true));
    let wrong = spoiled(Misbehaviour::NoLeaseTime);
    assert_eq!((wrong.lease_time, like_right(&wrong)), (None, (true, true, true)));
    let wrong = spoiled(Misbehaviour::ZeroAddress);
    assert_eq!((wrong.yiaddr, like_right(&wrong)), (UNSET, (true, true, false)));
    let wrong = spoiled(Misbehaviour::ForeignClientId);
    assert!(right.option(61).is_none() && wrong.option(61).is_some_and(|id| id[0] == 0));
    let wrong = spoiled(Misbehaviour::SenselessMask);
    let mask = u32::from(wrong.mask.unwrap());
    assert_ne!(mask.leading_ones() + mask.trailing_zeros(), 32);
    let wrong = spoiled(Misbehaviour::ShortLease(3));
    assert_eq!(wrong.lease_time, Some(3));
}

#[test]
fn a_short_lease_ends_early_for_the_server_too() {
    let mut net = net(&[Rule::new(Misbehaviour::ShortLease(2))]);
    net.bind(1);
    net.seconds(2);
    assert!(net.held().is_empty());
}

#[test]
fn a_foreign_identifier_replaces_the_clients_own() {
    let mut net = net(&[Rule::new(Misbehaviour::ForeignClientId)]);
    let offer = net.ask(Outgoing { client_id: ClientId::Mac, ..discover(1) }).unwrap();
    let ids: Vec<_> = offer.options.iter().filter(|(code, _)| *code == 61).collect();
    assert_eq!(ids.len(), 1);
    assert_ne!(ids[0].1, [1, 2, 0, 0, 0, 0, 1]);
}

#[test]
fn dropping_does_nothing_and_silence_does_it_quietly() {
    for (what, bound) in [(Misbehaviour::Drop, 0), (Misbehaviour::Silent, 1)] {
        let mut net = net(&[Rule::new(what).on(Kinds::REQUEST)]);
        let offer = net.ask(discover(1)).unwrap();
        assert!(net.ask(selecting(1, offer.yiaddr)).is_none());
        assert_eq!(net.held().len(), bound, "{what:?}");
        assert_eq!(net.server.counters().misbehaved(what), 1);
    }
    let mut net = net(&[]);
    net.bind(1);
    net.server.set_rules(vec![Rule::new(Misbehaviour::Drop).on(Kinds::RELEASE)]);
    net.send(release(1, ip(10)));
    assert_eq!(net.held().len(), 1);
}

#[test]
fn a_delayed_answer_comes_at_its_time() {
    let mut net = net(&[Rule::new(Misbehaviour::Delay(Duration::from_millis(1500))).first(1)]);
    assert!(net.ask(discover(1)).is_none());
    let due = net.now + Duration::from_millis(1500);
    assert_eq!(net.server.poll_timeout(), Some(due));
    assert_eq!(net.ask(discover(2)).unwrap().xid, 1002, "others are not held up");
    net.pass(Duration::from_micros(1_499_999));
    assert!(net.answers().is_empty());
    net.now = due;
    assert_eq!(net.answers().pop().unwrap().xid, 1001);
}

#[test]
fn a_duplicate_is_the_same_answer_twice() {
    let mut net = net(&[Rule::new(Misbehaviour::Duplicate)]);
    net.send(discover(1));
    let answers = net.answers();
    assert_eq!(answers.len(), 2);
    assert_eq!(format!("{:?}", answers[0]), format!("{:?}", answers[1]));
    assert_eq!(net.count(Counter::Offer), 2);
}

#[test]
fn a_reordered_answer_goes_after_the_next_one() {
    let mut net = net(&[Rule::new(Misbehaviour::Reorder).first(1)]);
    net.send(discover(1));
    assert!(net.answers().is_empty());
    net.send(discover(2));
    net.send(discover(3));
    let xids: Vec<_> = net.answers().iter().map(|answer| answer.xid).collect();
    assert_eq!(xids, [1002, 1001, 1003]);
    // Without a next one, it goes after a second.
    net.server.set_rules(vec![Rule::new(Misbehaviour::Reorder).first(1)]);
    net.send(discover(1));
    assert_eq!(net.server.poll_timeout(), Some(net.now + Duration::from_secs(1)));
    net.seconds(1);
    assert_eq!(net.answers().len(), 1);
}

#[test]
fn a_nak_out_of_the_blue_changes_nothing_at_the_server() {
    let mut net = net(&[]);
    net.bind(1);
    let before = net.server.leases(net.now);
    net.server.set_rules(vec![Rule::new(Misbehaviour::Nak)]);
    net.seconds(10);
    let nak = net.ask(renewing(1, ip(10))).unwrap();
    assert_eq!(
        (nak.kind, nak.server_id, nak.link.destination),
        (NAK, Some(SERVER), Mac::BROADCAST)
    );
    assert_eq!(net.told(discover(2)), Some((NAK, UNSET)), "even to a DISCOVER");
    assert_eq!(net.server.leases(net.now), before);
}

#[test]
fn malformed_packets_are_refused_for_the_one_reason_that_was_meant() {
    for tagged in [false, true] {
        for (how, reason) in [
            (Malformation::Truncated, Discard::IpLength),
            (Malformation::OptionOverrun, Discard::OptionOverrun),
            (Malformation::BadCookie, Discard::MagicCookie),
            (Malformation::UdpChecksum, Discard::UdpChecksum),
            (Malformation::IpChecksum, Discard::IpChecksum),
            (Malformation::LongHardwareAddress, Discard::HardwareAddress),
            (Malformation::NoMessageType, Discard::MessageTypeMissing),
        ] {
            let mut net = net(&[Rule::new(Misbehaviour::Malformed(Some(how)))]);
            let vlans = if tagged { VlanStack::single(7, 0).unwrap() } else { VlanStack::NONE };
            net.send_in(vlans, mac(1), std::net::Ipv4Addr::BROADCAST, discover(1));
            match net.drain()[..] {
                [Out::Bad(why)] => assert_eq!(why, reason),
                ref other => panic!("{how:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_seed_chooses_how_to_malform() {
    let mut net = net(&[Rule::new(Misbehaviour::Malformed(None))]);
    let mut reasons: Vec<_> = Vec::new();
    for _ in 0..200 {
        net.send(discover(1));
        reasons.extend(net.drain().into_iter().map(|out| match out {
            Out::Bad(why) => why,
            other => panic!("{other:?}"),
        }));
    }
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), Malformation::ALL.len());
}

#[test]
fn rules_count_the_messages_that_they_are_about() {
    let mut net = net(&[Rule::new(Misbehaviour::Silent).on(Kinds::DISCOVER).after(2).first(3)]);
    let answered: Vec<_> = (0..8)
        .map(|_| {
            net.ask(init_reboot(9, ip(12))).unwrap();
            net.ask(discover(1)).is_some()
        })
        .collect();
    assert_eq!(answered, [true, true, false, false, false, true, true, true]);
}

#[test]
fn probability_is_kept_and_the_seed_repeats_it() {
    let run = |seed| {
        let mut net = Net::new(spec());
        net.server = super::super::Server::new(spec(), seed).unwrap();
        net.server.set_rules(vec![Rule::new(Misbehaviour::Drop).probability(0.25)]);
        (0..2000).map(|_| net.ask(discover(1)).is_none()).collect::<Vec<_>>()
    };
    let dropped = run(1);
    assert_eq!(dropped, run(1));
    assert_ne!(dropped, run(2));
    let count = dropped.iter().filter(|gone| **gone).count();
    assert!((400..600).contains(&count), "{count} of 2000");
}

#[test]
fn rules_add_up() {
    let mut net = net(&[
        Rule::new(Misbehaviour::Delay(Duration::from_secs(1))),
        Rule::new(Misbehaviour::Delay(Duration::from_secs(2))),
        Rule::new(Misbehaviour::Duplicate),
        Rule::new(Misbehaviour::WrongXid),
    ]);
    net.send(discover(1));
    net.seconds(2);
    assert!(net.answers().is_empty());
    net.seconds(1);
    let answers = net.answers();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|answer| answer.xid != 1001));
}

#[test]
fn arp_can_go_wrong_too() {
    let link = Link { destination: Mac::BROADCAST, source: mac(1), vlans: VlanStack::NONE };
    let body = TransmitBody::Arp(Arp::request(mac(1), ip(10), SERVER));
    for (what, replies) in [
        (Misbehaviour::Drop, 0),
        (Misbehaviour::Silent, 0),
        (Misbehaviour::Duplicate, 2),
        (Misbehaviour::WrongXid, 1),
    ] {
        let mut net = Net::new(ServerSpec { lease_time: 60, ..spec() });
        net.server.set_rules(vec![Rule::new(what).on(Kinds::ARP)]);
        net.hand_in(&Transmit { link, body });
        assert_eq!(net.drain().len(), replies, "{what:?}");
        assert!(net.ask(discover(1)).is_some(), "DHCP is left alone");
    }
}
