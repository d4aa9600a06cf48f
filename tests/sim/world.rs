//! A run: clients, servers and the network between them, on one clock that jumps to whatever
//! happens next.

use crate::check::{Checked, Checker, Lease, Rule, Violation};
use crate::coverage::{Coverage, Mark};
use crate::device::Port;
use crate::dice::Dice;
use crate::hosts::{Host, Machine, fail};
use crate::network::{Kind, Network, Node, Weather, What};
use crate::sabotage::{Outgoing, Sabotage};
use crate::scenario::Scenario;
use lessee_engine::client::Client;
use lessee_engine::lease::{Profile, Terms};
use lessee_engine::time::Instant;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::Domain;
use lessee_lab::embedded::Server;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The virtual clock's start, by which no deadline can lie before boot.
const START: u64 = 1_000_000_000_000;
/// RFC 2131 gives a lease that waits for a repetition up to 65 s; after NAKs up to 300 s.
const HEALS: Duration = Duration::from_secs(300 + 2 * 65);
/// What each lease may take in addition, where the window is down to one exchange.
const HEALS_EACH: Duration = Duration::from_millis(50);

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) leases: u64,
    pub(crate) delivered: u64,
    pub(crate) virtual_nanos: u64,
    pub(crate) hash: u64,
    pub(crate) coverage: Coverage,
}

/// A run that broke a rule.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) at: u64,
    pub(crate) violation: Violation,
    pub(crate) trace: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Violation { rule, lease, text } = &self.violation;
        let at = Instant::from_nanos(self.at);
        writeln!(f, "seed {}, virtual time {at:?}, lease {lease:?}: {rule:?}: {text}", self.seed)?;
        self.trace.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        write!(f, "once more: make sim SEED={}", self.seed)
    }
}

/// A run while it goes on.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) dice: Dice,
    pub(crate) plan: Scenario,
    pub(crate) network: Network,
    pub(crate) hosts: Vec<Host>,
    pub(crate) servers: Vec<Machine>,
    pub(crate) check: Checker,
    pub(crate) profile: Arc<Profile>,
    /// The present lease of each person.
    pub(crate) leases: Vec<Option<u32>>,
    pub(crate) sabotage: Sabotage,
    pub(crate) healed: bool,
    pub(crate) step: u64,
    pub(crate) touched: Vec<(u32, Option<Terms>)>,
    pub(crate) frames: Vec<Outgoing>,
    pub(crate) replayed: Option<(Instant, Outgoing)>,
    pub(crate) slot: Vec<u8>,
}

/// Runs a seed; after a failure once more, to see what the lease concerned went through.
pub(crate) fn run(seed: u64, sabotage: Sabotage) -> Result<Report, Box<Failure>> {
    let once = |watched| {
        let mut world = World::new(seed, sabotage, watched);
        let outcome = world.live();
        (outcome, world)
    };
    let (outcome, world) = once(None);
    let Err(violation) = outcome else { return Ok(world.report()) };
    let at = world.now;
    let trace = violation.lease.map(|lease| once(Some(lease)).1);
    let trace = trace.iter().flat_map(|world| world.check.trace()).cloned().collect();
    Err(Box::new(Failure { seed, at, violation, trace }))
}

impl World {
    fn new(seed: u64, sabotage: Sabotage, watched: Option<u32>) -> Self {
        let mut dice = Dice::new(seed);
        let mut plan = Scenario::draw(&mut dice);
        if sabotage == Sabotage::SharePool {
            let mut twin = plan.servers[0].clone();
            twin.1.address = [10, twin.0, 0, 20].into();
            twin.1.mac = Mac([2, 0x53, 10, twin.0, 0, 20]);
            plan.servers.push(twin);
        }
        let now = Instant::from_nanos(START);
        let mut nodes = Vec::new();
        let mut hosts = Vec::new();
        for (number, segments) in plan.clients.iter().enumerate() {
            hosts.push(host(number as u8, segments, &plan, &mut nodes, &mut dice, now));
        }
        let mut servers = Vec::new();
        for (segment, spec) in &plan.servers {
            let (node, mac) = (nodes.len() as u8, spec.mac);
            nodes.push(node_of(Kind::Server(servers.len() as u8), *segment, Some(mac)));
            // The scenario draws no server that could not be.
            let Ok(server) = Server::new(spec.clone(), dice.next()) else { continue };
            let segment = *segment;
            servers.push(Machine { server, node, segment, down: false, heard: 0, said: 0 });
        }
        let check = Checker::new(hosts.len(), watched, now);
        let profile = Arc::new(plan.profile.clone());
        let network = Network::new(nodes, Dice::new(dice.next()));
        Self {
            now: START,
            leases: vec![None; plan.people.len()],
            dice,
            plan,
            network,
            hosts,
            servers,
            check,
            profile,
            sabotage,
            healed: false,
            step: 0,
            touched: Vec::new(),
            frames: Vec::new(),
            replayed: None,
            slot: vec![0; 2048],
        }
    }

