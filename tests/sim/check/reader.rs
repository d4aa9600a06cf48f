//! What a reader of events must be told.

use super::{Checked, Checker, Rule, broken};
use lessee_engine::lease::{Kinds, LeaseId, Notice};
use lessee_engine::time::Instant;

impl Checker {
    /// The lease of a name, unless its last notice was read.
    pub(crate) fn by_id(&self, client: u8, id: LeaseId) -> Option<u32> {
        self.by_id.get(&(client, id)).copied()
    }

    /// A notice was read; the model must be up to date.
    pub(crate) fn notice(&mut self, place: u32, notice: &Notice, now: Instant) -> Checked {
        self.say(place, now, || format!("notice {:?} {:?}", notice.sequence, notice.kinds));
        let lease = &mut self.leases[place as usize];
        let fail = |text: String| broken(Rule::Events, place, text);
        if notice.sequence != lease.sequence + 1 {
            return fail(format!("notice {} follows {}", notice.sequence, lease.sequence));
        }
        if notice.previous != lease.known {
            return fail(format!("the reader knew {:?}: {notice:?}", lease.known));
        }
        if notice.terms != lease.terms {
            return fail(format!("the lease has {:?}: {notice:?}", lease.terms));
        }
        let has = |kinds| notice.kinds.contains(kinds);
        let released = has(Kinds::RELEASED);
        if released != (lease.end.is_some() && lease.phase == super::Phase::Released) {
            return fail(format!("in {:?}: {notice:?}", lease.phase));
        }
        if lease.lost && !has(Kinds::LOST) && !has(Kinds::CHANGED) {
            return fail(format!("an address was lost: {notice:?}"));
        }
        if notice.lost.is_some() != has(Kinds::LOST) {
            return fail(format!("lost without a reason, or the other way: {notice:?}"));
        }
        let address = notice.terms.map(|terms| terms.address);
        let gone = lease.known.is_some() && lease.known != address;
        if gone && !has(Kinds::LOST) && !released && !has(Kinds::CHANGED) {
            return fail(format!("{:?} is gone without a word: {notice:?}", lease.known));
        }
        let new = address.is_some() && address != lease.known;
        if new && !has(Kinds::BOUND) && !has(Kinds::CHANGED) {
            return fail(format!("a new address without a word: {notice:?}"));
        }
        lease.sequence = notice.sequence;
        lease.known = address;
        lease.lost = false;
        if released {
            let (home, id) = (lease.home, lease.id);
            self.by_id.remove(&(home.client, id));
            self.living[usize::from(home.client)] -= 1;
        }
        Ok(())
    }

    /// A reader that has read all there is knows all there is.
    pub(crate) fn all_read(&mut self, client: u8) -> Checked {
        for place in std::mem::take(&mut self.unread[usize::from(client)]) {
            let lease = &self.leases[place as usize];
            let address = lease.terms.map(|terms| terms.address);
            let over = lease.phase == super::Phase::Released;
            let gone = !self.by_id.contains_key(&(client, lease.id));
            // Whoever gave it back need not hear that it was granted after all.
            let told = lease.known == address || lease.end.is_some();
            if lease.lost || over != gone || !told {
                let text = format!("nobody was told: {:?}, {address:?}", lease.phase);
                return broken(Rule::Events, place, text);
            }
        }
        Ok(())
    }

    /// Leases of a client that are in its table.
    pub(crate) fn living(&self, client: usize) -> u32 {
        self.living[client]
    }
}
