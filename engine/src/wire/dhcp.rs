//! DHCPv4 messages (RFC 2131 section 2) in UDP over IPv4.

use super::ethernet::Mac;
use super::options::{self, Options, Writer, code};
use super::{Discard, NoRoom, Oddities, Oddity, be16, be32, ipv4, udp};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Length of the fixed part, magic cookie included, in bytes.
pub const FIXED_LEN: usize = 240;
/// RFC 1542 2.1: a BOOTP message has at least 300 bytes.
pub const MINIMUM_LEN: usize = 300;
/// RFC 2131 section 3: the first four bytes of the options field.
pub const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
/// RFC 2131 figure 2: the leftmost bit of `flags`; all others are reserved and zero.
pub const FLAG_BROADCAST: u16 = 0x8000;

const AT_SNAME: usize = 44;
const AT_FILE: usize = 108;
const AT_COOKIE: usize = 236;

/// Who speaks: field `op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// BOOTREQUEST: a client, to a server.
    Request,
    /// BOOTREPLY: a server, to a client.
    Reply,
}

/// Option 53 (RFC 2132 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// DHCPDISCOVER.
    Discover,
    /// DHCPOFFER.
    Offer,
    /// DHCPREQUEST.
    Request,
    /// DHCPDECLINE.
    Decline,
    /// DHCPACK.
    Ack,
    /// DHCPNAK.
    Nak,
    /// DHCPRELEASE.
    Release,
    /// DHCPINFORM.
    Inform,
    /// Any later type, such as DHCPFORCERENEW (9, RFC 3203).
    Other(u8),
}

impl MessageType {
    /// The value of option 53.
    #[must_use]
    pub const fn value(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
            Self::Inform => 8,
            Self::Other(value) => value,
        }
    }

    /// The type that a value of option 53 stands for.
    #[must_use]
    pub const fn from_value(value: u8) -> Self {
        match value {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            other => Self::Other(other),
        }
    }
}

/// A received message with the addresses that it came under.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// IPv4 source address and UDP source port.
    pub source: SocketAddrV4,
    /// IPv4 destination address and UDP destination port.
    pub destination: SocketAddrV4,
    /// The message.
    pub message: Message<'a>,
}

/// A received message. What the protocol decides by is read out once; other options are found
/// through [`Message::options`].
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Request or reply.
    pub op: Op,
    /// Option 53.
    pub message_type: MessageType,
    /// Relay agents passed.
    pub hops: u8,
    /// Transaction identifier.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The broadcast bit of `flags`.
    pub broadcast: bool,
    /// The address that the client has.
    pub ciaddr: Ipv4Addr,
    /// "Your" address.
    pub yiaddr: Ipv4Addr,
    /// Next server in bootstrap; never where a client sends its requests to.
    pub siaddr: Ipv4Addr,
    /// The relay agent's address.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub chaddr: Mac,
    /// Option 50, requested IP address.
    pub requested_address: Option<Ipv4Addr>,
    /// Option 54, server identifier.
    pub server_id: Option<Ipv4Addr>,
    /// Option 51, lease time in seconds; 0xffffffff is infinite.
    pub lease_time: Option<u32>,
    /// Option 58, T1 in seconds.
    pub renewal_time: Option<u32>,
    /// Option 59, T2 in seconds.
    pub rebinding_time: Option<u32>,
    /// Option 1.
    pub subnet_mask: Option<Ipv4Addr>,
    /// True if option 61 is present, whatever it holds.
    pub has_client_id: bool,
    /// All options.
    pub options: Options<'a>,
}

/// Collects a four-byte option whose pieces may be spread over the message (RFC 3396).
#[derive(Clone, Copy, Default)]
struct Word {
    present: bool,
    bytes: [u8; 4],
    len: usize,
}

