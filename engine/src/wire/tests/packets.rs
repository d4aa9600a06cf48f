//! Messages in the shape in which well-known servers and relays send them (written by hand after
//! their sources and documents; captures of the real ones are replayed from `pcap-fixtures`).

use super::support::{CLIENT, Raw, bootp_fields, datagram, parse};
use crate::wire::dhcp::{Message, MessageType, Op};
use crate::wire::names::describe;

fn check(message: Vec<u8>, judge: impl FnOnce(Message<'_>)) {
    let bytes = Raw::new(message).build();
    judge(datagram(&parse(&bytes).unwrap()).message);
}

fn described(message: &Message<'_>, code: u8) -> String {
    describe(code, &message.options.get(code).unwrap()).to_string()
}

#[test]
fn an_offer_as_dnsmasq_sends_it() {
    let options = [
        53, 1, 2, 54, 4, 192, 0, 2, 1, 51, 4, 0, 0, 0x0e, 0x10, 58, 4, 0, 0, 7, 8, 59, 4, 0, 0,
        0x0c, 0x4e, 1, 4, 255, 255, 255, 0, 28, 4, 192, 0, 2, 255, 15, 4, b'l', b'a', b'n', 0, 6,
        4, 192, 0, 2, 1, 3, 4, 192, 0, 2, 1, 255, 0, 0, 0, 0,
    ];
    check(bootp_fields(&options, &[], &[]), |message| {
        assert_eq!((message.op, message.message_type), (Op::Reply, MessageType::Offer));
        assert_eq!(message.chaddr.0, CLIENT);
        assert_eq!(message.yiaddr.octets(), [192, 0, 2, 77]);
        assert_eq!(message.server_id, Some([192, 0, 2, 1].into()));
        assert_eq!(message.lease_time, Some(3600));
        assert_eq!(message.renewal_time, Some(1800));
        assert_eq!(message.rebinding_time, Some(3150));
        assert_eq!(described(&message, 15), "domain-name: lan");
        assert_eq!(described(&message, 3), "routers: 192.0.2.1");
        assert_eq!(described(&message, 53), "dhcp-message-type: DHCPOFFER");
    });
}

#[test]
fn an_ack_as_kea_sends_it() {
    // By code, with the client identifier echoed (RFC 6842), a search list and routes, and
    // without padding to 300 bytes.
    let options = [
        1, 4, 255, 255, 254, 0, 3, 4, 10, 0, 0, 1, 6, 8, 10, 0, 0, 2, 10, 0, 0, 3, 12, 2, b'h',
        b'1', 51, 4, 0xff, 0xff, 0xff, 0xff, 53, 1, 5, 54, 4, 10, 0, 0, 1, 61, 7, 1, 2, 0, 0, 0, 0,
        1, 119, 13, 2, b'e', b'u', 3, b'n', b'e', b't', 0, 2, b'u', b's', 0xc0, 3, 121, 8, 24, 10,
        1, 2, 10, 0, 0, 9, 255,
    ];
    check(bootp_fields(&options, &[], &[]), |message| {
        assert_eq!(message.message_type, MessageType::Ack);
        assert_eq!(message.lease_time, Some(u32::MAX));
        assert_eq!((message.renewal_time, message.rebinding_time), (None, None));
        assert!(message.has_client_id);
        assert_eq!(described(&message, 61), "dhcp-client-identifier: 01:02:00:00:00:00:01");
        assert_eq!(described(&message, 119), "domain-search: eu.net, us.net");
        let routes = "classless-static-routes: 10.1.2.0/24 via 10.0.0.9";
        assert_eq!(described(&message, 121), routes);
    });
}

#[test]
fn a_nak_through_a_relay_agent() {
    let options = [
        53, 1, 6, 54, 4, 192, 0, 2, 1, 56, 13, b'w', b'r', b'o', b'n', b'g', b' ', b'n', b'e',
        b't', b'w', b'o', b'r', b'k', 82, 6, 1, 4, b'e', b't', b'h', b'0', 255,
    ];
    let mut message = bootp_fields(&options, &[], &[]);
    message[3] = 1;
    message[10] = 0x80;
    message[16..20].fill(0);
    message[24..28].copy_from_slice(&[198, 51, 100, 1]);
    check(message, |message| {
        assert_eq!((message.message_type, message.hops), (MessageType::Nak, 1));
        assert!(message.broadcast && message.yiaddr.is_unspecified());
        assert_eq!(message.giaddr.octets(), [198, 51, 100, 1]);
        assert_eq!(described(&message, 56), "dhcp-message: wrong network");
        assert_eq!(described(&message, 82), "relay-agent-information: circuit-id=65:74:68:30");
    });
}

#[test]
fn a_boot_server_that_fills_file_and_sname_with_names() {
    // PXE: without option 52 both are plain text.
    let message = bootp_fields(
        &[
            53, 1, 2, 54, 4, 192, 0, 2, 1, 51, 4, 0, 0, 1, 0, 60, 9, b'P', b'X', b'E', b'C', b'l',
            b'i', b'e', b'n', b't', 43, 6, 6, 1, 8, 255, 0, 0, 255,
        ],
        b"pxelinux.0",
        b"boot.example",
    );
    check(message, |message| {
        assert_eq!(message.options.pieces().count(), 5);
        assert_eq!(described(&message, 60), "vendor-class-identifier: PXEClient");
        assert_eq!(described(&message, 43), "vendor-encapsulated-options: 6=08");
    });
}
