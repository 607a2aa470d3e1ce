//! Calls about closing flows.

use std::collections::BTreeMap;

use balancer_common::abi::{BackendId, ServiceId};
use balancer_control::closing::{Aim, Order, Progress, Run, Seat};
use tracing::info;

use super::job::Job;
use crate::agent::clock;
use crate::agent::core::Agent;
use crate::api::wire::{self, ApiError, DEFAULT_MAX, DEFAULT_RATE, ErrorCode, Most, RunState, UNFORCED};
use crate::api::{BackendName, Peer};
use crate::kernel;

impl Agent {
    /// Runs that go on, and the last that ended.
    pub(in crate::agent) fn runs(&self) -> wire::Runs {
        let on = self.closing.jobs.iter().map(|job| self.wire_run(job));
        wire::Runs { runs: self.closing.ended.iter().cloned().chain(on).collect() }
    }

    /// Runs that go on.
    pub(in crate::agent) fn runs_on(&self) -> Vec<wire::Run> {
        self.closing.jobs.iter().map(|job| self.wire_run(job)).collect()
    }

    /// Flows closed since the agent started.
    pub(in crate::agent) fn closed_flows(&self) -> Vec<wire::Closed> {
        let all = self.closing.closed.iter();
        all.map(|((service, backend, reason), flows)| wire::Closed {
            service: service.clone(),
            backend: backend.clone(),
            reason: *reason,
            flows: *flows,
        })
        .collect()
    }

    /// Begins a rebalancing, or says what it would do, and notes who asked.
    pub(in crate::agent) fn rebalance_for(
        &mut self,
        peer: Peer,
        request: &wire::RebalanceRequest,
    ) -> Result<wire::Runs, ApiError> {
        let result = self.rebalance(request);
        if !request.dry_run {
            // A tenth of a percent is as fine as it is shown anywhere.
            let action = format!("rebalance --to {}%", (request.to * 1e3).round() / 10.0);
            self.note_operator(Some(peer), (request.service.clone(), None), &action, result.as_ref().err());
        }
        result
    }

    /// Ends runs, and notes who asked.
    pub(in crate::agent) fn stop_for(
        &mut self,
        peer: Peer,
        service: Option<&str>,
    ) -> Result<wire::Runs, ApiError> {
        let result = self.stop(service);
        let about = (service.map(str::to_owned), None);
        self.note_operator(Some(peer), about, "rebalance --stop", result.as_ref().err());
        result
    }

    fn rebalance(&mut self, request: &wire::RebalanceRequest) -> Result<wire::Runs, ApiError> {
        let mut plans = Vec::new();
        for (name, id) in self.services_named(request.service.as_deref())? {
            let seats = self.seats(id).unwrap_or_default();
            let live: u64 = seats.iter().map(|seat| seat.live).sum();
            let max = match request.max.unwrap_or(Most::Share(DEFAULT_MAX)) {
                Most::Flows(flows) if request.force || request.dry_run => flows,
                Most::Flows(flows) => bounded(flows, live, &name)?,
                Most::Share(share) => (live as f64 * share).ceil() as u64,
            };
            let rate = request.rate.unwrap_or(DEFAULT_RATE);
            let order = Order { aim: Aim::Level { tolerance: request.to }, rate, max };
            plans.push(self.job((id, name, None), Run::new(order, &seats, clock::now()), kernel::clock()));
        }
        if request.dry_run {
            let planned = |job| wire::Run { id: 0, state: RunState::Planned, ..self.wire_run(job) };
            return Ok(wire::Runs { runs: plans.iter().map(planned).collect() });
        }
        plans.iter().try_for_each(|job| self.check_free(&job.service_name))?;
        Ok(wire::Runs { runs: self.begin_runs(plans) })
    }

    /// Ends runs: of one service, or all.
    fn stop(&mut self, service: Option<&str>) -> Result<wire::Runs, ApiError> {
        self.services_named(service)?;
        let is_meant = |name: &str| service.is_none_or(|service| service == name);
        let ids: Vec<u64> =
            self.closing.jobs.iter().filter(|job| is_meant(&job.service_name)).map(|job| job.id).collect();
        self.stop_runs("the operator stopped it", |job| ids.contains(&job.id));
        let stopped = self.closing.ended.iter().filter(|run| ids.contains(&run.id));
        Ok(wire::Runs { runs: stopped.cloned().collect() })
    }

