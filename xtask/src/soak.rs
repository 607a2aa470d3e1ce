//! `cargo xtask soak`: sets up and builds, then hands over to the program `balancer-soak`.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{build, process, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// Chooses what happens when.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Writes the result into docs/reliability.md.
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !process::is_root()? {
        bail!("the soak loads a kernel program and makes network namespaces: run it as root");
    }
    let built = build::lab_programs(workspace)?;

    let path = built.binary.with_file_name("balancer-soak");
    let mut program = Command::new(&path);
    program.args(["--minutes", &args.minutes.to_string(), "--seed", &args.seed.to_string()]);
    if args.json {
        program.arg("--json");
    }
    if args.write {
        program.arg("--write").arg(workspace.root().join("docs/reliability.md"));
    }
    let status = build::with_products(&mut program, &built)
        .status()
        .with_context(|| format!("failed to start {}", path.display()))?;
    if !status.success() {
        bail!("not all held");
    }
    Ok(())
}
