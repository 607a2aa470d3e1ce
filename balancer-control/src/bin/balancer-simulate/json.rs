//! The outcome for programs.

use serde_json::{Map, Value, json};

use crate::runs::{Random, Runs, Summary, quantiles};

/// `scenarios`: case, policy, figures. `suite`: policy, quantiles of the imbalance after ten minutes.
pub(crate) fn json(runs: &Runs) -> Value {
    let mut scenarios = Map::new();
    for (case, policies) in runs.wanted.named.iter().zip(&runs.named) {
        let of = policies.iter().map(|(policy, summary)| (policy.as_str().to_owned(), figures(summary)));
        scenarios.insert(case.name.clone(), Value::Object(of.collect()));
    }
    let suite: Map<String, Value> =
        runs.suite.iter().map(|(policy, cases)| (policy.as_str().to_owned(), distribution(cases))).collect();
    json!({
        "seed": runs.wanted.seed,
        "repeats": runs.wanted.repeats,
        "cases": runs.wanted.random,
        "scenarios": scenarios,
        "suite": suite,
    })
}

fn figures(summary: &Summary) -> Value {
    json!({
        "max_over_mean": summary.max_over_mean,
        "average": summary.average,
        "connect_p99_s": summary.connect_p99,
        "timeouts": summary.timeouts,
        "peak_share": summary.peak_share,
        "settled_s": summary.settled,
    })
}

fn distribution(cases: &[Random]) -> Value {
    let [median, p90, worst] = quantiles(cases, |case| case.last_minute, [0.5, 0.9, 1.0]);
    let [average_median, average_p90, _] = quantiles(cases, |case| case.average, [0.5, 0.9, 1.0]);
    json!({
        "median": median,
        "p90": p90,
        "worst": worst,
        "average_median": average_median,
        "average_p90": average_p90,
        "cases_with_timeouts": cases.iter().filter(|case| case.timeouts > 0).count(),
    })
}
