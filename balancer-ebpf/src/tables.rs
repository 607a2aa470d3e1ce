//! The maps behind the packet path's traits.
//!
//! Map values are shared with other CPUs and with the agent. What the program writes to shared values are atomics;
//! what it only reads is written by the agent into an idle half, or may be read half-written without harm: the agent
//! changes such entries only in an order in which no packet needs them.
#![expect(unsafe_code, reason = "helpers and map values are reached by pointer")]

use core::{mem, ptr};

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_EXIST, BPF_NOEXIST, bpf_fib_lookup as FibLookup, xdp_md},
    helpers::{bpf_fib_lookup, bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns},
    maps::{HashMap, LruHashMap},
    programs::XdpContext,
};
use balancer_common::{
    abi::{
        Backend, BackendCounts, BackendId, CpuState, Endpoint, Endpoint4, Endpoint6, Flow, FlowCell,
        FlowKey4, FlowKey6, FlowState, HalfOpen, HalfOpenCell, Hop, PortRoles, Ring, Room, ScoreTable,
        Service, ServiceCounts, ServiceId, Settings, VlanTags, clock_from_nanos,
    },
    outcome::Outcome,
    packet::{Family, V4, V6},
    path::Packet,
    steer::Steering,
    tables::{Direction, FamilyTables, Route, Tables},
};

use crate::{
    atomic,
    budget::call as budget,
    maps::{
        BACKENDS, BLUR, CLOSING4, CLOSING6, COUNTS, CPU_STATE, DEVICES, ENDPOINTS4, ENDPOINTS6, FLOWS4,
        FLOWS6, GENERATIONS, HALF_OPEN4, HALF_OPEN6, OUTCOMES, PORTS, REMOVED, RINGS, SCORES, SCRATCH,
        SERVICE_COUNTS, SERVICE_PACES, SERVICES, SETTINGS, Scratch, TABLE_REMOVED, TABLE_USE, TRAFFIC,
    },
};

/// The maps, as one run of the program sees them.
pub(crate) struct Maps {
    context: *mut xdp_md,
}

impl Maps {
    pub(crate) const fn new(context: &XdpContext) -> Self {
        Self { context: context.ctx }
    }
}

impl Steering for Maps {
    #[inline(always)]
    fn ring(&self, service: ServiceId) -> Option<&Ring> {
        let generation = GENERATIONS.get(1 + u32::from(service.0))?;
        RINGS.get(2 * u32::from(service.0) + (generation & 1))
    }

    #[inline(always)]
    fn scores(&self) -> Option<&ScoreTable> {
        SCORES.get(GENERATIONS.get(0)? & 1)
    }

    #[inline(always)]
    fn live(&self, backend: BackendId) -> u64 {
        let index = u32::from(backend.0);
        match (COUNTS.get(index), REMOVED.get(index)) {
            (Some(counts), Some(removed)) => counts.live(*removed),
            _ => 0,
        }
    }

