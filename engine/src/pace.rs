//! How fast a port may send: a window over exchanges in flight, token buckets, and the order in
//! which waiting leases are served.
//!
//! A server behind a default socket buffer (212,992 bytes) takes about 167 frames at once and
//! drops the rest; a dropped DISCOVER costs its client 4 s. So new exchanges are admitted one by
//! one as others end, and the window adapts: it doubles while all goes well, and is halved when a
//! client had to repeat itself or answers take longer than [`SLOW`].

use crate::time::Instant;
use std::time::Duration;

/// The automatic window's first value, in exchanges.
const WINDOW_FIRST: f64 = 32.0;
/// The automatic window's ceiling: below what a default socket buffer takes at once.
const WINDOW_MOST: f64 = 128.0;
/// Answers slower than this make the automatic window smaller: a quarter of the first
/// retransmission's wait.
pub const SLOW: Duration = Duration::from_millis(1000);
/// The window is cut at most once in this time, so that one burst of losses counts once.
const CUT_PAUSE: Duration = Duration::from_millis(500);
/// Renewals and releases a second until the server has shown how fast it is.
const OTHERS_FIRST: f64 = 500.0;
/// The fewest releases a second that experience leads to: a server that binds slowly, because it
/// looks for conflicts or writes files, still takes messages that need neither.
const RELEASES_LEAST: f64 = 200.0;
/// The share of the server's binding speed at which releases are sent: nobody answers a RELEASE, so
/// one that is lost in a full socket buffer stays lost.
const OTHERS_SHARE: f64 = 0.8;
/// How much a new measurement of the server's speed counts.
const NEW_SHARE: f64 = 0.25;
/// Frames that may go out at once after a pause.
const BURST: f64 = 32.0;
/// A token, less what floating point may lose while it trickles in.
const WHOLE: f64 = 1.0 - 1e-6;
/// An interval longer than this had a pause in it, and says nothing about the server's speed.
const IDLE: Duration = Duration::from_millis(500);
/// Least length of the intervals over which the server's speed is measured.
const SAMPLE: Duration = Duration::from_millis(20);

/// A limit on exchanges in flight: DISCOVERs sent whose lease is neither bound nor overdue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// Found by experience, between 1 and 128.
    #[default]
    Auto,
    /// This many, at least 1.
    Fixed(u32),
    /// No limit (open loop).
    Unlimited,
}

/// How a port is paced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Limit on exchanges in flight.
    pub window: Window,
    /// New exchanges (first DISCOVERs) a second; `None`: as fast as the window allows.
    pub starts_per_second: Option<u32>,
    /// Renewals and rebinds a second, and as many releases. `None`: 500 of each or, once the server
    /// was seen busy, 0.8 times the leases that it bound a second; but at least 500 renewals, which
    /// repeat themselves if they are lost, and 200 releases, which do not.
    pub others_per_second: Option<u32>,
}

/// The pacing of one port.
#[derive(Debug)]
pub struct Pacer {
    window: Window,
    size: f64,
    /// The window has been cut once: from now on it grows by one a round instead of doubling.
    cautious: bool,
    last_cut: Option<Instant>,
    in_flight: u32,
    starts: Option<Bucket>,
    extends: Bucket,
    releases: Bucket,
    others_fixed: bool,
    sample_from: Instant,
    sampled: u32,
    /// Leases a second that the server binds when it is busy; 0: not known.
    speed: f64,
}

impl Pacer {
    /// A pacer that has seen nothing yet.
    #[must_use]
    pub fn new(pacing: Pacing, now: Instant) -> Self {
        let others = pacing.others_per_second.map_or(OTHERS_FIRST, f64::from);
        Self {
            window: pacing.window,
            size: WINDOW_FIRST,
            cautious: false,
            last_cut: None,
            in_flight: 0,
            // A given rate is kept evenly: no burst.
            starts: pacing.starts_per_second.map(|rate| Bucket::new(f64::from(rate), 1.0, now)),
            extends: Bucket::new(others, BURST, now),
            releases: Bucket::new(others, BURST, now),
            others_fixed: pacing.others_per_second.is_some(),
            sample_from: now,
            sampled: 0,
            speed: 0.0,
        }
    }

    /// Exchanges in flight now.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Exchanges that may be in flight at once; `None`: any number.
    #[must_use]
    pub fn window(&self) -> Option<u32> {
        match self.window {
            Window::Auto => Some(self.size as u32),
            Window::Fixed(size) => Some(size.max(1)),
            Window::Unlimited => None,
        }
    }

    /// True if a new exchange may begin now.
    pub fn may_start(&mut self, now: Instant) -> bool {
        self.window().is_none_or(|size| self.in_flight < size)
            && self.starts.as_mut().is_none_or(|bucket| bucket.has(now))
    }

