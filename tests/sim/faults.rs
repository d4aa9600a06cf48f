//! What breaks, what is mended, and what callers ask for while a run goes on.

use crate::check::{Checked, End, Home};
use crate::coverage::Mark;
use crate::dice::nanos;
use crate::network::{Kind, Mend, Packet, Weather, What, lease_mac};
use crate::sabotage::Sabotage;
use crate::scenario::Trouble;
use crate::seen::Body;
use crate::world::World;
use lessee_engine::device::LinkFault;
use lessee_engine::lease::{Acquire, PortId};
use lessee_engine::wire::arp::Arp;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::VlanStack;
use lessee_engine::wire::{Link, Transmit, TransmitBody, emit};
use lessee_lab::embedded::{Kinds, Misbehaviour, Rule as Lie};
use std::net::Ipv4Addr;
use std::time::Duration;

impl World {
    /// Notes what kind of run this is.
    pub(crate) fn describe(&mut self) {
        let plan = &self.plan;
        let beside = plan.servers.windows(2).any(|two| two[0].0 == two[1].0);
        let marks = [
            (Mark::TwoServers, beside),
            (Mark::TwoClients, plan.clients.len() > 1),
            (Mark::TwoPorts, plan.clients.iter().any(|ports| ports.len() > 1)),
            (Mark::Tagged, plan.people.iter().any(|person| !person.vlans.is_empty())),
            (Mark::TagsStripped, plan.strips && plan.people.iter().any(|p| !p.vlans.is_empty())),
            (Mark::ScarcePool, plan.scarce),
            (Mark::Infinite, plan.lease_time == u32::MAX),
            (Mark::Short, plan.lease_time < 60),
            (Mark::ByArp, plan.servers.iter().any(|(_, spec)| spec.resolve_by_arp)),
            (Mark::Thousand, plan.people.len() >= 1000),
        ];
        for (mark, _) in marks.into_iter().filter(|(_, holds)| *holds) {
            self.check.coverage.mark(mark);
        }
    }

    /// Everybody asks for an address, at once or spread over a while.
    pub(crate) fn begin(&mut self) {
        let together = self.dice.percent(60);
        for person in 0..self.leases.len() {
            if together {
                self.acquire(person, false);
            }
        }
        if self.plan.refuses {
            let refuse = Lie::new(Misbehaviour::Nak).on(Kinds::REQUEST);
            self.servers.iter_mut().for_each(|machine| machine.server.set_rules(vec![refuse]));
            self.plan.troubles.retain(|trouble| *trouble != Trouble::Rules);
            self.check.coverage.mark(Mark::NakStorm);
        }
        if !self.plan.troubles.is_empty() && self.dice.percent(60) {
            self.later(0, What::Fault);
        }
        if !self.plan.troubles.is_empty() {
            let wait = self.dice.spread(1_000_000, self.plan.fault_gap);
            self.later(wait, What::Fault);
        }
        self.later(0, What::Command);
        self.later(self.plan.horizon / 3, What::Check);
    }

    /// How long something stays broken.
    fn a_while(&mut self) -> u64 {
        self.dice.spread(nanos(Duration::from_millis(200)), self.plan.horizon / 6 + 1_000_000_000)
    }

    /// Until the next one: mostly spread evenly, sometimes in a burst.
    fn gap(&mut self, middle: u64) -> u64 {
        if self.dice.percent(25) {
            self.dice.spread(1_000_000, middle)
        } else {
            self.dice.between(0, 2 * middle)
        }
    }

