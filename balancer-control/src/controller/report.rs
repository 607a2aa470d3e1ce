//! What the controller knows, in words and numbers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use balancer_common::abi::{BackendId, RING_SLOTS, ServiceId};

use super::Controller;
use crate::backend::Backend;
use crate::condition;
use crate::drain::DrainState;
use crate::health::HealthState;
use crate::outline::{BackendOutline, ConditionOutline, ServiceOutline};
use crate::ring::{RingCause, RingChange};
use crate::score::from_q32;
use crate::service::Service;
use crate::snapshot::{
    self, AlarmSnapshot, BackendSnapshot, BackendState, Condition, PanicSnapshot, ServiceSnapshot, Snapshot,
};

use crate::{Moment, admission};

impl Controller {
    /// Everything known, as of the last tick; ages as of `now`.
    #[must_use]
    pub fn snapshot(&self, now: Moment) -> Snapshot {
        Snapshot { services: self.services.iter().map(|service| service_snapshot(service, now)).collect() }
    }

    /// What a snapshot has of one service; `None` when the model does not have it.
    #[must_use]
    pub fn service_snapshot(&self, id: ServiceId, now: Moment) -> Option<ServiceSnapshot> {
        let service = self.services.iter().find(|service| service.spec.id == id)?;
        Some(service_snapshot(service, now))
    }

    /// What may have changed since the last tick.
    #[must_use]
    pub fn outline(&self, now: Moment) -> Vec<ServiceOutline<'_>> {
        self.services.iter().map(|service| service_outline(service, self.models, now)).collect()
    }

    /// The state of one backend, which a snapshot has as well; `None` when the model does not have it.
    #[must_use]
    pub fn state(&self, id: BackendId) -> Option<BackendState> {
        let (service, backend) = self.place(id)?;
        Some(state(self.services.get(service)?.backends.get(backend)?).0)
    }
}

fn service_snapshot(service: &Service, now: Moment) -> ServiceSnapshot {
    let (ring_change, ring_changes) = service.ring.last_change();
    let weights = service.backends.iter().map(|backend| weight_on_ring(backend, service)).sum();
    let backends = service.backends.iter();
    ServiceSnapshot {
        id: service.spec.id,
        name: service.spec.name.clone(),
        policy: service.spec.policy,
        draws: service.steering.as_ref().map_or(1, |steering| steering.draws),
        panic: service.fallback.panic.map(|panic| PanicSnapshot {
            since: panic.since,
            up: panic.up,
            of: panic.of,
        }),
        alarm: service
            .alarm
            .as_ref()
            .map(|alarm| AlarmSnapshot { since: alarm.since, names: alarm.names.iter().cloned().collect() }),
        pace: service.pace(),
        budget: admission::service_budget(service, now),
        cap: service.spec.admission.cap,
        open_to: service.fallback.open_to,
        ring_built: service.ring.built_at(),
        stale_after: service.spec.stale_after,
        gateways: service.spec.gateways,
        cost: service.cost,
        conditions: put_into_words(condition::of_service(service, now)),
        ring_changes,
        ring_change: ring_change.map(|change| told(change, service)),
        backends: backends.map(|backend| backend_snapshot(backend, service, weights, now)).collect(),
    }
}

fn service_outline(service: &Service, revision: u64, now: Moment) -> ServiceOutline<'_> {
    let outline = |backend| backend_outline(backend, service, now);
    ServiceOutline {
        id: service.spec.id,
        name: &service.spec.name,
        conditions: condition::of_service(service, now),
        ring_changes: service.ring.last_change().1,
        revision,
        backends: service.backends.iter().map(outline).collect(),
    }
}

fn put_into_words(conditions: Vec<ConditionOutline<'_>>) -> Vec<Condition> {
    conditions.into_iter().map(Condition::from).collect()
}

fn backend_outline<'a>(backend: &'a Backend, service: &'a Service, now: Moment) -> BackendOutline<'a> {
    let (state, reason, _) = state(backend);
    let conditions = condition::of_backend(backend, service, state, now);
    let (id, seed, name) = (backend.id(), backend.spec.seed, &backend.spec.name);
    BackendOutline { id, seed, name, state, reason, conditions }
}

