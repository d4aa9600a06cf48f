//! Each reason to ignore a reply, by a reply that has nothing else wrong with it.

use super::super::machine::Machine;
use super::super::tests::{
    ADDRESS, Answer, CLIENT, MASK, OTHER_ID, SERVER, SERVER_ID, acquire, secs,
};
use super::super::{Acquire, Outcome};
use super::*;
use crate::wire::vlan::VlanStack;
use proptest::prelude::*;

const XID: u32 = 0x1234_5678;
const NOW: Instant = secs(100);

/// A lease in SELECTING.
fn selecting(acquire: Acquire) -> Machine {
    let mut machine = Machine::new(acquire, true, 1);
    assert!(machine.poll_transmit(NOW, XID).is_some());
    machine
}

/// A lease in REQUESTING that has sent its REQUEST.
fn requesting() -> Machine {
    let mut machine = selecting(acquire());
    assert!(offer().with(|offer| machine.handle_reply(offer, NOW)).is_ok());
    assert!(machine.poll_transmit(NOW, 0).is_some());
    machine
}

fn bound(change: impl FnOnce(&mut Answer)) -> Terms {
    let mut machine = requesting();
    let mut ack = Answer { kind: MessageType::Ack, ..offer() };
    change(&mut ack);
    assert!(ack.with(|ack| machine.handle_reply(ack, NOW)).is_ok(), "{ack:?}");
    *machine.state().terms().unwrap()
}

fn offer() -> Answer {
    Answer::new(MessageType::Offer, XID, CLIENT)
}

/// Refused as an OFFER and, changed in the same way, as an ACK.
fn refused(reason: Ignored, change: impl Fn(&mut Answer)) {
    for kind in [MessageType::Offer, MessageType::Ack] {
        let mut machine =
            if kind == MessageType::Ack { requesting() } else { selecting(acquire()) };
        let before = *machine.state();
        let mut answer = Answer { kind, ..offer() };
        change(&mut answer);
        let verdict = answer.with(|reply| machine.handle_reply(reply, NOW));
        assert_eq!(verdict, Err(reason), "{answer:?}");
        assert_eq!(*machine.state(), before);
        assert!(!machine.has_news());
        // Nothing else was wrong with it.
        let answer = Answer { kind, ..offer() };
        assert!(answer.with(|reply| machine.handle_reply(reply, NOW)).is_ok());
    }
}

#[test]
fn a_reply_must_be_ours() {
    refused(Ignored::NotAReply, |answer| answer.op = Op::Request);
    refused(Ignored::UnknownXid, |answer| answer.xid ^= 1);
    refused(Ignored::WrongHardwareAddress, |answer| answer.chaddr.0[5] ^= 1);
    refused(Ignored::WrongNetwork, |answer| answer.tags = vec![(0x8100, 10)]);
    refused(Ignored::WrongNetwork, |answer| answer.tags = vec![(0x88a8, 10), (0x8100, 0)]);
    refused(Ignored::BadSource, |answer| answer.source = Mac::BROADCAST);
    refused(Ignored::BadSource, |answer| answer.source = Mac::ZERO);
    refused(Ignored::BadSource, |answer| answer.source = Mac([1, 0, 0x5e, 0, 0, 1]));
}

#[test]
fn a_reply_must_name_its_server_and_make_sense() {
    refused(Ignored::MissingServerId, |answer| answer.server_id = None);
    for server in [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
        refused(Ignored::BadServerId, |answer| answer.server_id = Some(server.into()));
    }
    refused(Ignored::MissingLeaseTime, |answer| answer.lease_time = None);
    refused(Ignored::MissingLeaseTime, |answer| answer.lease_time = Some(0));
    for address in [[0; 4], [0, 0, 0, 9], [127, 0, 0, 9], [224, 0, 0, 9], [240, 0, 0, 1], [255; 4]]
    {
        refused(Ignored::BadAddress, |answer| answer.yiaddr = address.into());
    }
    refused(Ignored::BadAddress, |answer| answer.yiaddr = SERVER_ID);
}

