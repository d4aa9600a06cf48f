//! What a server is to serve, as a value.

use std::net::Ipv4Addr;

use crate::topology::WireSpec;

/// What a server is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Speed: no lease file, no log of packets, client identifiers ignored
    /// where the server can.
    Bench,
    /// Evidence: the lease table kept, packets logged, client identifiers
    /// matched.
    Proof,
}

/// A route for option 121.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// The destination network.
    pub destination: Ipv4Addr,
    /// The length of its prefix.
    pub prefix: u8,
    /// The next hop.
    pub router: Ipv4Addr,
}

impl StaticRoute {
    /// The route as option 121 has it (RFC 3442).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let significant = usize::from(self.prefix.min(32).div_ceil(8));
        let mut bytes = vec![self.prefix];
        bytes.extend_from_slice(&self.destination.octets()[..significant]);
        bytes.extend_from_slice(&self.router.octets());
        bytes
    }
}

/// What a server is to serve, on which interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// What the server is run for.
    pub profile: Profile,
    /// The interface, in the server's namespace.
    pub interface: String,
    /// The server's own address there.
    pub server_ip: Ipv4Addr,
    /// The length of the network's prefix.
    pub prefix: u8,
    /// The first address to be given.
    pub first: Ipv4Addr,
    /// The last address to be given.
    pub last: Ipv4Addr,
    /// How long leases last, in seconds; never less than the server's own
    /// [`Limits::min_lease`](super::Limits::min_lease).
    pub lease_time: u32,
    /// Option 58, in seconds.
    pub t1: Option<u32>,
    /// Option 59, in seconds.
    pub t2: Option<u32>,
    /// Option 3.
    pub router: Option<Ipv4Addr>,
    /// Option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Option 15.
    pub domain: Option<String>,
    /// Option 26.
    pub mtu: Option<u16>,
    /// Option 42.
    pub ntp: Vec<Ipv4Addr>,
    /// Option 119.
    pub search: Vec<String>,
    /// Option 121.
    pub routes: Vec<StaticRoute>,
    /// Whether the server pings an address before it offers it, as dnsmasq
    /// does unless it is told otherwise (dnsmasq only).
    pub ping_check: bool,
    /// Lines in the server's own language, added at its outermost level
    /// (Kea: members of the `Dhcp4` object).
    pub extra: Vec<String>,
}

impl ServerConfig {
    /// For speed: leases of a day, as many addresses as the network has
    /// (bounded by the server's limit), nothing but what is needed.
    #[must_use]
    pub fn bench(wire: &WireSpec) -> Self {
        let (server_ip, prefix) = wire.server.address.unwrap_or((Ipv4Addr::new(10, 77, 0, 1), 16));
        let network = u32::from(server_ip) & mask(prefix);
        // The first 256 addresses are left for the hosts of the lab itself.
        let last = network | !mask(prefix);
        Self {
            profile: Profile::Bench,
            interface: wire.server.name.clone(),
            server_ip,
            prefix,
            first: Ipv4Addr::from(network + if prefix <= 22 { 256 } else { 2 }),
            last: Ipv4Addr::from(last.saturating_sub(1)),
            lease_time: 86400,
            t1: None,
            t2: None,
            router: None,
            dns: Vec::new(),
            domain: None,
            mtu: None,
            ntp: Vec::new(),
            search: Vec::new(),
            routes: Vec::new(),
            ping_check: false,
            extra: Vec::new(),
        }
    }

    /// For evidence: leases of 12 s (or the shortest that the server allows,
    /// dnsmasq: 120 s), renewal after 4 s and rebinding after 8 s, the server
    /// as router, and an option of each sort.
    #[must_use]
    pub fn proof(wire: &WireSpec) -> Self {
        let base = Self::bench(wire);
        let ip = |n: u8| {
            let [a, b, c, _] = base.server_ip.octets();
            Ipv4Addr::new(a, b, c, n)
        };
        Self {
            profile: Profile::Proof,
            lease_time: 12,
            t1: Some(4),
            t2: Some(8),
            router: Some(base.server_ip),
            dns: vec![ip(53), ip(54)],
            domain: Some("lab.example".to_owned()),
            mtu: Some(1400),
            ntp: vec![ip(123)],
            search: vec!["lab.example".to_owned(), "example.net".to_owned()],
            routes: vec![StaticRoute {
                destination: Ipv4Addr::new(192, 0, 2, 0),
                prefix: 24,
                router: ip(9),
            }],
            ..base
        }
    }

