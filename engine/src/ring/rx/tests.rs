//! The receive rings without a kernel: the tests play it, honestly or not, on memory of their own.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::super::raw::{Direction, Layout};
use super::*;

const SLOT: usize = 256;
const SLOTS: usize = 4;
const BLOCK: usize = 1024;

fn put_u32(cell: &mut [u8], at: usize, value: u32) {
    cell[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

fn put_u16(cell: &mut [u8], at: usize, value: u16) {
    cell[at..at + 2].copy_from_slice(&value.to_ne_bytes());
}

fn get_u32(cell: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(cell[at..at + 4].try_into().unwrap())
}

fn receive(receiver: &mut Receiver) -> Option<(Vec<u8>, Meta)> {
    receiver.receive(|frame| (frame.bytes.to_vec(), frame.meta))
}

/// What the test's kernel writes about a frame; changed, to be senseless.
#[derive(Clone, Copy, Debug)]
struct Header {
    status: u32,
    len: u32,
    captured: u32,
    mac: u16,
    vlan: (u16, u16),
    time: (u32, u32),
    next: u32,
}

impl Header {
    fn of(frame: &[u8], mac: usize) -> Self {
        let len = frame.len() as u32;
        let mac = mac as u16;
        Self { status: 1, len, captured: len, mac, vlan: (0, 0), time: (0, 0), next: 0 }
    }

    fn write_v2(&self, cell: &mut [u8]) {
        put_u32(cell, offset_of!(tpacket2_hdr, tp_len), self.len);
        put_u32(cell, offset_of!(tpacket2_hdr, tp_snaplen), self.captured);
        put_u16(cell, offset_of!(tpacket2_hdr, tp_mac), self.mac);
        put_u32(cell, offset_of!(tpacket2_hdr, tp_sec), self.time.0);
        put_u32(cell, offset_of!(tpacket2_hdr, tp_nsec), self.time.1);
        put_u16(cell, offset_of!(tpacket2_hdr, tp_vlan_tci), self.vlan.0);
        put_u16(cell, offset_of!(tpacket2_hdr, tp_vlan_tpid), self.vlan.1);
        put_u32(cell, offset_of!(tpacket2_hdr, tp_status), self.status);
    }

    fn write_v3(&self, cell: &mut [u8]) {
        put_u32(cell, offset_of!(tpacket3_hdr, tp_next_offset), self.next);
        put_u32(cell, offset_of!(tpacket3_hdr, tp_len), self.len);
        put_u32(cell, offset_of!(tpacket3_hdr, tp_snaplen), self.captured);
        put_u16(cell, offset_of!(tpacket3_hdr, tp_mac), self.mac);
        put_u32(cell, offset_of!(tpacket3_hdr, tp_sec), self.time.0);
        put_u32(cell, offset_of!(tpacket3_hdr, tp_nsec), self.time.1);
        put_u32(cell, offset_of!(tpacket3_hdr, hv1.tp_vlan_tci), self.vlan.0.into());
        put_u16(cell, offset_of!(tpacket3_hdr, hv1.tp_vlan_tpid), self.vlan.1);
        put_u32(cell, offset_of!(tpacket3_hdr, tp_status), self.status);
    }
}

/// Where the test's kernel puts a frame behind its header.
const MAC: usize = 66;

/// A ring and the kernel's place in it.
struct Fed {
    receiver: Receiver,
    kernel_next: usize,
}

impl Fed {
    fn v2() -> Self {
        let layout =
            Layout { direction: Direction::Receive, count: SLOTS, stride: SLOT, status_at: 0 };
        let receiver = Receiver::Frames(FrameRing::new(Cells::anonymous(layout)));
        Self { receiver, kernel_next: 0 }
    }

    fn v3() -> Self {
        let layout = Layout {
            direction: Direction::Receive,
            count: SLOTS,
            stride: BLOCK,
            status_at: BLOCK_STATUS,
        };
        let receiver = Receiver::Blocks(BlockRing::new(Cells::anonymous(layout)));
        Self { receiver, kernel_next: 0 }
    }

    fn both() -> [Self; 2] {
        [Self::v2(), Self::v3()]
    }

    fn cell(&mut self) -> &mut [u8] {
        let cells = match &mut self.receiver {
            Receiver::Frames(ring) => ring.cells_mut(),
            Receiver::Blocks(ring) => ring.cells_mut(),
        };
        cells.as_kernel(self.kernel_next % SLOTS)
    }

    /// Hands over one frame (V3: a block of one); false, if the ring is full.
    fn feed(&mut self, frame: &[u8], change: impl FnOnce(&mut Header)) -> bool {
        let mut header = Header::of(frame, MAC);
        change(&mut header);
        match self.receiver {
            Receiver::Frames(_) => self.feed_slot(frame, header),
            Receiver::Blocks(_) => self.feed_block(&[(frame, header)], |_| {}),
        }
    }

    fn feed_slot(&mut self, frame: &[u8], header: Header) -> bool {
        let cell = self.cell();
        if get_u32(cell, 0) != 0 {
            return false;
        }
        cell[MAC..MAC + frame.len()].copy_from_slice(frame);
        header.write_v2(cell);
        self.kernel_next += 1;
        true
    }

    fn feed_block(&mut self, frames: &[(&[u8], Header)], change: impl FnOnce(&mut [u8])) -> bool {
        let cell = self.cell();
        if get_u32(cell, BLOCK_STATUS) != 0 {
            return false;
        }
        let mut at = 48;
        for (index, (frame, header)) in frames.iter().enumerate() {
            let end = at + MAC + frame.len();
            cell[at + MAC..end].copy_from_slice(frame);
            let mut header = *header;
            if header.next == 0 && index + 1 < frames.len() {
                header.next = (end.next_multiple_of(8) - at) as u32;
            }
            header.write_v3(&mut cell[at..]);
            at = end.next_multiple_of(8);
        }
        put_u32(cell, BLOCK_STATUS + 4, frames.len() as u32);
        put_u32(cell, BLOCK_STATUS + 8, 48);
        put_u32(cell, BLOCK_STATUS, 1);
        change(cell);
        self.kernel_next += 1;
        true
    }
}

#[test]
fn metadata_is_read_from_either_version() {
    for mut fed in Fed::both() {
        let mut meta = |change: fn(&mut Header)| {
            assert!(fed.feed(&[5; 60], change));
            let (bytes, meta) = receive(&mut fed.receiver).unwrap();
            assert_eq!(bytes, [5; 60]);
            meta
        };
        assert_eq!(meta(|_| {}), Meta::plain(60));
        let tag = |tpid, tci| Some(VlanTag { tpid, tci });
        let valid = libc::TP_STATUS_VLAN_VALID;
        assert_eq!(valid, 16);
        let found = meta(|header| (header.status, header.vlan) = (1 | 16 | 64, (0xe064, 0x88a8)));
        assert_eq!(found.vlan, tag(0x88a8, 0xe064));
        let found = meta(|header| (header.status, header.vlan) = (1 | 16 | 64, (0, 0x8100)));
        assert_eq!(found.vlan, tag(0x8100, 0), "a tag of zeros is a tag");
        let found = meta(|header| (header.status, header.vlan) = (1 | 16, (7, 0x9999)));
        assert_eq!(found.vlan, tag(0x8100, 7), "a type that is not valid is not used");
        let found = meta(|header| (header.status, header.vlan) = (1 | 64, (7, 0x8100)));
        assert_eq!(found.vlan, None);
        assert!(!meta(|header| header.status = 1 | 8).checksum_ready);
        assert!(meta(|header| header.status = 1 | 128).checksum_ready);
        assert_eq!(meta(|header| header.len = 9000).wire_len, 9000);
        assert_eq!(
            meta(|header| header.time = (1_700_000_000, 999_999_999)).timestamp,
            1_700_000_000_999_999_999
        );
        assert_eq!(meta(|header| header.time = (1, 1_000_000_000)).timestamp, 1_000_000_000);
    }
}

#[test]
fn an_empty_ring_has_nothing() {
    for mut fed in Fed::both() {
        assert_eq!(receive(&mut fed.receiver), None);
        assert!(fed.feed(b"one", |_| {}));
        assert!(receive(&mut fed.receiver).is_some());
        assert_eq!(receive(&mut fed.receiver), None);
    }
}

#[test]
fn a_panic_in_the_visit_gives_the_slot_back() {
    for mut fed in Fed::both() {
        for round in 0..3 * SLOTS {
            assert!(fed.feed(b"frame", |_| {}), "{round}");
            let visit = catch_unwind(AssertUnwindSafe(|| {
                fed.receiver.receive(|_| std::panic::resume_unwind(Box::new("refused")))
            }));
            assert!(visit.is_err());
            assert_eq!(receive(&mut fed.receiver), None);
        }
    }
}

#[test]
fn senseless_slots_are_handed_back_and_counted() {
    type Change = fn(&mut Header);
    let senseless: [Change; 8] = [
        |header| header.mac = 0,
        |header| header.mac = 31,
        |header| header.mac = u16::MAX,
        |header| (header.captured, header.len) = (BLOCK as u32, BLOCK as u32),
        |header| (header.captured, header.len) = (u32::MAX, u32::MAX),
        |header| header.captured = header.len + 1,
        |header| (header.mac, header.captured, header.len) = (u16::MAX, u32::MAX, u32::MAX),
        |header| header.len = 0,
    ];
    for mut fed in Fed::both() {
        for (index, change) in senseless.into_iter().enumerate() {
            assert!(fed.feed(b"senseless", change));
            assert!(fed.feed(b"good", |_| {}));
            assert_eq!(receive(&mut fed.receiver).unwrap().0, b"good", "{index}");
            assert_eq!(receive(&mut fed.receiver), None);
            assert_eq!(fed.receiver.senseless(), index as u64 + 1);
        }
        // A ring full of them ends the search, and is empty afterwards.
        while fed.feed(b"senseless", |header| header.mac = 0) {}
        assert_eq!(receive(&mut fed.receiver), None);
        assert_eq!(fed.receiver.senseless(), (senseless.len() + SLOTS) as u64);
        assert!(fed.feed(b"good", |_| {}));
        assert_eq!(receive(&mut fed.receiver).unwrap().0, b"good");
    }
}

#[test]
fn a_frame_may_fill_its_slot_to_the_last_byte() {
    for (mut fed, room) in [(Fed::v2(), SLOT - MAC), (Fed::v3(), BLOCK - 48 - MAC)] {
        let frame: Vec<u8> = (0..room).map(|i| i as u8).collect();
        assert!(fed.feed(&frame, |_| {}));
        assert_eq!(receive(&mut fed.receiver).unwrap().0, frame);
        let longer = |header: &mut Header| (header.captured, header.len) = (room as u32 + 1, 9999);
        assert!(fed.feed(&frame, longer));
        assert_eq!(receive(&mut fed.receiver), None);
        assert_eq!(fed.receiver.senseless(), 1);
    }
}

#[test]
fn a_senseless_block_is_handed_back_whole() {
    let good = Header::of(b"good", MAC);
    type Change = fn(&mut [u8]);
    let changes: [(Change, usize); 8] = [
        (|block| put_u32(block, BLOCK_STATUS + 8, 0), 0),
        (|block| put_u32(block, BLOCK_STATUS + 8, 47), 0),
        (|block| put_u32(block, BLOCK_STATUS + 8, 49), 0),
        (|block| put_u32(block, BLOCK_STATUS + 8, BLOCK as u32), 0),
        (|block| put_u32(block, BLOCK_STATUS + 8, u32::MAX), 0),
        // More frames than there are: the last one's next offset is 0, which leads nowhere.
        (|block| put_u32(block, BLOCK_STATUS + 4, u32::MAX), 1),
        (|block| put_u32(block, 48, 8), 0),
        (|block| put_u32(block, 48, 0xffff_fff8), 1),
    ];
    for (index, (change, readable)) in changes.into_iter().enumerate() {
        let mut fed = Fed::v3();
        assert!(fed.feed_block(&[(b"good", good), (b"good", good)], change));
        for _ in 0..readable {
            assert!(receive(&mut fed.receiver).is_some(), "{index}");
        }
        assert_eq!(receive(&mut fed.receiver), None, "{index}");
        assert_eq!(fed.receiver.senseless(), 1, "{index}");
        for _ in 0..SLOTS {
            assert!(fed.feed_block(&[(b"good", good)], |_| {}), "{index}");
        }
        assert_eq!(receive(&mut fed.receiver).unwrap().0, b"good", "{index}");
    }
}

#[test]
fn an_empty_block_is_passed_over() {
    let mut fed = Fed::v3();
    assert!(fed.feed_block(&[], |_| {}));
    assert!(fed.feed(b"good", |_| {}));
    assert_eq!(receive(&mut fed.receiver).unwrap().0, b"good");
    assert_eq!(fed.receiver.senseless(), 0);
}

proptest! {
    /// Random frames in, random reads: what comes out is what the kernel put in, in order, and
    /// what it had no room for is missing, no more.
    #[test]
    fn receive_agrees_with_a_queue(
        steps in proptest::collection::vec((0_u8..4, 1_u8..5, 0_usize..120), 1..200),
        version in 2..4,
    ) {
        let mut fed = if version == 2 { Fed::v2() } else { Fed::v3() };
        let mut expected = VecDeque::new();
        for (number, (action, count, len)) in steps.into_iter().enumerate() {
            let frame = |index: u8| vec![number as u8 ^ index; len];
            if action == 0 && version == 3 {
                let frames: Vec<Vec<u8>> = (0..count).map(frame).collect();
                let frames: Vec<(&[u8], Header)> = frames
                    .iter().map(|frame| (frame.as_slice(), Header::of(frame, MAC))).collect();
                if fed.feed_block(&frames, |_| {}) {
                    expected.extend(frames.iter().map(|(frame, _)| frame.to_vec()));
                }
            } else if action < 2 {
                if fed.feed(&frame(0), |_| {}) {
                    expected.push_back(frame(0));
                }
            } else {
                for _ in 0..count {
                    let got = receive(&mut fed.receiver).map(|(bytes, _)| bytes);
                    prop_assert_eq!(got, expected.pop_front());
                }
            }
        }
        prop_assert_eq!(fed.receiver.senseless(), 0);
    }

    /// Random bytes in every slot: nothing is read outside, and the ring comes to an end.
    #[test]
    fn any_bytes_in_a_ring_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), SLOT..BLOCK),
        words in proptest::collection::vec((0_usize..40, 0_u32..600), 0..20),
        version in 2..4,
    ) {
        let mut fed = if version == 2 { Fed::v2() } else { Fed::v3() };
        for _ in 0..SLOTS {
            let cell = fed.cell();
            let len = bytes.len().min(cell.len());
            cell[..len].copy_from_slice(&bytes[..len]);
            for (word, value) in &words {
                put_u32(cell, word * 4, *value);
            }
            fed.kernel_next += 1;
        }
        let mut frames = 0;
        while let Some((frame, _)) = receive(&mut fed.receiver) {
            prop_assert!(frame.len() <= BLOCK);
            frames += 1;
            prop_assert!(frames <= SLOTS * BLOCK / 48);
        }
    }
}
