//! dnsmasq, as a DHCP server only.

use std::path::Path;

use super::config::join;
use super::{
    LeaseState, Limits, Probe, Profile, Rendered, Server, ServerConfig, ServerLease, TableError,
    parse_hex_bytes, parse_mac, read_text,
};

const LEASES: &str = "dnsmasq.leases";

/// dnsmasq (Debian: `dnsmasq-base`).
#[derive(Clone, Copy, Debug)]
pub struct Dnsmasq;

impl Server for Dnsmasq {
    fn name(&self) -> &'static str {
        "dnsmasq"
    }

    fn program(&self) -> &'static str {
        "dnsmasq"
    }

    fn package(&self) -> &'static str {
        "dnsmasq-base"
    }

    fn limits(&self) -> Limits {
        // The file is rewritten as a whole, so 60,000 is for the bench profile.
        Limits { pool: 60_000, min_lease: 120, keeps_client_id: true }
    }

    fn render(&self, config: &ServerConfig, dir: &Path) -> Rendered {
        let file = dir.join("dnsmasq.conf");
        Rendered {
            args: vec!["-k".to_owned(), "-C".to_owned(), file.display().to_string()],
            files: vec![(file, text(config, dir))],
            ..Rendered::default()
        }
    }

    fn ready(&self, probe: &Probe) -> bool {
        probe.udp_bound()
    }

    fn read_leases(&self, dir: &Path, now: u64) -> Result<Vec<ServerLease>, TableError> {
        parse_leases(&read_text(&dir.join(LEASES))?.unwrap_or_default(), now)
    }
}

fn text(config: &ServerConfig, dir: &Path) -> String {
    let mut lines: Vec<String> = [
        "port=0",
        "bind-dynamic",
        "no-resolv",
        "no-hosts",
        "user=root",
        "group=root",
        "pid-file=",
        "log-facility=-",
        "dhcp-authoritative",
        "dhcp-lease-max=10000000",
    ]
    .map(str::to_owned)
    .into();
    if !config.ping_check {
        lines.push("no-ping".to_owned());
    }
    let (first, last, netmask) = (config.first, config.last, config.netmask());
    lines.push(format!("interface={}", config.interface));
    lines.push(format!("dhcp-range={first},{last},{netmask},{}s", config.lease_time));
    lines.push(format!("dhcp-leasefile={}", dir.join(LEASES).display()));
    match config.profile {
        Profile::Bench => lines.extend(["leasefile-ro", "quiet-dhcp"].map(str::to_owned)),
        Profile::Proof => {}
    }
    lines.extend(options(config));
    lines.extend(config.extra.iter().cloned());
    lines.push(String::new());
    lines.join("\n")
}

fn options(config: &ServerConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let mut option = |name: &str, value: String| lines.push(format!("dhcp-option={name},{value}"));
    match config.router {
        Some(router) => option("option:router", router.to_string()),
        // Otherwise dnsmasq offers itself as router; without a value, nothing.
        None => lines.push("dhcp-option=3".to_owned()),
    }
    let mut option = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("dhcp-option={name},{value}"));
        }
    };
    option("option:dns-server", join(&config.dns, ","));
    option("option:domain-name", config.domain.clone().unwrap_or_default());
    option("option:mtu", config.mtu.map(|mtu| mtu.to_string()).unwrap_or_default());
    option("option:ntp-server", join(&config.ntp, ","));
    option("option:domain-search", join(&config.search, ","));
    let routes: Vec<String> = config
        .routes
        .iter()
        .map(|route| format!("{}/{},{}", route.destination, route.prefix, route.router))
        .collect();
    option("option:classless-static-route", join(&routes, ","));
    option("option:T1", config.t1.map(|t| t.to_string()).unwrap_or_default());
    option("option:T2", config.t2.map(|t| t.to_string()).unwrap_or_default());
    lines
}

/// Reads dnsmasq's lease file, as of unix time `now`.
///
/// # Errors
/// [`TableError::Text`] with the line that makes no sense.
pub fn parse_leases(text: &str, now: u64) -> Result<Vec<ServerLease>, TableError> {
    let mut leases = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [] => {}
            // The DHCPv6 part begins here.
            ["duid", ..] => break,
            [expires, mac, address, hostname, client_id] => {
                let lease = lease(expires, mac, address, hostname, client_id, now);
                let what = "expiry, MAC, address, name or client identifier";
                leases.push(lease.ok_or_else(|| TableError::text(number + 1, what, line))?);
            }
            _ => return Err(TableError::text(number + 1, "five fields", line)),
        }
    }
    Ok(leases)
}

fn lease(
    expires: &str,
    mac: &str,
    address: &str,
    hostname: &str,
    client_id: &str,
    now: u64,
) -> Option<ServerLease> {
    let expires = Some(expires.parse().ok()?).filter(|expires| *expires != 0);
    let known = |text: &str| Some(text.to_owned()).filter(|text| text != "*");
    Some(ServerLease {
        address: address.parse().ok()?,
        mac: parse_mac(mac)?,
        client_id: match known(client_id) {
            Some(text) => Some(parse_hex_bytes(&text)?),
            None => None,
        },
        hostname: known(hostname),
        expires,
        state: match expires {
            Some(expires) if expires <= now => LeaseState::Expired,
            _ => LeaseState::Active,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// From dnsmasq 2.90, after one client.
    const SAMPLE: &str = include_str!("samples/dnsmasq.leases");
    const ENDS: u64 = 1_795_317_557;

    #[test]
    fn a_real_lease_file_is_read() {
        let expected = ServerLease {
            address: Ipv4Addr::new(10, 77, 42, 211),
            mac: [2, 0, 0, 0, 0x0a, 0xff],
            client_id: Some(vec![1, 2, 0, 0, 0, 0x0a, 0xff]),
            hostname: Some("lab-client".to_owned()),
            expires: Some(ENDS),
            state: LeaseState::Active,
        };
        assert_eq!(parse_leases(SAMPLE, ENDS - 1).unwrap(), [expected]);
        assert_eq!(parse_leases(SAMPLE, ENDS).unwrap()[0].state, LeaseState::Expired);
    }

    #[test]
    fn unknown_values_and_endless_leases_are_read() {
        let text = "0 02:00:00:00:00:01 10.0.0.1 * *\nduid 00:01\n1 2 ::1 * *\n";
        let leases = parse_leases(text, 5).unwrap();
        assert_eq!(leases.len(), 1);
        assert_eq!((&leases[0].client_id, &leases[0].hostname), (&None, &None));
        assert_eq!((leases[0].expires, leases[0].state), (None, LeaseState::Active));
    }

    #[test]
    fn a_torn_line_is_an_error_that_shows_it() {
        let text = "0 02:00:00:00:00:01 10.0.0.1 * *\n0 02:00:00:00:00:02 10.0.0";
        let error = parse_leases(text, 0).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("10.0.0\""), "{error}");
        assert!(parse_leases("0 02:00:00:00:00 10.0.0.1 * *", 0).is_err());
    }
}
