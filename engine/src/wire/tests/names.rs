//! Names and formats: a table, hostile values, and dhcproto as the judge of 119 and 121.

use crate::wire::names::{
    Malformed, Value, classless_routes, describe, domain_list, name, sanitise, static_routes,
};
use dhcproto::v4::{DhcpOption, OptionCode};
use dhcproto::{Decodable, Decoder};
use proptest::prelude::*;

#[test]
fn values_are_shown_by_their_format() {
    let cases: &[(u8, &[u8], &str)] = &[
        (1, &[255, 255, 255, 0], "subnet-mask: 255.255.255.0"),
        (2, &[0xff, 0xff, 0xf1, 0xf0], "time-offset: -3600"),
        (3, &[10, 0, 0, 1, 10, 0, 0, 2], "routers: 10.0.0.1, 10.0.0.2"),
        (12, b"host\0\0", "host-name: host"),
        (13, &[1, 0], "boot-size: 256"),
        (15, b"a\x1b[2Jb\nc\\\xff", r"domain-name: a\x1b[2Jb\x0ac\x5c\xff"),
        (19, &[1], "ip-forwarding: true"),
        (21, &[10, 0, 0, 0, 255, 0, 0, 0], "policy-filter: 10.0.0.0 255.0.0.0"),
        (23, &[64], "default-ip-ttl: 64"),
        (25, &[2, 0x40, 5, 0xdc], "path-mtu-plateau-table: 576, 1500"),
        (26, &[5, 0xdc], "interface-mtu: 1500"),
        (33, &[10, 0, 0, 0, 1, 2, 3, 4], "static-routes: 10.0.0.0/8 via 1.2.3.4"),
        (43, &[1, 1, 7, 2, 0, 255], "vendor-encapsulated-options: 1=07, 2="),
        (43, &[1, 9, 7], "vendor-encapsulated-options: 01:09:07"),
        (43, &[1, 1, 255], "vendor-encapsulated-options: 1=ff"),
        (51, &[0xff; 4], "dhcp-lease-time: 4294967295"),
        (53, &[5], "dhcp-message-type: DHCPACK"),
        (53, &[77], "dhcp-message-type: type 77"),
        (
            55,
            &[1, 121, 224],
            "dhcp-parameter-request-list: subnet-mask, classless-static-routes, option-224",
        ),
        (61, &[255, 0, 1], "dhcp-client-identifier: ff:00:01"),
        (68, &[], "mobile-ip-home-agent: "),
        (77, &[2, b'a', b'b', 1, b'c'], "user-class: ab, c"),
        (77, b"iPXE", "user-class: iPXE"),
        (80, &[], "rapid-commit: yes"),
        (81, &[5, 0, 0, 1, b'h', 3, b'l', b'a', b'n', 0], "fqdn: h.lan (flags 0x5)"),
        (81, &[0, 255, 255, b'h', b'.', b'x'], "fqdn: h.x (flags 0x0)"),
        (
            82,
            &[1, 1, 0xaa, 5, 4, 10, 0, 0, 0],
            "relay-agent-information: circuit-id=aa, link-selection=0a:00:00:00",
        ),
        (108, &[0, 0, 7, 8], "v6-only-preferred: 1800"),
        (114, b"https://x", "captive-portal: https://x"),
        (118, &[10, 0, 0, 0], "subnet-selection: 10.0.0.0"),
        (120, &[1, 10, 0, 0, 1], "sip-servers: 10.0.0.1"),
        (120, &[0, 1, b's', 0], "sip-servers: s"),
        (121, &[0, 10, 0, 0, 1], "classless-static-routes: 0.0.0.0/0 via 10.0.0.1"),
        (124, &[0, 0, 0, 9, 1, 0xaa], "vendor-identifying-vendor-class: 9=aa"),
        (125, &[0, 0, 0, 9, 0], "vendor-identifying-vendor-options: 9="),
        (150, &[10, 0, 0, 1], "tftp-server-addresses: 10.0.0.1"),
        (224, &[1, 2], "option-224: 01:02"),
    ];
    for (code, value, text) in cases {
        let described = describe(*code, value);
        assert_eq!(described.to_string(), *text);
        assert!(!described.malformed, "{text}");
    }
}

