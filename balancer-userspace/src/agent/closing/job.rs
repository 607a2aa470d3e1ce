//! One run: which flows it has listed, and which it would take next.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use balancer_common::abi::{BackendId, FlowState, ServiceId};
use balancer_control::Moment;
use balancer_control::closing::{Aim, Candidate, Run, Seat};

use super::walk::{Found, Search};
use crate::agent::clock;
use crate::agent::core::Agent;
use crate::agent::names::Names;
use crate::api::wire::RunKind;
use crate::kernel::{ClosingList, Error, FlowKey, Flows};

/// Most candidates of a backend that one walk brings.
const CANDIDATES: usize = 4096;

/// Age at which candidates are looked for again: others may be the most idle by then.
const STALE: Duration = Duration::from_secs(60);

/// Time to the next walk for the flows of a backend after one that has found none.
const AGAIN: Duration = Duration::from_secs(5);

/// Listed flows that are looked at in one step, to find those that have ended by themselves.
const CHECKED: usize = 512;

/// A flow on the program's list.
struct Listed {
    key: FlowKey,
    state: FlowState,
}

/// A run and what it has in hand.
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) service: ServiceId,
    pub(super) service_name: String,
    /// Of a drain, the backend's name.
    pub(super) target: Option<String>,
    pub(super) run: Run,
    pub(super) started: Moment,
    /// Flows promoted from then on (data path clock) are not taken.
    pub(super) before: u32,
    /// Flows closed so far.
    pub(super) closed: BTreeMap<BackendId, u64>,
    /// Those of them that the metrics do not have yet.
    pub(super) uncounted: BTreeMap<BackendId, u64>,
    /// In the order of listing: the most idle first.
    listed: Vec<Listed>,
    checked: usize,
    candidates: BTreeMap<BackendId, VecDeque<Candidate<FlowKey>>>,
    /// Backends that a walk is looking for.
    searching: Option<BTreeSet<BackendId>>,
    /// When flows may be looked for again of which none was found, and when the candidates were found.
    again: Moment,
    found: Moment,
}

impl Job {
    pub(super) fn new(
        id: u64,
        (service, service_name, target): (ServiceId, String, Option<String>),
        run: Run,
        before: u32,
        now: Moment,
    ) -> Self {
        Self {
            id,
            service,
            service_name,
            target,
            run,
            started: now,
            before,
            closed: BTreeMap::new(),
            uncounted: BTreeMap::new(),
            listed: Vec::new(),
            checked: 0,
            candidates: BTreeMap::new(),
            searching: None,
            again: now,
            found: now,
        }
    }

    /// Has flows of a backend on its list.
    #[cfg(test)]
    pub(super) fn take_for_listed(&mut self, keys: impl Iterator<Item = FlowKey>, backend: BackendId) {
        let state = FlowState::open(backend, 0);
        self.listed.extend(keys.map(|key| Listed { key, state }));
    }

    /// Goes by the names that its service and backend have by now.
    pub(super) fn follow_names(&mut self, names: &Names) {
        self.service_name = names.service(self.service);
        if let Aim::Empty { backend, .. } = self.run.order().aim {
            self.target = Some(names.backend(backend));
        }
    }

    /// What it does, for people.
    pub(super) fn title(&self) -> String {
        match &self.target {
            Some(backend) => format!("drain of {}/{backend}", self.service_name),
            None => format!("rebalancing of {}", self.service_name),
        }
    }

