//! ISC dhcpd.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use super::config::join;
use super::{
    LeaseState, Limits, Probe, Profile, Rendered, Server, ServerConfig, ServerLease, TableError,
    parse_hex_bytes, parse_mac, read_text,
};

const LEASES: &str = "dhcpd.leases";

/// ISC dhcpd (Debian: `isc-dhcp-server`).
#[derive(Clone, Copy, Debug)]
pub struct Dhcpd;

impl Server for Dhcpd {
    fn name(&self) -> &'static str {
        "ISC dhcpd"
    }

    fn program(&self) -> &'static str {
        "dhcpd"
    }

    fn package(&self) -> &'static str {
        "isc-dhcp-server"
    }

    fn limits(&self) -> Limits {
        // It walks a list of the free leases at each DISCOVER: 524,000 of
        // them take 18 ms.
        Limits { pool: 4_094, min_lease: 1, keeps_client_id: true }
    }

    fn render(&self, config: &ServerConfig, dir: &Path) -> Rendered {
        let (file, leases) = (dir.join("dhcpd.conf"), dir.join(LEASES));
        let loudness = match config.profile {
            Profile::Bench => "-q",
            Profile::Proof => "-d",
        };
        let mut args: Vec<String> =
            ["-4", "-f", loudness, "--no-pid", "-cf"].map(str::to_owned).into();
        args.extend([file.display().to_string(), "-lf".to_owned(), leases.display().to_string()]);
        args.push(config.interface.clone());
        Rendered { args, files: vec![(file, text(config))], touch: vec![leases], env: Vec::new() }
    }

    fn ready(&self, probe: &Probe) -> bool {
        // The packet socket comes first, the UDP one (its fallback) last.
        probe.packet_bound() && probe.udp_bound()
    }

    fn read_leases(&self, dir: &Path, now: u64) -> Result<Vec<ServerLease>, TableError> {
        parse_leases(&read_text(&dir.join(LEASES))?.unwrap_or_default(), now)
    }
}

fn text(config: &ServerConfig) -> String {
    let proof = config.profile == Profile::Proof;
    let on = |yes: bool| if yes { "on" } else { "off" };
    let time = config.lease_time;
    let mut lines: Vec<String> = [
        "authoritative;",
        "ddns-update-style none;",
        "ping-check false;",
        // By default a renewal within the first quarter of a lease is answered from memory, and the
        // table does not move.
        "dhcp-cache-threshold 0;",
        "delayed-ack 0;",
        "local-port 67;",
        "log-facility local7;",
        "one-lease-per-client off;",
        "db-time-format local;",
        "option rfc3442-routes code 121 = array of integer 8;",
    ]
    .map(str::to_owned)
    .into();
    lines.push(format!("min-lease-time {};", time.min(1)));
    lines.push(format!("default-lease-time {time}; max-lease-time {time};"));
    lines.push(format!("ignore-client-uids {};", on(!proof)));
    lines.extend(options(config));
    lines.extend(config.extra.iter().cloned());
    lines.push(format!(
        "subnet {} netmask {} {{ range {} {}; }}",
        config.network(),
        config.netmask(),
        config.first,
        config.last
    ));
    lines.push(String::new());
    lines.join("\n")
}

fn options(config: &ServerConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let mut option = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("option {name} {value};"));
        }
    };
    let quoted = |names: &[String]| {
        join(&names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>(), ", ")
    };
    option("routers", config.router.map(|ip| ip.to_string()).unwrap_or_default());
    option("domain-name-servers", join(&config.dns, ", "));
    option("domain-name", quoted(config.domain.as_slice()));
    option("interface-mtu", config.mtu.map(|mtu| mtu.to_string()).unwrap_or_default());
    option("ntp-servers", join(&config.ntp, ", "));
    option("domain-search", quoted(&config.search));
    let routes: Vec<u8> = config.routes.iter().flat_map(super::StaticRoute::to_bytes).collect();
    option("rfc3442-routes", join(&routes, ", "));
    option("dhcp-renewal-time", config.t1.map(|t| t.to_string()).unwrap_or_default());
    option("dhcp-rebinding-time", config.t2.map(|t| t.to_string()).unwrap_or_default());
    lines
}

