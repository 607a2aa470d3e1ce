//! Measures what a packet costs.

use std::path::PathBuf;

use anyhow::Result;
use balancer_tests::bench::{self, Family, Order, Path, Plan, Policy};
use clap::Parser;

/// Measures what a packet costs the program in the running kernel.
///
/// Sizes are varied one at a time, unless --full is given. Figures are comparable within one run only.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address families.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "v4,v6")]
    family: Vec<Family>,
    /// What becomes of the packets; all paths without it.
    #[arg(long, value_enum, value_delimiter = ',')]
    path: Vec<Path>,
    /// Numbers of established flows.
    #[arg(long, value_delimiter = ',', default_value = "1,1000,100000,1000000")]
    flows: Vec<u32>,
    /// Numbers of backends: powers of two, 4096 at most.
    #[arg(long, value_delimiter = ',', default_value = "16,512,4096")]
    backends: Vec<u16>,
    /// Policies; `adaptive` and, where new flows are measured, all others too without it.
    #[arg(long, value_enum, value_delimiter = ',')]
    policy: Vec<Policy>,
    /// Measures every combination of sizes and policies.
    #[arg(long)]
    full: bool,
    /// In which order flows have their turn.
    #[arg(long, value_enum, default_value = "sequential")]
    order: Order,
    /// CPUs that send at the same time.
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    /// Rounds that the median is taken of.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Packets of one measurement.
    #[arg(long, default_value_t = 50_000)]
    packets: u32,
    /// Measures Katran's program in the same rounds: the object file of a build of its repository (see
    /// docs/performance.md).
    #[arg(long, value_name = "OBJECT")]
    katran: Option<PathBuf>,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Writes the tables into a page, between the marks of a section.
    #[arg(long, value_name = "PAGE", requires = "section")]
    document: Option<PathBuf>,
    /// Name of the section: that in the mark `<!-- begin: NAME -->`.
    #[arg(long, value_name = "NAME")]
    section: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let or_all = |given: &[Path]| if given.is_empty() { Path::ALL.to_vec() } else { given.to_vec() };
    let plan = Plan {
        paths: or_all(&arguments.path),
        policies: if arguments.policy.is_empty() { Policy::ALL.to_vec() } else { arguments.policy },
        families: arguments.family,
        flows: arguments.flows,
        backends: arguments.backends,
        full: arguments.full,
        order: arguments.order,
        cpus: arguments.cpus,
        rounds: arguments.rounds,
        packets: arguments.packets,
        katran: arguments.katran,
    };
    let report = bench::run(&plan, |step| eprintln!("{step}"))?;
    if let (Some(page), Some(section)) = (&arguments.document, &arguments.section) {
        bench::write_document(page, section, &report)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
