//! `cargo xtask simulate`: builds the simulator and runs it.

use anyhow::Result;

use crate::{process, workspace::Workspace};

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Options of the simulator; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let program = ["run", "--locked", "--quiet", "--release", "--package", "balancer-control"];
    let mut simulator = workspace.cargo();
    simulator.args(program).args(["--features", "simulate", "--bin", "balancer-simulate", "--"]);
    simulator.arg("--docs").arg(workspace.root().join("docs")).args(&args.options);
    process::run_with_answer(&mut simulator)
}
