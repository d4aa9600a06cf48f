//! An engine on an interface of the lab, and what it says of its leases.

use lessee_engine::client::PortSpec;
use lessee_engine::command::{Command, Event, LeaseView, PortView};
use lessee_engine::driver::Driver;
use lessee_engine::error::DriverError;
use lessee_engine::handle::Handle;
use lessee_engine::lease::{Acquire, Kinds, LeaseId, Notice, PortId, Profile};
use lessee_engine::ring::{PacketRing, RingConfig};
use lessee_engine::wire::ethernet::Mac;
use lessee_lab::netns::Netns;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The `index`-th MAC of the stories: 02:1e:55:xx:xx:xx.
#[must_use]
pub fn mac(index: u32) -> Mac {
    let [_, a, b, c] = index.to_be_bytes();
    Mac([0x02, 0x1e, 0x55, a, b, c])
}

/// A lease for the `index`-th MAC, tagged with its index, with a profile of its own kind.
#[must_use]
pub fn plain(index: u32, profile: &Arc<Profile>) -> Acquire {
    let mut acquire = Acquire::new(PortId(0), mac(index), Arc::clone(profile));
    acquire.tag = u64::from(index);
    acquire
}

/// What is known of a lease from its events.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Its last notice.
    pub last: Option<Notice>,
    /// How often each kind was told.
    pub bound: u32,
    /// Renewals told.
    pub renewed: u32,
    /// Changes told.
    pub changed: u32,
    /// Losses told.
    pub lost: u32,
    /// It is over.
    pub released: bool,
}

impl Held {
    /// The address held, if one is.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        Some(self.last.as_ref()?.terms?.address)
    }
}

/// An engine in a namespace of the lab. It ends, releasing nothing, when it is dropped.
pub struct LabEngine {
    /// Its handle.
    pub handle: Handle,
    /// Its leases by name.
    pub leases: HashMap<LeaseId, Held>,
    /// Other events, in order.
    pub notes: Vec<Event>,
    thread: Option<JoinHandle<Result<(), DriverError>>>,
}

impl LabEngine {
    /// Starts an engine on one interface with the default settings.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(netns: &Netns, interface: &str) -> Self {
        Self::start_with(netns, interface, |_, _| ())
    }

    /// Starts an engine on one interface, its settings changed by `change`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with(
        netns: &Netns,
        interface: &str,
        change: impl FnOnce(&mut RingConfig, &mut PortSpec),
    ) -> Self {
        let link = netns.links().unwrap().get(interface).unwrap();
        let mut config = RingConfig::new(link.index, link.mtu as usize);
        config.rx_bytes = 4 << 20;
        let mut spec = PortSpec::new(interface, link.mtu as u16);
        spec.latencies = true;
        change(&mut config, &mut spec);
        let ring = netns.run(move || PacketRing::open(&config)).unwrap();
        let (driver, handle) = Driver::new(vec![(spec, ring)]).unwrap();
        let thread = std::thread::spawn(move || driver.run());
        Self { handle, leases: HashMap::new(), notes: Vec::new(), thread: Some(thread) }
    }

    /// Begins a lease.
    ///
    /// # Panics
    /// If the engine refuses it.
    pub fn acquire(&mut self, acquire: Acquire) -> LeaseId {
        let id = self.handle.acquire(acquire).unwrap();
        self.leases.entry(id).or_default();
        id
    }

    /// Begins `count` leases, the first MAC being number `from`.
    pub fn acquire_many(&mut self, from: u32, count: u32, profile: &Arc<Profile>) {
        for index in from..from + count {
            self.acquire(plain(index, profile));
        }
    }

    /// Takes events until `done`; panics with a summary after `patience`.
    ///
    /// # Panics
    /// If `done` does not come true in time.
    pub fn wait(&mut self, what: &str, patience: Duration, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + patience;
        // `done` may look at thousands of leases, so it is asked only when nothing is waiting.
        loop {
            while let Ok(event) = self.handle.events().try_recv() {
                self.take(event);
            }
            if done(self) {
                return;
            }
            assert!(Instant::now() < end, "{what}: not within {patience:?}: {}", self.summary());
            if let Ok(event) = self.handle.events().recv_timeout(Duration::from_millis(20)) {
                self.take(event);
            }
        }
    }

    /// Takes events for this long.
    pub fn pump(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if let Ok(event) = self.handle.events().recv_timeout(left) {
                self.take(event);
            }
        }
    }

    /// Leases for which `test` holds.
    pub fn count(&self, test: impl Fn(&Held) -> bool) -> usize {
        self.leases.values().filter(|held| test(held)).count()
    }

    /// Waits until every lease holds an address.
    pub fn wait_bound(&mut self, patience: Duration) {
        let all = self.leases.len();
        self.wait("every lease bound", patience, |engine| {
            engine.count(|held| held.address().is_some()) == all
        });
    }

    /// Gives all leases back and waits until all are over.
    ///
    /// # Panics
    /// If that takes longer than `patience`.
    pub fn release_all(&mut self, patience: Duration) {
        self.handle.send_waiting(Command::ReleaseAll).unwrap();
        let all = self.leases.len();
        self.wait("every lease released", patience, |engine| {
            engine.count(|held| held.released) == all
        });
    }

    /// MAC and address of every lease that holds one, sorted.
    #[must_use]
    pub fn table(&self) -> Vec<(Mac, Ipv4Addr)> {
        let held = self.leases.values();
        let mut table: Vec<_> =
            held.filter_map(|held| Some((held.last.as_ref()?.mac, held.address()?))).collect();
        table.sort_unstable();
        table
    }

    /// The one port's counters and device.
    ///
    /// # Panics
    /// If the engine is gone.
    #[must_use]
    pub fn port(&self) -> PortView {
        self.handle.ports().unwrap().remove(0)
    }

    /// A counter of the one port by its name.
    ///
    /// # Panics
    /// If there is no such counter.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let counters = self.port().counters;
        let found = counters.iter().find(|(other, _)| other == name);
        found.unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// How a lease stands.
    ///
    /// # Panics
    /// If the engine or the lease is gone.
    #[must_use]
    pub fn query(&self, lease: LeaseId) -> LeaseView {
        self.handle.query(lease).unwrap().unwrap()
    }

    fn take(&mut self, event: Event) {
        let Event::Lease { lease, notice } = event else {
            self.notes.push(event);
            return;
        };
        let held = self.leases.entry(lease).or_default();
        held.bound += u32::from(notice.kinds.contains(Kinds::BOUND));
        held.renewed += u32::from(notice.kinds.contains(Kinds::RENEWED));
        held.changed += u32::from(notice.kinds.contains(Kinds::CHANGED));
        held.lost += u32::from(notice.kinds.contains(Kinds::LOST));
        held.released |= notice.kinds.contains(Kinds::RELEASED);
        held.last = Some(notice);
    }

    /// Leases and counters in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let counters = self.port().counters;
        let counters: Vec<String> = counters
            .iter()
            .filter(|(_, value)| *value > 0)
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        format!(
            "{} leases, {} with an address, {} lost, {} released; {}",
            self.leases.len(),
            self.count(|held| held.address().is_some()),
            self.count(|held| held.lost > 0),
            self.count(|held| held.released),
            counters.join(", ")
        )
    }
}

impl Drop for LabEngine {
    fn drop(&mut self) {
        // The engine may have stopped already.
        let _stopped = self.handle.send_waiting(Command::Shutdown { release: false });
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if !std::thread::panicking() {
                result.expect("the engine's thread panicked").expect("the engine failed");
            }
        }
    }
}
