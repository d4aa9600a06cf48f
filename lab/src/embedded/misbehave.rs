//! Misbehaviour on request: rules that say which answers go wrong, how, and how often.
//!
//! All chance comes from the seed that the server was made with, so a run can be repeated.

use std::ops::BitOr;
use std::time::Duration;

use super::counters::Counters;

/// Messages that a rule is about, by what the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// DISCOVER.
    pub const DISCOVER: Self = Self(1);
    /// REQUEST in state SELECTING.
    pub const SELECTING: Self = Self(1 << 1);
    /// REQUEST in state INIT-REBOOT.
    pub const INIT_REBOOT: Self = Self(1 << 2);
    /// REQUEST in state RENEWING.
    pub const RENEWING: Self = Self(1 << 3);
    /// REQUEST in state REBINDING.
    pub const REBINDING: Self = Self(1 << 4);
    /// REQUEST in any state.
    pub const REQUEST: Self = Self(0b1_1110);
    /// RELEASE, which has no answer: only [`Misbehaviour::Drop`] applies.
    pub const RELEASE: Self = Self(1 << 5);
    /// DECLINE, which has no answer: only [`Misbehaviour::Drop`] applies.
    pub const DECLINE: Self = Self(1 << 6);
    /// INFORM.
    pub const INFORM: Self = Self(1 << 7);
    /// ARP for the server's address. What changes DHCP messages does not apply.
    pub const ARP: Self = Self(1 << 8);
    /// Every DHCP message.
    pub const DHCP: Self = Self(0xff);
    /// All of the above.
    pub const ANY: Self = Self(0x1ff);

    /// True if all of `other` is in here.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Kinds {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

/// A way to spoil a packet so that no client may take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformation {
    /// The frame ends in the middle of the message.
    Truncated,
    /// The last option runs past the end of the packet.
    OptionOverrun,
    /// The magic cookie is wrong.
    BadCookie,
    /// The UDP checksum is wrong.
    UdpChecksum,
    /// The IPv4 header checksum is wrong.
    IpChecksum,
    /// The hardware address is 16 bytes long, by `hlen`.
    LongHardwareAddress,
    /// Option 53 is missing.
    NoMessageType,
}

impl Malformation {
    /// Every way.
    pub const ALL: [Self; 7] = [
        Self::Truncated,
        Self::OptionOverrun,
        Self::BadCookie,
        Self::UdpChecksum,
        Self::IpChecksum,
        Self::LongHardwareAddress,
        Self::NoMessageType,
    ];
}

/// Something that a server ought not to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Ignores the message: as if it had never come.
    Drop,
    /// Does what the message asks for, but says nothing: the answer is lost.
    Silent,
    /// Answers late.
    Delay(Duration),
    /// Answers twice.
    Duplicate,
    /// Answers after the next answer, to whomever that goes; after a second at the latest.
    Reorder,
    /// Answers with a NAK and does nothing.
    Nak,
    /// Names another server in option 54.
    WrongServerId,
    /// Leaves option 54 out.
    MissingServerId,
    /// Answers with another transaction identifier.
    WrongXid,
    /// Answers with another `chaddr`; the frame still goes to the client.
    WrongChaddr,
    /// Gives a lease of so many seconds.
    ShortLease(u32),
    /// Leaves option 51 out.
    NoLeaseTime,
    /// Gives the address 0.0.0.0.
    ZeroAddress,
    /// Spoils the packet; `None` leaves the choice to the seed.
    Malformed(Option<Malformation>),
    /// Carries a client identifier that is not the client's (RFC 6842).
    ForeignClientId,
    /// Gives a subnet mask with holes.
    SenselessMask,
}

impl Misbehaviour {
    /// How many there are.
    pub(super) const KINDS: usize = 16;

    /// Their names, in the order of the variants.
    pub(super) const NAMES: [&'static str; Self::KINDS] = [
        "misbehaved_drop",
        "misbehaved_silent",
        "misbehaved_delay",
        "misbehaved_duplicate",
        "misbehaved_reorder",
        "misbehaved_nak",
        "misbehaved_wrong_server_id",
        "misbehaved_missing_server_id",
        "misbehaved_wrong_xid",
        "misbehaved_wrong_chaddr",
        "misbehaved_short_lease",
        "misbehaved_no_lease_time",
        "misbehaved_zero_address",
        "misbehaved_malformed",
        "misbehaved_foreign_client_id",
        "misbehaved_senseless_mask",
    ];

    /// The name of its counter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Drop => 0,
            Self::Silent => 1,
            Self::Delay(_) => 2,
            Self::Duplicate => 3,
            Self::Reorder => 4,
            Self::Nak => 5,
            Self::WrongServerId => 6,
            Self::MissingServerId => 7,
            Self::WrongXid => 8,
            Self::WrongChaddr => 9,
            Self::ShortLease(_) => 10,
            Self::NoLeaseTime => 11,
            Self::ZeroAddress => 12,
            Self::Malformed(_) => 13,
            Self::ForeignClientId => 14,
            Self::SenselessMask => 15,
        }
    }

    /// Whether it is about when and whether an answer goes out, not about what is in it.
    const fn suits_arp(self) -> bool {
        matches!(self, Self::Drop | Self::Silent | Self::Delay(_) | Self::Duplicate | Self::Reorder)
    }
}

