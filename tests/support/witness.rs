//! A witness on the wire: a ring of its own that notes every DHCP and ARP packet passing an
//! interface, in both directions.

use lessee_engine::device::Device;
use lessee_engine::ring::{FilterSpec, PacketRing, RingConfig};
use lessee_engine::wire::arp::Arp;
use lessee_engine::wire::dhcp::{MessageType, Op};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::options::OptionSet;
use lessee_engine::wire::{Body, Link, parse};
use lessee_lab::netns::Netns;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A packet that passed.
#[derive(Clone, Debug)]
pub enum Seen {
    /// ARP.
    Arp {
        /// Addresses and tags.
        link: Link,
        /// The packet.
        arp: Arp,
    },
    /// DHCP.
    Dhcp {
        /// When, in nanoseconds of the wall clock.
        at: u64,
        /// Addresses and tags.
        link: Link,
        /// IPv4 source and UDP source port.
        source: SocketAddrV4,
        /// IPv4 destination and UDP destination port.
        destination: SocketAddrV4,
        /// From the client or from the server.
        op: Op,
        /// Option 53.
        kind: MessageType,
        /// Transaction.
        xid: u32,
        /// The client's MAC.
        chaddr: Mac,
        /// The client's own address.
        ciaddr: Ipv4Addr,
        /// The address given.
        yiaddr: Ipv4Addr,
        /// Seconds.
        secs: u16,
        /// Broadcast wanted.
        broadcast: bool,
        /// All options.
        options: OptionSet,
    },
}

impl Seen {
    /// True for a DHCP message of this type.
    #[must_use]
    pub fn is(&self, wanted: MessageType) -> bool {
        matches!(self, Self::Dhcp { kind, .. } if *kind == wanted)
    }

    /// True for a DHCP message of this client.
    #[must_use]
    pub fn of(&self, mac: Mac) -> bool {
        matches!(self, Self::Dhcp { chaddr, .. } if *chaddr == mac)
    }
}

/// Notes what passes until it is dropped.
pub struct Witness {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Listens on an interface from now on.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn start(netns: &Netns, interface: &str) -> Self {
        let link = netns.links().unwrap().get(interface).unwrap();
        let mut config = RingConfig::new(link.index, link.mtu as usize);
        config.filter = FilterSpec { client: true, server: true, arp: true };
        config.ignore_outgoing = false;
        config.rx_bytes = 8 << 20;
        let mut ring = netns.run(move || PacketRing::open(&config)).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (notes, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let mut batch = Vec::new();
                while let Some(note) = ring.receive(note) {
                    batch.extend(note);
                }
                notes.lock().unwrap().extend(batch);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// All that passed so far.
    ///
    /// # Panics
    /// If the witness died.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        // What was on the wire when the caller asked has been noted after this pause.
        std::thread::sleep(Duration::from_millis(10));
        self.seen.lock().unwrap().clone()
    }

    /// The DHCP messages of one client so far.
    #[must_use]
    pub fn of(&self, mac: Mac) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.of(mac)).collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            assert!(result.is_ok() || std::thread::panicking(), "the witness panicked");
        }
    }
}

fn note(frame: lessee_engine::device::Frame<'_>) -> Option<Seen> {
    let packet = parse(frame).ok()?;
    let link = packet.link;
    Some(match packet.body {
        Body::Arp(arp) => Seen::Arp { link, arp },
        Body::Dhcp(datagram) => {
            let message = &datagram.message;
            Seen::Dhcp {
                at: frame.meta.timestamp,
                link,
                source: datagram.source,
                destination: datagram.destination,
                op: message.op,
                kind: message.message_type,
                xid: message.xid,
                chaddr: message.chaddr,
                ciaddr: message.ciaddr,
                yiaddr: message.yiaddr,
                secs: message.secs,
                broadcast: message.broadcast,
                options: OptionSet::from_options(&message.options),
            }
        }
    })
}
