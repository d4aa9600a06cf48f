//! Who a lease is: fixed for its life, and needed by all that judge or write its packets.

use super::terms::{Acquire, ClientIdentifier, Profile};
use crate::wire::ethernet::Mac;
use crate::wire::vlan::VlanStack;
use std::sync::Arc;

static PLAIN: ClientIdentifier = ClientIdentifier::Mac;

/// A lease's names and what it shares with others.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) profile: Arc<Profile>,
    pub(super) mac: Mac,
    pub(super) vlans: VlanStack,
    /// Option 57: the profile's, or less on a short link.
    pub(super) max_message_size: u16,
    /// What most leases have no need of.
    extra: Option<Box<Extra>>,
}

/// The parts of an identity that a bare lease does without.
#[derive(Debug)]
struct Extra {
    client_id: ClientIdentifier,
    hostname: Option<Box<str>>,
}

impl Identity {
    pub(super) fn new(acquire: Acquire) -> Self {
        let plain = acquire.client_id == PLAIN && acquire.hostname.is_none();
        let extra = (!plain)
            .then(|| Box::new(Extra { client_id: acquire.client_id, hostname: acquire.hostname }));
        Self {
            mac: acquire.mac,
            vlans: acquire.vlans,
            max_message_size: acquire.profile.max_message_size,
            profile: acquire.profile,
            extra,
        }
    }

    /// RFC 2131 4.2: the same client identifier in every message.
    pub(super) fn client_id(&self) -> &ClientIdentifier {
        self.extra.as_deref().map_or(&PLAIN, |extra| &extra.client_id)
    }

    /// Option 12; empty: not sent.
    pub(super) fn hostname(&self) -> &[u8] {
        let name = self.extra.as_deref().and_then(|extra| extra.hostname.as_deref());
        name.map_or(&[], str::as_bytes)
    }
}
