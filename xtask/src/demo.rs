//! `cargo xtask demo`: sets up and builds, then hands over to the program `balancer-demo`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::{build, process, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ends within a minute after the build: fewer clients and shorter phases.
    #[arg(long)]
    quick: bool,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Keeps the lab running at the end until Ctrl-C, to look around in.
    #[arg(long)]
    keep: bool,
    /// Directory for the page of charts and the result; without it `demo` in cargo's target directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !process::is_root()? {
        bail!("the demo loads a kernel program and makes network namespaces: run it as root");
    }
    let built = build::lab_programs(workspace)?;

    let program = built.binary.with_file_name("balancer-demo");
    let mut demo = std::process::Command::new(&program);
    for (wanted, flag) in [(args.quick, "--quick"), (args.json, "--json"), (args.keep, "--keep")] {
        if wanted {
            demo.arg(flag);
        }
    }
    demo.arg("--out").arg(args.out.clone().unwrap_or_else(|| workspace.target().join("demo")));
    let status = build::with_products(&mut demo, &built)
        .status()
        .with_context(|| format!("failed to start {}", program.display()))?;
    if !status.success() {
        bail!("the demo did not keep what was promised");
    }
    Ok(())
}
