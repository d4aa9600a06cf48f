//! What a lease may send, in which form, and when (RFC 2131 4.1, 4.3.2, 4.4, table 5).

use super::{
    Checked, Checker, End, Grant, Lease, Phase, Rule, Series, TICK, broken, end_of, lasts,
};
use crate::coverage::Mark;
use crate::seen::{Body, Dhcp, Seen};
use lessee_engine::lease::Terms;
use lessee_engine::time::Instant;
use lessee_engine::wire::arp::{Arp, Operation};
use lessee_engine::wire::dhcp::{MessageType, Op};
use lessee_engine::wire::ethernet::Mac;
use std::net::Ipv4Addr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// RFC 2131 4.4.5.
const FLOOR: Duration = Duration::from_secs(60);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// How long pacing may keep a REBINDING lease waiting, in the sizes of these runs.
const PACED: Duration = Duration::from_secs(10);

/// A frame that left a port: `held` are the terms before the turn that sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) seen: &'a Seen,
    pub(crate) held: Option<Terms>,
    pub(crate) now: Instant,
}

impl Checker {
    /// A lease's frame, after the view that followed it.
    pub(crate) fn sent(&mut self, place: u32, sent: &Sent<'_>) -> Checked {
        let Sent { seen, now, .. } = *sent;
        self.say(place, now, || match &seen.body {
            Body::Arp(arp) => format!("sends {arp:?}"),
            Body::Dhcp(message) => format!(
                "sends {:?} {:08x} ciaddr {} 50 {:?} 54 {:?} to {}",
                message.kind,
                message.xid,
                message.ciaddr,
                message.requested,
                message.server_id,
                message.to
            ),
        });
        let lease = &self.leases[place as usize];
        if seen.domain != lease.home.domain || seen.source != lease.home.mac {
            return broken(Rule::Form, place, "sent under another MAC or VLAN");
        }
        if lease.mute {
            return broken(Rule::Form, place, format!("sent after its end: {seen:?}"));
        }
        match &seen.body {
            Body::Arp(arp) => self.sent_arp(place, arp, sent),
            Body::Dhcp(message) => self.sent_dhcp(place, message, sent),
        }
    }

    fn sent_dhcp(&mut self, place: u32, message: &Dhcp, sent: &Sent<'_>) -> Checked {
        let lease = &self.leases[place as usize];
        let fail = |text: &str| broken(Rule::Form, place, format!("{text}: {message:?}"));
        if message.op != Op::Request || message.chaddr != lease.home.mac {
            return fail("not a client's message under its MAC");
        }
        if message.from != message.ciaddr {
            return fail("source address is not ciaddr");
        }
        if message.ciaddr == NONE
            && (message.to != Ipv4Addr::BROADCAST || sent.seen.destination != Mac::BROADCAST)
        {
            return fail("not broadcast, although without an address");
        }
        if lease.end.is_some() && message.kind != MessageType::Release {
            return fail("nothing but a RELEASE after the command");
        }
        match (message.kind, message.ciaddr) {
            (MessageType::Discover, _) => self.discover(place, message, sent),
            (MessageType::Request, NONE) => self.request(place, message, sent),
            (MessageType::Request, _) => self.extend(place, message, sent),
            (MessageType::Release, _) => self.release(place, message, sent),
            _ => fail("no message that it could send"),
        }
    }

    fn discover(&mut self, place: u32, message: &Dhcp, sent: &Sent<'_>) -> Checked {
        let now = sent.now;
        let trouble = self.trouble_of(place);
        let lease = &mut self.leases[place as usize];
        let fail = |text: &str| broken(Rule::Form, place, format!("{text}: {message:?}"));
        if message.ciaddr != NONE || message.server_id.is_some() {
            return fail("DISCOVER with ciaddr or 54");
        }
        if lease.terms.is_some() {
            return fail("DISCOVER while an address is held");
        }
        if lease.discover.sent > 0 && message.xid == lease.discover.xid {
            if lease.phase != Phase::Selecting || lease.request.sent > 0 {
                return fail("DISCOVER again after REQUEST");
            }
            lease.discover.repeated(place, message.secs, now, trouble)?;
            self.coverage.mark(Mark::DiscoverAgain);
            return Ok(());
        }
        // A new exchange has a reason: nothing before, a lease that ended, a NAK, or no answer.
        let request = lease.request;
        let unanswered = request.sent >= 4 && now.since(request.last) >= backoff(4) - SECOND;
        if lease.discover.sent > 0 && !lease.nak && !lease.ended_lease() && !unanswered {
            return broken(Rule::Reason, place, format!("starts again for nothing: {message:?}"));
        }
        if message.secs != 0 {
            return fail("the first DISCOVER's secs");
        }
        let pause = now.since(lease.refused_at);
        if pause < nak_pause(lease.naks) {
            let text = format!("DISCOVER {pause:?} after NAK {}", lease.naks);
            return broken(Rule::Timing, place, text);
        }
        lease.discover = Series::begin(message, now);
        lease.request = Series::default();
        lease.extend = Series::default();
        lease.offers.clear();
        lease.nak = false;
        self.coverage.mark(Mark::Discover);
        Ok(())
    }

