//! Why new flows of a service go where they go: how it is, or how it was by the decision log.

mod facts;
mod flow;
mod past;
mod words;

use std::net::SocketAddr;
use std::time::Duration;

use super::answers::failed;
use super::clock;
use super::core::Agent;
use crate::api::wire::{ApiError, ErrorCode, Explanation, Run};
use crate::api::{Question, When};
use crate::config::ServiceConfig;
use crate::kernel::FlowKey;

/// Entries of the decision log in an explanation, the newest.
const EVENTS: usize = 200;

/// What happened so long before and after a moment is told with it.
const AROUND: Duration = Duration::from_secs(60);

impl Agent {
    /// Answers a question.
    pub(super) fn explain(&self, question: &Question) -> Result<Explanation, ApiError> {
        let service = match (&question.service, question.client) {
            (Some(name), _) => name.clone(),
            (None, Some(client)) => self.service_of(client)?.name.clone(),
            (None, None) => return Err(invalid("nothing to explain; name a service or a client")),
        };
        let mut answer = match question.when {
            When::At(wall) => self.past(&service, question, wall)?,
            When::Now | When::Since(_) => self.present(&service, question)?,
        };
        let backend = answer.backend.as_deref().filter(|_| question.client.is_none());
        let of = (service.as_str(), backend);
        answer.events = match question.when {
            When::Now => Vec::new(),
            When::Since(since) => self.history.since(of, since, clock::stamp(), EVENTS),
            When::At(wall) => self.history.around(of, wall, AROUND, AROUND, EVENTS),
        };
        answer.log_begins = self.history.begins();
        Ok(answer)
    }

    fn present(&self, name: &str, question: &Question) -> Result<Explanation, ApiError> {
        let (snapshot, now) = (self.snapshot_with_budgets().map_err(failed)?, clock::now());
        let known = snapshot.services.iter().find(|service| service.name == name).ok_or_else(|| {
            let known = snapshot.services.iter().map(|service| service.name.as_str());
            ApiError::missing(format_args!("service {name}"), known)
        })?;
        let mut answer = Explanation {
            service: name.to_owned(),
            steering: Some(facts::steering(known, now)),
            conditions: facts::conditions(&known.conditions, now),
            backends: known.backends.iter().map(|backend| facts::backend(backend, known, now)).collect(),
            ..Explanation::default()
        };
        if let Some(client) = question.client {
            return self.explain_client(answer, self.configured(name)?, client);
        }
        if let Some(backend) = &question.backend {
            let names: Vec<String> = answer.backends.iter().map(|facts| facts.name.clone()).collect();
            answer.reasons = words::of_backend(&answer, backend);
            answer.backends.retain(|facts| facts.name == *backend);
            if answer.backends.is_empty() {
                let what = format_args!("backend {backend} in service {name}");
                return Err(ApiError::missing(what, names.iter().map(String::as_str)));
            }
            answer.backend = Some(backend.clone());
        } else {
            answer.reasons = words::of_service(&answer);
        }
        let is_meant = |run: &&Run| {
            run.service == name
                && (run.backend.is_none() || answer.backend.is_none() || run.backend == answer.backend)
        };
        let runs: Vec<String> = self.runs_on().iter().filter(is_meant).map(words::run).collect();
        answer.reasons.extend(runs);
        Ok(answer)
    }

    fn configured(&self, name: &str) -> Result<&ServiceConfig, ApiError> {
        let found = self.config.services.iter().find(|service| service.name == name);
        found.ok_or_else(|| {
            missing(format!("service {name} was removed from the configuration: it takes no new flows"))
        })
    }

    /// The service that a client means: the one that it has a flow to, or the only one of its address family.
    fn service_of(&self, client: SocketAddr) -> Result<&ServiceConfig, ApiError> {
        let family = |service: &&ServiceConfig| service.vip.is_ipv4() == client.is_ipv4();
        let candidates: Vec<&ServiceConfig> = self.config.services.iter().filter(family).collect();
        let has_flow = |service: &&&ServiceConfig| {
            self.registry
                .service_id(service.vip)
                .is_some_and(|id| self.flows.get(&FlowKey::new(client, id)).is_ok_and(|flow| flow.is_some()))
        };
        let with_flow: Vec<&ServiceConfig> = candidates.iter().filter(has_flow).copied().collect();
        match (with_flow.as_slice(), candidates.as_slice()) {
            ([one], _) | ([], [one]) => Ok(one),
            ([], []) => Err(missing(format!("no service is of the address family of {client}"))),
            (several, all) => {
                let (which, of) =
                    if several.is_empty() { ("could go to", all) } else { ("has flows to", several) };
                let names: Vec<&str> = of.iter().map(|service| service.name.as_str()).collect();
                Err(invalid(format!("{client} {which} {}; name one with --service", names.join(", "))))
            }
        }
    }
}

fn missing(message: String) -> ApiError {
    ApiError::new(ErrorCode::NotFound, message)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Invalid, message)
}