    /// Trouble, then peace.
    fn live(&mut self) -> Checked {
        self.describe();
        self.begin();
        let end = START + self.plan.horizon;
        while self.network.delivered < self.plan.budget && self.advance(end)? {}
        self.heal()?;
        let each = HEALS_EACH * self.plan.people.len() as u32;
        let end = self.now + (HEALS + each).as_nanos() as u64;
        // The first second is still full of what was under way.
        let soon = self.now + 1_000_000_000;
        while (self.now < soon || !self.all_bound()) && self.advance(end)? {}
        self.verify_healed()?;
        self.compare()
    }

    /// Goes on to whatever happens next; false: nothing does before `end`.
    pub(crate) fn advance(&mut self, end: u64) -> Result<bool, Violation> {
        let now = self.now;
        let hosts = self.hosts.iter().filter_map(|host| host.wake(now));
        let up = self.servers.iter().filter(|server| !server.down);
        let servers = up.filter_map(|up| up.server.poll_timeout()).map(Instant::as_nanos);
        let next = hosts.chain(servers).chain(self.network.agenda.next()).min();
        let Some(next) = next.filter(|next| *next < end) else {
            self.now = end;
            return Ok(false);
        };
        self.now = next.max(now);
        for (place, host) in self.hosts.iter().enumerate() {
            self.check.tick(place as u8, host.clock(self.now));
        }
        while let Some(what) = self.network.agenda.take(self.now) {
            self.happen(what)?;
        }
        let instant = Instant::from_nanos(self.now);
        for place in 0..self.servers.len() {
            let machine = &self.servers[place];
            let due = machine.server.poll_timeout().is_some_and(|at| at <= instant);
            if due && !machine.down {
                self.serve(place as u8)?;
            }
        }
        for place in 0..self.hosts.len() {
            if self.hosts[place].wake(self.now) == Some(self.now) {
                self.turn(place as u8)?;
            }
        }
        Ok(true)
    }

    fn happen(&mut self, what: What) -> Checked {
        match what {
            What::Arrive(node, packet) => {
                self.network.delivered += 1;
                match self.network.nodes[usize::from(node)].kind {
                    Kind::Server(place) => self.arrive_at_server(place, &packet)?,
                    Kind::Port { client, port } => {
                        if packet.forged {
                            self.excuse_forged(node, &packet);
                        }
                        let device = &mut self.hosts[usize::from(client)].ports[usize::from(port)];
                        if !device.arrive(Rc::clone(&packet)) {
                            self.check.coverage.mark(Mark::ReceiveRingFull);
                        }
                    }
                }
                Ok(())
            }
            What::Fault => self.fault(),
            What::Mend(mend) => self.mend(mend),
            What::Command => self.command(),
            What::Stranger(node) => self.stranger(node),
            What::Read(client) => {
                let host = &self.hosts[usize::from(client)];
                if host.suspended { Ok(()) } else { self.read(client) }
            }
            What::Check => {
                self.compare()?;
                self.later(self.plan.horizon / 3, What::Check);
                Ok(())
            }
        }
    }

    /// So many nanoseconds from now.
    pub(crate) fn later(&mut self, wait: u64, what: What) {
        self.network.agenda.add(self.now + wait, what);
    }

    /// All leases that should be are bound.
    fn all_bound(&self) -> bool {
        let live = self.leases.iter().flatten().map(|lease| &self.check.leases[*lease as usize]);
        live.filter(|lease| lease.wants_address()).all(|lease| lease.was_bound)
    }

    fn verify_healed(&mut self) -> Checked {
        if self.plan.scarce {
            return Ok(());
        }
        let waits = |lease: &Lease| lease.wants_address() && !lease.was_bound;
        match self.leases.iter().flatten().find(|at| waits(&self.check.leases[**at as usize])) {
            Some(lease) => {
                let text = "not bound in time although the network has healed".to_owned();
                Err(Violation { rule: Rule::Heals, lease: Some(*lease), text })
            }
            None => {
                self.check.coverage.mark(Mark::Settled);
                Ok(())
            }
        }
    }

    /// Counters, tables, views and servers, against the model.
    pub(crate) fn compare(&mut self) -> Checked {
        for place in 0..self.hosts.len() {
            if !self.hosts[place].suspended {
                self.compare_client(place)?;
            }
        }
        for machine in &self.servers {
            if machine.said > 8 * machine.heard {
                let text = format!("a server said {} to {}", machine.said, machine.heard);
                return fail(Rule::Bounded, text);
            }
        }
        self.compare_servers()
    }

