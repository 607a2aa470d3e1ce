//! Which flows are closed first.

use core::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use balancer_common::abi::{BackendId, Flow};

/// A flow that may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<K> {
    /// Its key.
    pub key: K,
    /// The flow, when it was looked at.
    pub flow: Flow,
}

/// Ordered by who goes last: of two the one that was heard of later, and of two that are equally idle the older.
impl<K: Eq> Ord for Candidate<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |one: &Self| (one.flow.last_seen, core::cmp::Reverse(one.flow.state.opened()));
        order(self).cmp(&order(other))
    }
}

impl<K: Eq> PartialOrd for Candidate<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Picks the most idle flows, and the newest of those that are equally idle. Its memory is that of its answer, however
/// many flows it is shown.
#[derive(Debug)]
pub struct Chooser<K> {
    wanted: BTreeMap<BackendId, usize>,
    /// Flows promoted after this (data path clock) are not taken: a client is closed at most once in a run.
    before: u32,
    best: BTreeMap<BackendId, BinaryHeap<Candidate<K>>>,
}

impl<K: Eq + Copy> Chooser<K> {
    /// A chooser of at most so many flows of each backend, promoted before a time (data path clock).
    #[must_use]
    pub const fn new(wanted: BTreeMap<BackendId, usize>, before: u32) -> Self {
        Self { wanted, before, best: BTreeMap::new() }
    }

    /// Considers a flow.
    pub fn offer(&mut self, key: K, flow: Flow) {
        let backend = flow.state.backend();
        let Some(&wanted) = self.wanted.get(&backend) else { return };
        if !flow.state.is_live() || flow.state.opened() >= self.before || wanted == 0 {
            return;
        }
        let best = self.best.entry(backend).or_default();
        let candidate = Candidate { key, flow };
        if best.len() < wanted {
            best.push(candidate);
        } else if best.peek().is_some_and(|last| candidate < *last) {
            best.pop();
            best.push(candidate);
        }
    }

    /// The flows chosen, first who goes first.
    #[must_use]
    pub fn finish(self) -> BTreeMap<BackendId, Vec<Candidate<K>>> {
        self.best.into_iter().map(|(id, best)| (id, best.into_sorted_vec())).collect()
    }
}
