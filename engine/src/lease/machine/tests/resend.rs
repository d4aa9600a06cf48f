//! DISCOVER and REQUEST again and again: RFC 2131 4.1 and 3.1(5).

use super::*;

/// The waits of a lease that gets no answer, in seconds.
fn waits(rig: &mut Rig, count: usize) -> Vec<f64> {
    (0..count)
        .map(|_| {
            let slept = rig.sleep().as_secs_f64();
            rig.send();
            slept
        })
        .collect()
}

#[test]
fn discovers_follow_each_other_at_4_8_16_32_64_and_64_seconds_each_off_by_up_to_one() {
    let plan = [4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0];
    let mut sums = [0.0; 7];
    for seed in 0..400 {
        let mut rig = Rig::new(seed).selecting();
        for (place, wait) in waits(&mut rig, plan.len()).into_iter().enumerate() {
            assert!((wait - plan[place]).abs() <= 1.0, "seed {seed}: {wait}");
            sums[place] += wait;
        }
    }
    for (sum, middle) in sums.into_iter().zip(plan) {
        // 400 uniform values of ±1 s: a standard deviation of 0.03.
        assert!((sum / 400.0 - middle).abs() < 0.12, "{sum}");
    }
}

#[test]
fn two_leases_do_not_repeat_themselves_together() {
    let mut firsts: Vec<Duration> =
        (0..100).map(|seed| Rig::new(seed).selecting().sleep()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), 100);
}

#[test]
fn discovers_of_one_exchange_have_one_xid() {
    let mut rig = Rig::new(1);
    let first = rig.send().dhcp();
    for _ in 0..8 {
        rig.sleep();
        assert_eq!(rig.send().dhcp().xid, first.xid);
    }
}

#[test]
fn a_request_is_sent_four_times_and_then_all_begins_again() {
    let mut rig = Rig::new(5).requesting();
    let xid = rig.machine.xid();
    let first = rig.now;
    for middle in [4.0, 8.0, 16.0] {
        let slept = rig.sleep().as_secs_f64();
        assert!((slept - middle).abs() <= 1.0, "{slept}");
        let sent = rig.send().dhcp();
        assert_eq!((sent.kind, sent.xid), (MessageType::Request, xid));
        assert_eq!((sent.requested, sent.server_id), (Some(ADDRESS), Some(SERVER_ID)));
    }
    rig.sleep();
    // 4 + 8 + 16 + 32 s, as in 3.1(5).
    assert!((rig.now.since(first).as_secs_f64() - 60.0).abs() <= 4.0);
    assert_eq!(rig.state(), "INIT");
    let again = rig.send().dhcp();
    assert_eq!(again.kind, MessageType::Discover);
    assert_ne!(again.xid, xid);
    assert_eq!((again.secs, again.requested), (0, None));
    assert!(!rig.machine.has_news());
}

#[test]
fn an_ack_for_a_repeated_request_counts_from_the_first() {
    let mut rig = Rig::new(5).requesting();
    let first = rig.now;
    for _ in 0..2 {
        rig.sleep();
        rig.send();
    }
    rig.go(rig.now + Duration::from_secs(3));
    let Ok(Outcome::Bound { after, sent, .. }) = rig.hear(MessageType::Ack) else { panic!() };
    assert_eq!((after, sent), (rig.now.since(first), 3));
    assert_eq!(rig.terms().start, first);
    assert_eq!(rig.terms().expiry(), Some(first + Duration::from_secs(3600)));
}

#[test]
fn a_request_that_waited_for_its_slot_counts_from_when_it_was_sent() {
    let mut rig = Rig::new(5).selecting();
    rig.hear(MessageType::Offer).unwrap();
    rig.go(rig.now + Duration::from_secs(2));
    let sent = rig.now;
    rig.send();
    rig.hear(MessageType::Ack).unwrap();
    assert_eq!(rig.terms().start, sent);
}

#[test]
fn times_of_a_load_test_are_kept_too() {
    let retransmission = crate::lease::timing::Retransmission {
        first: Duration::from_millis(100),
        longest: Duration::from_millis(400),
        jitter: Duration::from_millis(10),
        requests: 2,
        ..Default::default()
    };
    let profile = Arc::new(Profile { retransmission, ..Profile::default() });
    let mut rig = Rig::with(Acquire { profile, ..acquire() }, 1).selecting();
    for (wait, middle) in waits(&mut rig, 4).into_iter().zip([0.1, 0.2, 0.4, 0.4]) {
        assert!((wait - middle).abs() <= 0.01001, "{wait}");
    }
    rig.hear(MessageType::Offer).unwrap();
    rig.send();
    rig.sleep();
    rig.send();
    rig.sleep();
    assert_eq!(rig.state(), "INIT");
}

#[test]
fn a_plan_without_any_request_still_sends_one() {
    let retransmission = crate::lease::timing::Retransmission { requests: 0, ..Default::default() };
    let profile = Arc::new(Profile { retransmission, ..Profile::default() });
    let mut rig = Rig::with(Acquire { profile, ..acquire() }, 1).requesting();
    rig.hear(MessageType::Ack).unwrap();
    assert_eq!(rig.state(), "BOUND");
}

#[test]
fn a_lease_whose_packet_found_no_slot_is_as_it_was() {
    // The machine is only asked once a slot is at hand; being looked at changes nothing.
    for way in [Rig::selecting, Rig::requesting, Rig::bound, Rig::renewing, Rig::rebinding] {
        let mut rig = way(Rig::new(1));
        rig.sleep();
        let (state, xid) = (*rig.machine.state(), rig.machine.xid());
        for _ in 0..10 {
            assert!(rig.machine.wants_transmit(rig.now));
            rig.go(rig.now + Duration::from_millis(1));
        }
        assert_eq!((*rig.machine.state(), rig.machine.xid()), (state, xid));
        rig.send();
    }
}
