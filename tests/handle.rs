//! The engine's face for other threads: it stops when told to, or when nobody holds it any more.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a story's helpers fail like the story")]

use lessee_engine::client::PortSpec;
use lessee_engine::command::{Command, Event};
use lessee_engine::driver::Driver;
use lessee_engine::error::{DriverError, HandleError};
use lessee_engine::handle::Handle;
use lessee_engine::lease::{Acquire, Kinds, PortId, Profile};
use lessee_engine::ring::{PacketRing, RingConfig};
use lessee_engine::wire::ethernet::Mac;
use lessee_lab::embedded::{Running, ServerSpec};
use lessee_lab::topology::Wire;
use lessee_tests::{can_run, mac, plain};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LEASES: u32 = 100;

struct Stage {
    _wire: Wire,
    server: Running,
    handle: Handle,
    thread: JoinHandle<Result<(), DriverError>>,
}

fn stage() -> Stage {
    let wire = Wire::new().unwrap();
    let pool = (Ipv4Addr::new(10, 77, 1, 0), Ipv4Addr::new(10, 77, 1, 255));
    let spec = ServerSpec::new(Ipv4Addr::new(10, 77, 0, 1), 16, pool.0, pool.1);
    let server = Running::start(&wire.server, "s0", spec, Vec::new()).unwrap();
    let config = RingConfig::new(wire.client_link().unwrap().index, 1500);
    let ring = wire.client.run(move || PacketRing::open(&config)).unwrap();
    let (driver, handle) = Driver::new(vec![(PortSpec::new("c0", 1500), ring)]).unwrap();
    let thread = std::thread::spawn(move || driver.run());
    let profile = Arc::new(Profile::default());
    for index in 0..LEASES {
        handle.acquire(plain(index, &profile)).unwrap();
    }
    let bound = |event: &Event| matches!(event, Event::Lease { notice, .. } if notice.kinds.contains(Kinds::BOUND));
    for _ in 0..LEASES {
        assert!(bound(&handle.events().recv_timeout(Duration::from_secs(5)).unwrap()));
    }
    Stage { _wire: wire, server, handle, thread }
}

/// Waits for the engine's end.
fn ended(thread: JoinHandle<Result<(), DriverError>>) {
    let began = Instant::now();
    while !thread.is_finished() {
        assert!(began.elapsed() < Duration::from_secs(5), "the engine goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    thread.join().unwrap().unwrap();
}

#[test]
fn dropping_the_last_handle_stops_the_engine_and_releases_nothing() {
    if !can_run("dropping the last handle", None) {
        return;
    }
    let Stage { server, handle, thread, _wire } = stage();
    let other = handle.clone();
    drop(handle);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!thread.is_finished(), "one handle is left");
    drop(other);
    ended(thread);
    assert_eq!(server.leases().len(), LEASES as usize);
}

#[test]
fn a_shutdown_with_release_gives_everything_back_and_tells_so() {
    if !can_run("a shutdown with release", None) {
        return;
    }
    let Stage { server, handle, thread, _wire } = stage();
    handle.send(Command::Shutdown { release: true }).unwrap();
    let events: Vec<Event> = handle.events().iter().collect();
    let released = events.iter().filter(|event| {
        matches!(event, Event::Lease { notice, .. } if notice.kinds.contains(Kinds::RELEASED))
    });
    assert_eq!(released.count(), LEASES as usize);
    ended(thread);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(server.leases(), []);
    assert!(matches!(handle.ports(), Err(HandleError::Gone)));
}

#[test]
fn what_no_lease_can_live_with_is_refused_with_the_reason() {
    if !can_run("refused commands", None) {
        return;
    }
    let Stage { handle, thread, _wire, server: _server } = stage();
    let refused = |change: &dyn Fn(&mut Acquire)| {
        let mut acquire = plain(LEASES, &Arc::new(Profile::default()));
        change(&mut acquire);
        handle.acquire(acquire).unwrap_err().to_string()
    };
    let said = refused(&|acquire| acquire.mac = Mac::BROADCAST);
    assert!(said.contains("ff:ff:ff:ff:ff:ff") && said.contains("unicast"), "{said}");
    let said = refused(&|acquire| acquire.port = PortId(7));
    assert!(said.contains("no port 7"), "{said}");
    let said = refused(&|acquire| acquire.hostname = Some("x".repeat(256).into()));
    assert!(said.contains("256"), "{said}");
    let said = refused(&|acquire| acquire.requested_address = Some(Ipv4Addr::BROADCAST));
    assert!(said.contains("255.255.255.255"), "{said}");
    assert!(handle.acquire(plain(mac(0).0[5].into(), &Arc::new(Profile::default()))).is_ok());
    drop(handle);
    ended(thread);
}