/// Reads dhcpd's lease file, as of unix time `now`. Of several entries for an
/// address the last one counts. Times are read in both formats.
///
/// # Errors
/// [`TableError::Text`] with the statement that makes no sense.
pub fn parse_leases(text: &str, now: u64) -> Result<Vec<ServerLease>, TableError> {
    let mut leases: BTreeMap<Ipv4Addr, ServerLease> = BTreeMap::new();
    let mut open: Option<Entry> = None;
    for (number, line) in text.lines().enumerate() {
        let fail = |what| TableError::text(number + 1, what, line);
        let statement = line.trim();
        if let Some(rest) = statement.strip_prefix("lease ") {
            let address = rest.trim_end_matches('{').trim();
            open = Some(Entry::new(address.parse().map_err(|_| fail("an address"))?));
        } else if statement == "}" {
            if let Some(entry) = open.take() {
                let before = leases.get(&entry.address);
                let lease = entry.close(before, now).ok_or_else(|| fail("a binding state"))?;
                leases.insert(lease.address, lease);
            }
        } else if let Some(entry) = &mut open {
            entry.apply(statement).ok_or_else(|| fail("a known statement"))?;
        }
    }
    // An entry that is still being written does not count yet.
    Ok(leases.into_values().collect())
}

struct Entry {
    address: Ipv4Addr,
    ends: Option<u64>,
    state: String,
    mac: [u8; 6],
    client_id: Option<Vec<u8>>,
    hostname: Option<String>,
}

impl Entry {
    fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            ends: None,
            state: String::new(),
            mac: [0; 6],
            client_id: None,
            hostname: None,
        }
    }

    /// Takes one statement in; `None` when it makes no sense.
    fn apply(&mut self, statement: &str) -> Option<()> {
        // A comment may follow the semicolon, and a quoted text may hold one.
        let (word, rest) = statement.split_once(' ').unwrap_or((statement, ""));
        let value = match rest.starts_with('"') {
            true => rest,
            false => rest.split(';').next().unwrap_or_default(),
        };
        match word {
            "ends" => self.ends = parse_time(value)?,
            "binding" => self.state = value.strip_prefix("state ")?.to_owned(),
            "hardware" => self.mac = parse_mac(value.strip_prefix("ethernet ")?)?,
            "uid" if value.starts_with('"') => self.client_id = Some(parse_quoted(value)?),
            "uid" => self.client_id = Some(parse_hex_bytes(value)?),
            "client-hostname" => {
                self.hostname = Some(String::from_utf8_lossy(&parse_quoted(value)?).into_owned());
            }
            _ => {}
        }
        Some(())
    }

    fn close(self, before: Option<&ServerLease>, now: u64) -> Option<ServerLease> {
        let state = match self.state.as_str() {
            "active" => match self.ends {
                Some(ends) if ends <= now => LeaseState::Expired,
                _ => LeaseState::Active,
            },
            "expired" => LeaseState::Expired,
            "released" => LeaseState::Released,
            "abandoned" => LeaseState::Declined,
            // A release moves the end to the present; an expiry leaves it.
            "free" | "backup" | "reset" | "bootp" => match before {
                Some(before) if before.state == LeaseState::Released => LeaseState::Released,
                Some(before) if before.expires > self.ends => LeaseState::Released,
                _ => LeaseState::Expired,
            },
            _ => return None,
        };
        let Self { address, ends: expires, mac, client_id, hostname, .. } = self;
        Some(ServerLease { address, mac, client_id, hostname, expires, state })
    }
}

/// `epoch 1700000000`, `2 2023/11/14 22:13:20` or `never`; outer `None` when
/// it is none of these.
fn parse_time(text: &str) -> Option<Option<u64>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["never"] => Some(None),
        ["epoch", seconds] => Some(Some(seconds.parse().ok()?)),
        [_, date, time] => {
            let numbers = |text: &str, mark| {
                let parts: Option<Vec<u64>> = text.split(mark).map(|n| n.parse().ok()).collect();
                <[u64; 3]>::try_from(parts?).ok()
            };
            let ([year, month, day], [h, m, s]) = (numbers(date, '/')?, numbers(time, ':')?);
            Some(Some(days_since_epoch(year, month, day)? * 86400 + h * 3600 + m * 60 + s))
        }
        _ => None,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar, for years from 1970 on.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March, so that the leap day is the last one.
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    days.checked_sub(719_468)
}

