//! DHCP options: walking, joining, writing, naming (RFC 2132, RFC 3396).

use super::{Discard, NoRoom};
use std::borrow::Cow;
use std::net::Ipv4Addr;

/// The pad option: a single zero byte.
pub const PAD: u8 = 0;
/// The end option: what follows it in its field is not looked at.
pub const END: u8 = 255;

/// Option codes that the engine itself reads or writes.
pub mod code {
    #![allow(missing_docs)]
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DOMAIN_NAME_SERVER: u8 = 6;
    pub const HOSTNAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const INTERFACE_MTU: u8 = 26;
    pub const BROADCAST_ADDRESS: u8 = 28;
    pub const STATIC_ROUTE: u8 = 33;
    pub const NTP_SERVERS: u8 = 42;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETER_REQUESTS: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const DOMAIN_SEARCH: u8 = 119;
    pub const CLASSLESS_ROUTE: u8 = 121;
}

/// The option fields of a message, checked, in the order in which RFC 3396 section 5 joins them:
/// options, then `file`, then `sname`, the latter two where option 52 says that they hold options.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    fields: [&'a [u8]; 3],
}

impl<'a> Options<'a> {
    /// Checks that no option runs past the end of its field, follows option 52, and shows each
    /// piece to `visit`.
    pub(super) fn parse(
        options: &'a [u8],
        file: &'a [u8],
        sname: &'a [u8],
        mut visit: impl FnMut(u8, &[u8]),
    ) -> Result<Self, Discard> {
        // Joined like any other option, so that its length can be judged.
        let (mut overload, mut overload_len) = (0, None);
        walk(options, |code, piece| {
            if code == code::OVERLOAD {
                overload = piece.first().copied().unwrap_or(overload);
                overload_len = Some(overload_len.unwrap_or(0) + piece.len());
            }
            visit(code, piece);
        })?;
        // RFC 2132 9.3: 1 is file, 2 is sname, 3 is both.
        let (use_file, use_sname) = match (overload_len, overload) {
            (None, _) => (false, false),
            (Some(1), 1) => (true, false),
            (Some(1), 2) => (false, true),
            (Some(1), 3) => (true, true),
            _ => return Err(Discard::OptionValue),
        };
        let mut fields = [options, &[], &[]];
        if use_file {
            walk(file, &mut visit)?;
            fields[1] = file;
        }
        if use_sname {
            walk(sname, &mut visit)?;
            fields[2] = sname;
        }
        Ok(Self { fields })
    }

    /// Every piece of every option as it stands in the message, pads and ends left out.
    pub fn pieces(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        self.fields.into_iter().flat_map(|field| Pieces { rest: field }.map_while(Result::ok))
    }

    /// The value of an option, its pieces joined (RFC 3396 section 7); `None` if it is absent.
    /// Borrowed unless it was split.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<Cow<'a, [u8]>> {
        let mut pieces = self.pieces().filter(|(other, _)| *other == code).map(|(_, piece)| piece);
        let mut value = Cow::Borrowed(pieces.next()?);
        for piece in pieces {
            value.to_mut().extend_from_slice(piece);
        }
        Some(value)
    }

    /// The first address of an option that holds addresses; `None` if it is absent or shorter.
    #[must_use]
    pub fn first_address(&self, code: u8) -> Option<Ipv4Addr> {
        let value = self.get(code)?;
        value.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes))
    }
}

/// Iterates over the options of one field.
struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<(u8, &'a [u8]), Discard>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&code, rest) = self.rest.split_first()?;
            match code {
                PAD => self.rest = rest,
                END => return None,
                _ => {
                    let piece = rest
                        .split_first()
                        .and_then(|(&len, rest)| rest.split_at_checked(usize::from(len)));
                    let Some((piece, rest)) = piece else {
                        self.rest = &[];
                        return Some(Err(Discard::OptionOverrun));
                    };
                    self.rest = rest;
                    return Some(Ok((code, piece)));
                }
            }
        }
    }
}