/// One instruction to misbehave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// What goes wrong.
    pub what: Misbehaviour,
    /// With the answers to which messages.
    pub on: Kinds,
    /// How likely, from 0 to 1.
    pub probability: f64,
    /// So many matching messages are let off first.
    pub after: u64,
    /// Only so many matching messages are looked at, counted from the first that is not let off.
    pub first: Option<u64>,
}

impl Rule {
    /// Always `what`, with the answer to any message.
    #[must_use]
    pub const fn new(what: Misbehaviour) -> Self {
        Self { what, on: Kinds::ANY, probability: 1.0, after: 0, first: None }
    }

    /// Only with answers to these messages.
    #[must_use]
    pub const fn on(mut self, kinds: Kinds) -> Self {
        self.on = kinds;
        self
    }

    /// Only with this likelihood.
    #[must_use]
    pub const fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Lets the first `count` matching messages off.
    #[must_use]
    pub const fn after(mut self, count: u64) -> Self {
        self.after = count;
        self
    }

    /// Looks only at `count` matching messages.
    #[must_use]
    pub const fn first(mut self, count: u64) -> Self {
        self.first = Some(count);
        self
    }

    fn applies(&self, seen: u64, dice: &mut Dice) -> bool {
        let Some(place) = seen.checked_sub(self.after) else { return false };
        self.first.is_none_or(|first| place < first) && dice.chance(self.probability)
    }
}

/// What becomes of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deeds {
    pub(super) silent: bool,
    pub(super) delay: Duration,
    pub(super) duplicate: bool,
    pub(super) reorder: bool,
    pub(super) nak: bool,
    pub(super) wrong_server_id: bool,
    pub(super) missing_server_id: bool,
    /// Added to the transaction identifier, without carry; 0 leaves it.
    pub(super) xid: u32,
    pub(super) wrong_chaddr: bool,
    pub(super) lease: Option<u32>,
    pub(super) no_lease_time: bool,
    pub(super) zero_address: bool,
    pub(super) malformed: Option<Malformation>,
    pub(super) foreign_client_id: Option<[u8; 7]>,
    pub(super) senseless_mask: bool,
}

/// The rules in force, with their counts.
#[derive(Debug)]
pub(super) struct Conduct {
    rules: Vec<(Rule, u64)>,
    dice: Dice,
}

impl Conduct {
    pub(super) const fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), dice: Dice::new(seed) }
    }

    /// Replaces all rules; counting begins anew.
    pub(super) fn set(&mut self, rules: Vec<Rule>) {
        self.rules = rules.into_iter().map(|rule| (rule, 0)).collect();
    }

    /// Whether a message that just came is to be ignored.
    pub(super) fn drops(&mut self, kind: Kinds, counters: &mut Counters) -> bool {
        let mut drops = false;
        for (rule, seen) in &mut self.rules {
            if rule.what != Misbehaviour::Drop || !rule.on.has(kind) {
                continue;
            }
            drops |= rule.applies(*seen, &mut self.dice);
            *seen += 1;
        }
        if drops {
            counters.misbehave(Misbehaviour::Drop);
        }
        drops
    }

    /// What becomes of the answer to a message.
    pub(super) fn judge(&mut self, kind: Kinds, counters: &mut Counters) -> Deeds {
        let mut deeds = Deeds::default();
        for (rule, seen) in &mut self.rules {
            let suits = rule.what != Misbehaviour::Drop
                && rule.on.has(kind)
                && (kind != Kinds::ARP || rule.what.suits_arp());
            if !suits {
                continue;
            }
            if rule.applies(*seen, &mut self.dice) {
                deeds.add(rule.what, &mut self.dice);
                counters.misbehave(rule.what);
            }
            *seen += 1;
        }
        deeds
    }
}

impl Deeds {
    fn add(&mut self, what: Misbehaviour, dice: &mut Dice) {
        match what {
            Misbehaviour::Drop => {}
            Misbehaviour::Silent => self.silent = true,
            Misbehaviour::Delay(delay) => self.delay += delay,
            Misbehaviour::Duplicate => self.duplicate = true,
            Misbehaviour::Reorder => self.reorder = true,
            Misbehaviour::Nak => self.nak = true,
            Misbehaviour::WrongServerId => self.wrong_server_id = true,
            Misbehaviour::MissingServerId => self.missing_server_id = true,
            Misbehaviour::WrongXid => self.xid = dice.next() as u32 | 1,
            Misbehaviour::WrongChaddr => self.wrong_chaddr = true,
            Misbehaviour::ShortLease(seconds) => self.lease = Some(seconds),
            Misbehaviour::NoLeaseTime => self.no_lease_time = true,
            Misbehaviour::ZeroAddress => self.zero_address = true,
            Misbehaviour::Malformed(how) => {
                let any = || Malformation::ALL[dice.below(Malformation::ALL.len() as u64) as usize];
                self.malformed = Some(how.unwrap_or_else(any));
            }
            Misbehaviour::ForeignClientId => {
                let [a, b, c, d, e, f, ..] = dice.next().to_be_bytes();
                // Type 0: no hardware address, so it is nobody's default identifier.
                self.foreign_client_id = Some([0, a, b, c, d, e, f]);
            }
            Misbehaviour::SenselessMask => self.senseless_mask = true,
        }
    }
}

/// A small generator (SplitMix64): fast, repeatable, and no secret depends on it.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    const fn below(&mut self, end: u64) -> u64 {
        ((self.next() as u128 * end as u128) >> 64) as u64
    }

    fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what a double holds exactly.
        probability >= 1.0 || ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }
}

/// Spreads a number over all bits, one to one.
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
