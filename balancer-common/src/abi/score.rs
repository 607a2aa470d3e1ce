//! Scores and rings: what the controller says to the steering decision.

use super::{BackendId, MAX_BACKENDS, RING_SLOTS};

/// Bits of [`Score::flags`]. A backend with any of [`ScoreFlags::CLOSED`] gets no new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreFlags;

impl ScoreFlags {
    /// The backend is in rotation. A zeroed entry is not.
    pub const READY: u32 = 1 << 0;
    /// Drained by the operator or by its own signal.
    pub const DRAIN: u32 = 1 << 1;
    /// Its health checks fail.
    pub const DOWN: u32 = 1 << 2;
    /// An exhaustible resource (memory, descriptors, disk, connections) is nearly used up.
    pub const EXHAUSTED: u32 = 1 << 3;
    /// SYNs steered to it fail.
    pub const EJECTED: u32 = 1 << 4;
    /// Its service has opened: enough backends were ready at once. Says nothing to the steering decision; an agent that
    /// continues finds it here.
    pub const OPENED: u32 = 1 << 5;
    /// What closes a backend to new flows.
    pub const CLOSED: u32 = Self::DRAIN | Self::DOWN | Self::EXHAUSTED | Self::EJECTED;
}

/// Predicted load of one backend: `base + (live - counted) * delta`, lowest wins.
///
/// Fixed point with 32 fractional bits (Q32), because the cost of one connection at a million per backend is about
/// 6e-7.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Utilisation at the last telemetry, Q32 of the backend's capacity.
    pub base: u64,
    /// Cost of one more connection, Q32.
    pub delta: u64,
    /// Live connections that `base` already contains.
    pub counted: u64,
    /// See [`ScoreFlags`].
    pub flags: u32,
    /// Most live connections; 0 is no limit.
    pub cap: u32,
}

impl Score {
    /// One, in Q32.
    pub const ONE: u64 = 1 << 32;

    /// Whether a new flow may be steered to the backend while it has `live` connections.
    #[must_use]
    pub const fn is_open(&self, live: u64) -> bool {
        self.flags & (ScoreFlags::READY | ScoreFlags::CLOSED) == ScoreFlags::READY
            && (self.cap == 0 || live < self.cap as u64)
    }

    /// Predicted load with `live` connections, Q32, never below zero.
    #[must_use]
    pub const fn predict(&self, live: u64) -> u64 {
        if live >= self.counted {
            self.base.saturating_add(cost(live - self.counted, self.delta))
        } else {
            self.base.saturating_sub(cost(self.counted - live, self.delta))
        }
    }
}

/// The cost of some connections, saturating. In halves, because a saturating multiplication needs a 128-bit product,
/// which BPF has no instruction for.
const fn cost(connections: u64, delta: u64) -> u64 {
    if connections > u32::MAX as u64 {
        return if delta == 0 { 0 } else { u64::MAX };
    }
    let whole = (delta >> 32) * connections;
    if whole > u32::MAX as u64 {
        return u64::MAX;
    }
    (whole << 32).saturating_add((delta & u32::MAX as u64) * connections)
}

/// Scores of all backends, by backend id. One half of the `SCORES` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreTable(pub [Score; MAX_BACKENDS]);

impl ScoreTable {
    /// The score of a backend. An id out of range, [`BackendId::NONE`] among them, is masked to one that is in range;
    /// NONE finds the last entry, which no backend is given and which is never ready.
    ///
    /// A mask and no comparison, because the verifier of kernels before 6.13 does not see that a compared number and
    /// the one that indexes are the same.
    #[inline(always)]
    #[must_use]
    pub const fn get(&self, id: BackendId) -> &Score {
        &self.0[id.0 as usize & (MAX_BACKENDS - 1)]
    }
}

/// Weighted Maglev look-up table of one service. One half of its two entries of the `RINGS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring(pub [BackendId; RING_SLOTS]);

const _: () = assert!(MAX_BACKENDS.is_power_of_two(), "an id is masked");
const _: () = assert!(size_of::<Score>() == 32);
const _: () = assert!(size_of::<Ring>() == 131_072);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cost_is_the_saturating_product(connections in 0..=u64::from(u32::MAX), delta in any::<u64>()) {
            prop_assert_eq!(cost(connections, delta), connections.saturating_mul(delta));
        }

        #[test]
        fn prediction_never_wraps(base in any::<u64>(), delta in any::<u64>(), counted in any::<u64>(), live in any::<u64>()) {
            let score = Score { base, delta, counted, ..Score::default() };
            let predicted = score.predict(live);
            if live >= counted { prop_assert!(predicted >= base) } else { prop_assert!(predicted <= base) }
        }
    }
}
