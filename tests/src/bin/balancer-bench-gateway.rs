//! Measures the gateway beside what else could stand in its place.

use std::path::PathBuf;

use anyhow::Result;
use balancer_tests::bench::{
    gateway::{self, Part, Plan, Rival},
    replace_section, write_image,
};
use clap::Parser;

/// Measures the gateway with real traffic, in network namespaces, beside HAProxy, nginx, nftables and plain routing.
///
/// Everything shares this machine's CPUs: ratios count, and only within one run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Parts to measure; all of them without it.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Who is measured; all of them without it.
    #[arg(long, value_enum, value_delimiter = ',')]
    rival: Vec<Rival>,
    /// One round of a second each, without the larger number of idle connections: a look in two minutes.
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "churn"])]
    quick: bool,
    /// Rounds that the median is taken of.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Length of one measurement in seconds.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Length of the churn in seconds.
    #[arg(long, default_value_t = 60)]
    churn: u32,
    /// Frames that are injected in one measurement.
    #[arg(long, default_value_t = 2_000_000)]
    frames: u32,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Writes the tables into a page, between the marks of the sections `gateway` and `churn`.
    #[arg(long, value_name = "PAGE")]
    document: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let quick = |value, quick| if arguments.quick { quick } else { value };
    let plan = Plan {
        parts: if arguments.only.is_empty() { Part::ALL.to_vec() } else { arguments.only },
        rivals: if arguments.rival.is_empty() { Rival::ALL.to_vec() } else { arguments.rival },
        rounds: quick(arguments.rounds, 1),
        seconds: quick(arguments.seconds, 1),
        churn: quick(arguments.churn, 10),
        frames: quick(arguments.frames, 500_000),
        few_idle: arguments.quick,
    };
    let report = gateway::run(&plan, |step| eprintln!("{step}"))?;
    if let Some(page) = &arguments.document {
        if !report.rows.is_empty() {
            replace_section(page, "gateway", &report.markdown())?;
        }
        if !report.churn.is_empty() {
            let title = "Clients that connect, are accepted and close";
            let image = write_image(page, "churn", (title, &report.churn_chart(title)?))?;
            replace_section(page, "churn", &format!("{}\n{image}", report.churn_markdown()))?;
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
