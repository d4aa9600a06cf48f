//! Many leases acquired, followed and given back.
//!
//! Leases are numbered from 0 by their tags. They are handed to the engine in this order, which is
//! the order in which it lets them begin.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use lessee_engine::command::{Command, Event};
use lessee_engine::device::LinkFault;
use lessee_engine::error::AcquireError;
use lessee_engine::lease::{Acquire, ClientIdentifier, Kinds, LeaseId, Notice, Profile};
use lessee_engine::wire::vlan::VlanStack;
use std::net::Ipv4Addr;

use crate::macs::MacRange;
use crate::port::{PORT, Port};
use crate::signals::Stop;

/// Leases handed over between two looks at events and signals.
const BATCH: u32 = 1024;
/// Leases that may begin while those that did not are being withdrawn.
const BEGINNING: u64 = 256;
/// How long exchanges in flight may take to end once no more are wanted.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How long a lull means that no more of them will.
const LULL: Duration = Duration::from_millis(500);
/// How long releasing may make no progress.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the leases of a fleet are to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) count: u32,
    pub(crate) macs: MacRange,
    pub(crate) vlan: VlanStack,
    pub(crate) client_id: ClientIdentifier,
    /// `{i}` becomes the lease's number.
    pub(crate) hostname: Option<String>,
    pub(crate) request: Option<Ipv4Addr>,
    pub(crate) profile: Arc<Profile>,
}

impl Plan {
    fn acquire(&self, n: u32) -> Acquire {
        let hostname = self.hostname.as_ref();
        Acquire {
            tag: u64::from(n),
            vlans: self.vlan,
            client_id: self.client_id.clone(),
            hostname: hostname.map(|name| name.replace("{i}", &n.to_string()).into()),
            requested_address: self.request,
            ..Acquire::new(PORT, self.macs.get(n), Arc::clone(&self.profile))
        }
    }
}

/// What became of an event.
#[derive(Debug)]
pub(crate) enum News {
    /// Of a lease.
    Lease(Notice),
    /// The link has a fault. [`LinkFault::Gone`] ends everything.
    Link(LinkFault),
    /// Nothing that matters.
    Nothing,
}

/// The leases of one run.
#[derive(Debug)]
pub(crate) struct Fleet<'a> {
    port: &'a Port,
    plan: &'a Plan,
    /// The engine's answers, in the order of the leases.
    answers: Receiver<Result<LeaseId, AcquireError>>,
    answer: Sender<Result<LeaseId, AcquireError>>,
    ids: Vec<LeaseId>,
    submitted: u32,
    held: Vec<bool>,
    /// How many hold an address.
    pub(crate) bound: u32,
    /// How many are over.
    pub(crate) released: u32,
    /// Leases that ended although nobody wanted it.
    pub(crate) lost: u32,
    gone: bool,
}

impl<'a> Fleet<'a> {
    /// Nothing is acquired yet.
    pub(crate) fn new(port: &'a Port, plan: &'a Plan) -> Self {
        let (answer, answers) = unbounded();
        Self {
            port,
            plan,
            answers,
            answer,
            ids: Vec::new(),
            submitted: 0,
            held: vec![false; plan.count as usize],
            bound: 0,
            released: 0,
            lost: 0,
            gone: false,
        }
    }

    /// Hands the next leases to the engine; false once there are none left.
    pub(crate) fn submit(&mut self) -> anyhow::Result<bool> {
        let end = self.plan.count.min(self.submitted + BATCH);
        while self.submitted < end {
            let acquire = Box::new(self.plan.acquire(self.submitted));
            let command = Command::Acquire(acquire, Some(self.answer.clone()));
            self.port.handle().send_waiting(command)?;
            self.submitted += 1;
        }
        self.read_answers()?;
        Ok(self.submitted < self.plan.count)
    }

    /// All that were asked for hold an address.
    pub(crate) const fn is_complete(&self) -> bool {
        self.bound == self.plan.count
    }

    /// True once the interface has gone away.
    pub(crate) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// Those that hold no address, in order.
    pub(crate) fn unbound(&self) -> impl Iterator<Item = u32> {
        let held = self.held.iter().zip(0..);
        held.filter(|(held, _)| !**held).map(|(_, n)| n)
    }

