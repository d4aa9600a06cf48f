//! What a run is like: drawn from its seed, from one lease to two thousand.

use crate::dice::{Dice, nanos};
use lessee_engine::client::PortSpec;
use lessee_engine::lease::{BroadcastFlag, ClientIdentifier, Profile};
use lessee_engine::pace::{Pacing, Window};
use lessee_engine::wire::vlan::VlanStack;
use lessee_lab::embedded::{Identity, ServerSpec, Unknown};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Things that break while a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Weather,
    Partition,
    ServerDown,
    Forget,
    Rules,
    Suspend,
    Jump,
    RingFull,
    FlushFails,
    SlowReader,
    Link,
    Stranger,
}

impl Trouble {
    const ALL: [Self; 12] = [
        Self::Weather,
        Self::Partition,
        Self::ServerDown,
        Self::Forget,
        Self::Rules,
        Self::Suspend,
        Self::Jump,
        Self::RingFull,
        Self::FlushFails,
        Self::SlowReader,
        Self::Link,
        Self::Stranger,
    ];
}

/// One who may have a lease.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) client: u8,
    pub(crate) port: u16,
    pub(crate) number: u16,
    pub(crate) vlans: VlanStack,
    pub(crate) client_id: ClientIdentifier,
    pub(crate) hostname: Option<Box<str>>,
}

/// A run before it begins.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// For each client, the segment of each port.
    pub(crate) clients: Vec<Vec<u8>>,
    pub(crate) servers: Vec<(u8, ServerSpec)>,
    pub(crate) people: Vec<Person>,
    pub(crate) profile: Profile,
    pub(crate) port: PortSpec,
    pub(crate) strips: bool,
    pub(crate) troubles: Vec<Trouble>,
    /// The servers refuse every REQUEST until the network heals.
    pub(crate) refuses: bool,
    /// Rules may shorten leases.
    pub(crate) shortens: bool,
    pub(crate) scarce: bool,
    /// Frames delivered until the network heals, at most.
    pub(crate) budget: u64,
    /// Time until then, at most, in nanoseconds.
    pub(crate) horizon: u64,
    /// Between two faults, and between two commands, in nanoseconds at most.
    pub(crate) fault_gap: u64,
    pub(crate) command_gap: u64,
    pub(crate) lease_time: u32,
}

impl Scenario {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let people = match dice.below(100) {
            0..45 => dice.between(1, 16),
            45..80 => dice.between(10, 120),
            80..96 => dice.between(100, 500),
            96..98 => dice.between(500, 1000),
            _ => dice.between(1000, 2000),
        };
        let lease_time = lease_time(people, dice);
        let segments = dice.pick(&[1, 1, 1, 2]);
        let clients = clients(segments, dice);
        let per_vlan = dice.percent(50);
        let scarce = people > 3 && dice.percent(8);
        let servers = servers(segments, people, lease_time, per_vlan, scarce, dice);
        let seconds = u64::from(lease_time).clamp(30, 86_400);
        let longest = nanos(Duration::from_secs(seconds * 30));
        let horizon = dice.between(longest / 3, longest);
        let troubles = troubles(people, dice);
        Self {
            people: persons(people, &clients, dice),
            profile: profile(lease_time, dice),
            port: port(people, dice),
            strips: dice.percent(40),
            refuses: people < 100 && dice.percent(4),
            shortens: dice.percent(15),
            scarce,
            budget: 12_000 + dice.below(10_000) + people * 30,
            horizon,
            fault_gap: horizon / dice.between(4, 40),
            command_gap: horizon / (dice.pick(&[1, 2, 4, 20]) * people.min(50) + 4),
            troubles,
            clients,
            servers,
            lease_time,
        }
    }
}

/// Few people may renew often; many would take too long.
fn lease_time(people: u64, dice: &mut Dice) -> u32 {
    let shortest = match people {
        0..20 => 1,
        20..60 => 5,
        60..200 => 30,
        _ => 120,
    };
    let any = dice.pick(&[1, 2, 7, 15, 40, 60, 61, 119, 300, 600, 3600, 3600, 86_400, u32::MAX]);
    any.max(shortest)
}

fn clients(segments: u8, dice: &mut Dice) -> Vec<Vec<u8>> {
    let count = dice.pick(&[1, 1, 1, 2, 3]);
    let mut place = 0;
    let mut ports = |dice: &mut Dice| {
        let ports = dice.pick(&[1, 1, 1, 2, 3]);
        let segment = |_| {
            place += 1;
            place % segments
        };
        (0..ports).map(segment).collect()
    };
    (0..count).map(|_| ports(dice)).collect()
}

