//! The classic-BPF program that a ring's socket runs on every frame of its link, as data.
//!
//! The kernel takes the outermost VLAN tag out of a frame before a packet socket sees it, so the
//! program finds the ethertype behind it at byte 12, and an inner tag, if any, after that. Up to
//! two tags in the bytes are followed, for senders and drivers that leave them there.
//!
//! The program is a sieve, not a judge: it keeps other people's traffic out of the ring. What
//! passes is parsed and checked in full by `wire`.
//!
//! Reference: `Documentation/networking/filter.rst`.

use libc::{
    BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JA, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX,
    BPF_MSH, BPF_RET, sock_filter,
};

#[cfg(test)]
mod tests;

const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_8021Q: u32 = 0x8100;
const ETHERTYPE_8021AD: u32 = 0x88a8;
const PROTOCOL_UDP: u32 = 17;
/// The fragment offset in the 16 bits that hold it with the flags (RFC 791 3.1).
const FRAGMENT_OFFSET: u32 = 0x1fff;
const PORT_CLIENT: u32 = 68;
const PORT_SERVER: u32 = 67;
/// Where the ethertype lies in an untagged frame.
const ETHERTYPE_AT: u32 = 12;
/// Tags inside the bytes that are followed, beside the one in the metadata.
const INLINE_TAGS: usize = 2;
/// How much of an accepted frame is kept, in bytes: all of it.
const KEEP_ALL: u32 = 0x4_0000;

/// Which frames a ring receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterSpec {
    /// UDP over IPv4 to port 68: what DHCP servers and relays send to clients.
    pub client: bool,
    /// UDP over IPv4 to port 67: what clients send to servers, and servers to relays.
    pub server: bool,
    /// ARP, requests and replies.
    pub arp: bool,
}

impl FilterSpec {
    /// What a DHCP client needs: port 68 and ARP.
    #[must_use]
    pub const fn client() -> Self {
        Self { client: true, server: false, arp: true }
    }

    /// What a DHCP server needs: port 67 and ARP.
    #[must_use]
    pub const fn server() -> Self {
        Self { client: false, server: true, arp: true }
    }

    /// The program. It never accepts a fragment other than the first, and reads nothing behind the
    /// end of a frame: the kernel ends a program that tries, and rejects the frame.
    #[must_use]
    pub fn program(self) -> Vec<sock_filter> {
        let mut asm = Assembler::new(2 * (INLINE_TAGS + 1));
        let (accept, reject) = (asm.label(), asm.label());
        let ethertype: [Label; INLINE_TAGS + 1] = std::array::from_fn(|_| asm.label());
        let ipv4: [Label; INLINE_TAGS + 1] = std::array::from_fn(|_| asm.label());
        let ports = [(self.client, PORT_CLIENT), (self.server, PORT_SERVER)];
        let udp = ports.iter().any(|(wanted, _)| *wanted);

        let mut at = ETHERTYPE_AT;
        for depth in 0..=INLINE_TAGS {
            asm.bind(ethertype[depth]);
            asm.load_half(at);
            asm.jump_if_equal(ETHERTYPE_IPV4, if udp { ipv4[depth] } else { reject });
            asm.jump_if_equal(ETHERTYPE_ARP, if self.arp { accept } else { reject });
            if let Some(inner) = ethertype.get(depth + 1) {
                asm.jump_if_equal(ETHERTYPE_8021Q, *inner);
                asm.jump_if_equal(ETHERTYPE_8021AD, *inner);
            }
            asm.jump(reject);
            at += 4;
        }
        for (depth, label) in ipv4.iter().enumerate().filter(|_| udp) {
            let header = ETHERTYPE_AT + 2 + 4 * depth as u32;
            asm.bind(*label);
            asm.load_byte(header + 9);
            asm.jump_unless_equal(PROTOCOL_UDP, reject);
            asm.load_half(header + 6);
            asm.jump_if_any(FRAGMENT_OFFSET, reject);
            asm.index_behind_ipv4(header);
            asm.load_half_indexed(header + 2);
            for (_, port) in ports.iter().filter(|(wanted, _)| *wanted) {
                asm.jump_if_equal(*port, accept);
            }
            asm.jump(reject);
        }
        asm.bind(reject);
        asm.give(0);
        asm.bind(accept);
        asm.give(KEEP_ALL);
        asm.finish()
    }
}

