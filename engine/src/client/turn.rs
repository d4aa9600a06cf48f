//! One bounded pass: receive, expire, send.

use super::{Client, Turn, class, offer};
use crate::arp::{deserves_answer, transmit};
use crate::command::Event;
use crate::counters::{Counters, record};
use crate::device::{Device, Frame};
use crate::lease::{Due, Ignored, Machine, Outcome, PortId, Reply, State, Terms};
use crate::pace::Class;
use crate::time::Instant;
use crate::wire::arp::Arp;
use crate::wire::ethernet::Mac;
use crate::wire::vlan::VlanStack;
use crate::wire::{Body, Link, emit, parse};

/// Frames taken from a port before the clock is read again.
const FRAMES_A_TURN: usize = 64;
/// Deadlines handled in a turn.
const TIMERS_A_TURN: usize = 1024;
/// Packets sent on a port in a turn.
const SENT_A_TURN: usize = 256;

impl Client {
    /// One bounded pass over all ports and leases. `devices` has a device for each port, in the
    /// order in which the ports were added.
    pub fn turn<D: Device>(&mut self, now: Instant, devices: &mut [D]) -> Turn {
        let mut more = false;
        for (index, device) in devices.iter_mut().enumerate().take(self.ports.len()) {
            more |= self.receive(PortId(index as u16), device, now);
        }
        more |= self.expire(now);
        let mut next = None;
        for (index, device) in devices.iter_mut().enumerate().take(self.ports.len()) {
            match self.transmit(index, device, now) {
                Sent::All => next = earlier(next, self.wake(index)),
                Sent::Bound => more = true,
                // Whoever owns the device knows when it has room again.
                Sent::DeviceFull => {}
            }
        }
        Turn { next: earlier(next, self.wheel.next()), more }
    }

    fn receive<D: Device>(&mut self, port: PortId, device: &mut D, now: Instant) -> bool {
        for _ in 0..FRAMES_A_TURN {
            if device.receive(|frame| self.frame(port, frame, now)).is_none() {
                return false;
            }
        }
        true
    }

    fn frame(&mut self, port: PortId, frame: Frame<'_>, now: Instant) {
        let counters = &mut self.ports[usize::from(port.0)].counters;
        counters.frames_received += 1;
        match parse(frame) {
            Ok(packet) => {
                counters.packets_received += 1;
                packet.oddities.iter().for_each(|oddity| counters.accept(oddity));
                match packet.body {
                    Body::Arp(arp) => self.arp(port, packet.link, &arp, now),
                    Body::Dhcp(datagram) => {
                        let reply = Reply { link: packet.link, datagram };
                        if let Err(reason) = self.reply(port, &reply, now) {
                            self.ports[usize::from(port.0)].counters.ignore(reason);
                        }
                    }
                }
            }
            Err(reason) => counters.discard(reason),
        }
    }

    fn arp(&mut self, id: PortId, link: Link, arp: &Arp, now: Instant) {
        // A request asks for our address; a reply to a lease's question comes to it.
        let key = (id, link.vlans.domain(), arp.target_ip);
        let Some(&slot) = self.holders.get(&key) else { return };
        if deserves_answer(arp) {
            let Some(machine) = self.table.entry(slot).and_then(|entry| entry.machine.as_ref())
            else {
                return;
            };
            if !machine.profile().answer_arp || arp.sender_mac == machine.mac() {
                return;
            }
            let port = &mut self.ports[usize::from(id.0)];
            if !port.answers.push(arp, machine.mac(), machine.vlans()) {
                port.counters.arp_answers_dropped += 1;
            }
        } else if link.destination != Mac::BROADCAST {
            self.change(slot, now, |machine| {
                if arp.target_mac == machine.mac() {
                    machine.handle_arp(arp, now);
                }
            });
        }
    }

    fn reply(&mut self, id: PortId, reply: &Reply<'_>, now: Instant) -> Result<(), Ignored> {
        let slot = self.table.slot_of(reply.datagram.message.xid);
        let entry = self.table.entry(slot).ok_or(Ignored::UnknownXid)?;
        if entry.machine.as_ref().is_none_or(|m| m.xid() != reply.datagram.message.xid) {
            return Err(Ignored::UnknownXid);
        }
        if entry.port != id {
            return Err(Ignored::WrongNetwork);
        }
        let outcome = self
            .change(slot, now, |machine| machine.handle_reply(reply, now))
            .ok_or(Ignored::UnknownXid)??;
        self.count(id, slot, reply, outcome, now);
        Ok(())
    }

