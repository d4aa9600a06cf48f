//! Namespaces joined by virtual cables.
//!
//! A [`Wire`] is the smallest network: a client and a server. A [`Segment`]
//! is any number of hosts on one switch, for stories with bystanders or with
//! two servers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lessee_linkctl::{Link, LinkError, Links, Veth};

use crate::netns::{Netns, NetnsError};

const CARRIER_WAIT: Duration = Duration::from_secs(5);

/// One end of a cable: an interface that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The interface's name.
    pub name: String,
    /// Its MAC address; `None` lets the kernel choose.
    pub mac: Option<[u8; 6]>,
    /// Its address and prefix length.
    pub address: Option<(Ipv4Addr, u8)>,
}

impl Port {
    /// An interface without an address.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), mac: None, address: None }
    }

    /// With this MAC address.
    #[must_use]
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = Some(mac);
        self
    }

    /// With this address.
    #[must_use]
    pub fn address(mut self, ip: Ipv4Addr, prefix: u8) -> Self {
        self.address = Some((ip, prefix));
        self
    }
}

/// What a [`Wire`] is to be like. The default: `c0` without an address,
/// `s0` with 10.77.0.1/16, MTU 1500, one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireSpec {
    /// The client's interface.
    pub client: Port,
    /// The server's interface.
    pub server: Port,
    /// The MTU of both.
    pub mtu: u32,
    /// Transmit and receive queues of both.
    pub queues: u32,
}

impl Default for WireSpec {
    fn default() -> Self {
        Self {
            client: Port::new("c0"),
            server: Port::new("s0").address(Ipv4Addr::new(10, 77, 0, 1), 16),
            mtu: 1500,
            queues: 1,
        }
    }
}

/// Two private namespaces joined by a veth pair that is up and has a carrier.
#[derive(Debug)]
pub struct Wire {
    /// The client's namespace.
    pub client: Netns,
    /// The server's namespace.
    pub server: Netns,
    /// How it was made.
    pub spec: WireSpec,
}

impl Wire {
    /// The default wire: client `c0`, server `s0` with 10.77.0.1/16.
    ///
    /// # Errors
    /// When namespaces or links cannot be made.
    pub fn new() -> Result<Self, NetnsError> {
        Self::with(WireSpec::default())
    }

    /// A wire made to measure.
    ///
    /// # Errors
    /// As [`Wire::new`].
    pub fn with(spec: WireSpec) -> Result<Self, NetnsError> {
        let (client, server) = (Netns::new()?, Netns::new()?);
        cable(&client, &spec.client, &server, &spec.server, spec.mtu, spec.queues)?;
        finish(&client, &spec.client)?;
        finish(&server, &spec.server)?;
        client.links()?.wait_carrier(&spec.client.name, CARRIER_WAIT)?;
        server.links()?.wait_carrier(&spec.server.name, CARRIER_WAIT)?;
        Ok(Self { client, server, spec })
    }

    /// The client's interface, as it is now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn client_link(&self) -> Result<Link, LinkError> {
        self.client.links()?.get(&self.spec.client.name)
    }

    /// The server's interface, as it is now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn server_link(&self) -> Result<Link, LinkError> {
        self.server.links()?.get(&self.spec.server.name)
    }
}

/// A host on a [`Segment`].
#[derive(Clone, Debug)]
pub struct Host {
    /// Its namespace.
    pub netns: Netns,
    /// Its interface, as it was asked for.
    pub port: Port,
}

impl Host {
    /// Its interface, as it is now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn link(&self) -> Result<Link, LinkError> {
        self.netns.links()?.get(&self.port.name)
    }
}

/// Hosts, each in a namespace of its own, on one learning switch (a bridge in
/// a namespace of its own, without spanning tree).
#[derive(Debug)]
pub struct Segment {
    /// The switch's namespace: bridge `br0`, ports `p0`, `p1` … by host.
    pub switch: Netns,
    /// The hosts, in the order asked for.
    pub hosts: Vec<Host>,
}

impl Segment {
    /// A switch with one host for each of `ports`. Names may be equal, as
    /// each lives in its own namespace.
    ///
    /// # Errors
    /// When namespaces or links cannot be made; this kernel may have no bridge.
    pub fn new(ports: &[Port]) -> Result<Self, NetnsError> {
        const BRIDGE: &str = "br0";
        let switch = Netns::new()?;
        let links = switch.links()?;
        links.add_bridge(BRIDGE)?;
        links.set_up(BRIDGE)?;
        let mut hosts = Vec::with_capacity(ports.len());
        for (number, port) in ports.iter().enumerate() {
            let netns = Netns::new()?;
            let plug = Port::new(&format!("p{number}"));
            cable(&netns, port, &switch, &plug, 1500, 1)?;
            links.set_master(&plug.name, Some(BRIDGE))?;
            finish(&netns, port)?;
            links.set_up(&plug.name)?;
            hosts.push(Host { netns, port: port.clone() });
        }
        for host in &hosts {
            host.netns.links()?.wait_carrier(&host.port.name, CARRIER_WAIT)?;
        }
        Ok(Self { switch, hosts })
    }
}

fn cable(
    near: &Netns,
    near_port: &Port,
    far: &Netns,
    far_port: &Port,
    mtu: u32,
    queues: u32,
) -> Result<(), NetnsError> {
    let prepare = |source| NetnsError::Prepare { what: "copy its descriptor", source };
    let fd = far.fd().try_clone_to_owned().map_err(prepare)?;
    let (near_port, far_port) = (near_port.clone(), far_port.clone());
    // The kernel looks the descriptor up in the process, so any thread may ask.
    near.run(move || -> Result<(), LinkError> {
        use std::os::fd::AsFd;
        let mut veth = Veth::new(&near_port.name, &far_port.name)
            .mtu(mtu)
            .queues(queues)
            .peer_netns(fd.as_fd());
        if let Some(mac) = near_port.mac {
            veth = veth.mac(mac);
        }
        if let Some(mac) = far_port.mac {
            veth = veth.peer_mac(mac);
        }
        Links::open()?.add_veth(&veth)
    })?;
    Ok(())
}

fn finish(netns: &Netns, port: &Port) -> Result<(), NetnsError> {
    let links = netns.links()?;
    if let Some((ip, prefix)) = port.address {
        links.add_address(&port.name, IpAddr::V4(ip), prefix)?;
    }
    links.set_up(&port.name)?;
    Ok(())
}
