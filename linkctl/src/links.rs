//! The blocking face to rtnetlink.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::runtime::{Builder, Runtime};

use crate::LinkError;
use crate::link::{Address, Link, format_mac};
use crate::spec::{MacvlanMode, Route, Side, Veth, check_name};

/// The links of one network namespace.
///
/// It belongs to the namespace in which the thread was that opened it, and may
/// be moved to another thread.
#[derive(Debug)]
pub struct Links {
    runtime: Runtime,
    handle: Handle,
}

impl Links {
    /// Opens an rtnetlink socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`LinkError::Open`]; [`LinkError::InsideRuntime`] when called from
    /// inside a tokio runtime.
    pub fn open() -> Result<Self, LinkError> {
        refuse_inside_runtime()?;
        let open = |source| LinkError::Open { source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(open)?;
        let handle = {
            let _entered = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection().map_err(open)?;
            runtime.spawn(connection);
            handle
        };
        Ok(Self { runtime, handle })
    }

    /// All links, by index.
    ///
    /// # Errors
    /// When the kernel does not answer the dump.
    pub fn list(&self) -> Result<Vec<Link>, LinkError> {
        let messages: Vec<LinkMessage> =
            self.ask("all links", "list them", self.handle.link().get().execute().try_collect())?;
        let mut links: Vec<Link> = messages.iter().map(Link::from_message).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The link called `name`.
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`] with the names of those that exist;
    /// [`LinkError::BadName`].
    pub fn get(&self, name: &str) -> Result<Link, LinkError> {
        check_name(name)?;
        let request = self.handle.link().get().match_name(name).execute();
        self.one(name, request)
    }

    /// The link with this index.
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`] with the names of those that exist.
    pub fn get_by_index(&self, index: u32) -> Result<Link, LinkError> {
        let request = self.handle.link().get().match_index(index).execute();
        self.one(&format!("with index {index}"), request)
    }

    /// Makes a veth pair.
    ///
    /// # Errors
    /// [`LinkError::Exists`] when either name is taken.
    pub fn add_veth(&self, veth: &Veth<'_>) -> Result<(), LinkError> {
        let (near, far) = (&veth.near, &veth.far);
        check_name(near.name)?;
        check_name(far.name)?;
        let peer = dress(LinkMessageBuilder::<LinkUnspec>::default(), far, veth).build();
        let builder =
            LinkVeth::new(near.name, far.name).set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        let message = dress_rest(builder, near, veth).build();
        let action = format!("make a veth pair {} - {}", near.name, far.name);
        self.add(near.name, &action, message)
    }

    /// Makes a bridge, down and without ports.
    ///
    /// # Errors
    /// [`LinkError::Exists`] when the name is taken.
    pub fn add_bridge(&self, name: &str) -> Result<(), LinkError> {
        check_name(name)?;
        self.add(name, "make a bridge", LinkBridge::new(name).down().build())
    }

    /// Makes a macvlan child of `parent`, with the MAC address given or one
    /// that the kernel chooses.
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`] when the parent does not exist,
    /// [`LinkError::Busy`] when it already has another kind of children.
    pub fn add_macvlan(
        &self,
        name: &str,
        parent: &str,
        mode: MacvlanMode,
        mac: Option<[u8; 6]>,
    ) -> Result<(), LinkError> {
        check_name(name)?;
        let parent = self.get(parent)?;
        let mut builder = LinkMacVlan::new(name, parent.index, mode.into());
        if let Some(mac) = mac {
            builder = builder.address(mac.to_vec());
        }
        self.add(name, &format!("make a macvlan child of {}", parent.name), builder.build())
    }

    /// Sets the link up.
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`], [`LinkError::NotPermitted`] and the like.
    pub fn set_up(&self, name: &str) -> Result<(), LinkError> {
        self.change(name, "set it up", |link| link.up())
    }

    /// Sets the link down.
    ///
    /// # Errors
    /// As [`Links::set_up`].
    pub fn set_down(&self, name: &str) -> Result<(), LinkError> {
        self.change(name, "set it down", |link| link.down())
    }

