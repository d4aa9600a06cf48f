//! The ceiling: a client that keeps a window full through the same rings, without lease logic.

use super::server::Server;
use crate::Sample;
use lessee_benches::mac;
use lessee_benches::reflector::{FRAME, SERVER, at};
use lessee_engine::device::Device;
use lessee_engine::ring::{FilterSpec, PacketRing};
use lessee_engine::wire::dhcp::{ClientId, MessageType, Op, Outgoing};
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::VlanStack;
use lessee_engine::wire::{Link, Transmit, TransmitBody, emit};
use lessee_lab::topology::Wire;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::Instant;

/// Frames between two flushes, as the engine has it.
const BATCH: usize = 64;
const THREAD: &str = "ceiling";
/// Where the template's options lie: 61 behind 53, and in a REQUEST then 50.
const CLIENT_ID: usize = 288;
const REQUESTED: usize = 296;

pub(crate) fn measure(wire: &Wire, server: &Server, leases: u32, window: u32) -> Sample {
    let link = wire.client_link().expect("the veth pair");
    let name = server.thread();
    let client = wire.client.spawn_thread(THREAD, move || {
        let none = FilterSpec { client: false, server: false, arp: false };
        let config = crate::ring_config(link.index, FilterSpec { client: true, ..none }, window);
        let ring = PacketRing::open(&config).unwrap_or_else(|error| panic!("{error}"));
        let mut client = Client { ring, templates: templates(), begun: 0, done: 0, lost: 0 };
        let threads = [THREAD, name];
        let before = threads.map(crate::cpu_of);
        let start = Instant::now();
        client.exchange(leases, window);
        let sample = crate::sample(leases, start.elapsed(), threads, before);
        Sample { repeated: client.lost, ..sample }
    });
    server.go();
    client.expect("a thread").join().expect("the ceiling's client ends well")
}

/// DISCOVER and REQUEST as a lease with the default profile sends them, without a UDP checksum.
fn templates() -> [[u8; FRAME]; 2] {
    [MessageType::Discover, MessageType::Request].map(|kind| {
        let mut message = Outgoing::new(Op::Request, kind, 0, Mac::ZERO);
        message.client_id = ClientId::Mac;
        if kind == MessageType::Request {
            message.requested_address = Some(Ipv4Addr::UNSPECIFIED);
            message.server_id = Some(SERVER);
        }
        message.max_message_size = Some(1472);
        message.parameter_requests = &[1, 121, 3, 33, 6, 12, 15, 119, 26, 28, 42, 51, 58, 59];
        let link = Link { destination: Mac::BROADCAST, source: Mac::ZERO, vlans: VlanStack::NONE };
        let body = TransmitBody::Dhcp {
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            destination: SocketAddrV4::new(Ipv4Addr::BROADCAST, 67),
            message,
        };
        let mut bytes = [0; FRAME];
        assert_eq!(emit(&Transmit { link, body }, &mut bytes), Ok(FRAME));
        bytes[at::UDP_SUM..at::UDP_SUM + 2].fill(0);
        bytes
    })
}

/// What an answer says.
struct Answer {
    ack: bool,
    xid: [u8; 4],
    client: [u8; 6],
    address: [u8; 4],
}

struct Client {
    ring: PacketRing,
    templates: [[u8; FRAME]; 2],
    begun: u32,
    done: u32,
    lost: u64,
}

impl Client {
    fn exchange(&mut self, leases: u32, window: u32) {
        for _ in 0..window.min(leases) {
            self.discover();
        }
        self.ring.flush();
        while self.done < leases {
            let mut frames = 0;
            while frames < BATCH
                && let Some(answer) = self.ring.receive(|frame| read(frame.bytes))
            {
                frames += 1;
                match answer {
                    Some(answer) if answer.ack => {
                        self.done += 1;
                        if self.begun < leases {
                            self.discover();
                        }
                    }
                    Some(answer) => self.request(&answer),
                    None => {}
                }
            }
            if frames > 0 {
                self.ring.flush();
                continue;
            }
            let mut fds = [PollFd::new(self.ring.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(250_u8)).expect("poll") == 0 {
                // All that were in flight are lost.
                let missing = self.begun - self.done;
                self.lost += u64::from(missing);
                self.begun -= missing;
                for _ in 0..missing {
                    self.discover();
                }
                self.ring.flush();
            }
        }
    }

    /// Writes a template with these fields.
    fn send(&mut self, template: usize, xid: [u8; 4], client: [u8; 6], address: [u8; 4]) {
        if self.ring.acquire().is_none() {
            self.ring.flush();
        }
        let slot = self.ring.acquire().and_then(|slot| slot.first_chunk_mut::<FRAME>());
        let Some(out) = slot else { return };
        *out = self.templates[template];
        out[6..12].copy_from_slice(&client);
        out[at::XID..at::XID + 4].copy_from_slice(&xid);
        out[at::CHADDR..at::CHADDR + 6].copy_from_slice(&client);
        out[CLIENT_ID..CLIENT_ID + 6].copy_from_slice(&client);
        if template == 1 {
            out[REQUESTED..REQUESTED + 4].copy_from_slice(&address);
        }
        self.ring.commit(FRAME);
    }

    fn discover(&mut self) {
        let Mac(client) = mac(self.begun);
        self.begun += 1;
        self.send(0, self.begun.to_be_bytes(), client, [0; 4]);
    }

    fn request(&mut self, offer: &Answer) {
        self.send(1, offer.xid, offer.client, offer.address);
    }
}

fn read(frame: &[u8]) -> Option<Answer> {
    let frame = frame.first_chunk::<FRAME>()?;
    Some(Answer {
        ack: frame[at::TYPE] == 5,
        xid: *frame[at::XID..].first_chunk()?,
        client: *frame[at::CHADDR..].first_chunk()?,
        address: *frame[at::YIADDR..].first_chunk()?,
    })
}
