//! Hostile captures: whatever a file holds, it is read to an end, and what is printed is plain.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use proptest::prelude::*;

use super::capture::{Capture, Flaw};
use super::frames::{Medium, Reader};
use super::report::{FrameView, Place, text};
use super::tally::Tally;
use super::{Summary, printable};

/// Reads bytes as a file and renders every frame in each way.
fn dissect(bytes: &[u8]) -> Result<Tally, Flaw> {
    let mut tally = Tally::default();
    let mut capture = Capture::open(Box::new(Cursor::new(bytes.to_vec())))?;
    let mut readers = [Reader::new(false), Reader::new(true)];
    let mut number = 0;
    while let Some(record) = capture.next()? {
        number += 1;
        // As if each frame began in each way.
        for link_type in [record.link_type, 1, 113, 276, 101] {
            let Some(medium) = Medium::of(link_type) else {
                tally.unsupported(link_type);
                continue;
            };
            for reader in &mut readers {
                let verdict = reader.read(medium, record.bytes, record.wire_len);
                tally.verdict(medium, &verdict);
                let place = Place::new("file", number, medium, &record);
                plain(&text(&place, &verdict));
                plain(&serde_json::to_string(&FrameView::new(&place, &verdict)).unwrap());
            }
        }
    }
    plain(&tally.text());
    plain(&serde_json::to_string(&Summary { record: "summary", tally: &tally }).unwrap());
    Ok(tally)
}

/// Nothing that a terminal would act on.
#[track_caller]
fn plain(text: &str) {
    let bad = text.chars().find(|c| *c != '\n' && c.is_control());
    assert!(bad.is_none(), "{bad:?} in {text:?}");
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcap-fixtures").join(name);
    fs::read(path).unwrap()
}

/// The same frames in pcapng: a section, an interface with a name, and a block for each frame.
fn as_ng(pcap: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let len = (12 + body.len().next_multiple_of(4)) as u32;
        file.extend(kind.to_le_bytes());
        file.extend(len.to_le_bytes());
        file.extend(body);
        file.resize(file.len().next_multiple_of(4), 0);
        file.extend(len.to_le_bytes());
    };
    let header = [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
    block(0x0a0d_0d0a, &header);
    let name = [2, 0, 4, 0, b'e', b't', b'h', b'0', 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    block(1, &[&[1, 0, 0, 0, 0, 0, 4, 0], &name[..]].concat());
    let mut rest = &pcap[24..];
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let len = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let mut body = vec![0; 12];
        body.extend(&head[8..16]);
        body.extend(&after[..len]);
        block(6, &body);
        // A simple packet block too.
        block(3, &[&head[12..16], &after[..len]].concat());
        rest = &after[len..];
    }
    file
}

#[test]
fn a_fixture_is_the_same_in_both_formats() {
    let pcap = fixture("dnsmasq-nak.pcap");
    let (once, twice) = (dissect(&pcap).unwrap(), dissect(&as_ng(&pcap)).unwrap());
    assert!(once.accepted["DHCPNAK"] > 0);
    assert_eq!(once.frames * 2, twice.frames);
    for (name, count) in &once.accepted {
        assert_eq!(twice.accepted[name], count * 2, "{name}");
    }
}

#[test]
fn what_a_terminal_would_act_on_is_escaped() {
    assert_eq!(printable("a\u{1b}[2Jb\u{202e}ö"), "a\\u{1b}[2Jb\\u{202e}ö");
}

#[test]
fn a_file_that_ends_anywhere_is_read_as_far_as_it_goes() {
    for file in [fixture("kea-nak.pcap"), as_ng(&fixture("kea-dora.pcap"))] {
        let whole = dissect(&file).unwrap().frames;
        for len in (0..file.len()).step_by(7) {
            match dissect(&file[..len]) {
                Ok(tally) => assert!(tally.frames < whole, "{len}"),
                Err(flaw) => plain(&flaw.to_string()),
            }
        }
    }
}

/// Interfaces are kept while a section lasts: a file cannot have as many as it likes.
#[test]
fn interfaces_are_bounded() {
    let section = BEGINNINGS[5];
    let interface = &section[28..];
    let with = |interfaces: usize| [section, &interface.repeat(interfaces)].concat();
    assert!(dissect(&with(100_000)).is_ok());
    let flaw = dissect(&with(300_000)).unwrap_err();
    assert!(flaw.to_string().contains("too many interfaces"), "{flaw}");
    // A new section begins anew.
    assert!(dissect(&with(100_000).repeat(3)).is_ok());
}

/// Magic numbers of each format and byte order, and of what is none.
const BEGINNINGS: [&[u8]; 6] = [
    &[],
    &[0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1],
    &[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 113, 0, 0, 0],
    &[0x0a, 0x0d, 0x0d, 0x0a],
    &[
        0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255,
        255, 255, 255, 255, 255, 28, 0, 0, 0,
    ],
    &[
        0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255,
        255, 255, 255, 255, 255, 0, 0, 0, 28, 0, 0, 0, 1, 0, 0, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 20,
    ],
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_read_to_an_end(
        beginning in prop::sample::select(&BEGINNINGS[..]),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let _ = dissect(&[beginning, &bytes].concat());
    }

    #[test]
    fn small_numbers_are_read_to_an_end(
        beginning in prop::sample::select(&BEGINNINGS[..]),
        words in prop::collection::vec(0u32..64, 0..60),
        big: bool,
    ) {
        let bytes = words.iter().flat_map(|word| match big {
            true => word.to_be_bytes(),
            false => word.to_le_bytes(),
        });
        let _ = dissect(&beginning.iter().copied().chain(bytes).collect::<Vec<_>>());
    }

    #[test]
    fn a_damaged_fixture_is_read_to_an_end(
        name in prop::sample::select(&["dhcpd-renew.pcap", "kea-dora.pcap", "udhcpd-nak.pcap"][..]),
        ng: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let mut bytes = fixture(name);
        if ng {
            bytes = as_ng(&bytes);
        }
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = dissect(&bytes);
    }

    #[test]
    fn damaged_frames_in_a_whole_file_are_all_judged(
        name in prop::sample::select(&["dnsmasq-dora.pcap", "kea-nak.pcap"][..]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
    ) {
        let mut bytes = fixture(name);
        let whole = dissect(&bytes).unwrap().frames;
        let frames = frames_of(&bytes);
        for (index, byte) in damage {
            let at = frames[index.index(frames.len())];
            bytes[at] = byte;
        }
        prop_assert_eq!(dissect(&bytes).unwrap().frames, whole);
    }
}

/// Where the frames' own bytes are in a little-endian pcap file.
fn frames_of(pcap: &[u8]) -> Vec<usize> {
    let (mut at, mut places) = (24, Vec::new());
    while let Some(head) = pcap.get(at..at + 16) {
        let len = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        places.extend(at + 16..at + 16 + len);
        at += 16 + len;
    }
    places
}
