//! The engine's face for other threads: a bounded channel in, a bounded channel out, a waker.

use crate::command::{Command, Event, LeaseView, PortView};
use crate::error::{AcquireError, HandleError};
use crate::lease::{Acquire, LeaseId};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes the loop, once for all commands that it has not begun to look at: without this every
/// command of a thousand would be a system call here and a turn there.
#[derive(Debug)]
pub(crate) struct Bell {
    waker: Waker,
    rung: AtomicBool,
}

impl Bell {
    pub(crate) const fn new(waker: Waker) -> Self {
        Self { waker, rung: AtomicBool::new(false) }
    }

    /// To be called after a command was queued.
    fn ring(&self) -> std::io::Result<()> {
        // Release and acquire: whoever silences the bell after this sees the command.
        if self.rung.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.waker.wake().inspect_err(|_| self.silence())
    }

    /// To be called before commands are looked at.
    pub(crate) fn silence(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }
}

/// Commands the engine from any thread. Clones share the engine and the stream of events. When the
/// last one is dropped the engine stops, and releases nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: Sender<Command>,
    events: Receiver<Event>,
    /// Dropped after the channel's end, so that the loop wakes to find it closed.
    bell: Rope,
}

/// A handle's hold on the bell: rings it when let go.
#[derive(Clone, Debug)]
struct Rope(Arc<Bell>);

impl Drop for Rope {
    fn drop(&mut self) {
        // A bell that cannot be rung belongs to a loop that cannot be woken in any way.
        let _unheard = self.0.ring();
    }
}

impl Handle {
    pub(crate) fn new(commands: Sender<Command>, events: Receiver<Event>, bell: Arc<Bell>) -> Self {
        Self { commands, events, bell: Rope(bell) }
    }

    /// Queues a command without ever blocking.
    ///
    /// # Errors
    /// [`HandleError::Busy`] if the engine's queue is full (try again), [`HandleError::Gone`] if
    /// the engine has stopped.
    pub fn send(&self, command: Command) -> Result<(), HandleError> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => HandleError::Busy,
            TrySendError::Disconnected(_) => HandleError::Gone,
        })?;
        self.bell.0.ring().map_err(HandleError::Wake)
    }

    /// Queues a command, waiting for room.
    ///
    /// # Errors
    /// [`HandleError::Gone`] if the engine has stopped.
    pub fn send_waiting(&self, command: Command) -> Result<(), HandleError> {
        self.commands.send(command).map_err(|_| HandleError::Gone)?;
        self.bell.0.ring().map_err(HandleError::Wake)
    }

    /// Begins a lease and returns its name; the address comes as an event.
    ///
    /// # Errors
    /// [`HandleError::Refused`] with the reason, or [`HandleError::Gone`].
    pub fn acquire(&self, acquire: Acquire) -> Result<LeaseId, HandleError> {
        let (reply, answer) = bounded::<Result<LeaseId, AcquireError>>(1);
        self.send_waiting(Command::Acquire(Box::new(acquire), Some(reply)))?;
        Ok(answer.recv().map_err(|_| HandleError::Gone)??)
    }

    /// How a lease stands; `None` if it is gone.
    ///
    /// # Errors
    /// [`HandleError::Gone`] if the engine has stopped.
    pub fn query(&self, lease: LeaseId) -> Result<Option<LeaseView>, HandleError> {
        let (reply, answer) = bounded(1);
        self.send_waiting(Command::Query(lease, reply))?;
        answer.recv().map_err(|_| HandleError::Gone)
    }

    /// How the ports stand.
    ///
    /// # Errors
    /// [`HandleError::Gone`] if the engine has stopped.
    pub fn ports(&self) -> Result<Vec<PortView>, HandleError> {
        let (reply, answer) = bounded(1);
        self.send_waiting(Command::Ports(reply))?;
        answer.recv().map_err(|_| HandleError::Gone)
    }

    /// The stream of events. Each event goes to one reader.
    #[must_use]
    pub const fn events(&self) -> &Receiver<Event> {
        &self.events
    }
}
