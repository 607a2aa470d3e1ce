//! Budgets of new connections and caps of services.
//!
//! These are global functions: numbers in, a number out, so that the verifier looks at each once and not once for every
//! path that leads to it. As static ones, looked at for each of some fifty candidates, they alone took it more than
//! 400,000 instructions.
#![expect(unsafe_code, reason = "functions that are exported by name, and words of map values by pointer")]

use core::cell::Cell;

use balancer_common::{abi::Pace, tables::spend};

use crate::{
    atomic,
    clock::nanos,
    maps::{BACKEND_PACES, COUNTS, SERVICE_COUNTS, SERVICE_PACES},
};

/// Whether a backend's budget has a connection left; 1 is yes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn backend_has_budget(backend: u32) -> u32 {
    let Some(entry) = BACKEND_PACES.get(backend) else { return 1 };
    if entry.pace.is_free() {
        return 1;
    }
    let Some(counts) = COUNTS.get(u32::from(entry.bucket.0)) else { return 1 };
    u32::from(entry.pace.admits(counts.due, nanos()))
}

/// Takes one connection from the budget of a backend that has one; 0 when none is left.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn backend_spend(backend: u32) -> u32 {
    let Some(entry) = BACKEND_PACES.get(backend) else { return 1 };
    let Some(counts) = COUNTS.get_ptr(u32::from(entry.bucket.0)) else { return 1 };
    // SAFETY: the pointer is to a map value; only the address of a word of it is taken.
    u32::from(take(&entry.pace, unsafe { &raw const (*counts).due }))
}

/// What a service with limits has for one more connection: [`balancer_common::abi::Room`] as a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_room(service: u32) -> u32 {
    // A service that the maps have no room for has no limits either.
    let (Some(pace), Some(counts)) = (SERVICE_PACES.get(service), SERVICE_COUNTS.get(service)) else {
        return 0;
    };
    pace.room(counts, nanos()) as u32
}

/// Takes one connection from the budget of a service that has one; 0 when none is left.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_spend(service: u32) -> u32 {
    let Some(entry) = SERVICE_PACES.get(service) else { return 1 };
    let Some(counts) = SERVICE_COUNTS.get_ptr(service) else { return 1 };
    // SAFETY: as above.
    u32::from(take(&entry.pace, unsafe { &raw const (*counts).due }))
}

/// Takes one connection from a bucket. The pointer must be to an aligned word of a map value.
#[inline(always)]
fn take(pace: &Pace, due: *const u64) -> bool {
    // SAFETY: the word is in a map value, which outlives the run of the program, and every writer is atomic.
    let word = unsafe { &*due.cast::<Cell<u64>>() };
    spend(pace, nanos(), || word.get(), |from, to| atomic::compare_and_swap(word, from, to))
}

/// The functions as the packet path calls them: not at all where there is no limit, as for most. The budget of a candidate
/// is the exception, for there are up to fifty.
pub(crate) mod call {
    use balancer_common::abi::{BackendId, Room, ServiceId, ServicePace};

    use crate::maps::{BACKEND_PACES, SERVICE_PACES};

    /// See [`super::backend_has_budget`].
    #[inline(always)]
    pub(crate) fn has_budget(backend: BackendId) -> bool {
        super::backend_has_budget(u32::from(backend.0)) != 0
    }

    /// See [`super::backend_spend`].
    #[inline(always)]
    pub(crate) fn spend(backend: BackendId) -> bool {
        let backend = u32::from(backend.0);
        let is_free = BACKEND_PACES.get(backend).is_none_or(|entry| entry.pace.is_free());
        is_free || super::backend_spend(backend) != 0
    }

    /// See [`super::service_room`].
    #[inline(always)]
    pub(crate) fn room(service: ServiceId) -> Room {
        let service = u32::from(service.0);
        if SERVICE_PACES.get(service).is_none_or(ServicePace::is_free) {
            return Room::Open;
        }
        match super::service_room(service) {
            0 => Room::Open,
            1 => Room::Full,
            _ => Room::Spent,
        }
    }

    /// See [`super::service_spend`].
    #[inline(always)]
    pub(crate) fn spend_of_service(service: ServiceId) -> bool {
        let service = u32::from(service.0);
        let is_free = SERVICE_PACES.get(service).is_none_or(|entry| entry.pace.is_free());
        is_free || super::service_spend(service) != 0
    }
}