    /// Sets the MTU.
    ///
    /// # Errors
    /// As [`Links::set_up`]; [`LinkError::Refused`] when out of range.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), LinkError> {
        self.change(name, &format!("set its MTU to {mtu}"), |link| link.mtu(mtu))
    }

    /// Sets the MAC address.
    ///
    /// # Errors
    /// As [`Links::set_up`]; [`LinkError::Busy`] for a device that must be down.
    pub fn set_mac(&self, name: &str, mac: [u8; 6]) -> Result<(), LinkError> {
        let action = format!("set its MAC address to {}", format_mac(&mac));
        self.change(name, &action, |link| link.address(mac.to_vec()))
    }

    /// Makes the link a port of `master` (a bridge or a bond), or of none.
    ///
    /// # Errors
    /// As [`Links::set_up`].
    pub fn set_master(&self, name: &str, master: Option<&str>) -> Result<(), LinkError> {
        let index = master.map(|master| self.get(master)).transpose()?.map_or(0, |link| link.index);
        let action = format!("make it a port of {}", master.unwrap_or("nothing"));
        self.change(name, &action, |link| link.controller(index))
    }

    /// Moves the link to the network namespace behind `netns`. It arrives
    /// there down and without addresses.
    ///
    /// # Errors
    /// As [`Links::set_up`]; [`LinkError::Exists`] when its name is taken there.
    pub fn move_to(&self, name: &str, netns: BorrowedFd<'_>) -> Result<(), LinkError> {
        let fd = netns.as_raw_fd();
        self.change(name, "move it to another network namespace", |link| link.setns_by_fd(fd))
    }

    /// Deletes the link (for a veth, its peer goes too).
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`]; [`LinkError::Refused`] for a physical one.
    pub fn delete(&self, name: &str) -> Result<(), LinkError> {
        let link = self.get(name)?;
        self.ask(name, "delete it", self.handle.link().del(link.index).execute())
    }

    /// The addresses of the link, IPv4 and IPv6.
    ///
    /// # Errors
    /// [`LinkError::NoSuchLink`].
    pub fn addresses(&self, name: &str) -> Result<Vec<Address>, LinkError> {
        let link = self.get(name)?;
        let request = self.handle.address().get().set_link_index_filter(link.index).execute();
        let messages: Vec<_> = self.ask(name, "list its addresses", request.try_collect())?;
        Ok(messages.iter().filter_map(Address::from_message).collect())
    }

    /// Adds an address.
    ///
    /// # Errors
    /// [`LinkError::Exists`] when the link has it already.
    pub fn add_address(&self, name: &str, ip: IpAddr, prefix: u8) -> Result<(), LinkError> {
        let link = self.get(name)?;
        let request = self.handle.address().add(link.index, ip, prefix).execute();
        self.ask(name, &format!("add the address {ip}/{prefix}"), request)
    }

    /// Adds an IPv4 route over the link.
    ///
    /// # Errors
    /// [`LinkError::Exists`]; [`LinkError::Refused`] when the gateway cannot
    /// be reached or the link is down.
    pub fn add_route(&self, name: &str, route: Route) -> Result<(), LinkError> {
        let link = self.get(name)?;
        let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(route.destination, route.prefix)
            .output_interface(link.index);
        if let Some(gateway) = route.gateway {
            builder = builder.gateway(gateway);
        }
        let action = format!("add a route to {}/{}", route.destination, route.prefix);
        self.ask(name, &action, self.handle.route().add(builder.build()).execute())
    }

    /// Adds or replaces a permanent neighbour: no ARP will be sent for `ip`.
    ///
    /// # Errors
    /// As [`Links::set_up`].
    pub fn replace_neighbour(&self, name: &str, ip: IpAddr, mac: [u8; 6]) -> Result<(), LinkError> {
        let link = self.get(name)?;
        let request = self
            .handle
            .neighbours()
            .add(link.index, ip)
            .link_layer_address(&mac)
            .replace()
            .execute();
        self.ask(name, &format!("set the neighbour {ip} to {}", format_mac(&mac)), request)
    }

    /// Waits until the link is up and has a carrier, for at most `timeout`.
    ///
    /// # Errors
    /// [`LinkError::NoCarrier`] when the time is over.
    pub fn wait_carrier(&self, name: &str, timeout: Duration) -> Result<Link, LinkError> {
        let began = Instant::now();
        loop {
            let link = self.get(name)?;
            if link.up && link.carrier {
                return Ok(link);
            }
            if began.elapsed() >= timeout {
                return Err(LinkError::NoCarrier { link: name.to_owned(), waited: timeout });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn one<S>(&self, what: &str, mut stream: S) -> Result<Link, LinkError>
    where
        S: futures_util::TryStream<Ok = LinkMessage, Error = rtnetlink::Error> + Unpin,
    {
        let action = "look it up";
        match self.ask(what, action, async { stream.try_next().await })? {
            Some(message) => Ok(Link::from_message(&message)),
            None => Err(LinkError::Protocol {
                link: what.to_owned(),
                action: action.to_owned(),
                detail: "the kernel did not answer".to_owned(),
            }),
        }
    }

    fn add(&self, name: &str, action: &str, message: LinkMessage) -> Result<(), LinkError> {
        self.ask(name, action, self.handle.link().add(message).execute())
    }

    fn change(
        &self,
        name: &str,
        action: &str,
        set: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), LinkError> {
        check_name(name)?;
        let message = set(LinkUnspec::new_with_name(name)).build();
        self.ask(name, action, self.handle.link().change(message).execute())
    }

    fn ask<T>(
        &self,
        link: &str,
        action: &str,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, LinkError> {
        refuse_inside_runtime()?;
        self.runtime.block_on(request).map_err(|error| {
            let mut error = LinkError::from_netlink(&error, link, action);
            if let LinkError::NoSuchLink { existing, .. } = &mut error {
                *existing = self.names();
            }
            error
        })
    }

    fn names(&self) -> Vec<String> {
        let stream = self.handle.link().get().execute();
        let found: Result<Vec<LinkMessage>, _> = self.runtime.block_on(stream.try_collect());
        let links = found.unwrap_or_default();
        links.iter().map(|message| Link::from_message(message).name).collect()
    }
}

fn refuse_inside_runtime() -> Result<(), LinkError> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Err(LinkError::InsideRuntime),
        Err(_) => Ok(()),
    }
}

fn dress<T>(
    builder: LinkMessageBuilder<T>,
    side: &Side<'_>,
    veth: &Veth<'_>,
) -> LinkMessageBuilder<T> {
    dress_rest(builder.name(side.name), side, veth)
}

fn dress_rest<T>(
    mut builder: LinkMessageBuilder<T>,
    side: &Side<'_>,
    veth: &Veth<'_>,
) -> LinkMessageBuilder<T> {
    if let Some(mac) = side.mac {
        builder = builder.address(mac.to_vec());
    }
    if let Some(mtu) = veth.mtu {
        builder = builder.mtu(mtu);
    }
    if let Some(queues) = veth.queues {
        builder = builder
            .append_extra_attribute(LinkAttribute::NumTxQueues(queues))
            .append_extra_attribute(LinkAttribute::NumRxQueues(queues));
    }
    if let Some(netns) = side.netns {
        builder = builder.setns_by_fd(netns.as_raw_fd());
    }
    builder
}
