//! What each message says: RFC 2131 table 5 and section 4.3.2, as the wire shows it.

use super::super::super::terms::ClientIdentifier;
use super::super::super::tests::Sent;
use super::*;
use crate::wire::dhcp::Op;
use crate::wire::options::code;
use crate::wire::vlan::VlanStack;

const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ALL: Ipv4Addr = Ipv4Addr::BROADCAST;

/// A lease with everything that can be asked for.
fn full(vlans: VlanStack) -> Acquire {
    Acquire {
        hostname: Some("name".into()),
        client_id: ClientIdentifier::Bytes(b"\xff\0\0\0\x01\0\x03duid".to_vec().into()),
        requested_address: Some(Ipv4Addr::new(192, 0, 2, 50)),
        vlans,
        profile: Arc::new(Profile {
            vendor_class: b"vendor".to_vec().into(),
            more_options: vec![77, 2, 1, 2].into(),
            lease_time: Some(7200),
            ..Profile::default()
        }),
        ..acquire()
    }
}

/// One message of each kind: DISCOVER, REQUEST of SELECTING, RENEWING and REBINDING, RELEASE.
fn life(acquire: Acquire) -> [Sent; 5] {
    let mut rig = Rig::with(acquire.clone(), 1);
    let tags: Vec<(u16, u16)> = acquire.vlans.tags().map(|tag| (tag.tpid, tag.tci)).collect();
    let hear = |rig: &mut Rig, kind| {
        let answer = Answer { tags: tags.clone(), ..rig.answer(kind) };
        rig.take(&answer).unwrap();
    };
    let discover = rig.send().dhcp();
    hear(&mut rig, MessageType::Offer);
    let request = rig.send().dhcp();
    hear(&mut rig, MessageType::Ack);
    rig.sleep();
    let renew = rig.send().dhcp();
    rig.go(rig.terms().t2().unwrap());
    let rebind = rig.send().dhcp();
    hear(&mut rig, MessageType::Ack);
    rig.machine.release();
    let release = rig.send().dhcp();
    [discover, request, renew, rebind, release]
}

fn ends(sent: &Sent) -> (Ipv4Addr, Ipv4Addr, Mac) {
    assert_eq!((sent.source.port(), sent.destination.port()), (68, 67));
    (*sent.source.ip(), *sent.destination.ip(), sent.link.destination)
}

#[test]
fn all_messages_are_a_clients_own() {
    for vlans in [VlanStack::NONE, VlanStack::single(10, 3).unwrap()] {
        for sent in life(full(vlans)) {
            assert_eq!(sent.op, Op::Request);
            assert_eq!((sent.link.source, sent.chaddr), (CLIENT, CLIENT));
            assert_eq!(sent.link.vlans, vlans);
            assert_eq!((sent.yiaddr, sent.siaddr, sent.giaddr), (NOBODY, NOBODY, NOBODY));
            // The reserved bits are zero in any case; here nothing asks for a broadcast.
            assert_eq!(sent.flags, 0);
            assert_eq!(sent.codes[0], code::MESSAGE_TYPE);
        }
    }
}

#[test]
fn discover_and_first_request_are_broadcast_without_an_address() {
    let [discover, request, ..] = life(full(VlanStack::NONE));
    assert_eq!(discover.kind, MessageType::Discover);
    assert_eq!(ends(&discover), (NOBODY, ALL, Mac::BROADCAST));
    assert_eq!((discover.ciaddr, discover.server_id), (NOBODY, None));
    assert_eq!(discover.requested, Some(Ipv4Addr::new(192, 0, 2, 50)));

    assert_eq!(request.kind, MessageType::Request);
    assert_eq!(ends(&request), (NOBODY, ALL, Mac::BROADCAST));
    // 4.3.2: "Client inserts the address of the selected server in 'server identifier', 'ciaddr'
    // MUST be zero, 'requested IP address' MUST be filled in with the yiaddr value".
    assert_eq!(request.ciaddr, NOBODY);
    assert_eq!((request.server_id, request.requested), (Some(SERVER_ID), Some(ADDRESS)));
    assert_eq!(request.xid, discover.xid);
}

