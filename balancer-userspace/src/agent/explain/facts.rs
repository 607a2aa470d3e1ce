//! From the controller's snapshot to what goes over the socket.

use balancer_control::Moment;
use balancer_control::snapshot::{self, BackendSnapshot, ServiceSnapshot};

use crate::api::wire::{BackendFacts, BackendState, Condition, Steering};

impl Condition {
    /// A condition as it goes over the socket.
    pub(crate) fn new(condition: &snapshot::Condition, now: Moment) -> Self {
        Self {
            condition: condition.word.to_owned(),
            reason: condition.reason.clone(),
            seconds: condition.since.map(|since| now.since(since).as_secs_f64()),
            closes: condition.closes,
        }
    }
}

pub(super) fn conditions(conditions: &[snapshot::Condition], now: Moment) -> Vec<Condition> {
    conditions.iter().map(|condition| Condition::new(condition, now)).collect()
}

pub(super) fn steering(service: &ServiceSnapshot, now: Moment) -> Steering {
    let ring = service.ring_change.as_ref();
    Steering {
        policy: service.policy.into(),
        draws: service.draws,
        gateways: service.gateways,
        stale_after_seconds: service.stale_after.as_secs_f64(),
        connection_cost: service.cost,
        ring_seconds: ring.map(|ring| now.since(ring.at).as_secs_f64()),
        ring_why: ring.map(|ring| ring.why.clone()),
        ring_moved: ring.map(|ring| ring.moved),
        ring_slots: ring.map_or(0, |ring| ring.slots),
    }
}

pub(super) fn backend(known: &BackendSnapshot, service: &ServiceSnapshot, now: Moment) -> BackendFacts {
    BackendFacts {
        name: known.name.clone(),
        state: BackendState::from(known.state).word().to_owned(),
        reason: Some(known.reason.clone()),
        state_seconds: Some(now.since(known.since).as_secs_f64()),
        open: known.open,
        conditions: conditions(&known.conditions, now),
        standby: known.standby,
        leaving: known.leaving,
        weight: Some(known.weight),
        weight_share: Some(known.weight_share),
        capacity: Some(known.capacity),
        capacity_learnt: Some(known.capacity_learnt),
        ring_share: known.ring_share,
        most_share: Some(1.0 - (1.0 - known.ring_share).powi(i32::from(service.draws))),
        live: known.live,
        max_connections: known.cap,
        score: known.score,
        base: Some(known.base),
        counted: Some(known.counted),
        cost: Some(known.cost),
        basis: Some(known.basis.into()),
        utilisation: known.utilisation,
        sample_age_seconds: known.sample.as_ref().map(|sample| now.since(sample.taken).as_secs_f64()),
        as_of: None,
    }
}
