//! The client over devices in memory, a scripted server at their other end, and a virtual clock.

mod arp;
mod events;
mod life;
mod queues;
mod random;

use super::*;
use crate::device::{Flushed, Meta};
use crate::lease::tests::{Answer, Seen, Sent, secs};
use crate::lease::{Kinds, Lost, Notice, Profile};
use crate::pace::{Pacing, Window};
use crate::wire::dhcp::MessageType;
use crate::wire::ethernet::Mac;
use std::sync::Arc;
use std::time::Duration;

/// The server, on the clients' link.
pub(super) const SERVER_ID: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A link in memory: frames for the client in, frames of the client out.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) inbox: VecDeque<Vec<u8>>,
    pub(super) outbox: VecDeque<Vec<u8>>,
    slot: Vec<u8>,
    committed: Vec<Vec<u8>>,
    /// Frames that a flush takes; `None`: any number.
    pub(super) slots: Option<usize>,
}

impl Device for Memory {
    fn receive<R>(&mut self, visit: impl FnOnce(crate::device::Frame<'_>) -> R) -> Option<R> {
        let frame = self.inbox.pop_front()?;
        let meta = Meta::plain(frame.len());
        Some(visit(crate::device::Frame { bytes: &frame, meta }))
    }

    fn acquire(&mut self) -> Option<&mut [u8]> {
        if self.slots.is_some_and(|slots| self.committed.len() >= slots) {
            return None;
        }
        self.slot.resize(1518, 0);
        Some(&mut self.slot)
    }

    fn commit(&mut self, len: usize) {
        self.committed.push(self.slot[..len].to_vec());
    }

    fn flush(&mut self) -> Flushed {
        let sent = self.committed.len() as u32;
        self.outbox.extend(self.committed.drain(..));
        Flushed { sent, failed: 0, pending: 0 }
    }
}

/// What the server does with what it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Answers,
    Silent,
    /// Offers, and refuses every REQUEST.
    Refuses,
    /// Answers broadcasts only, so that renewals fail and rebinds do not.
    DeafToUnicast,
    /// Its unicast answers to clients without an address never arrive.
    UnheardUnlessBroadcast,
}

