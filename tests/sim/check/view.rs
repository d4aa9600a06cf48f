//! What views may show, and how they may change.

use super::{Checked, Checker, End, Lease, Phase, Rule, TICK, broken, end_of, lasts};
use crate::coverage::Mark;
use lessee_engine::command::LeaseView;
use lessee_engine::lease::{State, Terms};
use lessee_engine::time::Instant;
use std::cmp::Reverse;

impl Checker {
    /// How the API shows a lease after a step; `None`: not at all any more.
    pub(crate) fn view(&mut self, place: u32, view: Option<&LeaseView>, now: Instant) -> Checked {
        let phase = view.map_or(Phase::Released, |view| phase(&view.state));
        let terms = view.and_then(|view| view.terms);
        let lease = &self.leases[place as usize];
        let (before, held) = (lease.phase, lease.terms);
        if before != phase {
            self.say(place, now, || format!("{before:?} > {phase:?} {terms:?}"));
        }
        self.explain_end(place, phase)?;
        self.cover(place, phase, terms.is_some(), now);
        match (held, terms) {
            (old, Some(new)) if old != Some(new) => self.gained(place, &new, now)?,
            (Some(old), None) => self.given_up(place, &old, now)?,
            _ => {}
        }
        let lease = &mut self.leases[place as usize];
        if held != terms || (phase == Phase::Released && before != phase) {
            self.unread[usize::from(lease.home.client)].push(place);
        }
        let waited = matches!(before, Phase::Requesting | Phase::Renewing | Phase::Rebinding);
        let again = matches!(phase, Phase::Waiting | Phase::Init | Phase::Selecting);
        if lease.nak && lease.nak_at == now && waited && again {
            lease.naks += 1;
            lease.refused_at = now;
        }
        // What was asked in RENEWING is not answered in REBINDING.
        lease.extend.closed |= phase == Phase::Rebinding && !lease.extend.rebinding;
        lease.phase = phase;
        lease.terms = terms;
        lease.was_bound |= terms.is_some();
        lease.parting = std::mem::take(&mut lease.grants);
        lease.answered_bound = false;
        Ok(())
    }

    /// What a caller ended stays ended; what it did not end goes on.
    fn explain_end(&self, place: u32, phase: Phase) -> Checked {
        let over = matches!(phase, Phase::Released | Phase::Releasing);
        match self.leases[place as usize].end {
            None if over => broken(Rule::Reason, place, format!("{phase:?} without a command")),
            Some(End::Forget) if phase != Phase::Released => {
                broken(Rule::Reason, place, format!("forgotten, but {phase:?}"))
            }
            // While a REQUEST is out its answer is waited for, to be given back.
            Some(End::Release) if !over && phase != Phase::Requesting => {
                broken(Rule::Reason, place, format!("released, but {phase:?}"))
            }
            _ => Ok(()),
        }
    }

    /// New terms must be what a delivered ACK granted, and nobody else's.
    fn gained(&mut self, place: u32, new: &Terms, now: Instant) -> Checked {
        let lease = &mut self.leases[place as usize];
        let explained = lease.grants.iter().any(|grant| {
            (grant.address, grant.server_id, grant.server_mac)
                == (new.address, new.server_id, new.server_mac)
                && (grant.lease_time, grant.start) == (new.lease_time, new.start)
        });
        if !explained {
            let text = format!("{new:?} was granted by none of {:?}", lease.grants);
            return broken(Rule::Reason, place, text);
        }
        if !lasts(new, now) {
            return broken(Rule::Expiry, place, format!("{new:?} was over when it began"));
        }
        // RFC 2131 4.4.5: T1 before T2, T2 before the end; an infinite lease has none of them.
        let times = [new.t1(), new.t2(), end_of(new)];
        if !times.is_sorted_by(|a, b| a < b) && times != [None; 3] {
            return broken(Rule::Timing, place, format!("T1, T2 and end: {times:?} of {new:?}"));
        }
        if lease.terms.is_some_and(|old| old.address != new.address) {
            lease.lost = true;
        }
        lease.acked = now;
        lease.renew_asked = false;
        lease.nak = false;
        lease.naks = 0;
        (lease.request.closed, lease.extend.closed) = (true, true);
        lease.extend.over = true;
        let home = lease.home;
        if let Some(end) = end_of(new) {
            self.expiries[usize::from(home.client)].push(Reverse((end, place)));
        }
        let key = (home.segment, home.domain, new.address);
        let twin = self.holders.insert(key, place).filter(|other| *other != place);
        if let Some(twin) = twin {
            let other = &self.leases[twin as usize];
            let theirs = self.clocks[usize::from(other.home.client)];
            let clash = other.terms.is_some_and(|terms| terms.address == new.address)
                && other.holds(theirs)
                && other.phase != Phase::Releasing;
            if clash && !self.is_excused(home.segment, new.address) {
                let text = format!("lease {twin} holds it as well: {:?}, {new:?}", other.terms);
                return broken(Rule::Unique, place, text);
            }
            if clash {
                self.coverage.mark(Mark::Twins);
            }
        }
        Ok(())
    }