#[test]
fn a_value_against_its_format_is_bytes_and_marked() {
    let cases: &[(u8, &[u8])] = &[
        (1, &[255, 255, 255]),
        (1, &[]),
        (2, &[0; 5]),
        (3, &[]),
        (3, &[10, 0, 0, 1, 10]),
        (12, &[]),
        (13, &[1]),
        (19, &[2]),
        (19, &[1, 1]),
        (21, &[10, 0, 0, 0]),
        (25, &[1]),
        (33, &[0, 0, 0, 0, 1, 2, 3, 4]),
        (33, &[224, 0, 0, 1, 1, 2, 3, 4]),
        (33, &[10, 0, 0, 0, 1, 2, 3, 4, 5]),
        (51, &[1, 2, 3]),
        (53, &[0]),
        (53, &[]),
        (55, &[]),
        (61, &[1]),
        (68, &[1]),
        (77, &[]),
        (80, &[0]),
        (81, &[0, 0]),
        (81, &[4, 0, 0, 0xc0, 0]),
        (81, &[4, 0, 0, 5, b'a']),
        (82, &[1]),
        (82, &[1, 2, 3]),
        (82, &[]),
        (119, &[]),
        (119, &[0xc0, 0]),
        (119, &[1, b'a']),
        (120, &[2, 1]),
        (120, &[]),
        (121, &[]),
        (121, &[33, 1, 2, 3, 4, 5, 6, 7, 8]),
        (121, &[24, 10, 0, 0, 1, 2, 3]),
        (124, &[0, 0, 0, 9]),
        (125, &[0, 0, 0, 9, 2, 1]),
    ];
    for (code, value) in cases {
        let described = describe(*code, value);
        assert!(described.malformed, "{described}");
        assert_eq!(described.value, Value::Hex(value.to_vec()));
        assert!(described.to_string().ends_with("(malformed)"));
    }
}

#[test]
fn codes_have_unique_names() {
    let names: Vec<_> = (1..255).map(name).collect();
    for (place, name) in names.iter().enumerate() {
        assert!(!names[..place].contains(name), "{name} twice");
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(name.bytes().all(plain), "{name}");
    }
    for code in (1..=82).chain([108, 114, 116, 118, 119, 120, 121, 124, 125, 150]) {
        assert!(!name(code).starts_with("option-"), "{code}");
    }
}

#[test]
fn routes_of_option_121() {
    // The examples of RFC 3442's table, with their routers.
    let value = [
        0, 1, 1, 1, 1, 8, 10, 2, 2, 2, 2, 24, 10, 0, 0, 3, 3, 3, 3, 16, 10, 17, 4, 4, 4, 4, 24, 10,
        27, 129, 5, 5, 5, 5, 25, 10, 229, 0, 128, 6, 6, 6, 6, 32, 10, 198, 122, 47, 0, 0, 0, 0,
    ];
    let routes: Vec<_> = classless_routes(&value).unwrap().map(|route| route.to_string()).collect();
    assert_eq!(
        routes,
        [
            "0.0.0.0/0 via 1.1.1.1",
            "10.0.0.0/8 via 2.2.2.2",
            "10.0.0.0/24 via 3.3.3.3",
            "10.17.0.0/16 via 4.4.4.4",
            "10.27.129.0/24 via 5.5.5.5",
            "10.229.0.128/25 via 6.6.6.6",
            "10.198.122.47/32 via 0.0.0.0",
        ]
    );
    // One byte less is another number of whole routes or none of them at all.
    for len in 1..value.len() {
        let whole = [5, 11, 19, 26, 34, 43].contains(&len);
        assert_eq!(classless_routes(&value[..len]).is_ok(), whole, "{len}");
    }
    // RFC 3442: bits beyond the mask MUST be zeroed.
    let route = classless_routes(&[9, 10, 255, 1, 1, 1, 1]).unwrap().next().unwrap();
    assert_eq!(route.to_string(), "10.128.0.0/9 via 1.1.1.1");
}

#[test]
fn routes_of_option_33_get_the_prefix_of_their_class() {
    let show = |net: [u8; 4]| {
        let value = [&net[..], &[9, 9, 9, 9]].concat();
        static_routes(&value).map(|mut routes| routes.next().unwrap().to_string())
    };
    assert_eq!(show([127, 0, 0, 0]).unwrap(), "127.0.0.0/8 via 9.9.9.9");
    assert_eq!(show([128, 1, 0, 0]).unwrap(), "128.1.0.0/16 via 9.9.9.9");
    assert_eq!(show([191, 255, 0, 0]).unwrap(), "191.255.0.0/16 via 9.9.9.9");
    assert_eq!(show([192, 0, 2, 0]).unwrap(), "192.0.2.0/24 via 9.9.9.9");
    assert_eq!(show([223, 255, 255, 0]).unwrap(), "223.255.255.0/24 via 9.9.9.9");
    assert_eq!(show([10, 1, 0, 0]).unwrap(), "10.1.0.0/32 via 9.9.9.9", "a host");
    assert_eq!(show([224, 0, 0, 0]), Err(Malformed));
    assert_eq!(show([0, 0, 0, 0]), Err(Malformed));
}

