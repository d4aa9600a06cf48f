//! The command line. Its help is the manual.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};
use lessee_engine::lease::{BroadcastFlag, ClientIdentifier};
use lessee_engine::pace::Window;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::VlanStack;

use crate::values::{self, Hold};

const EXIT: &str = "\
Exit status:
  0  all goals met: a server answered, all leases were bound
  1  not all of them: no answer, leases not bound or lost (standard error says which and why)
  2  usage or environment: bad argument, no such interface, missing capability, link down";

const MAIN: &str = "\
Examples:
  lessee probe eth0                             which DHCP servers are there?
  lessee lease eth0                             one lease, kept and renewed until Ctrl-C
  lessee lease eth0 --count 500 --hold 10m      five hundred of them, for ten minutes
  lessee load eth0 --leases 5000 --rate 200     load test of the server behind eth0
  lessee load --lab --leases 10000              the same against a private network; nothing needed
  lessee dissect trace.pcapng                   what do we make of a capture?

Sending raw packets needs CAP_NET_RAW: run lessee with sudo, or give it the capability once:
  sudo setcap cap_net_raw+ep \"$(command -v lessee)\"
`load --lab` makes its own network namespaces, without root where the system allows that.";

const PROBE: &str = "\
Examples:
  lessee probe eth0
  lessee probe eth0 --vlan 100                  ask on 802.1Q VLAN 100 (the tag is written by lessee)
  lessee probe eth0 --vlan 100.20 --json        ask behind QinQ tags; offers with all options as JSON
  lessee probe eth0 --timeout 40s               a switch port may forward only 30 s after link-up
  lessee probe eth0 --mac 52:54:00:12:34:56     what would this machine be offered?";

const LEASE: &str = "\
Examples:
  lessee lease eth0                             one lease until Ctrl-C, then released
  lessee lease eth0 --hold 0s --keep            bind and leave it to the server's lease time
  lessee lease eth0 --mac 02:00:00:00:00:2a --hostname printer --request 192.0.2.42
  lessee lease eth0 --count 1000 --mac-base 02:00:00:00:00:00 --hostname 'host-{i}' --hold 1h
  lessee lease eth0 --vlan 100 --json | jq      events as JSON lines: bound, renewed, changed, lost …

Ctrl-C (SIGINT), SIGTERM and SIGHUP end the run in order: leases are released unless --keep. A second signal ends it at once.";

const LOAD: &str = "\
Examples:
  lessee load --lab --leases 10000              a private network with a server of its own
  lessee load eth0 --leases 5000                as fast as the server behind eth0 takes it
  lessee load eth0 --leases 5000 --rate 200     200 new clients a second, come what may
  lessee load eth0 --leases 500 --window 1      one exchange at a time: the server's own latency
  lessee load eth0 --leases 20000 --duration 2m --json > result.json

All clients are bound, then all are released; the two phases are reported apart. A client that gets no answer repeats itself as RFC 2131 says (after 4, 8, 16, 32 and 64 s), so that its latency counts from its first DISCOVER. Ctrl-C stops early, releases what is bound, and still reports.";

const DISSECT: &str = "\
Examples:
  lessee dissect trace.pcap                     DHCP messages, and refusals by name
  lessee dissect captures/ --json | jq          all captures of a folder, as JSON lines
  tcpdump -i eth0 -U -w - udp | lessee dissect -
  lessee dissect sent.pcap --ignore-checksums   captured on the sender, whose network card sums

Ethernet, Linux \"cooked\" (-i any) and raw IPv4 captures can be read; of the latter two the parser sees the IPv4 packet only. Frames of other link types are counted.

Exit status:
  0  all files were read to their end, whatever was in them
  1  not all of them: missing, no capture, cut short or corrupt (standard error says which and where)
  2  usage: bad argument";

