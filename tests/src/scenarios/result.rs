//! What runs came to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::case::{CASES, Case};
use crate::chart::Mark;

/// The product's own policy.
pub(super) const OURS: &str = "adaptive";

/// All policies of the program.
pub(super) const POLICIES: [&str; 6] =
    [OURS, "least-conn", "weighted-cpu", "round-robin", "random", "maglev"];

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// Standard deviation over the brokers of the CPU that each used of its own quota, percentage points.
    pub(super) stddev_cpu: f64,
    /// The fullest broker's, %.
    pub(super) max_cpu: f64,
    /// The least `stddev_cpu` that placing the clients that came after the join could have led to.
    pub(super) bound: f64,
    /// Each broker's, %.
    pub(super) cpu: Vec<f64>,
    /// The same in the look before the last.
    pub(super) cpu_before: Vec<f64>,
    /// Cores that the brokers used together.
    pub(super) cores: f64,
    /// Connections of each broker at the end.
    pub(super) connections: Vec<u64>,
    /// 99th percentile of the time from the start of the TCP handshake to SUBACK, seconds.
    pub(super) connect_p99_s: f64,
    /// Connections not established.
    pub(super) failed_connects: u64,
    /// Messages that came back to their publisher.
    pub(super) messages: u64,
    /// Messages that did not.
    pub(super) messages_lost: u64,
    /// Messages that were due while too many of their publisher were on the way: a full broker's are.
    pub(super) messages_held_back: u64,
    /// Established flows that ended before their time.
    pub(super) flows_broken: u64,
    /// How long the run took, with setting up.
    pub(super) seconds: f64,
    /// The deviation over time, seconds and percentage points.
    pub(super) over_time: Vec<(f64, f64)>,
    /// When what began.
    pub(super) marks: Vec<Mark>,
}

/// All runs so far, by scenario and policy, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Results(BTreeMap<String, BTreeMap<String, Vec<Run>>>);

/// What `--json` prints of the runs of one policy in one scenario: a value per repeat.
#[derive(Debug, Serialize)]
struct Repeats {
    stddev_cpu: Vec<f64>,
    max_cpu: Vec<f64>,
    connect_p99_s: Vec<f64>,
    failed_connects: Vec<u64>,
    messages_lost: Vec<u64>,
    bound: Vec<f64>,
}

impl Results {
    pub(super) fn add(&mut self, case: &Case, policy: &str, run: Run) {
        let policies = self.0.entry(case.name.to_owned()).or_default();
        policies.entry(policy.to_owned()).or_default().push(run);
    }

    /// The runs of one policy in one scenario, in order.
    pub(super) fn of(&self, case: &str, policy: &str) -> &[Run] {
        self.0.get(case).and_then(|policies| policies.get(policy)).map_or(&[], Vec::as_slice)
    }

    /// Scenarios that were run, in the order of [`CASES`].
    pub(super) fn cases(&self) -> impl Iterator<Item = &'static Case> {
        CASES.iter().filter(|case| self.0.contains_key(case.name))
    }

    /// Policies that were run in a scenario, in the order of [`POLICIES`].
    pub(super) fn policies(&self, case: &str) -> impl Iterator<Item = &'static str> {
        POLICIES.into_iter().filter(move |policy| !self.of(case, policy).is_empty())
    }

    /// Median over the repeats; `None` when there are none.
    pub(super) fn median(&self, case: &str, policy: &str, value: impl Fn(&Run) -> f64) -> Option<f64> {
        let values: Vec<f64> = self.of(case, policy).iter().map(value).collect();
        (!values.is_empty()).then(|| percentile(&values, 0.5))
    }

    /// Sum of the median deviations over the scenarios that all policies play; `None` unless all three were run.
    pub(super) fn sum(&self, policy: &str) -> Option<f64> {
        let cases = CASES.iter().filter(|case| case.rivals);
        cases.map(|case| self.median(case.name, policy, |run| run.stddev_cpu)).sum()
    }

    /// Whether this is the whole: every scenario, every policy and at least three repeats.
    pub(super) fn is_whole(&self) -> bool {
        CASES.iter().all(|case| {
            let policies: &[&str] = if case.rivals { &POLICIES } else { &[OURS] };
            policies.iter().all(|policy| self.of(case.name, policy).len() >= 3)
        })
    }

    /// What `--json` prints.
    pub(super) fn json(&self) -> serde_json::Value {
        let repeats = |runs: &Vec<Run>| Repeats {
            stddev_cpu: runs.iter().map(|run| round(run.stddev_cpu)).collect(),
            max_cpu: runs.iter().map(|run| round(run.max_cpu)).collect(),
            connect_p99_s: runs.iter().map(|run| round(run.connect_p99_s)).collect(),
            failed_connects: runs.iter().map(|run| run.failed_connects).collect(),
            messages_lost: runs.iter().map(|run| run.messages_lost).collect(),
            bound: runs.iter().map(|run| round(run.bound)).collect(),
        };
        let policies = |policies: &BTreeMap<String, Vec<Run>>| -> BTreeMap<String, Repeats> {
            policies.iter().map(|(policy, runs)| (policy.clone(), repeats(runs))).collect()
        };
        let all: BTreeMap<_, _> = self.0.iter().map(|(case, runs)| (case.clone(), policies(runs))).collect();
        serde_json::json!(all)
    }
}

/// Thousandths are more than enough.
fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Standard deviation, of the values as the whole population.
pub(super) fn deviation(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// The value below which that part of the values lies, by nearest rank but for the median of an even number.
pub(super) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    if part == 0.5 && last % 2 == 1 {
        return (values[last / 2] + values[last / 2 + 1]) / 2.0;
    }
    let rank = (part * values.len() as f64).ceil() as usize;
    values[rank.saturating_sub(1).min(last)]
}

/// The least deviation between equal brokers when those that have `kept` keep it, and `added` may be put anywhere: it
/// fills the emptiest first, up to one level.
pub(super) fn bound(kept: &[f64], added: f64) -> f64 {
    let mut filled = kept.to_vec();
    filled.sort_by(f64::total_cmp);
    let mut left = added;
    for full in 1..=filled.len() {
        let level = filled[0];
        let next = filled.get(full).copied().unwrap_or(f64::INFINITY);
        let step = ((next - level) * full as f64).min(left);
        filled[..full].iter_mut().for_each(|value| *value += step / full as f64);
        left -= step;
    }
    deviation(&filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_fills_the_emptiest_first() {
        // 30 points are not enough to fill the third broker up to the others.
        assert_eq!(bound(&[45.0, 45.0, 0.0], 30.0), deviation(&[45.0, 45.0, 30.0]));
        // 120 points are: all end at 70.
        assert!(bound(&[50.0, 40.0, 0.0], 120.0) < 1e-9);
        // Some to the third, and then to both.
        assert!((bound(&[50.0, 20.0, 0.0], 30.0) - deviation(&[50.0, 25.0, 25.0])).abs() < 1e-9);
        assert_eq!(bound(&[30.0, 10.0], 0.0), 10.0);
    }

    #[test]
    fn medians_and_percentiles_are_of_the_sorted_values() {
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(percentile(&[4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&[], 0.99), 0.0);
    }

    #[test]
    fn a_deviation_is_the_populations() {
        assert_eq!(deviation(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 2.0);
        assert_eq!(deviation(&[]), 0.0);
    }
}
