//! What the controller knows, in words and numbers.

use balancer_common::abi::BackendId;

use super::Controller;
use crate::Moment;
use crate::backend::Backend;
use crate::drain::DrainState;
use crate::health::HealthState;
use crate::score::from_q32;
use crate::service::Service;
use crate::snapshot::{BackendSnapshot, BackendState, ServiceSnapshot, Snapshot};

impl Controller {
    /// Everything known, as of the last tick; ages as of `now`.
    #[must_use]
    pub fn snapshot(&self, now: Moment) -> Snapshot {
        Snapshot { services: self.services.iter().map(|service| service_snapshot(service, now)).collect() }
    }

    /// The state of one backend, which a snapshot has as well; `None` when the model does not have it.
    #[must_use]
    pub fn state(&self, id: BackendId) -> Option<BackendState> {
        let mut backends = self.services.iter().flat_map(|service| &service.backends);
        backends.find(|backend| backend.id() == id).map(|backend| state(backend).0)
    }
}

fn service_snapshot(service: &Service, now: Moment) -> ServiceSnapshot {
    ServiceSnapshot {
        id: service.spec.id,
        name: service.spec.name.clone(),
        policy: service.spec.policy,
        draws: service.steering.as_ref().map_or(1, |steering| steering.draws),
        ring_built: service.ring.built_at(),
        backends: service.backends.iter().map(|backend| backend_snapshot(backend, service, now)).collect(),
    }
}

fn backend_snapshot(backend: &Backend, service: &Service, now: Moment) -> BackendSnapshot {
    let (state, reason, since) = state(backend);
    let live = backend.history.live();
    let level = backend.load.fresh_level(service.spec.stale_after, now);
    BackendSnapshot {
        id: backend.id(),
        name: backend.spec.name.clone(),
        state,
        reason,
        since,
        standby: backend.spec.standby,
        leaving: backend.spec.leaving,
        drained_by_operator: backend.drain.by_operator(),
        weight: backend.weight(),
        weight_overridden: backend.weight_override.is_some(),
        capacity: backend.capacity,
        cap: backend.spec.cap,
        live,
        ring_share: service.ring.share(backend.id()),
        score: from_q32(backend.score.predict(live)),
        utilisation: level.map(|level| level.utilisation),
        cost: from_q32(backend.score.delta),
        frozen: backend.load.is_frozen(),
        basis: backend.basis,
        sample: backend.sample.clone(),
        refused: backend.refused.clone(),
    }
}

/// A drain comes first: it is somebody's wish, and its end is waited for whatever else is wrong.
fn state(backend: &Backend) -> (BackendState, String, Moment) {
    let health = &backend.health;
    let down = health.state() == HealthState::Down;
    if let Some(since) = backend.drain.since() {
        let state = match backend.drain.state() {
            DrainState::Drained => BackendState::Drained,
            DrainState::Active | DrainState::Draining => BackendState::Draining,
        };
        let mut reason = backend.drain.reason();
        if down {
            reason = format!("{reason}; also down: {}", health.reason());
        }
        return (state, reason, since);
    }
    let since = health.since();
    match (health.state(), backend.exhaustion.since()) {
        (HealthState::Starting, _) => (BackendState::Starting, health.reason().to_owned(), since),
        (HealthState::Down, _) => (BackendState::Down, health.reason().to_owned(), since),
        (HealthState::Up, None) => (BackendState::Up, health.reason().to_owned(), since),
        (HealthState::Up, Some(_)) if backend.spared => {
            let reason = format!(
                "{}; open all the same, because no backend is better off",
                backend.exhaustion.reason()
            );
            (BackendState::Up, reason, since)
        }
        (HealthState::Up, Some(since)) => {
            (BackendState::Exhausted, backend.exhaustion.reason().to_owned(), since)
        }
    }
}
