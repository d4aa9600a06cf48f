//! The private network of `lessee load --lab`.

use std::net::Ipv4Addr;

use anyhow::Context;
use lessee_engine::wire::ethernet::Mac;
use lessee_lab::embedded::{Running, ServerSpec};
use lessee_lab::topology::{Port, Wire, WireSpec};
use lessee_linkctl::Link;

use crate::output::{count, grouped, note};

/// First MAC address of the lab's clients: nobody else is there.
pub(crate) const MAC_BASE: Mac = Mac([0x02, 0, 0, 0, 0, 0]);

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PREFIX: u8 = 8;
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 0);
/// Addresses beyond those that are needed: offers that nobody took up.
const SPARE: u32 = 64;

/// Two namespaces, a veth pair, a server; all gone when dropped, or when the process ends.
#[derive(Debug)]
pub(crate) struct Lab {
    // Dropped first: the server lives in the wire's namespace.
    server: Running,
    wire: Wire,
}

impl Lab {
    /// Builds the network, with a pool that is big enough for `leases`.
    pub(crate) fn build(leases: u32) -> anyhow::Result<Self> {
        note(
            "Building a private network: two network namespaces, joined by a veth pair. Nothing \
             outside of them is touched, and nothing stays behind.",
        );
        // The server has an address and a MAC of its own, which the kernel does not know.
        let server = Port::new("s0");
        let spec = WireSpec { server, ..WireSpec::default() };
        let wire = Wire::with(spec).context("cannot build the private network")?;
        let pool = leases.saturating_add(SPARE);
        let last = Ipv4Addr::from(u32::from(FIRST).saturating_add(pool - 1));
        let spec = ServerSpec::new(SERVER, PREFIX, FIRST, last);
        let server = Running::start(&wire.server, &wire.spec.server.name, spec, Vec::new())?;
        note(&format!(
            "  {}: an embedded DHCP server, {SERVER}/{PREFIX}, with a pool of {} addresses",
            wire.spec.server.name,
            grouped(u64::from(pool))
        ));
        note(&format!(
            "  {}: lessee, with {}, each under a MAC address of its own",
            wire.spec.client.name,
            count(u64::from(leases), "client")
        ));
        Ok(Self { server, wire })
    }

    /// The clients' interface.
    pub(crate) fn link(&self) -> anyhow::Result<Link> {
        Ok(self.wire.client_link()?)
    }

    /// Runs `work` in the clients' namespace.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.wire.client.run(work)
    }

    /// How many leases the server counts.
    pub(crate) fn server_leases(&self) -> u64 {
        self.server.leases().len() as u64
    }
}
