//! The next hops of backends, and what is wrong with them.

use std::collections::BTreeMap;

use balancer_common::abi::{BackendId, Hop};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::blocking;
use super::core::Agent;
use crate::kernel::HopEvent;
use crate::kernel::nexthop::Problem;

/// What was last said of each backend. Those with a problem are few, and are looked for with every tick.
#[derive(Debug, Default)]
pub(super) struct Hops {
    hops: BTreeMap<BackendId, Hop>,
    problems: BTreeMap<BackendId, Problem>,
}

impl Hops {
    /// Takes note. Returns the problem before.
    fn insert(&mut self, id: BackendId, hop: Hop, problem: Option<Problem>) -> Option<Problem> {
        self.hops.insert(id, hop);
        match problem {
            Some(problem) => self.problems.insert(id, problem),
            None => self.problems.remove(&id),
        }
    }

    /// The next hop of a backend, once something was said of it.
    pub(super) fn get(&self, id: BackendId) -> Option<&Hop> {
        self.hops.get(&id)
    }

    /// What is wrong with the next hop of a backend.
    pub(super) fn problem(&self, id: BackendId) -> Option<&Problem> {
        self.problems.get(&id)
    }

    /// Every next hop.
    pub(super) fn all(&self) -> impl Iterator<Item = (BackendId, Hop)> {
        self.hops.iter().map(|(id, hop)| (*id, *hop))
    }

    /// Every problem.
    pub(super) fn problems(&self) -> impl Iterator<Item = (BackendId, &Problem)> {
        self.problems.iter().map(|(id, problem)| (*id, problem))
    }

    /// Forgets all but some.
    pub(super) fn retain(&mut self, stays: impl Fn(BackendId) -> bool) {
        self.hops.retain(|id, _| stays(*id));
        self.problems.retain(|id, _| stays(*id));
    }
}

impl Agent {
    /// Applies hops, all that are waiting at once: each change costs a wait for packets.
    pub(super) fn hopped(&mut self, first: HopEvent, more: &mut mpsc::Receiver<HopEvent>) {
        let mut changed = Vec::new();
        let mut next = Some(first);
        while let Some(HopEvent { backend, hop, problem }) = next {
            next = more.try_recv().ok();
            if !self.registry.backends().any(|(_, _, id, ..)| id == backend) {
                // It was on its way when the backend was forgotten.
                continue;
            }
            let before = self.hops.insert(backend, hop, problem);
            let told = |problem: &&Problem| !problem.is_detour();
            match (before.as_ref().filter(told), self.hops.problem(backend).filter(told)) {
                (_, Some(problem)) => {
                    warn!(
                        "next hop of {}: {problem}; the kernel is asked for each packet",
                        self.name(backend)
                    );
                }
                (Some(_), None) => info!("next hop of {} is known", self.name(backend)),
                (None, None) => {}
            }
            changed.push((backend, hop));
        }
        if let Err(error) = blocking(|| self.steering.put_hops(&changed)) {
            self.note_doubt(&error);
        }
    }
}
