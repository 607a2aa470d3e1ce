//! The maps in memory: the packet path on the host, without a kernel.
//!
//! Array maps answer for every index below their size and hash maps for what was put in, as in the kernel; only
//! half-open flows do not displace each other.

mod family;
mod slots;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
};

use balancer_common::{
    abi::{
        Backend, BackendCounts, BackendId, CLOCK_SHIFT, CpuState, Endpoint, Entered, Flow, FlowCell,
        FlowKey4, FlowKey6, FlowState, HalfOpen, HalfOpenCell, Pace, PortRoles, Ring, Room, ScoreTable,
        Service, ServiceCounts, ServiceId, Settings, Traffic,
    },
    outcome::Outcome,
    packet::{V4, V6},
    steer::Steering,
    tables::{Direction, Tables, spend},
};

use crate::table::{Image, SERVICES, client4, client6};
use family::PerFamily;

/// Endpoints by address and port.
pub type Endpoints = HashMap<SocketAddr, Endpoint>;

/// The maps of one data path.
pub struct Memory {
    image: Image,
    now: Cell<u32>,
    cpu: Cell<CpuState>,
    random: RefCell<fastrand::Rng>,
    /// Nanoseconds, beyond the start of the clock unit.
    nanos: Cell<u64>,
    counts: Vec<Cell<BackendCounts>>,
    service_counts: Vec<Cell<ServiceCounts>>,
    traffic: Vec<Cell<Traffic>>,
    outcomes: RefCell<BTreeMap<(u32, Outcome), u64>>,
    rival: Cell<Option<Entered>>,
    v4: PerFamily<V4>,
    v6: PerFamily<V6>,
}

impl Memory {
    /// Maps that hold `image`, and no flow.
    #[must_use]
    pub fn new(image: Image) -> Self {
        let backends = image.backends.len();
        Self {
            image,
            now: Cell::new(1000),
            cpu: Cell::default(),
            random: RefCell::new(fastrand::Rng::with_seed(1)),
            nanos: Cell::new(0),
            counts: vec![Cell::default(); backends],
            service_counts: vec![Cell::default(); SERVICES as usize],
            traffic: vec![Cell::default(); backends],
            outcomes: RefCell::default(),
            rival: Cell::new(None),
            v4: PerFamily::default(),
            v6: PerFamily::default(),
        }
    }

    /// Forgets all flows and counts, and begins anew with the same image.
    pub fn forget(&mut self) {
        self.now = Cell::new(1000);
        self.cpu = Cell::default();
        self.random = RefCell::new(fastrand::Rng::with_seed(1));
        self.nanos = Cell::new(0);
        self.counts.iter().for_each(|counts| counts.set(BackendCounts::default()));
        self.service_counts.iter().for_each(|counts| counts.set(ServiceCounts::default()));
        self.traffic.iter().for_each(|traffic| traffic.set(Traffic::default()));
        self.outcomes = RefCell::default();
        self.rival = Cell::new(None);
        self.v4 = PerFamily::default();
        self.v6 = PerFamily::default();
    }

    /// Replaces what the agent writes; flows and counters stay.
    pub fn configure(&mut self, image: Image) {
        self.image = image;
    }

    /// Gives memory back that removed entries still take.
    pub fn tidy(&mut self) {
        self.v4.tidy();
        self.v6.tidy();
    }

    /// Lets time pass, in units of the data path's clock.
    pub fn wait(&mut self, units: u32) {
        self.now.set(self.now.get() + units);
    }

    /// Lets budgets fill up for some time, in nanoseconds, and nothing else get older.
    pub fn refill(&mut self, nanos: u64) {
        self.nanos.set(self.nanos.get() + nanos);
    }

    fn nanos(&self) -> u64 {
        (u64::from(self.now.get()) << CLOCK_SHIFT) + self.nanos.get()
    }

    /// Counts of a service.
    #[must_use]
    pub fn service_counts(&self, service: ServiceId) -> ServiceCounts {
        self.service_counts[usize::from(service.0)].get()
    }

    /// Makes another CPU promote the next flow a moment earlier, or be [about to](Entered::Busy).
    pub fn lose_race(&mut self, to: Entered) {
        self.rival.set(Some(to));
    }

    /// Sets the state of the only CPU.
    pub fn set_cpu(&mut self, state: CpuState) {
        self.cpu.set(state);
    }

    /// Flow counts of a backend.
    #[must_use]
    pub fn counts(&self, backend: BackendId) -> BackendCounts {
        self.counts[usize::from(backend.0)].get()
    }

