//! Closing flows at a pace, so that their clients come back to where there is room: rebalancing and paced drains.
//!
//! A [`Run`] is one order of the operator. Each [`Run::step`] looks at the backends as they are by then, and says how
//! many flows of each are to be on the list of flows that the program closes at their next packet. It never lists more
//! than the surplus of the moment, nor more than its peers have room for, nor in all more than it was allowed when it
//! began. When reality moves, the list shrinks.
//!
//! Which flows are taken is [`Chooser`]'s.

mod choose;
mod surplus;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use balancer_common::abi::BackendId;

use crate::Moment;
pub use choose::{Candidate, Chooser};
pub use surplus::surplus;

/// A run closes no more than this many times the surplus that it began with: who is closed draws candidates anew, and may
/// come back to where it was; and load that telemetry sees may be others' than those who are closed.
const AGAIN: u64 = 3;

/// Time after the last flow was closed before the backends are called balanced: until then clients are coming back.
const SETTLED: Duration = Duration::from_secs(5);

/// One backend, as a run needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    /// The backend.
    pub id: BackendId,
    /// Live connections.
    pub live: u64,
    /// Capacity, relative to the other backends of the service; above zero.
    pub capacity: f64,
    /// Predicted load with its live connections, in parts of its capacity: what new flows are steered by.
    pub load: f64,
    /// What one more connection adds to `load`, above zero.
    pub cost: f64,
    /// Whether it takes new flows, apart from its cap.
    pub open: bool,
    /// Whether it has its part in the balance. Those that drain, have not come up, or stand by have none.
    pub balanced: bool,
    /// Whether its probes fail.
    pub down: bool,
    /// Whether it is drained.
    pub draining: bool,
    /// Most live connections.
    pub cap: Option<u32>,
}

impl Seat {
    /// Connections that its cap leaves room for.
    pub(crate) fn room(&self) -> u64 {
        match (self.open, self.cap) {
            (false, _) => 0,
            (true, None) => u64::MAX,
            (true, Some(cap)) => u64::from(cap).saturating_sub(self.live),
        }
    }
}

/// What a run is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Aim {
    /// No backend of the service has more than its share of the load and `tolerance` of that.
    Level {
        /// Part of the share, 0.01 to 1.0.
        tolerance: f64,
    },
    /// A draining backend has no flow left.
    Empty {
        /// The backend.
        backend: BackendId,
        /// Also when no other backend takes new flows.
        force: bool,
    },
}

/// An order of the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What for.
    pub aim: Aim,
    /// Flows listed per second, above zero.
    pub rate: f64,
    /// Most flows closed in all.
    pub max: u64,
}

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It lists flows, or waits for the next packets of those it has listed.
    Running,
    /// It has nothing to list for the moment, and why, in words.
    Waiting(String),
    /// It ended before it was done, and why, in words.
    Stopped(String),
    /// It ended because there is nothing left to do, and why, in words.
    Done(String),
}

/// What is to change on the list of flows that are closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Flows to put on it.
    pub list: BTreeMap<BackendId, u64>,
    /// Flows to take off again.
    pub unlist: BTreeMap<BackendId, u64>,
}

/// One order, being carried out.
#[derive(Clone, Debug)]
pub struct Run {
    order: Order,
    /// What was too much of each backend when it began.
    planned: BTreeMap<BackendId, u64>,
    /// Most flows closed in all.
    limit: u64,
    /// The mean load when it began. Clients that were closed and have not come back make it look lower.
    mean: f64,
    /// Backends that have been down since it began.
    down: BTreeSet<BackendId>,
    /// Backends of which no flow was found that it may take.
    spent: BTreeSet<BackendId>,
    /// Flows that may be listed by now.
    credit: f64,
    stepped: Moment,
    /// Flows closed by the last step, and when they became so many.
    closed: (u64, Moment),
    progress: Progress,
}

