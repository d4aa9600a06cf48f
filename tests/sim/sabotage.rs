//! Faults put into the harness on purpose, to show that the rules catch what they are for.

use crate::seen::Seen;
use lessee_engine::lease::{Kinds, Notice};
use lessee_engine::time::Instant;
use std::time::Duration;

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sabotage {
    #[default]
    None,
    /// Readers are not told that an address was lost.
    HideLost,
    /// Every third notice is lost.
    LoseNotices,
    /// Two servers lease the same addresses.
    SharePool,
    /// Servers lose their memory, and nobody is told.
    Amnesia,
    /// A frame goes out a second time, half a minute later.
    Replay,
    /// The engine's clock is three seconds late.
    Lag,
    /// When the network heals, the servers do not.
    Deaf,
}

/// A frame of a client, as a turn leaves it.
pub(crate) type Outgoing = (u32, u16, Seen, Vec<u8>, bool);

impl Sabotage {
    /// Changes a notice; true: it is lost.
    pub(crate) fn swallows(self, notice: &mut Notice) -> bool {
        if self == Self::HideLost && notice.kinds.contains(Kinds::LOST) {
            let mut kinds = Kinds::default();
            let others = [Kinds::BOUND, Kinds::RENEWED, Kinds::CHANGED, Kinds::RELEASED];
            others
                .into_iter()
                .filter(|kind| notice.kinds.contains(*kind))
                .for_each(|kind| kinds.insert(kind));
            (notice.kinds, notice.lost) = (kinds, None);
        }
        self == Self::LoseNotices && notice.sequence.is_multiple_of(3)
    }

    /// The time that the engine is told.
    pub(crate) fn clock(self, now: Instant) -> Instant {
        if self == Self::Lag { now - Duration::from_secs(3) } else { now }
    }

    /// Sends an old frame again.
    pub(crate) fn replay(
        self,
        kept: &mut Option<(Instant, Outgoing)>,
        frames: &mut Vec<Outgoing>,
        now: Instant,
    ) {
        if self != Self::Replay {
            return;
        }
        match kept {
            None => *kept = frames.first().map(|frame| (now, frame.clone())),
            Some((then, _)) if now.since(*then) > Duration::from_secs(30) => {
                frames.extend(kept.take().map(|(_, frame)| frame));
            }
            Some(_) => {}
        }
    }
}
