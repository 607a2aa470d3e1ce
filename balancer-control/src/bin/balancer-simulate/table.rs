//! The outcome for people, as Markdown tables: they read well on a terminal too.

use std::fmt::Write as _;

use balancer_control::sim::SteererName;

use crate::runs::{Random, Runs, Summary, quantiles};

/// All tables.
pub(crate) fn tables(runs: &Runs) -> String {
    let mut out = String::new();
    if !runs.named.is_empty() {
        for (title, field) in FIGURES {
            let _ = writeln!(out, "{title}\n");
            out.push_str(&by_case(runs, *field));
            out.push('\n');
        }
    }
    if !runs.suite.is_empty() {
        let _ = writeln!(out, "Random suite, {} cases\n", runs.wanted.random);
        out.push_str(&suite(runs));
    }
    out
}

/// How a figure of a run is written.
type Field = fn(&Summary) -> String;

/// What is shown of the named cases.
pub(crate) const FIGURES: &[(&str, Field)] = &[
    ("Most loaded broker over the mean, last minute", |s| format!("{:.3}", s.max_over_mean)),
    ("Most loaded broker over the mean, whole run", |s| format!("{:.3}", s.average)),
    ("99th percentile of connect times, s", |s| format!("{:.3}", s.connect_p99)),
    ("Connects timed out", |s| format!("{:.0}", s.timeouts)),
    ("Peak share of new connections over share of capacity", |s| format!("{:.1}", s.peak_share)),
    ("Seconds until the imbalance stays below 1.1", |s| {
        s.settled.map_or_else(|| "never".to_owned(), |settled| format!("{settled:.0}"))
    }),
];

/// One figure of every policy in every named case.
pub(crate) fn by_case(runs: &Runs, field: Field) -> String {
    let policies = &runs.wanted.policies;
    let mut rows = vec![header("case", policies)];
    for (case, outcomes) in runs.wanted.named.iter().zip(&runs.named) {
        let cells = policies.iter().map(|policy| outcomes.get(policy).map_or_else(String::new, field));
        rows.push(core::iter::once(case.name.clone()).chain(cells).collect());
    }
    markdown(&rows)
}

fn header(first: &str, policies: &[SteererName]) -> Vec<String> {
    let names = policies.iter().map(|policy| policy.as_str().to_owned());
    core::iter::once(first.to_owned()).chain(names).collect()
}

/// The random suite by policy.
pub(crate) fn suite(runs: &Runs) -> String {
    let columns = [
        "policy",
        "median",
        "p90",
        "worst",
        "whole run: median",
        "p90",
        "cases with time-outs",
        "adaptive better by 1 %",
        "worse by 1 %",
    ];
    let mut rows = vec![columns.map(str::to_owned).to_vec()];
    let ours = runs.suite.get(&SteererName::Adaptive);
    for (policy, cases) in &runs.suite {
        let [median, p90, worst] = quantiles(cases, |case| case.last_minute, [0.5, 0.9, 1.0]);
        let [whole_median, whole_p90, _] = quantiles(cases, |case| case.average, [0.5, 0.9, 1.0]);
        let mut row = vec![policy.as_str().to_owned()];
        row.extend([median, p90, worst, whole_median, whole_p90].map(|value| format!("{value:.3}")));
        let timed_out = cases.iter().filter(|case| case.timeouts > 0).count();
        row.push(percent(timed_out, cases.len()));
        row.extend(ours.map_or_else(Default::default, |ours| compare(ours, cases)));
        rows.push(row);
    }
    markdown(&rows)
}

/// In how many cases ours is better, and worse.
fn compare(ours: &[Random], theirs: &[Random]) -> [String; 2] {
    let (better, worse) = better_and_worse(ours, theirs);
    [percent(better, ours.len()), percent(worse, ours.len())]
}

/// In how many cases ours is better by more than 1 %, and worse.
pub(crate) fn better_and_worse(ours: &[Random], theirs: &[Random]) -> (usize, usize) {
    let pairs = || ours.iter().zip(theirs).map(|(a, b)| (a.last_minute, b.last_minute));
    (
        pairs().filter(|(ours, theirs)| *theirs > ours * 1.01).count(),
        pairs().filter(|(ours, theirs)| *ours > theirs * 1.01).count(),
    )
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.0} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Columns of equal width, numbers to the right.
fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ =
                if column == 0 { write!(out, "| {cell:<width$} ") } else { write!(out, "| {cell:>width$} ") };
        }
        out.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let _ = write!(out, "|{:-<width$}-{}", "-", if column == 0 { "-" } else { ":" });
            }
            out.push_str("|\n");
        }
    }
    out
}
