//! A lease under random packets, times and commands, watched by a model that knows little: what
//! was granted, until when, and what may be sent while.

use super::super::super::tests::{OTHER_ID, Sent};
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Milliseconds pass, and the timer is handled.
    Wait(u64),
    /// The machine sleeps until its deadline and this many milliseconds longer.
    Sleep(u64),
    /// What is due finds a slot.
    Send,
    Hear(Box<Noise>),
    Arp(Arp),
    Release,
    Forget,
    Renew,
    Read,
}

/// An answer, mostly sound.
#[derive(Clone, Debug)]
struct Noise {
    kind: MessageType,
    right_xid: bool,
    right_mac: bool,
    server: Option<Ipv4Addr>,
    address: Ipv4Addr,
    lease: Option<u32>,
    times: (Option<u32>, Option<u32>),
    mask: Option<Ipv4Addr>,
    client_id: Option<Vec<u8>>,
    more: Vec<u8>,
}

fn seconds() -> impl Strategy<Value = u32> {
    prop_oneof![1u32..5, 30u32..4000, Just(u32::MAX), Just(u32::MAX - 1), any::<u32>()]
}

fn noise() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        5 => Just(MessageType::Offer),
        8 => Just(MessageType::Ack),
        2 => Just(MessageType::Nak),
        1 => any::<u8>().prop_map(MessageType::from_value),
    ];
    let server = prop_oneof![
        9 => Just(Some(SERVER_ID)), 2 => Just(Some(OTHER_ID)), 1 => Just(None),
        1 => any::<u32>().prop_map(|ip| Some(ip.into())),
    ];
    let address = prop_oneof![
        9 => Just(ADDRESS),
        1 => (1u8..255).prop_map(|last| Ipv4Addr::new(192, 0, 2, last)),
        1 => any::<u32>().prop_map(Ipv4Addr::from),
    ];
    let mask = prop_oneof![
        9 => Just(Some(Ipv4Addr::new(255, 255, 255, 0))),
        1 => Just(None),
        1 => any::<u32>().prop_map(|mask| Some(mask.into())),
    ];
    let echo = prop_oneof![
        9 => Just(None),
        1 => Just(Some([&[1], CLIENT.0.as_slice()].concat())),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Some),
    ];
    let more = prop_oneof![
        5 => Just(vec![]),
        1 => prop::collection::vec(any::<u8>(), 0..20)
            .prop_map(|value| [&[121, value.len() as u8], &value[..]].concat()),
        1 => any::<[u8; 4]>().prop_map(|ip| [&[3, 4], ip.as_slice()].concat()),
    ];
    let most = prop::bool::weighted(0.95);
    let lease = prop_oneof![9 => seconds().prop_map(Some), 1 => Just(None)];
    let times = (prop::option::of(seconds()), prop::option::of(seconds()));
    (kind, (most, most), server, address, lease, times, (mask, echo, more)).prop_map(
        |(kind, (right_xid, right_mac), server, address, lease, times, (mask, client_id, more))| {
            Step::Hear(Box::new(Noise {
                kind,
                right_xid,
                right_mac,
                server,
                address,
                lease,
                times,
                mask,
                client_id,
                more,
            }))
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let arp = (any::<bool>(), any::<[u8; 6]>(), any::<bool>()).prop_map(|(reply, mac, right)| {
        let asked = if right { SERVER_ID } else { OTHER_ID };
        let arp = Arp::request(CLIENT, ADDRESS, asked).answer(Mac(mac));
        let operation = if reply { Operation::Reply } else { Operation::Request };
        Step::Arp(Arp { operation, ..arp })
    });
    prop_oneof![
        6 => noise(),
        6 => Just(Step::Send),
        3 => (0u64..100_000).prop_map(Step::Wait),
        5 => prop_oneof![Just(0u64), 0u64..3000, 0u64..10_000_000].prop_map(Step::Sleep),
        2 => arp,
        1 => Just(Step::Renew),
        1 => Just(Step::Read),
    ]
}

/// Rare ends, so that most sequences have a long middle.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![Just(Step::Release), Just(Step::Forget)];
    (prop::collection::vec(step(), 1..150), end, prop::collection::vec(step(), 0..20))
        .prop_map(|(middle, end, after)| [middle, vec![end], after].concat())
}

/// What the model knows.
#[derive(Default)]
struct Model {
    /// First REQUEST of the exchange with this xid.
    asked: Option<(u32, Instant)>,
    /// Address and end of the lease.
    held: Option<(Ipv4Addr, Option<Instant>)>,
    /// The last address that the reader heard of.
    told: Option<Ipv4Addr>,
    silent: bool,
}

