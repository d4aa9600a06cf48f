//! What an embedded server is to serve: plain values, checked once before it starts.

use std::net::Ipv4Addr;
use std::time::Duration;

use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::options::{Writer, code};

/// Option codes that the server writes itself and that [`ServerSpec::options`] must not hold.
const OWN_OPTIONS: [u8; 11] = [
    0,
    code::SUBNET_MASK,
    code::LEASE_TIME,
    code::OVERLOAD,
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
    code::CLIENT_ID,
    super::answer::RAPID_COMMIT,
    super::answer::RELAY_AGENT,
];

/// Room for the configured options, in bytes. With what the server writes itself a message stays
/// within the 1,472 bytes that fit an Ethernet frame.
const OPTIONS_ROOM: usize = 640;

/// What tells one client from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Option 61 if it is sent, else the hardware address (RFC 2131 2 and 4.2).
    #[default]
    ClientId,
    /// The hardware address alone, as some servers can be told to.
    Mac,
}

/// What happens to a client that asks for, or renews, an address that the server has no record of
/// and that could be its own: after a restart without memory, that is every client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// It gets no answer, so that the server may live beside others (RFC 2131 4.3.2: MUST, for
    /// INIT-REBOOT).
    Silent,
    /// It gets a NAK: the server is authoritative, it knows all leases of its network.
    #[default]
    Nak,
    /// It gets the address if that is free, as dnsmasq does when told to be authoritative.
    Adopt,
}

/// An embedded server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its address, also its server identifier.
    pub address: Ipv4Addr,
    /// Prefix length of its network.
    pub prefix: u8,
    /// Its MAC address. It need not be the interface's: with another one, the kernel's own stack
    /// never sees the unicasts and so never complains about them.
    pub mac: Mac,
    /// First address of the pool.
    pub first: Ipv4Addr,
    /// Last address of the pool.
    pub last: Ipv4Addr,
    /// Option 3.
    pub router: Option<Ipv4Addr>,
    /// Option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Option 15; empty leaves it out.
    pub domain: String,
    /// Option 51, in seconds: the longest lease, and the one for those who ask for none.
    /// 0xffffffff is infinite.
    pub lease_time: u32,
    /// Option 58, in seconds. Left out of leases that are shorter than it.
    pub t1: Option<u32>,
    /// Option 59, in seconds. Left out of leases that are shorter than it.
    pub t2: Option<u32>,
    /// Further options: code and value. They go to every client, asked for or not.
    pub options: Vec<(u8, Vec<u8>)>,
    /// What tells one client from another.
    pub identity: Identity,
    /// What becomes of clients without a record.
    pub unknown: Unknown,
    /// A DISCOVER with option 80 is answered by an ACK (RFC 4039).
    pub rapid_commit: bool,
    /// How long an offered address is kept for its client.
    pub offer_hold: Duration,
    /// How long a declined address is kept from everybody.
    pub decline_hold: Duration,
    /// Each VLAN has the whole pool for itself; otherwise all VLANs share it.
    pub pool_per_vlan: bool,
    /// Unicasts to an address that the client has already (ciaddr, giaddr) go out only once ARP
    /// has answered, as from a server behind a kernel; otherwise to the MAC that the request came
    /// from.
    pub resolve_by_arp: bool,
    /// ARP requests for the server's address are answered. Turn off where the interface has the
    /// address itself, with the same MAC.
    pub answer_arp: bool,
}

/// Why a [`ServerSpec`] cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The prefix length is not 1 to 32.
    #[error("prefix length {0} is not between 1 and 32")]
    Prefix(u8),
    /// The pool is empty.
    #[error("the pool {first} to {last} is empty: its last address comes before its first")]
    Pool {
        /// Its first address.
        first: Ipv4Addr,
        /// Its last address.
        last: Ipv4Addr,
    },
    /// The pool is partly outside the server's network.
    #[error("pool address {address} is outside the server's network {server}/{prefix}")]
    Outside {
        /// The end of the pool that is outside.
        address: Ipv4Addr,
        /// The server's address.
        server: Ipv4Addr,
        /// The network's prefix length.
        prefix: u8,
    },
    /// The MAC address is a group address or zero.
    #[error("{0} cannot be a server's MAC address")]
    Mac(Mac),
    /// One of the further options is written by the server itself.
    #[error("option {0} cannot be configured: the server writes it itself")]
    Option(u8),
    /// The options do not fit a packet.
    #[error("the options take more than {OPTIONS_ROOM} bytes")]
    TooLong,
    /// The lease time is zero.
    #[error("a lease time of 0 seconds is no lease")]
    LeaseTime,
}

