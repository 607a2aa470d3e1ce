//! The agent's clock: `CLOCK_MONOTONIC`, as a [`Moment`].

use std::sync::LazyLock;
use std::time::Instant;

use balancer_control::Moment;
use jiff::Timestamp;

use crate::history::Stamp;

/// The epoch: when the agent first asked for the time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time.
pub(super) fn now() -> Moment {
    Moment(START.elapsed())
}

/// The time by both clocks: this one, and the one on the wall.
pub(super) fn stamp() -> Stamp {
    Stamp { up: now().0, wall: Timestamp::now().as_millisecond() }
}
