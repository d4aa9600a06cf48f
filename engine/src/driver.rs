//! The loop: sleep until a frame, a command or a deadline; read the clock once; take a turn.
//!
//! This is the one place that reads clocks and random sources. Sleeping goes through a boot-time
//! timerfd, because epoll's own time-outs are whole milliseconds of the monotonic clock, and
//! leases run on through suspend.

use crate::client::{Client, PortSpec, Turn};
use crate::command::{Command, Event};
use crate::device::{Device, LinkFault};
use crate::error::DriverError;
use crate::handle::{Bell, Handle};
use crate::lease::PortId;
use crate::time::Instant;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

/// Commands that may wait; a sender that finds them all taken is told `Busy`.
const COMMANDS: usize = 4096;
/// Events that may wait in the channel; more wait in the client, one for each lease.
const EVENTS: usize = 4096;
/// Commands carried out in a turn.
const COMMANDS_A_TURN: usize = 1024;
/// Pause before events are offered again to a reader whose channel was full.
const READER_PAUSE: Duration = Duration::from_millis(2);
/// Pause before a device that takes no more frames is tried again.
const DEVICE_PAUSE: Duration = Duration::from_millis(1);
/// How often a link that went down is looked at again: the kernel tells once of a link that goes
/// down and then away.
const FAULT_PAUSE: Duration = Duration::from_secs(1);
/// How long a shutdown waits for RELEASEs that the link does not take.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// The engine with its loop. Runs on the thread that calls [`Driver::run`].
#[derive(Debug)]
pub struct Driver<D> {
    client: Client,
    devices: Vec<D>,
    poll: Poll,
    timer: TimerFd,
    /// When the timer fires; `None`: it does not.
    armed: Option<Instant>,
    bell: Arc<Bell>,
    commands: Receiver<Command>,
    events: Sender<Event>,
    /// An event that the channel had no room for.
    unsent: Option<Event>,
    /// Ports whose link went down, with the frames they had received by then.
    down: Vec<(PortId, u64)>,
    /// When to look at them again.
    look_again: Instant,
    /// Set by a shutdown: when to stop waiting for progress.
    stopping: Option<Instant>,
    /// Leases at the last look, to see whether a shutdown makes progress.
    remaining: u32,
}

