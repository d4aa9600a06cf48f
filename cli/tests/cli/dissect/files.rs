//! Captures built byte by byte, with no code of the reader under test, and frames in new clothes.

/// Byte order of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    fn word(self, word: u32) -> [u8; 4] {
        if self == Self::Little { word.to_le_bytes() } else { word.to_be_bytes() }
    }

    fn half(self, half: u16) -> [u8; 2] {
        if self == Self::Little { half.to_le_bytes() } else { half.to_be_bytes() }
    }
}

/// The frames of a fixture.
pub(super) fn frames(fixture: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut frames) = (&fixture[24..], Vec::new());
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let (frame, after) = after.split_at(head[8] as usize | (head[9] as usize) << 8);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

/// A pcap file: each frame with the number of bytes that were cut off, one second and two units
/// after 1970.
pub(super) fn pcap(order: Order, digits: u8, link: u32, frames: &[(usize, &[u8])]) -> Vec<u8> {
    let magic = if digits == 9 { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let version = [order.half(2), order.half(4)].concat();
    let mut file = [&order.word(magic)[..], &version, &[0; 8]].concat();
    // A snap length below the frames' own length is common.
    [order.word(96), order.word(link)].iter().for_each(|word| file.extend(word));
    for (cut, frame) in frames {
        let kept = &frame[..frame.len() - cut];
        for word in [1, 2, kept.len() as u32, frame.len() as u32] {
            file.extend(order.word(word));
        }
        file.extend(kept);
    }
    file
}

/// A block of a pcapng file.
pub(super) enum Block<'a> {
    Interface { link: u16, resolution: Option<u8>, name: &'a str },
    Packet { interface: u32, units: u64, frame: &'a [u8] },
    Obsolete { interface: u16, units: u64, frame: &'a [u8] },
    Simple { frame: &'a [u8] },
    Unknown,
}

/// A section of a pcapng file.
pub(super) fn ng(order: Order, blocks: &[Block<'_>]) -> Vec<u8> {
    let mut header = order.word(0x1a2b_3c4d).to_vec();
    header.extend([order.half(1), order.half(0)].concat());
    header.extend([0xff; 8]);
    let mut file = block(order, 0x0a0d_0d0a, &header);
    for each in blocks {
        let (kind, body) = body(order, each);
        file.extend(block(order, kind, &body));
    }
    file
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let len = order.word(12 + padded as u32);
    [&order.word(kind)[..], &len, body, &[0; 3][..padded - body.len()], &len].concat()
}

fn body(order: Order, block: &Block<'_>) -> (u32, Vec<u8>) {
    let words = |words: &[u32]| words.iter().flat_map(|word| order.word(*word)).collect::<Vec<_>>();
    match *block {
        Block::Interface { link, resolution, name } => {
            let mut body = [order.half(link), [0; 2]].concat();
            body.extend(words(&[0]));
            let mut option = |code: u16, value: &[u8]| {
                body.extend(order.half(code));
                body.extend(order.half(value.len() as u16));
                body.extend(value);
                body.resize(body.len().next_multiple_of(4), 0);
            };
            option(2, name.as_bytes());
            if let Some(resolution) = resolution {
                option(9, &[resolution]);
            }
            option(0, &[]);
            (1, body)
        }
        Block::Packet { interface, units, frame } => {
            let len = frame.len() as u32;
            let head = words(&[interface, (units >> 32) as u32, units as u32, len, len]);
            (6, [head, frame.to_vec()].concat())
        }
        Block::Obsolete { interface, units, frame } => {
            let head = [order.half(interface), order.half(0)].concat();
            let len = frame.len() as u32;
            let numbers = words(&[(units >> 32) as u32, units as u32, len, len]);
            (2, [head, numbers, frame.to_vec()].concat())
        }
        Block::Simple { frame } => (3, [words(&[frame.len() as u32]), frame.to_vec()].concat()),
        Block::Unknown => (0x0bad_0bad, vec![1, 2, 3]),
    }
}

/// The frame with these tags: TPID and TCI each.
pub(super) fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    for (tpid, tci) in tags {
        bytes.extend(tpid.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend(&frame[12..]);
    bytes
}

/// The frame as a capture on `any` has it: link type 113 or 276.
pub(super) fn uncooked(frame: &[u8], link: u16) -> Vec<u8> {
    let source = [&frame[6..12], &[0; 2]].concat();
    let (ether_type, rest) = (&frame[12..14], &frame[14..]);
    if link == 113 {
        return [&[0, 4, 0, 1, 0, 6], &source[..], ether_type, rest].concat();
    }
    [ether_type, &[0, 0, 0, 0, 0, 2, 0, 1, 4, 6], &source, rest].concat()
}

/// The frame with a byte wrong.
pub(super) fn spoiled(frame: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    bytes[at] ^= 0x55;
    bytes
}