    #[inline(always)]
    fn has_budget(&self, backend: BackendId) -> bool {
        budget::has_budget(backend)
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn now(&self) -> u32 {
        clock_from_nanos(nanos())
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn roles(&self) -> Option<&PortRoles> {
        PORTS.get(0)
    }

    #[inline(always)]
    fn service(&self, id: ServiceId) -> Option<&Service> {
        SERVICES.get(u32::from(id.0))
    }

    #[inline(always)]
    fn backend(&self, id: BackendId) -> Option<&Backend> {
        BACKENDS.get(u32::from(id.0))
    }

    #[inline(always)]
    fn with_cpu<R>(&self, f: impl FnOnce(&mut CpuState, u32) -> R) -> Option<R> {
        let state = CPU_STATE.get_ptr_mut(0)?;
        // SAFETY: the value is this CPU's own, and XDP programs do not interrupt each other on one CPU.
        Some(f(unsafe { &mut *state }, unsafe { bpf_get_smp_processor_id() }))
    }

    #[inline(always)]
    fn random(&self) -> u64 {
        // SAFETY: the helper takes no argument.
        let word = || u64::from(unsafe { bpf_get_prandom_u32() });
        word() << 32 | word()
    }

    #[inline(always)]
    fn blur<V: Copy>(&self, value: V) -> V {
        const { assert!(size_of::<V>() <= size_of::<u64>() && align_of::<V>() <= 8) };
        let Some(place) = BLUR.get_ptr_mut(0) else { return value };
        let mut word = 0_u64;
        // SAFETY: the value is this CPU's own. A `V` is no larger than a word and no more aligned, and what comes back
        // is what was put in. Volatile, because the compiler must not see through it either.
        unsafe {
            ptr::from_mut(&mut word).cast::<V>().write(value);
            place.write_volatile(word);
            word = place.read_volatile();
            ptr::from_ref(&word).cast::<V>().read()
        }
    }

    #[inline(always)]
    fn transition(&self, flow: &FlowCell, from: FlowState, to: FlowState) -> bool {
        atomic::compare_and_swap(flow.state_word(), from.0, to.0)
    }

    #[inline(always)]
    fn count_opened(&self, service: ServiceId, backend: BackendId) {
        count(backend, |counts| unsafe { &raw const (*counts).opened });
        count_of_service(service, |counts| unsafe { &raw const (*counts).opened });
    }

    #[inline(always)]
    fn count_closed(&self, service: ServiceId, backend: BackendId) {
        count(backend, |counts| unsafe { &raw const (*counts).closed });
        count_of_service(service, |counts| unsafe { &raw const (*counts).closed });
    }

    #[inline(always)]
    fn count_syn(&self, backend: BackendId) {
        count(backend, |counts| unsafe { &raw const (*counts).syns });
    }

    #[inline(always)]
    fn count_refused(&self, backend: BackendId) {
        count(backend, |counts| unsafe { &raw const (*counts).refused });
    }

    #[inline(always)]
    fn count_answered(&self, backend: BackendId) {
        count(backend, |counts| unsafe { &raw const (*counts).answered });
    }

    #[inline(always)]
    fn room(&self, service: ServiceId) -> Room {
        budget::room(service)
    }

    #[inline(always)]
    fn refuses_excess(&self, service: ServiceId) -> bool {
        SERVICE_PACES.get(u32::from(service.0)).is_some_and(|pace| pace.refuse != 0)
    }

    #[inline(always)]
    fn spend(&self, backend: BackendId) -> bool {
        budget::spend(backend)
    }

    #[inline(always)]
    fn spend_of_service(&self, service: ServiceId) -> bool {
        budget::spend_of_service(service)
    }

    #[inline(always)]
    fn count_outcome(&self, service: ServiceId, outcome: Outcome) {
        // ServiceId::NONE wraps to row 0.
        let row = u32::from(service.0.wrapping_add(1));
        let packets = OUTCOMES
            .get_ptr_mut(row * Outcome::COUNT as u32 + outcome as u32)
            // A service that the maps have no room for: counted with the packets of none.
            .or_else(|| OUTCOMES.get_ptr_mut(outcome as u32));
        if let Some(packets) = packets {
            // SAFETY: the value is this CPU's own.
            unsafe { *packets += 1 };
        }
    }

    #[inline(always)]
    fn count_traffic(&self, backend: BackendId, direction: Direction, bytes: usize) {
        let Some(traffic) = TRAFFIC.get_ptr_mut(u32::from(backend.0)) else { return };
        // SAFETY: the value is this CPU's own.
        let traffic = unsafe { &mut *traffic };
        let bytes = bytes as u64;
        match direction {
            Direction::Request => {
                traffic.packets_in += 1;
                traffic.bytes_in += bytes;
            }
            Direction::Reply => {
                traffic.packets_out += 1;
                traffic.bytes_out += bytes;
            }
        }
    }
}

/// What differs between the families' maps.
trait FamilyMaps: Family {
    type EndpointKey: 'static;
    const ENDPOINTS: &'static HashMap<Self::EndpointKey, Endpoint>;
    const FLOWS: &'static HashMap<Self::Key, Flow>;
    const HALF_OPEN: &'static LruHashMap<Self::Key, HalfOpen>;
    const CLOSING: &'static HashMap<Self::Key, u64>;
    /// Index in `TABLE_USE`.
    const TABLE: u32;

    fn endpoint_key(addr: Self::Addr, port: [u8; 2]) -> Self::EndpointKey;
    fn high(settings: &Settings) -> u32;
    fn fill(fib: &mut FibLookup, source: Self::Addr, destination: Self::Addr);
}

impl FamilyMaps for V4 {
    type EndpointKey = Endpoint4;
    const ENDPOINTS: &'static HashMap<Endpoint4, Endpoint> = &ENDPOINTS4;
    const FLOWS: &'static HashMap<FlowKey4, Flow> = &FLOWS4;
    const HALF_OPEN: &'static LruHashMap<FlowKey4, HalfOpen> = &HALF_OPEN4;
    const CLOSING: &'static HashMap<FlowKey4, u64> = &CLOSING4;
    const TABLE: u32 = 0;

    #[inline(always)]
    fn endpoint_key(addr: [u8; 4], port: [u8; 2]) -> Endpoint4 {
        Endpoint4 { addr, port, reserved: [0; 2] }
    }

    #[inline(always)]
    fn high(settings: &Settings) -> u32 {
        settings.flows4_high
    }

    #[inline(always)]
    fn fill(fib: &mut FibLookup, source: [u8; 4], destination: [u8; 4]) {
        /// `AF_INET`.
        const INET: u8 = 2;
        fib.family = INET;
        fib.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(source);
        fib.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(destination);
    }
}

impl FamilyMaps for V6 {
    type EndpointKey = Endpoint6;
    const ENDPOINTS: &'static HashMap<Endpoint6, Endpoint> = &ENDPOINTS6;
    const FLOWS: &'static HashMap<FlowKey6, Flow> = &FLOWS6;
    const HALF_OPEN: &'static LruHashMap<FlowKey6, HalfOpen> = &HALF_OPEN6;
    const CLOSING: &'static HashMap<FlowKey6, u64> = &CLOSING6;
    const TABLE: u32 = 1;

    #[inline(always)]
    fn endpoint_key(addr: [u8; 16], port: [u8; 2]) -> Endpoint6 {
        Endpoint6 { addr, port, reserved: [0; 6] }
    }

    #[inline(always)]
    fn high(settings: &Settings) -> u32 {
        settings.flows6_high
    }

    #[inline(always)]
    fn fill(fib: &mut FibLookup, source: [u8; 16], destination: [u8; 16]) {
        /// `AF_INET6`.
        const INET6: u8 = 10;
        fib.family = INET6;
        fib.__bindgen_anon_3.ipv6_src = words(source);
        fib.__bindgen_anon_4.ipv6_dst = words(destination);
    }
}

impl<F: FamilyMaps> FamilyTables<F> for Maps {
    #[inline(always)]
    fn park(&self, packet: &Packet<F>) {
        const { assert!(size_of::<Packet<F>>() <= size_of::<Scratch>() && align_of::<Packet<F>>() <= 8) };
        if let Some(place) = SCRATCH.get_ptr_mut(0) {
            // SAFETY: the value is this CPU's own, large and aligned enough.
            unsafe { place.cast::<Packet<F>>().write(*packet) };
        }
    }

    #[inline(always)]
    fn with_parked<R>(&self, f: impl FnOnce(&Packet<F>) -> R) -> Option<R> {
        let place = SCRATCH.get_ptr_mut(0)?.cast::<Packet<F>>();
        // SAFETY: as above; `park` has written it, and no other packet is handled on this CPU until this run ends.
        Some(f(unsafe { &*place }))
    }

    #[inline(always)]
    fn endpoint(&self, addr: F::Addr, port: [u8; 2]) -> Option<&Endpoint> {
        // SAFETY: the agent never reuses the slot of a removed endpoint while packets need it, and a torn entry
        // could at worst misdirect the one packet that races with its removal.
        unsafe { F::ENDPOINTS.get(F::endpoint_key(addr, port)) }
    }

    #[inline(always)]
    fn flow(&self, key: &F::Key) -> Option<&FlowCell> {
        let flow = F::FLOWS.get_ptr(key)?;
        // SAFETY: a FlowCell has the layout of a Flow, with atomics where it is written in place.
        Some(unsafe { &*flow.cast::<FlowCell>() })
    }

    #[inline(always)]
    fn insert_flow(&self, key: &F::Key, flow: &Flow) -> bool {
        if F::FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)).is_err() {
            return false;
        }
        if let Some(table) = TABLE_USE.get_ptr(F::TABLE) {
            // SAFETY: the pointer is to a map value; only its address is taken.
            atomic::increment(unsafe { &raw const (*table).inserted });
        }
        true
    }

