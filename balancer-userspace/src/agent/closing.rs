//! Runs that close flows: the agent's hands for what [`balancer_control::closing`] decides.
//!
//! A run begins with a walk of the flow table, in a thread of its own, for the flows that go first. At each step the
//! decision is asked for, flows are listed for the program or taken off its list, and the byte behind `present` of their
//! backends says whether the program is to look at the list at all.

mod answers;
mod dead;
mod job;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use balancer_common::abi::{Backend, BackendId, ServiceId};
use tokio::sync::mpsc;
use tracing::{error, info};

use self::job::Job;
pub(super) use self::walk::Walked;
use super::core::Agent;
use super::{blocking, clock};
use crate::api::wire::{self, RunKind};
use crate::kernel::{ClosingList, Error};

/// Time from one step of a run to the next.
pub(super) const STEP: Duration = Duration::from_millis(250);

/// Runs that are over and still shown when others begin.
const REMEMBERED: usize = 16;

/// Everything about closing flows.
pub(super) struct Closing {
    list: ClosingList,
    jobs: Vec<Job>,
    ended: VecDeque<wire::Run>,
    next: u64,
    /// Flows closed since the agent started, by service, backend and reason, of those that are there.
    closed: BTreeMap<(String, String, RunKind), u64>,
    /// Backends whose flows are all closed, because they are down.
    dead: BTreeSet<BackendId>,
    /// What the maps say of each backend; others say nothing.
    written: BTreeMap<BackendId, u8>,
    walks: mpsc::Sender<Walked>,
}

impl Closing {
    /// Nothing is to be closed. What an agent before has listed is not either: it is not there to stop it.
    pub(super) fn new(mut list: ClosingList, walks: mpsc::Sender<Walked>) -> Result<Self, Error> {
        let left = list.clear()?;
        if left > 0 {
            info!("{left} flows that an earlier agent had listed to be closed go on");
        }
        Ok(Self {
            list,
            jobs: Vec::new(),
            ended: VecDeque::new(),
            next: 1,
            closed: BTreeMap::new(),
            dead: BTreeSet::new(),
            written: BTreeMap::new(),
            walks,
        })
    }

    /// Whether a run is going on.
    pub(super) const fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Forgets the oldest runs before others begin. All that one order began are shown until then, however many they are.
    fn forget_oldest(&mut self) {
        let excess = self.ended.len().saturating_sub(REMEMBERED);
        self.ended.drain(..excess);
    }
}

impl Agent {
    /// Makes the maps say that nothing is to be closed, whatever an earlier agent left.
    pub(super) fn keep_all_flows(&mut self) -> Result<(), Error> {
        let all: Vec<_> = self.registry.backends().map(|(_, _, id, ..)| (id, Backend::KEEP)).collect();
        self.steering.put_closing(all)
    }

    /// Does what runs have to do by now.
    pub(super) fn step_runs(&mut self) {
        if !self.closing.is_busy() {
            return;
        }
        if let Err(error) = blocking(|| self.try_step_runs()) {
            error!("a map could not be read or written: {error}; nothing more is closed");
            self.stop_runs("a map could not be read or written", |_| true);
        }
    }

    fn try_step_runs(&mut self) -> Result<(), Error> {
        let present = self.closing.list.keys()?;
        let capacity = u64::from(self.closing.list.capacity());
        let mut room = capacity.saturating_sub(present.len() as u64);
        let mut jobs = std::mem::take(&mut self.closing.jobs);
        let stepped = jobs.iter_mut().try_for_each(|job| self.step(job, &present, &mut room));
        jobs.iter_mut().for_each(|job| self.count_closed(job));
        self.closing.jobs = jobs;
        stepped?;
        self.finish_runs()?;
        self.write_closing()
    }

    /// Has runs follow the names of their services and backends, and ends those whose service is not configured any more.
    pub(super) fn follow_runs(&mut self) {
        let names = self.names();
        let services = self.config.services.iter();
        let known: BTreeSet<ServiceId> =
            services.filter_map(|service| self.registry.service_id(service.vip)).collect();
        let stay = self.closing.jobs.iter_mut().filter(|job| known.contains(&job.service));
        stay.for_each(|job| job.follow_names(&names));
        self.stop_runs("the service was removed from the configuration, or has another VIP", |job| {
            !known.contains(&job.service)
        });
    }