    fn count(&mut self, id: PortId, slot: u32, reply: &Reply<'_>, outcome: Outcome, now: Instant) {
        let port = &mut self.ports[usize::from(id.0)];
        if matches!(outcome, Outcome::Offered { sent: 2.., .. }) {
            port.doubt_unicast();
        }
        let latencies = port.latencies.as_deref_mut();
        match outcome {
            Outcome::Offered { after, .. } => {
                port.counters.offers += 1;
                if let Some(latencies) = latencies {
                    record(&mut latencies.discover_offer, after);
                }
            }
            Outcome::Probed => self.probed(id, slot, reply, now),
            Outcome::Bound { after, in_all, sent } => {
                port.counters.binds += 1;
                // After a repetition it is not known which transmission was answered.
                if sent == 1 {
                    port.pacer.succeeded(after, now);
                }
                if let Some(latencies) = latencies {
                    record(&mut latencies.request_ack, after);
                    record(&mut latencies.acquire, in_all);
                }
            }
            Outcome::Renewed { after, .. } => {
                port.counters.renewals += 1;
                if let Some(latencies) = latencies {
                    record(&mut latencies.renew, after);
                }
            }
            Outcome::Refused => {
                port.counters.naks += 1;
                // Under load some servers (dnsmasq 2.89) offer one address to several clients at
                // once and refuse all but the first: fewer at a time get on faster.
                port.pacer.congested(now);
            }
        }
    }

    fn probed(&mut self, id: PortId, slot: u32, reply: &Reply<'_>, now: Instant) {
        // It has its answer: the pacer need not wait for more.
        if let Some(entry) = self.table.entry_mut(slot)
            && std::mem::take(&mut entry.in_flight)
        {
            self.ports[usize::from(id.0)].pacer.left();
        }
        let Some(lease) = self.table.id(slot) else { return };
        let Some(machine) = self.table.get(lease) else { return };
        let offer = offer(lease, machine, reply, now);
        let told = self.note(Event::Offer(Box::new(offer)));
        let counters = &mut self.ports[usize::from(id.0)].counters;
        counters.offers_probed += u64::from(told);
        counters.offers_dropped += u64::from(!told);
    }

    fn expire(&mut self, now: Instant) -> bool {
        for _ in 0..TIMERS_A_TURN {
            let Some(slot) = self.wheel.expire(now) else { return false };
            self.overdue(slot, now);
            let held = |machine: &Machine| machine.state().terms().is_some();
            let Some(lapsed) = self.change(slot, now, |machine| {
                let before = held(machine);
                machine.handle_timeout(now);
                before && !held(machine)
            }) else {
                continue;
            };
            if lapsed && let Some(entry) = self.table.entry(slot) {
                self.ports[usize::from(entry.port.0)].counters.expiries += 1;
            }
        }
        true
    }

    /// An exchange whose answer did not come in time leaves the window, and tells the pacer.
    fn overdue(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.table.entry_mut(slot) else { return };
        if entry.in_flight {
            entry.in_flight = false;
            let pacer = &mut self.ports[usize::from(entry.port.0)].pacer;
            pacer.left();
            pacer.congested(now);
        }
    }

    /// Sends what waits, in the order of the classes.
    fn transmit<D: Device>(&mut self, index: usize, device: &mut D, now: Instant) -> Sent {
        let mut sent = 0;
        let mut room = true;
        while room && sent < SENT_A_TURN && !self.ports[index].answers.is_empty() {
            room = self.send_answer(index, device, now);
            sent += usize::from(room);
        }
        for class in Class::ALL {
            while room && sent < SENT_A_TURN && self.may_send(index, class, now) {
                room = self.send_one(index, class, device, now);
                sent += usize::from(room);
            }
        }
        // Also without anything new: frames may still be pending from the turn before.
        let flushed = device.flush();
        let counters = &mut self.ports[index].counters;
        counters.frames_sent += u64::from(flushed.sent);
        counters.frames_failed += u64::from(flushed.failed);
        self.ports[index].pending = flushed.pending;
        match room {
            false => Sent::DeviceFull,
            true if sent == SENT_A_TURN => Sent::Bound,
            true => Sent::All,
        }
    }

