//! The states of RFC 2131 figure 5, with the data that each needs inside its variant.
//!
//! ```text
//!            DISCOVER          OFFER, REQUEST             ACK
//!   Init ─────────────▶ Selecting ──────────▶ Requesting ─────▶ Bound ◀──────────┐
//!    ▲ ▲                  │  ▲                 │   │             │ T1            │ ACK
//!    │ │                  └──┘ no answer:      │   │             ▼               │
//!    │ │                    DISCOVER again     │   │          Renewing ──────────┤
//!    │ └───────────────────────────────────────┘   │             │ T2            │
//!    │            REQUEST sent four times          │             ▼               │
//!    │                                             │ NAK      Rebinding ─────────┘
//!    │  first NAK: at once    Waiting ◀────────────┴─────────────┤ NAK
//!    └───────────────────────────┘  ◀────────────────────────────┘ expiry: to Init
//!
//!   release: Bound, Renewing, Rebinding ─▶ Releasing ─(RELEASE sent, or expiry)─▶ Released
//!            any other state            ───────────────────────────▶ Released
//! ```
//!
//! To come with the whole protocol: `InitReboot`, `Rebooting`, `Probing`, `Informing`.

use super::terms::Terms;
use crate::time::Instant;
use crate::wire::ethernet::Mac;
use std::net::Ipv4Addr;

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// About to send the first DISCOVER.
    Init,
    /// DISCOVER sent; waiting for an OFFER.
    Selecting {
        /// The DISCOVERs.
        exchange: Exchange,
    },
    /// An OFFER was chosen; REQUEST sent, or about to be; waiting for the ACK.
    Requesting {
        /// The REQUESTs.
        exchange: Exchange,
        /// When the DISCOVER was first sent.
        discovered: Instant,
        /// The chosen offer's address (yiaddr).
        address: Ipv4Addr,
        /// The chosen server (option 54).
        server_id: Ipv4Addr,
    },
    /// The address is ours until T1 and beyond.
    Bound {
        /// What was granted.
        terms: Terms,
    },
    /// Past T1: asking the leasing server, by unicast.
    Renewing {
        /// What was granted.
        terms: Terms,
        /// The REQUESTs.
        exchange: Exchange,
        /// Which MAC the next one goes to.
        hop: Hop,
    },
    /// Past T2: asking any server, by broadcast.
    Rebinding {
        /// What was granted.
        terms: Terms,
        /// The REQUESTs.
        exchange: Exchange,
        /// When the first REQUEST was sent since T1, in RENEWING or here; the end of time before.
        began: Instant,
    },
    /// RELEASE is to be sent.
    Releasing {
        /// What is given back.
        terms: Terms,
    },
    /// Paused before INIT.
    Waiting {
        /// The end of the pause.
        until: Instant,
        /// What it is for.
        why: Wait,
    },
    /// Over: nothing is held, sent or taken.
    Released,
}

/// A series of transmissions of one message, waiting for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// When the first one was sent; meaningless while `sent` is 0.
    pub first: Instant,
    /// When the next one is due.
    pub next: Instant,
    /// How many were sent; stops counting at 255.
    pub sent: u8,
    /// Ask for a broadcast answer.
    pub broadcast: bool,
    /// The field `secs` of the last one.
    pub secs: u16,
}

impl Exchange {
    /// An exchange whose first message is due at `at`.
    #[must_use]
    pub const fn due(at: Instant) -> Self {
        Self { first: at, next: at, sent: 0, broadcast: false, secs: 0 }
    }
}

/// How a unicast request finds its next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The MAC is known: from the ACK's frame, or by ARP.
    Known(Mac),
    /// To be resolved by ARP; asked this many times.
    Ask(u8),
}

/// What a lease's next packet is, in the order of the RFC's table 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// DISCOVER, in INIT or SELECTING.
    Discover,
    /// REQUEST in REQUESTING.
    Request,
    /// REQUEST in RENEWING, to this MAC.
    Renew(Mac),
    /// ARP for the next hop of a REQUEST in RENEWING.
    ResolveHop(Ipv4Addr),
    /// REQUEST in REBINDING.
    Rebind,
    /// RELEASE.
    Release,
}

/// What a pause is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A server keeps answering DHCPNAK.
    Nak,
}

impl State {
    /// The state's name, as RFC 2131 writes it where it has one.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Selecting { .. } => "SELECTING",
            Self::Requesting { .. } => "REQUESTING",
            Self::Bound { .. } => "BOUND",
            Self::Renewing { .. } => "RENEWING",
            Self::Rebinding { .. } => "REBINDING",
            Self::Releasing { .. } => "RELEASING",
            Self::Waiting { .. } => "WAITING",
            Self::Released => "RELEASED",
        }
    }

    /// The terms under which an address is held, if one is.
    #[must_use]
    pub const fn terms(&self) -> Option<&Terms> {
        match self {
            Self::Bound { terms }
            | Self::Renewing { terms, .. }
            | Self::Rebinding { terms, .. }
            | Self::Releasing { terms } => Some(terms),
            Self::Init
            | Self::Selecting { .. }
            | Self::Requesting { .. }
            | Self::Waiting { .. }
            | Self::Released => None,
        }
    }

    /// The transmissions under way, if the state waits for an answer to any.
    #[must_use]
    pub const fn exchange(&self) -> Option<&Exchange> {
        match self {
            Self::Selecting { exchange }
            | Self::Requesting { exchange, .. }
            | Self::Renewing { exchange, .. }
            | Self::Rebinding { exchange, .. } => Some(exchange),
            Self::Init
            | Self::Bound { .. }
            | Self::Releasing { .. }
            | Self::Waiting { .. }
            | Self::Released => None,
        }
    }
}
