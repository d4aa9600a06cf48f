//! No two runs under the same MAC addresses on one interface.
//!
//! A run binds an abstract unix socket whose name says what it uses. Such names belong to a network
//! namespace, as interfaces do, and vanish with the process in whatever way that ends. All names of
//! a namespace can be read from `/proc/net/unix`, so a run takes its name first, and then looks for
//! others that overlap: of two that start at the same moment at least one sees the other.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::Context;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::VlanStack;
use lessee_linkctl::Link;

use crate::macs::MacRange;

const PREFIX: &str = "lessee/mac/";

/// A range of MAC addresses that is this run's own until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _socket: UnixListener,
}

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    interface: u32,
    /// Outer and inner VID; 0 for none.
    vlans: [u16; 2],
    macs: MacRange,
    pid: u32,
}

impl Lock {
    /// Takes the range on `link`, in the calling thread's network namespace.
    pub(crate) fn take(link: &Link, vlans: VlanStack, macs: MacRange) -> anyhow::Result<Self> {
        let mut vids = [0; 2];
        for (place, tag) in vids.iter_mut().zip(vlans.tags()) {
            *place = tag.vid();
        }
        let claim = Claim { interface: link.index, vlans: vids, macs, pid: std::process::id() };
        let name = claim.name();
        let bound = SocketAddr::from_abstract_name(&name)
            .and_then(|address| UnixListener::bind_addr(&address));
        // Taken already: by a process of another PID namespace, where it has our number.
        let taken = bound.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
        let table = fs::read_to_string("/proc/thread-self/net/unix")
            .context("cannot read which MAC addresses other runs use (/proc/net/unix)")?;
        let others = claims(&table).filter(|other| taken || *other != claim);
        let clashes: Vec<Claim> = others.filter(|other| other.clashes(&claim)).collect();
        let Some(first) = clashes.first() else {
            let lock = || format!("{}: cannot lock its MAC addresses", link.name);
            return Ok(Self { _socket: bound.with_context(lock)? });
        };
        let vlan = if vlans.is_empty() { String::new() } else { format!(" (VLAN {vlans})") };
        let who: Vec<String> = clashes
            .iter()
            .map(|other| format!("process {} uses {}", other.pid, other.macs))
            .collect();
        anyhow::bail!(
            "{}{vlan}: {}, which overlaps with {macs}: two clients with one MAC would take each \
             other's answers. End that run (kill {}), or choose other addresses with --mac or \
             --mac-base",
            link.name,
            who.join(", "),
            first.pid
        )
    }
}

impl Claim {
    fn name(&self) -> String {
        let [outer, inner] = self.vlans;
        let (first, last) = (self.macs.first.to_u64(), self.macs.last.to_u64());
        let (interface, pid) = (self.interface, self.pid);
        format!("{PREFIX}{interface}/{outer}.{inner}/{first:012x}-{last:012x}/{pid}")
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('/');
        let interface = parts.next()?.parse().ok()?;
        let (outer, inner) = parts.next()?.split_once('.')?;
        let (first, last) = parts.next()?.split_once('-')?;
        let pid = parts.next()?.parse().ok()?;
        let mac = |hex| u64::from_str_radix(hex, 16).ok().map(Mac::from_u64);
        let macs = MacRange { first: mac(first)?, last: mac(last)? };
        let vlans = [outer.parse().ok()?, inner.parse().ok()?];
        Some(Self { interface, vlans, macs, pid })
    }

    fn clashes(&self, other: &Self) -> bool {
        (self.interface, self.vlans) == (other.interface, other.vlans)
            && self.macs.overlaps(other.macs)
    }
}

/// The claims among the sockets of a namespace; an abstract name begins with `@` there.
fn claims(table: &str) -> impl Iterator<Item = Claim> {
    table.lines().filter_map(|line| Claim::parse(line.split_once('@')?.1.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_survives_its_name() {
        let macs = MacRange::new("02:00:00:00:00:10".parse().unwrap(), 16).unwrap();
        let claim = Claim { interface: 7, vlans: [100, 0], macs, pid: 42 };
        let name = claim.name();
        assert_eq!(name, "lessee/mac/7/100.0/020000000010-02000000001f/42");
        let longest = Claim { interface: u32::MAX, vlans: [4094; 2], macs, pid: u32::MAX };
        assert!(longest.name().len() <= 107, "fits sun_path");
        let table = format!(
            "Num       RefCount Protocol Flags    Type St Inode Path\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 100 @{name}\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 101 /run/x@lessee\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 102\n"
        );
        assert_eq!(claims(&table).collect::<Vec<_>>(), [claim]);
        assert!(!claim.clashes(&Claim { vlans: [100, 1], ..claim }));
        assert!(!claim.clashes(&Claim { interface: 8, ..claim }));
        assert!(claim.clashes(&Claim { pid: 1, ..claim }));
    }
}
