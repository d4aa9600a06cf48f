//! The embedded server on a thread of its own, on an interface of a namespace.
//!
//! The thread owns the rings, the clock and the [`Server`]; everybody else asks it through a
//! channel, and each call returns once it is done.

use std::io;
use std::os::fd::AsRawFd;
use std::panic;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use lessee_engine::device::{Device, DeviceStatistics, LinkFault};
use lessee_engine::ring::{FilterSpec, PacketRing, RingConfig, RingError};
use lessee_engine::time::Instant;
use lessee_engine::wire::ethernet::Mac;
use lessee_linkctl::LinkError;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::time::{ClockId, clock_gettime};

use super::core::{Server, ServerLease};
use super::counters::Counters;
use super::misbehave::Rule;
use super::spec::{ServerSpec, SpecError};
use crate::netns::{Netns, NetnsError};

const RING: Token = Token(0);
const WAKER: Token = Token(1);
/// Frames taken in for one look at the clock.
const BATCH: usize = 64;
/// Memory of the receive ring: 4,096 frames, more than a server's socket buffer would hold.
const RX_BYTES: usize = 8 << 20;
/// Slots to transmit from.
const TX_FRAMES: usize = 512;
/// Orders that wait; whoever comes later waits too.
const ORDERS: usize = 16;
/// Before frames that the kernel did not take are handed to it again.
const BREATH: Duration = Duration::from_millis(1);
/// Between two looks at a link that is down.
const LINK_CHECK: Duration = Duration::from_millis(100);

/// Why an embedded server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It cannot serve that.
    #[error("cannot start the embedded DHCP server: {0}")]
    Spec(#[from] SpecError),
    /// The interface cannot be looked up.
    #[error("cannot start the embedded DHCP server: {0}")]
    Link(#[from] LinkError),
    /// The thread cannot be started in the namespace.
    #[error("cannot start the embedded DHCP server: {0}")]
    Netns(#[from] NetnsError),
    /// The rings cannot be opened.
    #[error("cannot start the embedded DHCP server: {0}")]
    Ring(#[from] RingError),
    /// The event queue cannot be set up.
    #[error("cannot start the embedded DHCP server: no event queue: {0}")]
    Poll(#[source] io::Error),
}

/// What the thread is told to do, on the thread.
type Order = Box<dyn FnOnce(&mut Worker) + Send>;

/// A server that runs. It stops when dropped.
#[derive(Debug)]
pub struct Running {
    orders: Sender<Order>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts a server on `interface` of the namespace, misbehaving by `rules`. It receives once
    /// this returns.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn start(
        ns: &Netns,
        interface: &str,
        spec: ServerSpec,
        rules: Vec<Rule>,
    ) -> Result<Self, RunError> {
        Self::start_seeded(ns, interface, spec, rules, 1)
    }

    /// As [`Running::start`], with the seed of all chance.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn start_seeded(
        ns: &Netns,
        interface: &str,
        spec: ServerSpec,
        rules: Vec<Rule>,
        seed: u64,
    ) -> Result<Self, RunError> {
        let link = ns.links()?.get(interface)?;
        let mac = spec.mac;
        let mut server = Server::new(spec, seed)?;
        server.set_rules(rules);
        let config = RingConfig {
            filter: FilterSpec::server(),
            rx_bytes: RX_BYTES,
            tx_frames: TX_FRAMES,
            // With another MAC than the interface's.
            promiscuous: Mac(link.mac) != mac,
            ..RingConfig::new(link.index, link.mtu as usize)
        };
        let (orders, inbox) = bounded::<Order>(ORDERS);
        let (ready, opened) = bounded(1);
        // The rings belong to the namespace of the thread that opens them.
        let thread = ns.spawn_thread("embedded-dhcp", move || {
            let opened = Worker::open(server, &config);
            let mut worker = match opened {
                Ok((worker, waker)) => {
                    // The starter waits for this.
                    let _ = ready.send(Ok(waker));
                    worker
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            worker.run(&inbox);
        })?;
        let waker = opened.recv().unwrap_or_else(|_| thread_lost())?;
        Ok(Self { orders, waker, thread: Some(thread) })
    }

    /// Replaces the rules by which it misbehaves; their counting begins anew.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        self.ask(move |worker| worker.server.set_rules(rules));
    }

    /// The leases that run now.
    #[must_use]
    pub fn leases(&self) -> Vec<ServerLease> {
        self.ask(|worker| worker.server.leases(boot_time()))
    }

    /// The addresses that were declined and are still kept from everybody.
    #[must_use]
    pub fn declined(&self) -> Vec<std::net::Ipv4Addr> {
        self.ask(|worker| worker.server.declined(boot_time()))
    }

    /// What it counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.ask(|worker| worker.server.counters().clone())
    }

    /// What the kernel counted for its rings.
    #[must_use]
    pub fn statistics(&self) -> DeviceStatistics {
        self.ask(|worker| worker.ring.statistics())
    }

    /// Frames that the kernel refused to send.
    #[must_use]
    pub fn send_failures(&self) -> u64 {
        self.ask(|worker| worker.failed)
    }

    /// The link's fault: down, until a frame passes again, or gone for good.
    #[must_use]
    pub fn fault(&self) -> Option<LinkFault> {
        self.ask(|worker| {
            worker.check_link();
            worker.fault
        })
    }

    /// Loses all memory, as a server without a lease file does when it is restarted.
    pub fn forget(&self) {
        self.ask(|worker| worker.server.forget());
    }

    /// Plays dead: whatever comes is lost. Answers under way are lost too, as when a server with a
    /// lease file is stopped.
    pub fn pause(&self) {
        self.ask(|worker| {
            worker.paused = true;
            worker.server.restart();
        });
    }

    /// Works again.
    pub fn resume(&self) {
        self.ask(|worker| {
            // What came while it was dead.
            while worker.ring.receive(|_| ()).is_some() {}
            worker.paused = false;
        });
    }

    /// Stops it and returns what it counted.
    #[must_use]
    pub fn stop(self) -> Counters {
        // Dropping does the rest.
        self.counters()
    }

    /// Has the thread do something, and waits until it is done.
    fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut Worker) -> T + Send + 'static) -> T {
        let (give, take) = bounded(1);
        let order: Order = Box::new(move |worker| {
            // The asker waits below.
            let _ = give.send(what(worker));
        });
        if self.orders.send(order).is_err() || self.waker.wake().is_err() {
            return thread_lost();
        }
        take.recv().unwrap_or_else(|_| thread_lost())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let stop: Order = Box::new(|worker| worker.stopped = true);
        let told = self.orders.send(stop).is_ok() && self.waker.wake().is_ok();
        if let Some(thread) = self.thread.take()
            && (told || thread.is_finished())
        {
            // If it panicked, its message is on standard error, and whoever asked it panicked too.
            let _ = thread.join();
        }
    }
}

