//! When a flow may be forgotten.

use std::time::Duration;

use balancer_common::abi::{Flow, FlowState, clock_from_seconds};

/// Why a flow was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiry {
    /// Both sides are done, or one was reset.
    Closed,
    /// The backend has sent its FIN and nothing came after it.
    HalfClosed,
    /// Nothing came by for the idle timeout.
    Idle,
    /// The table is nearly full, and a RST that may be the client's was followed by silence.
    UnprovenReset,
    /// The client has ended it, or may have, and its backend does not answer anybody.
    Unanswered,
    /// Its backend is no more.
    Purged,
}

impl Expiry {
    /// A name for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfClosed => "half_closed",
            Self::Idle => "idle",
            Self::UnprovenReset => "unproven_reset",
            Self::Unanswered => "unanswered",
            Self::Purged => "purged",
        }
    }
}

/// How long a silent flow is kept, in units of the data path's clock (1.074 s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// An established flow.
    pub idle: u32,
    /// A flow whose backend has sent a FIN.
    pub half_closed: u32,
    /// A flow that is closed.
    pub closing: u32,
}

impl Timeouts {
    /// Rounds up, so that no flow is forgotten early.
    #[must_use]
    pub const fn new(idle: Duration, half_closed: Duration, closing: Duration) -> Self {
        Self { idle: units(idle), half_closed: units(half_closed), closing: units(closing) }
    }

    /// Whether `flow` may be forgotten at `now`, and why.
    ///
    /// A FIN that claims to be the client's shortens nothing: anybody can send one. A RST that claims to be counts only
    /// while the table is `pressed`, and only when nothing [followed](FlowState::ends_unproven) it for as long as a half-closed
    /// flow is kept. While the backend is `down` both count, as nobody is there to answer the client that sent them: flows
    /// that are over must not pass for load when it is back.
    #[must_use]
    pub const fn expiry(&self, flow: &Flow, now: u32, pressed: bool, down: bool) -> Option<Expiry> {
        let silent = silence(flow, now);
        if flow.state.has(FlowState::CLOSED) {
            return if silent >= self.closing { Some(Expiry::Closed) } else { None };
        }
        if flow.state.has(FlowState::FIN_BACKEND) && silent >= self.half_closed {
            return Some(Expiry::HalfClosed);
        }
        if silent >= self.idle {
            return Some(Expiry::Idle);
        }
        if pressed && flow.state.ends_unproven(flow.last_seen) && silent >= self.half_closed {
            return Some(Expiry::UnprovenReset);
        }
        let ended = flow.state.has(FlowState::FIN_CLIENT) || flow.state.ends_unproven(flow.last_seen);
        if down && ended && silent >= self.half_closed {
            return Some(Expiry::Unanswered);
        }
        None
    }
}

/// Time since the last packet. The clock wraps, and a packet may have come after `now` was read.
const fn silence(flow: &Flow, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(flow.last_seen);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

const fn units(duration: Duration) -> u32 {
    let partial = if duration.subsec_nanos() > 0 { 1 } else { 0 };
    clock_from_seconds(duration.as_secs().saturating_add(partial))
}
