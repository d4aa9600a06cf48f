//! Bytes to values and back: ours beside dhcproto's, on messages of 300 bytes with nine options.
//!
//! Ours reads and writes whole frames, checksums included; dhcproto only the DHCP message, without
//! any. `cargo bench -p lessee-benches --bench wire`.

use criterion::{Criterion, Throughput, criterion_main};
use dhcproto::v4::{Message, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use lessee_benches::criterion;
use lessee_benches::reflector::{FRAME, Reflector, SERVER, SERVER_MAC, packet};
use lessee_engine::device::{Frame, Meta, VlanTag};
use lessee_engine::wire::arp::Arp;
use lessee_engine::wire::dhcp::{ClientId, MessageType, Op, Outgoing};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::udp::{CLIENT_PORT, SERVER_PORT};
use lessee_engine::wire::vlan::VlanStack;
use lessee_engine::wire::{Link, Transmit, TransmitBody, emit, parse};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 1]);
const XID: u32 = 0x1234_5678;
/// Option 55 as the default profile has it.
const REQUESTS: [u8; 14] = [1, 121, 3, 33, 6, 12, 15, 119, 26, 28, 42, 51, 58, 59];

fn benches() {
    let mut criterion = criterion();
    parsing(&mut criterion);
    emitting(&mut criterion);
    criterion.final_summary();
}

/// An answer as a frame, without tags.
fn frame(kind: MessageType) -> Vec<u8> {
    let mut bytes = vec![0; FRAME];
    let len = emit(&packet(kind, XID, CLIENT, VlanStack::NONE), &mut bytes);
    bytes.truncate(len.unwrap_or(0));
    bytes
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let (offer, ack) = (frame(MessageType::Offer), frame(MessageType::Ack));
    // The outer tag is in the metadata, as AF_PACKET has it; the inner one in the frame.
    let tag = Some(VlanTag { tpid: VlanTag::TPID_8021Q, tci: 100 });
    let mut double = offer.clone();
    double.splice(12..12, [0x81, 0, 0, 10]);
    let plain = Meta::plain(FRAME);
    let cases = [
        ("OFFER", &offer, plain),
        ("OFFER, one tag", &offer, Meta { vlan: tag, ..plain }),
        ("OFFER, two tags", &double, Meta { vlan: tag, ..Meta::plain(double.len()) }),
        ("OFFER, checksum not judged", &offer, Meta { checksum_ready: false, ..plain }),
        ("ACK", &ack, plain),
    ];
    for (name, bytes, meta) in cases {
        assert!(parse(Frame { bytes, meta }).is_ok(), "{name}");
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| parse(black_box(Frame { bytes, meta })).is_ok());
        });
    }
    let mut arp = [0; 60];
    let request = Arp::request(SERVER_MAC, SERVER, Ipv4Addr::new(10, 1, 0, 1));
    let len = emit(&arp_packet(request), &mut arp).unwrap_or(0);
    let bytes = &arp[..len];
    group.bench_function("ARP", |bencher| {
        let meta = Meta::plain(bytes.len());
        bencher.iter(|| parse(black_box(Frame { bytes, meta })).is_ok());
    });
    group.bench_function("OFFER, dhcproto, message only", |bencher| {
        let bytes = &offer[42..];
        bencher.iter(|| Message::decode(&mut Decoder::new(black_box(bytes))).is_ok());
    });
    group.finish();
}

fn arp_packet(arp: Arp) -> Transmit<'static> {
    let link = Link { destination: Mac::BROADCAST, source: arp.sender_mac, vlans: VlanStack::NONE };
    Transmit { link, body: TransmitBody::Arp(arp) }
}

/// What a lease with the default profile sends.
fn request(kind: MessageType) -> Transmit<'static> {
    let mut message = Outgoing::new(Op::Request, kind, XID, CLIENT);
    message.client_id = ClientId::Mac;
    let (source, destination) = if kind == MessageType::Release {
        message.ciaddr = Ipv4Addr::new(10, 1, 0, 1);
        message.server_id = Some(SERVER);
        (message.ciaddr, SERVER)
    } else {
        message.max_message_size = Some(1472);
        message.parameter_requests = &REQUESTS;
        (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)
    };
    if kind == MessageType::Request {
        message.requested_address = Some(Ipv4Addr::new(10, 1, 0, 1));
        message.server_id = Some(SERVER);
    }
    Transmit {
        link: Link { destination: Mac::BROADCAST, source: CLIENT, vlans: VlanStack::NONE },
        body: TransmitBody::Dhcp {
            source: SocketAddrV4::new(source, CLIENT_PORT),
            destination: SocketAddrV4::new(destination, SERVER_PORT),
            message,
        },
    }
}

fn emitting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("emit");
    let mut tagged = request(MessageType::Discover);
    tagged.link.vlans = VlanStack::single(100, 0).unwrap_or_default();
    let cases = [
        ("DISCOVER", request(MessageType::Discover)),
        ("DISCOVER, one tag", tagged),
        ("REQUEST", request(MessageType::Request)),
        ("RELEASE", request(MessageType::Release)),
        ("ARP", arp_packet(Arp::request(CLIENT, Ipv4Addr::new(10, 1, 0, 1), SERVER))),
        ("OFFER", packet(MessageType::Offer, XID, CLIENT, VlanStack::NONE)),
    ];
    let mut slot = [0; 1518];
    for (name, packet) in cases {
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| emit(black_box(&packet), black_box(&mut slot)).is_ok());
        });
    }
    let template = Reflector::default();
    let mut discover = [0; FRAME];
    assert_eq!(emit(&request(MessageType::Discover), &mut discover), Ok(FRAME));
    group.bench_function("OFFER, by patching a template", |bencher| {
        bencher.iter(|| template.answer(black_box(&discover), black_box(&mut slot)));
    });
    let offer = frame(MessageType::Offer);
    if let Ok(message) = Message::decode(&mut Decoder::new(&offer[42..])) {
        assert!(message.opts().get(OptionCode::ServerIdentifier).is_some());
        group.bench_function("OFFER, dhcproto, message only", |bencher| {
            bencher.iter(|| black_box(&message).to_vec().map(|bytes| bytes.len()).is_ok());
        });
    }
    group.finish();
}

criterion_main!(benches);
