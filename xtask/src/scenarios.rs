//! `cargo xtask scenarios`: sets up and builds, then hands over to the program `balancer-scenarios`.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{build, process, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Plays each scenario once, under four policies: ten minutes instead of forty.
    #[arg(long)]
    quick: bool,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Scenarios, separated by commas: S1, S2, S3, S3-rebalance; all unless given.
    #[arg(long, value_name = "NAMES")]
    only: Option<String>,
    /// Policies, separated by commas; all unless given.
    #[arg(long, value_name = "POLICIES")]
    policies: Option<String>,
    /// How often each is played; 3 unless given.
    #[arg(long, value_name = "N")]
    repeats: Option<u32>,
    /// Chooses the order of the runs.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Plays only what is missing in the result of an earlier call, and adds to it.
    #[arg(long)]
    resume: bool,
    /// Directory for the charts and the result; without it `scenarios` in cargo's target directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !process::is_root()? {
        bail!("the scenarios load a kernel program and make network namespaces: run them as root");
    }
    let built = build::lab_programs(workspace)?;

    let mut program = Command::new(built.binary.with_file_name("balancer-scenarios"));
    for (wanted, flag) in [(args.quick, "--quick"), (args.json, "--json"), (args.resume, "--resume")] {
        if wanted {
            program.arg(flag);
        }
    }
    let (repeats, seed) = (args.repeats.map(|n| n.to_string()), args.seed.map(|n| n.to_string()));
    for (value, option) in
        [(&args.only, "--only"), (&args.policies, "--policies"), (&repeats, "--repeats"), (&seed, "--seed")]
    {
        if let Some(value) = value {
            program.args([option, value]);
        }
    }
    program.arg("--out").arg(args.out.clone().unwrap_or_else(|| workspace.target().join("scenarios")));
    program.arg("--docs").arg(workspace.root().join("docs"));
    process::run_with_answer(build::with_products(&mut program, &built))
}