/// A quoted text with C's escapes: `"\001\002\"x"`.
fn parse_quoted(text: &str) -> Option<Vec<u8>> {
    let mut rest = text.strip_prefix('"')?.bytes().peekable();
    let mut bytes = Vec::new();
    loop {
        match rest.next()? {
            b'"' => return Some(bytes),
            b'\\' => {
                let first = rest.next()?;
                if !first.is_ascii_digit() {
                    bytes.push(first);
                    continue;
                }
                let mut value = u32::from(first - b'0');
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(u8::is_ascii_digit) else { break };
                    value = value * 8 + u32::from(digit - b'0');
                }
                bytes.push(u8::try_from(value).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From dhcpd 4.4.3-P1: bound, then released.
    const SAMPLE: &str = include_str!("samples/dhcpd-released.leases");
    const ENDS: u64 = 1_795_317_450;

    #[test]
    fn a_real_lease_file_is_read() {
        let bound = SAMPLE.split("server-duid").next().unwrap();
        let expected = ServerLease {
            address: Ipv4Addr::new(10, 77, 1, 0),
            mac: [2, 0, 0, 0, 0x0a, 0xff],
            client_id: Some(vec![1, 2, 0, 0, 0, 0x0a, 0xff]),
            hostname: Some("lab-client".to_owned()),
            expires: Some(ENDS),
            state: LeaseState::Active,
        };
        assert_eq!(parse_leases(bound, ENDS - 1).unwrap(), [expected]);
        assert_eq!(parse_leases(bound, ENDS).unwrap()[0].state, LeaseState::Expired);
        let released = parse_leases(SAMPLE, ENDS - 1).unwrap();
        assert_eq!((released.len(), released[0].state), (1, LeaseState::Released));
    }

    fn entry(ends: &str, rest: &str) -> String {
        format!("lease 10.0.0.1 {{\n  starts never;\n  ends {ends};\n  {rest}\n}}\n")
    }

    #[test]
    fn an_expiry_is_told_from_a_release() {
        let active = entry("epoch 100", "binding state active;");
        let state = |text: &str| parse_leases(text, 500).unwrap()[0].state;
        let run_out = entry("epoch 100", "binding state free;");
        assert_eq!(state(&format!("{active}{run_out}")), LeaseState::Expired);
        let given_back = entry("epoch 50", "binding state free;");
        assert_eq!(state(&format!("{active}{given_back}")), LeaseState::Released);
        assert_eq!(state(&entry("never", "binding state active;")), LeaseState::Active);
        assert_eq!(state(&entry("never", "binding state abandoned;")), LeaseState::Declined);
    }

    #[test]
    fn both_formats_of_time_are_read() {
        assert_eq!(parse_time("2 2023/11/14 22:13:20"), Some(Some(1_700_000_000)));
        assert_eq!(parse_time("4 2024/02/29 00:00:00"), Some(Some(1_709_164_800)));
        assert_eq!(parse_time("4 1970/01/01 00:00:01"), Some(Some(1)));
        assert_eq!(parse_time("epoch 1700000000"), Some(Some(1_700_000_000)));
        assert_eq!(parse_time("never"), Some(None));
        for bad in ["", "soon", "2 2023/13/14 22:13:20", "2 2023/11 22:13", "epoch x"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn texts_are_unescaped_whatever_they_hold() {
        assert_eq!(parse_quoted(r#""\001a\"b;\\\377";"#).unwrap(), b"\x01a\"b;\\\xff");
        for bad in [r#""open"#, "bare", r#""\777""#, ""] {
            assert_eq!(parse_quoted(bad), None, "{bad}");
        }
        let name = entry("never", "binding state active;\n  client-hostname \"a;b\";");
        assert_eq!(parse_leases(&name, 0).unwrap()[0].hostname.as_deref(), Some("a;b"));
        let hex = entry("never", "binding state active;\n  uid ff:01;");
        assert_eq!(parse_leases(&hex, 0).unwrap()[0].client_id.as_deref(), Some(&[255, 1][..]));
    }

    #[test]
    fn an_entry_being_written_does_not_count_and_nonsense_is_an_error() {
        let text = "lease 10.0.0.1 {\n  ends never;\n";
        assert_eq!(parse_leases(text, 0).unwrap(), []);
        for bad in ["lease 10.0.0 {\n", "lease 10.0.0.1 {\n ends soon;\n}\n"] {
            assert!(parse_leases(bad, 0).is_err(), "{bad}");
        }
        let error = parse_leases(&entry("never", "binding state odd;"), 0).unwrap_err();
        assert!(error.to_string().contains("binding state"), "{error}");
    }
}
