//! What time it is.
#![expect(unsafe_code, reason = "helpers, a map value by pointer, and a function that is found by name")]

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use balancer_common::abi::clock_from_nanos;

use crate::maps::TICK;

/// Nanoseconds of `CLOCK_MONOTONIC`, a scheduler tick old at most.
#[inline(always)]
pub(crate) fn nanos() -> u64 {
    // SAFETY: the helper takes no argument. The coarse clock is read without touching the hardware timer.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The data path's clock. It is read once in each tick of the scheduler: the number of ticks takes no call (Linux 5.6,
/// commit 5576b991e9c1), and a call costs more than all else that is done with the time where the CPU's returns are guarded.
///
/// As the kernel counts a tick before it moves its clock, this one is two ticks old at most.
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: the helper takes no argument.
    let tick = unsafe { bpf_jiffies64() } as u32;
    // SAFETY: the pointer is to a map value, an aligned word. Volatile, so that both halves are of the same time.
    match TICK.get_ptr(0).map(|word| unsafe { word.read_volatile() }) {
        Some(word) if (word >> 32) as u32 == tick => word as u32,
        _ => clock_at(tick),
    }
}

/// Reads the clock and notes it for the packets of the same tick. A global function, for the reasons of [`crate::half_open`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn clock_at(tick: u32) -> u32 {
    let now = clock_from_nanos(nanos());
    if let Some(word) = TICK.get_ptr_mut(0) {
        // SAFETY: as above. Whichever CPU's store comes last has read the same clock, or that of a tick before.
        unsafe { word.write_volatile(u64::from(tick) << 32 | u64::from(now)) };
    }
    now
}
