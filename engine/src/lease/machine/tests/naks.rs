//! DHCPNAK: from whom it counts, and what follows.

use super::super::super::tests::OTHER_ID;
use super::*;

fn nak(rig: &Rig, server: Ipv4Addr) -> Answer {
    Answer { server_id: Some(server), ..rig.answer(MessageType::Nak) }
}

#[test]
fn only_the_server_that_may_refuse_is_believed() {
    for (way, stranger_counts) in
        [(Rig::requesting as fn(Rig) -> Rig, false), (Rig::renewing, false), (Rig::rebinding, true)]
    {
        let mut rig = way(Rig::new(1));
        let nameless = Answer { server_id: None, ..nak(&rig, SERVER_ID) };
        assert_eq!(rig.take(&nameless), Err(Ignored::MissingServerId));
        let told = rig.take(&nak(&rig, OTHER_ID));
        if stranger_counts {
            assert_eq!(told, Ok(Outcome::Refused), "{}", rig.state());
        } else {
            assert_eq!(told, Err(Ignored::WrongServer), "{}", rig.state());
            assert_eq!(rig.take(&nak(&rig, SERVER_ID)), Ok(Outcome::Refused));
        }
        assert_eq!(rig.state(), "INIT");
    }
}

#[test]
fn a_nak_while_an_address_is_held_loses_it_and_does_not_ask_for_it_again() {
    for way in [Rig::renewing, Rig::rebinding] {
        let mut rig = way(Rig::new(1));
        rig.machine.poll_notice();
        rig.hear(MessageType::Nak).unwrap();
        let notice = rig.machine.poll_notice().unwrap();
        assert_eq!((notice.lost, notice.terms), (Some(Lost::Nak), None));
        assert_eq!(notice.previous, Some(ADDRESS));
        assert!(notice.options.is_none());
        let discover = rig.send().dhcp();
        assert_eq!((discover.kind, discover.requested), (MessageType::Discover, None));
    }
}

#[test]
fn a_nak_before_any_address_is_no_news_and_forgets_the_address_that_was_wanted() {
    let wanted = Acquire { requested_address: Some(ADDRESS), ..acquire() };
    let mut rig = Rig::with(wanted, 1).requesting();
    rig.hear(MessageType::Nak).unwrap();
    assert!(!rig.machine.has_news());
    assert_eq!(rig.send().dhcp().requested, None);
}

/// Lets a lease be refused once more; how long it then pauses.
fn refused_again(rig: &mut Rig) -> Duration {
    assert_eq!(rig.send().dhcp().kind, MessageType::Discover);
    rig.hear(MessageType::Offer).unwrap();
    rig.send();
    rig.hear(MessageType::Nak).unwrap();
    match rig.machine.state() {
        State::Init => Duration::ZERO,
        State::Waiting { why: Wait::Nak, .. } => {
            assert!(!rig.machine.wants_transmit(rig.now));
            let slept = rig.sleep();
            assert_eq!(rig.state(), "INIT");
            slept
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_first_nak_restarts_at_once_and_a_storm_backs_off_to_five_minutes() {
    for seed in 0..20 {
        let mut rig = Rig::new(seed);
        assert_eq!(refused_again(&mut rig), Duration::ZERO);
        for longest in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0] {
            let pause = refused_again(&mut rig).as_secs_f64();
            assert!((longest / 2.0..=longest).contains(&pause), "seed {seed}: {pause}");
        }
        // A lease in between, and it begins anew.
        rig = rig.bound();
        rig.sleep();
        rig.send();
        rig.hear(MessageType::Nak).unwrap();
        assert_eq!(rig.state(), "INIT");
        assert!(refused_again(&mut rig) >= Duration::from_millis(500));
    }
}

#[test]
fn three_hundred_naks_do_not_overflow_anything() {
    let mut rig = Rig::new(1);
    for _ in 0..300 {
        assert!(refused_again(&mut rig) <= Duration::from_secs(300));
    }
}
