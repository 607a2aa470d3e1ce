//! The maps of either address family.

use core::{mem, ptr};

use aya_ebpf::{
    bindings::{BPF_ANY, bpf_fib_lookup as FibLookup},
    helpers::bpf_fib_lookup,
    maps::{Array, HashMap},
};
use balancer_common::{
    abi::{
        COOKIE_LIFE, Endpoint, Endpoint4, Endpoint6, Entered, Flow, FlowCell, FlowKey4, FlowKey6, FlowState,
        HalfOpen, HalfOpenCell, HalfOpenEntry, Hop, ServiceId, Settings, Shielded, VlanTags,
        flow_table::OwnerKey,
    },
    packet::{Family, V4, V6},
    path::Packet,
    tables::{FamilyTables, Route},
};

use super::Maps;
use crate::{
    cookie::call as cookie,
    flow_table::{call as flow_table, in_use},
    half_open::call as half_open,
    maps::{
        CLOSING4, CLOSING6, DEVICES, ENDPOINTS4, ENDPOINTS6, HALF_OPEN4, HALF_OPEN6, PORT_BACKENDS,
        PORT_SERVICES, SCRATCH, SETTINGS, SHIELDED4, SHIELDED6, Scratch, TABLE_USE,
    },
};

/// What differs between the families' maps.
trait FamilyMaps: Family<Key: OwnerKey> {
    type EndpointKey: 'static;
    const ENDPOINTS: &'static HashMap<Self::EndpointKey, Endpoint>;
    const HALF_OPEN: &'static Array<HalfOpenEntry<Self::Key>>;
    const CLOSING: &'static HashMap<Self::Key, u64>;
    const SHIELDED: &'static HashMap<Self::Key, Shielded>;
    /// Index in `TABLE_USE` and in the tables by port, and of the family's part of `HALF_OPEN_TAGS`.
    const TABLE: u32;

    fn endpoint_key(addr: Self::Addr, port: [u8; 2]) -> Self::EndpointKey;
    fn high(settings: &Settings) -> u32;
    fn fill(fib: &mut FibLookup, source: Self::Addr, destination: Self::Addr);
    fn cookie(isn: u32, mss: u16) -> Option<u32>;
    fn is_cookie(isn: u32, cookie: u32) -> bool;
}

impl FamilyMaps for V4 {
    type EndpointKey = Endpoint4;
    const ENDPOINTS: &'static HashMap<Endpoint4, Endpoint> = &ENDPOINTS4;
    const HALF_OPEN: &'static Array<HalfOpenEntry<FlowKey4>> = &HALF_OPEN4;
    const CLOSING: &'static HashMap<FlowKey4, u64> = &CLOSING4;
    const SHIELDED: &'static HashMap<FlowKey4, Shielded> = &SHIELDED4;
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

    #[inline(always)]
    fn cookie(isn: u32, mss: u16) -> Option<u32> {
        cookie::make4(isn, mss)
    }

    #[inline(always)]
    fn is_cookie(isn: u32, cookie: u32) -> bool {
        cookie::check4(isn, cookie)
    }
}

impl FamilyMaps for V6 {
    type EndpointKey = Endpoint6;
    const ENDPOINTS: &'static HashMap<Endpoint6, Endpoint> = &ENDPOINTS6;
    const HALF_OPEN: &'static Array<HalfOpenEntry<FlowKey6>> = &HALF_OPEN6;
    const CLOSING: &'static HashMap<FlowKey6, u64> = &CLOSING6;
    const SHIELDED: &'static HashMap<FlowKey6, Shielded> = &SHIELDED6;
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

    #[inline(always)]
    fn cookie(isn: u32, mss: u16) -> Option<u32> {
        cookie::make6(isn, mss)
    }

