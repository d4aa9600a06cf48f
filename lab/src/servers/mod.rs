//! Real DHCP servers that we did not write, as values.
//!
//! A [`Server`] knows how one program is configured, when it is ready and how
//! its lease table is read. [`start`] runs it inside a [`Netns`] with
//! everything it writes in a private temporary directory:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use lessee_lab::servers::{self, ServerConfig};
//! use lessee_lab::topology::Wire;
//!
//! let wire = Wire::new()?;
//! let config = ServerConfig::proof(&wire.spec);
//! let mut server = servers::start(&servers::DNSMASQ, &wire.server, config)?;
//! // … clients do their thing in wire.client …
//! for lease in server.leases()? {
//!     eprintln!("{} {:?}", lease.address, lease.mac);
//! }
//! let stopped = server.stop()?;
//! let server = stopped.start()?; // the same one, with its memory
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! Real servers need real root; inside an unprivileged user namespace some of
//! them refuse.

mod config;
mod dhcpd;
mod dir;
mod dnsmasq;
mod kea;
mod process;
mod udhcpd;

use std::fmt::Debug;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub use config::{Profile, ServerConfig, StaticRoute};
pub use dhcpd::{Dhcpd, parse_leases as parse_dhcpd_leases};
pub use dnsmasq::{Dnsmasq, parse_leases as parse_dnsmasq_leases};
pub use kea::{Kea, parse_leases as parse_kea_leases};
pub use process::{Running, Stopped, start};
pub use udhcpd::{Udhcpd, parse_leases as parse_udhcpd_leases};

use crate::netns::{Netns, NetnsError, Process};

/// dnsmasq.
pub static DNSMASQ: Dnsmasq = Dnsmasq;
/// Kea.
pub static KEA: Kea = Kea;
/// ISC dhcpd.
pub static DHCPD: Dhcpd = Dhcpd;
/// BusyBox udhcpd.
pub static UDHCPD: Udhcpd = Udhcpd;

/// The four servers.
pub static ALL: [&dyn Server; 4] = [&DNSMASQ, &KEA, &DHCPD, &UDHCPD];

/// A program that serves DHCP.
pub trait Server: Debug + Send + Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// The program's file name.
    fn program(&self) -> &'static str;

    /// The Debian package that has it.
    fn package(&self) -> &'static str;

    /// What a test may ask of it.
    fn limits(&self) -> Limits;

    /// Its configuration and command line, with all files in `dir`.
    fn render(&self, config: &ServerConfig, dir: &Path) -> Rendered;

    /// Whether it answers clients from now on.
    fn ready(&self, probe: &Probe) -> bool;

    /// Makes a running server write down its lease table, where it does not
    /// do so by itself.
    ///
    /// # Errors
    /// When it does not.
    fn flush(&self, process: &mut Process, dir: &Path) -> io::Result<()> {
        let _ = (process, dir);
        Ok(())
    }

    /// The lease table written down in `dir`, at unix time `now`.
    ///
    /// # Errors
    /// When it cannot be read, or makes no sense.
    fn read_leases(&self, dir: &Path, now: u64) -> Result<Vec<ServerLease>, TableError>;
}

/// Whether the program of `server` is installed, and where.
#[must_use]
pub fn find(server: &dyn Server) -> Option<PathBuf> {
    process::find_program(server.program())
}

/// What a test may ask of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest pool with which it still answers quickly.
    pub pool: u32,
    /// The shortest lease it gives, in seconds.
    pub min_lease: u32,
    /// Whether its table keeps the client identifier.
    pub keeps_client_id: bool,
}

/// What is to be written and run for a server.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    /// Files to be written whenever the server starts.
    pub files: Vec<(PathBuf, String)>,
    /// Empty files that must exist, and are left alone where they do.
    pub touch: Vec<PathBuf>,
    /// The command line, without the program.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(&'static str, PathBuf)>,
}

/// What can be seen of a starting server.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// What it has printed so far.
    pub log: String,
    /// Its namespace's `/proc/net/udp`.
    pub udp: String,
    /// Its namespace's `/proc/net/packet`.
    pub packet: String,
    /// The index of its interface.
    pub ifindex: u32,
}

impl Probe {
    /// Whether a UDP socket is bound to port 67.
    #[must_use]
    pub fn udp_bound(&self) -> bool {
        self.udp.lines().skip(1).any(|line| {
            let local = line.split_whitespace().nth(1);
            local.is_some_and(|local| local.ends_with(":0043"))
        })
    }

    /// Whether a packet socket is bound to the interface.
    #[must_use]
    pub fn packet_bound(&self) -> bool {
        let index = self.ifindex.to_string();
        self.packet.lines().skip(1).any(|line| line.split_whitespace().nth(4) == Some(&index))
    }
}

/// A line of a server's own lease table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLease {
    /// The address.
    pub address: Ipv4Addr,
    /// The client's hardware address.
    pub mac: [u8; 6],
    /// The client identifier (option 61, with its type byte).
    pub client_id: Option<Vec<u8>>,
    /// The client's host name.
    pub hostname: Option<String>,
    /// When it ends or ended, in unix seconds; `None` for never.
    pub expires: Option<u64>,
    /// Where it stands.
    pub state: LeaseState,
}