    fn request(&mut self, place: u32, message: &Dhcp, sent: &Sent<'_>) -> Checked {
        let now = sent.now;
        let trouble = self.trouble_of(place);
        let lease = &mut self.leases[place as usize];
        let fail = |text: &str| broken(Rule::Form, place, format!("{text}: {message:?}"));
        let (Some(address), Some(server)) = (message.requested, message.server_id) else {
            return fail("REQUEST of SELECTING without 50 or 54");
        };
        if lease.home.probe {
            return fail("REQUEST of a probe");
        }
        if lease.terms.is_some() {
            return fail("REQUEST of SELECTING while an address is held");
        }
        if lease.discover.sent == 0 || message.xid != lease.discover.xid {
            return fail("REQUEST under another xid than the DISCOVER's");
        }
        if message.secs != lease.discover.secs {
            return fail("REQUEST with other secs than the DISCOVER's");
        }
        if !lease.offers.contains(&(address, server)) {
            return fail("REQUEST for what nobody offered");
        }
        if lease.request.sent == 0 {
            lease.request = Series { server: Some(server), ..Series::begin(message, now) };
            return Ok(());
        }
        if lease.request.sent >= 4 {
            return broken(Rule::Timing, place, "a fifth REQUEST for one offer");
        }
        // secs stays the DISCOVER's.
        let secs = now.since(lease.request.first).as_secs().min(0xffff) as u16;
        lease.request.repeated(place, secs, now, trouble)?;
        self.coverage.mark(Mark::RequestAgain);
        Ok(())
    }

    fn extend(&mut self, place: u32, message: &Dhcp, sent: &Sent<'_>) -> Checked {
        let now = sent.now;
        let trouble = self.trouble_of(place);
        let lease = &mut self.leases[place as usize];
        let fail = |text: &str| broken(Rule::Form, place, format!("{text}: {message:?}"));
        if message.requested.is_some() || message.server_id.is_some() {
            return fail("REQUEST of RENEWING or REBINDING with 50 or 54");
        }
        if message.broadcast {
            return fail("broadcast flag with ciaddr");
        }
        let Some(terms) = lease.terms else { return fail("REQUEST with ciaddr, nothing held") };
        in_time(place, &terms, message.ciaddr, now)?;
        let rebinding = message.to == Ipv4Addr::BROADCAST;
        let (group, phase) = (sent.seen.destination.is_multicast(), lease.phase);
        if rebinding != (phase == Phase::Rebinding) || rebinding != group {
            return fail("unicast only in RENEWING, broadcast only in REBINDING");
        }
        if !rebinding && (phase != Phase::Renewing || message.to != terms.server_id) {
            return fail("RENEWING asks the leasing server, in its state");
        }
        let (begin, end) =
            if rebinding { (terms.t2(), end_of(&terms)) } else { (terms.t1(), terms.t2()) };
        let asked = lease.renew_asked && !rebinding;
        if (!asked && begin.is_none_or(|begin| now < begin)) || end.is_some_and(|end| now >= end) {
            return broken(Rule::Timing, place, format!("{message:?} outside its state's time"));
        }
        let again = lease.extend.sent > 0 && lease.extend.xid == message.xid;
        if again {
            lease.extend.again(place, rebinding, now, trouble)?;
        } else {
            let server = (!rebinding).then_some(terms.server_id);
            let before = lease.extend;
            let goes_on = rebinding && before.sent > 0 && !before.over;
            let began = if goes_on { before.began } else { now };
            lease.extend = Series { rebinding, server, began, ..Series::begin(message, now) };
        }
        if message.secs != now.since(lease.extend.began).as_secs().min(0xffff) as u16 {
            return fail("secs is not the time since the round's first REQUEST");
        }
        let remaining = end.map_or(FLOOR, |end| end.since(now));
        lease.extend.wait = (remaining / 2).max(FLOOR).min(remaining);
        lease.hops = Series::default();
        if again {
            self.coverage.mark(if rebinding { Mark::RebindAgain } else { Mark::RenewAgain });
        }
        Ok(())
    }

    fn release(&mut self, place: u32, message: &Dhcp, sent: &Sent<'_>) -> Checked {
        let lease = &mut self.leases[place as usize];
        let fail = |text: &str| broken(Rule::Form, place, format!("{text}: {message:?}"));
        if lease.end != Some(End::Release) {
            return fail("RELEASE without a command");
        }
        let server_id = match sent.held {
            Some(terms) => {
                in_time(place, &terms, message.ciaddr, sent.now)?;
                terms.server_id
            }
            // Granted and given back in one turn.
            None => match lease.parting.iter().find(|grant| grant.address == message.ciaddr) {
                Some(grant) => grant.server_id,
                None => return fail("RELEASE of nothing"),
            },
        };
        let to_server = message.server_id == Some(server_id) && message.to == server_id;
        if !to_server || sent.seen.destination.is_multicast() {
            return fail("RELEASE goes to the leasing server");
        }
        if !message.bare || message.secs != 0 || message.broadcast || message.requested.is_some() {
            return fail("RELEASE with more than 53, 54, 56 and 61");
        }
        lease.mute = true;
        self.coverage.mark(Mark::Released);
        Ok(())
    }

