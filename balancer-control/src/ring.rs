//! When a ring is rebuilt, and from whom.
//!
//! A rebuilt ring takes slots from backends that keep running, and a flow without state follows its slot. A ring is
//! therefore left alone unless its members change or their shares really move.

use core::time::Duration;
use std::collections::BTreeMap;

use balancer_common::abi::{BackendId, RING_SLOTS, Ring};

use crate::Moment;
use crate::maglev::{self, Member};

mod change;

use change::Before;
pub(crate) use change::{RingCause, RingChange};

/// Sum of the changes of all shares above which learnt capacities rebuild a ring. Noise of 5 % in telemetry stays
/// below it.
const SHARES_MOVED: f64 = 0.05;

/// Least time between two rebuilds for learnt capacities.
const REBUILD_EVERY: Duration = Duration::from_secs(10);

/// How long a backend that is out of rotation keeps its slots: a broker's restart moves no other flow.
pub(crate) const HOLD: Duration = Duration::from_secs(60);

/// Part of a ring that must be open. Below it, draws that find nobody would be common, and the closed ones are left out
/// at once.
const LEAST_OPEN: f64 = 0.5;

/// In which order slots are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By hash: stable when members change.
    Maglev,
    /// By turn: for a cursor.
    Interleaved,
}

/// A backend that may be on a ring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) member: Member,
    /// The configured weight or its override: a change rebuilds the ring at once.
    pub(crate) configured: u32,
    /// Whether it takes new flows.
    pub(crate) open: bool,
    /// Whether it has been out of rotation for [`HOLD`].
    pub(crate) gone: bool,
}

/// What a ring should look like.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wish {
    pub(crate) order: Order,
    /// Whether weights are learnt, and so may wait.
    pub(crate) learnt: bool,
    pub(crate) candidates: Vec<Candidate>,
}

/// The ring of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct RingKeeper {
    built: Option<Built>,
    /// What an earlier agent left in the maps, until the first update.
    found: Option<Box<Ring>>,
    /// Whether learnt weights have moved enough, and wait for their time.
    waiting: bool,
    /// The last time that it changed, and how many times it has.
    change: Option<RingChange>,
    changes: u64,
}

/// What was configured of each member, its seed and weight, by id.
type Configured = Vec<(BackendId, (u64, u32))>;

#[derive(Clone, Debug)]
struct Built {
    ring: Box<Ring>,
    order: Order,
    configured: Configured,
    /// The members as placed, weight 0 where the ring was adopted.
    members: Vec<Member>,
    shares: BTreeMap<BackendId, f64>,
    at: Moment,
}

impl RingKeeper {
    /// Offers a ring that an earlier agent built. It is kept if weights are learnt and it has the right members;
    /// otherwise it is what the first ring is compared with.
    pub(crate) fn adopt(&mut self, ring: Box<Ring>) {
        self.found = Some(ring);
    }

    /// What an earlier agent left, until the first update.
    pub(crate) fn found(&self) -> Option<&Ring> {
        self.found.as_deref()
    }

    /// The ring in force.
    pub(crate) fn ring(&self) -> Option<&Ring> {
        self.built.as_ref().map(|built| &*built.ring)
    }

    /// Share of a backend, 0.0 to 1.0.
    pub(crate) fn share(&self, id: BackendId) -> f64 {
        self.built.as_ref().and_then(|built| built.shares.get(&id).copied()).unwrap_or(0.0)
    }

    /// When the ring was built.
    pub(crate) fn built_at(&self) -> Option<Moment> {
        self.built.as_ref().map(|built| built.at)
    }