    /// The pool from `first` to `last`.
    #[must_use]
    pub fn pool(mut self, first: Ipv4Addr, last: Ipv4Addr) -> Self {
        (self.first, self.last) = (first, last);
        self
    }

    /// A pool of `count` addresses from the first one on.
    #[must_use]
    pub fn pool_of(mut self, count: u32) -> Self {
        self.last = Ipv4Addr::from(u32::from(self.first).saturating_add(count.max(1) - 1));
        self
    }

    /// Lease time, T1 and T2, in seconds.
    #[must_use]
    pub fn times(mut self, lease: u32, t1: u32, t2: u32) -> Self {
        (self.lease_time, self.t1, self.t2) = (lease, Some(t1), Some(t2));
        self
    }

    /// How many addresses the pool has.
    #[must_use]
    pub fn pool_size(&self) -> u32 {
        u32::from(self.last).saturating_sub(u32::from(self.first)).saturating_add(1)
    }

    /// The network mask.
    #[must_use]
    pub fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.prefix))
    }

    /// The network's address.
    #[must_use]
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.server_ip) & mask(self.prefix))
    }

    /// What is wrong with it, if anything.
    pub(crate) fn flaw(&self) -> Option<String> {
        let inside = |ip: Ipv4Addr| u32::from(ip) & mask(self.prefix) == u32::from(self.network());
        if self.prefix > 30 {
            return Some(format!("a /{} has no room for clients", self.prefix));
        }
        if self.first > self.last {
            return Some(format!("the pool {} - {} is empty", self.first, self.last));
        }
        if !inside(self.first) || !inside(self.last) {
            let network = format!("{}/{}", self.network(), self.prefix);
            return Some(format!("the pool {} - {} leaves {network}", self.first, self.last));
        }
        if (self.first..=self.last).contains(&self.server_ip) {
            return Some(format!("the pool contains the server itself, {}", self.server_ip));
        }
        None
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// Joins values with a separator.
pub(crate) fn join<T: ToString>(values: &[T], separator: &str) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_lies_inside_the_network() {
        let config = ServerConfig::bench(&WireSpec::default());
        assert_eq!(config.first, Ipv4Addr::new(10, 77, 1, 0));
        assert_eq!(config.last, Ipv4Addr::new(10, 77, 255, 254));
        assert_eq!(config.netmask(), Ipv4Addr::new(255, 255, 0, 0));
        assert_eq!(config.flaw(), None);
        let small = config.clone().pool_of(10);
        assert_eq!((small.pool_size(), small.last), (10, Ipv4Addr::new(10, 77, 1, 9)));
        let outside = config.clone().pool(config.first, Ipv4Addr::new(10, 78, 0, 0));
        assert!(outside.flaw().unwrap().contains("leaves 10.77.0.0/16"));
        let own = config.clone().pool(config.network(), config.last);
        assert!(own.flaw().unwrap().contains("server itself"));
        let empty = config.clone().pool(config.last, config.first);
        assert!(empty.flaw().unwrap().contains("empty"));
    }

    #[test]
    fn a_route_is_encoded_as_rfc_3442_says() {
        let route = |destination, prefix| StaticRoute {
            destination,
            prefix,
            router: Ipv4Addr::new(10, 0, 0, 1),
        };
        let default = route(Ipv4Addr::UNSPECIFIED, 0);
        assert_eq!(default.to_bytes(), [0, 10, 0, 0, 1]);
        let odd = route(Ipv4Addr::new(10, 17, 0, 0), 17);
        assert_eq!(odd.to_bytes(), [17, 10, 17, 0, 10, 0, 0, 1]);
    }
}
