//! docs/balance.md and its charts.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use balancer_control::sim::{Case, SteererName};

use crate::chart::{Axis, Chart, Line};
use crate::runs::{Runs, Summary};
use crate::{table, targets};

/// What is the same whatever the figures are.
const BEFORE: &str = include_str!("page/before.md");
const AFTER: &str = include_str!("page/after.md");

/// Policies in charts over time, the product's first.
const SHOWN: [SteererName; 6] = [
    SteererName::Adaptive,
    SteererName::RoundRobin,
    SteererName::LeastConn,
    SteererName::WeightedCpu,
    SteererName::TwoChoicesCpu,
    SteererName::WaterFill,
];

/// Cases drawn over time, and how far the chart reaches up.
const DRAWN: [(&str, f64); 5] = [("S1", 2.2), ("S2h", 1.4), ("S3b", 2.0), ("S4", 2.2), ("S6", 2.0)];

/// Writes the page and its charts into the folder `docs`.
pub(crate) fn write(runs: &Runs, docs: &Path) -> Result<()> {
    let images = docs.join("images");
    fs::create_dir_all(&images).with_context(|| format!("failed to create {}", images.display()))?;
    let mut charts = Vec::new();
    for (case, outcomes) in runs.wanted.named.iter().zip(&runs.named) {
        if let Some((name, top)) = DRAWN.iter().find(|(name, _)| *name == case.name) {
            let series = |policy: &SteererName| Some((*policy, outcomes.get(policy)?));
            let shown: Vec<_> = SHOWN.iter().filter_map(series).collect();
            charts.push((format!("balance-{}.svg", name.to_lowercase()), over_time(case, &shown, *top)));
        }
    }
    charts.push(("balance-suite.svg".to_owned(), distribution(runs)));
    let mut shown = String::new();
    for (file, chart) in &charts {
        let path = images.join(file);
        fs::write(&path, chart.svg()).with_context(|| format!("failed to write {}", path.display()))?;
        let _ = writeln!(shown, "![{}](images/{file})\n", chart.title);
    }
    let path = docs.join("balance.md");
    fs::write(&path, page(runs, &shown)).with_context(|| format!("failed to write {}", path.display()))?;
    eprintln!("written: {} and {} charts in {}", path.display(), charts.len(), images.display());
    Ok(())
}

fn page(runs: &Runs, charts: &str) -> String {
    let mut out = format!("# How well it balances\n\n{}{BEFORE}", missed(runs));
    let (first, last) = (runs.wanted.seed, runs.wanted.seed + runs.wanted.repeats - 1);
    let _ = writeln!(
        out,
        "The figures below are means over the seeds {first} to {last}; the random suite is the {} cases from \
         seed {first} on.\n",
        runs.wanted.random
    );
    let _ = writeln!(out, "## Goals\n\n{}", targets::table(runs));
    let _ = writeln!(out, "## Named cases\n\n{}", cases(&runs.wanted.named));
    for (title, field) in table::FIGURES {
        let _ = writeln!(out, "### {title}\n\n{}", table::by_case(runs, *field));
    }
    let _ = writeln!(out, "## Random suite\n\n{}", table::suite(runs));
    let _ = writeln!(out, "## Charts\n\nOne run each, with seed {first}.\n\n{charts}");
    out.push_str(AFTER);
    out
}

/// What is missed, before all that is met.
fn missed(runs: &Runs) -> String {
    let missed = targets::missed(runs);
    if missed.is_empty() {
        return "All goals are met. `cargo xtask simulate --check` fails when one is not.\n\n".to_owned();
    }
    let lines: String = missed.iter().map(|goal| format!("- {goal}\n")).collect();
    format!(
        "**Missed** are {} of the [goals](#goals), and why is in [Where it falls short](#where-it-falls-short):\n\n{lines}\n\
         All others are met. `cargo xtask simulate --check` fails (exit status 1) as long as one is missed.\n\n",
        missed.len()
    )
}

fn cases(named: &[Case]) -> String {
    let mut out = "| case | what happens |\n|------|---|\n".to_owned();
    for case in named {
        let _ = writeln!(out, "| {} | {} |", case.name, case.title);
    }
    out
}

fn over_time(case: &Case, shown: &[(SteererName, &Summary)], top: f64) -> Chart {
    let line = |(policy, summary): &(SteererName, &Summary)| {
        // Every five seconds: a second is less than a pixel.
        let points = summary
            .series
            .chunks(5)
            .enumerate()
            .map(|(i, five)| (i as f64 * 5.0 / 60.0, five.iter().sum::<f64>() / five.len() as f64));
        Line { name: policy.as_str().to_owned(), points: points.collect() }
    };
    let minutes = (case.until / 60.0).ceil();
    Chart {
        title: format!("{}: {}", case.name, case.title),
        x: Axis { name: "minutes", from: 0.0, to: minutes, step: if minutes > 15.0 { 2.0 } else { 1.0 } },
        y: Axis { name: "most loaded broker over the mean", from: 1.0, to: top, step: 0.2 },
        lines: shown.iter().map(line).collect(),
    }
}

fn distribution(runs: &Runs) -> Chart {
    let line = |policy: &SteererName| {
        let mut averages: Vec<f64> = runs.suite.get(policy)?.iter().map(|case| case.last_minute).collect();
        averages.sort_unstable_by(f64::total_cmp);
        let n = averages.len() as f64;
        let points = averages.iter().enumerate().map(|(i, average)| (100.0 * (i + 1) as f64 / n, *average));
        Some(Line { name: policy.as_str().to_owned(), points: points.collect() })
    };
    let shown = SHOWN.iter().chain(&[SteererName::Oracle]);
    Chart {
        title: "Random suite: cases by their imbalance after ten minutes, best to worst".to_owned(),
        x: Axis { name: "% of the cases", from: 0.0, to: 100.0, step: 10.0 },
        y: Axis { name: "most loaded broker over the mean", from: 1.0, to: 2.2, step: 0.2 },
        lines: shown.filter_map(line).collect(),
    }
}
