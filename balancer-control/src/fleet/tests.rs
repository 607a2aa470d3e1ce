use super::*;
use crate::fixture::{at, backend, service};
use crate::history::Past;
use crate::{BackendSpec, Counts, Policy, Sample, ServiceSpec};

const STALE: Duration = Duration::from_secs(12);

fn spec() -> ServiceSpec {
    ServiceSpec { stale_after: STALE, ..service(Policy::Adaptive, Vec::new()) }
}

fn backends(weights_and_cores: &[(u32, Option<f64>)]) -> Vec<Backend> {
    let made = |(&(weight, cores), id): (&(u32, Option<f64>), u16)| {
        Backend::new(BackendSpec { weight, cores, ..backend(id) }, at(0))
    };
    weights_and_cores.iter().zip(0..).map(made).collect()
}

fn capacities(backends: &[Backend]) -> Vec<f64> {
    backends.iter().map(|backend| backend.capacity).collect()
}

fn assert_close(found: &[f64], wanted: &[f64]) {
    let close = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 0.02 * b);
    assert!(found.len() == wanted.len() && close, "{found:?}, not {wanted:?}");
}

/// A minute of readings: `(connections, messages per second, utilisation)` of each backend.
fn run(backends: &mut [Backend], readings: &[(u64, Option<u64>, f64)]) -> Moment {
    let mut pasts = vec![Past::default(); backends.len()];
    for second in (2..=60).step_by(2) {
        for ((backend, past), &(live, rate, utilisation)) in backends.iter_mut().zip(&mut pasts).zip(readings)
        {
            backend.counted(Counts { live, ..Counts::default() }, at(second));
            past.record([backend.counts].into_iter(), at(second));
            let sample = Sample {
                taken: at(second),
                utilisation: Some(utilisation),
                messages: rate.map(|rate| rate * second),
                ..Sample::default()
            };
            backend.sampled(sample, &spec(), at(second));
            backend.settle(past, &spec(), 1e-4, at(second));
        }
    }
    at(60)
}

#[test]
fn without_telemetry_weights_are_capacities() {
    let mut backends = backends(&[(10, None), (10, None), (20, None)]);
    assert_eq!(estimate(&mut backends, STALE, at(0)), None);
    assert_close(&capacities(&backends), &[0.75, 0.75, 1.5]);
}

#[test]
fn cores_come_before_weights_and_give_them_a_scale() {
    let mut backends = backends(&[(10, Some(2.0)), (10, Some(8.0)), (20, None)]);
    estimate(&mut backends, STALE, at(0));
    // Ten cores for a weight of twenty: the third is taken for ten cores.
    assert_close(&capacities(&backends), &[0.3, 1.2, 1.5]);
}

#[test]
fn capacity_is_learnt_from_messages_whatever_is_configured() {
    let mut backends = backends(&[(100, None), (1, Some(64.0))]);
    // 2000 and 500 messages per second fill them.
    let now = run(&mut backends, &[(100, Some(1000), 0.5), (100, Some(250), 0.5)]);
    let cost = estimate(&mut backends, STALE, now).unwrap();
    assert_close(&capacities(&backends), &[1.6, 0.4]);
    // 6.25 messages per second and connection, on a backend that handles 1250.
    assert_close(&[cost], &[0.005]);
}

#[test]
fn without_messages_the_cost_comes_from_utilisation() {
    let mut backends = backends(&[(1, Some(1.0)), (1, Some(3.0))]);
    let now = run(&mut backends, &[(100, None, 0.5), (300, None, 0.5)]);
    let cost = estimate(&mut backends, STALE, now).unwrap();
    assert_close(&capacities(&backends), &[0.5, 1.5]);
    assert_close(&[cost], &[0.0025]);
}

#[test]
fn one_without_messages_is_put_on_the_scale_of_the_others() {
    let mut backends = backends(&[(1, Some(2.0)), (1, Some(2.0)), (1, Some(4.0))]);
    let now = run(&mut backends, &[(100, Some(1000), 0.5), (100, Some(1000), 0.5), (10, None, 0.1)]);
    estimate(&mut backends, STALE, now);
    assert_close(&capacities(&backends), &[0.75, 0.75, 1.5]);
}

#[test]
fn capacities_stay_within_a_factor_of_ten_of_the_mean() {
    let mut backends = backends(&[(1, None), (1, None)]);
    let now = run(&mut backends, &[(100, Some(1_000_000), 0.5), (100, Some(1), 0.5)]);
    estimate(&mut backends, STALE, now);
    assert!(capacities(&backends).iter().all(|c| (0.1..=10.0).contains(c)), "{:?}", capacities(&backends));
}

#[test]
fn an_empty_and_idle_service_costs_what_is_assumed() {
    let mut backends = backends(&[(1, None)]);
    let now = run(&mut backends, &[(0, Some(0), 0.0)]);
    assert_eq!(estimate(&mut backends, STALE, now), Some(PRIOR_COST));
    assert_eq!(estimate(&mut [], STALE, now), None);
}

#[test]
fn a_hint_lasts_a_minute() {
    let mut backends = backends(&[(1, None), (1, None)]);
    backends[0].set_hint(1.6, at(0));
    backends[1].set_hint(0.4, at(0));
    estimate(&mut backends, STALE, at(59));
    assert_close(&capacities(&backends), &[1.6, 0.4]);
    estimate(&mut backends, STALE, at(60));
    assert_close(&capacities(&backends), &[1.0, 1.0]);
}
