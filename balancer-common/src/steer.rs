//! Choosing the backend of a new flow.
//!
//! Slow things are in the ring (capacity), fast things in the score (predicted load). A few candidates are drawn
//! from the ring and the one with the lowest score wins. Whatever the scores say, a backend with a share `p` of the
//! ring gets at most `1 - (1 - p)^d` of the new flows.

use crate::abi::{
    BackendId, CpuState, Draw, MAX_BACKENDS, MAX_DRAWS, MAX_STANDBY, RING_SLOTS, Ring, ScoreFlags,
    ScoreTable, Service, ServiceId,
};

pub mod hash;

/// Slots walked from the first draw when every candidate is closed. The controller takes backends that stay closed
/// out of the ring, so a longer walk would only serve its first seconds.
pub const WALK: u16 = 32;

/// What the decision is made from.
pub trait Steering {
    /// The active ring of a service.
    fn ring(&self, service: ServiceId) -> Option<&Ring>;

    /// The active scores.
    fn scores(&self) -> Option<&ScoreTable>;

    /// Live connections of a backend.
    fn live(&self, backend: BackendId) -> u64;

    /// Whether a backend's budget has a connection left for the moment.
    fn has_budget(&self, backend: BackendId) -> bool;
}

/// One candidate and what was known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Why it was looked at.
    pub stage: Stage,
    /// The ring slot, or the standby position.
    pub slot: u16,
    /// The backend found there.
    pub backend: BackendId,
    /// Its live connections.
    pub live: u64,
    /// Its predicted load, Q32.
    pub predicted: u64,
    /// Whether it takes new flows.
    pub open: bool,
    /// Whether it would take them, had it not used up its budget of new connections for the moment.
    pub spent: bool,
}

/// Why a candidate was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Drawn from the ring.
    Draw,
    /// Next in the ring, because all drawn ones were closed.
    Walk,
    /// A standby, because the ring had none.
    Standby,
}

/// The backend of a new flow; `None` when nobody takes it. Every candidate looked at is shown to `note`.
#[inline(always)]
pub fn choose<S: Steering + ?Sized>(
    steering: &S,
    id: ServiceId,
    service: &Service,
    draws: u8,
    hash: u64,
    mut note: impl FnMut(Candidate),
) -> Option<BackendId> {
    let scores = steering.scores()?;
    let ring = steering.ring(id)?;
    let mut look = |stage, slot, backend| {
        let candidate = look(steering, scores, stage, slot, backend)?;
        note(candidate);
        candidate.open.then_some((candidate.predicted, backend))
    };

    let mut best: Option<(u64, BackendId)> = None;
    for draw in 0..MAX_DRAWS {
        if draw >= draws {
            break;
        }
        let slot = (hash >> (16 * u32::from(draw))) as u16;
        if let Some(found) = look(Stage::Draw, slot, slot_of(ring, slot))
            && best.is_none_or(|best| found.0 < best.0)
        {
            best = Some(found);
        }
    }
    if let Some((_, backend)) = best {
        return Some(backend);
    }
    for step in 1..=WALK {
        let slot = (hash as u16).wrapping_add(step);
        if let Some((_, backend)) = look(Stage::Walk, slot, slot_of(ring, slot)) {
            return Some(backend);
        }
    }
    let n = usize::from(service.n_standby).min(MAX_STANDBY);
    for position in 0..MAX_STANDBY {
        if position >= n {
            break;
        }
        if let Some((_, backend)) = look(Stage::Standby, position as u16, service.standby[position]) {
            return Some(backend);
        }
    }
    None
}

/// The 64 bits that a new flow draws its candidates with.
#[inline(always)]
#[must_use]
pub fn draw_bits(draw: Draw, hash: u64, cursor: impl FnOnce() -> u64, random: impl FnOnce() -> u64) -> u64 {
    match draw {
        Draw::Hash => hash,
        Draw::Counter => cursor(),
        Draw::Random => random(),
    }
}

/// The backend of a flow that leaves no state: by the ring alone, so that every packet of the flow finds the same one.
///
/// Only backends that cannot serve at all are passed over. A drain or a cap would move the flow while it lives.
#[inline(always)]
pub fn by_ring<S: Steering + ?Sized>(steering: &S, id: ServiceId, hash: u64) -> Option<BackendId> {
    let scores = steering.scores()?;
    let ring = steering.ring(id)?;
    for step in 0..=WALK {
        let backend = slot_of(ring, (hash as u16).wrapping_add(step));
        if scores.get(backend).flags & (ScoreFlags::READY | ScoreFlags::DOWN) == ScoreFlags::READY {
            return Some(backend);
        }
    }
    None
}

/// The next position of a round robin. CPUs start far apart, or all would begin with the same backend.
#[inline(always)]
#[must_use]
pub const fn advance(state: &mut CpuState, cpu: u32) -> u64 {
    let cursor = state.cursor;
    state.cursor = cursor.wrapping_add(1);
    // 2^16 divided by the golden ratio spreads any number of starting points evenly.
    cursor.wrapping_add((cpu as u64).wrapping_mul(40_503))
}

#[inline(always)]
fn look<S: Steering + ?Sized>(
    steering: &S,
    scores: &ScoreTable,
    stage: Stage,
    slot: u16,
    backend: BackendId,
) -> Option<Candidate> {
    if backend == BackendId::NONE {
        return None;
    }
    let score = scores.get(backend);
    let live = steering.live(backend);
    let takes = score.is_open(live);
    let open = takes && steering.has_budget(backend);
    Some(Candidate {
        stage,
        slot,
        backend,
        live,
        predicted: score.predict(live),
        open,
        spent: takes && !open,
    })
}

#[inline(always)]
fn slot_of(ring: &Ring, slot: u16) -> BackendId {
    ring.0[usize::from(slot)]
}

const _: () = assert!(RING_SLOTS == 1 << 16, "a slot is any u16");
const _: () = assert!(MAX_BACKENDS <= u16::MAX as usize, "BackendId::NONE is no backend");

#[cfg(test)]
mod tests;
