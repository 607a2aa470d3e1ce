//! From what is known of a backend to the score that the data path compares.

use balancer_common::abi::Score;

use crate::backend::Backend;
use crate::load::{Level, SATURATED};
use crate::snapshot::Basis;
use crate::{Moment, Policy, ServiceSpec};

/// The greatest utilisation that a score says, in Q32: far above any real one, far below an overflow when the data path
/// adds connections.
const MOST: u64 = 1 << 48;

/// The score of one backend, without flags and cap, and what it rests on. `cost` is that of one connection as
/// utilisation of a backend of mean capacity.
pub(crate) fn score(backend: &Backend, service: &ServiceSpec, cost: f64, now: Moment) -> (Score, Basis) {
    match service.policy {
        Policy::Adaptive => adaptive(backend, service, cost, now),
        Policy::LeastConn => {
            let delta = to_q32(1.0 / f64::from(backend.weight()));
            (Score { delta, ..Score::default() }, Basis::Count)
        }
        Policy::WeightedCpu | Policy::RoundRobin | Policy::Random | Policy::Maglev => {
            (Score::default(), Basis::Fixed)
        }
    }
}

fn adaptive(backend: &Backend, service: &ServiceSpec, cost: f64, now: Moment) -> (Score, Basis) {
    let bias = backend.bias();
    let each = cost / (backend.capacity * bias);
    // Every gateway opens as many flows as this one has, and each sees only its own.
    let gateways = f64::from(service.gateways.max(1));
    let delta = to_q32(each * gateways).max(1);
    let stale_after = service.stale_after;
    if let Some(Level { utilisation, own }) = backend.load.level(stale_after, now) {
        let counted = own.max(0.0).round();
        // The filtered count is no whole number; what rounding adds to it is added to the base as well.
        let base = utilisation / bias + (counted - own) * each * gateways;
        return (
            Score { base: to_q32(base), delta, counted: counted as u64, ..Score::default() },
            Basis::Level,
        );
    }
    // Counts know nothing of the level's transients: the two must not be mixed within one score.
    let population = backend.load.population(stale_after, now);
    let live = backend.counts.live;
    let mut score = match population {
        Some(population) => {
            let counted = population.own.max(0.0).round();
            let base = population.connections * each;
            Score { base: to_q32(base), delta, counted: counted as u64, ..Score::default() }
        }
        None => Score { delta, ..Score::default() },
    };
    if backend.load.is_saturated(stale_after, now) {
        // Utilisation ends at 1.0 however far the demand exceeds it; connections do not.
        let base = score.predict(live).clamp(to_q32(SATURATED / bias), MOST);
        score = Score { base, counted: live, ..score };
    }
    (score, Basis::Count)
}

/// Makes backends on trial the last choice of every draw: they are taken for full, or for twice as busy as the busiest of
/// the others where the score has no full. A policy of one draw has no choice to make.
pub(crate) fn doubt(backends: &mut [Backend], policy: Policy) {
    let predict = |backend: &Backend| backend.score.predict(backend.counts.live);
    let more = match policy {
        Policy::Adaptive => Score::ONE,
        Policy::LeastConn => {
            let others =
                backends.iter().filter(|backend| backend.is_open() && !backend.ejection.is_on_trial());
            others.map(predict).max().unwrap_or(0).saturating_mul(2).saturating_add(Score::ONE)
        }
        Policy::WeightedCpu | Policy::RoundRobin | Policy::Random | Policy::Maglev => 0,
    };
    for backend in backends.iter_mut().filter(|backend| backend.ejection.is_on_trial()) {
        backend.score.base = backend.score.base.saturating_add(more).min(MOST);
    }
}

/// A utilisation as Q32; zero when it is negative.
pub(crate) fn to_q32(value: f64) -> u64 {
    (value * Score::ONE as f64).clamp(0.0, MOST as f64) as u64
}

/// A Q32 number as a fraction.
pub(crate) fn from_q32(value: u64) -> f64 {
    value as f64 / Score::ONE as f64
}
