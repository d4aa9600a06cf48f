//! The transmitters with a kernel that the test plays: it takes, refuses, and has no room.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::raw::{Direction, Layout};
use super::*;

fn put_u32(cell: &mut [u8], at: usize, value: u32) {
    cell[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

fn get_u32(cell: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(cell[at..at + 4].try_into().unwrap())
}

/// What the test's kernel does with the next frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Takes so many, then has no room.
    Take(usize),
    /// Refuses the frame at its place.
    Refuse(Errno),
}

/// A kernel that follows a script, and afterwards takes everything.
#[derive(Default)]
struct Scripted {
    answers: VecDeque<Answer>,
    sent: Vec<Vec<u8>>,
    /// Its place in the ring.
    next: usize,
    calls: usize,
    shape: Option<SlotShape>,
    /// Slots that it has begun to send, and not finished.
    sending: Vec<usize>,
    slow: bool,
}

impl Kernel for Scripted {
    fn send(&mut self, batch: &mut Batch, first: usize, count: usize) -> Result<usize, Errno> {
        self.calls += 1;
        let limit = match self.answers.pop_front() {
            None => usize::MAX,
            Some(Answer::Take(0)) => return Err(Errno::EAGAIN),
            Some(Answer::Take(limit)) => limit,
            Some(Answer::Refuse(error)) => return Err(error),
        };
        let taken = count.min(limit);
        for index in 0..taken {
            self.sent.push(batch.frame((first + index) % batch.count()).to_vec());
        }
        Ok(taken)
    }

    fn kick(&mut self, cells: &mut Cells) -> Result<(), Errno> {
        self.calls += 1;
        let shape = self.shape.unwrap();
        let answer = self.answers.pop_front();
        let limit = match answer {
            None => usize::MAX,
            Some(Answer::Take(limit)) => limit,
            Some(Answer::Refuse(_)) => 0,
        };
        let count = cells.count();
        for _ in 0..limit {
            let cell = cells.as_kernel(self.next % count);
            if get_u32(cell, shape.status_at) != libc::TP_STATUS_SEND_REQUEST {
                break;
            }
            let len = get_u32(cell, shape.len_at) as usize;
            assert!(shape.zero_at.is_none_or(|at| get_u32(cell, at) == 0), "V3 wants a 0 here");
            self.sent.push(cell[shape.frame_at()..][..len].to_vec());
            let after = if self.slow { libc::TP_STATUS_SENDING } else { 0 };
            put_u32(cell, shape.status_at, after);
            if self.slow {
                self.sending.push(self.next % count);
            }
            self.next += 1;
        }
        if let Some(Answer::Refuse(error)) = answer {
            let cell = cells.as_kernel(self.next % count);
            let asked = get_u32(cell, shape.status_at) == libc::TP_STATUS_SEND_REQUEST;
            if asked && matches!(error, Errno::EINVAL | Errno::EMSGSIZE) {
                put_u32(cell, shape.status_at, libc::TP_STATUS_WRONG_FORMAT);
            }
            return Err(error);
        }
        Ok(())
    }
}

const TX_SLOTS: usize = 8;
const MTU: usize = 600;
const SLOT_LEN: usize = MTU + 18;

/// A transmitter of each kind with its kernel.
fn senders() -> Vec<(Transmitter, Scripted)> {
    let batch = Transmitter::Batch(BatchSender::new(TX_SLOTS, SLOT_LEN, MTU));
    let ring = |shape: SlotShape| {
        let (direction, status_at) = (Direction::Transmit, shape.status_at);
        let layout = Layout { direction, count: TX_SLOTS, stride: 1024, status_at };
        let mut cells = Cells::anonymous(layout);
        if let Some(at) = shape.zero_at {
            (0..TX_SLOTS).for_each(|cell| put_u32(cells.as_kernel(cell), at, 48));
        }
        let sender = Transmitter::Ring(RingSender::new(cells, shape, SLOT_LEN, MTU));
        (sender, Scripted { shape: Some(shape), ..Scripted::default() })
    };
    vec![(batch, Scripted::default()), ring(SlotShape::V2), ring(SlotShape::V3)]
}

fn queue(sender: &mut Transmitter, number: u8) -> bool {
    let Some(slot) = sender.acquire() else { return false };
    let len = 40 + usize::from(number);
    slot[..len].fill(number);
    sender.commit(len);
    true
}

fn numbers(sent: &[Vec<u8>]) -> Vec<u8> {
    for frame in sent {
        assert_eq!(frame.len(), 40 + usize::from(frame[0]));
        assert!(frame.iter().all(|byte| *byte == frame[0]));
    }
    sent.iter().map(|frame| frame[0]).collect()
}

fn flushed(sent: u32, failed: u32, pending: u32) -> Flushed {
    Flushed { sent, failed, pending }
}

#[test]
fn frames_go_out_in_order_with_one_call() {
    for (mut sender, mut kernel) in senders() {
        for round in 0..5 {
            for number in 0..5 {
                assert!(queue(&mut sender, round * 5 + number));
            }
            assert_eq!(sender.flush(&mut kernel).flushed, flushed(5, 0, 0));
        }
        assert_eq!(numbers(&kernel.sent), (0..25).collect::<Vec<_>>());
        assert_eq!(kernel.calls, 5);
        assert_eq!(sender.flush(&mut kernel), Outcome::default());
        assert_eq!(kernel.calls, 5, "nothing to send is no call");
    }
}

#[test]
fn acquiring_twice_lends_the_same_slot() {
    for (mut sender, mut kernel) in senders() {
        sender.acquire().unwrap()[..20].fill(1);
        assert_eq!(sender.acquire().unwrap()[..20], [1; 20]);
        assert_eq!(sender.acquire().unwrap().len(), SLOT_LEN);
        sender.commit(20);
        assert_eq!(sender.flush(&mut kernel).flushed, flushed(1, 0, 0));
        assert_eq!(kernel.sent, [[1; 20]]);
    }
}

#[test]
fn a_commit_of_what_was_not_acquired_or_cannot_be_sent_fails() {
    for (mut sender, mut kernel) in senders() {
        sender.commit(20);
        for (len, ethertype) in [
            (13, 0x0800_u16),
            (MTU + 15, 0x0800),
            (MTU + 19, 0x8100),
            (MTU + 18, 0x88a8),
            (usize::MAX, 0x0800),
        ] {
            sender.acquire().unwrap()[12..14].copy_from_slice(&ethertype.to_be_bytes());
            sender.commit(len);
        }
        assert_eq!(sender.flush(&mut kernel).flushed, flushed(0, 6, 0));
        for (len, ethertype) in [(14, 0x0800_u16), (MTU + 14, 0x0800), (MTU + 18, 0x8100)] {
            sender.acquire().unwrap()[12..14].copy_from_slice(&ethertype.to_be_bytes());
            sender.commit(len);
        }
        assert_eq!(sender.flush(&mut kernel).flushed, flushed(3, 0, 0));
    }
}

#[test]
fn no_slot_is_left_when_all_are_queued_or_being_sent() {
    for (mut sender, mut kernel) in senders() {
        kernel.slow = true;
        for number in 0..TX_SLOTS as u8 {
            assert!(queue(&mut sender, number));
        }
        assert!(!queue(&mut sender, 99));
        assert_eq!(sender.flush(&mut kernel).flushed, flushed(8, 0, 0));
        if let Transmitter::Ring(ring) = &mut sender {
            assert!(ring.cells_mut().count() == TX_SLOTS);
            assert!(sender.acquire().is_none(), "the kernel still sends them all");
        }
        if let Transmitter::Ring(ring) = &mut sender {
            let shape = kernel.shape.unwrap();
            for slot in kernel.sending.drain(..) {
                put_u32(ring.cells_mut().as_kernel(slot), shape.status_at, 0);
            }
        }
        assert!(queue(&mut sender, 9));
        assert_eq!(sender.flush(&mut kernel).flushed, flushed(1, 0, 0));
    }
}

#[test]
fn a_refused_frame_is_given_up_and_the_others_go_on() {
    for error in [Errno::ENOBUFS, Errno::EMSGSIZE, Errno::EINVAL, Errno::EPERM] {
        for (mut sender, mut kernel) in senders() {
            // Away from the ring's start, so that it goes round.
            for number in 0..6 {
                assert!(queue(&mut sender, number));
            }
            sender.flush(&mut kernel);
            kernel.sent.clear();
            for number in 0..6 {
                assert!(queue(&mut sender, number));
            }
            let refuse = Answer::Refuse(error);
            kernel.answers = [refuse, refuse, Answer::Take(2), refuse].into();
            let mut done = sender.flush(&mut kernel).flushed;
            // The ring stops where the script has no room; a batch goes on by itself.
            let rest = sender.flush(&mut kernel).flushed;
            (done.sent, done.failed) = (done.sent + rest.sent, done.failed + rest.failed);
            assert_eq!((done.sent, done.failed), (3, 3), "{error}");
            assert_eq!(numbers(&kernel.sent), [2, 3, 5], "{error}");
            assert!(queue(&mut sender, 7));
            assert_eq!(sender.flush(&mut kernel).flushed, flushed(1, 0, 0));
        }
    }
}

#[test]
fn a_kernel_without_room_leaves_frames_pending() {
    for (mut sender, mut kernel) in senders() {
        for number in 0..6 {
            assert!(queue(&mut sender, number));
        }
        kernel.answers = [Answer::Take(2), Answer::Take(0)].into();
        let first = sender.flush(&mut kernel);
        assert_eq!((first.flushed, first.fault), (flushed(2, 0, 4), None));
        for number in 6..10 {
            assert!(queue(&mut sender, number));
        }
        assert!(!queue(&mut sender, 10));
        kernel.answers.clear();
        assert_eq!(sender.flush(&mut kernel).flushed, flushed(8, 0, 0));
        assert_eq!(numbers(&kernel.sent), (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn a_link_that_is_down_gives_up_all_and_sends_nothing_stale() {
    for (error, fault) in [(Errno::ENETDOWN, LinkFault::Down), (Errno::ENXIO, LinkFault::Gone)] {
        for (mut sender, mut kernel) in senders() {
            for number in 0..6 {
                assert!(queue(&mut sender, number));
            }
            kernel.answers = [Answer::Refuse(error), Answer::Refuse(error)].into();
            let outcome = sender.flush(&mut kernel);
            assert_eq!(outcome, Outcome { flushed: flushed(0, 6, 0), fault: Some(fault) });
            assert_eq!(kernel.calls, 2, "bounded");
            assert!(queue(&mut sender, 7));
            assert_eq!(sender.flush(&mut kernel).flushed, flushed(1, 0, 0));
            assert_eq!(numbers(&kernel.sent), [7]);
        }
    }
}

#[test]
fn an_error_left_over_from_a_flap_costs_no_frame() {
    for (mut sender, mut kernel) in senders() {
        for number in 0..6 {
            assert!(queue(&mut sender, number));
        }
        kernel.answers = [Answer::Refuse(Errno::ENETDOWN)].into();
        let outcome = sender.flush(&mut kernel);
        assert_eq!(outcome, Outcome { flushed: flushed(6, 0, 0), fault: Some(LinkFault::Down) });
    }
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => (0_usize..10).prop_map(Answer::Take),
        1 => Just(Answer::Refuse(Errno::ENOBUFS)),
        1 => Just(Answer::Refuse(Errno::EMSGSIZE)),
        1 => Just(Answer::Refuse(Errno::ENETDOWN)),
    ]
}

proptest! {
    /// Random commits, flushes and answers: frames go out at most once, in order; every frame is
    /// sent, failed or pending; and no more than the slots are pending.
    #[test]
    fn transmit_loses_and_doubles_nothing(
        steps in proptest::collection::vec((0_usize..10, proptest::collection::vec(answers(), 0..4)), 1..60),
        kind in 0_usize..3,
    ) {
        let (mut sender, mut kernel) = senders().swap_remove(kind);
        let (mut committed, mut pending, mut number) = (0_u32, 0_u32, 0_u8);
        let mut total = Flushed::default();
        for (frames, script) in steps {
            for _ in 0..frames {
                let queued = queue(&mut sender, number);
                prop_assert_eq!(queued, (pending as usize) < TX_SLOTS);
                if queued {
                    number = (number + 1) % 200;
                    committed += 1;
                    pending += 1;
                }
            }
            kernel.answers = script.into();
            let done = sender.flush(&mut kernel).flushed;
            prop_assert_eq!(done.sent + done.failed + done.pending, pending);
            pending = done.pending;
            total.sent += done.sent;
            total.failed += done.failed;
        }
        prop_assert_eq!(total.sent + total.failed + pending, committed);
        prop_assert_eq!(kernel.sent.len(), total.sent as usize);
        // In order: the numbers are a subsequence of 0, 1, 2 … 199, 0 ….
        let mut all = (0..200_u8).cycle().take(committed as usize);
        for sent in numbers(&kernel.sent) {
            prop_assert!(all.any(|number| number == sent), "{sent} out of order");
        }
    }
}
