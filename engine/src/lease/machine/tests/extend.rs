//! T1, T2 and the end: RFC 2131 4.4.5.

use super::super::super::tests::OTHER_ID;
use super::*;

const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 0xfd]);

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

fn bound(times: (u32, Option<u32>, Option<u32>)) -> Rig {
    let mut rig = Rig::new(1);
    rig.times = times;
    rig.bound()
}

#[test]
fn an_hour_is_renewed_at_half_rebound_at_seven_eighths_and_over_at_its_end() {
    for seed in 0..50 {
        let mut rig = Rig::new(seed);
        let start = rig.now;
        rig = rig.bound();
        rig.sleep();
        assert_eq!(rig.state(), "RENEWING");
        let t1 = rig.now.since(start).as_secs_f64();
        assert!((1620.0..=1800.0).contains(&t1), "{t1}");
        rig.go(rig.terms().t2().unwrap());
        assert_eq!(rig.state(), "REBINDING");
        let t2 = rig.now.since(start).as_secs_f64();
        assert!((2835.0..=3150.0).contains(&t2), "{t2}");
        let end = rig.terms().expiry().unwrap();
        assert_eq!(end, start + hours(1));
        rig.go(end);
        assert_eq!(rig.state(), "INIT");
    }
}

#[test]
fn a_storm_of_binds_does_not_renew_as_a_storm() {
    let mut t1s: Vec<f64> = (0..1000)
        .map(|seed| {
            let mut rig = Rig::new(seed).bound();
            rig.sleep().as_secs_f64()
        })
        .collect();
    t1s.sort_by(f64::total_cmp);
    // 0 to −10 % of 1,800 s, evenly: no tenth of that has many more than a tenth of the leases.
    for tenth in 0..10 {
        let from = 1620.0 + 18.0 * f64::from(tenth);
        let inside = t1s.iter().filter(|t1| (from..from + 18.0).contains(*t1)).count();
        assert!((60..=140).contains(&inside), "{tenth}: {inside}");
    }
}

#[test]
fn options_58_and_59_are_honoured() {
    let mut rig = bound((3600, Some(100), Some(200)));
    let start = rig.terms().start;
    rig.sleep();
    assert!((90.0..=100.0).contains(&rig.now.since(start).as_secs_f64()));
    rig.go(rig.terms().t2().unwrap());
    assert!((180.0..=200.0).contains(&rig.now.since(start).as_secs_f64()));
    assert_eq!(rig.state(), "REBINDING");
}

#[test]
fn an_infinite_lease_is_never_renewed() {
    let rig = bound((u32::MAX, Some(10), Some(20)));
    assert_eq!(rig.machine.poll_timeout(rig.now), None);
    assert!(!rig.machine.wants_transmit(rig.now + hours(24 * 365 * 200)));
}

#[test]
fn an_infinite_lease_renewed_by_command_is_bound_again_without_an_answer() {
    let mut rig = bound((u32::MAX, None, None));
    rig.machine.renew(rig.now);
    assert_eq!(rig.send().dhcp().ciaddr, ADDRESS);
    assert!(rig.sleep() <= Duration::from_secs(64));
    assert_eq!(rig.state(), "BOUND");
    assert_eq!(rig.machine.poll_timeout(rig.now), None);
    rig.machine.renew(rig.now);
    rig.send();
    assert!(matches!(rig.hear(MessageType::Ack), Ok(Outcome::Renewed { .. })));
}

#[test]
fn a_lease_of_a_second_lives_for_a_second() {
    let mut rig = bound((1, None, None));
    let start = rig.terms().start;
    rig.sleep();
    assert_eq!(rig.state(), "RENEWING");
    rig.send();
    rig.sleep();
    assert_eq!(rig.state(), "REBINDING");
    rig.send();
    rig.sleep();
    assert_eq!(rig.state(), "INIT");
    assert_eq!(rig.now.since(start), Duration::from_secs(1));
}

#[test]
fn the_longest_finite_lease_has_deadlines_like_any_other() {
    let mut rig = bound((u32::MAX - 1, None, None));
    let start = rig.terms().start;
    rig.sleep();
    assert_eq!(rig.state(), "RENEWING");
    rig.go(rig.terms().t2().unwrap());
    rig.send();
    rig.go(rig.terms().expiry().unwrap());
    assert_eq!(rig.now.since(start), Duration::from_secs(u64::from(u32::MAX - 1)));
    assert_eq!(rig.state(), "INIT");
}

#[test]
fn a_late_timer_goes_to_the_state_of_the_hour() {
    for (late, state) in [(2, "RENEWING"), (7, "REBINDING"), (8, "INIT"), (80, "INIT")] {
        let mut rig = bound((8 * 3600, Some(3600), Some(6 * 3600)));
        rig.go(rig.now + hours(late));
        assert_eq!(rig.state(), state);
    }
}

