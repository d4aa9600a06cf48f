//! An interface with rings and a running engine.

use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use lessee_engine::client::PortSpec;
use lessee_engine::command::{Command, PortView};
use lessee_engine::driver::Driver;
use lessee_engine::error::{DriverError, HandleError};
use lessee_engine::handle::Handle;
use lessee_engine::lease::PortId;
use lessee_engine::pace::Pacing;
use lessee_engine::ring::{MTU_MIN, PacketRing, RingConfig, RingError};
use lessee_lab::userns;
use lessee_linkctl::{Link, LinkError, Links};

/// The engine's number of the one port.
pub(crate) const PORT: PortId = PortId(0);

/// Interfaces that are listed where the one asked for does not exist.
const LISTED: usize = 20;

/// What a port is opened for.
#[derive(Clone, Debug)]
pub(crate) struct PortOptions {
    pub(crate) promiscuous: bool,
    /// The one MAC that the port is used with, if there is only one.
    pub(crate) only_mac: Option<[u8; 6]>,
    pub(crate) pacing: Pacing,
    pub(crate) latencies: bool,
    /// Memory of the receive ring, in bytes.
    pub(crate) rx_bytes: usize,
    /// Slots to transmit from.
    pub(crate) tx_frames: usize,
}

impl PortOptions {
    /// For a few leases.
    pub(crate) const fn small(promiscuous: bool) -> Self {
        Self {
            promiscuous,
            only_mac: None,
            pacing: Pacing {
                window: lessee_engine::pace::Window::Auto,
                starts_per_second: None,
                others_per_second: None,
            },
            latencies: false,
            rx_bytes: 256 << 10,
            tx_frames: 256,
        }
    }

    /// For a storm.
    pub(crate) const fn large(promiscuous: bool) -> Self {
        Self { rx_bytes: 4 << 20, tx_frames: 1024, ..Self::small(promiscuous) }
    }
}

/// An interface that can be leased on: looked up and found fit.
pub(crate) fn look_up(interface: &str) -> anyhow::Result<Link> {
    let links = Links::open()?;
    let link = match links.get(interface) {
        Err(LinkError::NoSuchLink { link, existing, .. }) => bail!("{}", unknown(&link, &existing)),
        other => other?,
    };
    let name = &link.name;
    if !link.is_ethernet {
        let others: Vec<String> = links
            .list()?
            .into_iter()
            .filter(|link| link.is_ethernet)
            .map(|link| link.name)
            .collect();
        let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        let what = if name == "lo" { "is loopback, not Ethernet" } else { "is not Ethernet" };
        bail!("{name} {what}: DHCP needs an Ethernet interface; here there are: {others}");
    }
    if !link.up {
        bail!("{name} is down: set it up with `ip link set {name} up`");
    }
    if !link.carrier {
        bail!(
            "{name} has no carrier: plug in the cable, or set up its other end (`ip link show \
             {name}` shows NO-CARRIER)"
        );
    }
    if (link.mtu as usize) < MTU_MIN {
        bail!(
            "{name} has an MTU of {} bytes, and DHCP needs {MTU_MIN} (RFC 2131 section 2): raise \
             it with `ip link set {name} mtu 1500`",
            link.mtu
        );
    }
    Ok(link)
}

/// A port whose engine runs on a thread of its own.
#[derive(Debug)]
pub(crate) struct Port {
    handle: Handle,
    thread: JoinHandle<Result<(), DriverError>>,
}

impl Port {
    /// Opens rings on `link`, which is in the calling thread's network namespace.
    pub(crate) fn open(link: &Link, options: &PortOptions) -> anyhow::Result<Self> {
        let name = &link.name;
        let config = RingConfig {
            promiscuous: options.promiscuous,
            rx_bytes: options.rx_bytes,
            tx_frames: options.tx_frames,
            ..RingConfig::new(link.index, link.mtu as usize)
        };
        let ring = match PacketRing::open(&config) {
            Ok(ring) => ring,
            Err(RingError::Permission { .. }) => bail!("{}", permission(name)),
            Err(error) => {
                return Err(error).with_context(|| format!("{name}: cannot open its rings"));
            }
        };
        let spec = PortSpec {
            unicast_arrives: options.promiscuous || options.only_mac == Some(link.mac),
            pacing: options.pacing,
            latencies: options.latencies,
            // The MTU of an Ethernet frame is below 65,536.
            ..PortSpec::new(name, u16::try_from(link.mtu).unwrap_or(u16::MAX))
        };
        let (driver, handle) = Driver::new(vec![(spec, ring)])?;
        let thread = thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || driver.run())
            .context("cannot start the engine's thread")?;
        Ok(Self { handle, thread })
    }

    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How the port stands.
    pub(crate) fn view(&self) -> anyhow::Result<PortView> {
        let view = self.handle.ports()?.into_iter().next();
        view.context("the engine has lost its port")
    }

    /// Ends the engine without a word to any server.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        match self.handle.send_waiting(Command::Shutdown { release: false }) {
            // It has ended by itself: its thread says why.
            Ok(()) | Err(HandleError::Gone) => {}
            Err(error) => return Err(error.into()),
        }
        // The handle is still there: with the last of them goes what wakes the engine.
        match self.thread.join() {
            Ok(ended) => Ok(ended?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn permission(interface: &str) -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "lessee".to_owned(), |path| path.display().to_string());
    format!(
        "{interface}: sending and receiving raw packets needs CAP_NET_RAW, which this process \
         does not have. Give it to the program once: sudo setcap cap_net_raw+ep {program}\n\
         Or run it as root: {}",
        userns::as_root()
    )
}

fn unknown(interface: &str, existing: &[String]) -> String {
    let mut here = existing.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if existing.len() > LISTED {
        here.push_str(&format!(" and {} more", existing.len() - LISTED));
    }
    format!("no interface {interface} in this network namespace; there are: {here}")
}