impl ServerSpec {
    /// A server for the pool `first` to `last`, with leases of an hour and nothing else told to
    /// clients.
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix: u8, first: Ipv4Addr, last: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self {
            address,
            prefix,
            mac: Mac([0x02, 0x53, a, b, c, d]),
            first,
            last,
            router: None,
            dns: Vec::new(),
            domain: String::new(),
            lease_time: 3600,
            t1: None,
            t2: None,
            options: Vec::new(),
            identity: Identity::default(),
            unknown: Unknown::default(),
            rapid_commit: false,
            offer_hold: Duration::from_secs(60),
            decline_hold: Duration::from_secs(600),
            pool_per_vlan: false,
            resolve_by_arp: false,
            answer_arp: true,
        }
    }

    /// The network mask.
    #[must_use]
    pub fn mask(&self) -> Ipv4Addr {
        let zeros = 32_u32.saturating_sub(u32::from(self.prefix));
        Ipv4Addr::from(u32::MAX.checked_shl(zeros).unwrap_or(0))
    }

    /// Whether `address` is in the server's network.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address & self.mask() == self.address & self.mask()
    }

    /// The address that reaches all of the network.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        self.address | !self.mask()
    }

    /// Addresses of the pool that no client may get: the server's, the router's, and those that
    /// name the network and its broadcast.
    pub(super) fn reserved(&self) -> [Option<Ipv4Addr>; 4] {
        // RFC 3021: a /31 has neither a network nor a broadcast address.
        let ends = self.prefix < 31;
        [
            Some(self.address),
            self.router,
            ends.then_some(self.address & self.mask()),
            ends.then(|| self.broadcast()),
        ]
    }

    /// Checks the whole and returns the configured options in wire form.
    pub(super) fn check(&self) -> Result<Box<[u8]>, SpecError> {
        if !(1..=32).contains(&self.prefix) {
            return Err(SpecError::Prefix(self.prefix));
        }
        let (first, last) = (self.first, self.last);
        if first > last {
            return Err(SpecError::Pool { first, last });
        }
        for address in [first, last] {
            if !self.contains(address) {
                let (server, prefix) = (self.address, self.prefix);
                return Err(SpecError::Outside { address, server, prefix });
            }
        }
        if self.mac.is_multicast() || self.mac == Mac::ZERO {
            return Err(SpecError::Mac(self.mac));
        }
        if self.lease_time == 0 {
            return Err(SpecError::LeaseTime);
        }
        for (code, _) in &self.options {
            if OWN_OPTIONS.contains(code) || *code == 255 {
                return Err(SpecError::Option(*code));
            }
        }
        self.write_options()
    }

    fn write_options(&self) -> Result<Box<[u8]>, SpecError> {
        let mut field = vec![0; OPTIONS_ROOM];
        let mut out = Writer::new(&mut field);
        let dns: Vec<u8> = self.dns.iter().flat_map(Ipv4Addr::octets).collect();
        let mut write = || {
            out.put_address(code::ROUTER, self.router)?;
            out.put_some(code::DOMAIN_NAME_SERVER, &dns)?;
            out.put_some(code::DOMAIN_NAME, self.domain.as_bytes())?;
            self.options.iter().try_for_each(|(code, value)| out.put(*code, value))
        };
        write().map_err(|_| SpecError::TooLong)?;
        let len = out.end().map_err(|_| SpecError::TooLong)?;
        // The end option is the message's own.
        field.truncate(len - 1);
        Ok(field.into_boxed_slice())
    }
}
