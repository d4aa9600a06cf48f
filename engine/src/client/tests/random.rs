//! A client under random commands, packets, moods and times: its books must always agree.

use super::*;
use crate::random::Random;

/// Counts what the table says and compares it with what the client keeps beside it.
fn audit(world: &World, seed: u32) {
    let mut held = [0; 2];
    let mut leases = [0; 2];
    let mut leaving = [0; 2];
    let mut in_flight = [0; 2];
    for slot in 0..world.client.table.slots() {
        let entry = world.client.table.entry(slot).unwrap();
        let Some(machine) = &entry.machine else { continue };
        let port = usize::from(entry.port.0);
        leases[port] += 1;
        held[port] += u32::from(machine.state().terms().is_some());
        leaving[port] += u32::from(machine.is_leaving());
        in_flight[port] += u32::from(entry.in_flight);
        let end = machine.state().terms().and_then(|terms| terms.expiry());
        let late = end.map_or(Duration::ZERO, |end| world.now.since(end));
        assert!(late < Duration::from_millis(1), "seed {seed}: slot {slot} holds on for {late:?}");
        // Who has something to send waits in a queue, who has news is in line.
        assert!(machine.due(world.now).is_none() || entry.queued, "seed {seed}: slot {slot}");
        assert_eq!(machine.has_news(), entry.reported, "seed {seed}: slot {slot}");
    }
    for (index, port) in world.client.ports.iter().enumerate() {
        assert_eq!(port.leases, leases[index], "seed {seed}");
        assert_eq!(port.bound, held[index], "seed {seed}");
        assert_eq!(port.leaving, leaving[index], "seed {seed}");
        assert_eq!(port.pacer.in_flight(), in_flight[index], "seed {seed}");
    }
    assert!(world.client.holders.len() <= (held[0] + held[1]) as usize, "seed {seed}");
    assert!(world.client.news.len() <= world.client.leases() as usize, "seed {seed}");
}

fn step(world: &mut World, random: &mut Random, leases: &mut Vec<LeaseId>) {
    let pick = |random: &mut Random, leases: &[LeaseId]| {
        let index = random.up_to(leases.len().saturating_sub(1) as u64) as usize;
        leases.get(index).copied()
    };
    match random.up_to(15) {
        0..=3 => {
            let port = PortId(random.up_to(1) as u16);
            let number = random.up_to(200);
            leases.push(world.acquire(Acquire { port, ..lease(number) }));
        }
        4 => {
            if let Some(lease) = pick(random, leases) {
                world.client.release(lease, world.now);
            }
        }
        5 => {
            if let Some(lease) = pick(random, leases) {
                world.client.forget(lease, world.now);
            }
        }
        6 => {
            if let Some(lease) = pick(random, leases) {
                world.client.renew(lease, world.now);
            }
        }
        7 => world.read(),
        8 => {
            world.mood = match random.up_to(5) {
                0 => Mood::Silent,
                1 => Mood::Refuses,
                2 => Mood::DeafToUnicast,
                _ => Mood::Answers,
            };
        }
        9 => {
            let port = random.up_to(1) as usize;
            world.devices[port].slots = [None, Some(0), Some(2)][random.up_to(2) as usize];
        }
        10 => world.times.0 = [2, 100, 3600, u32::MAX][random.up_to(3) as usize],
        _ => world.now = world.now + Duration::from_millis(random.up_to(40_000)),
    }
    // As the driver does it: bounded, and a millisecond's pause for a full device.
    for _ in 0..20 {
        let turn = world.turn();
        if !turn.more && world.devices.iter().all(|device| device.inbox.is_empty()) {
            assert!(turn.next.is_none_or(|next| next > world.now), "a busy loop: {turn:?}");
            break;
        }
    }
}

#[test]
fn the_books_agree_whatever_happens() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut world = World::with(PortSpec::new("any", 1500), 2);
        world.client = Client::new([seed, 2, 3, 4, seed], world.now);
        for _ in 0..2 {
            world.client.add_port(PortSpec::new("any", 1500), world.now);
        }
        let mut leases = Vec::new();
        for _ in 0..400 {
            step(&mut world, &mut random, &mut leases);
            audit(&world, seed);
        }
        // In the end all of them can be given back, whatever they were at.
        world.devices.iter_mut().for_each(|device| device.slots = None);
        world.client.shut_down(true, world.now);
        world.run(minutes(5));
        assert_eq!(world.client.leases(), 0, "seed {seed}");
        audit(&world, seed);
    }
}
