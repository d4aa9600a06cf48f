//! Names and formats of DHCPv4 options, for people and for JSON.
//!
//! Names are those of ISC's dhcp-options(5) where it has one, else IANA's, in lower case with
//! dashes. Nothing here decides about a lease, except for the routes of options 33 and 121, whose
//! decoders allocate nothing. Servers are not trusted: text is escaped, and a value that
//! contradicts its format is shown as bytes and marked, never guessed at.

mod table;

use super::dhcp::MessageType;
use super::{be16, be32};
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;
pub use table::message_type_name;
use table::{Format, lookup, relay_sub_option};

/// An option's value contradicts the format that its RFC gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the option's value contradicts its format")]
pub struct Malformed;

/// An option with its name and its decoded value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// For instance `subnet-mask`, or `option-224` if the code has no name.
    pub name: Cow<'static, str>,
    /// The decoded value; [`Value::Hex`] if it is malformed or has no known format.
    pub value: Value,
    /// True if the value contradicts the option's format.
    pub malformed: bool,
}

/// A decoded option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An option that says all by being there (80, rapid commit).
    Present,
    /// One address.
    Address(Ipv4Addr),
    /// Any number of addresses; none only where the RFC allows that.
    Addresses(Vec<Ipv4Addr>),
    /// Pairs of address and mask (21, policy filter).
    Pairs(Vec<(Ipv4Addr, Ipv4Addr)>),
    /// An unsigned number of 8, 16 or 32 bits.
    Number(u64),
    /// A signed number of 32 bits (2, time offset in seconds).
    Signed(i64),
    /// Numbers of 8 or 16 bits.
    Numbers(Vec<u64>),
    /// A switch.
    Boolean(bool),
    /// Text: printable ASCII, all else and the backslash escaped as `\xNN`; trailing NULs are cut
    /// off (RFC 2132 section 2).
    Text(String),
    /// Several texts, escaped alike (77, user class).
    Texts(Vec<String>),
    /// Domain names without a final dot (`.` is the root), escaped as [`domain_list`] says.
    Names(Vec<String>),
    /// Routes in the order in which the server gave them.
    Routes(Vec<Route>),
    /// Option codes with their names (55, parameter request list), in order.
    Codes(Vec<(u8, Cow<'static, str>)>),
    /// DHCP message type.
    MessageType(MessageType),
    /// A client identifier: type (1 is Ethernet, 255 is IAID and DUID of RFC 4361) and the rest.
    ClientId(u8, Vec<u8>),
    /// A fully qualified domain name with the flags of RFC 4702 2.1.
    Fqdn {
        /// Bits: 1 S, 2 O, 4 E, 8 N.
        flags: u8,
        /// The name, escaped like [`Value::Names`] or [`Value::Text`].
        name: String,
    },
    /// Sub-options: code, name where there is one, value.
    SubOptions(Vec<(u8, Option<&'static str>, Vec<u8>)>),
    /// Data by enterprise number (124 and 125, RFC 3925).
    Vendors(Vec<(u32, Vec<u8>)>),
    /// Bytes without a known format.
    Hex(Vec<u8>),
}

/// A route that a server gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Destination network; bits beyond the prefix are zero.
    pub network: Ipv4Addr,
    /// Prefix length, 0 to 32 bits.
    pub prefix: u8,
    /// The router; 0.0.0.0 means that the destination is on the link (RFC 3442).
    pub via: Ipv4Addr,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} via {}", self.network, self.prefix, self.via)
    }
}

/// Names and decodes an option whose pieces are already joined (RFC 3396). Never panics.
#[must_use]
pub fn describe(code: u8, value: &[u8]) -> Described {
    let name = name(code);
    let format = lookup(code).map_or(Format::Hex, |(_, format)| format);
    match decode(format, value) {
        Ok(value) => Described { name, value, malformed: false },
        Err(Malformed) => Described { name, value: Value::Hex(value.to_vec()), malformed: true },
    }
}

/// The name of an option code, `option-N` if it has none.
#[must_use]
pub fn name(code: u8) -> Cow<'static, str> {
    match lookup(code) {
        Some((name, _)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("option-{code}")),
    }
}

/// The routes of option 121, checked as a whole (RFC 3442): one cut descriptor or impossible
/// prefix and the option counts as malformed, since the rest cannot be told apart then.
///
/// # Errors
/// [`Malformed`] also if there is no route at all (the least length is 5 bytes).
pub fn classless_routes(value: &[u8]) -> Result<ClasslessRoutes<'_>, Malformed> {
    let mut rest = value;
    while !rest.is_empty() {
        (_, rest) = classless_route(rest).ok_or(Malformed)?;
    }
    if value.is_empty() { Err(Malformed) } else { Ok(ClasslessRoutes { rest: value }) }
}