impl ServerLease {
    /// Whether the server regards the address as in use.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == LeaseState::Active
    }
}

/// Where a lease stands, in its server's eyes.
///
/// dnsmasq forgets leases that are not active. udhcpd does not tell released
/// from expired: it says [`LeaseState::Expired`] of both; and it says
/// [`LeaseState::Active`] of an address that it only offered, for as long as
/// the offer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// In use.
    Active,
    /// Given back by the client.
    Released,
    /// Run out.
    Expired,
    /// Refused by the client, or found in use by somebody else.
    Declined,
}

/// A lease table that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The server was told to keep none.
    #[error("none is kept in the bench profile; use the proof profile")]
    NotKept,
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text makes no sense.
    #[error("line {line}: {what}: {text:?}")]
    Text {
        /// The number of the line (or record), from 1.
        line: usize,
        /// What was expected.
        what: &'static str,
        /// What was there.
        text: String,
    },
}

impl TableError {
    pub(crate) fn text(line: usize, what: &'static str, text: &str) -> Self {
        Self::Text { line, what, text: text.to_owned() }
    }
}

/// A failure to run a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The program is not there.
    #[error("{server}: {program} is not installed; install the Debian package {package}")]
    NotInstalled {
        /// The server.
        server: &'static str,
        /// The program.
        program: &'static str,
        /// The package.
        package: &'static str,
    },
    /// The configuration asks for what this server cannot do.
    #[error("{server}: {why}")]
    Config {
        /// The server.
        server: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A file of the server could not be written or read.
    #[error("{server}: {what}: {source}")]
    Io {
        /// The server.
        server: &'static str,
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The namespace or the process could not be had.
    #[error("{server}: {source}")]
    Netns {
        /// The server.
        server: &'static str,
        /// What happened.
        source: NetnsError,
    },
    /// The server ended while starting.
    #[error("{server} ended while starting ({status}){hint}; its log ends:\n{log}")]
    Ended {
        /// The server.
        server: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What may be behind it; empty, or text that begins with `"; "`.
        hint: &'static str,
        /// The last lines that it printed.
        log: String,
    },
    /// The server was not ready in time.
    #[error("{server} was not ready after {seconds} s; its log ends:\n{log}")]
    NotReady {
        /// The server.
        server: &'static str,
        /// How long was waited.
        seconds: u64,
        /// The last lines that it printed.
        log: String,
    },
    /// The server's lease table cannot be read.
    #[error("{server}: its lease table cannot be read: {source}")]
    Table {
        /// The server.
        server: &'static str,
        /// What happened.
        source: TableError,
    },
}

/// Reads `aa:bb:cc:dd:ee:ff`, or any other number of such bytes.
pub(crate) fn parse_hex_bytes(text: &str) -> Option<Vec<u8>> {
    text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

/// Reads `aa:bb:cc:dd:ee:ff`.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    parse_hex_bytes(text)?.try_into().ok()
}

/// The text of a file that a server may be writing at this moment; `None`
/// when there is no such file. It is read until two looks agree and its last
/// line is whole; should it change all the time, for at most two seconds.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, TableError> {
    let began = Instant::now();
    let mut last = None;
    loop {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TableError::File { path: path.to_owned(), source }),
        };
        let whole = bytes.last().is_none_or(|byte| *byte == b'\n');
        if (whole && last.as_ref() == Some(&bytes)) || began.elapsed() >= Duration::from_secs(2) {
            return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
        last = Some(bytes);
        thread::sleep(Duration::from_millis(3));
    }
}

/// Whether `netns` has the interface, and its index.
pub(crate) fn interface_index(netns: &Netns, name: &str) -> Result<u32, NetnsError> {
    Ok(netns.links()?.get(name)?.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_seen_in_proc() {
        let probe = Probe {
            udp: "  sl  local_address rem_address   st\n 1: 00000000:0043 00000000:0000 07\n"
                .into(),
            packet: "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                     00000000 3      3    0003   12    1 0      0      4711\n"
                .into(),
            ifindex: 12,
            log: String::new(),
        };
        assert!(probe.udp_bound() && probe.packet_bound());
        assert!(!Probe { ifindex: 1, ..probe.clone() }.packet_bound());
        let other = probe.udp.replace("0043", "0044");
        assert!(!Probe { udp: other, ..probe }.udp_bound());
    }

    #[test]
    fn bytes_in_hex_are_read() {
        assert_eq!(parse_mac("02:00:00:00:0a:ff"), Some([2, 0, 0, 0, 10, 255]));
        assert_eq!(parse_mac("02:00:00:00:0a"), None);
        assert_eq!(parse_mac("02:00:00:00:0a:fg"), None);
        assert_eq!(parse_hex_bytes("ff:1"), Some(vec![255, 1]));
    }
}