    #[inline(always)]
    fn replace_flow(&self, key: &F::Key, flow: &Flow) {
        // Fails only when the agent has just removed the entry; the flow is adopted or reset at its next packet.
        let _gone = F::FLOWS.insert(key, flow, u64::from(BPF_EXIST));
    }

    #[inline(always)]
    fn half_open(&self, key: &F::Key) -> Option<&HalfOpenCell> {
        let half = F::HALF_OPEN.get_ptr(key)?;
        // SAFETY: a HalfOpenCell has the layout of a HalfOpen, with atomics where it is written in place.
        Some(unsafe { &*half.cast::<HalfOpenCell>() })
    }

    #[inline(always)]
    fn put_half_open(&self, key: &F::Key, half: &HalfOpen) {
        // An LRU makes room by itself; when it cannot, the client's SYN comes again.
        let _full = F::HALF_OPEN.insert(key, half, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn remove_half_open(&self, key: &F::Key) {
        // Evicted already: nothing is left to remove.
        let _gone = F::HALF_OPEN.remove(key);
    }

    #[inline(always)]
    fn is_closing(&self, key: &F::Key, flow: FlowState) -> bool {
        // SAFETY: the agent removes an entry before it lists another flow; a torn one would match no flow.
        unsafe { F::CLOSING.get(key) }.is_some_and(|identity| *identity == flow.identity())
    }

    #[inline(always)]
    fn closed(&self, key: &F::Key) {
        // Not there when all flows of a dead backend are closed.
        let _unlisted = F::CLOSING.remove(key);
    }

    #[inline(always)]
    fn is_crowded(&self) -> bool {
        let (Some(used), Some(removed), Some(settings)) =
            (TABLE_USE.get(F::TABLE), TABLE_REMOVED.get(F::TABLE), SETTINGS.get(0))
        else {
            return false;
        };
        used.inserted.saturating_sub(*removed) >= u64::from(F::high(settings))
    }

    #[inline(always)]
    fn is_adopting(&self, now: u32) -> bool {
        TABLE_USE.get(F::TABLE).is_some_and(|table| u64::from(now) < table.adopt_until)
    }

    #[inline(always)]
    fn adopt_from(&self, now: u32) {
        let (Some(table), Some(settings)) = (TABLE_USE.get_ptr_mut(F::TABLE), SETTINGS.get(0)) else {
            return;
        };
        let until = u64::from(now) + u64::from(settings.adopt_for);
        // SAFETY: one aligned word; whichever CPU's store comes last differs by a clock unit at most.
        unsafe {
            if (*table).adopt_until != until {
                (*table).adopt_until = until;
            }
        }
    }

    #[inline(always)]
    fn route(&self, source: F::Addr, destination: F::Addr) -> Route {
        const SUCCESS: i64 = 0;
        const NOT_FWDED: i64 = 4;
        // SAFETY: all fields are integers.
        let mut aligned: Aligned<FibLookup> = unsafe { mem::zeroed() };
        let fib = &mut aligned.0;
        F::fill(fib, source, destination);
        // SAFETY: the context is the program's own.
        fib.ifindex = unsafe { (*self.context).ingress_ifindex };
        let size = size_of::<FibLookup>() as i32;
        // SAFETY: the context and the parameters are valid, and `size` is that of the parameters.
        let found = unsafe { bpf_fib_lookup(self.context.cast(), ptr::from_mut(fib), size, 0) };
        match found {
            // A device that cannot be redirected to, a VLAN device for one, is the stack's.
            SUCCESS if DEVICES.get_ifindex(fib.ifindex).is_some() => Route::Hop(Hop {
                ifindex: fib.ifindex,
                neighbour: fib.dmac,
                own: fib.smac,
                vlan: VlanTags::NONE,
                reserved: 0,
            }),
            NOT_FWDED => Route::Local,
            _ => Route::Stack,
        }
    }
}

/// For the stack, where the verifier wants merged stores to be aligned.
#[repr(align(8))]
struct Aligned<T>(T);

#[inline(always)]
fn count(backend: BackendId, field: impl FnOnce(*const BackendCounts) -> *const u64) {
    if let Some(counts) = COUNTS.get_ptr(u32::from(backend.0)) {
        atomic::increment(field(counts));
    }
}

#[inline(always)]
fn count_of_service(service: ServiceId, field: impl FnOnce(*const ServiceCounts) -> *const u64) {
    if let Some(counts) = SERVICE_COUNTS.get_ptr(u32::from(service.0)) {
        atomic::increment(field(counts));
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, a scheduler tick old at most.
#[inline(always)]
pub(crate) fn nanos() -> u64 {
    // SAFETY: the helper takes no argument. The coarse clock is read without touching the hardware timer.
    unsafe { bpf_ktime_get_coarse_ns() }
}

#[inline(always)]
const fn words(addr: [u8; 16]) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = addr;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}