fn servers(
    segments: u8,
    people: u64,
    lease_time: u32,
    per_vlan: bool,
    scarce: bool,
    dice: &mut Dice,
) -> Vec<(u8, ServerSpec)> {
    let mut servers = Vec::new();
    for segment in 0..segments {
        let count = if segments == 1 { dice.pick(&[1, 1, 2, 3]) } else { dice.pick(&[1, 1, 2]) };
        let size = if scarce { (people / 2 + 1) / count + 1 } else { people * 4 + 64 };
        // Several servers of one network must not refuse each other's clients.
        let quarrel = count > 1 && dice.percent(20);
        let unknown = match (count, quarrel) {
            (1, _) | (_, true) => dice.pick(&[Unknown::Silent, Unknown::Nak, Unknown::Adopt]),
            _ => Unknown::Silent,
        };
        for number in 0..count {
            // One host further on by two bits is nobody: the server identifiers of liars.
            let host = [1, 4, 8][number as usize];
            let first = u32::from_be_bytes([10, segment, 16 + 64 * number as u8, 0]);
            let mut spec = ServerSpec::new(
                Ipv4Addr::new(10, segment, 0, host),
                16,
                first.into(),
                (first + size as u32 - 1).into(),
            );
            spec.lease_time = lease_time;
            spec.t1 = dice.pick(&[None, None, Some(0), Some(lease_time / 3), Some(lease_time)]);
            spec.t2 = dice.pick(&[None, None, Some(0), Some(lease_time / 4 * 3), Some(lease_time)]);
            spec.unknown = unknown;
            spec.identity = dice.pick(&[Identity::ClientId, Identity::ClientId, Identity::Mac]);
            spec.pool_per_vlan = per_vlan;
            spec.resolve_by_arp = dice.percent(40);
            spec.offer_hold = Duration::from_secs(dice.pick(&[5, 60, 120]));
            spec.dns = vec![Ipv4Addr::new(10, 0, 0, 53); dice.index(3)];
            servers.push((segment, spec));
        }
    }
    servers
}

fn persons(count: u64, clients: &[Vec<u8>], dice: &mut Dice) -> Vec<Person> {
    let stacks = match dice.below(4) {
        0 => vec![
            VlanStack::NONE,
            VlanStack::single(10, 0).unwrap_or_default(),
            VlanStack::single(20, 5).unwrap_or_default(),
            VlanStack::double(100, 7, 0).unwrap_or_default(),
        ],
        1 => vec![VlanStack::single(4094, 0).unwrap_or_default()],
        _ => vec![VlanStack::NONE],
    };
    let person = |number: u64| {
        let client = dice.index(clients.len());
        let bytes = [b"lease ".as_slice(), &number.to_be_bytes()].concat();
        Person {
            client: client as u8,
            port: dice.index(clients[client].len()) as u16,
            number: number as u16,
            vlans: dice.pick(&stacks),
            client_id: match dice.below(6) {
                0 => ClientIdentifier::None,
                1 => ClientIdentifier::Bytes(bytes.into()),
                _ => ClientIdentifier::Mac,
            },
            hostname: dice.percent(10).then(|| format!("host-{number}").into()),
        }
    };
    (0..count).map(person).collect()
}

fn profile(lease_time: u32, dice: &mut Dice) -> Profile {
    Profile {
        lease_time: dice.pick(&[None, None, Some(lease_time), Some(u32::MAX)]),
        broadcast: dice.pick(&[BroadcastFlag::Auto, BroadcastFlag::Auto, BroadcastFlag::Always]),
        keep_options: dice.percent(50),
        ..Profile::default()
    }
}

fn port(people: u64, dice: &mut Dice) -> PortSpec {
    let starts = u32::try_from(people / 5 + 2).ok();
    PortSpec {
        pacing: Pacing {
            window: dice.pick(&[
                Window::Auto,
                Window::Auto,
                Window::Auto,
                Window::Fixed(8),
                Window::Unlimited,
            ]),
            starts_per_second: if dice.percent(15) { starts } else { None },
            others_per_second: None,
        },
        ..PortSpec::new("sim", 1500)
    }
}

fn troubles(people: u64, dice: &mut Dice) -> Vec<Trouble> {
    if people >= 1000 && dice.percent(40) {
        // More leases end in a sleep than a turn looks at.
        return vec![Trouble::Suspend, Trouble::Stranger];
    }
    // Some runs have but one kind of trouble, some have none.
    match dice.below(20) {
        0 => Vec::new(),
        1..6 => vec![dice.pick(&Trouble::ALL)],
        _ => {
            let share = dice.pick(&[20, 50, 80]);
            Trouble::ALL.into_iter().filter(|_| dice.percent(share)).collect()
        }
    }
}
