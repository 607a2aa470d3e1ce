//! `cargo xtask bench`: builds what is measured, then hands over to the program that measures.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{build, process, setup, workspace::Workspace};

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
    /// The gateway with real traffic, beside HAProxy, nginx, nftables and plain routing; needs root.
    #[command(disable_help_flag = true)]
    Gateway {
        /// Options; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// What the agent costs: rings, ticks, sweeps, scrapes, starts, memory; needs root.
    #[command(disable_help_flag = true)]
    Control {
        /// Options; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

pub(crate) fn run(workspace: &Workspace, bench: &Bench) -> Result<()> {
    if !process::is_root()? {
        bail!("the benchmarks load kernel programs and make network namespaces: run them as root");
    }
    match bench {
        Bench::Packet { options } => packet(workspace, options),
        Bench::Gateway { options } => {
            setup::rivals(workspace)?;
            product(workspace, "balancer-bench-gateway", options)
        }
        Bench::Control { options } => product(workspace, "balancer-bench-control", options),
    }
}

fn packet(workspace: &Workspace, options: &[String]) -> Result<()> {
    let objects = build::bench_objects(workspace)?;
    let name = "balancer-bench";
    let mut cargo = workspace.cargo();
    // Without optimisation: it starts runs of the kernel and adds up.
    process::run(cargo.args(["build", "--locked", "--package", "balancer-tests", "--bin", name]))?;

    let mut program = Command::new(workspace.target().join("debug").join(name));
    program.args(options);
    program.env(build::OBJECT_VARIABLE, &objects.balancer).env(build::GENERATOR_VARIABLE, &objects.generator);
    process::run_with_answer(&mut program)
}

/// Runs a benchmark of the agent as it is installed: with optimisation, the program that measures as well.
fn product(workspace: &Workspace, name: &str, options: &[String]) -> Result<()> {
    setup::programs(workspace)?;
    let objects = build::bench_objects(workspace)?;
    let built = build::build(workspace, true)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--locked", "--release", "--package", "balancer-tests", "--bin", name]);
    process::run(build::with_products(&mut cargo, &built))?;

    let mut program = Command::new(built.binary.with_file_name(name));
    program.args(options).env(build::GENERATOR_VARIABLE, &objects.generator);
    process::run_with_answer(build::with_products(&mut program, &built))
}
