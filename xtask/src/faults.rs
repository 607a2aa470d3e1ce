//! `cargo xtask faults`: sets up and builds, then hands over to the program `balancer-faults`.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{build, process, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Prints the rows as JSON on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Chooses what is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Faults, separated by commas or blanks; all unless given.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 1..)]
    only: Vec<String>,
    /// Says which faults there are, and does nothing.
    #[arg(long)]
    list: bool,
    /// Fewer clients, and seconds in place of minutes.
    #[arg(long)]
    short: bool,
    /// Takes the data path and all its flows away when each fault begins: every row of live
    /// traffic has to fail.
    #[arg(long)]
    sabotage: bool,
    /// Takes the rows of faults that are not played from an earlier call's --json, so that one may play some at a time.
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Writes the table into docs/reliability.md when everything was played; with --list only what its rows mean.
    #[arg(long, conflicts_with_all = ["short", "sabotage"])]
    write: bool,
}

/// The fault that needs a binary of another layout.
const UPGRADE: &str = "agent-upgraded";

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !process::is_root()? {
        bail!("the faults load a kernel program and make network namespaces: run them as root");
    }
    let upgrades = args.only.is_empty() || args.only.iter().any(|name| name == UPGRADE);
    let trial = if upgrades && !args.list { Some(build::trial(workspace)?) } else { None };
    let built = build::lab_programs(workspace)?;

    let path = built.binary.with_file_name("balancer-faults");
    let mut program = Command::new(&path);
    program.args(["--seed", &args.seed.to_string()]);
    let flags = [
        (args.json, "--json"),
        (args.list, "--list"),
        (args.short, "--short"),
        (args.sabotage, "--sabotage"),
    ];
    program.args(flags.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag));
    if !args.only.is_empty() {
        program.args(["--only", &args.only.join(",")]);
    }
    for earlier in &args.with {
        program.arg("--with").arg(earlier);
    }
    if args.write {
        program.arg("--write").arg(workspace.root().join("docs/reliability.md"));
    }
    program.envs(trial.map(|trial| (build::TRIAL_VARIABLE, trial)));
    let status = build::with_products(&mut program, &built)
        .status()
        .with_context(|| format!("failed to start {}", path.display()))?;
    if !status.success() {
        bail!("not every flow and message survived");
    }
    Ok(())
}
