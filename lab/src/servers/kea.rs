//! Kea's DHCPv4 server with its memfile lease table.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::join;
use super::{
    LeaseState, Limits, Probe, Profile, Rendered, Server, ServerConfig, ServerLease, TableError,
    parse_hex_bytes, parse_mac, read_text,
};

const LEASES: &str = "kea-leases4.csv";

/// Kea (Debian: `kea-dhcp4-server`), on packet sockets: over UDP sockets it
/// hears relays only, never a client without an address.
#[derive(Clone, Copy, Debug)]
pub struct Kea;

impl Server for Kea {
    fn name(&self) -> &'static str {
        "Kea"
    }

    fn program(&self) -> &'static str {
        "kea-dhcp4"
    }

    fn package(&self) -> &'static str {
        "kea-dhcp4-server"
    }

    fn limits(&self) -> Limits {
        Limits { pool: 1_000_000, min_lease: 1, keeps_client_id: true }
    }

    fn render(&self, config: &ServerConfig, dir: &Path) -> Rendered {
        let file = dir.join("kea.json");
        let own = || dir.to_owned();
        Rendered {
            args: vec!["-c".to_owned(), file.display().to_string()],
            files: vec![(file, text(config, dir))],
            touch: Vec::new(),
            // The last two are for versions that fence the files in.
            env: vec![
                ("KEA_PIDFILE_DIR", own()),
                ("KEA_LOCKFILE_DIR", own()),
                ("KEA_DHCP_DATA_DIR", own()),
                ("KEA_LOG_FILE_DIR", own()),
            ],
        }
    }

    fn ready(&self, probe: &Probe) -> bool {
        // Asked before this line, it may never answer, although its sockets
        // are there.
        probe.packet_bound() && probe.log.contains("DHCP4_STARTED")
    }

    fn read_leases(&self, dir: &Path, now: u64) -> Result<Vec<ServerLease>, TableError> {
        let file = |suffix: &str| read_text(&dir.join(format!("{LEASES}{suffix}")));
        // What a clean-up left, in the order in which Kea itself loads it.
        let mut texts = match file(".completed")? {
            Some(completed) => vec![completed],
            None => [file(".2")?, file(".1")?].into_iter().flatten().collect(),
        };
        texts.extend(file("")?);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        parse_leases(&texts, now)
    }
}