    fn sent_arp(&mut self, place: u32, arp: &Arp, sent: &Sent<'_>) -> Checked {
        let now = sent.now;
        let lease = &mut self.leases[place as usize];
        if arp.sender_mac != lease.home.mac {
            return broken(Rule::Form, place, format!("ARP in another's name: {arp:?}"));
        }
        // An answer may have gone out just before the RELEASE of the same turn.
        let gone = lease.phase == Phase::Released && lease.end == Some(End::Release);
        let parting = |grant: &Grant| grant.address == arp.sender_ip;
        if gone && sent.held.is_none() && lease.parting.iter().any(parting) {
            return Ok(());
        }
        let Some(terms) = lease.terms.or(sent.held.filter(|_| gone)) else {
            return broken(Rule::Expiry, place, format!("no address is held: {arp:?}"));
        };
        in_time(place, &terms, arp.sender_ip, now)?;
        if arp.operation == Operation::Reply {
            return Ok(());
        }
        // A question for the next hop, before a repetition in RENEWING.
        let extend = lease.extend;
        if lease.phase != Phase::Renewing || extend.sent == 0 {
            return broken(Rule::Form, place, format!("{:?} asks {arp:?}", lease.phase));
        }
        let hops = &mut lease.hops;
        let early = if hops.sent == 0 {
            now.since(extend.last) < extend.wait
        } else {
            now.since(hops.last) < SECOND
        };
        if early || hops.sent >= 3 {
            return broken(Rule::Timing, place, format!("ARP {} times: {arp:?}", hops.sent + 1));
        }
        hops.sent += 1;
        hops.last = now;
        Ok(())
    }

    fn trouble_of(&self, place: u32) -> Instant {
        self.trouble[usize::from(self.leases[place as usize].home.client)]
    }
}

impl Lease {
    /// The last exchange led to a lease, which is over by now.
    fn ended_lease(&self) -> bool {
        self.request.sent > 0 && self.acked >= self.request.first && self.terms.is_none()
    }
}

impl Series {
    const fn begin(message: &Dhcp, now: Instant) -> Self {
        Self {
            xid: message.xid,
            sent: 1,
            first: now,
            last: now,
            secs: message.secs,
            wait: Duration::ZERO,
            rebinding: false,
            server: None,
            closed: false,
            began: now,
            over: false,
        }
    }

    /// RFC 2131 4.1: 4, 8, 16, 32, 64 s, each ±1 s; later only where the client was kept from it.
    fn repeated(&mut self, place: u32, secs: u16, now: Instant, trouble: Instant) -> Checked {
        let (gap, wait) = (now.since(self.last), backoff(self.sent));
        let late = gap > wait + SECOND + TICK && trouble <= self.last;
        if gap + SECOND < wait || late {
            let text = format!("repetition {} after {gap:?}, not {wait:?} ± 1 s", self.sent);
            return broken(Rule::Timing, place, text);
        }
        if secs != now.since(self.first).as_secs().min(0xffff) as u16 {
            return broken(Rule::Form, place, format!("secs is {secs}"));
        }
        self.sent += 1;
        self.last = now;
        self.secs = secs;
        Ok(())
    }

    /// RFC 2131 4.4.5: half of what remains, at least 60 s, or the state's end.
    fn again(&mut self, place: u32, rebinding: bool, now: Instant, trouble: Instant) -> Checked {
        let gap = now.since(self.last);
        // In RENEWING the way is asked for first, and perhaps nobody answers.
        let late = rebinding && gap > self.wait + PACED && trouble <= self.last;
        if self.rebinding != rebinding || gap < self.wait || late {
            let text = format!("REQUEST again after {gap:?}, not {:?}", self.wait);
            return broken(Rule::Timing, place, text);
        }
        self.sent += 1;
        self.last = now;
        Ok(())
    }
}

/// The shortest pause after so many NAKs: none after the first, then half of 1 s doubling to 300 s.
fn nak_pause(naks: u32) -> Duration {
    let doublings = naks.checked_sub(2).map_or(0, |more| 1_u64 << more.min(9));
    Duration::from_millis(doublings.min(300) * 500)
}

/// The middle of the wait after transmission number `sent`.
fn backoff(sent: u32) -> Duration {
    Duration::from_secs((4_u64 << sent.saturating_sub(1).min(4)).min(64))
}

/// The address is the one held, and its lease is not over.
fn in_time(place: u32, terms: &Terms, address: Ipv4Addr, now: Instant) -> Checked {
    if terms.address != address || !lasts(terms, now) {
        return broken(Rule::Expiry, place, format!("{address} used at {now:?} under {terms:?}"));
    }
    Ok(())
}