impl Word {
    fn push(&mut self, piece: &[u8]) {
        if !self.present
            && let [a, b, c, d] = piece
        {
            // As good as always: whole, in one piece.
            *self = Self { present: true, bytes: [*a, *b, *c, *d], len: 4 };
            return;
        }
        self.present = true;
        for byte in piece {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
            }
            self.len += 1;
        }
    }

    /// The four bytes; `None` if the option was absent.
    fn get(self) -> Result<Option<[u8; 4]>, Discard> {
        match (self.present, self.len) {
            (false, _) => Ok(None),
            (true, 4) => Ok(Some(self.bytes)),
            _ => Err(Discard::OptionValue),
        }
    }

    fn number(self) -> Result<Option<u32>, Discard> {
        Ok(self.get()?.map(u32::from_be_bytes))
    }

    fn address(self) -> Result<Option<Ipv4Addr>, Discard> {
        Ok(self.get()?.map(Ipv4Addr::from))
    }
}

/// Reads an IPv4 packet down to the last option and notes what is unusual about it in `oddities`.
/// `judge_checksum` is false where the sender left the UDP checksum to hardware.
///
/// # Errors
/// The named reason for the refusal.
pub fn parse_ipv4<'a>(
    bytes: &'a [u8],
    judge_checksum: bool,
    oddities: &mut Oddities,
) -> Result<Datagram<'a>, Discard> {
    let (ip, datagram) = ipv4::parse(bytes)?;
    // Looked at before the checksum, so that other people's traffic costs little.
    if datagram.len() >= udp::HEADER_LEN
        && !matches!(be16(datagram, 2), udp::SERVER_PORT | udp::CLIENT_PORT)
    {
        return Err(Discard::NotDhcpPort);
    }
    let (ports, payload) = udp::parse(&ip, datagram, judge_checksum)?;
    let message = parse(payload)?;
    // The lengths are checked: a header of more than five words has options.
    oddities.note(Oddity::IpOptions, bytes[0] & 0x0f > 5);
    oddities.note(Oddity::TrailingPadding, usize::from(be16(bytes, 2)) < bytes.len());
    oddities.note(Oddity::ChecksumAbsent, be16(datagram, 6) == 0);
    let usual = ports.source == udp::SERVER_PORT
        || (message.op == Op::Request && ports.source == udp::CLIENT_PORT);
    oddities.note(Oddity::SourcePort, !usual);
    Ok(Datagram {
        source: SocketAddrV4::new(ip.source, ports.source),
        destination: SocketAddrV4::new(ip.destination, ports.destination),
        message,
    })
}

/// Reads a DHCP message.
///
/// # Errors
/// The named reason for the refusal.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, Discard> {
    if bytes.len() < FIXED_LEN {
        return Err(Discard::BootpLength);
    }
    let op = match bytes[0] {
        1 => Op::Request,
        2 => Op::Reply,
        _ => return Err(Discard::BootpOp),
    };
    // htype 1 is Ethernet (RFC 1700), hlen its address length.
    if bytes[1..3] != [1, 6] {
        return Err(Discard::HardwareAddress);
    }
    if bytes[AT_COOKIE..FIXED_LEN] != MAGIC_COOKIE {
        return Err(Discard::MagicCookie);
    }
    let mut hot = Hot::default();
    let options = Options::parse(
        &bytes[FIXED_LEN..],
        &bytes[AT_FILE..AT_COOKIE],
        &bytes[AT_SNAME..AT_FILE],
        |code, piece| hot.push(code, piece),
    )?;
    let address = |at: usize| Ipv4Addr::from(be32(bytes, at));
    Ok(Message {
        op,
        message_type: hot.message_type()?,
        hops: bytes[3],
        xid: be32(bytes, 4),
        secs: be16(bytes, 8),
        broadcast: be16(bytes, 10) & FLAG_BROADCAST != 0,
        ciaddr: address(12),
        yiaddr: address(16),
        siaddr: address(20),
        giaddr: address(24),
        chaddr: Mac([bytes[28], bytes[29], bytes[30], bytes[31], bytes[32], bytes[33]]),
        requested_address: hot.requested_address.address()?,
        server_id: hot.server_id.address()?,
        lease_time: hot.lease_time.number()?,
        renewal_time: hot.renewal_time.number()?,
        rebinding_time: hot.rebinding_time.number()?,
        subnet_mask: hot.subnet_mask.address()?,
        has_client_id: hot.has_client_id,
        options,
    })
}

