//! The table, and docs/scenarios.md.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use super::{
    case::{CASES, Case},
    result::{OURS, POLICIES, Results, Run},
};
use crate::chart::{Axes, Series, draw, write_image};

/// What is the same whatever the figures are.
const BEFORE: &str = include_str!("page/before.md");
const AFTER: &str = include_str!("page/after.md");

/// One run in one line.
pub(super) fn line(run: &Run) -> String {
    let cpu: Vec<String> = run.cpu.iter().map(|cpu| format!("{cpu:.0} %")).collect();
    let connections: Vec<String> = run.connections.iter().map(u64::to_string).collect();
    format!(
        "CPU {}, connections {}, standard deviation {:.1}, bound {:.1}, {:.2} cores, {:.0} s",
        cpu.join(" "),
        connections.join(" "),
        run.stddev_cpu,
        run.bound,
        run.cores,
        run.seconds
    )
}

/// The tables and goals, for people.
pub(super) fn summary(results: &Results) -> String {
    format!("{}\n{}\n{}", deviations(results), others(results), goals(results))
}

/// Writes scenarios.md and its charts into the folder `docs`.
pub(super) fn write(results: &Results, seed: u64, docs: &Path) -> Result<()> {
    let path = docs.join("scenarios.md");
    let mut charts = String::new();
    for case in results.cases().filter(|case| case.rivals) {
        let title = format!("{}: standard deviation of the brokers' CPU over time", case.name);
        let svg = spread(results, case, &title)?;
        let _ = writeln!(charts, "{}", write_image(&path, &case.name.to_lowercase(), (&title, &svg))?);
    }
    let (table, rest, goals) = (deviations(results), others(results), goals(results));
    let repeats = results.of(CASES[0].name, OURS).len();
    let what = CASES.iter().map(|case| format!("| {} | {} |\n", case.name, case.what)).collect::<String>();
    let page = format!(
        "{BEFORE}\n| scenario | what happens |\n|---|---|\n{what}\nThe figures below are of {repeats} repeats, in an order shuffled by seed {seed}.\n\n{goals}\n\
         ## Standard deviation of CPU\n\n{table}\n{charts}## The rest\n\n{rest}\n{AFTER}"
    );
    fs::write(&path, page).with_context(|| format!("failed to write {}", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}

/// The chart of one scenario: a line per policy, of its first run.
fn spread(results: &Results, case: &Case, title: &str) -> Result<String> {
    let first = |policy: &'static str| Some((policy, results.of(case.name, policy).first()?));
    let runs: Vec<(&str, &Run)> = results.policies(case.name).filter_map(first).collect();
    let series = |(policy, run): &(&str, &Run)| Series {
        name: (*policy).to_owned(),
        points: run.over_time.iter().map(|(at, deviation)| (*at, Some(*deviation))).collect(),
    };
    let series: Vec<Series> = runs.iter().map(series).collect();
    let marks = runs.first().map(|(_, run)| run.marks.as_slice()).unwrap_or_default();
    draw(&Axes::over_time(title, "percentage points"), marks, &series)
}

/// Median and range of the deviation, by policy and scenario.
fn deviations(results: &Results) -> String {
    let cases: Vec<&Case> = results.cases().collect();
    let mut out = "| policy |".to_owned();
    for case in &cases {
        let _ = write!(out, " {} |", case.name);
    }
    out.push_str(" sum of S1 to S3 |\n|---|");
    out.push_str(&"---:|".repeat(cases.len() + 1));
    out.push('\n');
    for policy in
        POLICIES.iter().filter(|policy| cases.iter().any(|c| !results.of(c.name, policy).is_empty()))
    {
        let _ = write!(out, "| {policy} |");
        for case in &cases {
            let _ = write!(out, " {} |", median_and_range(results, case.name, policy, |run| run.stddev_cpu));
        }
        let sum = results.sum(policy).map_or_else(|| "-".to_owned(), |sum| format!("{sum:.1}"));
        let _ = writeln!(out, " {sum} |");
    }
    out.push_str("| *least that placement can reach* |");
    for case in &cases {
        let bound = results.median(case.name, OURS, |run| run.bound).filter(|_| case.rivals);
        let _ = write!(out, " {} |", bound.map_or_else(|| "-".to_owned(), |bound| format!("{bound:.1}")));
    }
    out.push_str(" |\n");
    out
}

fn median_and_range(
    results: &Results,
    case: &str,
    policy: &str,
    value: impl Fn(&Run) -> f64 + Copy,
) -> String {
    let Some(median) = results.median(case, policy, value) else { return "-".to_owned() };
    let values = || results.of(case, policy).iter().map(value);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    format!("{median:.1} ({least:.1} to {most:.1})")
}

/// What else was measured: medians, and sums of what should not be.
fn others(results: &Results) -> String {
    let mut out = "| scenario | policy | CPU of each broker, % | fullest, % | connections | connect p99, ms | \
                   failed connects | messages lost | held back |\n|---|---|---|---:|---|---:|---:|---:|---:|\n"
        .to_owned();
    for case in results.cases() {
        for policy in results.policies(case.name) {
            let runs = results.of(case.name, policy);
            let median =
                |value: &dyn Fn(&Run) -> f64| results.median(case.name, policy, value).unwrap_or(0.0);
            let brokers = 0..runs[0].cpu.len();
            let cpu: Vec<String> =
                brokers.clone().map(|broker| format!("{:.0}", median(&|run| run.cpu[broker]))).collect();
            let connections: Vec<String> =
                brokers.map(|b| format!("{:.0}", median(&|run| run.connections[b] as f64))).collect();
            let _ = writeln!(
                out,
                "| {} | {policy} | {} | {:.0} | {} | {:.0} | {} | {} | {} |",
                case.name,
                cpu.join(", "),
                median(&|run| run.max_cpu),
                connections.join(", "),
                1_000.0 * median(&|run| run.connect_p99_s),
                runs.iter().map(|run| run.failed_connects).sum::<u64>(),
                runs.iter().map(|run| run.messages_lost).sum::<u64>(),
                runs.iter().map(|run| run.messages_held_back).sum::<u64>(),
            );
        }
    }
    out
}

/// The goals and what became of them, as far as enough was played.
fn goals(results: &Results) -> String {
    let mut out = String::new();
    for case in results.cases().filter(|case| case.rivals) {
        let deviation = |policy: &str| results.median(case.name, policy, |run| run.stddev_cpu);
        let rivals = results.policies(case.name).filter(|policy| *policy != OURS);
        let best = rivals.filter_map(|p| Some((p, deviation(p)?))).min_by(|a, b| a.1.total_cmp(&b.1));
        if let (Some(ours), Some((rival, best))) = (deviation(OURS), best) {
            let verdict = if ours < best { "met" } else { "**missed**" };
            let _ = writeln!(
                out,
                "- {}: {OURS} {ours:.1}, the best rival ({rival}) {best:.1}. Below every rival: {verdict}.",
                case.name
            );
        }
    }
    let rivals = POLICIES.iter().filter(|policy| **policy != OURS);
    let best = rivals.filter_map(|p| Some((*p, results.sum(p)?))).min_by(|a, b| a.1.total_cmp(&b.1));
    if let (Some(ours), Some((rival, best))) = (results.sum(OURS), best) {
        let verdict = if ours <= best / 2.0 { "met" } else { "**missed**" };
        let _ = writeln!(
            out,
            "- Sum: {OURS} {ours:.1}, the best rival ({rival}) {best:.1}, a ratio of {:.2}. At most half: {verdict}.",
            ours / best
        );
    }
    out
}
