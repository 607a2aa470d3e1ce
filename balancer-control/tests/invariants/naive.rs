//! What must be closed, by a model too simple to be wrong: the operator's drains, who is missing, and probes in a row.

use std::collections::BTreeMap;

use balancer_common::abi::BackendId;
use balancer_control::{Input, Model, ProbeResult, ServiceSpec};

/// What is closed.
#[derive(Default)]
pub(crate) struct Naive {
    services: Vec<ServiceSpec>,
    backends: BTreeMap<BackendId, NaiveBackend>,
}

#[derive(Clone)]
struct NaiveBackend {
    seed: u64,
    probed: bool,
    leaving: bool,
    drained: bool,
    missing: bool,
    up: bool,
    successes: u32,
    failures: u32,
}

impl Naive {
    pub(crate) fn note(&mut self, input: &Input) {
        match input {
            Input::Model(model) => self.follow(model),
            Input::Drain { backend, drain } => {
                if let Some(backend) = self.backends.get_mut(backend) {
                    backend.drained = *drain;
                }
            }
            Input::Missing { backend, missing } => {
                if let Some(backend) = self.backends.get_mut(backend) {
                    backend.missing = *missing;
                }
            }
            Input::Probe { backend, result } => self.probed(*backend, result),
            Input::Adopt { .. }
            | Input::Sample { .. }
            | Input::NoTelemetry { .. }
            | Input::OtherTelemetry { .. }
            | Input::Counts(_)
            | Input::Weight { .. } => {}
        }
    }

    fn follow(&mut self, model: &Model) {
        let known = std::mem::take(&mut self.backends);
        let had = |id| self.services.iter().any(|service: &ServiceSpec| service.id == id);
        for service in &model.services {
            for spec in &service.backends {
                let fresh = NaiveBackend {
                    seed: spec.seed,
                    probed: spec.probed,
                    leaving: spec.leaving,
                    drained: false,
                    missing: false,
                    up: !spec.probed,
                    successes: 0,
                    failures: 0,
                };
                let mut backend = known
                    .get(&spec.id)
                    .filter(|old| old.seed == spec.seed && had(service.id))
                    .cloned()
                    .unwrap_or(fresh);
                if !spec.probed && !backend.up && !spec.leaving {
                    (backend.up, backend.successes, backend.failures) = (true, 0, 0);
                }
                (backend.probed, backend.leaving) = (spec.probed, spec.leaving);
                self.backends.insert(spec.id, backend);
            }
        }
        self.services.clone_from(&model.services);
    }

    fn probed(&mut self, id: BackendId, result: &ProbeResult) {
        let service =
            self.services.iter().find(|service| service.backends.iter().any(|backend| backend.id == id));
        let (Some(service), Some(backend)) = (service, self.backends.get_mut(&id)) else { return };
        if !backend.probed {
            return;
        }
        match result {
            ProbeResult::Up | ProbeResult::Draining(_) => {
                (backend.successes, backend.failures) = (backend.successes + 1, 0);
                backend.up |= backend.successes >= service.rise;
            }
            ProbeResult::Untried(_) => {}
            ProbeResult::Unknown(_) if backend.up => {}
            ProbeResult::Unknown(_) => {
                (backend.successes, backend.failures) = (backend.successes + 1, 0);
                backend.up = backend.successes >= service.rise.max(1);
            }
            ProbeResult::Down(_) => {
                (backend.successes, backend.failures) = (0, backend.failures + 1);
                backend.up &= backend.failures < service.fall.max(1);
            }
        }
    }

    /// A panic sets aside what probes say.
    pub(crate) fn closed(&self, id: BackendId, panics: bool) -> bool {
        let is_closed = |backend: &NaiveBackend| {
            backend.leaving || backend.drained || backend.missing || !backend.up && !panics
        };
        self.backends.get(&id).is_none_or(is_closed)
    }
}