    /// Waits up to `patience` for the next event; `None` if there was none.
    pub(crate) fn next(&mut self, patience: Duration) -> anyhow::Result<Option<News>> {
        self.read_answers()?;
        match self.port.handle().events().recv_timeout(patience) {
            Ok(event) => Ok(Some(self.take(event))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the engine has ended by itself"),
        }
    }

    /// Takes all events that are there.
    ///
    /// To be called now and then instead of [`Fleet::next`] where there are many: a sleeping
    /// reader would have to be woken by the engine for each.
    pub(crate) fn drain(&mut self) -> anyhow::Result<()> {
        self.read_answers()?;
        while let Ok(event) = self.port.handle().events().try_recv() {
            self.take(event);
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> News {
        match event {
            Event::Lease { notice, .. } => {
                self.follow(&notice);
                News::Lease(notice)
            }
            Event::Link { fault, .. } => {
                self.gone |= fault == LinkFault::Gone;
                News::Link(fault)
            }
            Event::Offer(_) => News::Nothing,
        }
    }

    fn follow(&mut self, notice: &Notice) {
        let place = usize::try_from(notice.tag).ok().and_then(|n| self.held.get_mut(n));
        if let Some(held) = place {
            let holds = notice.terms.is_some();
            self.bound = self.bound + u32::from(holds) - u32::from(*held);
            *held = holds;
        }
        self.lost += u32::from(notice.kinds.contains(Kinds::LOST));
        self.released += u32::from(notice.kinds.contains(Kinds::RELEASED));
    }

    /// Ends what has no address: withdraws those that have not begun, and lets exchanges in flight
    /// come to their end, so that no server grants a lease that nobody releases.
    pub(crate) fn wind_down(&mut self, stop_now: impl Fn() -> bool) -> anyhow::Result<()> {
        self.collect_answers()?;
        self.drain()?;
        // The engine lets leases begin in their order: those behind this one have not. The last
        // ones first, because it goes on meanwhile.
        let begun = self.port.view()?.counters.discovers_sent + BEGINNING;
        let waiting: Vec<u32> = self.unbound().filter(|n| u64::from(*n) >= begun).collect();
        for n in waiting.into_iter().rev() {
            if let Some(id) = self.ids.get(n as usize) {
                self.port.handle().send_waiting(Command::Forget(*id))?;
            }
        }
        let (began, mut bound, mut at) = (Instant::now(), self.bound, Instant::now());
        while self.bound + self.released < self.submitted
            && began.elapsed() < LAST_ANSWERS
            && at.elapsed() < LULL
            && !stop_now()
        {
            self.next(Duration::from_millis(20))?;
            if self.bound != bound {
                (bound, at) = (self.bound, Instant::now());
            }
        }
        Ok(())
    }

    /// Gives all leases back and waits until that is done; `tell` hears of each event.
    pub(crate) fn release(
        &mut self,
        mut tell: impl FnMut(&Self, &Notice) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.port.handle().send_waiting(Command::ReleaseAll)?;
        let (mut released, mut at) = (self.released, Instant::now());
        while self.released < self.submitted && at.elapsed() < PATIENCE && !self.gone {
            if let Some(News::Lease(notice)) = self.next(Duration::from_millis(20))? {
                tell(self, &notice)?;
            }
            if self.released != released {
                (released, at) = (self.released, Instant::now());
            }
        }
        Ok(())
    }

    /// Leases whose release never was sent.
    pub(crate) const fn unreleased(&self) -> u32 {
        self.submitted - self.released
    }

    /// Waits until the engine has answered for all that was submitted.
    fn collect_answers(&mut self) -> anyhow::Result<()> {
        while self.ids.len() < self.submitted as usize {
            let answer =
                self.answers.recv_timeout(PATIENCE).context("the engine does not answer")?;
            self.ids.push(answer?);
        }
        Ok(())
    }

    fn read_answers(&mut self) -> anyhow::Result<()> {
        while let Ok(answer) = self.answers.try_recv() {
            self.ids.push(answer?);
        }
        Ok(())
    }
}

/// Why an acquisition ended before all were bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All are bound.
    Complete,
    /// The time was over.
    TimeOver,
    /// Nothing was bound for too long.
    Stalled,
    /// A signal came.
    Interrupted,
    /// The interface went away.
    Gone,
    /// Nobody reads the output any more.
    Unread,
}

impl Ended {
    /// Its name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::TimeOver => "time_over",
            Self::Stalled => "stalled",
            Self::Interrupted => "interrupted",
            Self::Gone => "link_gone",
            Self::Unread => "output_closed",
        }
    }
}

/// When to stop waiting for leases to be bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For all together.
    pub(crate) whole: Option<Duration>,
    /// Without one being bound, the very first one.
    pub(crate) first: Option<Duration>,
    /// Without one being bound, later.
    pub(crate) stall: Option<Duration>,
}

/// Watches the limits.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    limits: Limits,
    stop: &'a Stop,
    began: Instant,
    bound: u32,
    progress: Instant,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(limits: Limits, stop: &'a Stop) -> Self {
        let now = Instant::now();
        Self { limits, stop, began: now, bound: 0, progress: now }
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether to go on.
    pub(crate) fn check(&mut self, fleet: &Fleet<'_>) -> Option<Ended> {
        let over = |limit: Option<Duration>, since: Instant| {
            limit.is_some_and(|limit| since.elapsed() >= limit)
        };
        if fleet.bound > self.bound {
            (self.bound, self.progress) = (fleet.bound, Instant::now());
        }
        let stall = if self.bound == 0 { self.limits.first } else { self.limits.stall };
        if fleet.is_complete() {
            Some(Ended::Complete)
        } else if self.stop.is_asked() {
            Some(Ended::Interrupted)
        } else if fleet.is_gone() {
            Some(Ended::Gone)
        } else if over(self.limits.whole, self.began) {
            Some(Ended::TimeOver)
        } else if over(stall, self.progress) {
            Some(Ended::Stalled)
        } else {
            None
        }
    }
}
