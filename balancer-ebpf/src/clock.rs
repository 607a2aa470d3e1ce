//! The time.
#![expect(unsafe_code, reason = "helpers, and a word that all CPUs write")]

use core::sync::atomic::AtomicU64;

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use balancer_common::abi::clock_from_nanos;

/// The data path's clock (lower half), and the tick of the scheduler in which it was read.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// The data path's clock.
///
/// It is read once in each tick and kept with the tick's number: that one is a load, where reading the clock is a call of
/// a helper.
#[inline(never)]
pub(crate) fn now() -> u32 {
    // SAFETY: the helper takes no argument.
    let tick = unsafe { bpf_jiffies64() } << 32;
    // SAFETY: one aligned word, as below.
    let kept = unsafe { KEPT.as_ptr().read_volatile() };
    if (kept ^ tick) >> 32 == 0 {
        return kept as u32;
    }
    let now = clock_from_nanos(nanos());
    // SAFETY: one aligned word; what other CPUs write meanwhile is of the same tick, or of the next. An atomic store would
    // be the same instruction, but is not known to LLVM for BPF.
    unsafe { KEPT.as_ptr().write_volatile(tick | u64::from(now)) };
    now
}

/// Nanoseconds of `CLOCK_MONOTONIC`, a tick old at most.
#[inline(always)]
pub(crate) fn nanos() -> u64 {
    // SAFETY: the helper takes no argument. The coarse clock is read without touching the hardware timer.
    unsafe { bpf_ktime_get_coarse_ns() }
}
