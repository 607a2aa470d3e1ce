//! The maps of one address family.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher as _},
    net::{IpAddr, SocketAddr},
};

use balancer_common::{
    abi::{
        COOKIE_LIFE, Endpoint, Entered, Flow, FlowCell, FlowState, HalfOpen, HalfOpenCell, ServiceId,
        Settings, Shielded, TableUse,
    },
    packet::{Family, V4, V6},
    path::Packet,
    tables::{FamilyTables, Route, Tables as _},
};

use super::{Memory, slots::Slots};
use crate::table::{FLOWS, route};

/// The maps of one address family.
pub(super) struct PerFamily<F: Family> {
    pub(super) flows: Slots<F::Key, FlowCell>,
    pub(super) half_open: Slots<F::Key, HalfOpenCell>,
    pub(super) closing: RefCell<HashMap<F::Key, u64>>,
    pub(super) shielded: RefCell<HashMap<F::Key, Shielded>>,
    pub(super) table: Cell<TableUse>,
    pub(super) parked: Cell<Option<Packet<F>>>,
}

impl<F: Family> Default for PerFamily<F> {
    fn default() -> Self {
        Self {
            flows: Slots::default(),
            half_open: Slots::default(),
            closing: RefCell::default(),
            shielded: RefCell::default(),
            table: Cell::default(),
            parked: Cell::new(None),
        }
    }
}

impl<F: Family> PerFamily<F>
where
    F::Key: Eq + Hash,
{
    pub(super) fn tidy(&mut self) {
        self.flows.tidy(|flow| flow.snapshot().into());
        self.half_open.tidy(|half| half.snapshot().into());
    }
}

/// What differs between the families.
trait Side: Family<Addr: Hash, Key: Eq + Hash> {
    /// Index in the tables by port.
    const INDEX: usize;
    fn of(memory: &Memory) -> &PerFamily<Self>;
    fn socket(addr: Self::Addr, port: [u8; 2]) -> SocketAddr;
    fn high(settings: &Settings) -> u32;
}

impl Side for V4 {
    const INDEX: usize = 0;

    fn of(memory: &Memory) -> &PerFamily<Self> {
        &memory.v4
    }

    fn socket(addr: [u8; 4], port: [u8; 2]) -> SocketAddr {
        SocketAddr::new(IpAddr::from(addr), u16::from_be_bytes(port))
    }

    fn high(settings: &Settings) -> u32 {
        settings.flows4_high
    }
}

impl Side for V6 {
    const INDEX: usize = 1;

    fn of(memory: &Memory) -> &PerFamily<Self> {
        &memory.v6
    }

    fn socket(addr: [u8; 16], port: [u8; 2]) -> SocketAddr {
        SocketAddr::new(IpAddr::from(addr), u16::from_be_bytes(port))
    }

    fn high(settings: &Settings) -> u32 {
        settings.flows6_high
    }
}

impl<F: Side> FamilyTables<F> for Memory {
    fn park(&self, packet: &Packet<F>) {
        F::of(self).parked.set(Some(*packet));
    }

    fn with_parked<R>(&self, f: impl FnOnce(&Packet<F>) -> R) -> Option<R> {
        F::of(self).parked.get().map(|packet| f(&packet))
    }

    fn port_service(&self, port: [u8; 2]) -> Option<ServiceId> {
        self.image.port_services[F::INDEX].of(port)
    }

    fn port_backends(&self, port: [u8; 2]) -> Option<ServiceId> {
        self.image.port_backends[F::INDEX].of(port)
    }

    fn endpoint(&self, addr: F::Addr, port: [u8; 2]) -> Option<&Endpoint> {
        self.image.endpoints.get(&F::socket(addr, port))
    }

    fn flow(&self, key: &F::Key) -> Option<&FlowCell> {
        F::of(self).flows.get(key)
    }