    pub(super) const fn kind(&self) -> RunKind {
        match self.run.order().aim {
            Aim::Level { .. } => RunKind::Rebalance,
            Aim::Empty { .. } => RunKind::Drain,
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        self.run.is_over()
    }

    /// Backends with listed flows.
    pub(super) fn backends(&self) -> impl Iterator<Item = BackendId> {
        self.listed_of_each().into_keys()
    }

    /// Listed flows by backend.
    pub(super) fn listed_of_each(&self) -> BTreeMap<BackendId, u64> {
        let mut counts = BTreeMap::new();
        for listed in &self.listed {
            *counts.entry(listed.state.backend()).or_default() += 1;
        }
        counts
    }

    /// What the program has taken off its list it has closed.
    pub(super) fn note_closed(&mut self, present: &HashSet<FlowKey>) {
        let is_closed = |listed: &mut Listed| !present.contains(&listed.key);
        let closed: Vec<Listed> = self.listed.extract_if(.., is_closed).collect();
        closed.iter().for_each(|listed| self.count_closed(listed));
    }

    fn count_closed(&mut self, listed: &Listed) {
        for counts in [&mut self.closed, &mut self.uncounted] {
            *counts.entry(listed.state.backend()).or_default() += 1;
        }
    }

    /// Takes flows off the list that have ended by themselves; some of them at a time.
    fn note_ended(&mut self, flows: &Flows, list: &mut ClosingList) -> Result<(), Error> {
        for _ in 0..CHECKED.min(self.listed.len()) {
            let index = self.checked % self.listed.len().max(1);
            let Some(listed) = self.listed.get(index) else { break };
            if is_same(flows, &listed.key, listed.state)? {
                self.checked = index + 1;
            } else {
                let listed = self.listed.remove(index);
                self.unlisted(list, listed)?;
            }
        }
        Ok(())
    }

    /// Takes the `count` flows of a backend off the list that were listed last.
    fn unlist(&mut self, list: &mut ClosingList, backend: BackendId, mut count: u64) -> Result<(), Error> {
        let mut index = self.listed.len();
        while index > 0 && count > 0 {
            index -= 1;
            if self.listed[index].state.backend() == backend {
                let listed = self.listed.remove(index);
                self.unlisted(list, listed)?;
                count -= 1;
            }
        }
        Ok(())
    }

    /// Takes everything off the list.
    pub(super) fn unlist_all(
        &mut self,
        mut remove: impl FnMut(&FlowKey) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        while let Some(listed) = self.listed.last() {
            // One that could not be taken off stays known, for the next attempt.
            let waited = remove(&listed.key)?;
            let listed = self.listed.pop().expect("there is a last one");
            self.count_unlisted(&listed, waited);
        }
        Ok(())
    }

    fn unlisted(&mut self, list: &mut ClosingList, listed: Listed) -> Result<(), Error> {
        let waited = match list.remove(&listed.key) {
            Ok(waited) => waited,
            Err(error) => {
                self.listed.push(listed);
                return Err(error);
            }
        };
        self.count_unlisted(&listed, waited);
        Ok(())
    }

    /// Counts a flow that was taken off the list. One that was not there the program was faster to close.
    fn count_unlisted(&mut self, listed: &Listed, waited: bool) {
        if !waited {
            self.count_closed(listed);
        }
    }

    /// Lists up to `count` flows of a backend; how many it were.
    fn list(
        &mut self,
        list: &mut ClosingList,
        flows: &Flows,
        backend: BackendId,
        count: u64,
    ) -> Result<u64, Error> {
        let candidates = self.candidates.entry(backend).or_default();
        let mut done = 0;
        while done < count
            && let Some(Candidate { key, flow }) = candidates.pop_front()
        {
            if is_same(flows, &key, flow.state)? {
                list.add(&key, flow.state)?;
                self.listed.push(Listed { key, state: flow.state });
                done += 1;
            }
        }
        Ok(done)
    }

    /// Takes in what a walk has found.
    pub(super) fn found(&mut self, found: Found, now: Moment) {
        let asked = self.searching.take().unwrap_or_default();
        self.run.note_found(&asked, &found.keys().copied().collect());
        (self.again, self.found) = (now.plus(AGAIN), now);
        self.candidates.extend(found.into_iter().map(|(id, found)| (id, VecDeque::from(found))));
    }

    /// What to look for, when somebody is to be listed and nobody is at hand.
    pub(super) fn search(&mut self, wanted: &BTreeMap<BackendId, u64>, now: Moment) -> Option<Search> {
        if now.since(self.found) >= STALE {
            self.candidates.clear();
        }
        let may_be_found = |id: &BackendId| now >= self.again || !self.run.spent().contains(id);
        let lacks =
            |id: &BackendId| self.candidates.get(id).is_none_or(VecDeque::is_empty) && may_be_found(id);
        if self.searching.is_some() || !wanted.keys().any(lacks) {
            return None;
        }
        self.searching = Some(wanted.keys().copied().collect());
        Some(Search {
            job: self.id,
            service: self.service,
            wanted: wanted.keys().map(|id| (*id, CANDIDATES)).collect(),
            before: self.before,
            listed: self.listed.iter().map(|listed| listed.key).collect(),
        })
    }
}

/// Whether a flow is live and still the one that was in this state.
fn is_same(flows: &Flows, key: &FlowKey, state: FlowState) -> Result<bool, Error> {
    let flow = flows.get(key)?;
    Ok(flow.is_some_and(|flow| flow.state.is_live() && flow.state.identity() == state.identity()))
}

impl Agent {
    /// Does what a run has to do by now. `present` is what was on the program's list a moment ago.
    pub(super) fn step(
        &mut self,
        job: &mut Job,
        present: &HashSet<FlowKey>,
        room: &mut u64,
    ) -> Result<(), Error> {
        let now = clock::now();
        job.note_closed(present);
        job.note_ended(&self.flows, &mut self.closing.list)?;
        let Some(seats) = self.seats(job.service) else {
            job.run.stop("the service is not there any more");
            return Ok(());
        };
        let step = job.run.step(&seats, &job.listed_of_each(), &job.closed, *room, now);
        for (backend, count) in step.unlist {
            job.unlist(&mut self.closing.list, backend, count)?;
        }
        for (backend, count) in &step.list {
            let listed = job.list(&mut self.closing.list, &self.flows, *backend, *count)?;
            *room = room.saturating_sub(listed);
        }
        if let Some(search) = job.search(&step.list, now) {
            super::walk::start(self.config.agent.pins.clone(), search, self.closing.walks.clone());
        }
        Ok(())
    }

    /// The backends of a service by their counts of this moment.
    pub(super) fn seats(&self, service: ServiceId) -> Option<Vec<Seat>> {
        let live = self.live();
        self.controller.seats(service, |id| live.get(&id).copied().unwrap_or(0))
    }
}
