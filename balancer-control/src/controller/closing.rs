//! What closing flows needs to know of the backends.

use core::time::Duration;
use std::collections::BTreeSet;

use balancer_common::abi::{BackendId, ServiceId};

use super::Controller;
use crate::backend::Backend;
use crate::closing::Seat;
use crate::drain::DrainState;
use crate::health::HealthState;
use crate::score::from_q32;
use crate::service::Service;
use crate::{Moment, Policy};

impl Controller {
    /// The backends of a service as a closing run sees them, with the live connections that `live` says; `None` when the
    /// model does not have the service.
    ///
    /// Their load is what new flows are steered by, as of the last tick. Of policies that do not look at load it is
    /// connections over weight.
    #[must_use]
    pub fn seats(&self, service: ServiceId, live: impl Fn(BackendId) -> u64) -> Option<Vec<Seat>> {
        let service = self.service(service)?;
        let configured = service.backends.iter().filter(|backend| !backend.spec.leaving);
        Some(configured.map(|backend| seat(backend, service, live(backend.id()))).collect())
    }

    /// Backends of a service whose probes have failed for `grace` at least; none as long as no other backend of it takes
    /// new flows, because their clients would have nowhere to go, and what fails may be on our side.
    #[must_use]
    pub fn dead(&self, service: ServiceId, grace: Duration, now: Moment) -> Vec<BackendId> {
        let Some(service) = self.service(service) else { return Vec::new() };
        let is_down = |backend: &Backend| backend.health.state() == HealthState::Down;
        if !service.backends.iter().any(|backend| backend.is_open() && !is_down(backend)) {
            return Vec::new();
        }
        // In a panic probes are not believed.
        let is_dead = |backend: &&Backend| {
            is_down(backend) && !backend.panicked && now.since(backend.health.since()) >= grace
        };
        service.backends.iter().filter(is_dead).map(Backend::id).collect()
    }

    /// Backends whose probes fail, whatever is made of that.
    #[must_use]
    pub fn down(&self) -> BTreeSet<BackendId> {
        let all = self.services.iter().flat_map(|service| &service.backends);
        all.filter(|backend| backend.health.state() == HealthState::Down).map(Backend::id).collect()
    }

    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.iter().find(|service| service.spec.id == id)
    }
}

fn seat(backend: &Backend, service: &Service, live: u64) -> Seat {
    let weight = f64::from(backend.weight());
    let (capacity, load, cost) = match service.spec.policy {
        Policy::Adaptive => {
            let capacity = backend.capacity * backend.bias();
            (capacity, from_q32(backend.score.predict(live)), from_q32(backend.score.delta))
        }
        Policy::LeastConn | Policy::WeightedCpu | Policy::RoundRobin | Policy::Random | Policy::Maglev => {
            (weight, live as f64 / weight, 1.0 / weight)
        }
    };
    let down = backend.health.state() == HealthState::Down;
    let draining = backend.drain.state() != DrainState::Active;
    Seat {
        id: backend.id(),
        live,
        capacity,
        load,
        cost,
        open: backend.is_open(),
        // Those of a group that is not asked stand by.
        balanced: backend.in_rotation() && !down && service.fallback.asks(backend),
        down,
        draining,
        cap: backend.spec.cap,
    }
}
