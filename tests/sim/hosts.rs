//! Clients and servers as the network sees them: what a frame or a deadline makes them do.

use crate::check::wire::Sent;
use crate::check::{Checked, Rule, Violation};
use crate::coverage::Mark;
use crate::device::Port;
use crate::network::Packet;
use crate::seen::{Body, see};
use crate::world::World;
use lessee_engine::client::Client;
use lessee_engine::command::Event;
use lessee_engine::device::{Frame, Meta};
use lessee_engine::time::Instant;
use lessee_engine::wire::dhcp::MessageType;
use lessee_lab::embedded::Server;
use std::rc::Rc;
use std::time::Duration;

/// Turns at one instant before it counts as spinning, in addition to what the frames need.
const TURNS: usize = 64;
/// OFFERs and link faults that the engine lets wait for a reader.
const NOTES: usize = 1024;
/// When a device without a free slot is looked at again.
const RETRY: Duration = Duration::from_millis(1);

/// A client process.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) client: Client,
    pub(crate) ports: Vec<Port>,
    /// The node of each port.
    pub(crate) nodes: Vec<u8>,
    /// Its clock is so many nanoseconds ahead.
    pub(crate) ahead: u64,
    pub(crate) suspended: bool,
    pub(crate) next: Option<Instant>,
    pub(crate) poked: bool,
    /// Its reader is late.
    pub(crate) slow: bool,
}

impl Host {
    pub(crate) const fn clock(&self, now: u64) -> Instant {
        Instant::from_nanos(now + self.ahead)
    }

    /// When it has something to do, by the clock of the network.
    pub(crate) fn wake(&self, now: u64) -> Option<u64> {
        if self.suspended {
            return None;
        }
        if self.poked || self.ports.iter().any(Port::has_frames) {
            return Some(now);
        }
        self.next.map(|next| next.as_nanos().saturating_sub(self.ahead).max(now))
    }
}

/// A server process.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) server: Server,
    pub(crate) node: u8,
    pub(crate) segment: u8,
    pub(crate) down: bool,
    pub(crate) heard: u64,
    pub(crate) said: u64,
}

impl World {
    /// Lets a client do all that it has to do now.
    pub(crate) fn turn(&mut self, client: u8) -> Checked {
        let place = usize::from(client);
        let now = self.hosts[place].clock(self.now);
        self.check.tick(client, now);
        self.hosts[place].poked = false;
        let leases = self.hosts[place].client.leases() as usize;
        let most = TURNS + leases / 64;
        for turns in 0.. {
            let host = &mut self.hosts[place];
            let frames: u64 = host.ports.iter().map(|port| port.received).sum();
            let turn = host.client.turn(self.sabotage.clock(now), &mut host.ports);
            let taken: u64 = host.ports.iter().map(|port| port.received).sum();
            host.next = turn.next;
            self.after(client, now)?;
            if turn.more {
                // A turn that took frames made progress.
                if turns > most && taken == frames {
                    return fail(Rule::Bounded, format!("client {client}: {turns} turns at once"));
                }
                continue;
            }
            if let Some(next) = turn.next.filter(|next| *next <= now) {
                let text = format!("client {client} wants a turn at {next:?}, it is {now:?}");
                return fail(Rule::Bounded, text);
            }
            break;
        }
        let host = &mut self.hosts[place];
        if host.ports.iter_mut().any(|port| std::mem::take(&mut port.refused)) {
            self.check.troubled(client, now);
            if host.ports.iter().all(|port| port.slots > 0) {
                host.next = Some(host.next.map_or(now + RETRY, |next| next.min(now + RETRY)));
            }
        }
        while let Some(lease) = self.check.overdue(client, now) {
            self.look(lease, now)?;
            self.check.settled(lease, now)?;
        }
        if self.hosts[place].slow { Ok(()) } else { self.read(client) }
    }

    /// What a turn took in and sent.
    fn after(&mut self, client: u8, now: Instant) -> Checked {
        self.step += 1;
        let mut touched = std::mem::take(&mut self.touched);
        let mut frames = std::mem::take(&mut self.frames);
        for (port, device) in self.hosts[usize::from(client)].ports.iter_mut().enumerate() {
            for packet in device.taken.drain(..) {
                let lease = packet.seen.as_ref();
                let lease = lease.and_then(|seen| self.check.heard(client, port as u16, seen, now));
                if let Some(lease) = lease.filter(|lease| self.check.touch(*lease, self.step)) {
                    touched.push((lease, self.check.leases[lease as usize].terms));
                }
            }
            for (bytes, made_it) in device.outbox.drain(..) {
                let Ok(seen) = see(&bytes) else {
                    return fail(Rule::Form, format!("a frame that cannot be read: {bytes:02x?}"));
                };
                let lease = self.check.by_mac(client, port as u16, seen.domain, seen.source);
                let Some(lease) = lease else {
                    return fail(Rule::Form, format!("a frame of no lease: {seen:?}"));
                };
                if self.check.touch(lease, self.step) {
                    touched.push((lease, self.check.leases[lease as usize].terms));
                }
                frames.push((lease, port as u16, seen, bytes, made_it));
            }
        }
        for (lease, _) in &touched {
            self.look(*lease, now)?;
        }
        self.sabotage.replay(&mut self.replayed, &mut frames, now);
        for (lease, port, seen, bytes, made_it) in frames.drain(..) {
            let held =
                touched.iter().find(|(other, _)| *other == lease).and_then(|(_, held)| *held);
            self.check.sent(lease, &Sent { seen: &seen, held, now })?;
            let node = self.hosts[usize::from(client)].nodes[usize::from(port)];
            if made_it {
                let coverage = &mut self.check.coverage;
                self.network.send(node, bytes, Some(seen), self.now, coverage);
            } else {
                self.check.coverage.mark(Mark::FlushFails);
            }
        }
        touched.clear();
        (self.touched, self.frames) = (touched, frames);
        Ok(())
    }