    /// What was forwarded to and from a backend.
    #[must_use]
    pub fn traffic(&self, backend: BackendId) -> Traffic {
        self.traffic[usize::from(backend.0)].get()
    }

    /// Packets by row (0, or 1 + service) and outcome.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<(u32, Outcome), u64> {
        self.outcomes.borrow().clone()
    }

    /// All IPv4 flows.
    #[must_use]
    pub fn flows4(&self) -> Vec<(FlowKey4, Flow)> {
        self.v4.flows.iter(FlowCell::snapshot)
    }

    /// All IPv6 flows.
    #[must_use]
    pub fn flows6(&self) -> Vec<(FlowKey6, Flow)> {
        self.v6.flows.iter(FlowCell::snapshot)
    }

    /// All half-open IPv4 flows.
    #[must_use]
    pub fn half_open4(&self) -> Vec<(FlowKey4, HalfOpen)> {
        self.v4.half_open.iter(HalfOpenCell::snapshot)
    }

    /// All half-open IPv6 flows.
    #[must_use]
    pub fn half_open6(&self) -> Vec<(FlowKey6, HalfOpen)> {
        self.v6.half_open.iter(HalfOpenCell::snapshot)
    }

    /// Gives the place of a half-open IPv4 flow to another.
    pub fn displace4(&mut self, key: &FlowKey4) {
        self.v4.half_open.remove(key);
    }

    /// Puts an IPv4 flow into the table, as if it had always been there.
    pub fn put_flow4(&mut self, key: FlowKey4, flow: Flow) {
        self.v4.flows.put(key, flow.into());
    }

    /// Puts an IPv6 flow into the table, as if it had always been there.
    pub fn put_flow6(&mut self, key: FlowKey6, flow: Flow) {
        self.v6.flows.put(key, flow.into());
    }

    /// Lists the flow of a client and service as one that is to be closed.
    ///
    /// # Panics
    /// When it is not in the table.
    pub fn close(&self, flow: (SocketAddr, u16)) {
        let known = self.flows4().into_iter().find(|(key, _)| client4(*key) == flow);
        if let Some((key, flow)) = known {
            self.v4.closing.borrow_mut().insert(key, flow.state.identity());
            return;
        }
        let known = self.flows6().into_iter().find(|(key, _)| client6(*key) == flow);
        let (key, flow) = known.expect("the flow is in the table");
        self.v6.closing.borrow_mut().insert(key, flow.state.identity());
    }

    /// Flows that are listed as to be closed, by client and service.
    #[must_use]
    pub fn closing(&self) -> BTreeSet<(SocketAddr, u16)> {
        let (v4, v6) = (self.v4.closing.borrow(), self.v6.closing.borrow());
        v4.keys().map(|key| client4(*key)).chain(v6.keys().map(|key| client6(*key))).collect()
    }

    /// Flows whose numbers are known, by client and service.
    #[must_use]
    pub fn shielded(&self) -> BTreeSet<(SocketAddr, u16)> {
        let (v4, v6) = (self.v4.shielded.borrow(), self.v6.shielded.borrow());
        v4.keys().map(|key| client4(*key)).chain(v6.keys().map(|key| client6(*key))).collect()
    }

    /// The active half of the scores (0) or of a service's ring (1 + service).
    fn half(&self, generation: usize) -> usize {
        (self.image.generations[generation] & 1) as usize
    }

    fn change_service(&self, service: ServiceId, change: impl FnOnce(&mut ServiceCounts)) {
        let Some(cell) = self.service_counts.get(usize::from(service.0)) else { return };
        let mut counts = cell.get();
        change(&mut counts);
        cell.set(counts);
    }

    /// Takes one connection from a bucket.
    fn take<C: Copy>(&self, pace: &Pace, cell: &Cell<C>, due: fn(&mut C) -> &mut u64) -> bool {
        let read = || *due(&mut cell.get());
        let swap = |from, to| {
            let mut counts = cell.get();
            let free = *due(&mut counts) == from;
            *due(&mut counts) = if free { to } else { *due(&mut counts) };
            cell.set(counts);
            free
        };
        pace.is_free() || spend(pace, self.nanos(), read, swap)
    }

    fn change_counts(&self, backend: BackendId, change: impl FnOnce(&mut BackendCounts)) {
        let Some(cell) = self.counts.get(usize::from(backend.0)) else { return };
        let mut counts = cell.get();
        change(&mut counts);
        cell.set(counts);
    }
}

