//! The maps behind the packet path's traits.
//!
//! Map values are shared with other CPUs and with the agent. What the program writes to shared values are atomics;
//! what it only reads is written by the agent into an idle half, or may be read half-written without harm: the agent
//! changes such entries only in an order in which no packet needs them.
#![expect(unsafe_code, reason = "helpers and map values are reached by pointer")]

mod families;

use core::ptr;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_get_prandom_u32, bpf_get_smp_processor_id},
    programs::XdpContext,
};
use balancer_common::{
    abi::{
        Backend, BackendCounts, BackendId, CpuState, FlowCell, FlowState, PortRoles, Ring, Room, ScoreTable,
        Service, ServiceCounts, ServiceId, Settings,
    },
    outcome::Outcome,
    steer::Steering,
    tables::{Direction, Tables},
};

use crate::{
    atomic,
    budget::call as budget,
    clock,
    maps::{
        BACKENDS, BLUR, COUNTS, CPU_STATE, GENERATIONS, OUTCOMES, PORTS, REMOVED, RINGS, SCORES,
        SERVICE_COUNTS, SERVICE_PACES, SERVICES, SETTINGS, TRAFFIC,
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
        clock::now()
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
        !from.is_none() && atomic::compare_and_swap(flow.state_word(), from.0, to.0)
    }

    #[inline(always)]
    fn count_opened(&self, service: ServiceId, backend: BackendId) {
        // SAFETY: the pointer is to a map value; only the address of a word of it is taken.
        count(backend, |counts| unsafe { &raw const (*counts).opened });
        count_of_service(service, |counts| unsafe { &raw const (*counts).opened });
    }

    #[inline(always)]
    fn count_closed(&self, service: ServiceId, backend: BackendId) {
        // SAFETY: the pointer is to a map value; only the address of a word of it is taken.
        count(backend, |counts| unsafe { &raw const (*counts).closed });
        count_of_service(service, |counts| unsafe { &raw const (*counts).closed });
    }

    #[inline(always)]
    fn count_syn(&self, backend: BackendId) {
        // SAFETY: the pointer is to a map value; only the address of a word of it is taken.
        count(backend, |counts| unsafe { &raw const (*counts).syns });
    }

    #[inline(always)]
    fn count_refused(&self, backend: BackendId) {
        // SAFETY: the pointer is to a map value; only the address of a word of it is taken.
        count(backend, |counts| unsafe { &raw const (*counts).refused });
    }

    #[inline(always)]
    fn count_answered(&self, backend: BackendId) {
        // SAFETY: the pointer is to a map value; only the address of a word of it is taken.
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
