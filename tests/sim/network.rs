//! The wire between ports and servers: one broadcast domain a segment, a link a node, and what goes
//! wrong on it.

use crate::coverage::{Coverage, Mark};
use crate::dice::{Dice, nanos};
use crate::seen::{Body, Seen, see};
use lessee_engine::wire::ethernet::Mac;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

/// A frame on its way.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    /// `None`: it makes no sense.
    pub(crate) seen: Option<Seen>,
    /// It was changed in a way that no checksum shows.
    pub(crate) forged: bool,
}

/// What a link does to frames; chances in a million.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss: u32,
    pub(crate) duplicate: u32,
    pub(crate) reorder: u32,
    pub(crate) flip: u32,
    pub(crate) cut: u32,
    /// Shortest and longest delay, in nanoseconds.
    pub(crate) delay: (u64, u64),
    /// How far a reordered frame falls behind.
    pub(crate) behind: u64,
}

impl Weather {
    /// A good local network.
    pub(crate) const CLEAR: Self = Self {
        loss: 0,
        duplicate: 0,
        reorder: 0,
        flip: 0,
        cut: 0,
        delay: (20_000, 400_000),
        behind: 0,
    };

    /// Some weather, good or bad.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let often = |dice: &mut Dice| dice.pick(&[0, 0, 0, 5_000, 30_000, 150_000]);
        let slow = dice.pick(&[500, 3_000, 50_000, 400_000, 3_000_000]);
        Self {
            loss: dice.pick(&[0, 0, 1_000, 10_000, 50_000, 150_000, 300_000, 600_000]),
            duplicate: often(dice),
            reorder: often(dice),
            flip: often(dice),
            cut: often(dice),
            delay: (20_000, slow * 1_000),
            behind: dice.spread(1_000_000, nanos(Duration::from_secs(30))),
        }
    }
}

/// What is attached to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A client's port.
    Port { client: u8, port: u16 },
    /// A server.
    Server(u8),
}

/// A place on the network.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) segment: u8,
    pub(crate) weather: Weather,
    /// Nothing passes.
    pub(crate) isolated: bool,
    /// A server's MAC; ports have many, with the node's number inside.
    pub(crate) mac: Option<Mac>,
}

/// The MAC of a lease on a node's port.
pub(crate) const fn lease_mac(node: u8, number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac([0x02, 0x4c, node, 0, high, low])
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A frame reaches a node.
    Arrive(u8, Rc<Packet>),
    /// Something breaks.
    Fault,
    /// Something that was broken works again.
    Mend(Mend),
    /// A caller says something.
    Command,
    /// A client's late reader reads.
    Read(u8),
    /// Somebody asks who has some addresses.
    Stranger(u8),
    /// All is compared.
    Check,
}

/// What works again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mend {
    Partition(u8),
    Server(u8, bool),
    Suspend(u8),
    Ring(u8, u16),
    Flush(u8, u16),
    Reader(u8),
}

#[derive(Debug)]
struct Entry {
    at: u64,
    number: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// All that is to happen, in order of time.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BinaryHeap<Reverse<Entry>>,
    number: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: u64, what: What) {
        self.number += 1;
        self.entries.push(Reverse(Entry { at, number: self.number, what }));
    }

    pub(crate) fn next(&self) -> Option<u64> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    pub(crate) fn take(&mut self, now: u64) -> Option<What> {
        self.next().filter(|at| *at <= now)?;
        self.entries.pop().map(|Reverse(entry)| entry.what)
    }
}

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) nodes: Vec<Node>,
    pub(crate) agenda: Agenda,
    pub(crate) dice: Dice,
    /// Frames that reached a node.
    pub(crate) delivered: u64,
    /// Of all frames sent, with time and sender.
    pub(crate) hash: u64,
}

impl Network {
    pub(crate) fn new(nodes: Vec<Node>, dice: Dice) -> Self {
        Self { nodes, agenda: Agenda::default(), dice, delivered: 0, hash: 0 }
    }

