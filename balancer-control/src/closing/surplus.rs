//! How many flows a backend has too many.

use std::collections::BTreeMap;

use balancer_common::abi::BackendId;

use super::Seat;

/// What sums of loads may be off by, in connections.
const ROUNDING: f64 = 1e-6;

/// The load of a service, in units of one backend's capacity.
struct Level {
    /// Load per capacity, were it even.
    mean: f64,
    /// What one connection is taken for, at the backend where it costs most: what its next backend must have room for.
    heaviest: f64,
}

/// Load of a backend, in the unit of [`Level`].
fn work(seat: &Seat) -> f64 {
    seat.load * seat.capacity
}

/// What one connection of the backend is taken for: its part of what the backend bears, but no less than a new one
/// costs. A backend with few heavy clients has few flows too many, one with many light ones many.
fn weight(seat: &Seat) -> f64 {
    let each = if seat.live == 0 { 0.0 } else { work(seat) / seat.live as f64 };
    each.max(seat.cost * seat.capacity)
}

/// Load per capacity, were it even.
pub(super) fn mean(seats: &[Seat]) -> f64 {
    level(seats, 0.0).map_or(0.0, |level| level.mean)
}

fn level(seats: &[Seat], least: f64) -> Option<Level> {
    let balanced = || seats.iter().filter(|seat| seat.balanced);
    let capacity: f64 = balanced().map(|seat| seat.capacity).sum();
    if capacity <= 0.0 {
        return None;
    }
    let total: f64 = balanced().map(work).sum();
    Some(Level { mean: (total / capacity).max(least), heaviest: balanced().map(weight).fold(0.0, f64::max) })
}

/// Flows of each backend above its share and `tolerance` of that, whether or not others have room for them. Taking them
/// away leaves no backend below its share. See [`surplus`] for `least`.
pub(super) fn excess(seats: &[Seat], tolerance: f64, least: f64) -> BTreeMap<BackendId, u64> {
    let Some(level) = level(seats, least) else { return BTreeMap::new() };
    let above = |seat: &Seat| {
        let share = level.mean * seat.capacity;
        let (bound, weight) = (share * (1.0 + tolerance), weight(seat));
        if weight <= 0.0 || work(seat) <= bound {
            return 0;
        }
        // A rounding error is no connection.
        let enough = ((work(seat) - bound) / weight - ROUNDING).ceil();
        let most = ((work(seat) - share) / weight + ROUNDING).floor();
        (enough.min(most) as u64).min(seat.live)
    };
    let balanced = seats.iter().filter(|seat| seat.balanced);
    balanced.map(|seat| (seat.id, above(seat))).filter(|(_, flows)| *flows > 0).collect()
}

/// Flows of each backend that a rebalancing may close now: its excess, but in all no more than `max`, and no more than
/// the others have room for below their own shares and `tolerance`, and below their caps.
///
/// The load is what new flows are steered by, so that a client that is closed comes back to a backend with room. Its
/// mean is taken for `least` at least: what it was before clients were closed who have not come back.
#[must_use]
pub fn surplus(seats: &[Seat], tolerance: f64, max: u64, least: f64) -> BTreeMap<BackendId, u64> {
    let Some(level) = level(seats, least) else { return BTreeMap::new() };
    let excess = excess(seats, tolerance, least);
    let room = seats.iter().filter(|seat| seat.balanced && !excess.contains_key(&seat.id)).map(|seat| {
        let below = level.mean * seat.capacity * (1.0 + tolerance) - work(seat);
        let by_load = (below / level.heaviest.max(f64::MIN_POSITIVE) + ROUNDING).max(0.0).floor() as u64;
        by_load.min(seat.room())
    });
    let mut left = room.fold(0, u64::saturating_add).min(max);
    // The largest first, so that a short list is spent where it matters.
    let mut order: Vec<_> = excess.into_iter().collect();
    order.sort_by_key(|(id, flows)| (core::cmp::Reverse(*flows), *id));
    let mut surplus = BTreeMap::new();
    for (id, flows) in order {
        let taken = flows.min(left);
        left -= taken;
        if taken > 0 {
            surplus.insert(id, taken);
        }
    }
    surplus
}