    pub(crate) fn fault(&mut self) -> Checked {
        if self.healed {
            return Ok(());
        }
        let wait = self.gap(self.plan.fault_gap);
        self.later(wait, What::Fault);
        let client = self.dice.index(self.hosts.len()) as u8;
        let server = self.dice.index(self.servers.len()) as u8;
        let node = self.dice.index(self.network.nodes.len()) as u8;
        let port = self.dice.index(self.hosts[usize::from(client)].ports.len());
        let (while_, trouble) = (self.a_while(), self.dice.pick(&self.plan.troubles));
        let host = &mut self.hosts[usize::from(client)];
        let mend = match trouble {
            Trouble::Weather => return self.weather(node),
            Trouble::Rules => return self.rules(server),
            Trouble::Jump => return self.jump(client),
            Trouble::Stranger => return self.stranger(node),
            Trouble::Forget => return self.forget_all(server),
            Trouble::Link => {
                self.check.coverage.mark(Mark::LinkFault);
                host.client.link_fault(PortId(port as u16), LinkFault::Down);
                host.poked = true;
                return Ok(());
            }
            Trouble::Partition => {
                self.check.coverage.mark(Mark::Partition);
                self.network.nodes[usize::from(node)].isolated = true;
                Mend::Partition(node)
            }
            Trouble::ServerDown => {
                self.check.coverage.mark(Mark::ServerDown);
                self.servers[usize::from(server)].down = true;
                Mend::Server(server, self.dice.percent(70))
            }
            Trouble::Suspend => {
                self.check.coverage.mark(Mark::Suspend);
                host.suspended = true;
                if self.dice.percent(30) {
                    // Somebody asks for addresses that will be over when it wakes.
                    self.later(while_.saturating_sub(5_000_000), What::Stranger(node));
                }
                Mend::Suspend(client)
            }
            Trouble::RingFull => {
                let slots = self.dice.pick(&[0, 0, 1, 2, 7]);
                host.ports[port].slots = slots;
                let mark = if slots == 0 { Mark::RingFull } else { Mark::RingSmall };
                self.check.coverage.mark(mark);
                Mend::Ring(client, port as u16)
            }
            Trouble::FlushFails => {
                host.ports[port].fails = self.dice.pick(&[50_000, 500_000, 1_000_000]);
                Mend::Flush(client, port as u16)
            }
            Trouble::SlowReader => {
                self.check.coverage.mark(Mark::SlowReader);
                host.slow = true;
                let soon = self.dice.below(while_);
                self.later(soon, What::Read(client));
                Mend::Reader(client)
            }
        };
        self.later(while_, What::Mend(mend));
        Ok(())
    }

    fn weather(&mut self, node: u8) -> Checked {
        let weather =
            if self.dice.percent(30) { Weather::CLEAR } else { Weather::draw(&mut self.dice) };
        let everywhere = self.dice.percent(30);
        for (place, other) in self.network.nodes.iter_mut().enumerate() {
            if everywhere || place == usize::from(node) {
                other.weather = weather;
            }
        }
        Ok(())
    }

    /// A server gets new instructions to misbehave, or none.
    fn rules(&mut self, server: u8) -> Checked {
        let lease = u64::from(self.plan.lease_time);
        let count = self.dice.pick(&[0, 1, 1, 2, 4]);
        let mut rules = Vec::new();
        for _ in 0..count {
            let delay = Duration::from_millis(self.dice.spread(1, 20_000));
            let all = [
                Misbehaviour::Drop,
                Misbehaviour::Silent,
                Misbehaviour::Delay(delay),
                Misbehaviour::Duplicate,
                Misbehaviour::Reorder,
                Misbehaviour::Nak,
                Misbehaviour::WrongServerId,
                Misbehaviour::MissingServerId,
                Misbehaviour::WrongXid,
                Misbehaviour::WrongChaddr,
                Misbehaviour::NoLeaseTime,
                Misbehaviour::ZeroAddress,
                Misbehaviour::Malformed(None),
                Misbehaviour::ForeignClientId,
                Misbehaviour::SenselessMask,
                Misbehaviour::ShortLease(1 + (lease / 3) as u32),
            ];
            let most = if self.plan.shortens { all.len() } else { all.len() - 1 };
            let what = all[self.dice.index(most)];
            let on = self.dice.pick(&[
                Kinds::ANY,
                Kinds::DISCOVER,
                Kinds::SELECTING,
                Kinds::RENEWING,
                Kinds::REBINDING,
                Kinds::REQUEST,
            ]);
            let chance = self.dice.pick(&[0.1, 0.5, 1.0]);
            rules.push(Lie::new(what).on(on).probability(chance));
            if matches!(what, Misbehaviour::ShortLease(_)) {
                // A REQUEST that comes twice is answered with two times; the client goes by the
                // first, the server by the last.
                self.distrust(server);
            }
        }
        if count > 0 {
            self.check.coverage.mark(Mark::Misbehaves);
        }
        self.servers[usize::from(server)].server.set_rules(rules);
        Ok(())
    }

    /// From now on a server may give away what it has leased.
    fn distrust(&mut self, server: u8) {
        let machine = &self.servers[usize::from(server)];
        let spec = machine.server.spec();
        self.check.forgot(machine.segment, spec.first, spec.last);
    }

    fn forget_all(&mut self, server: u8) -> Checked {
        self.check.coverage.mark(Mark::ServerForgot);
        if self.sabotage != Sabotage::Amnesia {
            self.distrust(server);
        }
        self.servers[usize::from(server)].server.forget();
        Ok(())
    }