fn text(config: &ServerConfig, dir: &Path) -> String {
    let proof = config.profile == Profile::Proof;
    let severity = if proof { "INFO" } else { "ERROR" };
    let (interface, first, last) = (quote(&config.interface), config.first, config.last);
    let (network, prefix) = (config.network(), config.prefix);
    let members = [
        format!(
            r#""interfaces-config": {{ "interfaces": [ {interface} ], "dhcp-socket-type": "raw", "service-sockets-require-all": true }}"#
        ),
        format!(
            r#""lease-database": {{ "type": "memfile", "persist": {proof}, "name": {}, "lfc-interval": 0 }}"#,
            quote(&dir.join(LEASES).display().to_string())
        ),
        r#""multi-threading": { "enable-multi-threading": false }"#.to_owned(),
        r#""expired-leases-processing": { "reclaim-timer-wait-time": 0 }"#.to_owned(),
        r#""dhcp-queue-control": { "enable-queue": false }"#.to_owned(),
        r#""dhcp-ddns": { "enable-updates": false }"#.to_owned(),
        format!(r#""valid-lifetime": {}"#, config.lease_time),
        format!(r#""echo-client-id": true, "match-client-id": {proof}, "authoritative": true"#),
        times(config),
        format!(r#""option-data": [ {} ]"#, join(&options(config), ",\n    ")),
        format!(
            r#""subnet4": [ {{ "id": 1, "subnet": "{network}/{prefix}", "interface": {interface}, "pools": [ {{ "pool": "{first} - {last}" }} ] }} ]"#
        ),
        // DHCP4_STARTED is told to the second logger in both profiles.
        format!(r#""loggers": [ {}, {} ]"#, logger("kea-dhcp4", severity), {
            logger("kea-dhcp4.dhcp4", "INFO")
        }),
    ];
    let members = members.into_iter().chain(config.extra.iter().cloned());
    let members: Vec<String> = members.filter(|member| !member.is_empty()).collect();
    format!("{{ \"Dhcp4\": {{\n  {}\n}} }}\n", join(&members, ",\n  "))
}

fn times(config: &ServerConfig) -> String {
    let t1 = config.t1.map(|t| format!(r#""renew-timer": {t}"#));
    let t2 = config.t2.map(|t| format!(r#""rebind-timer": {t}"#));
    join(&t1.into_iter().chain(t2).collect::<Vec<_>>(), ", ")
}

fn logger(name: &str, severity: &str) -> String {
    format!(
        r#"{{ "name": "{name}", "severity": "{severity}", "output_options": [ {{ "output": "stdout", "flush": true }} ] }}"#
    )
}

fn options(config: &ServerConfig) -> Vec<String> {
    let mut options = Vec::new();
    let mut option = |name: &str, data: String| {
        if !data.is_empty() {
            options.push(format!(r#"{{ "name": "{name}", "data": {} }}"#, quote(&data)));
        }
    };
    option("routers", config.router.map(|ip| ip.to_string()).unwrap_or_default());
    option("domain-name-servers", join(&config.dns, ", "));
    option("domain-name", config.domain.clone().unwrap_or_default());
    option("interface-mtu", config.mtu.map(|mtu| mtu.to_string()).unwrap_or_default());
    option("ntp-servers", join(&config.ntp, ", "));
    option("domain-search", join(&config.search, ", "));
    if !config.routes.is_empty() {
        // By number: older versions do not know its name.
        let bytes = config.routes.iter().flat_map(super::StaticRoute::to_bytes);
        let hex: String = bytes.map(|byte| format!("{byte:02X}")).collect();
        options.push(format!(r#"{{ "code": 121, "csv-format": false, "data": "{hex}" }}"#));
    }
    options
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Reads Kea's memfile tables, oldest first, as of unix time `now`. Of
/// several lines for an address the last one counts.
///
/// # Errors
/// [`TableError::Text`] with the line that makes no sense.
pub fn parse_leases(texts: &[&str], now: u64) -> Result<Vec<ServerLease>, TableError> {
    let mut leases = BTreeMap::new();
    for text in texts {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let Some((_, header)) = lines.next() else { continue };
        let columns = Columns::find(header)
            .ok_or_else(|| TableError::text(1, "a heading with the known columns", header))?;
        for (number, line) in lines {
            let lease = columns.lease(line, now);
            let lease = lease.ok_or_else(|| TableError::text(number + 1, "a lease", line))?;
            leases.insert(lease.address, lease);
        }
    }
    Ok(leases.into_values().collect())
}

struct Columns {
    address: usize,
    hwaddr: usize,
    client_id: usize,
    lifetime: usize,
    expire: usize,
    hostname: usize,
    state: usize,
}

impl Columns {
    fn find(header: &str) -> Option<Self> {
        let names: Vec<&str> = header.trim().split(',').collect();
        let at = |name: &str| names.iter().position(|column| *column == name);
        Some(Self {
            address: at("address")?,
            hwaddr: at("hwaddr")?,
            client_id: at("client_id")?,
            lifetime: at("valid_lifetime")?,
            expire: at("expire")?,
            hostname: at("hostname")?,
            state: at("state")?,
        })
    }

    fn lease(&self, line: &str, now: u64) -> Option<ServerLease> {
        let fields: Vec<&str> = line.trim_end().split(',').collect();
        let field = |at: usize| fields.get(at).copied();
        let lifetime: u32 = field(self.lifetime)?.parse().ok()?;
        let expire: u64 = field(self.expire)?.parse().ok()?;
        let (hwaddr, client_id) = (field(self.hwaddr)?, field(self.client_id)?);
        let hostname = unescape(field(self.hostname)?);
        let state = match (field(self.state)?, lifetime) {
            // A line with no lifetime deletes: so a release is written down.
            (_, 0) => LeaseState::Released,
            ("1", _) => LeaseState::Declined,
            ("2", _) => LeaseState::Expired,
            ("3", _) => LeaseState::Released,
            (_, u32::MAX) => LeaseState::Active,
            _ if expire <= now => LeaseState::Expired,
            _ => LeaseState::Active,
        };
        Some(ServerLease {
            address: field(self.address)?.parse().ok()?,
            // A declined address belongs to nobody.
            mac: if hwaddr.is_empty() { [0; 6] } else { parse_mac(hwaddr)? },
            client_id: match client_id {
                "" => None,
                bytes => Some(parse_hex_bytes(bytes)?),
            },
            hostname: Some(hostname).filter(|name| !name.is_empty()),
            expires: (lifetime != u32::MAX).then_some(expire),
            state,
        })
    }
}

/// Kea writes a comma (and its like) as `&#x2c`.
fn unescape(text: &str) -> String {
    let mut parts = text.split("&#x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[2..]);
            }
            None => {
                plain.push_str("&#x");
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// From Kea 2.2.0: bound, bound again, released.
    const SAMPLE: &str = include_str!("samples/kea-released.csv");
    const ENDS: u64 = 1_795_317_450;

    #[test]
    fn a_real_lease_file_is_read() {
        let before_release = SAMPLE.trim_end().rsplit_once('\n').unwrap().0;
        let bound = ServerLease {
            address: Ipv4Addr::new(10, 77, 1, 0),
            mac: [2, 0, 0, 0, 0x0a, 0xff],
            client_id: Some(vec![1, 2, 0, 0, 0, 0x0a, 0xff]),
            hostname: Some("lab-client".to_owned()),
            expires: Some(ENDS),
            state: LeaseState::Active,
        };
        assert_eq!(parse_leases(&[before_release], ENDS - 1).unwrap(), [bound]);
        assert_eq!(parse_leases(&[before_release], ENDS).unwrap()[0].state, LeaseState::Expired);
        let released = parse_leases(&[SAMPLE], ENDS - 1).unwrap();
        assert_eq!(released.len(), 1);
        assert_eq!(released[0].state, LeaseState::Released);
    }

    #[test]
    fn later_files_win_and_states_are_known() {
        let head = SAMPLE.lines().next().unwrap();
        let old = format!("{head}\n10.0.0.1,02:00:00:00:00:01,,60,100,1,0,0,old,0,\n");
        let new = format!(
            "{head}\n10.0.0.1,02:00:00:00:00:02,,60,100,1,0,0,a&#x2cb,0,\n\
             10.0.0.2,,,86400,100,1,0,0,,1,\n\
             10.0.0.3,02:00:00:00:00:03,,60,100,1,0,0,,2,\n\
             10.0.0.4,02:00:00:00:00:04,,4294967295,4294967396,1,0,0,,0,\n"
        );
        let leases = parse_leases(&[&old, "", &new], 50).unwrap();
        let states: Vec<_> = leases.iter().map(|lease| lease.state).collect();
        use LeaseState::{Active, Declined, Expired};
        assert_eq!(states, [Active, Declined, Expired, Active]);
        assert_eq!((leases[0].mac[5], leases[0].hostname.as_deref()), (2, Some("a,b")));
        assert_eq!((leases[3].expires, leases[1].mac), (None, [0; 6]));
    }

    #[test]
    fn columns_are_found_by_name_and_nonsense_is_an_error() {
        let text = "state,hostname,expire,valid_lifetime,client_id,hwaddr,address,pool_id\n\
                    0,h,100,60,ff:01,02:00:00:00:00:01,10.0.0.1,0\n";
        let leases = parse_leases(&[text], 50).unwrap();
        assert_eq!(leases[0].client_id.as_deref(), Some(&[255, 1][..]));
        assert!(parse_leases(&["address,hwaddr\n"], 0).is_err());
        let torn = format!("{}10.0.0.1,02:00", SAMPLE);
        assert!(parse_leases(&[&torn], 0).unwrap_err().to_string().contains("line 5"));
        assert_eq!(unescape("&#x26;&#xzz&#x2"), "&;&#xzz&#x2");
    }

    #[test]
    fn the_configuration_is_quoted() {
        assert_eq!(quote(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
