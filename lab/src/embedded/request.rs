//! What a client asks for: which of the messages of RFC 2131 4.3 a packet is, and the options of
//! it that the server goes by.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use lessee_engine::wire::Link;
use lessee_engine::wire::dhcp::{Datagram, Message, MessageType};
use lessee_engine::wire::options::code;

use super::answer::{Heading, RAPID_COMMIT, RELAY_AGENT};
use super::counters::Counter;
use super::misbehave::Kinds;
use super::pool::Client;

/// Option 81 (RFC 4702).
const FQDN: u8 = 81;
/// RFC 4702 2.1: the name is in the form of DNS packets.
const FQDN_ENCODED: u8 = 0x04;
/// The longest client identifier that is taken.
const LONGEST_ID: usize = 255;

/// A message to the server.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub(super) kind: Kinds,
    pub(super) heading: Heading,
    pub(super) source: Ipv4Addr,
    pub(super) message: Message<'a>,
    /// Option 61; empty if it was not sent.
    pub(super) id: Cow<'a, [u8]>,
    /// Option 12, else the name in option 81.
    pub(super) hostname: Option<Cow<'a, [u8]>>,
    pub(super) relay: Option<Cow<'a, [u8]>>,
    pub(super) rapid: bool,
    /// In RENEWING or REBINDING, with options that are forbidden there.
    pub(super) forbidden: bool,
}

impl<'a> Request<'a> {
    /// Sorts a packet into the table of RFC 2131 4.3.
    ///
    /// # Errors
    /// The counter that says why it is no request to a server.
    pub(super) fn read(
        link: &Link,
        datagram: &Datagram<'a>,
        server: Ipv4Addr,
    ) -> Result<Self, Counter> {
        let message = datagram.message;
        let unicast = *datagram.destination.ip() == server;
        let mut request = Self {
            kind: kind(&message, unicast)?,
            heading: Heading {
                xid: message.xid,
                broadcast: message.broadcast,
                ciaddr: message.ciaddr,
                giaddr: message.giaddr,
                chaddr: message.chaddr,
                source: link.source,
                vlans: link.vlans,
            },
            source: *datagram.source.ip(),
            message,
            id: Cow::Borrowed(&[]),
            hostname: None,
            relay: None,
            rapid: false,
            forbidden: false,
        };
        request.forbidden = (Kinds::RENEWING | Kinds::REBINDING).has(request.kind)
            && (message.requested_address.is_some() || message.server_id.is_some());
        request.read_options();
        if request.id.len() > LONGEST_ID {
            return Err(Counter::LongClientId);
        }
        Ok(request)
    }

    fn read_options(&mut self) {
        let options = self.message.options;
        for (code, piece) in options.pieces() {
            match code {
                code::CLIENT_ID if self.id.is_empty() => self.id = Cow::Borrowed(piece),
                // RFC 3396: a second piece belongs to the first.
                code::CLIENT_ID => self.id = options.get(code).unwrap_or_default(),
                code::HOSTNAME => self.hostname = Some(Cow::Borrowed(piece)),
                FQDN if self.hostname.is_none() => self.hostname = fqdn(piece),
                RELAY_AGENT => self.relay = options.get(code),
                RAPID_COMMIT => self.rapid = true,
                _ => {}
            }
        }
    }

    /// Who asks.
    pub(super) fn client(&self) -> Client<'_> {
        let domain = self.heading.vlans.domain();
        Client { domain, mac: self.heading.chaddr, id: &self.id }
    }

    /// The name that the client goes by.
    pub(super) fn hostname(&self) -> Option<&[u8]> {
        self.hostname.as_deref().filter(|name| !name.is_empty())
    }
}

/// RFC 2131 4.3 and, for the four forms of a REQUEST, 4.3.2 with table 4.
fn kind(message: &Message<'_>, unicast: bool) -> Result<Kinds, Counter> {
    match message.message_type {
        MessageType::Discover => return Ok(Kinds::DISCOVER),
        MessageType::Release => return Ok(Kinds::RELEASE),
        MessageType::Decline => return Ok(Kinds::DECLINE),
        MessageType::Inform => return Ok(Kinds::INFORM),
        MessageType::Request => {}
        _ => return Err(Counter::UnexpectedType),
    }
    let relayed = !message.giaddr.is_unspecified();
    match (message.ciaddr.is_unspecified(), message.requested_address, message.server_id) {
        (true, Some(_), Some(_)) => Ok(Kinds::SELECTING),
        (true, Some(_), None) => Ok(Kinds::INIT_REBOOT),
        (true, None, _) => Err(Counter::FormlessRequest),
        // A relay agent sends its clients' broadcasts on by unicast.
        (false, ..) if unicast && !relayed => Ok(Kinds::RENEWING),
        (false, ..) => Ok(Kinds::REBINDING),
    }
}

/// The name in option 81, with dots between its labels.
fn fqdn(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (head, name) = value.split_first_chunk::<3>()?;
    if head[0] & FQDN_ENCODED == 0 {
        return Some(Cow::Borrowed(name));
    }
    let mut text = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&len, after)) = rest.split_first() {
        if len == 0 {
            break;
        }
        let (label, after) = after.split_at_checked(usize::from(len))?;
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend_from_slice(label);
        rest = after;
    }
    Some(Cow::Owned(text))
}