/// Iterator over the routes of a checked option 121; allocates nothing.
#[derive(Clone, Debug)]
pub struct ClasslessRoutes<'a> {
    rest: &'a [u8],
}

impl Iterator for ClasslessRoutes<'_> {
    type Item = Route;

    fn next(&mut self) -> Option<Route> {
        let (route, rest) = classless_route(self.rest)?;
        self.rest = rest;
        Some(route)
    }
}

/// One destination descriptor and its router.
fn classless_route(bytes: &[u8]) -> Option<(Route, &[u8])> {
    let (&prefix, rest) = bytes.split_first()?;
    if prefix > 32 {
        return None;
    }
    let (significant, rest) = rest.split_at_checked(usize::from(prefix).div_ceil(8))?;
    let (via, rest) = rest.split_first_chunk::<4>()?;
    let mut network = [0; 4];
    network[..significant.len()].copy_from_slice(significant);
    // RFC 3442: the client MUST zero the bits beyond the mask.
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    let network = Ipv4Addr::from(u32::from_be_bytes(network) & mask);
    Some((Route { network, prefix, via: Ipv4Addr::from(*via) }, rest))
}

/// The routes of option 33 (RFC 2132 5.8), as a whole or not at all. The option has no masks:
/// the class of the destination gives the prefix, and a destination with bits beyond it is a host.
/// Allocates nothing.
///
/// # Errors
/// [`Malformed`] unless there are one or more pairs of addresses, and for a destination of 0.0.0.0
/// (which the RFC forbids) or beyond class C.
pub fn static_routes(
    value: &[u8],
) -> Result<impl Iterator<Item = Route> + Clone + use<'_>, Malformed> {
    let routes = value.chunks_exact(8).map(|pair| (be32(pair, 0), be32(pair, 4)));
    let legal = |(to, _): (u32, u32)| to != 0 && to >> 28 < 0xe;
    if value.is_empty() || !value.len().is_multiple_of(8) || !routes.clone().all(legal) {
        return Err(Malformed);
    }
    Ok(routes.map(|(to, via)| {
        let class = match to.leading_ones() {
            0 => 8,
            1 => 16,
            _ => 24,
        };
        let prefix = if to & (u32::MAX >> class) == 0 { class } else { 32 };
        Route { network: Ipv4Addr::from(to), prefix, via: Ipv4Addr::from(via) }
    }))
}

/// The names of a domain list, in order: option 119 (RFC 3397), its pieces joined, with the
/// compression of RFC 1035 4.1.4. No final dots; the root alone is `.`. Bytes of a label other
/// than letters, digits, `-` and `_` are written as `\DDD` (RFC 4343 2.1), so that a name can
/// neither break out of a file nor hide a dot.
///
/// # Errors
/// [`Malformed`] for an empty list, a cut name, a label type other than plain or pointer, a pointer
/// that does not point to what lies wholly before its own name, or a name over 255 bytes.
pub fn domain_list(value: &[u8]) -> Result<Vec<String>, Malformed> {
    let (mut names, mut at) = (Vec::new(), 0);
    while at < value.len() {
        let (name, next) = domain_name(value, at)?;
        names.push(name);
        at = next;
    }
    if names.is_empty() { Err(Malformed) } else { Ok(names) }
}

/// The name at `start` and where the next one begins.
fn domain_name(value: &[u8], start: usize) -> Result<(String, usize), Malformed> {
    let mut name = String::new();
    // `floor` falls with each pointer followed, so that this ends. What a pointer leads to has to
    // lie before the labels that it stands behind: `limit`.
    let (mut at, mut floor, mut limit) = (start, start, value.len());
    let (mut next, mut wire_len) = (None, 1);
    loop {
        let len = *value.get(..limit).and_then(|bytes| bytes.get(at)).ok_or(Malformed)?;
        match len >> 6 {
            0 if len == 0 => {
                if name.is_empty() {
                    name.push('.');
                }
                return Ok((name, next.unwrap_or(at + 1)));
            }
            0 => {
                let end = at + 1 + usize::from(len);
                let label = value.get(at + 1..end).ok_or(Malformed)?;
                wire_len += 1 + label.len();
                // RFC 1035 2.3.4.
                if wire_len > 255 {
                    return Err(Malformed);
                }
                push_label(&mut name, label);
                at = end;
            }
            3 => {
                if at + 1 >= value.len() {
                    return Err(Malformed);
                }
                let target = usize::from(be16(value, at) & 0x3fff);
                if target >= floor {
                    return Err(Malformed);
                }
                next = next.or(Some(at + 2));
                (at, floor, limit) = (target, target, floor);
            }
            _ => return Err(Malformed),
        }
    }
}