/// The options that every message is judged by, gathered in the one walk that checks lengths.
#[derive(Default)]
struct Hot {
    message_type: Word,
    requested_address: Word,
    server_id: Word,
    lease_time: Word,
    renewal_time: Word,
    rebinding_time: Word,
    subnet_mask: Word,
    has_client_id: bool,
}

impl Hot {
    fn push(&mut self, code: u8, piece: &[u8]) {
        match code {
            code::MESSAGE_TYPE => self.message_type.push(piece),
            code::REQUESTED_ADDRESS => self.requested_address.push(piece),
            code::SERVER_ID => self.server_id.push(piece),
            code::LEASE_TIME => self.lease_time.push(piece),
            code::RENEWAL_TIME => self.renewal_time.push(piece),
            code::REBINDING_TIME => self.rebinding_time.push(piece),
            code::SUBNET_MASK => self.subnet_mask.push(piece),
            code::CLIENT_ID => self.has_client_id = true,
            _ => {}
        }
    }

    fn message_type(&self) -> Result<MessageType, Discard> {
        match (self.message_type.present, self.message_type.len) {
            (false, _) => Err(Discard::MessageTypeMissing),
            (true, 1) => Ok(MessageType::from_value(self.message_type.bytes[0])),
            _ => Err(Discard::OptionValue),
        }
    }
}

/// How a client names itself in option 61.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientId<'a> {
    /// Option 61 is not sent.
    #[default]
    None,
    /// Hardware type 1 and `chaddr` (RFC 2132 9.14).
    Mac,
    /// Any other bytes, at least two: for instance a type, IAID and DUID (RFC 4361).
    Bytes(&'a [u8]),
}

/// A message to be sent. Options are written in the order of the fields below; those that are
/// `None` or empty are left out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Request or reply.
    pub op: Op,
    /// Option 53.
    pub message_type: MessageType,
    /// Transaction identifier.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The broadcast bit of `flags`.
    pub broadcast: bool,
    /// Relay agents passed.
    pub hops: u8,
    /// The address that the client has.
    pub ciaddr: Ipv4Addr,
    /// "Your" address.
    pub yiaddr: Ipv4Addr,
    /// Next server in bootstrap.
    pub siaddr: Ipv4Addr,
    /// The relay agent's address.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub chaddr: Mac,
    /// Option 61.
    pub client_id: ClientId<'a>,
    /// Option 50.
    pub requested_address: Option<Ipv4Addr>,
    /// Option 54.
    pub server_id: Option<Ipv4Addr>,
    /// Option 51, seconds.
    pub lease_time: Option<u32>,
    /// Option 58, seconds.
    pub renewal_time: Option<u32>,
    /// Option 59, seconds.
    pub rebinding_time: Option<u32>,
    /// Option 1.
    pub subnet_mask: Option<Ipv4Addr>,
    /// Option 57: the longest message that the sender takes, in bytes, IPv4 and UDP headers
    /// included.
    pub max_message_size: Option<u16>,
    /// Option 12.
    pub hostname: &'a [u8],
    /// Option 60.
    pub vendor_class: &'a [u8],
    /// Option 55, in the order of preference.
    pub parameter_requests: &'a [u8],
    /// Option 56: an error text.
    pub text: &'a [u8],
    /// Further options, already in wire form (code, length, bytes), without an end.
    pub more: &'a [u8],
}

impl Outgoing<'_> {
    /// A message with nothing but its type, transaction and client in it.
    #[must_use]
    pub const fn new(op: Op, message_type: MessageType, xid: u32, chaddr: Mac) -> Self {
        Self {
            op,
            message_type,
            xid,
            secs: 0,
            broadcast: false,
            hops: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            client_id: ClientId::None,
            requested_address: None,
            server_id: None,
            lease_time: None,
            renewal_time: None,
            rebinding_time: None,
            subnet_mask: None,
            max_message_size: None,
            hostname: &[],
            vendor_class: &[],
            parameter_requests: &[],
            text: &[],
            more: &[],
        }
    }
}

