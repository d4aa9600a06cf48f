//! A raw-packet DHCP client engine: thousands to a million leases in one process, each under its
//! own MAC, for interfaces that need not exist.
//!
//! It speaks Ethernet, 802.1Q, IPv4, UDP and DHCP itself through AF_PACKET rings. One packet in,
//! one packet out:
//!
//! 1. The kernel fills a receive slot of a port; epoll wakes [`driver`].
//! 2. `driver` reads the clock once and calls [`client::Client::turn`].
//! 3. [`ring`] loads the slot's status and lends the frame: bytes, VLAN tag from the metadata,
//!    whether the checksum can be judged.
//! 4. [`wire`] borrows the bytes into a packet, or counts a named [`wire::Discard`].
//! 5. [`lease::table`] routes it by xid; the [`lease::machine`] copies what it keeps; the slot
//!    goes back.
//! 6. The lease's news goes to its queue, its deadline to the [`timer`], its slot number to the
//!    ready queue (deadlines and commands end here too).
//! 7. For each ready lease, as [`pace`] allows: acquire a transmit slot; none means stop and keep
//!    the queue.
//! 8. The machine yields a [`wire::Transmit`]; `wire` writes it straight into the slot.
//! 9. Commit publishes it.
//! 10. One flush a port a turn; `driver` sleeps until the next deadline.
//!
//! ```no_run
//! use lessee_engine::client::PortSpec;
//! use lessee_engine::driver::Driver;
//! use lessee_engine::lease::{Acquire, PortId, Profile};
//! use lessee_engine::ring::{PacketRing, RingConfig};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Interface index 2 with an MTU of 1500; needs CAP_NET_RAW.
//! let ring = PacketRing::open(&RingConfig::new(2, 1500))?;
//! let (driver, handle) = Driver::new(vec![(PortSpec::new("eth0", 1500), ring)])?;
//! std::thread::spawn(move || driver.run());
//!
//! let profile = Arc::new(Profile::default());
//! handle.acquire(Acquire::new(PortId(0), "02:00:00:00:00:01".parse()?, profile))?;
//! println!("{:?}", handle.events().recv()?);
//! # Ok(())
//! # }
//! ```
pub mod arp;
pub mod client;
pub mod command;
pub mod counters;
pub mod device;
pub mod driver;
pub mod error;
pub mod handle;
pub mod lease;
pub mod pace;
pub mod random;
pub mod ring;
pub mod time;
pub mod timer;
pub mod wire;