/// A change of the ring with the names of its backends.
fn told(change: &RingChange, service: &Service) -> snapshot::RingChange {
    let then = service.ring_names.iter().map(|(id, name)| (*id, name.as_str()));
    let now = service.backends.iter().map(|backend| (backend.id(), backend.spec.name.as_str()));
    let known: BTreeMap<BackendId, &str> = then.chain(now).collect();
    // Of a ring that an earlier agent built somebody may be gone whom this one never knew.
    let name = |id: &BackendId| known.get(id).map_or_else(|| format!("#{}", id.0), |name| (*name).to_owned());
    let names = |ids: &BTreeSet<BackendId>| ids.iter().map(&name).collect::<Vec<_>>().join(", ");
    let why = match &change.cause {
        RingCause::First => "the first ring of the service".to_owned(),
        RingCause::Adopted => "taken over from an earlier agent".to_owned(),
        RingCause::Readjusted => {
            "an earlier agent had built it by other weights or another policy".to_owned()
        }
        RingCause::Order => "the policy gives slots out in another order".to_owned(),
        RingCause::Members { joined, left } => {
            let joined = (!joined.is_empty()).then(|| format!("{} joined", names(joined)));
            let left = (!left.is_empty()).then(|| format!("{} left", names(left)));
            joined.into_iter().chain(left).collect::<Vec<_>>().join("; ")
        }
        RingCause::Configured(ids) => format!("the weight or address of {} changed", names(ids)),
        RingCause::Learnt(by) => format!("telemetry moved the shares by {:.1} % in all", by * 100.0),
    };
    let shares = change.shares.iter().map(|(id, (before, after))| (name(id), *before, *after));
    snapshot::RingChange {
        at: change.at,
        why,
        routine: matches!(change.cause, RingCause::Learnt(_)),
        moved: change.moved,
        slots: RING_SLOTS,
        shares: shares.collect(),
    }
}

/// The weight in force of a backend that is drawn from the ring; zero of any other.
fn weight_on_ring(backend: &Backend, service: &Service) -> f64 {
    if service.fallback.asks(backend) { f64::from(backend.weight()) } else { 0.0 }
}

/// `weights` is the sum of [`weight_on_ring`] of all backends of the service.
fn backend_snapshot(backend: &Backend, service: &Service, weights: f64, now: Moment) -> BackendSnapshot {
    let (state, reason, since) = state(backend);
    let live = backend.counts.live;
    let level = backend.load.fresh_level(service.spec.stale_after, now);
    BackendSnapshot {
        id: backend.id(),
        name: backend.spec.name.clone(),
        state,
        reason: reason.into_owned(),
        since,
        trial: backend.ejection.is_on_trial() && state == BackendState::Up,
        ejections: backend.ejection.total(),
        priority: backend.spec.priority,
        waiting: !backend.spec.standby && !service.fallback.asks(backend),
        standby: backend.spec.standby,
        leaving: backend.spec.leaving,
        drained_by_operator: backend.drain.by_operator(),
        weight: backend.weight(),
        weight_overridden: backend.weight_override.is_some(),
        capacity: backend.capacity,
        capacity_learnt: backend.load.work().messages > 0.0,
        weight_share: if weights > 0.0 { weight_on_ring(backend, service) / weights } else { 0.0 },
        open: backend.score.is_open(live),
        conditions: put_into_words(condition::of_backend(backend, service, state, now)),
        cap: backend.spec.cap,
        budget: admission::backend_budget(backend, service, now),
        live,
        ring_share: service.ring.share(backend.id()),
        score: from_q32(backend.score.predict(live)),
        utilisation: level.map(|level| level.utilisation),
        cost: from_q32(backend.score.delta),
        base: from_q32(backend.score.base),
        counted: backend.score.counted,
        frozen: backend.load.is_frozen(),
        basis: backend.basis,
        sample: backend.sample.clone(),
        refused: backend.refused.clone(),
    }
}

/// A drain comes first: it is somebody's wish, and its end is waited for whatever else is wrong.
fn state(backend: &Backend) -> (BackendState, Cow<'_, str>, Moment) {
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
        return (state, reason.into(), since);
    }
    let reason = Cow::Borrowed(health.reason());
    let since = health.since();
    match health.state() {
        HealthState::Starting => return (BackendState::Starting, reason, since),
        HealthState::Down if backend.panicked && !backend.ejection.is_out() => {
            let reason = format!("{reason}; takes new flows all the same, because the service panics");
            return (BackendState::Down, reason.into(), since);
        }
        HealthState::Down => return (BackendState::Down, reason, since),
        HealthState::Up => {}
    }
    let ejected = backend.ejection.since();
    if let Some(since) = ejected.filter(|_| backend.ejection.is_out()) {
        return (BackendState::Ejected, backend.ejection.reason().into(), since);
    }
    match (backend.exhaustion.since(), ejected) {
        (Some(_), _) if backend.spared => {
            let reason = format!(
                "{}; open all the same, because no backend is better off",
                backend.exhaustion.reason()
            );
            (BackendState::Up, reason.into(), since)
        }
        (Some(since), _) => (BackendState::Exhausted, backend.exhaustion.reason().into(), since),
        (None, Some(since)) => (BackendState::Up, backend.ejection.reason().into(), since),
        (None, None) => (BackendState::Up, reason, since),
    }
}
