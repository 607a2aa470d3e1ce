//! `balancer-simulate`: runs the cases of the simulator with every policy, prints tables or JSON, and writes
//! docs/balance.md. `cargo xtask simulate` builds and starts it.

mod chart;
mod json;
mod page;
mod runs;
mod table;
mod targets;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use balancer_control::sim::{Case, SteererName, catalogue};
use clap::Parser;

use crate::runs::{Runs, Wanted};

/// Runs the balancer's controller and its rivals against simulated brokers.
#[derive(Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Args {
    /// First seed. The named cases use it and those after it, the random suite has one seed per case.
    #[arg(long, default_value_t = 20_000)]
    seed: u64,
    /// Random cases in the suite; 0 leaves the suite out.
    #[arg(long, default_value_t = 120)]
    cases: u64,
    /// Seeds per named case.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    repeats: u64,
    /// Runs only this case (S1, SA, …) or `suite`; may be repeated. docs/balance.md is then left alone.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Runs only this policy; may be repeated. docs/balance.md is then left alone.
    #[arg(long, value_name = "POLICY")]
    policy: Vec<String>,
    /// The folder to write balance.md and its charts to.
    #[arg(long, hide = true)]
    docs: Option<PathBuf>,
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Fails (exit status 1) when a goal of docs/balance.md is missed, and names those that are. Without it missing one is
    /// no failure. Of goals whose case or policy is left out nothing is said.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let wanted = wanted(args)?;
    let runs = Runs::make(wanted);
    if args.json {
        println!("{:#}", json::json(&runs));
    } else {
        print!("{}", table::tables(&runs));
    }
    let whole = args.only.is_empty() && args.policy.is_empty() && args.cases > 0;
    if let Some(docs) = args.docs.as_deref().filter(|_| whole) {
        page::write(&runs, docs)?;
    }
    if args.check { check(&runs) } else { Ok(()) }
}

fn check(runs: &Runs) -> Result<()> {
    let missed = targets::missed(runs);
    if missed.is_empty() {
        return Ok(());
    }
    let lines: String = missed.iter().map(|goal| format!("\n  {goal}")).collect();
    bail!("{} of the goals missed:{lines}", missed.len())
}

fn wanted(args: &Args) -> Result<Wanted> {
    let named = catalogue();
    let is = |case: &Case, name: &str| case.name.eq_ignore_ascii_case(name);
    for name in args.only.iter().filter(|name| !name.eq_ignore_ascii_case("suite")) {
        if !named.iter().any(|case| is(case, name)) {
            let names: Vec<&str> = named.iter().map(|case| case.name.as_str()).collect();
            bail!("--only {name}: there is no such case; there are {} and suite", names.join(", "));
        }
    }
    let all = args.only.is_empty();
    let suite = all || args.only.iter().any(|name| name.eq_ignore_ascii_case("suite"));
    Ok(Wanted {
        seed: args.seed,
        repeats: args.repeats,
        policies: policies(&args.policy)?,
        named: named.into_iter().filter(|case| all || args.only.iter().any(|name| is(case, name))).collect(),
        random: if suite { args.cases } else { 0 },
    })
}

fn policies(names: &[String]) -> Result<Vec<SteererName>> {
    if names.is_empty() {
        return Ok(SteererName::ALL.into());
    }
    for name in names {
        if !SteererName::ALL.iter().any(|policy| policy.as_str() == name) {
            let known = SteererName::ALL.map(SteererName::as_str).join(", ");
            bail!("--policy {name}: there is no such policy; there are {known}");
        }
    }
    let is_wanted = |policy: &SteererName| names.iter().any(|name| name == policy.as_str());
    Ok(SteererName::ALL.into_iter().filter(is_wanted).collect())
}