/// A place in the program that jumps may name before it is known.
#[derive(Clone, Copy)]
struct Label(usize);

enum Step {
    Plain(sock_filter),
    /// A condition and where to go if it holds, and if not; `None` is the next step.
    Branch(u16, u32, Option<Label>, Option<Label>),
    Jump(Label),
}

/// Writes instructions down with labels, and computes the jumps at the end. All jumps go forward,
/// as the kernel demands.
struct Assembler {
    steps: Vec<Step>,
    places: Vec<usize>,
}

impl Assembler {
    fn new(labels: usize) -> Self {
        Self { steps: Vec::new(), places: Vec::with_capacity(labels) }
    }

    fn label(&mut self) -> Label {
        self.places.push(0);
        Label(self.places.len() - 1)
    }

    fn bind(&mut self, label: Label) {
        self.places[label.0] = self.steps.len();
    }

    fn plain(&mut self, code: u32, k: u32) {
        self.steps.push(Step::Plain(sock_filter { code: code as u16, jt: 0, jf: 0, k }));
    }

    fn load_half(&mut self, at: u32) {
        self.plain(BPF_LD | BPF_H | BPF_ABS, at);
    }

    fn load_byte(&mut self, at: u32) {
        self.plain(BPF_LD | BPF_B | BPF_ABS, at);
    }

    /// X := length of the IPv4 header at `header`, in bytes: 4 × the low four bits of its first
    /// byte.
    fn index_behind_ipv4(&mut self, header: u32) {
        self.plain(BPF_LDX | BPF_B | BPF_MSH, header);
    }

    fn load_half_indexed(&mut self, at: u32) {
        self.plain(BPF_LD | BPF_H | BPF_IND, at);
    }

    fn give(&mut self, bytes: u32) {
        self.plain(BPF_RET | BPF_K, bytes);
    }

    fn jump_if_equal(&mut self, k: u32, to: Label) {
        self.steps.push(Step::Branch((BPF_JMP | BPF_JEQ | BPF_K) as u16, k, Some(to), None));
    }

    fn jump_unless_equal(&mut self, k: u32, to: Label) {
        self.steps.push(Step::Branch((BPF_JMP | BPF_JEQ | BPF_K) as u16, k, None, Some(to)));
    }

    fn jump_if_any(&mut self, bits: u32, to: Label) {
        self.steps.push(Step::Branch((BPF_JMP | BPF_JSET | BPF_K) as u16, bits, Some(to), None));
    }

    fn jump(&mut self, to: Label) {
        self.steps.push(Step::Jump(to));
    }

    fn finish(self) -> Vec<sock_filter> {
        let distance = |from: usize, to: Label| self.places[to.0].saturating_sub(from + 1);
        // A program of some forty steps: every distance fits into a byte. The tests run the program
        // through an interpreter that would notice one that does not.
        let short = |from: usize, to: Option<Label>| {
            to.map_or(0, |to| u8::try_from(distance(from, to)).unwrap_or(u8::MAX))
        };
        let encode = |(at, step): (usize, &Step)| match *step {
            Step::Plain(instruction) => instruction,
            Step::Branch(code, k, yes, no) => {
                sock_filter { code, jt: short(at, yes), jf: short(at, no), k }
            }
            Step::Jump(to) => {
                let (code, k) = ((BPF_JMP | BPF_JA) as u16, distance(at, to) as u32);
                sock_filter { code, jt: 0, jf: 0, k }
            }
        };
        self.steps.iter().enumerate().map(encode).collect()
    }
}