    /// When learnt weights that wait may rebuild the ring.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.built_at().filter(|_| self.waiting).map(|at| at.plus(REBUILD_EVERY))
    }

    /// The last change, and how many there have been.
    pub(crate) const fn last_change(&self) -> (Option<&RingChange>, u64) {
        (self.change.as_ref(), self.changes)
    }

    /// Brings the ring up to date. Returns whether it changed.
    pub(crate) fn update(&mut self, wish: &Wish, now: Moment) -> bool {
        let (members, configured) = wish.members();
        self.waiting = false;
        let found = self.found.take().filter(|_| self.built.is_none());
        if let Some(ring) = found.as_ref().filter(|_| wish.learnt) {
            let shares = shares(ring);
            if shares.keys().eq(configured.iter().map(|(id, _)| id)) {
                let (ring, order) = (ring.clone(), wish.order);
                let kept = Built { ring, order, configured, members: Vec::new(), shares, at: now };
                self.put(kept, found.as_deref());
                return true;
            }
        }
        if let Some(built) = &self.built {
            let same = built.order == wish.order && built.configured == configured;
            let moved = built.members != members && (!wish.learnt || built.moved(&members) > SHARES_MOVED);
            self.waiting = same && moved && wish.learnt && now.since(built.at) < REBUILD_EVERY;
            if same && (!moved || self.waiting) {
                return false;
            }
        }
        let ring = match wish.order {
            Order::Maglev => maglev::maglev(&members),
            Order::Interleaved => maglev::interleave(&members),
        };
        let changed = self.ring().is_none_or(|old| *old != *ring);
        let shares = shares(&ring);
        self.put(Built { ring, order: wish.order, configured, members, shares, at: now }, found.as_deref());
        changed
    }

    fn put(&mut self, built: Built, found: Option<&Ring>) {
        let before = match (&self.built, found) {
            (Some(old), _) => Before::Built(old),
            (None, Some(found)) => Before::Found(found),
            (None, None) => Before::Nothing,
        };
        let change = RingChange::between(&before, &built);
        // That a restart moved nothing is worth knowing.
        if change.moved > 0 || change.cause == RingCause::Adopted {
            self.change = Some(change);
            self.changes += 1;
        }
        self.built = Some(built);
    }
}

impl Built {
    /// Sum of the changes of all shares, 0.0 to 2.0.
    fn moved(&self, members: &[Member]) -> f64 {
        let total: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
        let wanted = |member: &Member| f64::from(member.weight) / total;
        let was = |member: &Member| self.shares.get(&member.id).copied().unwrap_or(0.0);
        members.iter().map(|member| (wanted(member) - was(member)).abs()).sum()
    }
}

impl Wish {
    /// Who gets slots, and what is configured of them.
    fn members(&self) -> (Vec<Member>, Configured) {
        let held: Vec<&Candidate> = self.candidates.iter().filter(|candidate| !candidate.gone).collect();
        let weight = |candidates: &[&Candidate]| -> f64 {
            candidates.iter().map(|c| f64::from(c.member.weight)).sum()
        };
        let open: Vec<&Candidate> = self.candidates.iter().filter(|candidate| candidate.open).collect();
        let mut chosen = if !open.is_empty() && weight(&open) < LEAST_OPEN * weight(&held) {
            open
        } else if held.is_empty() {
            // Nobody is left to take the slots over.
            self.candidates.iter().collect()
        } else {
            held
        };
        chosen.sort_by_key(|candidate| candidate.member.id);
        let members = chosen.iter().map(|candidate| candidate.member).collect();
        let configured = chosen.iter().map(|c| (c.member.id, (c.member.seed, c.configured))).collect();
        (members, configured)
    }
}

/// The share of each backend on a ring.
pub(crate) fn shares(ring: &Ring) -> BTreeMap<BackendId, f64> {
    let mut slots: BTreeMap<BackendId, usize> = BTreeMap::new();
    for id in ring.0.iter().filter(|id| **id != BackendId::NONE) {
        *slots.entry(*id).or_default() += 1;
    }
    slots.into_iter().map(|(id, n)| (id, n as f64 / RING_SLOTS as f64)).collect()
}

#[cfg(test)]
mod tests;
