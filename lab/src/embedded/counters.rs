//! One number for everything that a server did, refused or did wrong.

use lessee_engine::wire::Discard;

use super::misbehave::Misbehaviour;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that a server counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Counter { $($(#[$doc])* $name,)* }

        impl Counter {
            /// Every counter, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The counter's name: lower case with underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

counters! {
    /// DISCOVER received.
    Discover = "discover",
    /// REQUEST received in state SELECTING.
    Selecting = "request_selecting",
    /// REQUEST received in state INIT-REBOOT.
    InitReboot = "request_init_reboot",
    /// REQUEST received by unicast in state RENEWING.
    Renewing = "request_renewing",
    /// REQUEST received by broadcast in state REBINDING.
    Rebinding = "request_rebinding",
    /// RELEASE received.
    Release = "release",
    /// DECLINE received.
    Decline = "decline",
    /// INFORM received.
    Inform = "inform",
    /// ARP request for the server's address received.
    ArpRequest = "arp_request",
    /// OFFER sent.
    Offer = "offer",
    /// ACK sent, not counting those to INFORM.
    Ack = "ack",
    /// ACK to INFORM sent.
    InformAck = "inform_ack",
    /// NAK sent.
    Nak = "nak",
    /// ARP reply sent.
    ArpReply = "arp_reply",
    /// ARP request sent.
    ArpAsked = "arp_asked",
    /// Lease given to a client that had none.
    Bound = "bound",
    /// Lease given up by its client.
    Released = "released",
    /// Address put aside because its client found it in use.
    Declined = "declined",
    /// Lease that ran out.
    Expired = "expired",
    /// Offer that was never taken up.
    OfferExpired = "offer_expired",
    /// Offer forgotten because the client chose another server (RFC 2131 4.3.2).
    OfferWithdrawn = "offer_withdrawn",
    /// DISCOVER without an answer: no address is free.
    Exhausted = "exhausted",
    /// Frame to another MAC address, or packet to another server's address.
    NotForUs = "not_for_us",
    /// Message that is a reply, or not to the server's port.
    NotARequest = "not_a_request",
    /// Message of a type that no client sends to a server.
    UnexpectedType = "unexpected_type",
    /// REQUEST that fits none of the four forms of RFC 2131 4.3.2.
    FormlessRequest = "formless_request",
    /// REQUEST with ciaddr and with option 50 or 54, which RENEWING and REBINDING must not have
    /// (RFC 2131 4.3.2, table 5). Handled all the same.
    ForbiddenOptions = "forbidden_options",
    /// Message for another server, by its option 54.
    OtherServer = "other_server",
    /// REQUEST without an answer: the server has no record of the client.
    UnknownClient = "unknown_client",
    /// RELEASE or DECLINE of an address that the client does not hold.
    NotTheHolder = "not_the_holder",
    /// Option 61 longer than 255 bytes.
    LongClientId = "long_client_id",
    /// Frame from one VLAN more than the server keeps pools for.
    TooManyVlans = "too_many_vlans",
    /// Answer lost: too many wait already.
    QueueFull = "queue_full",
    /// Answer lost: the transmit slot is too small.
    NoRoom = "no_room",
    /// Answer lost: ARP got no reply.
    Unreachable = "unreachable",
    /// Answer lost: too many addresses are being resolved.
    NeighboursFull = "neighbours_full",
}

/// Totals since the server was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    counts: [u64; Counter::ALL.len()],
    discards: [u64; Discard::ALL.len()],
    misbehaviours: [u64; Misbehaviour::KINDS],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counts: [0; Counter::ALL.len()],
            discards: [0; Discard::ALL.len()],
            misbehaviours: [0; Misbehaviour::KINDS],
        }
    }
}

impl Counters {
    /// How often it happened.
    #[must_use]
    pub const fn get(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }

    /// Frames that were refused for this reason.
    #[must_use]
    pub const fn discarded(&self, reason: Discard) -> u64 {
        self.discards[reason as usize]
    }

    /// How often the server misbehaved like this. What the variant holds plays no role.
    #[must_use]
    pub const fn misbehaved(&self, what: Misbehaviour) -> u64 {
        self.misbehaviours[what.index()]
    }

    /// REQUESTs received, of all four forms.
    #[must_use]
    pub fn requests(&self) -> u64 {
        [Counter::Selecting, Counter::InitReboot, Counter::Renewing, Counter::Rebinding]
            .into_iter()
            .map(|counter| self.get(counter))
            .sum()
    }

    /// Names and values of all counters that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Counter::ALL.iter().map(|counter| counter.name()).zip(self.counts);
        let discards = Discard::ALL.iter().map(|reason| reason.name()).zip(self.discards);
        let wrongs = Misbehaviour::NAMES.into_iter().zip(self.misbehaviours);
        counts.chain(discards).chain(wrongs).filter(|(_, value)| *value != 0)
    }

    pub(super) const fn add(&mut self, counter: Counter) {
        self.counts[counter as usize] += 1;
    }

    pub(super) const fn add_many(&mut self, counter: Counter, many: u64) {
        self.counts[counter as usize] += many;
    }

    pub(super) const fn discard(&mut self, reason: Discard) {
        self.discards[reason as usize] += 1;
    }

    pub(super) const fn misbehave(&mut self, what: Misbehaviour) {
        self.misbehaviours[what.index()] += 1;
    }
}
