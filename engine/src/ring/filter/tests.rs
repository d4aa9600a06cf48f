//! The filter's program, run by a small interpreter over crafted frames.

use libc::{BPF_IMM, BPF_W, sock_filter};

use super::*;

const ALL: FilterSpec = FilterSpec { client: true, server: true, arp: true };
const NONE: FilterSpec = FilterSpec { client: false, server: false, arp: false };
const CLIENT: FilterSpec = FilterSpec { client: true, ..NONE };
const SERVER: FilterSpec = FilterSpec { server: true, ..NONE };
const ARP: FilterSpec = FilterSpec { arp: true, ..NONE };

/// Runs classic BPF as `net/core/filter.c` does: a load behind the end ends the program with 0.
/// Panics on what the kernel would refuse to load: an unknown instruction, or a jump behind the
/// end.
fn run(program: &[sock_filter], frame: &[u8]) -> u32 {
    let (mut accumulator, mut index, mut at) = (0_u32, 0_u32, 0_usize);
    let load = |at: u32, bytes: usize| -> Option<u32> {
        let at = at as usize;
        let bytes = frame.get(at..at.checked_add(bytes)?)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    loop {
        let step = program.get(at).expect("the program ends with a return");
        at += 1;
        let (code, k) = (u32::from(step.code), step.k);
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        let loaded = if code == BPF_LD | BPF_H | BPF_ABS {
            load(k, 2)
        } else if code == BPF_LD | BPF_B | BPF_ABS {
            load(k, 1)
        } else if code == BPF_LD | BPF_H | BPF_IND {
            load(index + k, 2)
        } else if code == BPF_LDX | BPF_B | BPF_MSH {
            match load(k, 1) {
                Some(byte) => index = 4 * (byte & 0xf),
                None => return 0,
            }
            continue;
        } else if code == BPF_RET | BPF_K {
            return k;
        } else if code == BPF_JMP | BPF_JA {
            at += k as usize;
            continue;
        } else if code == BPF_JMP | BPF_JEQ | BPF_K {
            at += jump(accumulator == k);
            continue;
        } else if code == BPF_JMP | BPF_JSET | BPF_K {
            at += jump(accumulator & k != 0);
            continue;
        } else {
            panic!("instruction {code:#x}")
        };
        match loaded {
            Some(value) => accumulator = value,
            None => return 0,
        }
    }
}

fn accepts(spec: FilterSpec, frame: &[u8]) -> bool {
    match run(&spec.program(), frame) {
        0 => false,
        kept => {
            assert!(kept as usize >= 65_535, "frames are kept whole");
            true
        }
    }
}

/// An IPv4 frame: inline tags, IHL in words, flags and fragment offset, protocol, port.
struct Packet<'a> {
    tags: &'a [u16],
    words: u8,
    fragment: u16,
    protocol: u8,
    port: u16,
}

impl Packet<'_> {
    const DHCP: Self = Self { tags: &[], words: 5, fragment: 0, protocol: 17, port: 68 };

    fn bytes(&self) -> Vec<u8> {
        let mut frame = self.headers(0x0800);
        let start = frame.len();
        frame.resize(start + usize::from(self.words) * 4, 0xee);
        frame[start] = 0x40 | self.words;
        frame[start + 6..start + 8].copy_from_slice(&self.fragment.to_be_bytes());
        frame[start + 9] = self.protocol;
        frame.extend([0, 99]);
        frame.extend(self.port.to_be_bytes());
        frame.extend([0; 4]);
        frame
    }

    fn headers(&self, ethertype: u16) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for tag in self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 68]);
        }
        frame.extend(ethertype.to_be_bytes());
        frame
    }
}

const TAGS: [&[u16]; 7] = [
    &[],
    &[0x8100],
    &[0x88a8],
    &[0x8100, 0x8100],
    &[0x88a8, 0x8100],
    &[0x8100, 0x88a8],
    &[0x88a8, 0x88a8],
];

#[test]
fn ports_are_told_apart_behind_any_tags() {
    for tags in TAGS {
        for (port, client, server) in [(68, true, false), (67, false, true), (53, false, false)] {
            let frame = Packet { tags, port, ..Packet::DHCP }.bytes();
            assert_eq!(accepts(CLIENT, &frame), client, "{tags:x?} {port}");
            assert_eq!(accepts(SERVER, &frame), server, "{tags:x?} {port}");
            assert_eq!(accepts(ALL, &frame), client || server, "{tags:x?} {port}");
            assert!(!accepts(ARP, &frame));
            assert!(!accepts(NONE, &frame));
        }
    }
}

