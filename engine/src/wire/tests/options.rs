//! Options: RFC 3396 pieces, overload, sets; a second reading of the RFCs as the judge.

use super::support::{any_field, bootp, bootp_fields, model};
use crate::wire::dhcp::{self, MessageType};
use crate::wire::options::{OptionSet, Writer};
use crate::wire::{Discard, NoRoom};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn pieces_join_over_options_then_file_then_sname() {
    // RFC 3396 section 5: options, file, sname; the pieces here are apart in each field too.
    let message = bootp_fields(
        &[53, 1, 5, 12, 1, b'a', 52, 1, 3, 12, 1, b'b', 54, 2, 192, 0, 255, 12, 1, b'X'],
        &[12, 1, b'c', 0, 0, 54, 1, 2, 12, 1, b'd', 255, 12, 1, b'X'],
        &[0, 12, 1, b'e', 54, 1, 9, 255],
    );
    let parsed = dhcp::parse(&message).unwrap();
    assert_eq!(parsed.options.get(12).unwrap(), b"abcde".as_slice());
    assert_eq!(parsed.server_id, Some([192, 0, 2, 9].into()));
    assert_eq!(parsed.message_type, MessageType::Ack);
}

#[test]
fn fields_are_options_only_where_option_52_says_so() {
    for (overload, expected) in [(1u8, b"of".as_slice()), (2, b"os"), (3, b"ofs")] {
        let message = bootp_fields(
            &[53, 1, 2, 52, 1, overload, 12, 1, b'o', 255],
            &[12, 1, b'f'],
            &[12, 1, b's'],
        );
        assert_eq!(dhcp::parse(&message).unwrap().options.get(12).unwrap(), expected);
    }
    // Without it, file and sname may hold anything.
    let message = bootp_fields(&[53, 1, 2, 255], &[12, 200, b'f'], &[0xff; 64]);
    assert_eq!(dhcp::parse(&message).unwrap().options.get(12), None);
    // Option 52 within file says nothing: it is not followed there.
    let message = bootp_fields(&[53, 1, 2, 52, 1, 1, 255], &[52, 1, 3, 255], &[12, 1, b's']);
    let parsed = dhcp::parse(&message).unwrap();
    assert_eq!(parsed.options.get(12), None);
    // A file filled to its last byte needs no end.
    let mut file = vec![12, 126];
    file.extend([b'x'; 126]);
    let message = bootp_fields(&[52, 1, 1, 53, 1, 2], &file, &[]);
    assert_eq!(dhcp::parse(&message).unwrap().options.get(12).unwrap().len(), 126);
}

#[test]
fn the_message_type_may_stand_anywhere() {
    let message = bootp_fields(&[52, 1, 2, 255], &[], &[53, 1, 6]);
    assert_eq!(dhcp::parse(&message).unwrap().message_type, MessageType::Nak);
    for value in 1..=u8::MAX {
        assert_eq!(MessageType::from_value(value).value(), value);
    }
}

#[test]
fn a_value_in_one_piece_is_borrowed() {
    let message =
        bootp(&[53, 1, 2, 3, 8, 192, 0, 2, 1, 192, 0, 2, 2, 15, 1, b'a', 15, 1, b'b', 255]);
    let options = dhcp::parse(&message).unwrap().options;
    assert!(matches!(options.get(3), Some(std::borrow::Cow::Borrowed(_))));
    assert!(matches!(options.get(15), Some(std::borrow::Cow::Owned(_))));
    assert_eq!(options.first_address(3), Some([192, 0, 2, 1].into()));
    assert_eq!(options.first_address(15), None);
    assert_eq!(options.first_address(6), None);
}

#[test]
fn a_zero_length_option_is_present_and_empty() {
    let message = bootp(&[53, 1, 2, 80, 0, 61, 0, 255]);
    let parsed = dhcp::parse(&message).unwrap();
    assert_eq!(parsed.options.get(80).as_deref(), Some(&[][..]));
    assert!(parsed.has_client_id);
    assert_eq!(OptionSet::from_options(&parsed.options).get(80), Some(&[][..]));
    // A zero-length piece beside a whole one changes nothing.
    let message = bootp_fields(&[53, 1, 2, 52, 0, 52, 1, 1, 52, 0, 255], &[51, 4, 0, 0, 0, 9], &[]);
    assert_eq!(dhcp::parse(&message).unwrap().lease_time, Some(9));
    let message = bootp(&[53, 1, 2, 51, 0, 51, 4, 0, 0, 0, 9, 255]);
    assert_eq!(dhcp::parse(&message).unwrap().lease_time, Some(9));
}

