//! What a ring was rebuilt for, and what that moved.

use std::collections::{BTreeMap, BTreeSet};

use balancer_common::abi::{BackendId, Ring};

use super::{Built, shares};
use crate::Moment;

/// The last time that a ring changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RingChange {
    pub(crate) at: Moment,
    pub(crate) cause: RingCause,
    /// Slots that have another backend than before.
    pub(crate) moved: usize,
    /// Share of each backend before and after, of those that had or have one.
    pub(crate) shares: BTreeMap<BackendId, (f64, f64)>,
}

/// What a ring was rebuilt for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RingCause {
    /// There was none.
    First,
    /// An earlier agent's was taken over as it is.
    Adopted,
    /// An earlier agent's had the same backends by other weights or in another order.
    Readjusted,
    /// The policy gives slots out in another order.
    Order,
    /// Backends came or went.
    Members { joined: BTreeSet<BackendId>, left: BTreeSet<BackendId> },
    /// Weights that somebody configured, or backends under known ids.
    Configured(BTreeSet<BackendId>),
    /// Weights that follow telemetry; the sum of the changes of all shares.
    Learnt(f64),
}

/// What steered before a ring.
pub(super) enum Before<'a> {
    /// Nothing did.
    Nothing,
    /// A ring of an earlier agent, of which no more is known than its slots.
    Found(&'a Ring),
    /// A ring of this one.
    Built(&'a Built),
}

impl RingChange {
    /// The change from what was before to a ring.
    pub(super) fn between(old: &Before<'_>, new: &Built) -> Self {
        let (before, moved) = match old {
            Before::Nothing => {
                (&BTreeMap::new(), new.ring.0.iter().filter(|id| **id != BackendId::NONE).count())
            }
            Before::Found(ring) => (&shares(ring), slots_moved(ring, &new.ring)),
            Before::Built(old) => (&old.shares, slots_moved(&old.ring, &new.ring)),
        };
        let ids: BTreeSet<BackendId> = before.keys().chain(new.shares.keys()).copied().collect();
        let share = |of: &BTreeMap<BackendId, f64>, id: &BackendId| of.get(id).copied().unwrap_or(0.0);
        let shares: BTreeMap<_, _> =
            ids.into_iter().map(|id| (id, (share(before, &id), share(&new.shares, &id)))).collect();
        let cause = match old {
            Before::Nothing => RingCause::First,
            Before::Found(_) if moved == 0 => RingCause::Adopted,
            Before::Found(_) => RingCause::since_found(before, &new.shares),
            Before::Built(old) => RingCause::since(old, new, &shares),
        };
        Self { at: new.at, cause, moved, shares }
    }
}

impl RingCause {
    /// By what weights a found ring was built is not known.
    fn since_found(before: &BTreeMap<BackendId, f64>, after: &BTreeMap<BackendId, f64>) -> Self {
        let ids = |shares: &BTreeMap<BackendId, f64>| shares.keys().copied().collect();
        Self::of_members(&ids(before), &ids(after)).unwrap_or(Self::Readjusted)
    }

    fn of_members(was: &BTreeSet<BackendId>, is: &BTreeSet<BackendId>) -> Option<Self> {
        (was != is).then(|| Self::Members { joined: is - was, left: was - is })
    }

    fn since(old: &Built, new: &Built, shares: &BTreeMap<BackendId, (f64, f64)>) -> Self {
        if old.order != new.order {
            return Self::Order;
        }
        let ids = |built: &Built| built.configured.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>();
        if let Some(members) = Self::of_members(&ids(old), &ids(new)) {
            return members;
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