/// Real DHCP leases by the thousand, from one process.
///
/// lessee is a DHCPv4 client that speaks raw Ethernet: each lease has a MAC address of its own
/// (and VLAN tags, if wanted), without any interface being created for it. It probes servers,
/// holds leases, and load-tests servers with clients that behave like real ones.
#[derive(Debug, Parser)]
#[command(name = "lessee", version, after_help = MAIN, after_long_help = format!("{MAIN}\n\n{EXIT}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask which DHCP servers answer on an interface, and what they offer
    ///
    /// Sends a DISCOVER and shows every OFFER with all its options, until no further server
    /// answers for 1 s, or the time is over. No offer is ever accepted, so no address is used up; and since each interface is always
    /// probed under the same MAC address and client identifier, a server holds at most one offer
    /// for it.
    #[command(after_long_help = format!("{PROBE}\n\n{EXIT}"))]
    Probe(Probe),
    /// Acquire leases, keep them renewed, release them at the end
    ///
    /// Acquires one lease, or --count of them, prints the terms of each, renews them for as long
    /// as it runs and tells what happens to them. At the end they are released, unless --keep.
    /// The interface itself gets no address: the leases exist on the wire only, where lessee
    /// answers ARP for them.
    #[command(after_long_help = format!("{LEASE}\n\n{EXIT}"))]
    Lease(Lease),
    /// Load-test a DHCP server: bind many leases, release them, report rates and latencies
    ///
    /// Drives any DHCP server behind an interface, or, with --lab, a server of its own in a
    /// private network that needs no set-up. Use it on servers that are yours to load: while it
    /// runs, N addresses of the pool are taken.
    #[command(after_long_help = format!("{LOAD}\n\n{EXIT}"))]
    Load(Load),
    /// Read captures (pcap, pcapng): what the parser makes of each DHCP message, or why it refuses it
    ///
    /// Prints each DHCP message with its addresses and all options, as the engine would understand
    /// it, or the reason for its refusal by the name that the counters have for it. Other traffic
    /// is counted.
    #[command(after_long_help = DISSECT)]
    Dissect(Dissect),
}

/// How packets get on the wire and back.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wire {
    /// Send with this VLAN tag, or with two (outer.inner, QinQ)
    ///
    /// lessee writes the tags itself: the interface is the trunk (eth0, not eth0.100), and needs
    /// no VLAN device. VIDs are 1 to 4094; the outer tag of two is 802.1ad.
    #[arg(long, value_name = "VID[.VID]", value_parser = values::vlans)]
    pub(crate) vlan: Option<VlanStack>,

    /// Ask servers to broadcast their answers: auto, always or never
    ///
    /// `auto` asks where a unicast answer could not arrive (see --no-promiscuous), and from the second
    /// try on; and always in `load` with more than 1,000 leases on an interface: Linux hosts
    /// keep 1,024 neighbours by default (gc_thresh3), so that servers like dnsmasq cannot unicast
    /// to more. `always` helps with servers, relays and Wi-Fi access points that
    /// lose unicasts to unknown stations.
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = values::broadcast)]
    pub(crate) broadcast: BroadcastFlag,

    /// Do not set the interface to promiscuous mode
    ///
    /// By default it is promiscuous while lessee runs, because network cards drop frames for MAC
    /// addresses that are not their own, and VLAN tags that no device uses. Without it lessee
    /// asks for broadcast answers; renewals, which servers answer by unicast, then succeed only
    /// by broadcast from T2 on.
    #[arg(long)]
    pub(crate) no_promiscuous: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// The interface to ask on
    #[arg(value_name = "IFACE")]
    pub(crate) interface: String,

    #[command(flatten)]
    pub(crate) wire: Wire,

    /// The longest wait for offers
    ///
    /// Once a server has answered, it ends as soon as no further one did for 4 s. The default is
    /// long enough for dnsmasq, which by default pings an address for 3 s before it offers it.
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// Ask under this MAC address instead of the interface's own probe address
    #[arg(long, value_parser = values::mac)]
    pub(crate) mac: Option<Mac>,

    /// Option 61: `mac` (type 1 and the MAC address), `none`, or bytes in hexadecimal
    #[arg(long, value_name = "HEX", default_value = "mac", value_parser = values::client_id)]
    pub(crate) client_id: ClientIdentifier,

    /// Print one JSON document instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Lease {
    /// The interface to lease on
    #[arg(value_name = "IFACE")]
    pub(crate) interface: String,

    /// How many leases, each under a MAC address of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::leases)]
    pub(crate) count: u32,

    /// The lease's MAC address
    ///
    /// Without it, an address derived from the interface's own is used (02:…, locally
    /// administered), always the same, so that the server gives the same address again.
    #[arg(long, value_parser = values::mac, conflicts_with = "count")]
    pub(crate) mac: Option<Mac>,

    /// The first MAC address with --count; the others follow it
    #[arg(long, value_name = "MAC", value_parser = values::mac, conflicts_with = "mac")]
    pub(crate) mac_base: Option<Mac>,

    #[command(flatten)]
    pub(crate) wire: Wire,

    /// Option 12; `{i}` becomes the lease's number, from 0
    #[arg(long, value_name = "NAME", value_parser = values::hostname)]
    pub(crate) hostname: Option<String>,

    /// Option 50: the address to ask for
    #[arg(long, value_name = "IP", conflicts_with = "count")]
    pub(crate) request: Option<Ipv4Addr>,

    /// Option 61: `mac` (type 1 and the MAC address), `none`, or bytes in hexadecimal
    #[arg(
        long,
        value_name = "HEX",
        default_value = "mac",
        value_parser = values::client_id,
        conflicts_with = "count"
    )]
    pub(crate) client_id: ClientIdentifier,

    /// Option 60: the vendor class
    #[arg(long, value_name = "TEXT")]
    pub(crate) vendor_class: Option<String>,

    /// Give up if not all are bound by then: what is bound is released, and the exit status is 1
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// How long to hold the leases once all are bound: a time, or `forever` (until Ctrl-C)
    #[arg(long, value_name = "TIME", default_value = "forever")]
    pub(crate) hold: Hold,

    /// Release the leases at the end (this is the default)
    #[arg(long, conflicts_with = "keep")]
    pub(crate) release: bool,

    /// Leave the leases to the server at the end, until their time runs out
    #[arg(long)]
    pub(crate) keep: bool,

    /// Print events as JSON, one on a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("where").required(true).args(["interface", "lab"])))]