impl Run {
    /// Begins.
    #[must_use]
    pub fn new(order: Order, seats: &[Seat], now: Moment) -> Self {
        let mean = surplus::mean(seats);
        let (planned, limit) = match order.aim {
            Aim::Level { tolerance } => {
                let planned = surplus(seats, tolerance, order.max, mean);
                let total: u64 = planned.values().sum();
                (planned, total.saturating_mul(AGAIN).min(order.max))
            }
            Aim::Empty { backend, .. } => {
                let live = seats.iter().find(|seat| seat.id == backend).map_or(0, |seat| seat.live);
                (BTreeMap::from([(backend, live.min(order.max))]), order.max)
            }
        };
        let down = seats.iter().filter(|seat| seat.down).map(|seat| seat.id).collect();
        Self {
            order,
            planned,
            limit,
            mean,
            down,
            spent: BTreeSet::new(),
            credit: 1.0,
            stepped: now,
            closed: (0, now),
            progress: Progress::Running,
        }
    }

    /// How far it has come.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The order.
    #[must_use]
    pub const fn order(&self) -> &Order {
        &self.order
    }

    /// What was too much of each backend when it began, of those that had too much.
    #[must_use]
    pub const fn planned(&self) -> &BTreeMap<BackendId, u64> {
        &self.planned
    }

    /// Most flows that it closes in all.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Backends of which no flow was found that it may take.
    #[must_use]
    pub const fn spent(&self) -> &BTreeSet<BackendId> {
        &self.spent
    }