#[test]
fn a_mask_must_be_one_and_leave_the_address_to_a_host() {
    for mask in [[0, 0, 0, 0], [255, 0, 255, 0], [255, 255, 255, 1], [0, 0, 0, 255], [1, 0, 0, 0]] {
        refused(Ignored::BadMask, |answer| answer.mask = Some(mask.into()));
    }
    // The network's own address and its broadcast address.
    refused(Ignored::BadMask, |answer| answer.yiaddr = Ipv4Addr::new(192, 0, 2, 0));
    refused(Ignored::BadMask, |answer| answer.yiaddr = Ipv4Addr::new(192, 0, 2, 255));
    refused(Ignored::BadMask, |answer| {
        answer.mask = Some(Ipv4Addr::new(255, 255, 255, 252));
        answer.yiaddr = Ipv4Addr::new(192, 0, 2, 79);
    });
}

#[test]
fn masks_of_31_and_32_bits_have_no_network_or_broadcast_address() {
    let mask = |mask: [u8; 4]| bound(|answer| answer.mask = Some(mask.into())).prefix;
    assert_eq!(mask([255, 255, 255, 254]), Some(31)); // RFC 3021
    assert_eq!(mask([255, 255, 255, 255]), Some(32));
    assert_eq!(mask([255, 255, 255, 192]), Some(26));
    assert_eq!(mask([255, 0, 0, 0]), Some(8));
    assert_eq!(bound(|answer| answer.mask = None).prefix, None);
}

#[test]
fn only_an_identifier_that_is_echoed_must_be_ours() {
    let own = [&[1], CLIENT.0.as_slice()].concat();
    // RFC 6842 section 3
    refused(Ignored::WrongClientId, |answer| answer.client_id = Some(b"other".to_vec()));
    refused(Ignored::WrongClientId, |answer| answer.client_id = Some(own[..6].to_vec()));
    refused(Ignored::WrongClientId, |answer| answer.client_id = Some([&own[..], &[0]].concat()));
    bound(|answer| answer.client_id = Some(own.clone()));

    let free = ClientIdentifier::Bytes(b"\xffan identifier".to_vec().into());
    for (ours, echo, good) in [
        (ClientIdentifier::Mac, None, true),
        (free.clone(), None, true),
        (free.clone(), Some(b"\xffan identifier".to_vec()), true),
        (free, Some(own.clone()), false),
        (ClientIdentifier::None, None, true),
        (ClientIdentifier::None, Some(own), false),
    ] {
        let mut machine = selecting(Acquire { client_id: ours.clone(), ..acquire() });
        let answer = Answer { client_id: echo.clone(), ..offer() };
        let verdict = answer.with(|reply| machine.handle_reply(reply, NOW));
        assert_eq!(verdict.is_ok(), good, "{ours:?} {echo:?} {verdict:?}");
    }
}

#[test]
fn a_priority_tag_counts_as_none_and_priorities_do_not_tell_networks_apart() {
    let untagged = VlanStack::NONE;
    let ten = VlanStack::single(10, 0).unwrap();
    let stacked = VlanStack::double(100, 10, 0).unwrap();
    for (vlans, tags, good) in [
        (untagged, vec![(0x8100, 0xe000)], true),
        (ten, vec![(0x8100, 10)], true),
        (ten, vec![(0x8100, 0x600a)], true),
        (ten, vec![(0x8100, 11)], false),
        (ten, vec![], false),
        (ten, vec![(0x88a8, 100), (0x8100, 10)], false),
        (stacked, vec![(0x88a8, 100), (0x8100, 10)], true),
        (stacked, vec![(0x88a8, 10), (0x8100, 100)], false),
        (stacked, vec![(0x8100, 10)], false),
    ] {
        let mut machine = selecting(Acquire { vlans, ..acquire() });
        let answer = Answer { tags: tags.clone(), ..offer() };
        let verdict = answer.with(|reply| machine.handle_reply(reply, NOW));
        let expected = if good { None } else { Some(Ignored::WrongNetwork) };
        assert_eq!(verdict.err(), expected, "{vlans:?} {tags:?}");
    }
}

