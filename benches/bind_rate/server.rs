//! The server's side: the reflector on a thread, or the lab's embedded server.

use lessee_benches::reflector::{FRAME, Reflector};
use lessee_engine::device::Device;
use lessee_engine::ring::{FilterSpec, PacketRing};
use lessee_lab::embedded::{Running, ServerSpec};
use lessee_lab::topology::Wire;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A server that runs until it is dropped.
pub(crate) enum Server {
    Reflector { go: mpsc::Sender<()>, stop: Arc<AtomicBool>, thread: Option<JoinHandle<()>> },
    Embedded { running: Running },
}

impl Server {
    /// Receives at once, and answers from [`Server::go`] on.
    pub(crate) fn reflector(wire: &Wire, window: u32) -> Self {
        let link = wire.server_link().expect("the veth pair");
        let none = FilterSpec { client: false, server: false, arp: false };
        let config = crate::ring_config(link.index, FilterSpec { server: true, ..none }, window);
        let stop = Arc::new(AtomicBool::new(false));
        let (go, gone) = mpsc::channel();
        let (ready, opened) = mpsc::channel();
        let halt = Arc::clone(&stop);
        let thread = wire.server.spawn_thread("reflector", move || {
            let mut ring = PacketRing::open(&config).unwrap_or_else(|error| panic!("{error}"));
            ready.send(()).expect("the bench waits");
            if gone.recv().is_ok() {
                reflect(&mut ring, &halt);
            }
        });
        opened.recv().expect("the reflector opens its ring");
        Self::Reflector { go, stop, thread: Some(thread.expect("a thread")) }
    }

    /// With a pool for all.
    pub(crate) fn embedded(wire: &Wire, leases: u32) -> Self {
        let first = u32::from(Ipv4Addr::new(10, 1, 0, 0));
        let [first, last] = [first, first + leases + 63].map(Ipv4Addr::from);
        let spec = ServerSpec {
            lease_time: 86_400,
            ..ServerSpec::new(Ipv4Addr::new(10, 0, 0, 1), 8, first, last)
        };
        let running = Running::start(&wire.server, &wire.spec.server.name, spec, Vec::new());
        Self::Embedded { running: running.unwrap_or_else(|error| panic!("{error}")) }
    }

    /// The name of its thread.
    pub(crate) const fn thread(&self) -> &'static str {
        match self {
            Self::Reflector { .. } => "reflector",
            Self::Embedded { .. } => "embedded-dhcp",
        }
    }

    /// Lets the reflector begin.
    pub(crate) fn go(&self) {
        match self {
            Self::Reflector { go, .. } => go.send(()).expect("the reflector waits"),
            Self::Embedded { running } => running.resume(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Reflector { stop, thread, .. } = self {
            stop.store(true, Ordering::Relaxed);
            if let Some(thread) = thread.take() {
                assert!(thread.join().is_ok(), "the reflector failed");
            }
        }
    }
}

/// Answers whatever comes, until it is told to stop.
fn reflect(ring: &mut PacketRing, stop: &AtomicBool) {
    let template = Reflector::default();
    let mut request = [0; FRAME];
    while !stop.load(Ordering::Relaxed) {
        let mut frames = 0;
        while let Some(whole) = ring.receive(|frame| {
            let bytes = frame.bytes.first_chunk::<FRAME>().filter(|_| frame.bytes.len() == FRAME);
            bytes.map(|bytes| request = *bytes).is_some()
        }) {
            frames += 1;
            if !whole {
                continue;
            }
            if ring.acquire().is_none() {
                ring.flush();
            }
            let Some(slot) = ring.acquire() else { continue };
            if let Some(len) = template.answer(&request, slot) {
                ring.commit(len);
            }
            // As many as the engine takes in a turn.
            if frames == 64 {
                break;
            }
        }
        if frames == 0 {
            let mut fds = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(20_u8)).expect("poll");
        } else {
            ring.flush();
        }
    }
}