#[test]
fn domain_lists_are_followed_backwards_only() {
    // RFC 3397 section 4's example.
    let value = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
    assert_eq!(domain_list(value).unwrap(), ["eng.apple.com", "marketing.apple.com"]);
    assert_eq!(domain_list(&[0]).unwrap(), ["."]);
    assert_eq!(domain_list(b"\x01a\x00\xc0\x00\xc0\x03").unwrap(), ["a", "a", "a"]);
    let bad: &[&[u8]] = &[
        b"\xc0\x00",                       // itself
        b"\x01a\xc0\x00",                  // its own name, for ever
        b"\x01a\xc0\x02",                  // itself, behind a label
        b"\x02\x06b\x00\x01a\xc0\x01\x00", // backwards, but on into its own name
        b"\xc0\x02\x01a\x00",              // forwards
        b"\x01a\x00\xc0",                  // a cut pointer
        b"\x01a",                          // no end
        b"\x05ab",                         // a cut label
        b"\x41a\x00",                      // label type 01
        b"\x81a\x00",                      // label type 10
    ];
    for value in bad {
        assert_eq!(domain_list(value), Err(Malformed), "{value:?}");
    }
    // 255 bytes are a name, 256 are not.
    let long = |last: u8| {
        let mut value = [&[63][..], &[b'x'; 63]].concat().repeat(3);
        value.push(last);
        value.extend(vec![b'y'; last.into()]);
        value.push(0);
        value
    };
    assert_eq!(domain_list(&long(61)).unwrap()[0].len(), 253);
    assert_eq!(domain_list(&long(62)), Err(Malformed));
    // A label cannot smuggle a dot, a blank or a line into resolv.conf.
    assert_eq!(domain_list(b"\x07a.b\nc \\\x00").unwrap(), [r"a\046b\010c\032\092"]);
}

#[test]
fn text_is_harmless() {
    assert_eq!(sanitise("ü\u{202e}".as_bytes()), r"\xc3\xbc\xe2\x80\xae");
    assert_eq!(sanitise(b"a\0b\0\0"), r"a\x00b");
    assert_eq!(sanitise(b"\0"), "");
}

/// What dhcproto makes of an option in one piece.
fn theirs(code: u8, value: &[u8]) -> Option<DhcpOption> {
    assert_ne!(OptionCode::from(code), OptionCode::Unknown(code));
    let bytes = [&[code, value.len() as u8], value].concat();
    DhcpOption::decode(&mut Decoder::new(&bytes)).ok()
}

fn route_bytes() -> impl Strategy<Value = Vec<u8>> {
    let route = (0u8..=34, any::<[u8; 4]>(), any::<[u8; 4]>(), 0usize..30).prop_map(
        |(prefix, net, via, twist)| {
            let len = usize::from(prefix).div_ceil(8).min(4);
            let mut bytes = [&[prefix], &net[..len], &via].concat();
            if twist == 0 {
                bytes.pop();
            }
            bytes
        },
    );
    prop::collection::vec(route, 0..20).prop_map(|routes| routes.concat())
}

fn name_bytes() -> impl Strategy<Value = Vec<u8>> {
    let label =
        "[a-z0-9-]{1,10}".prop_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    let token = prop_oneof![
        5 => label,
        4 => Just(vec![0]),
        2 => (0u8..60).prop_map(|at| vec![0xc0, at]),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    prop::collection::vec(token, 0..20).prop_map(|tokens| {
        let mut bytes = tokens.concat();
        bytes.truncate(255);
        bytes
    })
}

proptest! {
    #[test]
    fn nothing_panics(code in any::<u8>(), value in prop::collection::vec(any::<u8>(), 0..700)) {
        let described = describe(code, &value);
        let text = described.to_string();
        prop_assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{}", text);
        let _ = classless_routes(&value).map(Iterator::count);
        let _ = static_routes(&value).map(Iterator::count);
        let _ = domain_list(&value);
    }

    #[test]
    fn short_values_of_every_code_do_no_harm(value in prop::collection::vec(any::<u8>(), 0..20)) {
        for code in 0..=255 {
            let text = describe(code, &value).to_string();
            prop_assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{}", text);
        }
    }

    #[test]
    fn dhcproto_finds_the_same_routes(value in route_bytes()) {
        prop_assume!(value.len() <= 255);
        if let Ok(ours) = classless_routes(&value) {
            let Some(DhcpOption::ClasslessStaticRoute(theirs)) = theirs(121, &value) else {
                panic!("refused by dhcproto: {value:?}");
            };
            let theirs: Vec<_> = theirs
                .into_iter()
                .map(|(net, via)| (net.trunc().addr(), net.prefix_len(), via))
                .collect();
            let ours: Vec<_> = ours.map(|route| (route.network, route.prefix, route.via)).collect();
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn dhcproto_finds_the_same_names(value in name_bytes()) {
        if let (Ok(ours), Some(DhcpOption::DomainSearch(theirs))) =
            (domain_list(&value), theirs(119, &value))
        {
            let theirs: Vec<String> = theirs
                .iter()
                .map(|name| {
                    let labels: Vec<_> = name.iter().map(label).collect();
                    if labels.is_empty() { ".".into() } else { labels.join(".") }
                })
                .collect();
            // hickory stops without a word where it finds fault, hence the prefix.
            prop_assert_eq!(&ours[..theirs.len().min(ours.len())], &theirs[..]);
            prop_assert_eq!(ours.len(), theirs.len());
        }
    }
}

/// A label as [`domain_list`] promises to write it.
fn label(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(*byte).to_string(),
        _ => format!("\\{byte:03}"),
    };
    bytes.iter().map(one).collect()
}
