//! What a ring was rebuilt for, and what that moved.

use std::collections::{BTreeMap, BTreeSet};

use balancer_common::abi::{BackendId, Ring};

use super::Built;
use crate::Moment;

/// The last time that a ring changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RingChange {
    pub(crate) at: Moment,
    pub(crate) cause: RingCause,
    /// Slots that have another backend than before; all of them for a first ring.
    pub(crate) moved: usize,
    /// Share of each backend before and after, of those that had or have one.
    pub(crate) shares: BTreeMap<BackendId, (f64, f64)>,
}

/// What a ring was rebuilt for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RingCause {
    /// There was none.
    First,
    /// An earlier agent's was taken over.
    Adopted,
    /// The policy gives slots out in another order.
    Order,
    /// Backends came or went.
    Members { joined: BTreeSet<BackendId>, left: BTreeSet<BackendId> },
    /// Weights that somebody configured, or backends under known ids.
    Configured(BTreeSet<BackendId>),
    /// Weights that follow telemetry; the sum of the changes of all shares.
    Learnt(f64),
}

impl RingChange {
    /// The change from one ring to another.
    pub(super) fn between(old: Option<&Built>, new: &Built, adopted: bool) -> Self {
        let (before, moved) = match old {
            Some(old) => (&old.shares, slots_moved(&old.ring, &new.ring)),
            None => (&BTreeMap::new(), new.ring.0.len()),
        };
        let ids: BTreeSet<BackendId> = before.keys().chain(new.shares.keys()).copied().collect();
        let share = |of: &BTreeMap<BackendId, f64>, id: &BackendId| of.get(id).copied().unwrap_or(0.0);
        let shares: BTreeMap<_, _> =
            ids.into_iter().map(|id| (id, (share(before, &id), share(&new.shares, &id)))).collect();
        Self { at: new.at, cause: RingCause::of(old, new, adopted, &shares), moved, shares }
    }
}

impl RingCause {
    fn of(old: Option<&Built>, new: &Built, adopted: bool, shares: &BTreeMap<BackendId, (f64, f64)>) -> Self {
        let Some(old) = old else { return if adopted { Self::Adopted } else { Self::First } };
        if old.order != new.order {
            return Self::Order;
        }
        let ids = |built: &Built| built.configured.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>();
        let (was, is) = (ids(old), ids(new));
        if was != is {
            return Self::Members { joined: &is - &was, left: &was - &is };
        }
        // The same ids in the same order.
        let changed = old.configured.iter().zip(&new.configured).filter(|(old, new)| old != new);
        let configured: BTreeSet<BackendId> = changed.map(|(_, (id, _))| *id).collect();
        if !configured.is_empty() {
            return Self::Configured(configured);
        }
        Self::Learnt(shares.values().map(|(before, after)| (after - before).abs()).sum())
    }
}

fn slots_moved(old: &Ring, new: &Ring) -> usize {
    old.0.iter().zip(&new.0).filter(|(old, new)| old != new).count()
}
