//! How fast new connections are admitted.
//!
//! A budget is a rate. What the data path is given is a [`Pace`]: what a connection is charged, and how far ahead of
//! the clock its bucket may be. A backend that comes back into rotation is given a tenth of its rate and, step by step
//! over the ramp, all of it.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use balancer_common::abi::{BackendId, BackendPace, Pace};

use crate::Moment;
use crate::backend::Backend;
use crate::command::{Paces, ServiceLimits};
use crate::model::Admission;
use crate::service::Service;
use crate::snapshot::BudgetSnapshot;

/// Share of its budget that a backend begins with: what Envoy's slow start begins with too.
const FIRST_SHARE: f64 = 0.1;

/// Steps of a ramp.
const STEPS: u32 = 20;

/// A bucket holds what its rate brings in this time: the longest that a burst makes the last of it wait, where the rate
/// is what the broker can do.
const BURST: Duration = Duration::from_millis(250);

/// Connections that a bucket holds at least, the dearest that share it. At half of a rate of any size, arrivals at
/// random then find an empty bucket less than once in a hundred thousand.
const LEAST_BURST: f64 = 10.0;

const NANOS: f64 = 1e9;

/// Whether something is in rotation, and since when it has been coming back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ramp {
    in_rotation: bool,
    /// When it came back; `None` when it was there before anybody looked.
    since: Option<Moment>,
}

impl Ramp {
    /// It was in rotation before this controller was made.
    pub(crate) const fn adopt(&mut self) {
        *self = Self { in_rotation: true, since: None };
    }

    /// Takes note of whether it is in rotation.
    pub(crate) const fn follow(&mut self, in_rotation: bool, now: Moment) {
        if in_rotation && !self.in_rotation {
            self.since = Some(now);
        }
        self.in_rotation = in_rotation;
    }

    /// The part of the budget that it has.
    pub(crate) fn share(&self, ramp: Duration, now: Moment) -> f64 {
        match self.since {
            _ if !self.in_rotation => FIRST_SHARE,
            Some(since) if now.since(since) < ramp => {
                let steps = now.since(since).as_nanos() * u128::from(STEPS) / ramp.as_nanos();
                FIRST_SHARE + (1.0 - FIRST_SHARE) * steps as f64 / f64::from(STEPS)
            }
            Some(_) | None => 1.0,
        }
    }

    /// When it has more of its budget.
    pub(crate) fn deadlines(&self, ramp: Duration) -> impl Iterator<Item = Moment> {
        let since = self.since.filter(|_| self.in_rotation && !ramp.is_zero());
        // The first nanosecond at which `share` counts the step.
        let step = move |step: u32| (ramp.as_nanos() * u128::from(step)).div_ceil(u128::from(STEPS));
        let after = move |n| Duration::from_nanos(u64::try_from(step(n)).unwrap_or(u64::MAX));
        since.into_iter().flat_map(move |since| (1..=STEPS).map(move |n| since.plus(after(n))))
    }
}

/// What all services and backends are given.
pub(crate) fn paces(services: &[Service], now: Moment) -> Paces {
    let limits = |service: &Service| (service.spec.id, service_limits(service, now));
    Paces {
        services: services.iter().map(limits).filter(|(_, limits)| *limits != ServiceLimits::NONE).collect(),
        backends: backend_paces(services, now),
    }
}

/// The budget of a service, in its own connections.
pub(crate) fn service_budget(service: &Service, now: Moment) -> Option<BudgetSnapshot> {
    let admission = &service.spec.admission;
    let full = lower(admission.max_rate, service.pace().map(f64::from))?;
    Some(BudgetSnapshot { rate: full * service.ramp.share(admission.ramp, now), full })
}

/// The budget of a backend, in plain connects.
pub(crate) fn backend_budget(backend: &Backend, service: &Service, now: Moment) -> Option<BudgetSnapshot> {
    let full = backend.spec.budget.map(|budget| budget.rate).filter(|rate| *rate > 0.0)?;
    Some(BudgetSnapshot { rate: full * backend.ramp.share(service.spec.admission.ramp, now), full })
}

fn service_limits(service: &Service, now: Moment) -> ServiceLimits {
    let Admission { cap, refuse, .. } = service.spec.admission;
    let pace = service_budget(service, now)
        .map_or(Pace::FREE, |BudgetSnapshot { rate, full }| pace(NANOS / rate, NANOS / full));
    ServiceLimits { pace, cap, refuse }
}

/// Backends at one address share a bucket, which is found under the lowest of their ids.
fn backend_paces(services: &[Service], now: Moment) -> BTreeMap<BackendId, BackendPace> {
    /// A bucket, and what the dearest connection costs it at the full rate.
    #[derive(Clone, Copy)]
    struct Bucket {
        id: BackendId,
        dearest: f64,
    }
    let of_service =
        |service| move |backend| Some((service, backend, backend_budget(backend, service, now)?));
    let all: Vec<(&Service, &Backend, BudgetSnapshot)> =
        services.iter().flat_map(|service| service.backends.iter().filter_map(of_service(service))).collect();
    let cost = |service: &Service, rate: f64| f64::from(service.spec.admission.handshake_cost) * NANOS / rate;
    let mut buckets: BTreeMap<IpAddr, Bucket> = BTreeMap::new();
    for (service, backend, budget) in &all {
        let (id, dearest) = (backend.id(), cost(service, budget.full));
        let bucket = buckets.entry(address(backend)).or_insert(Bucket { id, dearest });
        (bucket.id, bucket.dearest) = (bucket.id.min(id), bucket.dearest.max(dearest));
    }
    let entry = |(service, backend, budget): &(&Service, &Backend, BudgetSnapshot)| {
        let Bucket { id: bucket, dearest } = buckets[&address(backend)];
        let pace = pace(cost(service, budget.rate), dearest);
        (backend.id(), BackendPace { pace, bucket, ..BackendPace::default() })
    };
    all.iter().map(entry).collect()
}

/// Where the broker is. Only backends with a budget are asked.
fn address(backend: &Backend) -> IpAddr {
    backend.spec.budget.as_ref().map_or(IpAddr::from([0; 4]), |budget| budget.address)
}

/// The pace of connections that cost `charge`, of a bucket whose dearest ones cost `dearest` (nanoseconds).
fn pace(charge: f64, dearest: f64) -> Pace {
    // One connection is admitted by an empty bucket too.
    let tolerance = ((LEAST_BURST - 1.0) * dearest).max(BURST.as_nanos() as f64);
    Pace::new((charge.round() as u64).max(1), tolerance.round() as u64)
}

fn lower(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
    .filter(|rate| *rate > 0.0)
}

impl ServiceLimits {
    /// No limit at all.
    pub(crate) const NONE: Self = Self { pace: Pace::FREE, cap: None, refuse: false };
}

#[cfg(test)]
mod tests;