    /// Forgets what was closed of whom nobody is called by that name any more, as other counts end with who they are of.
    pub(super) fn forget_closed(&mut self) {
        let names = self.names();
        self.closing.closed.retain(|(service, backend, _), _| {
            names.service_id(service).is_ok_and(|id| names.backend_ids(Some(id), backend).is_ok())
        });
    }

    /// Ends runs at once, and has nothing more closed for them.
    fn stop_runs(&mut self, why: &str, which: impl Fn(&Job) -> bool) {
        let stopped = self.closing.jobs.iter_mut().filter(|job| which(job));
        stopped.for_each(|job| job.run.stop(why));
        // Even when the list cannot be emptied, the program is told not to look at it.
        let (finished, written) = blocking(|| (self.finish_runs(), self.write_closing()));
        if let Err(error) = finished.and(written) {
            error!(
                "flows may still be closed, because a map could not be written: {error}; it is tried again"
            );
        }
    }

    /// Puts runs that are over away. Those whose flows could not be taken off the list stay until they can be.
    fn finish_runs(&mut self) -> Result<(), Error> {
        let list = &mut self.closing.list;
        let (ended, mut result) =
            take_ended(&mut self.closing.jobs, |job| job.unlist_all(|key| list.remove(key)));
        if !ended.is_empty() && self.closing.jobs.is_empty() {
            // Nothing belongs to anybody: it would be closed, and not counted, as soon as another run begins.
            result = result.and(self.closing.list.clear().map(drop));
        }
        for mut job in ended {
            let run = self.wire_run(&job);
            self.count_closed(&mut job);
            info!("{}: {} flows closed; ended, because {}", job.title(), run.closed, run.reason);
            self.closing.ended.push_back(run);
        }
        result
    }

    /// Counts what a run has closed and was not counted yet, under the names of now: what was counted stays with the name
    /// that it was counted under.
    fn count_closed(&mut self, job: &mut Job) {
        for (id, flows) in std::mem::take(&mut job.uncounted) {
            let found = self.registry.backends().find(|(_, _, other, ..)| *other == id);
            // Counts of who is gone have ended.
            let Some((_, _, _, backend, _)) = found else { continue };
            let key = (job.service_name.clone(), backend.to_owned(), job.kind());
            *self.closing.closed.entry(key).or_default() += flows;
        }
    }

    /// Brings the byte behind `present` of every backend up to date.
    fn write_closing(&mut self) -> Result<(), Error> {
        let on = self.closing.jobs.iter().filter(|job| !job.is_over());
        let listed = on.flat_map(Job::backends);
        let mut wanted: BTreeMap<BackendId, u8> = listed.map(|id| (id, Backend::CLOSE_LISTED)).collect();
        wanted.extend(self.closing.dead.iter().map(|id| (*id, Backend::CLOSE_ALL)));
        if wanted == self.closing.written {
            return Ok(());
        }
        let gone =
            self.closing.written.keys().filter(|id| !wanted.contains_key(id)).map(|id| (*id, Backend::KEEP));
        let changes: Vec<_> = wanted.iter().map(|(id, how)| (*id, *how)).chain(gone).collect();
        self.steering.put_closing(changes)?;
        self.closing.written = wanted;
        Ok(())
    }

    /// Takes in the flows that a walk has found.
    pub(super) fn walked(&mut self, walked: Walked) {
        let Some(job) = self.closing.jobs.iter_mut().find(|job| job.id == walked.job) else { return };
        match walked.found {
            Ok(found) => job.found(found, clock::now()),
            Err(error) => {
                error!("the flow table could not be read: {error}");
                job.run.stop("the flow table could not be read");
            }
        }
        self.step_runs();
    }
}

/// Takes those jobs out that are over and whose flows `unlist` has taken off the list; the others stay, and the first
/// error is returned.
fn take_ended(
    jobs: &mut Vec<Job>,
    mut unlist: impl FnMut(&mut Job) -> Result<(), Error>,
) -> (Vec<Job>, Result<(), Error>) {
    let (mut ended, mut result) = (Vec::new(), Ok(()));
    for mut job in std::mem::take(jobs) {
        let unlisted = if job.is_over() { unlist(&mut job).map(|()| true) } else { Ok(false) };
        match unlisted {
            Ok(true) => ended.push(job),
            Ok(false) => jobs.push(job),
            Err(error) => {
                jobs.push(job);
                result = result.and(Err(error));
            }
        }
    }
    (ended, result)
}

#[cfg(test)]
mod tests;