/// The thread has panicked, or its event queue failed: whoever relies on it panics too.
fn thread_lost<T>() -> T {
    panic::resume_unwind(Box::new("the embedded server's thread has ended"))
}

/// What the thread owns.
struct Worker {
    server: Server,
    ring: PacketRing,
    poll: Poll,
    paused: bool,
    stopped: bool,
    fault: Option<LinkFault>,
    failed: u64,
}

/// What one turn did.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// There may be more frames to receive or to send right now.
    more: bool,
    /// The kernel has yet to take frames.
    pending: bool,
}

impl Worker {
    fn open(server: Server, config: &RingConfig) -> Result<(Self, Waker), RunError> {
        let ring = PacketRing::open(config)?;
        let poll = Poll::new().map_err(RunError::Poll)?;
        poll.registry()
            .register(&mut SourceFd(&ring.as_raw_fd()), RING, Interest::READABLE)
            .map_err(RunError::Poll)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(RunError::Poll)?;
        let (paused, stopped) = (false, false);
        let mut worker = Self { server, ring, poll, paused, stopped, fault: None, failed: 0 };
        worker.check_link();
        Ok((worker, waker))
    }

    fn run(&mut self, inbox: &Receiver<Order>) {
        let mut events = Events::with_capacity(8);
        while !self.stopped {
            match inbox.try_recv() {
                Ok(order) => {
                    order(self);
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            let turn = self.turn();
            if turn.more {
                continue;
            }
            match self.poll.poll(&mut events, self.sleep(turn)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                _ => {}
            }
            if events.iter().any(|event| event.is_error() || event.is_read_closed())
                || self.fault.is_some()
            {
                self.check_link();
            }
        }
    }

    /// Takes in a batch and sends what is due. The socket's readiness is edge-triggered: it must
    /// not sleep before the ring is empty.
    fn turn(&mut self) -> Turn {
        let now = boot_time();
        let Self { server, ring, .. } = self;
        let mut received = 0;
        while received < BATCH {
            let paused = self.paused;
            let taken = ring.receive(|frame| {
                if !paused {
                    server.handle(frame, now);
                }
            });
            if taken.is_none() {
                break;
            }
            received += 1;
        }
        // Without a free slot, whatever is left goes after the flush.
        let mut unsent = false;
        if !self.paused {
            unsent = loop {
                let Some(slot) = ring.acquire() else { break true };
                let Some(len) = server.poll_transmit(now, slot) else { break false };
                ring.commit(len);
            };
        }
        let flushed = ring.flush();
        self.failed += u64::from(flushed.failed);
        if flushed.failed > 0 {
            self.check_link();
        }
        if (received > 0 || flushed.sent > 0) && self.fault == Some(LinkFault::Down) {
            self.fault = None;
        }
        let pending = flushed.pending > 0;
        Turn { more: received == BATCH || (unsent && !pending), pending }
    }

    /// How long there is nothing to do; `None` is for ever.
    fn sleep(&self, turn: Turn) -> Option<Duration> {
        let pending = turn.pending.then_some(BREATH);
        let down = (self.fault == Some(LinkFault::Down)).then_some(LINK_CHECK);
        let now = boot_time();
        let due = self.server.poll_timeout().filter(|_| !self.paused && !turn.pending);
        pending.into_iter().chain(down).chain(due.map(|due| due.since(now))).min()
    }

    /// Notes whether the link has gone down or away.
    fn check_link(&mut self) {
        if let Some(fault) = self.ring.take_fault() {
            self.fault = Some(fault);
        }
    }
}

/// The engine's clock.
fn boot_time() -> Instant {
    // The clock exists since Linux 2.6.39, and reading it cannot fail then.
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(|time| Instant::ZERO + Duration::from(time))
        .unwrap_or_default()
}
