//! One lease's machine, without table, timer or wire: replies are parsed beforehand.
//!
//! `cargo bench -p lessee-benches --bench machine`.

use criterion::{BatchSize, Criterion, Throughput, criterion_main};
use lessee_benches::criterion;
use lessee_benches::reflector::{FRAME, packet};
use lessee_engine::device::{Frame, Meta};
use lessee_engine::lease::{Acquire, Machine, PortId, Profile, Reply};
use lessee_engine::time::Instant;
use lessee_engine::wire::dhcp::MessageType;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::VlanStack;
use lessee_engine::wire::{Body, emit, parse};
use std::hint::black_box;
use std::sync::Arc;

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 1]);
const XID: u32 = 0x1234_5678;

fn benches() {
    let mut criterion = criterion();
    let offer = frame(MessageType::Offer);
    let ack = frame(MessageType::Ack);
    if let (Some(offer), Some(ack)) = (reply(&offer), reply(&ack)) {
        exchange(&mut criterion, &offer, &ack);
        renewal(&mut criterion, &offer, &ack);
    }
    criterion.final_summary();
}

fn frame(kind: MessageType) -> [u8; FRAME] {
    let mut bytes = [0; FRAME];
    assert_eq!(emit(&packet(kind, XID, CLIENT, VlanStack::NONE), &mut bytes), Ok(FRAME));
    bytes
}

fn reply(bytes: &[u8]) -> Option<Reply<'_>> {
    let packet = parse(Frame { bytes, meta: Meta::plain(bytes.len()) }).ok()?;
    match packet.body {
        Body::Dhcp(datagram) => Some(Reply { link: packet.link, datagram }),
        Body::Arp(_) => None,
    }
}

fn now() -> Instant {
    Instant::from_nanos(1_000_000_000)
}

fn machine(keep_options: bool) -> Machine {
    let profile = Arc::new(Profile { keep_options, ..Profile::default() });
    Machine::new(Acquire::new(PortId(0), CLIENT, profile), true, 1)
}

/// From INIT to BOUND: DISCOVER, OFFER, REQUEST, ACK; true if it worked.
fn bind(machine: &mut Machine, offer: &Reply<'_>, ack: &Reply<'_>) -> bool {
    black_box(machine.poll_transmit(now(), XID).is_some())
        && machine.handle_reply(black_box(offer), now()).is_ok()
        && black_box(machine.poll_transmit(now(), XID).is_some())
        && machine.handle_reply(black_box(ack), now()).is_ok()
}

fn exchange(criterion: &mut Criterion, offer: &Reply<'_>, ack: &Reply<'_>) {
    let mut group = criterion.benchmark_group("machine");
    group.throughput(Throughput::Elements(1));
    for (name, keep) in [("bind, options kept", true), ("bind", false)] {
        assert!(bind(&mut machine(keep), offer, ack));
        group.bench_function(name, |bencher| {
            let fresh = || machine(keep);
            bencher.iter_batched_ref(
                fresh,
                |machine| bind(machine, offer, ack),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn renewal(criterion: &mut Criterion, offer: &Reply<'_>, ack: &Reply<'_>) {
    let mut group = criterion.benchmark_group("machine");
    group.throughput(Throughput::Elements(1));
    for (name, keep) in [("renew, options kept", true), ("renew", false)] {
        let mut machine = machine(keep);
        assert!(bind(&mut machine, offer, ack));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                machine.renew(now());
                black_box(machine.poll_transmit(now(), XID).is_some())
                    && machine.handle_reply(black_box(ack), now()).is_ok()
                    && machine.poll_notice().is_some()
            });
        });
    }
    group.finish();
}

criterion_main!(benches);