fn walk<'a>(field: &'a [u8], mut visit: impl FnMut(u8, &'a [u8])) -> Result<(), Discard> {
    // A missing end option is forgiven (the end of the field is one as good), an overrun is not.
    for piece in (Pieces { rest: field }) {
        let (code, piece) = piece?;
        visit(code, piece);
    }
    Ok(())
}

/// Writes options into a field.
pub struct Writer<'a> {
    field: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the beginning of `field`.
    #[must_use]
    pub fn new(field: &'a mut [u8]) -> Self {
        Self { field, len: 0 }
    }

    /// Writes an option; a value over 255 bytes goes into adjacent pieces (RFC 3396 section 6).
    ///
    /// # Errors
    /// [`NoRoom`] if the field is full.
    pub fn put(&mut self, code: u8, value: &[u8]) -> Result<(), NoRoom> {
        let mut rest = value;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(255));
            let head = [code, piece.len() as u8];
            self.raw(&head)?;
            self.raw(piece)?;
            rest = after;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Writes an option unless its value is empty.
    ///
    /// # Errors
    /// [`NoRoom`] if the field is full.
    pub fn put_some(&mut self, code: u8, value: &[u8]) -> Result<(), NoRoom> {
        if value.is_empty() { Ok(()) } else { self.put(code, value) }
    }

    /// Writes an address option, if there is one.
    ///
    /// # Errors
    /// [`NoRoom`] if the field is full.
    pub fn put_address(&mut self, code: u8, value: Option<Ipv4Addr>) -> Result<(), NoRoom> {
        value.map_or(Ok(()), |address| self.put(code, &address.octets()))
    }

    /// Writes a 32-bit option, if there is one.
    ///
    /// # Errors
    /// [`NoRoom`] if the field is full.
    pub fn put_number(&mut self, code: u8, value: Option<u32>) -> Result<(), NoRoom> {
        value.map_or(Ok(()), |number| self.put(code, &number.to_be_bytes()))
    }

    /// Writes bytes that are options already.
    ///
    /// # Errors
    /// [`NoRoom`] if the field is full.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.len + bytes.len();
        self.field.get_mut(self.len..end).ok_or(NoRoom)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Writes the end option and returns the field's length in bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if the field is full.
    pub fn end(mut self) -> Result<usize, NoRoom> {
        self.raw(&[END])?;
        Ok(self.len)
    }
}

/// All options of a message, joined and owned: what a lease keeps of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OptionSet {
    /// Code, length (two bytes, big endian), value; ordered by code.
    bytes: Box<[u8]>,
}

impl OptionSet {
    /// The options of a message, each joined from its pieces (RFC 3396 section 7).
    #[must_use]
    pub fn from_options(options: &Options<'_>) -> Self {
        // More than messages have: growing step by step would cost more than all the rest.
        let mut pieces: Vec<(u8, &[u8])> = Vec::with_capacity(32);
        pieces.extend(options.pieces());
        // Stable: pieces of one option stay in the order in which RFC 3396 joins them.
        pieces.sort_by_key(|(code, _)| *code);
        let heads = 3 * pieces.chunk_by(|(a, _), (b, _)| a == b).count();
        let values: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
        let mut bytes = Vec::with_capacity(heads + values);
        for option in pieces.chunk_by(|(a, _), (b, _)| a == b) {
            // A UDP payload is below 65,536 bytes, and so is any option in it.
            let len: usize = option.iter().map(|(_, piece)| piece.len()).sum();
            bytes.push(option[0].0);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
            option.iter().for_each(|(_, piece)| bytes.extend_from_slice(piece));
        }
        Self { bytes: bytes.into() }
    }

    /// Codes and values, ordered by code.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest: &[u8] = &self.bytes;
        std::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk::<3>()?;
            let (value, after) = after.split_at_checked(usize::from(super::be16(head, 1)))?;
            rest = after;
            Some((head[0], value))
        })
    }

    /// The value of an option; `None` if it was absent.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == code).map(|(_, value)| value)
    }
}