    fn given_up(&mut self, place: u32, old: &Terms, now: Instant) -> Checked {
        let lease = &mut self.leases[place as usize];
        if lease.end.is_none() {
            if lasts(old, now) && !lease.nak {
                return broken(Rule::Reason, place, format!("{old:?} was given up for nothing"));
            }
            lease.lost = true;
        }
        let key = (lease.home.segment, lease.home.domain, old.address);
        if self.holders.get(&key) == Some(&place) {
            self.holders.remove(&key);
        }
        Ok(())
    }

    /// Notes which transition of the state diagram this was.
    fn cover(&mut self, place: u32, phase: Phase, holds: bool, now: Instant) {
        let lease = &self.leases[place as usize];
        let over = lease.end.is_some();
        let expired = lease.terms.is_some_and(|terms| !lasts(&terms, now));
        let renewed = !lease.grants.is_empty() && phase == Phase::Bound;
        let mark = match (lease.phase, phase) {
            (Phase::Releasing, Phase::Released) if expired => Some(Mark::ReleaseTooLate),
            (Phase::Requesting, Phase::Releasing | Phase::Released)
                if over && !lease.grants.is_empty() =>
            {
                Some(Mark::ReleaseGranted)
            }
            (Phase::Requesting, Phase::Released) if lease.nak => Some(Mark::ReleaseRefused),
            (Phase::Requesting, Phase::Released) => Some(Mark::ReleaseUnanswered),
            _ if over => None,
            (Phase::Selecting, Phase::Requesting) => Some(Mark::Choose),
            (Phase::Requesting | Phase::Selecting, Phase::Bound) => Some(Mark::Bind),
            (Phase::Requesting, Phase::Init | Phase::Selecting) if lease.nak => {
                Some(Mark::RequestRefused)
            }
            (Phase::Requesting, Phase::Init | Phase::Selecting) => Some(Mark::RequestUnanswered),
            (Phase::Bound, Phase::Bound) if lease.answered_bound => Some(Mark::Discarded),
            (Phase::Bound, Phase::Renewing) => Some(Mark::Renew),
            (Phase::Bound, Phase::Rebinding) => Some(Mark::OversleptT2),
            (Phase::Renewing, Phase::Rebinding) => Some(Mark::Rebind),
            (Phase::Renewing, Phase::Bound) if renewed => Some(Mark::Renewed),
            (Phase::Renewing, Phase::Bound) => Some(Mark::RenewalOfNoEnd),
            (Phase::Rebinding, Phase::Bound) => Some(Mark::Rebound),
            (Phase::Bound, _) if expired && !holds => Some(Mark::OversleptBound),
            (Phase::Renewing, _) if expired && !holds => Some(Mark::OversleptRenewing),
            (Phase::Rebinding, _) if expired && !holds => Some(Mark::Expired),
            (Phase::Renewing, _) if lease.nak && !holds => Some(Mark::RenewRefused),
            (Phase::Rebinding, _) if lease.nak && !holds => Some(Mark::RebindRefused),
            (Phase::Waiting, Phase::Init | Phase::Selecting) => Some(Mark::Resume),
            _ => None,
        };
        if phase == Phase::Waiting && lease.phase != phase {
            self.coverage.mark(Mark::Pause);
        }
        if let Some(mark) = mark {
            self.coverage.mark(mark);
        }
    }

    /// After a client's last turn at `now`: leases whose end has come, to be looked at.
    pub(crate) fn overdue(&mut self, client: u8, now: Instant) -> Option<u32> {
        let heap = &mut self.expiries[usize::from(client)];
        let Reverse((end, place)) = *heap.peek()?;
        if end + TICK > now {
            return None;
        }
        heap.pop();
        Some(place)
    }

    /// A client that has done all it had to do shows no lease that is over.
    pub(crate) fn settled(&self, place: u32, now: Instant) -> Checked {
        let lease = &self.leases[place as usize];
        match lease.terms.filter(|terms| end_of(terms).is_some_and(|end| end + TICK <= now)) {
            Some(terms) => broken(Rule::Expiry, place, format!("{terms:?} is over, but shown")),
            None => Ok(()),
        }
    }

    /// The client's own state against time: RENEWING not before T1, REBINDING not before T2.
    pub(crate) fn early(&self, place: u32, state: &State, now: Instant) -> Checked {
        let lease = &self.leases[place as usize];
        match state {
            State::Renewing { terms, .. } if !lease.renew_asked && !at_or_past(terms.t1(), now) => {
                broken(Rule::Timing, place, format!("RENEWING before T1: {terms:?}"))
            }
            State::Rebinding { terms, .. } if !at_or_past(terms.t2(), now) => {
                broken(Rule::Timing, place, format!("REBINDING before T2: {terms:?}"))
            }
            _ => Ok(()),
        }
    }
}

fn at_or_past(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|at| at <= now)
}

impl Lease {
    /// True if the lease is to be bound in the end.
    pub(crate) fn wants_address(&self) -> bool {
        self.end.is_none() && !self.home.probe
    }
}

fn phase(state: &State) -> Phase {
    match state {
        State::Init => Phase::Init,
        State::Selecting { .. } => Phase::Selecting,
        State::Requesting { .. } => Phase::Requesting,
        State::Bound { .. } => Phase::Bound,
        State::Renewing { .. } => Phase::Renewing,
        State::Rebinding { .. } => Phase::Rebinding,
        State::Releasing { .. } => Phase::Releasing,
        State::Waiting { .. } => Phase::Waiting,
        State::Released => Phase::Released,
    }
}