    fn jump(&mut self, client: u8) -> Checked {
        self.check.coverage.mark(Mark::ClockJump);
        let by = self.a_while();
        let host = &mut self.hosts[usize::from(client)];
        host.ahead += by;
        host.poked = true;
        let clock = host.clock(self.now);
        self.check.troubled(client, clock);
        Ok(())
    }

    /// Somebody on the network asks who has an address.
    pub(crate) fn stranger(&mut self, node: u8) -> Checked {
        for _ in 0..self.dice.between(1, 40) {
            self.check.coverage.mark(Mark::Stranger);
            let (_, spec) = &self.plan.servers[self.dice.index(self.plan.servers.len())];
            let ahead = self.dice.below(self.plan.people.len() as u64 + 2) as u32;
            let target = Ipv4Addr::from(u32::from(spec.first) + ahead);
            let mac = Mac([0x02, 0x99, 0, 0, 0, self.dice.below(9) as u8 + 1]);
            let asker = self.dice.pick(&[Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 200)]);
            let person = self.dice.index(self.plan.people.len());
            let vlans = self.plan.people[person].vlans;
            self.shout(node, mac, vlans, asker, target);
        }
        Ok(())
    }

    fn shout(&mut self, node: u8, mac: Mac, vlans: VlanStack, asker: Ipv4Addr, target: Ipv4Addr) {
        let link = Link { destination: Mac::BROADCAST, source: mac, vlans };
        let body = TransmitBody::Arp(Arp::request(mac, asker, target));
        let mut frame = vec![0; 64];
        if let Ok(len) = emit(&Transmit { link, body }, &mut frame) {
            frame.truncate(len);
            let seen = crate::seen::see(&frame).ok();
            self.network.send(node, frame, seen, self.now, &mut self.check.coverage);
        }
    }

    pub(crate) fn mend(&mut self, mend: Mend) -> Checked {
        match mend {
            Mend::Partition(node) => self.network.nodes[usize::from(node)].isolated = false,
            Mend::Server(server, with_memory) => {
                if std::mem::take(&mut self.servers[usize::from(server)].down) {
                    if !with_memory {
                        return self.forget_all(server);
                    }
                    self.check.coverage.mark(Mark::ServerRestart);
                    self.servers[usize::from(server)].server.restart();
                }
            }
            Mend::Suspend(client) => {
                let host = &mut self.hosts[usize::from(client)];
                host.suspended = false;
                host.poked = true;
                let clock = host.clock(self.now);
                self.check.troubled(client, clock);
                // With more leases overdue than a turn looks at, the rest must not be used either.
                let often = if self.plan.people.len() >= 1000 { 50 } else { 10 };
                if !self.healed && self.dice.percent(often) {
                    return self.release_all(client);
                }
            }
            Mend::Ring(client, port) => {
                let host = &mut self.hosts[usize::from(client)];
                host.ports[usize::from(port)].slots = usize::MAX;
                host.poked = true;
                let clock = host.clock(self.now);
                self.check.troubled(client, clock);
            }
            Mend::Flush(client, port) => {
                self.hosts[usize::from(client)].ports[usize::from(port)].fails = 0;
            }
            Mend::Reader(client) => {
                let host = &mut self.hosts[usize::from(client)];
                host.slow = false;
                host.poked = true;
            }
        }
        Ok(())
    }

    /// A caller that waited for the client to wake wants no lease any more.
    fn release_all(&mut self, client: u8) -> Checked {
        self.check.coverage.mark(Mark::ReleaseAll);
        let host = &mut self.hosts[usize::from(client)];
        let now = host.clock(self.now);
        host.client.release_all(now);
        for lease in 0..self.check.leases.len() as u32 {
            let model = &self.check.leases[lease as usize];
            if model.home.client == client && model.end.is_none() {
                self.check.ended(lease, End::Release, now);
                self.look(lease, now)?;
            }
        }
        Ok(())
    }

    /// All that was broken works again, and everybody wants an address.
    pub(crate) fn heal(&mut self) -> Checked {
        self.healed = true;
        for node in &mut self.network.nodes {
            node.weather = Weather::CLEAR;
            node.isolated = false;
        }
        for server in 0..self.servers.len() as u8 {
            self.servers[usize::from(server)].server.set_rules(Vec::new());
            self.mend(Mend::Server(server, true))?;
            self.servers[usize::from(server)].down = self.sabotage == Sabotage::Deaf;
        }
        for client in 0..self.hosts.len() as u8 {
            for port in 0..self.hosts[usize::from(client)].ports.len() as u16 {
                self.mend(Mend::Ring(client, port))?;
                self.mend(Mend::Flush(client, port))?;
            }
            self.mend(Mend::Suspend(client))?;
            self.mend(Mend::Reader(client))?;
            self.turn(client)?;
        }
        for person in 0..self.leases.len() {
            if self.leases[person].is_none() {
                self.acquire(person, false);
            }
        }
        for lease in self.leases.iter().flatten() {
            let lease = &mut self.check.leases[*lease as usize];
            lease.was_bound = lease.terms.is_some();
        }
        Ok(())
    }

    /// A caller's wish, and the time of the next.
    pub(crate) fn command(&mut self) -> Checked {
        if self.healed {
            return Ok(());
        }
        let wait = self.gap(self.plan.command_gap);
        self.later(wait, What::Command);
        for _ in 0..self.dice.pick(&[1, 1, 1, 2, 5, 40]) {
            let person = self.dice.index(self.leases.len());
            match self.leases[person] {
                None => {
                    let probe = self.dice.percent(10);
                    self.acquire(person, probe);
                }
                Some(lease) => self.command_for(person, lease)?,
            }
        }
        Ok(())
    }

    fn command_for(&mut self, person: usize, lease: u32) -> Checked {
        let model = &self.check.leases[lease as usize];
        let (home, id, over) = (model.home, model.id, model.end.is_some());
        let host = &mut self.hosts[usize::from(home.client)];
        if host.suspended {
            return Ok(());
        }
        let now = host.clock(self.now);
        // As it stands before the command.
        self.look(lease, now)?;
        let host = &mut self.hosts[usize::from(home.client)];
        host.poked = true;
        let choice = self.dice.below(100);
        match choice {
            _ if over => {
                let gone = self.check.leases[lease as usize].phase == crate::check::Phase::Released;
                if gone {
                    self.check.coverage.mark(Mark::AcquireAgain);
                    self.acquire(person, false);
                } else if choice < 10 {
                    host.client.forget(id, now);
                    self.check.ended(lease, End::Forget, now);
                }
            }
            0..35 => {
                self.check.coverage.mark(Mark::Renewal);
                host.client.renew(id, now);
                self.check.renew_asked(lease, now);
            }
            35..60 => {
                self.check.coverage.mark(Mark::Release);
                host.client.release(id, now);
                self.check.ended(lease, End::Release, now);
            }
            60..75 => {
                host.client.forget(id, now);
                self.check.ended(lease, End::Forget, now);
            }
            _ => return Ok(()),
        }
        self.look(lease, now)
    }

    pub(crate) fn acquire(&mut self, person: usize, probe: bool) {
        let who = &self.plan.people[person];
        let host = &mut self.hosts[usize::from(who.client)];
        if host.suspended {
            return;
        }
        let now = host.clock(self.now);
        let node = host.nodes[usize::from(who.port)];
        let mac = lease_mac(node, who.number);
        let mut wish = Acquire::new(PortId(who.port), mac, self.profile.clone());
        wish.vlans = who.vlans;
        wish.client_id = who.client_id.clone();
        wish.hostname = who.hostname.clone();
        wish.tag = person as u64;
        wish.probe = probe;
        if self.dice.percent(10) {
            let (_, spec) = &self.plan.servers[self.dice.index(self.plan.servers.len())];
            wish.requested_address =
                Some((u32::from(spec.first) + self.dice.below(9) as u32).into());
        }
        let domain = wish.vlans.domain();
        if let Ok(id) = host.client.acquire(wish, now) {
            host.poked = true;
            let segment = self.network.nodes[usize::from(node)].segment;
            let (client, port) = (who.client, who.port);
            let home = Home { client, port, segment, domain, mac, probe };
            self.leases[person] = Some(self.check.began(home, id, now));
            self.check.coverage.mark(if probe { Mark::Probe } else { Mark::Acquire });
        }
    }

    /// A client cannot know either what no checksum shows.
    pub(crate) fn excuse_forged(&mut self, node: u8, packet: &Packet) {
        let node = &self.network.nodes[usize::from(node)];
        if let (Kind::Port { .. }, Some(Body::Dhcp(message))) =
            (node.kind, packet.seen.map(|seen| seen.body))
        {
            self.check.excuse(node.segment, message.yiaddr);
            self.check.excuse(node.segment, message.ciaddr);
        }
    }
}
