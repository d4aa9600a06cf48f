//! What a reader is told: state, not history, yet no kind of event is missed.

use super::super::super::tests::SERVER_ID;
use super::*;

fn renew(rig: &mut Rig, change: impl FnOnce(&mut Answer)) {
    rig.sleep();
    rig.send();
    let mut ack = rig.answer(MessageType::Ack);
    change(&mut ack);
    rig.take(&ack).unwrap();
}

fn expire(rig: &mut Rig) {
    rig.go(rig.terms().expiry().unwrap());
    assert_eq!(rig.state(), "INIT");
}

#[test]
fn a_quick_reader_hears_of_each_thing_once() {
    let mut rig = Rig::with(Acquire { tag: 7, ..acquire() }, 1).bound();
    let notice = rig.machine.poll_notice().unwrap();
    assert_eq!((notice.tag, notice.mac, notice.sequence), (7, CLIENT, 1));
    assert_eq!((notice.kinds, notice.lost, notice.previous), (Kinds::BOUND, None, None));
    assert_eq!(notice.terms, Some(rig.terms()));
    assert_eq!(notice.options.unwrap().get(54), Some(SERVER_ID.octets().as_slice()));
    assert_eq!(rig.machine.poll_notice(), None);

    renew(&mut rig, |_| {});
    let notice = rig.machine.poll_notice().unwrap();
    assert_eq!((notice.kinds, notice.sequence), (Kinds::RENEWED, 2));
    assert_eq!((notice.terms, notice.previous), (Some(rig.terms()), Some(ADDRESS)));

    expire(&mut rig);
    let notice = rig.machine.poll_notice().unwrap();
    assert_eq!((notice.kinds, notice.lost), (Kinds::LOST, Some(Lost::Expired)));
    assert_eq!((notice.terms, notice.previous, notice.options), (None, Some(ADDRESS), None));

    rig = rig.bound();
    let notice = rig.machine.poll_notice().unwrap();
    assert_eq!((notice.kinds, notice.lost, notice.previous), (Kinds::BOUND, None, None));

    rig.machine.release();
    assert!(!rig.machine.has_news());
    rig.send();
    let notice = rig.machine.poll_notice().unwrap();
    assert_eq!((notice.kinds, notice.sequence), (Kinds::RELEASED, 5));
    assert_eq!((notice.terms, notice.previous), (None, Some(ADDRESS)));
}

#[test]
fn a_slow_reader_misses_no_kind_and_learns_the_latest_terms() {
    let mut rig = Rig::new(1).bound();
    rig.machine.poll_notice();
    renew(&mut rig, |_| {});
    renew(&mut rig, |ack| ack.more = vec![6, 4, 9, 9, 9, 9]);
    expire(&mut rig);
    let other = Ipv4Addr::new(192, 0, 2, 99);
    rig = rig.selecting();
    rig.take(&Answer { yiaddr: other, ..rig.answer(MessageType::Offer) }).unwrap();
    rig.send();
    rig.take(&Answer { yiaddr: other, ..rig.answer(MessageType::Ack) }).unwrap();
    let notice = rig.machine.poll_notice().unwrap();
    for kind in [Kinds::BOUND, Kinds::RENEWED, Kinds::CHANGED, Kinds::LOST] {
        assert!(notice.kinds.contains(kind), "{:?}", notice.kinds);
    }
    assert!(!notice.kinds.contains(Kinds::RELEASED));
    // The address that the reader knew, not one it never heard of.
    assert_eq!((notice.previous, notice.lost), (Some(ADDRESS), Some(Lost::Expired)));
    assert_eq!(notice.terms.unwrap().address, other);
    assert_eq!(notice.sequence, 2);
    assert_eq!(rig.machine.poll_notice(), None);
}

#[test]
fn a_lease_that_came_and_went_unread_is_told_as_both() {
    let mut rig = Rig::new(1).bound();
    expire(&mut rig);
    let notice = rig.machine.poll_notice().unwrap();
    assert!(notice.kinds.contains(Kinds::BOUND) && notice.kinds.contains(Kinds::LOST));
    assert_eq!((notice.terms, notice.previous), (None, None));
}