#[test]
fn more_tags_than_two_are_refused() {
    let tags = &[0x8100, 0x8100, 0x8100][..];
    assert!(!accepts(ALL, &Packet { tags, ..Packet::DHCP }.bytes()));
}

#[test]
fn the_port_is_found_behind_ip_options() {
    for tags in TAGS {
        for words in 5..=15 {
            let frame = |port| Packet { tags, words, port, ..Packet::DHCP }.bytes();
            assert!(accepts(CLIENT, &frame(68)), "{words} {tags:x?}");
            assert!(!accepts(CLIENT, &frame(69)), "{words} {tags:x?}");
        }
    }
}

#[test]
fn only_first_fragments_pass() {
    for (fragment, passes) in [
        (0, true),
        (0x4000, true), // may not be fragmented
        (0x2000, true), // the first of several: wire refuses it by name
        (0x2001, false),
        (0x0001, false),
        (0x1fff, false),
        (0x1000, false),
    ] {
        let frame = Packet { fragment, ..Packet::DHCP }.bytes();
        assert_eq!(accepts(ALL, &frame), passes, "{fragment:#x}");
    }
}

#[test]
fn other_protocols_are_refused() {
    for protocol in (0..=255).filter(|protocol| *protocol != 17) {
        assert!(!accepts(ALL, &Packet { protocol, ..Packet::DHCP }.bytes()), "{protocol}");
    }
}

#[test]
fn arp_passes_where_it_is_wanted() {
    for tags in TAGS {
        let mut frame = Packet { tags, ..Packet::DHCP }.headers(0x0806);
        frame.extend([0; 28]);
        assert!(accepts(ARP, &frame));
        assert!(accepts(FilterSpec { client: true, ..ARP }, &frame));
        assert!(!accepts(FilterSpec { arp: false, ..ALL }, &frame));
    }
}

#[test]
fn other_ethertypes_are_refused() {
    for ethertype in (0..=u16::MAX).filter(|ethertype| ![0x0800, 0x0806].contains(ethertype)) {
        let mut frame = Packet::DHCP.headers(ethertype);
        frame.extend([0; 60]);
        assert!(!accepts(ALL, &frame), "{ethertype:#x}");
    }
}

#[test]
fn short_frames_are_refused_at_every_length() {
    for tags in TAGS {
        let whole = Packet { tags, words: 6, ..Packet::DHCP }.bytes();
        // The last thing looked at is the destination port, which ends 4 bytes before the end.
        let least = whole.len() - 4;
        for len in 0..whole.len() {
            assert_eq!(accepts(ALL, &whole[..len]), len >= least, "{len} of {}", whole.len());
        }
    }
}

#[test]
fn every_program_is_one_that_the_kernel_loads() {
    for bits in 0..8 {
        let spec = FilterSpec { client: bits & 1 != 0, server: bits & 2 != 0, arp: bits & 4 != 0 };
        let program = spec.program();
        for (at, step) in program.iter().enumerate() {
            let code = u32::from(step.code);
            let left = program.len() - at - 1;
            let furthest = match code & 0x07 {
                BPF_JMP if code == BPF_JMP | BPF_JA => step.k as usize + 1,
                BPF_JMP => usize::from(step.jt.max(step.jf)) + 1,
                BPF_RET => 0,
                _ => 1,
            };
            assert!(furthest <= left, "{spec:?}: step {at} leads behind the end");
            assert_ne!((code & 0x07, code & 0xe0, code & 0x18), (BPF_LD, BPF_IMM, BPF_W));
        }
        assert_eq!(u32::from(program.last().unwrap().code), BPF_RET | BPF_K);
    }
}

proptest::proptest! {
    /// Whatever the bytes: what is accepted is of a wanted ethertype, protocol and port.
    #[test]
    fn nothing_else_passes(frame in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
        let spec = FilterSpec { arp: false, ..FilterSpec::client() };
        if accepts(spec, &frame) {
            let tags = (0..3).find(|tags| frame[12 + 4 * tags..][..2] == [8, 0]).unwrap();
            let ip = &frame[14 + 4 * tags..];
            let header = usize::from(ip[0] & 0xf) * 4;
            proptest::prop_assert_eq!(ip[9], 17);
            proptest::prop_assert_eq!(&ip[header + 2..header + 4], &[0, 68]);
        }
    }
}