    fn compare_client(&mut self, place: usize) -> Checked {
        let host = &mut self.hosts[place];
        let now = host.clock(self.now);
        let views = host.client.ports(&mut host.ports);
        let (leases, living) = (host.client.leases(), self.check.living(place));
        if leases != living {
            return fail(Rule::Books, format!("{leases} leases in the table, not {living}"));
        }
        for (port, view) in views.iter().enumerate() {
            let mut bound = 0;
            for lease in 0..self.check.leases.len() as u32 {
                let home = self.check.leases[lease as usize].home;
                if (usize::from(home.client), usize::from(home.port)) == (place, port) {
                    self.look(lease, now)?;
                    bound += u32::from(self.check.leases[lease as usize].terms.is_some());
                }
            }
            let device = &self.hosts[place].ports[port];
            let counters = &view.counters;
            let told = (counters.frames_received, counters.frames_sent, counters.frames_failed);
            let true_ones = (device.received, device.sent, device.failed);
            if view.bound != bound || told != true_ones {
                let text = format!("{view:?}, but {bound} are bound, and frames: {true_ones:?}");
                return fail(Rule::Books, text);
            }
        }
        Ok(())
    }

    /// Each lease is in the books of the server that granted it, and ends there no sooner.
    fn compare_servers(&self) -> Checked {
        let now = Instant::from_nanos(self.now);
        for machine in &self.servers {
            let spec = machine.server.spec();
            let pool = spec.first..=spec.last;
            let book = machine.server.leases(now);
            let book: std::collections::HashMap<_, _> = book
                .iter()
                .map(|entry| ((entry.address, entry.domain, entry.mac), entry))
                .collect();
            for (place, lease) in self.check.leases.iter().enumerate() {
                let ahead = self.hosts[usize::from(lease.home.client)].ahead;
                let theirs = Instant::from_nanos(self.now + ahead);
                let Some(terms) = lease.terms.filter(|_| lease.holds(theirs)) else { continue };
                let here = lease.home.segment == machine.segment && pool.contains(&terms.address);
                if !here || self.check.is_excused(machine.segment, terms.address) {
                    continue;
                }
                let entry = book.get(&(terms.address, lease.home.domain, lease.home.mac));
                let end =
                    entry.map(|entry| entry.expiry.map(|at| at + Duration::from_nanos(ahead)));
                let agrees = match (end, crate::check::end_of(&terms)) {
                    (None, _) | (Some(Some(_)), None) => false,
                    (Some(None), _) => true,
                    (Some(Some(theirs)), Some(ours)) => ours <= theirs,
                };
                if !agrees {
                    let text = format!("{terms:?} is in the server's books as {entry:?}");
                    let lease = Some(place as u32);
                    return Err(Violation { rule: Rule::Books, lease, text });
                }
            }
        }
        Ok(())
    }

    /// True if whoever has this MAC on this VLAN has a lease that was not ended.
    pub(crate) fn person_has_lease(&self, mac: Mac, domain: Option<Domain>) -> bool {
        let node = self.network.nodes.get(usize::from(mac.0[2]));
        let Some(Kind::Port { client, port }) = node.map(|node| node.kind) else { return false };
        let lease = domain.and_then(|domain| self.check.by_mac(client, port, domain, mac));
        lease.is_some_and(|lease| self.check.leases[lease as usize].end.is_none())
    }

    fn report(self) -> Report {
        let mut coverage = self.check.coverage;
        for machine in &self.servers {
            let told = machine.server.counters().iter();
            for (name, count) in told.filter(|(name, _)| name.starts_with("misbehaved")) {
                coverage.misbehaved(name, count);
            }
        }
        Report {
            leases: self.check.leases.len() as u64,
            delivered: self.network.delivered,
            virtual_nanos: self.now - START,
            hash: self.network.hash,
            coverage,
        }
    }
}

fn node_of(kind: Kind, segment: u8, mac: Option<Mac>) -> Node {
    Node { kind, segment, weather: Weather::CLEAR, isolated: false, mac }
}

fn host(
    number: u8,
    segments: &[u8],
    plan: &Scenario,
    nodes: &mut Vec<Node>,
    dice: &mut Dice,
    now: Instant,
) -> Host {
    let mut word = || dice.next() as u32;
    let mut client = Client::new([word(), word(), word(), word(), word()], now);
    let mut host_nodes = Vec::new();
    let mut ports = Vec::new();
    for (port, segment) in segments.iter().enumerate() {
        host_nodes.push(nodes.len() as u8);
        nodes.push(node_of(Kind::Port { client: number, port: port as u16 }, *segment, None));
        client.add_port(plan.port.clone(), now);
        ports.push(Port::new(plan.strips, Dice::new(dice.next())));
    }
    Host {
        client,
        ports,
        nodes: host_nodes,
        ahead: 0,
        suspended: false,
        next: None,
        poked: true,
        slow: false,
    }
}