    fn may_send(&mut self, index: usize, class: Class, now: Instant) -> bool {
        let port = &mut self.ports[index];
        !port.ready[class as usize].is_empty() && port.pacer.may_send(class, now)
    }

    fn send_answer<D: Device>(&mut self, index: usize, device: &mut D, now: Instant) -> bool {
        let Some(slot) = device.acquire() else { return false };
        let Some((arp, vlans)) = self.ports[index].answers.pop() else { return false };
        // Since the question was asked the address may have been given up, or its time be over: a
        // turn handles only so many deadlines.
        if !self.holds(PortId(index as u16), vlans, &arp, now) {
            return true;
        }
        let port = &mut self.ports[index];
        let answer = transmit(arp, vlans);
        match emit(&answer, slot) {
            Ok(len) => {
                device.commit(len);
                port.counters.arp_answers_sent += 1;
            }
            Err(_) => port.counters.frames_too_long += 1,
        }
        true
    }

    /// True if the sender of an ARP answer is the lease that holds the address.
    fn holds(&self, id: PortId, vlans: VlanStack, arp: &Arp, now: Instant) -> bool {
        let slot = self.holders.get(&(id, vlans.domain(), arp.sender_ip));
        let machine = slot.and_then(|slot| self.table.entry(*slot)?.machine.as_ref());
        machine.is_some_and(|machine| {
            let end = machine.state().terms().and_then(Terms::expiry);
            machine.mac() == arp.sender_mac && end.is_none_or(|end| now < end)
        })
    }

    /// Sends for the lease at the head of a ready queue. False: the device has no slot.
    fn send_one<D: Device>(
        &mut self,
        index: usize,
        wanted: Class,
        device: &mut D,
        now: Instant,
    ) -> bool {
        // The slot first: a full ring must leave the machine as it was.
        let Some(frame) = device.acquire() else { return false };
        let Some(lease) = self.ports[index].ready[wanted as usize].pop_front() else {
            return false;
        };
        if self.table.get(lease).is_none() {
            return true;
        }
        let slot = lease.slot;
        if let Some(entry) = self.table.entry_mut(slot) {
            entry.queued = false;
        }
        let fresh = self.table.fresh_xid(slot);
        let doubtful = !self.ports[index].spec.unicast_arrives;
        let sent = self.change(slot, now, |machine| {
            if doubtful {
                machine.doubt_unicast();
            }
            // Since it was queued it may have moved on; it is then queued anew, or not at all.
            let due = machine.due(now).filter(|due| class(machine, *due) == wanted)?;
            let again = is_repetition(machine.state());
            let packet = machine.poll_transmit(now, fresh)?;
            Some((due, again, emit(&packet, frame)))
        });
        let Some(Some((due, again, written))) = sent else { return true };
        let port = &mut self.ports[index];
        match written {
            Ok(len) => {
                device.commit(len);
                count_sent(&mut port.counters, due, again);
            }
            Err(_) => port.counters.frames_too_long += 1,
        }
        port.pacer.sent(wanted);
        let Some(entry) = self.table.entry_mut(slot) else { return true };
        entry.in_flight |= wanted == Class::Discover;
        if entry.machine.as_ref().is_some_and(|machine| machine.xid() == fresh) {
            self.table.used(slot);
        }
        true
    }

    /// When this port can go on with what waits for tokens.
    fn wake(&self, index: usize) -> Option<Instant> {
        let port = &self.ports[index];
        port.pacer.next(|class| !port.ready[class as usize].is_empty())
    }
}

/// How far a port got with what waits on it.
enum Sent {
    /// All that pacing allows.
    All,
    /// As much as a turn may.
    Bound,
    /// Until the device had no slot left.
    DeviceFull,
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Counts a packet by its kind.
fn count_sent(counters: &mut Counters, due: Due, again: bool) {
    match due {
        Due::Discover => counters.discovers_sent += 1,
        Due::Request | Due::Renew(_) | Due::Rebind => counters.requests_sent += 1,
        Due::ResolveHop(_) => counters.arp_requests_sent += 1,
        Due::Release => counters.releases_sent += 1,
    }
    counters.retransmissions += u64::from(again);
}

/// True if what is due has been sent before and not been answered.
fn is_repetition(state: &State) -> bool {
    state.exchange().is_some_and(|exchange| exchange.sent > 0)
}