fn option_lists() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let code = prop_oneof![Just(224u8), 200u8..=254, Just(119), Just(121)];
    let len =
        prop_oneof![0usize..20, Just(254), Just(255), Just(256), Just(510), Just(511), 0usize..900];
    let value = len.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len));
    prop::collection::vec((code, value), 0..5)
}

proptest! {
    #[test]
    fn what_the_writer_splits_is_joined_again(list in option_lists()) {
        let mut field = vec![0xee; 8000];
        let mut writer = Writer::new(&mut field);
        writer.put(53, &[2]).unwrap();
        let mut expected: BTreeMap<u8, Vec<u8>> = BTreeMap::from([(53, vec![2])]);
        for (code, value) in &list {
            writer.put(*code, value).unwrap();
            expected.entry(*code).or_default().extend(value);
        }
        let len = writer.end().unwrap();
        let pieces = list.iter().map(|(_, value)| value.len().div_ceil(255).max(1) * 2 + value.len());
        prop_assert_eq!(len, 3 + pieces.sum::<usize>() + 1);
        prop_assert!(field[len..].iter().all(|byte| *byte == 0xee));

        let message = bootp(&field[..len]);
        let options = dhcp::parse(&message).unwrap().options;
        let set = OptionSet::from_options(&options);
        for (code, value) in &expected {
            prop_assert_eq!(&*options.get(*code).unwrap(), value.as_slice());
            prop_assert_eq!(set.get(*code).unwrap(), value.as_slice());
        }
        let joined: Vec<_> = set.iter().map(|(code, value)| (code, value.to_vec())).collect();
        prop_assert_eq!(joined, expected.into_iter().collect::<Vec<_>>());

        // One byte less and the last of it does not fit, whatever it is.
        let mut writer = Writer::new(&mut field[..len - 1]);
        let mut outcome = writer.put(53, &[2]);
        for (code, value) in &list {
            outcome = outcome.and_then(|()| writer.put(*code, value));
        }
        prop_assert_eq!(outcome.and_then(|()| writer.end().map(|_| ())), Err(NoRoom));
        prop_assert_eq!(field[len], 0xee);
    }

    #[test]
    fn options_are_read_as_the_rfcs_say(
        options in any_field(400), file in any_field(128), sname in any_field(64),
    ) {
        let message = bootp_fields(&options, &file, &sname);
        let four = |joined: &BTreeMap<u8, Vec<u8>>, code: u8| match joined.get(&code) {
            None => Ok(None),
            Some(value) => <[u8; 4]>::try_from(value.as_slice()).map(Some).map_err(|_| ()),
        };
        let expected = model(&message);
        match dhcp::parse(&message) {
            Ok(parsed) => {
                let joined = expected.unwrap();
                prop_assert_eq!(&joined[&53], &[parsed.message_type.value()]);
                let address = |code| four(&joined, code).unwrap().map(std::net::Ipv4Addr::from);
                let number = |code| four(&joined, code).unwrap().map(u32::from_be_bytes);
                prop_assert_eq!(parsed.requested_address, address(50));
                prop_assert_eq!(parsed.server_id, address(54));
                prop_assert_eq!(parsed.subnet_mask, address(1));
                prop_assert_eq!(parsed.lease_time, number(51));
                prop_assert_eq!(parsed.renewal_time, number(58));
                prop_assert_eq!(parsed.rebinding_time, number(59));
                prop_assert_eq!(parsed.has_client_id, joined.contains_key(&61));
                for code in 1..255 {
                    let value = parsed.options.get(code);
                    prop_assert_eq!(value.as_deref(), joined.get(&code).map(Vec::as_slice));
                }
                let set = OptionSet::from_options(&parsed.options);
                let all: Vec<_> = set.iter().map(|(code, value)| (code, value.to_vec())).collect();
                prop_assert_eq!(all, joined.into_iter().collect::<Vec<_>>());
            }
            Err(Discard::MessageTypeMissing) => {
                prop_assert!(!expected.unwrap().contains_key(&53));
            }
            Err(Discard::OptionOverrun) => prop_assert_eq!(expected, None),
            Err(reason) => {
                prop_assert_eq!(reason, Discard::OptionValue);
                let bad = |joined: BTreeMap<u8, Vec<u8>>| {
                    joined.get(&53).is_some_and(|kind| kind.len() != 1)
                        || [1, 50, 51, 54, 58, 59].iter().any(|code| four(&joined, *code).is_err())
                };
                prop_assert!(expected.is_none_or(bad));
            }
        }
    }
}