impl Model {
    fn sent(&mut self, sent: &Sent, now: Instant) {
        assert!(!self.silent, "sent after forget: {sent:?}");
        let nobody = Ipv4Addr::UNSPECIFIED;
        let speaks_as = *sent.source.ip();
        assert_eq!(speaks_as, sent.ciaddr);
        if sent.ciaddr == nobody {
            assert!(matches!(sent.kind, MessageType::Discover | MessageType::Request));
            assert!(self.held.is_none(), "holds an address and has none: {sent:?}");
        } else {
            self.used(sent.ciaddr, now);
            assert!(sent.requested.is_none());
            assert_eq!(sent.server_id.is_some(), sent.kind == MessageType::Release);
        }
        if sent.kind == MessageType::Request {
            match self.asked {
                Some((xid, _)) if xid == sent.xid => {}
                _ => self.asked = Some((sent.xid, now)),
            }
        }
        if sent.kind == MessageType::Release {
            self.held = None;
            self.silent = true;
        }
    }

    /// An address is in use: it must be held, and not over.
    fn used(&self, address: Ipv4Addr, now: Instant) {
        let (held, end) = self.held.expect("no address is held");
        assert_eq!(address, held);
        assert!(end.is_none_or(|end| now < end), "used after its end");
    }

    fn heard(&mut self, outcome: Outcome, answer: &Answer, now: Instant) {
        match outcome {
            Outcome::Offered { .. } | Outcome::Probed => assert!(self.held.is_none()),
            Outcome::Bound { .. } | Outcome::Renewed { .. } => {
                let (xid, start) = self.asked.expect("granted without being asked for");
                assert_eq!(xid, answer.xid);
                let lease = answer.lease_time.unwrap();
                let end =
                    (lease != u32::MAX).then(|| start + Duration::from_secs(u64::from(lease)));
                assert!(end.is_none_or(|end| now < end), "granted after its end");
                self.held = Some((answer.yiaddr, end));
            }
            Outcome::Refused => self.held = None,
        }
    }

    fn told(&mut self, notice: &Notice, lost: bool) {
        assert_eq!(notice.previous, self.told);
        self.told = notice.terms.map(|terms| terms.address);
        assert_eq!(notice.lost.is_some(), notice.kinds.contains(Kinds::LOST));
        assert!(
            !lost || notice.kinds.contains(Kinds::LOST) || notice.kinds.contains(Kinds::RELEASED)
        );
    }
}

fn answer(rig: &Rig, noise: &Noise) -> Answer {
    let mut answer = rig.answer(noise.kind);
    answer.xid ^= u32::from(!noise.right_xid);
    answer.chaddr.0[5] ^= u8::from(!noise.right_mac);
    (answer.server_id, answer.yiaddr, answer.lease_time) =
        (noise.server, noise.address, noise.lease);
    (answer.renewal_time, answer.rebinding_time) = noise.times;
    answer.mask = noise.mask;
    answer.client_id.clone_from(&noise.client_id);
    answer.more.clone_from(&noise.more);
    answer
}

/// The machine's word on timers must hold: no loop without a pause.
fn check(rig: &mut Rig, model: &mut Model) {
    rig.machine.handle_timeout(rig.now);
    if let Some((_, Some(end))) = model.held
        && end <= rig.now
    {
        model.held = None;
    }
    let held = rig.machine.state().terms().map(|terms| terms.address);
    assert_eq!(held, model.held.map(|(address, _)| address));
    let due = rig.machine.wants_transmit(rig.now);
    let next = rig.machine.poll_timeout(rig.now);
    assert!(next.is_none_or(|next| next > rig.now) || due, "{next:?} {:?}", rig.machine.state());
    assert!(rig.state() != "BOUND" || !due);
    // Handled twice is handled once.
    let state = *rig.machine.state();
    rig.machine.handle_timeout(rig.now);
    assert_eq!(*rig.machine.state(), state);
}

fn play(seed: u32, steps: &[Step]) {
    let (mut rig, mut model) = (Rig::new(seed), Model::default());
    for step in steps {
        match step {
            Step::Wait(millis) => rig.now = rig.now + Duration::from_millis(*millis),
            Step::Sleep(more) => {
                let next = rig.machine.poll_timeout(rig.now).unwrap_or(rig.now);
                rig.now = next.max(rig.now) + Duration::from_millis(*more);
            }
            Step::Send => {
                if rig.machine.wants_transmit(rig.now) {
                    match rig.send() {
                        Seen::Dhcp(sent) => model.sent(&sent, rig.now),
                        Seen::Arp(_, arp) => model.used(arp.sender_ip, rig.now),
                    }
                }
            }
            Step::Hear(noise) => {
                let answer = answer(&rig, noise);
                let before = *rig.machine.state();
                match rig.take(&answer) {
                    Ok(outcome) => model.heard(outcome, &answer, rig.now),
                    Err(_) => assert_eq!(*rig.machine.state(), before),
                }
            }
            Step::Arp(arp) => rig.machine.handle_arp(arp, rig.now),
            Step::Release => rig.machine.release(),
            Step::Forget => {
                rig.machine.forget();
                (model.silent, model.held) = (true, None);
            }
            Step::Renew => rig.machine.renew(rig.now),
            Step::Read => {
                if let Some(notice) = rig.machine.poll_notice() {
                    let gone = model.told.is_some() && notice.terms.is_none();
                    model.told(&notice, gone);
                }
            }
        }
        check(&mut rig, &mut model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_breaks_a_rule(seed: u32, steps in steps()) {
        play(seed, &steps);
    }
}