#[test]
fn only_what_matters_counts_as_a_change() {
    fn changed(change: impl FnOnce(&mut Answer)) -> bool {
        let mut rig = Rig::new(1).bound();
        rig.machine.poll_notice();
        renew(&mut rig, change);
        rig.machine.poll_notice().unwrap().kinds.contains(Kinds::CHANGED)
    }
    // Times run, and that is all they do.
    assert!(!changed(|ack| ack.lease_time = Some(9)));
    assert!(!changed(|ack| ack.renewal_time = Some(9)));
    assert!(!changed(|ack| ack.source = Mac([2, 9, 9, 9, 9, 9])));
    assert!(changed(|ack| ack.yiaddr = Ipv4Addr::new(192, 0, 2, 78)));
    assert!(changed(|ack| ack.mask = Some(Ipv4Addr::new(255, 255, 0, 0))));
    assert!(changed(|ack| ack.more = vec![3, 4, 192, 0, 2, 9]));
    assert!(changed(|ack| ack.more = vec![6, 4, 192, 0, 2, 9]));
}

#[test]
fn a_profile_that_keeps_no_options_still_sees_a_changed_mask() {
    let profile = Arc::new(Profile { keep_options: false, ..Profile::default() });
    let mut rig = Rig::with(Acquire { profile, ..acquire() }, 1).bound();
    assert!(rig.machine.poll_notice().unwrap().options.is_none());
    renew(&mut rig, |ack| ack.more = vec![6, 4, 192, 0, 2, 9]);
    assert_eq!(rig.machine.poll_notice().unwrap().kinds, Kinds::RENEWED);
    renew(&mut rig, |ack| ack.mask = Some(Ipv4Addr::new(255, 255, 0, 0)));
    assert!(rig.machine.poll_notice().unwrap().kinds.contains(Kinds::CHANGED));
}

#[test]
fn a_lease_without_an_address_is_released_in_silence() {
    for way in [|rig| rig, Rig::selecting, Rig::waiting] {
        let mut rig: Rig = way(Rig::new(1));
        rig.machine.release();
        assert_eq!(rig.state(), "RELEASED");
        assert!(!rig.machine.wants_transmit(rig.now));
        assert_eq!(rig.machine.poll_timeout(rig.now), None);
        assert_eq!(rig.machine.poll_notice().unwrap().kinds, Kinds::RELEASED);
        // Twice is once.
        rig.machine.release();
        rig.machine.forget();
        assert_eq!(rig.machine.poll_notice(), None);
    }
}

/// A lease that was released while its REQUEST was out.
fn leaving() -> Rig {
    let mut rig = Rig::new(1).requesting();
    rig.machine.release();
    assert!(rig.machine.is_leaving());
    assert_eq!(rig.machine.poll_notice(), None, "it is not over yet");
    rig
}

#[test]
fn a_lease_that_is_granted_after_its_release_is_given_back_untold() {
    let mut rig = leaving();
    rig.hear(MessageType::Ack).unwrap();
    assert_eq!(rig.machine.poll_notice(), None);
    let release = rig.send().dhcp();
    assert_eq!((release.kind, release.ciaddr), (MessageType::Release, ADDRESS));
    let notice = rig.machine.poll_notice().unwrap();
    assert_eq!((notice.kinds, notice.terms, notice.previous), (Kinds::RELEASED, None, None));
    assert!(!rig.machine.is_leaving());
}

#[test]
fn a_request_under_way_at_the_release_is_not_repeated() {
    let mut rig = leaving();
    assert!(!rig.machine.wants_transmit(rig.now));
    rig.go(rig.machine.poll_timeout(rig.now).unwrap());
    assert_eq!(rig.state(), "RELEASED");
    let mut refused = leaving();
    refused.hear(MessageType::Nak).unwrap();
    assert_eq!(refused.state(), "RELEASED");
    let mut unsent = Rig::new(1).selecting();
    unsent.hear(MessageType::Offer).unwrap();
    unsent.machine.release();
    assert_eq!(unsent.state(), "RELEASED", "nothing is under way yet");
}
