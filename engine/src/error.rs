//! What can go wrong with the engine itself. Protocol outcomes are events, bad packets are
//! counters; neither is an error.

use crate::command::AcquireError;
use std::io;

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