    /// Says of which of the backends that were `asked` for a flow was found that the run may take.
    pub fn note_found(&mut self, asked: &BTreeSet<BackendId>, found: &BTreeSet<BackendId>) {
        self.spent.retain(|id| !asked.contains(id));
        self.spent.extend(asked.difference(found));
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Stopped(_) | Progress::Done(_))
    }

    /// Ends it. What is listed is to be taken off the list.
    pub fn stop(&mut self, why: impl Into<String>) {
        if !self.is_over() {
            self.progress = Progress::Stopped(why.into());
        }
    }

    /// What to do at `now`, given the backends, the flows of each that are on the list and still live, and those
    /// that the run has closed. `room` is how many more flows the list has room for.
    pub fn step(
        &mut self,
        seats: &[Seat],
        listed: &BTreeMap<BackendId, u64>,
        closed: &BTreeMap<BackendId, u64>,
        room: u64,
        now: Moment,
    ) -> Step {
        let passed = now.since(self.stepped);
        self.stepped = self.stepped.max(now);
        // One second's worth at most is saved up, so that a pause is not followed by a blow.
        let most = self.order.rate.max(1.0);
        self.credit =
            (self.credit + self.order.rate * passed.min(Duration::from_secs(1)).as_secs_f64()).min(most);
        if let Err(why) = self.check(seats) {
            self.stop(why);
        }
        // Who has come back and fails again has gone down.
        self.down.retain(|id| seats.iter().any(|seat| seat.id == *id && seat.down));
        let wanted = if self.is_over() { BTreeMap::new() } else { self.wanted(seats, closed) };
        let step = self.towards(&wanted, listed, room);
        self.judge(seats, &wanted, (listed, closed), now);
        step
    }

    /// Whether the world is still one that the order was given for.
    fn check(&self, seats: &[Seat]) -> Result<(), String> {
        let target = match self.order.aim {
            Aim::Level { .. } => None,
            Aim::Empty { backend, .. } => Some(backend),
        };
        let is_peer = |seat: &&Seat| Some(seat.id) != target;
        if seats.iter().filter(is_peer).any(|seat| seat.down && !self.down.contains(&seat.id)) {
            return Err("a backend went down".to_owned());
        }
        if target.is_none() && self.mean > 0.0 && !seats.iter().any(|seat| seat.balanced) {
            return Err("no backend has a part in the balance any more".to_owned());
        }
        match target.map(|target| seats.iter().find(|seat| seat.id == target)) {
            Some(None) => Err("the backend is not there any more".to_owned()),
            Some(Some(seat)) if !seat.draining => Err("the drain was ended".to_owned()),
            Some(Some(_)) | None => Ok(()),
        }
    }

    /// Flows of each backend that should be on the list by now, whatever the pace.
    fn wanted(&self, seats: &[Seat], closed: &BTreeMap<BackendId, u64>) -> BTreeMap<BackendId, u64> {
        let done: u64 = closed.values().sum();
        let max = self.limit.saturating_sub(done);
        let surplus = match self.order.aim {
            Aim::Level { tolerance } => surplus(seats, tolerance, max, self.mean),
            Aim::Empty { backend, force } => {
                let live = seats.iter().find(|seat| seat.id == backend).map_or(0, |seat| seat.live);
                let peers = seats.iter().filter(|seat| seat.id != backend);
                let room = peers.fold(0_u64, |room, seat| room.saturating_add(seat.room()));
                let most = if force { live } else { live.min(room) };
                BTreeMap::from([(backend, most.min(max))])
            }
        };
        surplus.into_iter().filter(|(_, flows)| *flows > 0).collect()
    }

    /// The changes that bring the list to what is wanted, at the order's pace.
    fn towards(
        &mut self,
        wanted: &BTreeMap<BackendId, u64>,
        listed: &BTreeMap<BackendId, u64>,
        room: u64,
    ) -> Step {
        let mut step = Step::default();
        let mut allowed = (self.credit as u64).min(room);
        for (id, listed) in listed {
            let excess = listed.saturating_sub(wanted.get(id).copied().unwrap_or(0));
            if excess > 0 {
                step.unlist.insert(*id, excess);
            }
        }
        // What cannot be found is asked for last, or it would use up the pace of the others.
        let (spent, others): (Vec<_>, Vec<_>) = wanted.iter().partition(|(id, _)| self.spent.contains(id));
        for (id, wanted) in others.into_iter().chain(spent) {
            let missing = wanted.saturating_sub(listed.get(id).copied().unwrap_or(0)).min(allowed);
            if missing > 0 {
                allowed -= missing;
                self.credit -= missing as f64;
                step.list.insert(*id, missing);
            }
        }
        step
    }

    fn judge(
        &mut self,
        seats: &[Seat],
        wanted: &BTreeMap<BackendId, u64>,
        (listed, closed): (&BTreeMap<BackendId, u64>, &BTreeMap<BackendId, u64>),
        now: Moment,
    ) {
        if self.is_over() {
            return;
        }
        let total: u64 = closed.values().sum();
        if total != self.closed.0 {
            self.closed = (total, now);
        }
        let settled = total == 0 || now.since(self.closed.1) >= SETTLED;
        let done = |why: &str| Progress::Done(why.to_owned());
        if !wanted.is_empty() {
            let is_stuck = listed.is_empty() && wanted.keys().all(|id| self.spent.contains(id));
            self.progress = match self.order.aim {
                Aim::Level { .. } if is_stuck && settled => {
                    done("what is left of the surplus are flows that were made after the run began")
                }
                Aim::Level { .. } | Aim::Empty { .. } => Progress::Running,
            };
            return;
        }
        self.progress = match self.order.aim {
            Aim::Level { tolerance } if surplus::excess(seats, tolerance, self.mean).is_empty() => {
                if settled {
                    done("the backends are balanced")
                } else {
                    Progress::Waiting("clients that were closed are coming back".to_owned())
                }
            }
            _ if total >= self.order.max => done("as many flows were closed as one run may close"),
            _ if total >= self.limit => {
                done("three times what was too much is closed; who was closed has come back")
            }
            Aim::Empty { backend, .. } if seats.iter().any(|seat| seat.id == backend && seat.live == 0) => {
                done("the backend has no flow left")
            }
            Aim::Level { .. } | Aim::Empty { .. } => {
                Progress::Waiting("no other backend has room".to_owned())
            }
        };
    }
}

#[cfg(test)]
mod tests;
