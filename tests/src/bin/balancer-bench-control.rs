//! Measures what the agent costs.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use balancer_tests::bench::{
    control::{self, Part, Plan},
    replace_section,
};
use clap::Parser;

/// Measures what the agent costs beside the packets: CPU, memory, and the time that its work takes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Parts to measure; all of them without it.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Backends of the service, each scraped every two seconds.
    #[arg(long, default_value_t = 512)]
    backends: u16,
    /// Flows in the table.
    #[arg(long, default_value_t = 1_000_000)]
    flows: u32,
    /// Flows in the huge table: 112 bytes of kernel memory each, and a quarter more.
    #[arg(long, default_value_t = 10_000_000)]
    huge: u32,
    /// How long the agent is watched in each state, in seconds.
    #[arg(long, default_value_t = 40)]
    watch: u64,
    /// A tenth of the flows, and a few seconds.
    #[arg(long, conflicts_with_all = ["flows", "huge", "watch"])]
    quick: bool,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Writes the table into a page, between the marks of the section `control`.
    #[arg(long, value_name = "PAGE")]
    document: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let tenth = |number: u32| if arguments.quick { number / 10 } else { number };
    let plan = Plan {
        parts: if arguments.only.is_empty() { Part::ALL.to_vec() } else { arguments.only },
        backends: arguments.backends,
        flows: tenth(arguments.flows),
        huge: tenth(arguments.huge),
        watch: Duration::from_secs(if arguments.quick { 6 } else { arguments.watch }),
    };
    let report = control::run(&plan, |step| eprintln!("{step}"))?;
    if let Some(page) = &arguments.document {
        replace_section(page, "control", &report.markdown())?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
