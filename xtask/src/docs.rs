//! `cargo xtask docs`: the pages that the program writes about itself.

use anyhow::{Result, ensure};

use crate::{process, test, workspace::Workspace};

/// The test that compares docs/configuration.md with the types the configuration is read into, and writes
/// the page when `BLESS` is set.
const REFERENCE_TEST: &str = "configuration_md_is_up_to_date";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Writes nothing; fails when docs/configuration.md is not what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut reference = workspace.cargo();
    reference.args(["test", "--locked", "--package", "balancer-userspace", "--lib", REFERENCE_TEST]);
    if args.check {
        reference.env_remove("BLESS");
    } else {
        reference.env("BLESS", "1");
    }
    let counts = test::counted(&mut reference)?;
    ensure!(counts.failed == 0, "docs/configuration.md is out of date; `cargo xtask docs` writes it");
    ensure!(counts.passed == 1, "there is no test {REFERENCE_TEST} to write docs/configuration.md");
    if args.check {
        return Ok(());
    }
    let man = workspace.target().join("man");
    let mut balancer = workspace.cargo();
    balancer.args(["run", "--locked", "--package", "balancer-userspace", "--bin", "balancer", "--", "man"]);
    process::run(balancer.arg(&man))?;
    eprintln!("reference  {}", workspace.root().join("docs/configuration.md").display());
    eprintln!("manual     {}", man.display());
    Ok(())
}
