//! Values that describe what is to be made.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use rtnetlink::packet_route::link as packet;

use crate::LinkError;

/// A pair of virtual Ethernet devices to be made by [`Links::add_veth`].
///
/// [`Links::add_veth`]: crate::Links::add_veth
#[derive(Clone, Debug)]
pub struct Veth<'a> {
    pub(crate) near: Side<'a>,
    pub(crate) far: Side<'a>,
    pub(crate) mtu: Option<u32>,
    pub(crate) queues: Option<u32>,
}

/// One end of a veth pair.
#[derive(Clone, Debug)]
pub(crate) struct Side<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) netns: Option<BorrowedFd<'a>>,
}

impl<'a> Veth<'a> {
    /// A pair `name` - `peer`, both in the caller's namespace.
    #[must_use]
    pub fn new(name: &'a str, peer: &'a str) -> Self {
        let side = |name| Side { name, mac: None, netns: None };
        Self { near: side(name), far: side(peer), mtu: None, queues: None }
    }

    /// The near end's MAC address (else the kernel chooses at random).
    #[must_use]
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.near.mac = Some(mac);
        self
    }

    /// The peer's MAC address.
    #[must_use]
    pub fn peer_mac(mut self, mac: [u8; 6]) -> Self {
        self.far.mac = Some(mac);
        self
    }

    /// The MTU of both ends.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// The number of transmit and of receive queues of both ends
    /// (else one a CPU).
    #[must_use]
    pub fn queues(mut self, queues: u32) -> Self {
        self.queues = Some(queues);
        self
    }

    /// Make the peer in the network namespace behind `netns`.
    #[must_use]
    pub fn peer_netns(mut self, netns: BorrowedFd<'a>) -> Self {
        self.far.netns = Some(netns);
        self
    }
}

/// How the children of one macvlan parent hear each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Children reach each other directly.
    Bridge,
    /// Children never reach each other.
    Private,
    /// Children reach each other by way of the switch behind the parent.
    Vepa,
    /// One child that takes over the parent.
    Passthru,
}

impl From<MacvlanMode> for packet::MacVlanMode {
    fn from(mode: MacvlanMode) -> Self {
        match mode {
            MacvlanMode::Bridge => Self::Bridge,
            MacvlanMode::Private => Self::Private,
            MacvlanMode::Vepa => Self::Vepa,
            MacvlanMode::Passthru => Self::Passthrough,
        }
    }
}

/// An IPv4 route to be added by [`Links::add_route`].
///
/// [`Links::add_route`]: crate::Links::add_route
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination network.
    pub destination: Ipv4Addr,
    /// The length of the destination's prefix: 0 for the default route.
    pub prefix: u8,
    /// The next hop; `None` for a network that is on the link itself.
    pub gateway: Option<Ipv4Addr>,
}

impl Route {
    /// The default route by way of `gateway`.
    #[must_use]
    pub fn default_via(gateway: Ipv4Addr) -> Self {
        Self { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: Some(gateway) }
    }

    /// A network that is on the link itself.
    #[must_use]
    pub fn on_link(destination: Ipv4Addr, prefix: u8) -> Self {
        Self { destination, prefix, gateway: None }
    }
}

/// Checks that `name` may be an interface name, by the kernel's own rules.
///
/// # Errors
/// [`LinkError::BadName`] with the rule that is broken.
pub fn check_name(name: &str) -> Result<(), LinkError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > 15 {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." {
        "it is a directory's name"
    } else if name.bytes().any(|b| b == b'/' || b == b':') {
        "it contains a slash or a colon"
    } else if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "it contains white space or a control character"
    } else {
        return Ok(());
    };
    Err(LinkError::BadName { name: name.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_kernels_rules() {
        for good in ["a", "eth0", "br-0123456789ab", "exactly15bytes_", "veth@x", "é"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:1", "a b", "a\n", "\u{7}", "sixteen_bytes_xx"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        let text = check_name("sixteen_bytes_xx").unwrap_err().to_string();
        assert!(text.contains("longer than 15 bytes") && text.contains("sixteen"), "{text}");
    }
}