#[test]
fn what_was_due_before_the_end_of_a_state_is_not_sent_after_it() {
    // A renewal that found no slot until T2, a rebind none until the end, a release neither.
    for (way, end) in [
        (Rig::renewing as fn(Rig) -> Rig, Terms::t2 as fn(&Terms) -> Option<Instant>),
        (Rig::rebinding, Terms::expiry),
        (Rig::releasing, Terms::expiry),
    ] {
        let mut rig = way(Rig::new(1));
        if rig.state() != "RELEASING" {
            rig.sleep();
        }
        assert!(rig.machine.wants_transmit(rig.now), "{}", rig.state());
        rig.now = end(&rig.terms()).unwrap();
        assert!(rig.machine.poll_transmit(rig.now, 1).is_none(), "{}", rig.state());
        assert!(rig.machine.poll_timeout(rig.now).is_some_and(|next| next <= rig.now));
    }
}

#[test]
fn a_lease_that_ends_before_its_release_found_a_slot_is_over_in_silence() {
    let mut rig = Rig::new(1).releasing();
    rig.sleep();
    assert_eq!(rig.state(), "RELEASED");
    assert!(rig.machine.poll_notice().unwrap().kinds.contains(Kinds::RELEASED));
}

#[test]
fn the_first_renewal_goes_to_the_mac_of_the_ack_and_a_retry_asks_for_it() {
    let mut rig = bound((8000, None, None));
    let (t2, half) = (rig.terms().t2().unwrap(), |rig: &Rig, t2: Instant| t2.since(rig.now) / 2);
    rig.sleep();
    let first = rig.send().dhcp();
    assert_eq!(first.link.destination, SERVER);
    assert_eq!(rig.machine.poll_timeout(rig.now), Some(rig.now + half(&rig, t2)));
    rig.sleep();
    let (link, arp) = rig.send().arp();
    assert_eq!((link.destination, link.source), (Mac::BROADCAST, CLIENT));
    assert_eq!(arp, Arp::request(CLIENT, ADDRESS, SERVER_ID));
    rig.go(rig.now + Duration::from_millis(3));
    rig.machine.handle_arp(&arp.answer(GATEWAY), rig.now);
    let again = rig.send().dhcp();
    assert_eq!((again.link.destination, again.xid), (GATEWAY, first.xid));
    assert_eq!((again.ciaddr, *again.destination.ip()), (ADDRESS, SERVER_ID));
    assert_eq!(rig.machine.poll_timeout(rig.now), Some(rig.now + half(&rig, t2)));
    // Each retry asks anew.
    rig.sleep();
    assert_eq!(rig.send().arp().1.target_ip, SERVER_ID);
}

#[test]
fn a_renewal_waits_half_of_what_is_left_at_least_a_minute_and_never_past_t2() {
    let mut rig = bound((8000, None, None));
    let t2 = rig.terms().t2().unwrap();
    rig.sleep();
    while rig.state() == "RENEWING" {
        let left = t2.since(rig.now);
        rig.send();
        let slept = rig.sleep();
        let wait = (left / 2).max(Duration::from_secs(60)).min(left);
        assert_eq!(slept, wait);
        if rig.state() == "RENEWING" {
            let (_, arp) = rig.send().arp();
            rig.machine.handle_arp(&arp.answer(SERVER), rig.now);
        }
    }
    assert_eq!((rig.state(), rig.now), ("REBINDING", t2));
}

#[test]
fn a_rebind_waits_half_of_what_is_left_at_least_a_minute_and_never_past_the_end() {
    let mut rig = bound((8000, None, None));
    let end = rig.terms().expiry().unwrap();
    rig.go(rig.terms().t2().unwrap());
    let mut sent = 0;
    while rig.state() == "REBINDING" {
        let left = end.since(rig.now);
        assert_eq!(rig.send().dhcp().link.destination, Mac::BROADCAST);
        sent += 1;
        assert_eq!(rig.sleep(), (left / 2).max(Duration::from_secs(60)).min(left));
    }
    assert_eq!((rig.state(), rig.now), ("INIT", end));
    assert!((4..=8).contains(&sent), "{sent}");
}

#[test]
fn an_unanswered_question_is_put_three_times_and_then_t2_is_waited_for() {
    let mut rig = bound((8000, None, None)).renewing_from_bound();
    let t2 = rig.terms().t2().unwrap();
    rig.sleep();
    for _ in 0..3 {
        rig.send().arp();
        assert_eq!(rig.sleep(), Duration::from_secs(1));
    }
    assert!(!rig.machine.wants_transmit(rig.now));
    assert_eq!(rig.machine.poll_timeout(rig.now), Some(t2));
    rig.sleep();
    assert_eq!((rig.state(), rig.now), ("REBINDING", t2));
    assert_eq!(rig.send().dhcp().link.destination, Mac::BROADCAST);
}