/// Writes the message in UDP over IPv4 and returns the packet's length in bytes.
///
/// # Errors
/// [`NoRoom`] if the slot is too short.
pub fn emit_ipv4(
    source: SocketAddrV4,
    destination: SocketAddrV4,
    message: &Outgoing<'_>,
    slot: &mut [u8],
) -> Result<usize, NoRoom> {
    const HEADERS: usize = ipv4::HEADER_LEN + udp::HEADER_LEN;
    let len = emit(message, slot.get_mut(HEADERS..).ok_or(NoRoom)?)?;
    let ip = ipv4::Header { source: *source.ip(), destination: *destination.ip() };
    let ports = udp::Header { source: source.port(), destination: destination.port() };
    udp::emit(&ip, ports, &mut slot[ipv4::HEADER_LEN..HEADERS + len])?;
    ipv4::emit(&ip, udp::HEADER_LEN + len, slot)?;
    Ok(HEADERS + len)
}

/// Writes the message alone and returns its length in bytes, at least 300.
///
/// # Errors
/// [`NoRoom`] if the slot is too short.
pub fn emit(message: &Outgoing<'_>, slot: &mut [u8]) -> Result<usize, NoRoom> {
    let fixed = slot.get_mut(..FIXED_LEN).ok_or(NoRoom)?;
    fixed.fill(0);
    let op = match message.op {
        Op::Request => 1,
        Op::Reply => 2,
    };
    fixed[..4].copy_from_slice(&[op, 1, 6, message.hops]);
    fixed[4..8].copy_from_slice(&message.xid.to_be_bytes());
    fixed[8..10].copy_from_slice(&message.secs.to_be_bytes());
    // RFC 2131 section 2: the other bits of flags are reserved and MUST be zero.
    let flags = if message.broadcast { FLAG_BROADCAST } else { 0 };
    fixed[10..12].copy_from_slice(&flags.to_be_bytes());
    fixed[12..16].copy_from_slice(&message.ciaddr.octets());
    fixed[16..20].copy_from_slice(&message.yiaddr.octets());
    fixed[20..24].copy_from_slice(&message.siaddr.octets());
    fixed[24..28].copy_from_slice(&message.giaddr.octets());
    fixed[28..34].copy_from_slice(&message.chaddr.0);
    fixed[AT_COOKIE..].copy_from_slice(&MAGIC_COOKIE);
    let len = FIXED_LEN + emit_options(message, &mut slot[FIXED_LEN..])?;
    if len >= MINIMUM_LEN {
        return Ok(len);
    }
    // RFC 1542 2.1: padded to 300 bytes; pad options are zero bytes.
    slot.get_mut(len..MINIMUM_LEN).ok_or(NoRoom)?.fill(options::PAD);
    Ok(MINIMUM_LEN)
}

fn emit_options(message: &Outgoing<'_>, slot: &mut [u8]) -> Result<usize, NoRoom> {
    let mut out = Writer::new(slot);
    out.put(code::MESSAGE_TYPE, &[message.message_type.value()])?;
    match message.client_id {
        ClientId::None => {}
        ClientId::Mac => {
            let [a, b, c, d, e, f] = message.chaddr.0;
            out.put(code::CLIENT_ID, &[1, a, b, c, d, e, f])?;
        }
        ClientId::Bytes(bytes) => out.put(code::CLIENT_ID, bytes)?,
    }
    out.put_address(code::REQUESTED_ADDRESS, message.requested_address)?;
    out.put_address(code::SERVER_ID, message.server_id)?;
    out.put_number(code::LEASE_TIME, message.lease_time)?;
    out.put_number(code::RENEWAL_TIME, message.renewal_time)?;
    out.put_number(code::REBINDING_TIME, message.rebinding_time)?;
    out.put_address(code::SUBNET_MASK, message.subnet_mask)?;
    if let Some(size) = message.max_message_size {
        out.put(code::MAX_MESSAGE_SIZE, &size.to_be_bytes())?;
    }
    out.put_some(code::HOSTNAME, message.hostname)?;
    out.put_some(code::VENDOR_CLASS, message.vendor_class)?;
    out.put_some(code::PARAMETER_REQUESTS, message.parameter_requests)?;
    out.put_some(code::MESSAGE, message.text)?;
    out.raw(message.more)?;
    out.end()
}