    /// Drains a backend, and closes its flows.
    pub(in crate::agent) fn drain_at(
        &mut self,
        name: &BackendName,
        pace: &wire::DrainRequest,
    ) -> Result<wire::Backend, ApiError> {
        let (backend, _) = self.find(name)?;
        self.check_free(&name.service)?;
        let (_, service) = self.services_named(Some(&name.service))?.remove(0);
        let seats = self.seats(service).unwrap_or_default();
        if !pace.force && !seats.iter().any(|seat| seat.id != backend && seat.open) {
            let message = format!(
                "no other backend of {} takes new flows, so the clients of {name} would have nowhere to go; nothing was \
                 changed; bring another one up, or use --force",
                name.service
            );
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        self.drain(name, true)?;
        let seats = self.seats(service).unwrap_or_default();
        let aim = Aim::Empty { backend, force: pace.force };
        let run = Run::new(Order { aim, rate: pace.rate, max: u64::MAX }, &seats, clock::now());
        // Nothing comes back to a draining backend, so that no flow of it is too new.
        let job = self.job((service, name.service.clone(), Some(name.backend.clone())), run, u32::MAX);
        self.begin_runs(vec![job]);
        self.one(backend)
    }

    fn job(&self, of: (ServiceId, String, Option<String>), run: Run, before: u32) -> Job {
        Job::new(self.closing.next, of, run, before, clock::now())
    }

    fn begin_runs(&mut self, jobs: Vec<Job>) -> Vec<wire::Run> {
        self.closing.forget_oldest();
        let mut ids = Vec::new();
        for mut job in jobs {
            job.id = self.closing.next;
            self.closing.next += 1;
            let planned: u64 = job.run.planned().values().sum();
            let rate = wire::per_second(job.run.order().rate);
            info!("{}: {planned} flows are too many; {rate}", job.title());
            ids.push(job.id);
            self.closing.jobs.push(job);
        }
        self.step_runs();
        self.runs().runs.into_iter().filter(|run| ids.contains(&run.id)).collect()
    }

    fn check_free(&self, service: &str) -> Result<(), ApiError> {
        let Some(job) = self.closing.jobs.iter().find(|job| job.service_name == service) else {
            return Ok(());
        };
        let message = format!(
            "the {} is going on; wait for its end, or stop it with: balancer rebalance {service} --stop",
            job.title()
        );
        Err(ApiError::new(ErrorCode::Conflict, message))
    }

    /// The configured service of a name, or all of them.
    fn services_named(&self, name: Option<&str>) -> Result<Vec<(String, ServiceId)>, ApiError> {
        let services = &self.config.services;
        let found: Vec<_> = services
            .iter()
            .filter(|service| name.is_none_or(|name| service.name == name))
            .filter_map(|service| Some((service.name.clone(), self.registry.service_id(service.vip)?)))
            .collect();
        if found.is_empty() {
            let known = services.iter().map(|service| service.name.as_str());
            return Err(ApiError::missing(format_args!("service {}", name.unwrap_or_default()), known));
        }
        Ok(found)
    }

    pub(super) fn wire_run(&self, job: &Job) -> wire::Run {
        let order = job.run.order();
        let (state, reason, done) = match job.run.progress() {
            Progress::Running => (RunState::Running, String::new(), false),
            Progress::Waiting(why) => (RunState::Waiting, why.clone(), false),
            Progress::Stopped(why) => (RunState::Ended, why.clone(), false),
            Progress::Done(why) => (RunState::Ended, why.clone(), true),
        };
        let listed = job.listed_of_each();
        // A service that is gone has no backends to show.
        let seats = self.seats(job.service).unwrap_or_default();
        let to = match order.aim {
            Aim::Level { tolerance } => Some(tolerance),
            Aim::Empty { .. } => None,
        };
        wire::Run {
            id: job.id,
            kind: job.kind(),
            service: job.service_name.clone(),
            backend: job.target.clone(),
            to,
            rate: order.rate,
            max: job.run.limit(),
            state,
            reason,
            done,
            age_seconds: clock::now().since(job.started).as_secs_f64(),
            listed: listed.values().sum(),
            closed: job.closed.values().sum(),
            backends: self.wire_backends(job, &seats, &listed),
        }
    }

    fn wire_backends(
        &self,
        job: &Job,
        seats: &[Seat],
        listed: &BTreeMap<BackendId, u64>,
    ) -> Vec<wire::RunBackend> {
        let capacity: f64 = seats.iter().filter(|seat| seat.balanced).map(|seat| seat.capacity).sum();
        let of = |counts: &BTreeMap<BackendId, u64>, id| counts.get(&id).copied().unwrap_or(0);
        let backend = |seat: &Seat| wire::RunBackend {
            name: self.short_name(seat.id),
            live: seat.live,
            share: if seat.balanced { seat.capacity / capacity } else { 0.0 },
            load: seat.load,
            planned: of(job.run.planned(), seat.id),
            listed: of(listed, seat.id),
            closed: of(&job.closed, seat.id),
        };
        seats.iter().map(backend).collect()
    }
}

/// A `max` that was not forced.
fn bounded(flows: u64, live: u64, service: &str) -> Result<u64, ApiError> {
    let most = (live as f64 * UNFORCED).ceil() as u64;
    if flows <= most {
        return Ok(flows);
    }
    let message = format!(
        "a max of {flows} flows is more than {:.0} % of the {live} that service {service} has, which needs to be meant: \
         nothing was begun; use at most {most}, or look at --dry-run first and say --force (\"force\": true)",
        UNFORCED * 100.0
    );
    Err(ApiError::new(ErrorCode::Conflict, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_flows_is_at_most_half_of_those_there_are() {
        assert_eq!(
            (bounded(5, 10, "mqtt"), bounded(5, 9, "mqtt"), bounded(0, 0, "mqtt")),
            (Ok(5), Ok(5), Ok(0))
        );
        let error = bounded(6, 10, "mqtt").unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict);
        assert!(error.message.contains("use at most 5") && error.message.contains("--force"), "{error:?}");
    }
}
