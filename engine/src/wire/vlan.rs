//! Stacks of none, one (802.1Q) or two (802.1ad) VLAN tags.

use super::{Discard, be16};
use crate::device::VlanTag;
use std::fmt;

/// Up to two VLAN tags, outermost first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct VlanStack {
    outer: Option<Tag>,
    inner: Option<Tag>,
}

/// A tag packed so that a stack takes few bytes in each lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Tag {
    service: bool,
    tci: u16,
}

impl Tag {
    const fn pack(tag: VlanTag) -> Self {
        Self { service: tag.tpid == VlanTag::TPID_8021AD, tci: tag.tci }
    }

    const fn unpack(self) -> VlanTag {
        let tpid = if self.service { VlanTag::TPID_8021AD } else { VlanTag::TPID_8021Q };
        VlanTag { tpid, tci: self.tci }
    }
}

/// The broadcast domain that a stack of tags selects on its link: the VIDs without priorities.
/// A priority tag (VID 0) selects the untagged network (IEEE 802.1Q 9.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Domain(u32);

impl VlanStack {
    /// No tag.
    pub const NONE: Self = Self { outer: None, inner: None };

    /// One 802.1Q tag. `None` unless `vid` is 1 to 4094 and `pcp` 0 to 7.
    #[must_use]
    pub fn single(vid: u16, pcp: u8) -> Option<Self> {
        let tci = tci(vid, pcp)?;
        Some(Self { outer: Some(Tag { service: false, tci }), inner: None })
    }

    /// An 802.1ad service tag around an 802.1Q customer tag (QinQ). `None` unless both VIDs are
    /// 1 to 4094 and `pcp`, which both tags carry, 0 to 7.
    #[must_use]
    pub fn double(service_vid: u16, customer_vid: u16, pcp: u8) -> Option<Self> {
        let outer = Tag { service: true, tci: tci(service_vid, pcp)? };
        let inner = Tag { service: false, tci: tci(customer_vid, pcp)? };
        Some(Self { outer: Some(outer), inner: Some(inner) })
    }

    /// Number of tags, 0 to 2.
    #[must_use]
    pub fn len(self) -> usize {
        usize::from(self.outer.is_some()) + usize::from(self.inner.is_some())
    }

    /// True without any tag.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.outer.is_none()
    }

    /// The tags, outermost first.
    pub fn tags(self) -> impl Iterator<Item = VlanTag> {
        [self.outer, self.inner].into_iter().flatten().map(Tag::unpack)
    }

    /// True if one of the tags is only a priority (VID 0).
    #[must_use]
    pub fn has_priority_tag(self) -> bool {
        self.tags().any(|tag| tag.vid() == 0)
    }

    /// The broadcast domain that these tags select.
    #[must_use]
    pub fn domain(self) -> Domain {
        // Priority tags are skipped; what is left is an outer and an inner VID.
        self.tags()
            .map(VlanTag::vid)
            .filter(|vid| *vid != 0)
            .fold(Domain(0), |domain, vid| Domain(domain.0 << 16 | u32::from(vid)))
    }

    fn push(&mut self, tag: VlanTag) -> Result<(), Discard> {
        let free = if self.outer.is_none() { &mut self.outer } else { &mut self.inner };
        if free.is_some() {
            return Err(Discard::TooManyTags);
        }
        *free = Some(Tag::pack(tag));
        Ok(())
    }
}

impl fmt::Display for VlanStack {
    /// As in an interface's name: `100.10`; nothing without a tag.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, tag) in self.tags().enumerate() {
            write!(f, "{}{}", if place == 0 { "" } else { "." }, tag.vid())?;
        }
        Ok(())
    }
}

impl fmt::Debug for VlanStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tags()).finish()
    }
}

fn tci(vid: u16, pcp: u8) -> Option<u16> {
    // IEEE 802.1Q table 9-2: VID 0 is a priority tag, 4095 is reserved.
    ((1..=4094).contains(&vid) && pcp <= 7).then_some(u16::from(pcp) << 13 | vid)
}

/// Gathers the tags: first the one that the kernel took out, then those still in the frame.
/// Returns them with the EtherType and the bytes that follow.
///
/// # Errors
/// [`Discard::TooManyTags`] beyond two, [`Discard::RuntFrame`] if a tag is cut.
pub fn parse(
    stripped: Option<VlanTag>,
    ether_type: u16,
    bytes: &[u8],
) -> Result<(VlanStack, u16, &[u8]), Discard> {
    let mut stack = VlanStack::NONE;
    if let Some(tag) = stripped {
        stack.push(tag)?;
    }
    let (mut tpid, mut rest) = (ether_type, bytes);
    // Ends: each round takes four bytes, and a third tag is refused.
    while matches!(tpid, VlanTag::TPID_8021Q | VlanTag::TPID_8021AD) {
        let (tag, after) = rest.split_at_checked(4).ok_or(Discard::RuntFrame)?;
        stack.push(VlanTag { tpid, tci: be16(tag, 0) })?;
        tpid = be16(tag, 2);
        rest = after;
    }
    Ok((stack, tpid, rest))
}
