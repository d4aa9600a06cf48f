//! Capture files, pcap and pcapng, frame by frame, in constant memory.
//!
//! The framing is pcap-file's, taken raw: its typed packets refuse captures that were cut on
//! purpose (a frame longer than the snap length), and read every pcapng time as nanoseconds. It
//! still is what reads section headers and interface descriptions, and is strict about their
//! options: a list without its end, or a time zone, makes the file one that cannot be read.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::Path;

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::{
    ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, PACKET_BLOCK, SECTION_HEADER_BLOCK,
    SIMPLE_PACKET_BLOCK,
};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

use super::time::{Clock, Time};
use super::{is_stdin, printable};

/// Enough to tell the formats apart, and to find the length of pcapng's first block.
const PEEK: usize = 12;
/// libpcap's own limit for a captured frame; a longer one means a corrupt length.
const LONGEST_FRAME: u32 = 262_144;
/// Bytes of interface descriptions that are kept of one section; thousands of interfaces.
const MOST_DESCRIBED: u64 = 4 << 20;

type Source = Box<dyn Read>;

/// A captured frame.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// What the frame begins with: a number of tcpdump.org's registry of link types.
    pub(super) link_type: u16,
    /// pcapng: the interface that it was captured on.
    pub(super) interface: Option<String>,
    pub(super) time: Option<Time>,
    pub(super) bytes: &'a [u8],
    /// Length on the wire; more than `bytes` where the capture was cut.
    pub(super) wire_len: usize,
}

/// Why a file cannot be read, or no further.
#[derive(Debug)]
pub(super) struct Flaw {
    offset: u64,
    what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.what)
    }
}

/// A capture file that is open.
pub(super) struct Capture {
    format: Format,
    /// Where the next record or block begins.
    offset: u64,
    /// The current frame.
    frame: Vec<u8>,
}

enum Format {
    Pcap { reader: PcapReader<Source>, link_type: u16, clock: Clock },
    Ng(Box<Sections>),
}

/// A pcapng file: sections, each with interfaces of its own.
struct Sections {
    reader: PcapNgReader<Source>,
    endianness: Endianness,
    interfaces: Vec<Interface>,
    described: u64,
}

struct Interface {
    link_type: u16,
    snaplen: usize,
    clock: Clock,
    name: String,
}

/// What stands in front of a frame in a pcap file.
struct PcapHeader {
    seconds: u32,
    fraction: u32,
    wire_len: usize,
}

/// What a packet block of any of the three kinds says about the frame in it.
struct Packet<'a> {
    interface: usize,
    units: Option<u64>,
    wire_len: usize,
    data: &'a [u8],
}

impl Capture {
    /// Reads the header, and tells the format by it.
    pub(super) fn open(mut source: Source) -> Result<Self, Flaw> {
        let mut head = Vec::with_capacity(PEEK);
        let read = source.by_ref().take(PEEK as u64).read_to_end(&mut head);
        read.map_err(|error| flaw(0, error.to_string()))?;
        let kind = Kind::of(&head).map_err(|what| flaw(0, what))?;
        let first_block = block_len(&head);
        let source: Source = Box::new(Cursor::new(head).chain(source));
        let (format, offset) = match kind {
            Kind::Pcap => {
                let reader = PcapReader::new(source).map_err(|error| explain(0, &error))?;
                let header = reader.header();
                let digits = match header.ts_resolution {
                    TsResolution::MicroSecond => 6,
                    TsResolution::NanoSecond => 9,
                };
                let (link_type, clock) = (link_type(header.datalink), Clock::new(digits, 0));
                (Format::Pcap { reader, link_type, clock }, 24)
            }
            Kind::Ng => {
                let reader = PcapNgReader::new(source).map_err(|error| explain(0, &error))?;
                let endianness = reader.section().endianness;
                let sections = Sections { reader, endianness, interfaces: vec![], described: 0 };
                (Format::Ng(Box::new(sections)), u64::from(first_block))
            }
        };
        Ok(Self { format, offset, frame: Vec::new() })
    }