    fn enter(&self, key: &F::Key, flow: &Flow) -> Entered {
        let side = F::of(self);
        if side.flows.get(key).is_some() {
            return Entered::Known;
        }
        if side.flows.len() >= FLOWS as usize {
            return Entered::Full;
        }
        let entered = self.rival.take().unwrap_or(Entered::New);
        if entered != Entered::Busy {
            side.flows.put(*key, (*flow).into());
        }
        entered
    }

    fn half_open(&self, key: &F::Key) -> Option<&HalfOpenCell> {
        F::of(self).half_open.get(key)
    }

    fn put_half_open(&self, key: &F::Key, half: &HalfOpen) {
        F::of(self).half_open.put(*key, (*half).into());
    }

    fn remove_half_open(&self, key: &F::Key) {
        F::of(self).half_open.remove(key);
    }

    fn is_closing(&self, key: &F::Key, flow: FlowState) -> bool {
        F::of(self).closing.borrow().get(key) == Some(&flow.identity())
    }

    fn closed(&self, key: &F::Key) {
        F::of(self).closing.borrow_mut().remove(key);
    }

    fn shielded(&self, key: &F::Key) -> Option<Shielded> {
        F::of(self).shielded.borrow().get(key).copied()
    }

    fn put_shielded(&self, key: &F::Key, numbers: &Shielded) -> bool {
        let mut shielded = F::of(self).shielded.borrow_mut();
        let room = shielded.contains_key(key) || shielded.len() < FLOWS as usize;
        if room {
            shielded.insert(*key, *numbers);
        }
        room
    }

    fn remove_shielded(&self, key: &F::Key) {
        F::of(self).shielded.borrow_mut().remove(key);
    }

    fn cookie(&self, packet: &Packet<F>, isn: u32, mss: u16) -> Option<u32> {
        let sizes = F::COOKIE_SEGMENTS.iter().take_while(|size| **size <= mss).count();
        Some(number(packet, isn, minute(self.now())).wrapping_add(sizes.saturating_sub(1) as u32))
    }

    fn is_cookie(&self, packet: &Packet<F>, isn: u32, cookie: u32) -> bool {
        let minute = minute(self.now());
        [minute, minute - 1].into_iter().any(|minute| cookie.wrapping_sub(number(packet, isn, minute)) < 4)
    }

    fn cookie_sent(&self, now: u32) {
        let cell = &F::of(self).table;
        cell.set(TableUse { cookies_until: u64::from(now) + u64::from(COOKIE_LIFE), ..cell.get() });
    }

    fn awaits_cookies(&self, now: u32) -> bool {
        u64::from(now) < F::of(self).table.get().cookies_until
    }

    fn is_crowded(&self) -> bool {
        F::of(self).flows.len() as u64 >= u64::from(F::high(&self.image.settings))
    }

    fn is_adopting(&self, now: u32) -> bool {
        u64::from(now) < F::of(self).table.get().adopt_until
    }

    fn adopt_from(&self, now: u32) {
        let cell = &F::of(self).table;
        let adopt_until = u64::from(now) + u64::from(self.image.settings.adopt_for);
        cell.set(TableUse { adopt_until, ..cell.get() });
    }

    fn route(&self, _: F::Addr, destination: F::Addr) -> Route {
        route(F::socket(destination, [0; 2]).ip())
    }
}

/// The clock units that the cookies of a minute are made in.
const fn minute(now: u32) -> u32 {
    now / 56
}

/// The first of the four cookies of a minute, a sum as the kernel's: the same in every run, and hard to guess.
fn number<F: Side>(packet: &Packet<F>, isn: u32, minute: u32) -> u32 {
    let (ip, segment) = (&packet.ip, &packet.segment);
    let ends = (ip.source, segment.source, ip.destination, segment.destination);
    let mut hasher = DefaultHasher::new();
    (ends, minute).hash(&mut hasher);
    (hasher.finish() as u32).wrapping_add(isn)
}