    /// Compares a lease's view with the model.
    pub(crate) fn look(&mut self, lease: u32, now: Instant) -> Checked {
        let model = &self.check.leases[lease as usize];
        let view = self.hosts[usize::from(model.home.client)].client.query(model.id);
        self.check.view(lease, view.as_ref(), now)?;
        view.map_or(Ok(()), |view| self.check.early(lease, &view.state, now))
    }

    /// Reads all events of a client.
    pub(crate) fn read(&mut self, client: u8) -> Checked {
        let host = &mut self.hosts[usize::from(client)];
        let now = host.clock(self.now);
        let most = host.client.leases() as usize + NOTES;
        let mut count = 0;
        while let Some(event) = self.hosts[usize::from(client)].client.poll_event() {
            count += 1;
            match event {
                Event::Lease { lease, mut notice } => {
                    let Some(place) = self.check.by_id(client, lease) else {
                        return fail(Rule::Events, format!("news of a stranger: {notice:?}"));
                    };
                    self.look(place, now)?;
                    if !self.sabotage.swallows(&mut notice) {
                        self.check.notice(place, &notice, now)?;
                    }
                }
                Event::Offer(offer) => {
                    self.check.coverage.mark(Mark::ProbeOffer);
                    let known = self.check.by_id(client, offer.lease);
                    let probe =
                        known.is_none_or(|place| self.check.leases[place as usize].home.probe);
                    if !probe {
                        return fail(Rule::Events, format!("an OFFER for no probe: {offer:?}"));
                    }
                }
                Event::Link { .. } => {}
            }
        }
        if count > most {
            return fail(Rule::Bounded, format!("{count} events waited, for {most} at most"));
        }
        self.check.all_read(client)
    }

    /// A frame reaches a node.
    pub(crate) fn arrive_at_server(&mut self, place: u8, packet: &Rc<Packet>) -> Checked {
        self.excuse(place, packet);
        let machine = &mut self.servers[usize::from(place)];
        if machine.down {
            return Ok(());
        }
        let bytes = packet.bytes.as_slice();
        let now = Instant::from_nanos(self.now);
        machine.heard += 1;
        machine.server.handle(Frame { bytes, meta: Meta::plain(bytes.len()) }, now);
        self.serve(place)
    }

    /// What a server cannot know to be wrong.
    fn excuse(&mut self, place: u8, packet: &Packet) {
        let segment = self.servers[usize::from(place)].segment;
        let Some(Body::Dhcp(message)) = packet.seen.map(|seen| seen.body) else { return };
        let late = message.kind == MessageType::Release
            && self.person_has_lease(message.chaddr, packet.seen.map(|seen| seen.domain));
        if late || packet.forged {
            let addresses = [Some(message.ciaddr), Some(message.yiaddr), message.requested];
            for address in addresses.into_iter().flatten() {
                self.check.excuse(segment, address);
            }
        }
    }

    /// Lets a server say all that it has to say now.
    pub(crate) fn serve(&mut self, place: u8) -> Checked {
        let now = Instant::from_nanos(self.now);
        let mut slot = std::mem::take(&mut self.slot);
        let machine = &mut self.servers[usize::from(place)];
        for rounds in 0.. {
            while let Some(len) = machine.server.poll_transmit(now, &mut slot) {
                machine.said += 1;
                let bytes = slot[..len].to_vec();
                let seen = see(&bytes).ok();
                let coverage = &mut self.check.coverage;
                self.network.send(machine.node, bytes, seen, self.now, coverage);
            }
            if machine.server.poll_timeout().is_none_or(|next| next > now) {
                break;
            }
            if rounds == TURNS {
                return fail(Rule::Bounded, format!("server {place} is never done"));
            }
        }
        self.slot = slot;
        Ok(())
    }
}

/// Fails for no lease in particular.
pub(crate) fn fail(rule: Rule, text: String) -> Checked {
    Err(Violation { rule, lease: None, text })
}