fn push_label(name: &mut String, label: &[u8]) {
    if !name.is_empty() {
        name.push('.');
    }
    for &byte in label {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(name, "\\{byte:03}");
        }
    }
}

/// Printable ASCII as it is; all other bytes and the backslash as `\xNN`; trailing NULs cut off.
#[must_use]
pub fn sanitise(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut text = String::with_capacity(end);
    for &byte in &bytes[..end] {
        if matches!(byte, 0x20..=0x7e) && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn decode(format: Format, value: &[u8]) -> Result<Value, Malformed> {
    Ok(match format {
        Format::Hex => Value::Hex(value.to_vec()),
        Format::Present if value.is_empty() => Value::Present,
        Format::Present => return Err(Malformed),
        Format::Address => Value::Address(Ipv4Addr::from(array(value)?)),
        Format::AnyAddresses if value.is_empty() => Value::Addresses(Vec::new()),
        Format::Addresses | Format::AnyAddresses => Value::Addresses(addresses(value)?),
        Format::Pairs => {
            let all = chunks(value, 8)?;
            Value::Pairs(all.map(|pair| (be32(pair, 0).into(), be32(pair, 4).into())).collect())
        }
        Format::StaticRoutes => Value::Routes(static_routes(value)?.collect()),
        Format::ClasslessRoutes => Value::Routes(classless_routes(value)?.collect()),
        Format::U8 => Value::Number(u8::from_be_bytes(array(value)?).into()),
        Format::U16 => Value::Number(u16::from_be_bytes(array(value)?).into()),
        Format::U16s => Value::Numbers(chunks(value, 2)?.map(|n| be16(n, 0).into()).collect()),
        Format::U32 => Value::Number(u32::from_be_bytes(array(value)?).into()),
        Format::I32 => Value::Signed(i32::from_be_bytes(array(value)?).into()),
        Format::Boolean => match value {
            [flag @ 0..=1] => Value::Boolean(*flag == 1),
            _ => return Err(Malformed),
        },
        Format::Text => Value::Text(text(value)?),
        Format::Texts => texts(value)?,
        Format::Names => Value::Names(domain_list(value)?),
        Format::Codes if value.is_empty() => return Err(Malformed),
        Format::Codes => Value::Codes(value.iter().map(|code| (*code, name(*code))).collect()),
        Format::MessageType => match value {
            [0] => return Err(Malformed),
            [kind] => Value::MessageType(MessageType::from_value(*kind)),
            _ => return Err(Malformed),
        },
        Format::ClientId => match value {
            // RFC 2132 9.14: the least length is 2.
            [kind, rest @ ..] if !rest.is_empty() => Value::ClientId(*kind, rest.to_vec()),
            _ => return Err(Malformed),
        },
        Format::Fqdn => fqdn(value)?,
        Format::Sip => match value.split_first() {
            // RFC 3361 3.1 and 3.2.
            Some((0, names)) => Value::Names(domain_list(names)?),
            Some((1, list)) => Value::Addresses(addresses(list)?),
            _ => return Err(Malformed),
        },
        Format::RelayAgent => Value::SubOptions(sub_options(value, relay_sub_option)?),
        // RFC 2132 8.4: sub-options SHOULD be used, so other bytes are not malformed.
        Format::Encapsulated => sub_options(trim_end_option(value), |_| None)
            .map_or_else(|_| Value::Hex(value.to_vec()), Value::SubOptions),
        Format::Vendors => Value::Vendors(vendors(value)?),
    })
}

fn array<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed)
}

/// The value in pieces of `size` bytes: at least one, and nothing left over.
fn chunks(value: &[u8], size: usize) -> Result<std::slice::ChunksExact<'_, u8>, Malformed> {
    let whole = !value.is_empty() && value.len().is_multiple_of(size);
    if whole { Ok(value.chunks_exact(size)) } else { Err(Malformed) }
}

fn addresses(value: &[u8]) -> Result<Vec<Ipv4Addr>, Malformed> {
    Ok(chunks(value, 4)?.map(|address| be32(address, 0).into()).collect())
}

fn text(value: &[u8]) -> Result<String, Malformed> {
    // RFC 2132: each text option has at least one byte.
    if value.is_empty() { Err(Malformed) } else { Ok(sanitise(value)) }
}

/// RFC 3004: texts with a length byte each. Many clients send one text without it.
fn texts(value: &[u8]) -> Result<Value, Malformed> {
    let mut list = Vec::new();
    let mut rest = value;
    while let Some((&len, after)) = rest.split_first() {
        match after.split_at_checked(usize::from(len)) {
            Some((text, after)) if len > 0 => {
                list.push(sanitise(text));
                rest = after;
            }
            _ => return Ok(Value::Text(text(value)?)),
        }
    }
    if list.is_empty() { Err(Malformed) } else { Ok(Value::Texts(list)) }
}