    /// The next frame; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Record<'_>>, Flaw> {
        let Self { format, offset, frame } = self;
        let found = match format {
            Format::Pcap { reader, link_type, clock } => {
                pcap(reader, offset, frame)?.map(|header| Record {
                    link_type: *link_type,
                    interface: None,
                    time: Some(clock.split(header.seconds, header.fraction)),
                    bytes: &[],
                    wire_len: header.wire_len,
                })
            }
            Format::Ng(sections) => sections.next(offset, frame)?,
        };
        Ok(found.map(|record| Record { bytes: frame, ..record }))
    }
}

enum Kind {
    Pcap,
    Ng,
}

impl Kind {
    fn of(head: &[u8]) -> Result<Self, String> {
        let packed = |how: &str, with: &str| {
            format!("compressed with {how}: unpack it first (`{with} FILE | lessee dissect -`)")
        };
        match head {
            [] => Err("the file is empty".to_owned()),
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => Ok(Self::Ng),
            [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xd4, 0xc3, 0xb2, 0xa1, ..] => Ok(Self::Pcap),
            [0xa1, 0xb2, 0x3c, 0x4d, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => Ok(Self::Pcap),
            [0x1f, 0x8b, ..] => Err(packed("gzip", "zcat")),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(packed("zstd", "zstdcat")),
            [0xfd, b'7', b'z', b'X', ..] => Err(packed("xz", "xzcat")),
            _ => Err("neither pcap nor pcapng".to_owned()),
        }
    }
}

/// The length of a section header block, which tells its own byte order.
fn block_len(head: &[u8]) -> u32 {
    match head {
        [_, _, _, _, a, b, c, d, 0x1a, ..] => u32::from_be_bytes([*a, *b, *c, *d]),
        [_, _, _, _, a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

fn flaw(offset: u64, what: impl Into<String>) -> Flaw {
    Flaw { offset, what: what.into() }
}

fn explain(offset: u64, error: &PcapError) -> Flaw {
    match error {
        PcapError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            flaw(offset, "the file ends in the middle, or a length in it is wrong")
        }
        PcapError::IoError(error) => flaw(offset, error.to_string()),
        other => flaw(offset, other.to_string()),
    }
}

/// The number, without what newer writers put into its upper half (the length of a trailer).
fn link_type(link: DataLink) -> u16 {
    u32::from(link) as u16
}

/// Copies the next frame.
fn pcap(
    reader: &mut PcapReader<Source>,
    offset: &mut u64,
    frame: &mut Vec<u8>,
) -> Result<Option<PcapHeader>, Flaw> {
    let Some(packet) = reader.next_raw_packet() else { return Ok(None) };
    let packet = packet.map_err(|error| explain(*offset, &error))?;
    if packet.incl_len > LONGEST_FRAME {
        return Err(flaw(*offset, format!("a frame of {} bytes is impossible", packet.incl_len)));
    }
    *offset += 16 + u64::from(packet.incl_len);
    frame.clear();
    frame.extend_from_slice(&packet.data);
    let (seconds, fraction) = (packet.ts_sec, packet.ts_frac);
    Ok(Some(PcapHeader { seconds, fraction, wire_len: packet.orig_len as usize }))
}

impl Sections {
    /// Copies the next frame; the record is without its bytes.
    fn next(
        &mut self,
        offset: &mut u64,
        frame: &mut Vec<u8>,
    ) -> Result<Option<Record<'static>>, Flaw> {
        loop {
            let at = *offset;
            let Some(block) = self.reader.next_raw_block() else { return Ok(None) };
            let block = block.map_err(|error| explain(at, &error))?;
            *offset += u64::from(block.initial_len);
            let (kind, len) = (block.type_, u64::from(block.initial_len));
            let fields = Fields { bytes: &block.body, endianness: self.endianness };
            let packet = match kind {
                SECTION_HEADER_BLOCK => {
                    self.endianness = self.reader.section().endianness;
                    self.interfaces.clear();
                    self.described = 0;
                    continue;
                }
                INTERFACE_DESCRIPTION_BLOCK => {
                    self.described += len;
                    if self.described > MOST_DESCRIBED {
                        return Err(flaw(at, "too many interfaces in one section"));
                    }
                    self.interfaces.extend(self.reader.interfaces().last().map(Interface::of));
                    continue;
                }
                ENHANCED_PACKET_BLOCK => fields.enhanced(),
                PACKET_BLOCK => fields.obsolete(),
                SIMPLE_PACKET_BLOCK => fields.simple(self.interfaces.first()),
                _ => continue,
            };
            let packet = packet.ok_or_else(|| flaw(at, "the packet does not fit its block"))?;
            let interface = self.interfaces.get(packet.interface).ok_or_else(|| {
                flaw(at, format!("a packet of interface {}, not described", packet.interface))
            })?;
            frame.clear();
            frame.extend_from_slice(packet.data);
            return Ok(Some(Record {
                link_type: interface.link_type,
                interface: Some(interface.shown(packet.interface)),
                time: packet.units.map(|units| interface.clock.units(units)),
                bytes: &[],
                wire_len: packet.wire_len,
            }));
        }
    }
}

impl Interface {
    fn of(block: &InterfaceDescriptionBlock<'_>) -> Self {
        let (mut resolution, mut offset, mut name) = (6, 0, String::new());
        for option in &block.options {
            match option {
                InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
                // Written as unsigned, meant as signed.
                InterfaceDescriptionOption::IfTsOffset(value) => offset = *value as i64,
                InterfaceDescriptionOption::IfName(value) => name = printable(value),
                _ => {}
            }
        }
        Self {
            link_type: link_type(block.linktype),
            snaplen: block.snaplen as usize,
            clock: Clock::new(resolution, offset),
            name,
        }
    }

    fn shown(&self, number: usize) -> String {
        if self.name.is_empty() { format!("#{number}") } else { self.name.clone() }
    }
}

/// The numbers in a block's body.
struct Fields<'a> {
    bytes: &'a [u8],
    endianness: Endianness,
}

impl<'a> Fields<'a> {
    fn word(&self, at: usize) -> Option<u32> {
        let word = *self.bytes.get(at..)?.first_chunk::<4>()?;
        Some(match self.endianness {
            Endianness::Big => u32::from_be_bytes(word),
            Endianness::Little => u32::from_le_bytes(word),
        })
    }

