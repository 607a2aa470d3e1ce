//! What was aimed at, and what came of it.

use std::fmt::Write as _;

use balancer_control::sim::SteererName::{self, *};

use crate::runs::{Runs, Summary, quantiles};
use crate::table::better_and_worse;

/// What a figure has to be.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// One goal for one case.
struct Goal {
    what: &'static str,
    case: &'static str,
    policy: SteererName,
    bound: Bound,
    figure: fn(&Summary) -> f64,
}

use Bound::{AtLeast, AtMost};

const fn goal(
    what: &'static str,
    case: &'static str,
    policy: SteererName,
    bound: Bound,
    figure: fn(&Summary) -> f64,
) -> Goal {
    Goal { what, case, policy, bound, figure }
}

/// Goals of the product, and failures that the rivals must show, or the simulator would be too kind.
const GOALS: &[Goal] = &[
    goal("CPUs 1:4 unknown, after 10 min", "S1", Adaptive, AtMost(1.05), |s| s.max_over_mean),
    goal("heavy-tailed clients (Pareto)", "S2", Adaptive, AtMost(1.06), |s| s.max_over_mean),
    goal("heavy-tailed clients (1 % × 100)", "S2h", Adaptive, AtMost(1.06), |s| s.max_over_mean),
    goal("restart, after 10 min", "S3", Adaptive, AtMost(1.04), |s| s.max_over_mean),
    goal("restart, 99th percentile of connects, s", "S3", Adaptive, AtMost(0.05), |s| s.connect_p99),
    goal("restart, peak share of the fresh broker", "S3", Adaptive, AtMost(4.5), |s| s.peak_share),
    goal("rolling restart of all", "S3b", Adaptive, AtMost(1.04), |s| s.max_over_mean),
    goal("mild storm, 99th percentile of connects, s", "SA", Adaptive, AtMost(0.050), |s| s.connect_p99),
    goal("mild storm, whole run", "SA", Adaptive, AtMost(1.04), |s| s.average),
    goal("telemetry of 2 of 8 lost", "S6", Adaptive, AtMost(1.05), |s| s.max_over_mean),
    goal("rolling restart without churn (limit 1.50)", "SB", Adaptive, AtMost(1.55), |s| s.max_over_mean),
    goal("rival: CPUs 1:4 unknown", "S1", RoundRobin, AtLeast(1.4), |s| s.max_over_mean),
    goal("rival: CPUs 1:4 unknown", "S1", WeightedCpu, AtLeast(1.25), |s| s.max_over_mean),
    goal("rival: heavy-tailed clients (1 % × 100)", "S2h", LeastConn, AtLeast(1.08), |s| s.max_over_mean),
    goal("rival: rolling restart of all", "S3b", Hash, AtLeast(1.35), |s| s.max_over_mean),
    goal("rival: restart, peak share", "S3", LeastConn, AtLeast(6.0), |s| s.peak_share),
    goal("rival: mild storm, connects, s", "SA", WeightedCpu, AtLeast(1.0), |s| s.connect_p99),
    goal("rival: telemetry of 2 of 8 lost", "S6", LeastCpu, AtLeast(1.5), |s| s.max_over_mean),
];

/// All goals with their figures.
pub(crate) fn table(runs: &Runs) -> String {
    let mut out = "| goal | case | policy | aim | found | |\n|---|---|---|---:|---:|---|\n".to_owned();
    for goal in GOALS {
        let Some(index) = runs.wanted.named.iter().position(|case| case.name == goal.case) else { continue };
        let Some(summary) = runs.named[index].get(&goal.policy) else { continue };
        row(&mut out, goal.what, goal.case, goal.policy, goal.bound, (goal.figure)(summary));
    }
    let (Some(ours), Some(weighted)) = (runs.suite.get(&Adaptive), runs.suite.get(&WeightedCpu)) else {
        return out;
    };
    let [median, p90, _] = quantiles(ours, |case| case.last_minute, [0.5, 0.9, 1.0]);
    let [_, whole, _] = quantiles(ours, |case| case.average, [0.5, 0.9, 1.0]);
    let (better, worse) = better_and_worse(ours, weighted);
    let percent = |part: usize| 100.0 * part as f64 / ours.len() as f64;
    row(&mut out, "random suite, median", "suite", Adaptive, AtMost(1.06), median);
    row(&mut out, "random suite, 90th percentile", "suite", Adaptive, AtMost(1.20), p90);
    let what = "random suite, 90th percentile of the whole run";
    row(&mut out, what, "suite", Adaptive, AtMost(1.20), whole);
    let what = "random suite, % of cases worse than weighted-cpu by 1 %";
    row(&mut out, what, "suite", Adaptive, AtMost(8.0), percent(worse));
    let what = "random suite, % of cases better than weighted-cpu by 1 %";
    row(&mut out, what, "suite", Adaptive, AtLeast(68.0), percent(better));
    out
}

fn row(out: &mut String, what: &str, case: &str, policy: SteererName, bound: Bound, found: f64) {
    let (aim, missed) = match bound {
        AtMost(most) => (format!("≤ {most}"), found - most),
        AtLeast(least) => (format!("≥ {least}"), least - found),
    };
    let verdict = if missed <= 0.0 { "met".to_owned() } else { format!("**missed by {missed:.3}**") };
    let policy = policy.as_str();
    let _ = writeln!(out, "| {what} | {case} | {policy} | {aim} | {found:.3} | {verdict} |");
}