impl<D: Device + AsRawFd> Driver<D> {
    /// A driver for these ports, and a handle for other threads. A port's number is its place in
    /// the list.
    ///
    /// # Errors
    /// What the system refused: epoll, timerfd, or random numbers.
    pub fn new(ports: Vec<(PortSpec, D)>) -> Result<(Self, Handle), DriverError> {
        let poll = Poll::new().map_err(DriverError::Poll)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(DriverError::Poll)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_BOOTTIME,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )
        .map_err(|errno| DriverError::Timer(errno.into()))?;
        let registry = poll.registry();
        let timer_fd = timer.as_fd().as_raw_fd();
        registry
            .register(&mut SourceFd(&timer_fd), TIMER, Interest::READABLE)
            .map_err(DriverError::Poll)?;
        let now = boot_time()?;
        let mut client = Client::new(seed()?, now);
        let mut devices = Vec::with_capacity(ports.len());
        for (spec, device) in ports {
            let PortId(number) = client.add_port(spec, now);
            let fd = device.as_raw_fd();
            // Not WRITABLE: a socket whose frames leave at once would wake the loop for each of them.
            registry
                .register(&mut SourceFd(&fd), Token(usize::from(number)), Interest::READABLE)
                .map_err(DriverError::Poll)?;
            devices.push(device);
        }
        let (command_sender, commands) = crossbeam_channel::bounded(COMMANDS);
        let (events, event_receiver) = crossbeam_channel::bounded(EVENTS);
        let bell = Arc::new(Bell::new(waker));
        let handle = Handle::new(command_sender, event_receiver, Arc::clone(&bell));
        let driver = Self {
            client,
            devices,
            poll,
            timer,
            armed: None,
            bell,
            commands,
            events,
            unsent: None,
            down: Vec::new(),
            look_again: now,
            stopping: None,
            remaining: 0,
        };
        Ok((driver, handle))
    }

    /// Runs until a shutdown is commanded or every handle is gone; the latter releases nothing.
    ///
    /// # Errors
    /// What the system refused: epoll, timerfd or the clock.
    pub fn run(mut self) -> Result<(), DriverError> {
        let mut ready = Events::with_capacity(256);
        loop {
            let mut now = boot_time()?;
            let orders = self.obey(now);
            let turn = self.client.turn(now, &mut self.devices);
            self.watch_links(now);
            let waiting = self.tell();
            if orders == Orders::HandlesGone || self.is_done(now) {
                return Ok(());
            }
            let busy = turn.more || orders == Orders::More;
            if !busy {
                now = boot_time()?;
            }
            self.sleep(turn, busy, waiting, now, &mut ready)?;
        }
    }

    /// Carries out waiting commands.
    fn obey(&mut self, now: Instant) -> Orders {
        self.bell.silence();
        for _ in 0..COMMANDS_A_TURN {
            match self.commands.try_recv() {
                Ok(command) => self.carry_out(command, now),
                Err(crossbeam_channel::TryRecvError::Empty) => return Orders::Done,
                Err(crossbeam_channel::TryRecvError::Disconnected) => return Orders::HandlesGone,
            }
        }
        Orders::More
    }

    fn carry_out(&mut self, command: Command, now: Instant) {
        // A caller that has gone away does not want its answer any more.
        match command {
            Command::Acquire(acquire, reply) => {
                let result = self.client.acquire(*acquire, now);
                if let Some(reply) = reply {
                    let _gone = reply.try_send(result);
                }
            }
            Command::Release(lease) => self.client.release(lease, now),
            Command::Forget(lease) => self.client.forget(lease, now),
            Command::Renew(lease) => self.client.renew(lease, now),
            Command::ReleaseAll => self.client.release_all(now),
            Command::Query(lease, reply) => {
                let _gone = reply.try_send(self.client.query(lease));
            }
            Command::Ports(reply) => {
                let _gone = reply.try_send(self.client.ports(&mut self.devices));
            }
            Command::Shutdown { release } => {
                self.client.shut_down(release, now);
                self.stopping = Some(now + RELEASE_PATIENCE);
                self.remaining = self.client.leases();
            }
        }
    }

    /// Passes events on; true if the reader's channel is full.
    fn tell(&mut self) -> bool {
        while let Some(event) = self.unsent.take().or_else(|| self.client.poll_event()) {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.unsent = Some(event);
                    return true;
                }
                // Nobody listens: the events are dropped, and leases that are over leave.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        false
    }

    /// True once a shutdown has nothing left to release, or makes no progress any more.
    fn is_done(&mut self, now: Instant) -> bool {
        let Some(patience) = self.stopping else { return false };
        if self.client.leases() != self.remaining {
            self.remaining = self.client.leases();
            self.stopping = Some(now + RELEASE_PATIENCE);
        }
        (!self.client.is_releasing() && self.unsent.is_none()) || now >= patience
    }

    fn sleep(
        &mut self,
        turn: Turn,
        busy: bool,
        reader_full: bool,
        now: Instant,
        ready: &mut Events,
    ) -> Result<(), DriverError> {
        let mut wake = turn.next;
        let mut sooner = |at: Instant| wake = Some(wake.map_or(at, |other| other.min(at)));
        if reader_full {
            sooner(now + READER_PAUSE);
        }
        if let Some(patience) = self.stopping {
            sooner(patience);
        }
        if !self.down.is_empty() {
            sooner(self.look_again);
        }
        if self.devices.iter_mut().any(|device| device.acquire().is_none()) {
            sooner(now + DEVICE_PAUSE);
        }
        let due = wake.is_some_and(|at| at <= now);
        if !due && !busy {
            self.arm(wake, now)?;
        }
        // A turn drains every device or says that there is more, so edge-triggered wake-ups lose
        // nothing.
        let patience = if due || busy { Some(Duration::ZERO) } else { None };
        match self.poll.poll(ready, patience) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(DriverError::Poll(error)),
        }
        for event in ready.iter() {
            if event.token().0 < self.devices.len() && (event.is_error() || event.is_read_closed())
            {
                self.fault(event.token().0);
            }
        }
        Ok(())
    }

    /// Asks a port's device what is wrong, and passes it on.
    fn fault(&mut self, index: usize) {
        let port = PortId(index as u16);
        let Some(fault) = self.devices[index].take_fault() else { return };
        self.client.link_fault(port, fault);
        self.down.retain(|(other, _)| *other != port);
        if fault == LinkFault::Down {
            self.down.push((port, self.client.frames_received(port)));
        }
    }

    /// Looks again at links that went down: they may be gone by now, or work again.
    fn watch_links(&mut self, now: Instant) {
        if self.down.is_empty() || now < self.look_again {
            return;
        }
        self.look_again = now + FAULT_PAUSE;
        let client = &self.client;
        self.down.retain(|(port, before)| client.frames_received(*port) == *before);
        let ports: Vec<usize> = self.down.iter().map(|(port, _)| usize::from(port.0)).collect();
        ports.into_iter().for_each(|index| self.fault(index));
    }

    /// Sees to it that the timer fires at `wake` or before. A timer that fires too early costs a
    /// turn without work; setting it anew for each turn would cost a system call each.
    fn arm(&mut self, wake: Option<Instant>, now: Instant) -> Result<(), DriverError> {
        let Some(wake) = wake else { return Ok(()) };
        if self.armed.is_some_and(|armed| now < armed && armed <= wake) {
            return Ok(());
        }
        self.armed = Some(wake);
        // Zero would disarm the timer.
        let at = Duration::from_nanos(wake.as_nanos().max(1));
        self.timer
            .set(
                Expiration::OneShot(TimeSpec::from_duration(at)),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )
            .map_err(|errno| DriverError::Timer(errno.into()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orders {
    Done,
    More,
    HandlesGone,
}

/// The boot-time clock.
#[expect(clippy::disallowed_methods, reason = "the engine's one clock is read here")]
fn boot_time() -> Result<Instant, DriverError> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map_err(|errno| DriverError::Clock(errno.into()))?;
    let nanos = Duration::from(time).as_nanos();
    Ok(Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// Random numbers for xids and jitter.
#[expect(clippy::disallowed_methods, reason = "the engine's one random source is read here")]
fn seed() -> Result<[u32; 5], DriverError> {
    let mut seed = [0; 5];
    for word in &mut seed {
        *word = getrandom::u32().map_err(|error| DriverError::Random(error.to_string()))?;
    }
    Ok(seed)
}
