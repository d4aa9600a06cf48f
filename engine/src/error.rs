//! What can go wrong with the engine itself. Protocol outcomes are events, bad packets are
//! counters; neither is an error.

use crate::lease::PortId;
use crate::lease::table::CAPACITY;
use crate::wire::ethernet::Mac;
use std::io;
use std::net::Ipv4Addr;

/// The loop cannot be set up or go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// epoll failed.
    #[error("cannot wait for packets (epoll)")]
    Poll(#[source] io::Error),
    /// timerfd failed.
    #[error("cannot set the boot-time timer (timerfd)")]
    Timer(#[source] io::Error),
    /// The clock cannot be read.
    #[error("cannot read the boot-time clock")]
    Clock(#[source] io::Error),
    /// The system has no random numbers.
    #[error("cannot get random numbers: {0}")]
    Random(String),
}

/// A command did not reach the engine, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The queue is full.
    #[error("the engine is busy: its command queue is full")]
    Busy,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Gone,
    /// The engine could not be woken.
    #[error("cannot wake the engine")]
    Wake(#[source] io::Error),
    /// The engine refused.
    #[error(transparent)]
    Refused(#[from] AcquireError),
}

/// Why a lease was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// No port has this number.
    #[error("there is no port {}", .0.0)]
    NoSuchPort(PortId),
    /// The table is full.
    #[error("the table is full: one engine holds at most {} leases", CAPACITY)]
    TableFull,
    /// A lease cannot live under this MAC.
    #[error("{0} cannot be a lease's MAC: it must be unicast and not zero")]
    BadMac(Mac),
    /// RFC 2132 3.14.
    #[error("a hostname has 1 to 255 bytes, and this one has {0}")]
    BadHostname(usize),
    /// RFC 2132 9.14.
    #[error("a client identifier has 2 to 255 bytes, and this one has {0}")]
    BadClientId(usize),
    /// Not an address that a client can ask for.
    #[error("{0} cannot be asked for: it is no host's address")]
    BadAddress(Ipv4Addr),
    /// The options do not fit the longest message that the profile allows, or a frame.
    #[error("the options of a message take {0} bytes, which leaves no room for it in a frame")]
    TooLong(usize),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}
