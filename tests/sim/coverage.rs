//! How often each thing occurred, so that the simulator cannot quietly stop covering it.

use std::fmt;

macro_rules! marks {
    ($($name:ident = $text:literal,)*) => {
        /// Something that a run can come across.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Mark { $($name,)* }

        impl Mark {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

marks! {
    // RFC 2131 figure 5, as far as the engine has it.
    Discover = "INIT > SELECTING: DISCOVER",
    DiscoverAgain = "SELECTING > SELECTING: DISCOVER again",
    Choose = "SELECTING > REQUESTING: OFFER, REQUEST",
    RequestAgain = "REQUESTING > REQUESTING: REQUEST again",
    Bind = "REQUESTING > BOUND: ACK",
    RequestRefused = "REQUESTING > INIT: NAK",
    RequestUnanswered = "REQUESTING > INIT: no answer",
    Discarded = "BOUND > BOUND: OFFER, ACK, NAK discarded",
    Renew = "BOUND > RENEWING: T1",
    RenewAgain = "RENEWING > RENEWING: REQUEST again",
    Renewed = "RENEWING > BOUND: ACK",
    RenewRefused = "RENEWING > INIT: NAK",
    Rebind = "RENEWING > REBINDING: T2",
    RebindAgain = "REBINDING > REBINDING: REQUEST again",
    Rebound = "REBINDING > BOUND: ACK",
    RebindRefused = "REBINDING > INIT: NAK",
    Expired = "REBINDING > INIT: expired",
    // What sleep and commands add.
    OversleptT2 = "BOUND > REBINDING: overslept",
    OversleptBound = "BOUND > INIT: overslept",
    OversleptRenewing = "RENEWING > INIT: overslept",
    Pause = "any > WAITING: NAK again",
    Resume = "WAITING > INIT: pause over",
    RenewalOfNoEnd = "RENEWING > BOUND: infinite lease unanswered",
    RenewCommand = "BOUND > RENEWING: command",
    ReleaseBound = "BOUND > RELEASING: command",
    ReleaseRenewing = "RENEWING > RELEASING: command",
    ReleaseRebinding = "REBINDING > RELEASING: command",
    Released = "RELEASING > RELEASED: RELEASE",
    ReleaseTooLate = "RELEASING > RELEASED: expired",
    ReleaseGranted = "REQUESTING > RELEASING: command, ACK",
    ReleaseRefused = "REQUESTING > RELEASED: command, NAK",
    ReleaseUnanswered = "REQUESTING > RELEASED: command, no answer",
    GiveUp = "no address > RELEASED: command",
    Forget = "any > RELEASED: forget",
    // What was done to them.
    Lost = "frame lost",
    Duplicated = "frame duplicated",
    Reordered = "frame delayed past others",
    BitsFlipped = "bits flipped",
    Cut = "frame truncated",
    Undetected = "corruption that no checksum shows",
    Isolated = "frame dropped by a partition",
    ReceiveRingFull = "receive ring overran",
    Partition = "partition",
    ServerDown = "server down",
    ServerRestart = "server restarted with memory",
    ServerForgot = "server restarted without memory",
    Misbehaves = "server told to misbehave",
    Suspend = "client process suspended",
    ClockJump = "client clock jumped",
    RingFull = "transmit ring full",
    RingSmall = "transmit ring of a few slots",
    FlushFails = "frame failed at the flush",
    SlowReader = "events read late",
    LinkFault = "link fault reported",
    Stranger = "ARP request by a stranger",
    Acquire = "acquire",
    AcquireAgain = "acquire again with the same MAC",
    Probe = "probe",
    ProbeOffer = "OFFER reported to a probe",
    Release = "release",
    ReleaseAll = "release all",
    Renewal = "renew",
    // What runs were like.
    TwoServers = "run with several servers on a link",
    TwoClients = "run with several clients",
    TwoPorts = "run with several ports",
    Tagged = "run with VLANs",
    TagsStripped = "run with tags in the metadata",
    ScarcePool = "run with too few addresses",
    NakStorm = "run with servers that refuse everything",
    Infinite = "run with infinite leases",
    Short = "run with leases below a minute",
    ByArp = "run with servers that resolve by ARP",
    Thousand = "run with over a thousand leases",
    Twins = "address leased twice by a forgetful server",
    Settled = "all leases bound after the network healed",
}

/// Counts of all marks, and of the servers' misbehaviours.
#[derive(Clone, Debug)]
pub(crate) struct Coverage {
    counts: [u64; Mark::ALL.len()],
    misbehaviours: Vec<(&'static str, u64)>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { counts: [0; Mark::ALL.len()], misbehaviours: Vec::new() }
    }
}

impl Coverage {
    pub(crate) const fn mark(&mut self, mark: Mark) {
        self.counts[mark as usize] += 1;
    }

    pub(crate) fn misbehaved(&mut self, name: &'static str, count: u64) {
        match self.misbehaviours.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => self.misbehaviours.push((name, count)),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        for (name, count) in &other.misbehaviours {
            self.misbehaved(name, *count);
        }
    }

    /// What never occurred.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let never = Mark::ALL.iter().filter(|mark| self.counts[**mark as usize] == 0);
        let mut missing: Vec<_> = never.map(|mark| mark.name()).collect();
        // Drop is the first of them; every kind must have been seen.
        if self.misbehaviours.len() < MISBEHAVIOURS {
            missing.push("some kinds of server misbehaviour");
        }
        missing
    }
}

/// Kinds of misbehaviour that the embedded server has.
const MISBEHAVIOURS: usize = 16;

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mark in Mark::ALL {
            writeln!(f, "{:>10}  {}", self.counts[*mark as usize], mark.name())?;
        }
        let mut wrongs = self.misbehaviours.clone();
        wrongs.sort_unstable();
        wrongs.iter().try_for_each(|(name, count)| writeln!(f, "{count:>10}  {name}"))
    }
}