    #[inline(always)]
    fn is_cookie(isn: u32, cookie: u32) -> bool {
        cookie::check6(isn, cookie)
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
    fn port_service(&self, port: [u8; 2]) -> Option<ServiceId> {
        PORT_SERVICES.get(F::TABLE)?.of(port)
    }

    #[inline(always)]
    fn port_backends(&self, port: [u8; 2]) -> Option<ServiceId> {
        PORT_BACKENDS.get(F::TABLE)?.of(port)
    }

    #[inline(always)]
    fn endpoint(&self, addr: F::Addr, port: [u8; 2]) -> Option<&Endpoint> {
        // SAFETY: the agent never reuses the slot of a removed endpoint while packets need it, and a torn entry
        // could at worst misdirect the one packet that races with its removal.
        unsafe { F::ENDPOINTS.get(F::endpoint_key(addr, port)) }
    }

    #[inline(always)]
    fn flow(&self, key: &F::Key) -> Option<&FlowCell> {
        Some(&flow_table::search(F::TABLE, hash(key)?, &key.owner())?.flow)
    }

    #[inline(always)]
    fn likely_flow(&self, key: &F::Key) -> Option<&FlowCell> {
        let settings = SETTINGS.get(0)?;
        Some(&flow_table::likely(F::TABLE, settings, key.hash_by(settings.flow_key), &key.owner())?.flow)
    }

    #[inline(always)]
    fn enter(&self, key: &F::Key, flow: &Flow) -> Entered {
        let Some(hash) = hash(key) else { return Entered::Full };
        flow_table::enter(F::TABLE, hash, &key.owner(), flow)
    }

    #[inline(always)]
    fn half_open(&self, key: &F::Key) -> Option<&HalfOpenCell> {
        let entry = F::HALF_OPEN.get_ptr(half_open::find(F::TABLE, key.to_words())?)?;
        // SAFETY: the pointer is to a map value, and a HalfOpenCell has the layout of a HalfOpen, with atomics where it is
        // written in place. Another CPU may give the entry to another connection meanwhile: both are then at worst steered
        // by a mixture of the two, for the few nanoseconds in which packets of both are handled.
        Some(unsafe { &*(&raw const (*entry).half).cast::<HalfOpenCell>() })
    }

    #[inline(always)]
    fn put_half_open(&self, key: &F::Key, half: &HalfOpen) {
        // Other CPUs want the same way: the client's SYN comes again.
        let Some(index) = half_open::claim(F::TABLE, key.to_words()) else { return };
        let Some(entry) = F::HALF_OPEN.get_ptr_mut(index) else { return };
        // SAFETY: the pointer is to a map value; who reads it meanwhile, see above.
        unsafe { (&raw mut (*entry).half).write(*half) };
    }

    #[inline(always)]
    fn remove_half_open(&self, key: &F::Key) {
        half_open::release(F::TABLE, key.to_words());
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
    fn shielded(&self, key: &F::Key) -> Option<Shielded> {
        // SAFETY: the program writes an entry before a flow needs it, and the agent removes it after the flow. One that is
        // replaced meanwhile belongs to a flow that has ended.
        unsafe { F::SHIELDED.get(key) }.copied()
    }

    #[inline(always)]
    fn put_shielded(&self, key: &F::Key, numbers: &Shielded) -> bool {
        F::SHIELDED.insert(key, numbers, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn remove_shielded(&self, key: &F::Key) {
        // The agent may have been faster.
        let _gone = F::SHIELDED.remove(key);
    }

    #[inline(always)]
    fn cookie(&self, _: &Packet<F>, isn: u32, mss: u16) -> Option<u32> {
        F::cookie(isn, mss)
    }

    #[inline(always)]
    fn is_cookie(&self, _: &Packet<F>, isn: u32, cookie: u32) -> bool {
        F::is_cookie(isn, cookie)
    }

    #[inline(always)]
    fn cookie_sent(&self, now: u32) {
        let Some(table) = TABLE_USE.get_ptr_mut(F::TABLE) else { return };
        let until = u64::from(now) + u64::from(COOKIE_LIFE);
        // SAFETY: one aligned word; whichever CPU's store comes last differs by a clock unit at most.
        unsafe {
            if (*table).cookies_until != until {
                (*table).cookies_until = until;
            }
        }
    }

    #[inline(always)]
    fn awaits_cookies(&self, now: u32) -> bool {
        TABLE_USE.get(F::TABLE).is_some_and(|table| u64::from(now) < table.cookies_until)
    }

    #[inline(always)]
    fn is_crowded(&self) -> bool {
        let (Some(in_use), Some(settings)) = (in_use(F::TABLE), SETTINGS.get(0)) else { return false };
        in_use >= i64::from(F::high(settings))
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

/// What a flow is found by.
#[inline(always)]
fn hash(key: &impl OwnerKey) -> Option<u64> {
    Some(key.hash_by(SETTINGS.get(0)?.flow_key))
}

/// For the stack, where the verifier wants merged stores to be aligned.
#[repr(align(8))]
struct Aligned<T>(T);

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