    /// A node sends a frame; `seen` spares reading it again.
    pub(crate) fn send(
        &mut self,
        from: u8,
        bytes: Vec<u8>,
        seen: Option<Seen>,
        now: u64,
        coverage: &mut Coverage,
    ) {
        self.note(now, from, &bytes);
        let destination = bytes.first_chunk::<6>().map_or(Mac::BROADCAST, |mac| Mac(*mac));
        let packet = Rc::new(Packet { bytes, seen, forged: false });
        let segment = self.nodes[usize::from(from)].segment;
        let one = if destination.is_multicast() { None } else { self.owner(segment, destination) };
        for to in 0..self.nodes.len() as u8 {
            let node = &self.nodes[usize::from(to)];
            // A switch floods what it does not know.
            if to != from && node.segment == segment && one.is_none_or(|one| one == to) {
                self.pass(from, to, &packet, now, coverage);
            }
        }
    }

    fn owner(&self, segment: u8, mac: Mac) -> Option<u8> {
        let has = |node: &Node, place: u8| {
            node.segment == segment
                && match node.mac {
                    Some(own) => own == mac,
                    None => mac.0[..4] == [0x02, 0x4c, place, 0],
                }
        };
        (0..self.nodes.len() as u8).find(|place| has(&self.nodes[usize::from(*place)], *place))
    }

    /// Over the sender's link and the receiver's.
    fn pass(&mut self, from: u8, to: u8, packet: &Rc<Packet>, now: u64, coverage: &mut Coverage) {
        let (source, sink) = (&self.nodes[usize::from(from)], &self.nodes[usize::from(to)]);
        if source.isolated || sink.isolated {
            return coverage.mark(Mark::Isolated);
        }
        let mut at = now;
        let mut packet = Rc::clone(packet);
        let mut copies = 1;
        for weather in [source.weather, sink.weather] {
            if self.dice.ppm(weather.loss) {
                return coverage.mark(Mark::Lost);
            }
            at += self.dice.between(weather.delay.0, weather.delay.1);
            if self.dice.ppm(weather.duplicate) {
                coverage.mark(Mark::Duplicated);
                copies += 1;
            }
            if self.dice.ppm(weather.reorder) {
                coverage.mark(Mark::Reordered);
                at += self.dice.below(weather.behind + 1);
            }
            if self.dice.ppm(weather.flip) {
                coverage.mark(Mark::BitsFlipped);
                packet = Rc::new(self.flip(&packet, coverage));
            }
            if self.dice.ppm(weather.cut) {
                coverage.mark(Mark::Cut);
                let len = self.dice.index(packet.bytes.len());
                let bytes = packet.bytes[..len].to_vec();
                let seen = see(&bytes).ok();
                packet = Rc::new(Packet { bytes, seen, forged: packet.forged });
            }
        }
        for copy in 0..copies {
            let late = copy * self.dice.below(weather_gap(&self.nodes[usize::from(to)].weather));
            self.agenda.add(at + late, What::Arrive(to, Rc::clone(&packet)));
        }
    }

    /// One to three bits become others.
    fn flip(&mut self, packet: &Packet, coverage: &mut Coverage) -> Packet {
        let mut bytes = packet.bytes.clone();
        for _ in 0..self.dice.between(1, 3) {
            if bytes.is_empty() {
                break;
            }
            let bit = self.dice.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let seen = see(&bytes).ok();
        let body = |seen: Option<&Seen>| seen.map(|seen| seen.body);
        let dhcp = matches!(body(seen.as_ref()), Some(Body::Dhcp(_)));
        let whole = |bytes: &[u8]| bytes.get(14..).unwrap_or_default().to_vec();
        let forged = dhcp && whole(&bytes) != whole(&packet.bytes);
        if forged {
            coverage.mark(Mark::Undetected);
        }
        Packet { bytes, seen, forged: forged || packet.forged }
    }

    fn note(&mut self, now: u64, from: u8, bytes: &[u8]) {
        let mut mix = |word: u64| {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        };
        mix(now);
        mix(u64::from(from) << 32 | bytes.len() as u64);
        for piece in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            mix(u64::from_le_bytes(word));
        }
    }
}

/// How far apart duplicates arrive.
const fn weather_gap(weather: &Weather) -> u64 {
    let longest = if weather.behind > weather.delay.1 { weather.behind } else { weather.delay.1 };
    longest + 1
}