impl Steering for Memory {
    fn ring(&self, service: ServiceId) -> Option<&Ring> {
        let rings = self.image.rings.get(usize::from(service.0))?;
        Some(&rings[self.half(1 + usize::from(service.0))])
    }

    fn scores(&self) -> Option<&ScoreTable> {
        Some(&self.image.scores[self.half(0)])
    }

    fn live(&self, backend: BackendId) -> u64 {
        let index = usize::from(backend.0);
        match (self.counts.get(index), self.image.removed.get(index)) {
            (Some(counts), Some(removed)) => counts.get().live(*removed),
            _ => 0,
        }
    }

    fn has_budget(&self, backend: BackendId) -> bool {
        let Some(entry) = self.image.backend_paces.get(usize::from(backend.0)) else { return true };
        let bucket = self.counts.get(usize::from(entry.bucket.0));
        bucket.is_none_or(|counts| entry.pace.admits(counts.get().due, self.nanos()))
    }
}

impl Tables for Memory {
    fn now(&self) -> u32 {
        self.now.get()
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.image.settings)
    }

    fn roles(&self) -> Option<&PortRoles> {
        Some(&self.image.roles)
    }

    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.image.services.get(usize::from(id.0))
    }

    fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.image.backends.get(usize::from(id.0))
    }

    fn with_cpu<R>(&self, f: impl FnOnce(&mut CpuState, u32) -> R) -> Option<R> {
        let mut state = self.cpu.get();
        let result = f(&mut state, 0);
        self.cpu.set(state);
        Some(result)
    }

    fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    fn blur<V: Copy>(&self, value: V) -> V {
        value
    }

    fn transition(&self, flow: &FlowCell, from: FlowState, to: FlowState) -> bool {
        let word = flow.state_word();
        let moved = !from.is_none() && word.get() == from.0;
        if moved {
            word.set(to.0);
        }
        moved
    }

    fn count_opened(&self, service: ServiceId, backend: BackendId) {
        self.change_service(service, |counts| counts.opened += 1);
        self.change_counts(backend, |counts| counts.opened += 1);
    }

    fn count_closed(&self, service: ServiceId, backend: BackendId) {
        self.change_service(service, |counts| counts.closed += 1);
        self.change_counts(backend, |counts| counts.closed += 1);
    }

    fn count_syn(&self, backend: BackendId) {
        self.change_counts(backend, |counts| counts.syns += 1);
    }

    fn count_refused(&self, backend: BackendId) {
        self.change_counts(backend, |counts| counts.refused += 1);
    }

    fn count_answered(&self, backend: BackendId) {
        self.change_counts(backend, |counts| counts.answered += 1);
    }

    fn room(&self, service: ServiceId) -> Room {
        let index = usize::from(service.0);
        match (self.image.service_paces.get(index), self.service_counts.get(index)) {
            (Some(pace), Some(counts)) => pace.room(&counts.get(), self.nanos()),
            _ => Room::Open,
        }
    }

    fn refuses_excess(&self, service: ServiceId) -> bool {
        self.image.service_paces.get(usize::from(service.0)).is_some_and(|pace| pace.refuse != 0)
    }

    fn spend(&self, backend: BackendId) -> bool {
        let Some(entry) = self.image.backend_paces.get(usize::from(backend.0)) else { return true };
        let Some(cell) = self.counts.get(usize::from(entry.bucket.0)) else { return true };
        self.take(&entry.pace, cell, |counts| &mut counts.due)
    }

    fn spend_of_service(&self, service: ServiceId) -> bool {
        let Some(entry) = self.image.service_paces.get(usize::from(service.0)) else { return true };
        let Some(cell) = self.service_counts.get(usize::from(service.0)) else { return true };
        self.take(&entry.pace, cell, |counts| &mut counts.due)
    }

    fn count_outcome(&self, service: ServiceId, outcome: Outcome) {
        let row = u32::from(service.0.wrapping_add(1));
        let row = if row <= SERVICES { row } else { 0 };
        *self.outcomes.borrow_mut().entry((row, outcome)).or_default() += 1;
    }

    fn count_traffic(&self, backend: BackendId, direction: Direction, bytes: usize) {
        let Some(cell) = self.traffic.get(usize::from(backend.0)) else { return };
        let mut traffic = cell.get();
        match direction {
            Direction::Request => {
                traffic.packets_in += 1;
                traffic.bytes_in += bytes as u64;
            }
            Direction::Reply => {
                traffic.packets_out += 1;
                traffic.bytes_out += bytes as u64;
            }
        }
        cell.set(traffic);
    }
}