#[test]
fn answers_out_of_place_have_names_of_their_own() {
    let tell = |machine: &mut Machine, kind, server_id| {
        let answer = Answer { kind, server_id: Some(server_id), ..offer() };
        answer.with(|reply| machine.handle_reply(reply, NOW))
    };
    let mut machine = selecting(acquire());
    assert_eq!(tell(&mut machine, MessageType::Ack, SERVER_ID), Err(Ignored::Unexpected));
    assert_eq!(tell(&mut machine, MessageType::Nak, SERVER_ID), Err(Ignored::Unexpected));
    assert_eq!(tell(&mut machine, MessageType::Inform, SERVER_ID), Err(Ignored::Unexpected));
    // RFC 3203: nothing unauthenticated may force a renewal.
    assert_eq!(tell(&mut machine, MessageType::Other(9), SERVER_ID), Err(Ignored::Unexpected));
    let mut machine = requesting();
    assert_eq!(tell(&mut machine, MessageType::Offer, OTHER_ID), Err(Ignored::LateOffer));
    assert_eq!(tell(&mut machine, MessageType::Ack, OTHER_ID), Err(Ignored::WrongServer));
    assert_eq!(tell(&mut machine, MessageType::Nak, OTHER_ID), Err(Ignored::WrongServer));
    assert!(tell(&mut machine, MessageType::Ack, SERVER_ID).is_ok());
    assert_eq!(tell(&mut machine, MessageType::Ack, SERVER_ID), Err(Ignored::DuplicateAck));
    assert_eq!(tell(&mut machine, MessageType::Nak, SERVER_ID), Err(Ignored::Unexpected));
    assert_eq!(tell(&mut machine, MessageType::Offer, OTHER_ID), Err(Ignored::LateOffer));
    machine.forget();
    assert_eq!(tell(&mut machine, MessageType::Ack, SERVER_ID), Err(Ignored::Unexpected));
}

#[test]
fn an_ack_before_any_request_grants_nothing() {
    let mut machine = selecting(acquire());
    assert!(offer().with(|offer| machine.handle_reply(offer, NOW)).is_ok());
    for kind in [MessageType::Ack, MessageType::Nak] {
        let early = Answer { kind, ..offer() };
        let verdict = early.with(|reply| machine.handle_reply(reply, NOW));
        assert_eq!(verdict, Err(Ignored::Unexpected));
    }
}

#[test]
fn an_ack_that_comes_after_the_end_of_its_lease_is_too_late() {
    let mut machine = requesting();
    let ack = Answer { kind: MessageType::Ack, lease_time: Some(10), ..offer() };
    let verdict = ack.with(|ack| machine.handle_reply(ack, secs(110)));
    assert_eq!(verdict, Err(Ignored::TooLate));
    let verdict = ack.with(|ack| machine.handle_reply(ack, secs(109)));
    assert!(matches!(verdict, Ok(Outcome::Bound { .. })));
}

/// Option 121 or 3 with a value.
fn option(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, value.len() as u8], value].concat()
}

