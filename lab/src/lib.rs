//! A DHCP network in a box.
//!
//! - [`netns`]: private, nameless network namespaces, and programs run inside
//!   them that cannot outlive us.
//! - [`userns`]: becoming "root" of a user namespace of one's own, for those
//!   who are not root.
//! - [`topology`]: namespaces joined by veth pairs, alone or over a switch.
//! - [`servers`]: dnsmasq, Kea, ISC dhcpd and udhcpd, configured from values,
//!   with their own lease tables read back as values.
//! - [`embedded`]: a DHCP server of our own: fast, correct, and wrong on
//!   request.
//!
//! Nothing here changes the machine: no named namespace, no global file, no
//! service; whatever was made is gone when its owner is dropped or dies.

#![forbid(unsafe_code)]

pub mod embedded;
pub mod netns;
pub mod servers;
pub mod topology;
pub mod userns;