/// RFC 4702 section 2: flags, two result codes, a name in ASCII or (bit E) in DNS labels, which may
/// lack the final root when the name is partial.
fn fqdn(value: &[u8]) -> Result<Value, Malformed> {
    let [flags, _, _, encoded @ ..] = value else { return Err(Malformed) };
    let flags = *flags;
    if flags & 4 == 0 {
        return Ok(Value::Fqdn { flags, name: sanitise(encoded) });
    }
    let (mut name, mut rest) = (String::new(), encoded);
    while let Some((&len, after)) = rest.split_first() {
        let (label, after) = after.split_at_checked(usize::from(len)).ok_or(Malformed)?;
        // Compression is forbidden here, and the root ends a name.
        if len > 63 || (len == 0 && !after.is_empty()) || encoded.len() > 255 {
            return Err(Malformed);
        }
        if len > 0 {
            push_label(&mut name, label);
        }
        rest = after;
    }
    Ok(Value::Fqdn { flags, name })
}

type SubOption = (u8, Option<&'static str>, Vec<u8>);

fn sub_options(
    value: &[u8],
    name: impl Fn(u8) -> Option<&'static str>,
) -> Result<Vec<SubOption>, Malformed> {
    let (mut list, mut rest) = (Vec::new(), value);
    while let [code, after @ ..] = rest {
        let (&len, after) = after.split_first().ok_or(Malformed)?;
        let (piece, after) = after.split_at_checked(usize::from(len)).ok_or(Malformed)?;
        list.push((*code, name(*code), piece.to_vec()));
        rest = after;
    }
    if list.is_empty() { Err(Malformed) } else { Ok(list) }
}

/// Encapsulated vendor options may be closed by an end option and pads.
fn trim_end_option(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    match value.get(end) {
        // Only if what stands before it is whole: 255 may as well be the last byte of a value.
        Some(255) if sub_options(&value[..end], |_| None).is_ok() => &value[..end],
        _ => value,
    }
}

/// RFC 3925: enterprise number, length, data; once or more.
fn vendors(value: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, Malformed> {
    let (mut list, mut rest) = (Vec::new(), value);
    while !rest.is_empty() {
        let (number, after) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let (&len, after) = after.split_first().ok_or(Malformed)?;
        let (data, after) = after.split_at_checked(usize::from(len)).ok_or(Malformed)?;
        list.push((u32::from_be_bytes(*number), data.to_vec()));
        rest = after;
    }
    if list.is_empty() { Err(Malformed) } else { Ok(list) }
}

fn join<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    mut show: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        show(f, item)?;
    }
    Ok(())
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for (place, byte) in bytes.iter().enumerate() {
        write!(f, "{}{byte:02x}", if place == 0 { "" } else { ":" })?;
    }
    Ok(())
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("yes"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Addresses(list) => join(f, list, |f, address| write!(f, "{address}")),
            Self::Pairs(list) => join(f, list, |f, (address, mask)| write!(f, "{address} {mask}")),
            Self::Number(number) => write!(f, "{number}"),
            Self::Signed(number) => write!(f, "{number}"),
            Self::Numbers(list) => join(f, list, |f, number| write!(f, "{number}")),
            Self::Boolean(flag) => write!(f, "{flag}"),
            Self::Text(text) => f.write_str(text),
            Self::Texts(list) | Self::Names(list) => join(f, list, |f, text| f.write_str(text)),
            Self::Routes(list) => join(f, list, |f, route| write!(f, "{route}")),
            Self::Codes(list) => join(f, list, |f, (_, name)| f.write_str(name)),
            Self::MessageType(kind) => match message_type_name(*kind) {
                Some(name) => f.write_str(name),
                None => write!(f, "type {}", kind.value()),
            },
            Self::ClientId(kind, rest) => {
                write!(f, "{kind:02x}:")?;
                hex(f, rest)
            }
            Self::Fqdn { flags, name } => write!(f, "{name} (flags {flags:#x})"),
            Self::SubOptions(list) => join(f, list, |f, (code, name, value)| {
                match name {
                    Some(name) => write!(f, "{name}=")?,
                    None => write!(f, "{code}=")?,
                }
                hex(f, value)
            }),
            Self::Vendors(list) => join(f, list, |f, (number, data)| {
                write!(f, "{number}=")?;
                hex(f, data)
            }),
            Self::Hex(bytes) => hex(f, bytes),
        }
    }
}

impl fmt::Display for Described {
    /// `name: value`, and `(malformed)` where it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.malformed { " (malformed)" } else { "" };
        write!(f, "{}: {}{mark}", self.name, self.value)
    }
}