#[test]
fn unicast_goes_to_a_server_on_the_link_and_else_to_a_router() {
    let far = Some(Ipv4Addr::new(198, 51, 100, 9));
    let router = option(code::ROUTER, &[192, 0, 2, 254, 192, 0, 2, 253]);
    let hop = |server_id: Option<Ipv4Addr>, more: Vec<u8>| {
        let mut machine = selecting(acquire());
        let offer = Answer { server_id, ..offer() };
        assert!(offer.with(|offer| machine.handle_reply(offer, NOW)).is_ok());
        assert!(machine.poll_transmit(NOW, 0).is_some());
        let ack = Answer { kind: MessageType::Ack, more, ..offer };
        assert!(ack.with(|ack| machine.handle_reply(ack, NOW)).is_ok());
        machine.state().terms().unwrap().next_hop
    };
    assert_eq!(hop(Some(SERVER_ID), router.clone()), Some(SERVER_ID));
    assert_eq!(hop(far, router.clone()), Some(Ipv4Addr::new(192, 0, 2, 254)));
    assert_eq!(hop(far, vec![]), None);
    assert_eq!(hop(far, option(code::ROUTER, &[0, 0, 0, 0])), None);

    // RFC 3442: option 121 replaces 3, and the longest route wins.
    let routes = [
        &[0, 192, 0, 2, 250][..],
        &[24, 198, 51, 100, 192, 0, 2, 251],
        &[8, 198, 192, 0, 2, 252],
        &[25, 198, 51, 100, 128, 192, 0, 2, 253],
    ]
    .concat();
    let both = [router.clone(), option(code::CLASSLESS_ROUTE, &routes)].concat();
    assert_eq!(hop(far, both), Some(Ipv4Addr::new(192, 0, 2, 251)));
    let none = option(code::CLASSLESS_ROUTE, &[24, 203, 0, 113, 192, 0, 2, 251]);
    assert_eq!(hop(far, [router.clone(), none].concat()), None);
    // A router of 0.0.0.0: the server is on the link, whatever the mask says.
    let on_link = option(code::CLASSLESS_ROUTE, &[24, 198, 51, 100, 0, 0, 0, 0]);
    assert_eq!(hop(far, [router.clone(), on_link].concat()), far);
    for malformed in [&[33, 1, 2, 3, 4, 5, 192, 0, 2, 1][..], &[24, 198, 51], &[0, 192, 0, 2]] {
        assert_eq!(hop(far, option(code::CLASSLESS_ROUTE, malformed)), None);
    }
}

#[test]
fn what_is_granted_is_what_the_ack_says() {
    let terms = bound(|answer| {
        answer.renewal_time = Some(100);
        answer.rebinding_time = Some(200);
        answer.lease_time = Some(300);
        answer.source = Mac([2, 9, 9, 9, 9, 9]);
    });
    assert_eq!((terms.address, terms.prefix), (ADDRESS, Some(24)));
    assert_eq!((terms.server_id, terms.server_mac), (SERVER_ID, Mac([2, 9, 9, 9, 9, 9])));
    assert_eq!((terms.lease_time, terms.start), (300, NOW));
    assert_eq!((terms.renewal_time, terms.rebinding_time), (Some(100), Some(200)));
    assert_ne!(terms.server_mac, SERVER);
    assert_eq!(terms.expiry(), Some(secs(400)));
}

proptest! {
    #[test]
    fn a_mask_is_taken_if_and_only_if_it_is_ones_then_zeros_around_a_host(
        mask in prop_oneof![any::<u32>(), (0u32..=32).prop_map(|len| {
            u32::MAX.checked_shl(32 - len).unwrap_or(0)
        })],
        address in 0x0100_0000u32..0x7f00_0000,
    ) {
        // The naive reading, bit by bit.
        let bits = format!("{mask:032b}");
        let ones = bits.find('0').unwrap_or(32);
        let host = &format!("{address:032b}")[ones..];
        let reserved = ones <= 30 && (!host.contains('1') || !host.contains('0'));
        let good = ones > 0 && !bits[ones..].contains('1') && !reserved;
        let taken = prefix(Ipv4Addr::from(mask), Ipv4Addr::from(address));
        prop_assert_eq!(taken, if good { Ok(ones as u8) } else { Err(Ignored::BadMask) });
    }

    #[test]
    fn routes_of_any_bytes_are_read_without_a_panic(routes: Vec<u8>, server: u32) {
        let _router = route_to(&routes, Ipv4Addr::from(server));
    }
}

#[test]
fn masks_are_judged_by_the_addresses_that_they_leave() {
    assert_eq!(prefix(MASK, ADDRESS), Ok(24));
}