pub(crate) struct Load {
    /// The interface whose server is to be loaded
    #[arg(value_name = "IFACE")]
    pub(crate) interface: Option<String>,

    /// Use a private network with a server of its own instead of an interface
    ///
    /// Two network namespaces joined by a veth pair, with an embedded DHCP server in one and the
    /// clients in the other. Nothing outside of them is touched. Without root a user namespace is
    /// entered first, where the system allows it.
    #[arg(long)]
    pub(crate) lab: bool,

    /// How many leases, each under a MAC address of its own
    #[arg(long, value_name = "N", default_value = "1000", value_parser = values::leases)]
    pub(crate) leases: u32,

    /// Begin this many new leases a second, evenly (open loop)
    ///
    /// The window is then `none`, unless it is given too.
    #[arg(long, value_name = "R", value_parser = values::rate)]
    pub(crate) rate: Option<u32>,

    /// How many exchanges may be in flight: a number, `auto` or `none`
    ///
    /// `auto` (the default) finds what the server takes without losses: it grows while answers
    /// come in time, and is halved when clients have to repeat themselves. `none` sends all
    /// DISCOVERs at once, which most servers drop for the greater part.
    #[arg(long, value_name = "W", value_parser = values::window)]
    pub(crate) window: Option<Window>,

    /// End the binding after this time; what is not bound by then is stranded
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) duration: Option<Duration>,

    /// End the binding when no lease has been bound for this long
    ///
    /// The default is 90 s, longer than the longest pause of a client that repeats itself (65 s);
    /// and 30 s for the very first lease.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,

    /// The first MAC address; the others follow it
    #[arg(long, value_name = "MAC", value_parser = values::mac)]
    pub(crate) mac_base: Option<Mac>,

    #[command(flatten)]
    pub(crate) wire: Wire,

    /// Do not release the leases at the end
    #[arg(long)]
    pub(crate) keep: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dissect {
    /// Captures; a folder stands for the *.pcap, *.pcapng and *.cap in it, `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Print other traffic too
    #[arg(long)]
    pub(crate) all: bool,

    /// Take messages whose IPv4 or UDP checksum is wrong
    ///
    /// A capture made on the sending host has the checksums that its network card was still to
    /// fill in.
    #[arg(long)]
    pub(crate) ignore_checksums: bool,

    /// Print JSON, one object on a line
    #[arg(long)]
    pub(crate) json: bool,
}

impl Lease {
    /// Whether many leases were asked for, even if the number is 1.
    pub(crate) const fn is_many(&self) -> bool {
        self.count > 1 || self.mac_base.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
