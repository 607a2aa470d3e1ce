//! `cargo xtask bench`: builds what is measured, then hands over to the program that measures.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{build, process, workspace::Workspace};

/// What is measured.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// What a packet costs the kernel program, in nanoseconds; needs root.
    #[command(disable_help_flag = true)]
    Packet {
        /// Options; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

pub(crate) fn run(workspace: &Workspace, bench: &Bench) -> Result<()> {
    match bench {
        Bench::Packet { options } => packet(workspace, options),
    }
}

fn packet(workspace: &Workspace, options: &[String]) -> Result<()> {
    if !process::is_root()? {
        bail!("the benchmark loads kernel programs and makes a network namespace: run it as root");
    }
    let objects = build::bench_objects(workspace)?;
    let mut cargo = workspace.cargo();
    let program = ["--package", "balancer-tests", "--bin", "balancer-bench"];
    // Without optimisation: it starts runs of the kernel and adds up.
    process::run(cargo.args(["build", "--locked"]).args(program))?;

    let program = workspace.target().join("debug/balancer-bench");
    let status = Command::new(&program)
        .args(options)
        .env(build::OBJECT_VARIABLE, &objects.balancer)
        .env(build::GENERATOR_VARIABLE, &objects.generator)
        .status()
        .with_context(|| format!("failed to start {}", program.display()))?;
    if !status.success() {
        bail!("the benchmark failed");
    }
    Ok(())
}
