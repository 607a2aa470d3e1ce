//! What the agent knows at one moment, and what of it goes into the decision log.

use std::mem;

use balancer_common::abi::{BackendId, Room, ServiceId};
use balancer_control::outline::{ConditionOutline, Reason, ServiceOutline};
use balancer_control::snapshot::{Condition, ServiceSnapshot};
use balancer_control::{Moment, Snapshot};

use super::clock;
use super::core::Agent;
use crate::api::wire::ApiError;
use crate::api::{BackendName, Peer};
use crate::kernel::Error;

impl Agent {
    /// What the controller knows, and what the agent alone knows: of telemetry, next hops, and what becomes of
    /// SYNs.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.controller.snapshot(clock::now());
        snapshot.services.iter_mut().for_each(|service| self.complete(service));
        snapshot
    }

    fn complete(&self, service: &mut ServiceSnapshot) {
        let backends = service.backends.iter_mut().map(|backend| (backend.id, &mut backend.conditions));
        self.add_known((service.id, &mut service.conditions), backends);
    }

    /// What may have changed since the last tick, of all of that.
    fn outline(&self, now: Moment) -> Vec<ServiceOutline<'_>> {
        let mut services = self.controller.outline(now);
        for service in &mut services {
            let backends = service.backends.iter_mut().map(|backend| (backend.id, &mut backend.conditions));
            self.add_known((service.id, &mut service.conditions), backends);
        }
        services
    }

    /// Adds what the agent alone knows to the conditions of a service and its backends.
    fn add_known<'a, 'b, C: From<ConditionOutline<'a>> + 'b>(
        &'a self,
        (service, conditions): (ServiceId, &mut Vec<C>),
        backends: impl Iterator<Item = (BackendId, &'b mut Vec<C>)>,
    ) {
        for (backend, conditions) in backends {
            conditions.extend(self.known_of(backend).map(C::from));
        }
        conditions.extend(self.spells_of(service).map(C::from));
    }

    /// What the agent alone knows of a backend.
    fn known_of(&self, id: BackendId) -> impl Iterator<Item = ConditionOutline<'_>> {
        let silent = self.silent.get(&id).map(|problem| Box::new(move || problem.clone()) as Reason<'_>);
        let by_kernel = |problem| -> Reason<'_> {
            Box::new(move || format!("{problem}; the kernel is asked for each packet"))
        };
        let known = [("telemetry-fails", silent), ("next-hop", self.hops.problem(id).map(by_kernel))];
        known.into_iter().filter_map(|(word, reason)| {
            Some(ConditionOutline { word, since: None, closes: false, reason: reason? })
        })
    }

    /// The same with what holds for milliseconds, and would fill the decision log: budgets that are used up.
    pub(super) fn snapshot_with_budgets(&self) -> Result<Snapshot, Error> {
        let mut snapshot = self.snapshot();
        let spent = self.without_budget()?;
        for service in &mut snapshot.services {
            if self.room(service.id)? == Room::Spent {
                service.conditions.extend(service.budget.map(|budget| over_budget(budget.rate)));
            }
            for backend in service.backends.iter_mut().filter(|backend| spent.contains(&backend.id)) {
                backend.conditions.extend(backend.budget.map(|budget| over_budget(budget.rate)));
            }
        }
        Ok(snapshot)
    }

    /// Tells the decision log what has changed.
    pub(super) fn observe(&mut self) {
        let now = clock::now();
        let mut journal = mem::take(&mut self.journal);
        let whole = |id| {
            let mut service = self.controller.service_snapshot(id, now)?;
            self.complete(&mut service);
            Some(service)
        };
        let entries = journal.observe(&self.outline(now), whole, now);
        self.journal = journal;
        if !entries.is_empty() {
            self.history.observed(entries, clock::stamp());
        }
    }

    /// Tells the decision log what somebody asked for, and why it was refused, if it was.
    pub(super) fn note_operator(
        &mut self,
        peer: Option<Peer>,
        about: (Option<String>, Option<String>),
        action: &str,
        error: Option<&ApiError>,
    ) {
        let refused = error.map(|error| match error.problems.as_slice() {
            [] => error.message.clone(),
            problems => format!("{}: {}", error.message, problems.join("; ")),
        });
        let who = peer.map(|peer| (peer.uid, peer.pid));
        self.history.operator(who, about, action, refused, clock::stamp());
    }

    /// Carries out somebody's wish about a backend, and tells the decision log of it before what follows from it.
    pub(super) fn for_operator<T>(
        &mut self,
        peer: Peer,
        name: &BackendName,
        action: &str,
        act: impl FnOnce(&mut Self) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.history.hold();
        let result = act(self);
        let about = (Some(name.service.clone()), Some(name.backend.clone()));
        self.note_operator(Some(peer), about, action, result.as_ref().err());
        result
    }
}

fn over_budget(rate: f64) -> Condition {
    let reason = format!("its {rate:.0} new connections a second are used up for the moment");
    Condition { word: "over-budget", reason, since: None, closes: true }
}
