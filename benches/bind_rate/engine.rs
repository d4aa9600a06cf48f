//! The engine: its loop on a thread, commands from here, events read here.

use super::server::Server;
use crate::{Sample, Side};
use lessee_benches::mac;
use lessee_engine::client::PortSpec;
use lessee_engine::command::{Command, Event, PortView};
use lessee_engine::driver::Driver;
use lessee_engine::handle::Handle;
use lessee_engine::lease::{Acquire, Kinds, PortId, Profile};
use lessee_engine::pace::{Pacing, Window};
use lessee_engine::ring::{FilterSpec, PacketRing};
use lessee_lab::topology::Wire;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const THREAD: &str = "engine";
/// How often events are taken: seldom enough that the engine need not wake the reader for each.
const LOOK: Duration = Duration::from_millis(5);
/// With this many leases left, each is waited for, so that the end is timed exactly.
const LAST: u32 = 256;
/// Commands between two looks at events.
const SOME: u32 = 1024;

pub(crate) fn measure(
    side: Side,
    wire: &Wire,
    server: &Server,
    leases: u32,
    window: u32,
) -> Sample {
    let bare = side == Side::Bare;
    let (handle, thread) = start(wire, bare, window);
    let profile = Arc::new(Profile { keep_options: !bare, ..Profile::default() });
    let threads = [THREAD, server.thread()];
    let mut reader = Reader { handle: &handle, bound: 0 };
    let cold = matches!(side, Side::Cold | Side::Embedded);
    let (before, start) = if cold {
        server.go();
        let begun = (threads.map(crate::cpu_of), Instant::now());
        reader.submit(leases, &profile);
        begun
    } else {
        reader.submit(leases, &profile);
        while view(&handle).leases < leases {
            std::thread::sleep(LOOK);
        }
        let begun = (threads.map(crate::cpu_of), Instant::now());
        server.go();
        begun
    };
    reader.bind(leases);
    let sample = crate::sample(leases, start.elapsed(), threads, before);
    let repeated = view(&handle).counters.retransmissions;
    handle.send(Command::Shutdown { release: false }).expect("the engine takes commands");
    thread.join().expect("the engine ends well");
    Sample { repeated, ..sample }
}

/// Starts the engine in the client's namespace.
fn start(wire: &Wire, bare: bool, window: u32) -> (Handle, JoinHandle<()>) {
    let link = wire.client_link().expect("the veth pair");
    let (give, take) = mpsc::channel();
    let thread = wire.client.spawn_thread(THREAD, move || {
        let config = crate::ring_config(link.index, FilterSpec::client(), window);
        let ring = PacketRing::open(&config).unwrap_or_else(|error| panic!("{error}"));
        let pacing = Pacing { window: Window::Fixed(window), ..Pacing::default() };
        let port = PortSpec { pacing, latencies: !bare, ..PortSpec::new("c0", 1500) };
        let (driver, handle) =
            Driver::new(vec![(port, ring)]).unwrap_or_else(|error| panic!("{error}"));
        give.send(handle).expect("the bench waits");
        driver.run().unwrap_or_else(|error| panic!("{error}"));
    });
    (take.recv().expect("the engine starts"), thread.expect("a thread"))
}

fn view(handle: &Handle) -> PortView {
    handle.ports().ok().and_then(|mut ports| ports.pop()).expect("the engine has a port")
}

struct Reader<'a> {
    handle: &'a Handle,
    bound: u32,
}

impl Reader<'_> {
    fn submit(&mut self, leases: u32, profile: &Arc<Profile>) {
        for number in 0..leases {
            let acquire = Acquire::new(PortId(0), mac(number), Arc::clone(profile));
            let command = Command::Acquire(Box::new(acquire), None);
            self.handle.send_waiting(command).expect("the engine takes commands");
            if number % SOME == 0 {
                self.drain();
            }
        }
    }

    /// Reads events until all leases are bound.
    fn bind(&mut self, leases: u32) {
        let patience = crate::patience();
        while self.bound < leases {
            if leases - self.bound > LAST {
                std::thread::sleep(LOOK);
            } else if let Ok(event) = self.handle.events().recv_timeout(LOOK) {
                self.take(&event);
            }
            self.drain();
            patience();
        }
    }

    fn drain(&mut self) {
        while let Ok(event) = self.handle.events().try_recv() {
            self.take(&event);
        }
    }

    fn take(&mut self, event: &Event) {
        if let Event::Lease { notice, .. } = event {
            self.bound += u32::from(notice.kinds.contains(Kinds::BOUND));
        }
    }
}