#[test]
fn renewing_and_rebinding_carry_the_address_in_ciaddr_alone() {
    let [_, request, renew, rebind, _] = life(full(VlanStack::NONE));
    for sent in [&renew, &rebind] {
        // 4.3.2: "'server identifier' MUST NOT be filled in, 'requested IP address' option MUST
        // NOT be filled in, 'ciaddr' MUST be filled in with client's IP address".
        assert_eq!(sent.kind, MessageType::Request);
        assert_eq!((sent.server_id, sent.requested, sent.ciaddr), (None, None, ADDRESS));
    }
    // To the server identifier, never to siaddr, at the MAC that the ACK came from.
    assert_eq!(ends(&renew), (ADDRESS, SERVER_ID, SERVER));
    assert_eq!(ends(&rebind), (ADDRESS, ALL, Mac::BROADCAST));
    assert!(request.xid != renew.xid && renew.xid != rebind.xid);
}

#[test]
fn a_release_goes_to_its_server_with_nothing_in_it_that_is_not_wanted() {
    let [.., rebind, release] = life(full(VlanStack::NONE));
    assert_eq!(release.kind, MessageType::Release);
    assert_eq!(ends(&release), (ADDRESS, SERVER_ID, SERVER));
    assert_eq!((release.ciaddr, release.secs, release.flags), (ADDRESS, 0, 0));
    let mut codes = release.codes.clone();
    codes.sort_unstable();
    assert_eq!(codes, [code::MESSAGE_TYPE, code::SERVER_ID, code::CLIENT_ID]);
    assert_eq!(release.server_id, Some(SERVER_ID));
    assert_ne!(release.xid, rebind.xid);
}

#[test]
fn the_client_identifier_is_the_same_in_all_and_the_request_list_in_all_that_have_one() {
    let mac = [&[1], CLIENT.0.as_slice()].concat();
    let full = full(VlanStack::NONE);
    let ClientIdentifier::Bytes(bytes) = full.client_id.clone() else { panic!() };
    let none = Acquire { client_id: ClientIdentifier::None, ..acquire() };
    for (acquire, own) in
        [(acquire(), Some(mac.as_slice())), (full.clone(), Some(&*bytes)), (none, None)]
    {
        for sent in life(acquire) {
            assert_eq!(sent.options.get(code::CLIENT_ID), own);
        }
    }
    let [discover, request, renew, rebind, _] = life(full);
    let list = discover.options.get(code::PARAMETER_REQUESTS).unwrap();
    for sent in [&request, &renew, &rebind] {
        assert_eq!(sent.options.get(code::PARAMETER_REQUESTS), Some(list));
        for same in [code::HOSTNAME, code::VENDOR_CLASS, code::MAX_MESSAGE_SIZE, 77, 51] {
            assert_eq!(sent.options.get(same), discover.options.get(same), "{same}");
            assert!(discover.options.get(same).is_some(), "{same}");
        }
    }
    // RFC 3442: 121 before 3 and 33.
    let place = |code: u8| list.iter().position(|other| *other == code).unwrap();
    assert!(place(121) < place(3) && place(3) < place(33));
}

#[test]
fn secs_counts_from_the_first_discover_and_the_request_repeats_it() {
    let mut rig = Rig::new(3);
    assert_eq!(rig.send().dhcp().secs, 0);
    let start = rig.now;
    let mut last = 0;
    for _ in 0..4 {
        rig.sleep();
        last = rig.send().dhcp().secs;
        assert_eq!(u64::from(last), rig.now.since(start).as_secs());
    }
    assert!(last > 20);
    rig.hear(MessageType::Offer).unwrap();
    // 3.1(3): "the DHCPREQUEST message MUST use the same value in the … 'secs' field".
    for _ in 0..4 {
        assert_eq!(rig.send().dhcp().secs, last);
        rig.sleep();
    }
}

#[test]
fn secs_ends_at_its_greatest_value() {
    let mut rig = Rig::new(3).selecting();
    rig.go(rig.now + Duration::from_secs(70_000));
    assert_eq!(rig.send().dhcp().secs, u16::MAX);
}

