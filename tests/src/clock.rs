//! The clock that the program reads.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn nanos() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock can be read");
    u64::try_from(now.tv_sec() * 1_000_000_000 + now.tv_nsec()).expect("it is after the boot")
}