#[test]
fn a_late_or_wrong_arp_answer_is_put_to_the_right_use() {
    let mut rig = bound((8000, None, None)).renewing_from_bound();
    let question = Arp::request(CLIENT, ADDRESS, SERVER_ID);
    // Not asked yet: gratuitous.
    rig.machine.handle_arp(&question.answer(GATEWAY), rig.now);
    assert!(!rig.machine.wants_transmit(rig.now));
    rig.sleep();
    rig.send();
    let good = question.answer(GATEWAY);
    for wrong in [
        Arp { sender_ip: OTHER_ID, ..good },
        Arp { sender_mac: Mac::BROADCAST, ..good },
        Arp { sender_mac: Mac::ZERO, ..good },
        Arp { operation: Operation::Request, ..good },
    ] {
        rig.machine.handle_arp(&wrong, rig.now);
        assert!(!rig.machine.wants_transmit(rig.now), "{wrong:?}");
    }
    for _ in 0..2 {
        rig.sleep();
        rig.send();
    }
    rig.sleep();
    // Given up; but better late than never.
    rig.machine.handle_arp(&good, rig.now);
    assert_eq!(rig.send().dhcp().link.destination, GATEWAY);
}

#[test]
fn without_any_next_hop_a_retry_goes_where_the_first_went() {
    let mut rig = Rig::new(1).selecting();
    let far = Ipv4Addr::new(198, 51, 100, 1);
    rig.take(&Answer { server_id: Some(far), ..rig.answer(MessageType::Offer) }).unwrap();
    rig.send();
    rig.take(&Answer { server_id: Some(far), ..rig.answer(MessageType::Ack) }).unwrap();
    for _ in 0..3 {
        rig.sleep();
        let sent = rig.send().dhcp();
        assert_eq!((sent.link.destination, *sent.destination.ip()), (SERVER, far));
    }
}

#[test]
fn every_ack_refreshes_terms_and_the_servers_mac() {
    let mut rig = Rig::new(1).renewing();
    let first = rig.now;
    rig.go(rig.now + Duration::from_secs(2));
    let ack = Answer { source: GATEWAY, lease_time: Some(9000), ..rig.answer(MessageType::Ack) };
    let renewed = Outcome::Renewed { after: Duration::from_secs(2), sent: 1 };
    assert_eq!(rig.take(&ack), Ok(renewed));
    assert_eq!(rig.state(), "BOUND");
    assert_eq!((rig.terms().start, rig.terms().lease_time), (first, 9000));
    rig.sleep();
    assert_eq!(rig.send().dhcp().link.destination, GATEWAY);
}

#[test]
fn the_lease_that_a_retry_got_counts_from_the_first_request_of_the_round() {
    let mut rig = Rig::new(1).rebinding();
    let first = rig.now;
    rig.sleep();
    rig.send();
    rig.hear(MessageType::Ack).unwrap();
    assert_eq!(rig.terms().start, first);
}

#[test]
fn a_renewal_is_the_leasing_servers_and_a_rebind_anybodys() {
    let mut rig = Rig::new(1).renewing();
    let other = |rig: &Rig, kind| Answer { server_id: Some(OTHER_ID), ..rig.answer(kind) };
    assert_eq!(rig.take(&other(&rig, MessageType::Ack)), Err(Ignored::WrongServer));
    let mut rig = Rig::new(1).rebinding();
    assert!(rig.take(&other(&rig, MessageType::Ack)).is_ok());
    assert_eq!(rig.terms().server_id, OTHER_ID);
    // From now on it is the leasing server.
    rig.sleep();
    assert_eq!(*rig.send().dhcp().destination.ip(), OTHER_ID);
    assert_eq!(rig.hear(MessageType::Ack), Err(Ignored::WrongServer));
}

#[test]
fn at_the_end_the_address_is_given_up_at_once_and_asked_for_again() {
    let mut rig = Rig::new(1).rebinding();
    let late = rig.answer(MessageType::Ack);
    let end = rig.terms().expiry().unwrap();
    // The ACK came with the end, before the timer ran: too late all the same.
    rig.now = end;
    assert_eq!(rig.take(&late), Err(Ignored::TooLate));
    rig.machine.poll_notice();
    rig.go(end);
    let notice = rig.machine.poll_notice().unwrap();
    assert!(notice.kinds.contains(Kinds::LOST));
    assert_eq!((notice.lost, notice.terms), (Some(Lost::Expired), None));
    assert_eq!(notice.previous, Some(ADDRESS));
    assert_eq!(rig.take(&late), Err(Ignored::Unexpected));
    let discover = rig.send().dhcp();
    assert_eq!((discover.kind, discover.requested), (MessageType::Discover, Some(ADDRESS)));
    assert_eq!(
        (discover.ciaddr, *discover.source.ip()),
        (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)
    );
}

#[test]
fn a_week_of_renewals() {
    let mut rig = Rig::new(1).bound();
    let week = rig.now + hours(24 * 7);
    let mut renewals = 0;
    while rig.now < week {
        rig.sleep();
        rig.send();
        rig.hear(MessageType::Ack).unwrap();
        renewals += 1;
    }
    // Each after 1,620 to 1,800 s.
    assert!((336..=374).contains(&renewals), "{renewals}");
}

impl Rig {
    fn renewing_from_bound(mut self) -> Self {
        self.sleep();
        self.send();
        self
    }
}