#[test]
fn renewals_count_secs_from_their_own_first_request() {
    let mut rig = Rig::new(3);
    rig.times = (100_000, None, None);
    let mut rig = rig.renewing();
    // REBINDING goes on with the process that began in RENEWING.
    let began = rig.machine.state().exchange().unwrap().first;
    rig.go(rig.machine.state().terms().unwrap().t2().unwrap());
    assert_eq!(rig.state(), "REBINDING");
    let rebind = rig.send().dhcp();
    assert!(rebind.secs > 0);
    assert_eq!(u64::from(rebind.secs), rig.now.since(began).as_secs());
    rig.sleep();
    let again = rig.send().dhcp();
    assert_eq!(u64::from(again.secs), rig.now.since(began).as_secs());
    assert_eq!(again.xid, rebind.xid);
}

#[test]
fn a_client_that_slept_through_renewing_begins_in_rebinding() {
    let mut rig = Rig::new(3).bound();
    rig.go(rig.machine.state().terms().unwrap().t2().unwrap());
    assert_eq!((rig.state(), rig.send().dhcp().secs), ("REBINDING", 0));
}

#[test]
fn a_short_link_invites_no_long_messages() {
    let size = |most: u16| {
        let mut rig = Rig::new(1);
        rig.machine.limit_message_size(most);
        rig.send().dhcp().options.get(code::MAX_MESSAGE_SIZE).unwrap().to_vec()
    };
    assert_eq!(size(9000 - 28), 1472_u16.to_be_bytes());
    assert_eq!(size(1280 - 28), 1252_u16.to_be_bytes());
    // RFC 2132 9.10: no less than 576 may be said.
    assert_eq!(size(576 - 28), 576_u16.to_be_bytes());
}

#[test]
fn broadcast_answers_are_asked_for_where_unicast_cannot_arrive() {
    let flags = |broadcast: BroadcastFlag, arrives: bool| {
        let profile = Arc::new(Profile { broadcast, ..Profile::default() });
        let mut rig = Rig::with(Acquire { profile: profile.clone(), ..acquire() }, 1);
        rig.machine = Machine::new(Acquire { profile, ..acquire() }, arrives, 1);
        let mut flags = Vec::new();
        for _ in 0..4 {
            flags.push(rig.send().dhcp().flags);
            rig.sleep();
        }
        rig.hear(MessageType::Offer).unwrap();
        flags.push(rig.send().dhcp().flags);
        rig.hear(MessageType::Ack).unwrap();
        // With an address a unicast answer goes to that.
        rig.sleep();
        assert_eq!(rig.send().dhcp().flags, 0);
        rig.machine.release();
        assert_eq!(rig.send().dhcp().flags, 0);
        flags
    };
    const SET: u16 = 0x8000;
    assert_eq!(flags(BroadcastFlag::Auto, false), [SET; 5]);
    // One that went unanswered is reason enough to doubt.
    assert_eq!(flags(BroadcastFlag::Auto, true), [0, SET, SET, SET, SET]);
    assert_eq!(flags(BroadcastFlag::Always, true), [SET; 5]);
    assert_eq!(flags(BroadcastFlag::Never, false), [0; 5]);
}

#[test]
fn a_repeated_request_asks_for_a_broadcast_answer() {
    let mut rig = Rig::new(1);
    rig.send();
    rig.hear(MessageType::Offer).unwrap();
    let flags = [(); 3].map(|()| {
        let flags = rig.send().dhcp().flags;
        rig.sleep();
        flags
    });
    assert_eq!(flags, [0, 0x8000, 0x8000]);
}

#[test]
fn two_tags_and_every_frame_of_a_lease_carry_them() {
    let vlans = VlanStack::double(100, 10, 5).unwrap();
    assert!(life(full(vlans)).iter().all(|sent| sent.link.vlans == vlans));
    let mut rig = Rig::with(Acquire { vlans, ..acquire() }, 1);
    let tags = vec![(0x88a8, 100), (0x8100, 10)];
    rig.send();
    rig.take(&Answer { tags: tags.clone(), ..rig.answer(MessageType::Offer) }).unwrap();
    rig.send();
    rig.take(&Answer { tags, ..rig.answer(MessageType::Ack) }).unwrap();
    rig.sleep();
    rig.send();
    rig.sleep();
    let (link, _) = rig.send().arp();
    assert_eq!(link.vlans, vlans);
}