/// A client, its links, a server, and the clock.
pub(super) struct World {
    pub(super) client: Client,
    pub(super) devices: Vec<Memory>,
    pub(super) now: Instant,
    pub(super) mood: Mood,
    /// Of each ACK: lease time, T1, T2.
    pub(super) times: (u32, Option<u32>, Option<u32>),
    /// Who has what.
    pub(super) addresses: HashMap<Mac, Ipv4Addr>,
    /// When the last lease of each client ends.
    ends: HashMap<Mac, Instant>,
    /// All that the client sent, with its time and port.
    pub(super) log: Vec<(Instant, usize, Seen)>,
    pub(super) events: Vec<Event>,
    pub(super) turns: u64,
    pub(super) most_in_flight: u32,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(PortSpec::new("one", 1500), 1)
    }

    pub(super) fn with(spec: PortSpec, ports: usize) -> Self {
        let now = secs(1000);
        let mut client = Client::new([1, 2, 3, 4, 5], now);
        for _ in 0..ports {
            client.add_port(spec.clone(), now);
        }
        Self {
            client,
            devices: (0..ports).map(|_| Memory::default()).collect(),
            now,
            mood: Mood::Answers,
            times: (3600, None, None),
            addresses: HashMap::new(),
            ends: HashMap::new(),
            log: Vec::new(),
            events: Vec::new(),
            turns: 0,
            most_in_flight: 0,
        }
    }

    /// A world that sends as fast as it can.
    pub(super) fn unpaced() -> Self {
        let pacing = Pacing {
            window: Window::Unlimited,
            starts_per_second: None,
            others_per_second: Some(1_000_000),
        };
        Self::with(PortSpec { pacing, ..PortSpec::new("one", 1500) }, 1)
    }

    pub(super) fn acquire(&mut self, acquire: Acquire) -> LeaseId {
        self.client.acquire(acquire, self.now).unwrap()
    }

    pub(super) fn acquire_many(&mut self, count: u64) -> Vec<LeaseId> {
        (0..count).map(|number| self.acquire(lease(number))).collect()
    }

    /// One turn and what the world makes of it.
    pub(super) fn turn(&mut self) -> Turn {
        let turn = self.client.turn(self.now, &mut self.devices);
        self.turns += 1;
        for port in 0..self.devices.len() {
            let in_flight = self.client.ports[port].pacer.in_flight();
            self.most_in_flight = self.most_in_flight.max(in_flight);
            while let Some(frame) = self.devices[port].outbox.pop_front() {
                let seen = Seen::frame(&frame);
                if let Seen::Dhcp(sent) = &seen
                    && !sent.ciaddr.is_unspecified()
                {
                    assert!(self.now < self.ends[&sent.chaddr], "used after its end: {sent:?}");
                }
                if let Seen::Dhcp(sent) = &seen
                    && let Some(answer) = self.answer(sent)
                {
                    self.devices[port].inbox.push_back(answer.frame());
                }
                self.log.push((self.now, port, seen));
            }
        }
        turn
    }

    fn answer(&mut self, sent: &Sent) -> Option<Answer> {
        let kind = match (sent.kind, self.mood) {
            (_, Mood::Silent) => return None,
            (MessageType::Discover | MessageType::Request, Mood::UnheardUnlessBroadcast)
                if sent.flags == 0 && sent.ciaddr.is_unspecified() =>
            {
                return None;
            }
            (MessageType::Discover, _) => MessageType::Offer,
            (MessageType::Request, Mood::Refuses) => MessageType::Nak,
            (MessageType::Request, Mood::DeafToUnicast)
                if sent.link.destination != Mac::BROADCAST =>
            {
                return None;
            }
            (MessageType::Request, _) => MessageType::Ack,
            (MessageType::Release, _) => {
                self.addresses.remove(&sent.chaddr);
                return None;
            }
            (other, _) => panic!("{other:?}"),
        };
        let mut answer = Answer::new(kind, sent.xid, sent.chaddr);
        answer.server_id = Some(SERVER_ID);
        answer.tags = sent.link.vlans.tags().map(|tag| (tag.tpid, tag.tci)).collect();
        if kind == MessageType::Ack {
            let end = match self.times.0 {
                u32::MAX => Instant::from_nanos(u64::MAX),
                finite => self.now + Duration::from_secs(u64::from(finite)),
            };
            let last = self.ends.entry(sent.chaddr).or_insert(end);
            *last = end.max(*last);
        }
        if kind != MessageType::Nak {
            let number = sent.chaddr.to_u64() as u32 & 0xf_ffff;
            let address = Ipv4Addr::from(0x0a00_0100 + number);
            answer.yiaddr = *self.addresses.entry(sent.chaddr).or_insert(address);
            answer.mask = Some(Ipv4Addr::new(255, 0, 0, 0));
            (answer.lease_time, answer.renewal_time, answer.rebinding_time) =
                (Some(self.times.0), self.times.1, self.times.2);
        }
        Some(answer)
    }

    /// Turns until there is nothing to do at this instant; the next one with something to do.
    pub(super) fn settle(&mut self) -> Option<Instant> {
        for _ in 0..100_000 {
            let turn = self.turn();
            if turn.more || self.devices.iter().any(|device| !device.inbox.is_empty()) {
                continue;
            }
            assert!(turn.next.is_none_or(|next| next > self.now), "a busy loop: {turn:?}");
            return turn.next;
        }
        panic!("no end at {:?}", self.now);
    }

    /// Runs for a time, reading events as they come.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let next = self.settle();
            self.read();
            match next.filter(|next| *next <= until) {
                Some(next) => self.now = next,
                None => break,
            }
        }
        self.now = until;
        self.settle();
        self.read();
    }

    pub(super) fn read(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.events.push(event);
        }
    }

    pub(super) fn hear(&mut self, port: usize, frame: Vec<u8>) {
        self.devices[port].inbox.push_back(frame);
    }

    pub(super) fn counters(&mut self, port: usize) -> crate::counters::Counters {
        self.client.ports(&mut self.devices)[port].counters.clone()
    }

    /// How often each message was sent.
    pub(super) fn sent(&self, kind: MessageType) -> usize {
        self.dhcp().filter(|(_, sent)| sent.kind == kind).count()
    }

    pub(super) fn dhcp(&self) -> impl Iterator<Item = (Instant, &Sent)> {
        self.log.iter().filter_map(|(at, _, seen)| match seen {
            Seen::Dhcp(sent) => Some((*at, &**sent)),
            Seen::Arp(..) => None,
        })
    }

    pub(super) fn notices(&self) -> impl Iterator<Item = (LeaseId, &Notice)> {
        self.events.iter().filter_map(|event| match event {
            Event::Lease { lease, notice } => Some((*lease, notice)),
            Event::Offer(_) | Event::Link { .. } => None,
        })
    }

    pub(super) fn told(&self, kind: Kinds) -> usize {
        self.notices().filter(|(_, notice)| notice.kinds.contains(kind)).count()
    }

    pub(super) fn state(&self, lease: LeaseId) -> &'static str {
        self.client.query(lease).map_or("gone", |view| view.state.name())
    }
}

pub(super) fn mac(number: u64) -> Mac {
    Mac::from_u64(0x0200_0000_0000 + number)
}

pub(super) fn lease(number: u64) -> Acquire {
    Acquire { tag: number, ..Acquire::new(PortId(0), mac(number), Arc::new(Profile::default())) }
}

pub(super) fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}
