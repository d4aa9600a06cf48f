//! One port's share of the client: its queues, pacing and counters.

use super::ArpAnswers;
use crate::command::PortView;
use crate::counters::{Counters, Latencies};
use crate::device::DeviceStatistics;
use crate::lease::{LeaseId, PortId};
use crate::pace::{Class, Pacer, Pacing};
use crate::time::Instant;
use std::collections::VecDeque;

/// Leases that were answered only after asking for a broadcast before all leases of a port ask for
/// one. dnsmasq, for instance, puts each client that it unicasts to into its kernel's neighbour
/// table, which by default ends at 1,024 entries: answers to further clients are lost.
const DOUBTS: u32 = 8;

/// What the client needs to know of a port.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// Its name, for people.
    pub name: String,
    /// The link's MTU in bytes: at least 576 (RFC 791: what every host must take).
    pub mtu: u16,
    /// Frames sent to a lease's own MAC reach the port: it is promiscuous, or its link does not
    /// filter. If not, broadcast answers are asked for.
    pub unicast_arrives: bool,
    /// How fast to send.
    pub pacing: Pacing,
    /// Keep latency histograms, about 400 KiB.
    pub latencies: bool,
}

impl PortSpec {
    /// A port that receives every frame of its link, with the default pacing.
    #[must_use]
    pub fn new(name: impl Into<String>, mtu: u16) -> Self {
        Self {
            name: name.into(),
            mtu,
            unicast_arrives: true,
            pacing: Pacing::default(),
            latencies: false,
        }
    }
}

/// A port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) id: PortId,
    pub(super) spec: PortSpec,
    pub(super) pacer: Pacer,
    /// Leases with something to send, by class; each lease in at most one.
    pub(super) ready: [VecDeque<LeaseId>; Class::ALL.len()],
    pub(super) answers: ArpAnswers,
    pub(super) counters: Counters,
    pub(super) latencies: Option<Box<Latencies>>,
    pub(super) leases: u32,
    pub(super) bound: u32,
    /// Leases that are over once a RELEASE is sent, or an ACK has come and been answered so.
    pub(super) leaving: u32,
    /// Frames that the device still holds.
    pub(super) pending: u32,
    /// Leases that were answered only after they had asked for a broadcast.
    pub(super) doubts: u32,
}

impl Port {
    pub(super) fn new(id: PortId, spec: PortSpec, now: Instant) -> Self {
        Self {
            id,
            pacer: Pacer::new(spec.pacing, now),
            ready: Default::default(),
            answers: ArpAnswers::default(),
            counters: Counters::default(),
            latencies: if spec.latencies { Latencies::new() } else { None },
            leases: 0,
            bound: 0,
            leaving: 0,
            pending: 0,
            doubts: 0,
            spec,
        }
    }

    /// Notes that a lease was answered only after it had repeated itself, asking for a broadcast.
    pub(super) fn doubt_unicast(&mut self) {
        self.doubts = self.doubts.saturating_add(1);
        if self.doubts >= DOUBTS {
            self.spec.unicast_arrives = false;
        }
    }

    pub(super) fn view(&self, device: DeviceStatistics) -> PortView {
        PortView {
            port: self.id,
            leases: self.leases,
            bound: self.bound,
            in_flight: self.pacer.in_flight(),
            window: self.pacer.window(),
            counters: self.counters.clone(),
            device,
            latencies: self.latencies.clone(),
        }
    }
}