    /// A new exchange began.
    pub fn started(&mut self) {
        self.in_flight += 1;
        if let Some(bucket) = &mut self.starts {
            bucket.take();
        }
    }

    /// An exchange left the window, with or without success.
    pub fn left(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// An exchange ended well after its last transmission had waited `after` for the answer.
    pub fn succeeded(&mut self, after: Duration, now: Instant) {
        self.measure(now);
        if after > SLOW {
            self.congested(now);
        } else if self.cautious {
            self.size = (self.size + 1.0 / self.size).min(WINDOW_MOST);
        } else {
            self.size = (self.size + 1.0).min(WINDOW_MOST);
        }
    }

    /// An exchange had to repeat itself, or its answer came late.
    pub fn congested(&mut self, now: Instant) {
        if self.last_cut.is_none_or(|cut| now.since(cut) >= CUT_PAUSE) {
            self.size = (self.size / 2.0).max(1.0);
            self.cautious = true;
            self.last_cut = Some(now);
        }
    }

    /// True if a packet of this class may be sent now.
    pub fn may_send(&mut self, class: Class, now: Instant) -> bool {
        match class {
            Class::Extend => self.extends.has(now),
            Class::Release => self.releases.has(now),
            Class::Request => true,
            Class::Discover => self.may_start(now),
        }
    }

    /// A packet of this class was sent.
    pub fn sent(&mut self, class: Class) {
        match class {
            Class::Extend => self.extends.take(),
            Class::Release => self.releases.take(),
            Class::Request => {}
            Class::Discover => self.started(),
        }
    }

    /// When the first of the classes that `waiting` names may go on, if it lacks only a token.
    pub fn next(&self, waiting: impl Fn(Class) -> bool) -> Option<Instant> {
        let open = self.window().is_none_or(|size| self.in_flight < size);
        let starts = self.starts.as_ref().filter(|_| open);
        let buckets = [
            (Class::Extend, Some(&self.extends)),
            (Class::Release, Some(&self.releases)),
            (Class::Discover, starts),
        ];
        let lacking = buckets.into_iter().filter(|(class, _)| waiting(*class));
        lacking.filter_map(|(_, bucket)| bucket?.next()).min()
    }

    /// Learns how many leases a second the server can bind.
    fn measure(&mut self, now: Instant) {
        self.sampled += 1;
        let passed = now.since(self.sample_from);
        if passed < SAMPLE {
            return;
        }
        // A long interval, or one that ends with a window half empty, was an idle one: it says
        // nothing about the server.
        let busy = self.window().is_none_or(|size| self.in_flight * 2 >= size);
        if busy && passed < IDLE && !self.others_fixed {
            let rate = f64::from(self.sampled) / passed.as_secs_f64();
            let share = if self.speed == 0.0 { 1.0 } else { NEW_SHARE };
            self.speed += (rate - self.speed) * share;
            self.extends.rate = (self.speed * OTHERS_SHARE).max(OTHERS_FIRST);
            self.releases.rate = (self.speed * OTHERS_SHARE).max(RELEASES_LEAST);
        }
        (self.sample_from, self.sampled) = (now, 0);
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    /// Tokens a second.
    rate: f64,
    most: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: f64, most: f64, now: Instant) -> Self {
        Self { rate: rate.max(f64::MIN_POSITIVE), most, tokens: most, filled: now }
    }

    fn has(&mut self, now: Instant) -> bool {
        let gained = now.since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.most);
        self.filled = self.filled.max(now);
        self.tokens >= WHOLE
    }

    fn take(&mut self) {
        self.tokens -= 1.0;
    }

    /// When there is a token; `None`: there is one.
    fn next(&self) -> Option<Instant> {
        if self.tokens >= WHOLE {
            return None;
        }
        let missing = Duration::try_from_secs_f64((1.0 - self.tokens) / self.rate);
        // At least a nanosecond on: a caller that sleeps until then must find time has passed.
        Some(self.filled + missing.unwrap_or(Duration::MAX).max(Duration::from_nanos(1)))
    }
}

/// What a waiting lease is about to send, in the order in which the port serves them. (ARP answers
/// go before all of these.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A lease that would end: REQUEST in RENEWING or REBINDING, and its ARP.
    Extend,
    /// RELEASE.
    Release,
    /// The rest of an exchange that was let in.
    Request,
    /// A DISCOVER.
    Discover,
}

impl Class {
    /// All classes, first served first.
    pub const ALL: [Self; 4] = [Self::Extend, Self::Release, Self::Request, Self::Discover];
}

#[cfg(test)]
mod tests;
