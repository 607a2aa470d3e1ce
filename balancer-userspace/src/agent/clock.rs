//! The agent's clock: `CLOCK_MONOTONIC`, as a [`Moment`].

use std::sync::LazyLock;
use std::time::Instant;

use balancer_control::Moment;

/// The epoch: when the agent first asked for the time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time.
pub(super) fn now() -> Moment {
    Moment(START.elapsed())
}