    fn half(&self, at: usize) -> Option<u16> {
        let half = *self.bytes.get(at..)?.first_chunk::<2>()?;
        Some(match self.endianness {
            Endianness::Big => u16::from_be_bytes(half),
            Endianness::Little => u16::from_le_bytes(half),
        })
    }

    fn enhanced(&self) -> Option<Packet<'a>> {
        self.packet(self.word(0)? as usize)
    }

    fn obsolete(&self) -> Option<Packet<'a>> {
        self.packet(usize::from(self.half(0)?))
    }

    fn packet(&self, interface: usize) -> Option<Packet<'a>> {
        let units = u64::from(self.word(4)?) << 32 | u64::from(self.word(8)?);
        let captured = self.word(12)? as usize;
        let wire_len = self.word(16)? as usize;
        let data = self.bytes.get(20..)?.get(..captured)?;
        Some(Packet { interface, units: Some(units), wire_len, data })
    }

    /// No time, and the first interface: its snap length says how much was captured.
    fn simple(&self, interface: Option<&Interface>) -> Option<Packet<'a>> {
        let wire_len = self.word(0)? as usize;
        let most = match interface {
            Some(interface) if interface.snaplen > 0 => interface.snaplen,
            _ => usize::MAX,
        };
        let data = self.bytes.get(4..)?.get(..wire_len.min(most))?;
        Some(Packet { interface: 0, units: None, wire_len, data })
    }
}

/// A file, or standard input.
pub(super) fn source(path: &Path) -> io::Result<Source> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(File::open(path)?))
}
