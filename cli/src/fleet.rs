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
/// How long ending leases may make no progress: longer than an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(6);

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
    over: u32,
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
            over: 0,
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
        self.over += u32::from(notice.kinds.contains(Kinds::RELEASED));
    }

    /// Ends all leases and waits until that is done; `tell` hears of each event. With `keep` those
    /// that hold an address go on, and are the server's once the engine ends.
    ///
    /// What has not asked for an address yet is over at once. The engine waits for the answer to a
    /// REQUEST that is out, so that no server grants a lease that nobody gives back.
    pub(crate) fn end(
        &mut self,
        keep: bool,
        mut tell: impl FnMut(&Self, &Notice) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if keep {
            self.forget_unbound()?;
        } else {
            self.port.handle().send_waiting(Command::ReleaseAll)?;
        }
        let (mut left, mut at) = (self.left(keep), Instant::now());
        while left > 0 && at.elapsed() < PATIENCE && !self.gone {
            if let Some(News::Lease(notice)) = self.next(Duration::from_millis(20))? {
                tell(self, &notice)?;
            }
            if self.left(keep) != left {
                (left, at) = (self.left(keep), Instant::now());
            }
        }
        Ok(())
    }

    fn forget_unbound(&mut self) -> anyhow::Result<()> {
        self.collect_answers()?;
        self.drain()?;
        // The last ones first: the engine lets them begin in their order, and goes on meanwhile.
        let unbound: Vec<u32> = self.unbound().collect();
        for n in unbound.into_iter().rev() {
            if let Some(id) = self.ids.get(n as usize) {
                self.port.handle().send_waiting(Command::Forget(*id))?;
            }
        }
        Ok(())
    }

    /// Those that are still to end.
    const fn left(&self, keep: bool) -> u32 {
        let kept = if keep { self.bound } else { 0 };
        self.submitted.saturating_sub(self.over).saturating_sub(kept)
    }

    /// Leases that did not come to their end: no RELEASE of theirs was sent.
    pub(crate) const fn unreleased(&self) -> u32 {
        self.submitted - self.over
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
