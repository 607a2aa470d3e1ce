//! `cargo xtask`: sets the machine up, builds, tests and shows what this workspace makes.
#![forbid(unsafe_code)]

mod bench;
mod brokers;
mod build;
mod demo;
mod deny;
mod docs;
mod faults;
mod fuzz;
mod kernels;
mod process;
mod scenarios;
mod setup;
mod simulate;
mod soak;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::workspace::Workspace;

/// Sets the machine up, builds, tests and shows what this workspace makes.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Installs what building and testing needs beyond stable Rust; does nothing where it is there.
    Setup(setup::Args),
    /// Builds the kernel object and the binary `balancer` with the object inside.
    Build(build::Args),
    /// Steers real MQTT clients to real brokers, and does to them what life does; needs root.
    Demo(demo::Args),
    /// Measures the product.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Tries presets and probes on the real brokers, and installs those first; needs root.
    Brokers(brokers::Args),
    /// Runs every check and test; needs root for the layers that touch the kernel.
    Test(test::Args),
    /// Does to a running gateway what life does, under live traffic, and tells what became of the flows; needs root.
    Faults(faults::Args),
    /// Runs the tests that depend on the kernel on each of Debian's kernels; needs root.
    Kernels(kernels::Args),
    /// Tries what is read from outside with inputs that find their own way, and keeps what they find.
    Fuzz(fuzz::Args),
    /// Checks licences and sources of all dependencies, and whether advisories are out about any.
    Deny(deny::Args),
    /// Writes docs/configuration.md from the types of the configuration, and the manual pages.
    Docs(docs::Args),
    /// Runs the controller and its rivals against simulated brokers, and writes docs/balance.md.
    Simulate(simulate::Args),
    /// Plays three scenarios on real brokers under every policy, and writes docs/scenarios.md; needs root.
    Scenarios(scenarios::Args),
    /// Disturbs one gateway for minutes: churn, storms and faults at random; needs root.
    Soak(soak::Args),
    /// Runs what continuous integration runs.
    Ci,
}

fn main() -> ExitCode {
    match run(&Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup(args) => setup::run(&workspace, args),
        Task::Build(args) => build::run(&workspace, args),
        Task::Demo(args) => demo::run(&workspace, args),
        Task::Bench(args) => bench::run(&workspace, args),
        Task::Brokers(args) => brokers::run(&workspace, args),
        Task::Test(args) => test::run(&workspace, args),
        Task::Faults(args) => faults::run(&workspace, args),
        Task::Kernels(args) => kernels::run(&workspace, args),
        Task::Fuzz(args) => fuzz::run(&workspace, args),
        Task::Deny(args) => deny::run(&workspace, args),
        Task::Docs(args) => docs::run(&workspace, args),
        Task::Simulate(args) => simulate::run(&workspace, args),
        Task::Scenarios(args) => scenarios::run(&workspace, args),
        Task::Soak(args) => soak::run(&workspace, args),
        Task::Ci => test::ci(&workspace),
    }
}
