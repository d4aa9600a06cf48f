//! BusyBox udhcpd.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::config::join;
use super::{
    LeaseState, Limits, Probe, Profile, Rendered, Server, ServerConfig, ServerLease, TableError,
};
use crate::netns::Process;

const LEASES: &str = "udhcpd.leases";
const FLUSH_WAIT: Duration = Duration::from_secs(5);
/// When it was written (8 bytes), then records of 36.
const HEAD: usize = 8;
const RECORD: usize = 36;

/// BusyBox udhcpd (Debian: `udhcpd`).
#[derive(Clone, Copy, Debug)]
pub struct Udhcpd;

impl Server for Udhcpd {
    fn name(&self) -> &'static str {
        "udhcpd"
    }

    fn program(&self) -> &'static str {
        "udhcpd"
    }

    fn package(&self) -> &'static str {
        "udhcpd"
    }

    fn limits(&self) -> Limits {
        // It walks its whole table at each packet.
        Limits { pool: 4_000, min_lease: 1, keeps_client_id: false }
    }

    fn render(&self, config: &ServerConfig, dir: &Path) -> Rendered {
        let (file, leases) = (dir.join("udhcpd.conf"), dir.join(LEASES));
        Rendered {
            // -a 0: no ARP before an OFFER. Otherwise each waits 2 s for an
            // answer; with -a 1 it still opens and closes a packet socket,
            // which costs 13 ms (the kernel waits for its readers): 75/s.
            args: vec!["-f".into(), "-a".into(), "0".into(), file.display().to_string()],
            files: vec![(file, text(config, dir))],
            touch: vec![leases],
            env: Vec::new(),
        }
    }

    fn ready(&self, probe: &Probe) -> bool {
        probe.udp_bound()
    }

    fn flush(&self, process: &mut Process, dir: &Path) -> io::Result<()> {
        // It truncates and writes the file in place: the file is removed, and
        // then whole once it stays the same for two looks.
        let file = dir.join(LEASES);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => process.signal(Signal::SIGUSR1)?,
        }
        let (began, mut last) = (Instant::now(), None);
        loop {
            let size = fs::metadata(&file).ok().map(|meta| meta.len());
            if size.is_some() && size == last && size >= Some(HEAD as u64) {
                return Ok(());
            }
            if began.elapsed() >= FLUSH_WAIT {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "udhcpd did not write its lease file on SIGUSR1 (is it paused?)",
                ));
            }
            last = size;
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn read_leases(&self, dir: &Path, now: u64) -> Result<Vec<ServerLease>, TableError> {
        let path = dir.join(LEASES);
        let bytes = fs::read(&path).map_err(|source| TableError::File { path, source })?;
        parse_leases(&bytes, now)
    }
}

fn text(config: &ServerConfig, dir: &Path) -> String {
    let proof = config.profile == Profile::Proof;
    let mut lines = vec![
        format!("start {}", config.first),
        format!("end {}", config.last),
        format!("interface {}", config.interface),
        format!("max_leases {}", config.pool_size()),
        format!("lease_file {}", dir.join(LEASES).display()),
        format!("pidfile {}", dir.join("udhcpd.pid").display()),
        "auto_time 0".to_owned(),
        "min_lease 1".to_owned(),
        format!("offer_time {}", if proof { 10 } else { 60 }),
        "conflict_time 0".to_owned(),
        format!("option subnet {}", config.netmask()),
        format!("option lease {}", config.lease_time),
    ];
    lines.extend(options(config));
    lines.extend(config.extra.iter().cloned());
    lines.push(String::new());
    lines.join("\n")
}

fn options(config: &ServerConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let mut option = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("option {name} {value}"));
        }
    };
    option("router", config.router.map(|ip| ip.to_string()).unwrap_or_default());
    option("dns", join(&config.dns, " "));
    option("domain", config.domain.clone().unwrap_or_default());
    option("mtu", config.mtu.map(|mtu| mtu.to_string()).unwrap_or_default());
    option("ntpsrv", join(&config.ntp, " "));
    option("search", join(&config.search, " "));
    let routes: Vec<String> = config
        .routes
        .iter()
        .map(|route| format!("{}/{} {}", route.destination, route.prefix, route.router))
        .collect();
    option("staticroutes", join(&routes, ", "));
    // It has no names for these two.
    option("0x3a", config.t1.map(|t| format!("{t:08x}")).unwrap_or_default());
    option("0x3b", config.t2.map(|t| format!("{t:08x}")).unwrap_or_default());
    lines
}

