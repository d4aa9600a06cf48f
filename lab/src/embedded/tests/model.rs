//! Random conversations, compared step by step with a table that anyone can check by eye.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// One step of a conversation. Clients and addresses are few, so that they meet.
#[derive(Clone, Debug)]
enum Act {
    Discover(u8, Option<u8>),
    Selecting(u8, u8),
    SelectingElsewhere(u8),
    InitReboot(u8, u8),
    Renewing(u8, u8),
    Release(u8, u8),
    Decline(u8, u8),
    Pass(u64),
    Forget,
}

fn act() -> impl Strategy<Value = Act> {
    let (client, host) = (|| 1..8_u8, || 9..16_u8);
    prop_oneof![
        6 => (client(), proptest::option::of(host())).prop_map(|(c, h)| Act::Discover(c, h)),
        6 => (client(), host()).prop_map(|(c, h)| Act::Selecting(c, h)),
        1 => client().prop_map(Act::SelectingElsewhere),
        3 => (client(), host()).prop_map(|(c, h)| Act::InitReboot(c, h)),
        4 => (client(), host()).prop_map(|(c, h)| Act::Renewing(c, h)),
        2 => (client(), host()).prop_map(|(c, h)| Act::Release(c, h)),
        1 => (client(), host()).prop_map(|(c, h)| Act::Decline(c, h)),
        3 => (0..120_u64).prop_map(Act::Pass),
        1 => Just(Act::Forget),
    ]
}

/// What the server has promised, by address: to whom, and until when.
#[derive(Default)]
struct Model {
    leases: HashMap<Ipv4Addr, (Mac, Instant)>,
    quarantine: HashMap<Ipv4Addr, Instant>,
}

impl Model {
    /// Takes note of an answer, and checks that it breaks no promise.
    fn note(&mut self, answer: &Answer, now: Instant) {
        if answer.kind == NAK {
            return;
        }
        let (address, client) = (answer.yiaddr, answer.chaddr);
        assert!((ip(10)..=ip(14)).contains(&address), "outside the pool");
        assert!(self.quarantine.get(&address).is_none_or(|until| *until <= now), "declined");
        let holder = self.leases.get(&address).filter(|(_, until)| *until > now);
        assert!(holder.is_none_or(|(holder, _)| *holder == client), "two clients, one address");
        if answer.kind == ACK {
            let seconds = u64::from(answer.lease_time.unwrap());
            self.leases.retain(|other, (holder, until)| {
                // A client has one lease: it cannot get a second while the first runs.
                assert!(*holder != client || *other == address || *until <= now, "two leases");
                *until > now
            });
            self.leases.insert(address, (client, now + Duration::from_secs(seconds)));
        }
    }

    fn held(&self, now: Instant) -> Vec<(Ipv4Addr, Mac)> {
        let running = self.leases.iter().filter(|(_, (_, until))| *until > now);
        let mut held: Vec<_> = running.map(|(address, (mac, _))| (*address, *mac)).collect();
        held.sort_unstable();
        held
    }
}

/// Lets both the server and the model see one step.
fn step(net: &mut Net, model: &mut Model, act: &Act) {
    let message = match *act {
        Act::Discover(client, wanted) => {
            Outgoing { requested_address: wanted.map(ip), ..discover(client) }
        }
        Act::Selecting(client, host) => selecting(client, ip(host)),
        Act::SelectingElsewhere(client) => {
            Outgoing { server_id: Some(ip(3)), ..selecting(client, ip(12)) }
        }
        Act::InitReboot(client, host) => init_reboot(client, ip(host)),
        Act::Renewing(client, host) => renewing(client, ip(host)),
        Act::Release(client, host) => {
            if model.leases.get(&ip(host)).is_some_and(|(holder, _)| *holder == mac(client)) {
                model.leases.remove(&ip(host));
            }
            release(client, ip(host))
        }
        Act::Decline(client, host) => {
            let before = net.count(Counter::Declined);
            net.send(decline(client, ip(host)));
            if net.count(Counter::Declined) > before {
                model.leases.remove(&ip(host));
                model.quarantine.insert(ip(host), net.now + net.server.spec().decline_hold);
            }
            return;
        }
        Act::Pass(seconds) => {
            net.seconds(seconds);
            assert!(net.answers().is_empty());
            return;
        }
        Act::Forget => {
            net.server.forget();
            *model = Model::default();
            return;
        }
    };
    if let Some(answer) = net.ask(message) {
        model.note(&answer, net.now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn promises_are_kept(
        acts in proptest::collection::vec(act(), 1..120),
        unknown in prop_oneof![Just(Unknown::Silent), Just(Unknown::Nak), Just(Unknown::Adopt)],
        lease_time in prop_oneof![Just(30_u32), Just(100), Just(u32::MAX)],
        rapid_commit: bool,
    ) {
        let mut net = Net::new(ServerSpec {
            last: ip(14),
            lease_time,
            unknown,
            rapid_commit,
            decline_hold: Duration::from_secs(200),
            ..spec()
        });
        // An infinite lease outlasts any of these conversations.
        let mut model = Model::default();
        for act in &acts {
            step(&mut net, &mut model, act);
            prop_assert_eq!(net.held(), model.held(net.now), "after {:?}", act);
        }
    }
}
