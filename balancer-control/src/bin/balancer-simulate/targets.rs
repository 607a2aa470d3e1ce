//! What was aimed at, and what came of it.

use std::fmt::{self, Write as _};

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
#[derive(Clone, Copy)]
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

/// A goal, and what came of it.
pub(crate) struct Found {
    what: &'static str,
    case: &'static str,
    policy: SteererName,
    bound: Bound,
    found: f64,
}

impl Found {
    /// How far from the goal, positive when it is missed.
    fn missed(&self) -> f64 {
        match self.bound {
            AtMost(most) => self.found - most,
            AtLeast(least) => least - self.found,
        }
    }

    fn aim(&self) -> String {
        match self.bound {
            AtMost(most) => format!("≤ {most}"),
            AtLeast(least) => format!("≥ {least}"),
        }
    }

    fn is_missed(&self) -> bool {
        self.missed() > 0.0
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, case, policy, found, .. } = self;
        write!(f, "{what} ({case}, `{}`): {found:.3}, aim {}", policy.as_str(), self.aim())
    }
}

/// All goals with their figures.
pub(crate) fn table(runs: &Runs) -> String {
    let mut out = "| goal | case | policy | aim | found | |\n|---|---|---|---:|---:|---|\n".to_owned();
    for goal in found(runs) {
        let verdict =
            if goal.is_missed() { format!("**missed by {:.3}**", goal.missed()) } else { "met".to_owned() };
        let Found { what, case, policy, found, .. } = goal;
        let (policy, aim) = (policy.as_str(), goal.aim());
        let _ = writeln!(out, "| {what} | {case} | {policy} | {aim} | {found:.3} | {verdict} |");
    }
    out
}

/// The goals that are missed, of those whose cases and policies were run.
pub(crate) fn missed(runs: &Runs) -> Vec<Found> {
    found(runs).into_iter().filter(Found::is_missed).collect()
}

fn found(runs: &Runs) -> Vec<Found> {
    let mut out = Vec::new();
    for goal in GOALS {
        let Some(index) = runs.wanted.named.iter().position(|case| case.name == goal.case) else { continue };
        let Some(summary) = runs.named[index].get(&goal.policy) else { continue };
        let Goal { what, case, policy, bound, figure } = *goal;
        out.push(Found { what, case, policy, bound, found: figure(summary) });
    }
    let mut suite = |what, bound, found| {
        out.push(Found { what, case: "suite", policy: Adaptive, bound, found });
    };
    let Some(ours) = runs.suite.get(&Adaptive) else { return out };
    let [median, p90, _] = quantiles(ours, |case| case.last_minute, [0.5, 0.9, 1.0]);
    let [_, whole, _] = quantiles(ours, |case| case.average, [0.5, 0.9, 1.0]);
    suite("random suite, median", AtMost(1.06), median);
    suite("random suite, 90th percentile", AtMost(1.20), p90);
    suite("random suite, 90th percentile of the whole run", AtMost(1.20), whole);
    let Some(weighted) = runs.suite.get(&WeightedCpu) else { return out };
    let (better, worse) = better_and_worse(ours, weighted);
    let percent = |part: usize| 100.0 * part as f64 / ours.len() as f64;
    suite("random suite, % of cases worse than weighted-cpu by 1 %", AtMost(8.0), percent(worse));
    suite("random suite, % of cases better than weighted-cpu by 1 %", AtLeast(68.0), percent(better));
    out
}