/// Reads udhcpd's lease file, as of unix time `now`.
///
/// All numbers are big-endian: the time of writing in 8 bytes, then for each
/// address the seconds left (4), the address (4), the MAC (6), the host name
/// (20, filled with zeros) and 2 bytes of padding.
///
/// # Errors
/// [`TableError::Text`] when it ends in the middle of a record.
pub fn parse_leases(bytes: &[u8], now: u64) -> Result<Vec<ServerLease>, TableError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let short = |line| TableError::text(line, "a whole record", "(end of file)");
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(|| short(0))?;
    let written = u64::from_be_bytes(*head);
    let (records, tail) = rest.as_chunks::<RECORD>();
    if !tail.is_empty() {
        return Err(short(records.len() + 1));
    }
    Ok(records.iter().map(|record| lease(record, written, now)).collect())
}

fn lease(record: &[u8; RECORD], written: u64, now: u64) -> ServerLease {
    let [e0, e1, e2, e3, a0, a1, a2, a3, m0, m1, m2, m3, m4, m5, name @ .., _, _] = *record;
    let left = u32::from_be_bytes([e0, e1, e2, e3]);
    let mac = [m0, m1, m2, m3, m4, m5];
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let hostname = String::from_utf8_lossy(name).into_owned();
    let expires = written.saturating_add(u64::from(left));
    ServerLease {
        address: Ipv4Addr::new(a0, a1, a2, a3),
        mac,
        client_id: None,
        hostname: Some(hostname).filter(|name| !name.is_empty()),
        expires: Some(expires),
        state: match (mac, left) {
            // It keeps a declined address under no MAC at all.
            ([0, 0, 0, 0, 0, 0], _) => LeaseState::Declined,
            _ if left == 0 || expires <= now => LeaseState::Expired,
            _ => LeaseState::Active,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From BusyBox 1.35.0, with a lease of 12 s, and after its release.
    const SAMPLE: &[u8] = include_bytes!("samples/udhcpd.leases");
    const RELEASED: &[u8] = include_bytes!("samples/udhcpd-released.leases");
    const WRITTEN: u64 = 1_795_317_438;

    #[test]
    fn a_real_lease_file_is_read() {
        let expected = ServerLease {
            address: Ipv4Addr::new(10, 77, 16, 63),
            mac: [2, 0, 0, 0, 0x0a, 0xff],
            client_id: None,
            hostname: Some("lab-client".to_owned()),
            expires: Some(WRITTEN + 12),
            state: LeaseState::Active,
        };
        assert_eq!(parse_leases(SAMPLE, WRITTEN).unwrap(), [expected]);
        assert_eq!(parse_leases(SAMPLE, WRITTEN + 12).unwrap()[0].state, LeaseState::Expired);
        assert_eq!(parse_leases(RELEASED, WRITTEN).unwrap()[0].state, LeaseState::Expired);
    }

    #[test]
    fn a_declined_address_belongs_to_nobody() {
        let mut bytes = SAMPLE.to_vec();
        bytes[16..42].fill(0);
        let leases = parse_leases(&bytes, WRITTEN).unwrap();
        assert_eq!((leases[0].state, &leases[0].hostname), (LeaseState::Declined, &None));
    }

    #[test]
    fn a_name_of_full_length_is_whole_and_a_short_file_an_error() {
        let mut bytes = SAMPLE.to_vec();
        bytes[22..42].fill(b'x');
        let leases = parse_leases(&bytes, WRITTEN).unwrap();
        assert_eq!(leases[0].hostname.as_ref().map(String::len), Some(20));
        assert_eq!(parse_leases(&[], 0).unwrap(), []);
        assert!(parse_leases(&bytes[..5], 0).is_err());
        assert!(parse_leases(&bytes[..43], 0).unwrap_err().to_string().contains("whole record"));
    }
}
