//! What the backends of a service teach about each other: their relative capacities, and the cost of a connection.

use core::time::Duration;

use crate::Moment;
use crate::backend::Backend;

/// How much of the prior is mixed into a learnt capacity, in utilisation times seconds: as much as two seconds at 5 %.
/// Keeps the first readings from deciding alone.
const PRIOR_WORK: f64 = 0.1;

/// Least and greatest capacity relative to the mean. Bounds what a wrong reading can do to a ring.
const CAPACITY_RANGE: (f64, f64) = (0.1, 10.0);

/// Cost of one connection before anything is known, as utilisation of a backend of mean capacity: ten thousand
/// connections fill it. Only its ratio to the cost at other backends matters until utilisation is seen.
const PRIOR_COST: f64 = 1e-4;

/// Least cost of one connection: a hundred million fill a backend. Smaller ones would lose their differences in Q32.
const LEAST_COST: f64 = 1e-8;

/// How long capacities read from an adopted ring stand in for what is to be learnt anew.
pub(crate) const HINT_LASTS: Duration = Duration::from_secs(60);

/// Updates [`Backend::capacity`] of all backends of a service. Returns the cost of one connection as utilisation of a
/// backend of mean capacity, or `None` when no telemetry is fresh.
pub(crate) fn estimate(backends: &mut [Backend], stale_after: Duration, now: Moment) -> Option<f64> {
    let mean = learn_capacities(backends, now);
    cost(backends, mean, stale_after, now)
}

/// Returns the mean capacity in messages per second, when messages are what it was learnt from.
fn learn_capacities(backends: &mut [Backend], now: Moment) -> Option<f64> {
    let priors = priors(backends, now);
    let (mut messages, mut utilisation) = (0.0, 0.0);
    for (backend, prior) in backends.iter().zip(&priors) {
        let work = backend.load.work();
        messages += work.messages;
        utilisation += work.utilisation * prior;
    }
    // Messages per second that a backend of mean capacity handles at full utilisation.
    let scale = (messages > 0.0 && utilisation > 0.0).then(|| messages / utilisation);
    let unit = scale.unwrap_or(1.0);
    // Without messages no work was learnt, and the formula leaves the priors as they are.
    let capacities: Vec<f64> = backends
        .iter()
        .zip(&priors)
        .map(|(backend, prior)| {
            let work = backend.load.work();
            (work.messages + PRIOR_WORK * unit * prior) / (work.utilisation + PRIOR_WORK)
        })
        .collect();
    let mean = mean(&capacities);
    for (backend, capacity) in backends.iter_mut().zip(capacities) {
        backend.capacity = (capacity / mean).clamp(CAPACITY_RANGE.0, CAPACITY_RANGE.1);
    }
    scale.and(Some(mean))
}

/// Capacities before anything is learnt, relative to their mean: cores where they are known, weights where they are
/// not, the two brought to one scale by the backends whose cores are known.
fn priors(backends: &[Backend], now: Moment) -> Vec<f64> {
    let (mut cores, mut weights) = (0.0, 0.0);
    for backend in backends {
        if let Some(known) = backend.cores() {
            cores += known;
            weights += f64::from(backend.spec.weight.max(1));
        }
    }
    let per_weight = if weights > 0.0 { cores / weights } else { 1.0 };
    let prior = |b: &Backend| b.cores().unwrap_or_else(|| f64::from(b.spec.weight.max(1)) * per_weight);
    let priors: Vec<f64> = backends.iter().map(prior).collect();
    let mean = mean(&priors);
    let hinted = |(backend, prior): (&Backend, f64)| backend.hint(now).unwrap_or(prior / mean);
    backends.iter().zip(priors).map(hinted).collect()
}

fn cost(backends: &[Backend], mean_messages: Option<f64>, stale_after: Duration, now: Moment) -> Option<f64> {
    let by_messages = mean_messages.and_then(|mean| {
        let rates: Vec<_> =
            backends.iter().filter_map(|backend| backend.load.rate(stale_after, now)).collect();
        let messages: f64 = rates.iter().map(|rate| rate.messages).sum();
        (!rates.is_empty()).then(|| (messages / mean, rates.iter().map(|rate| rate.connections).sum()))
    });
    let by_utilisation = || {
        let (mut full, mut connections, mut any) = (0.0, 0.0, false);
        for backend in backends {
            let level = backend.load.fresh_level(stale_after, now);
            if let (Some(level), Some(n)) = (level, backend.load.connections(stale_after, now)) {
                full += level.utilisation * backend.capacity;
                connections += n;
                any = true;
            }
        }
        any.then_some((full, connections))
    };
    // One more connection at the prior cost keeps an empty service from dividing by nothing.
    let mixed = |(full, connections): (f64, f64)| (full + PRIOR_COST) / (connections + 1.0);
    by_messages.or_else(by_utilisation).map(mixed).map(|cost: f64| cost.max(LEAST_COST))
}

/// The cost of one connection before any telemetry.
pub(crate) const fn prior_cost() -> f64 {
    PRIOR_COST
}

fn mean(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    if mean > 0.0 { mean } else { 1.0 }
}

#[cfg(test)]
mod tests;
