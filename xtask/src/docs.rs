//! `cargo xtask docs`: the pages that the program writes about itself.

use anyhow::{Result, ensure};

use crate::{process, test, workspace::Workspace};

/// What the names of the tests have in common that compare docs/configuration.md, docs/metrics.md and docs/presets.md with
/// what they are made from, and write the pages when `BLESS` is set.
const REFERENCE_TESTS: &str = "_md_is_up_to_date";

/// How many there are.
const PAGES: u64 = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Writes nothing; fails when docs/configuration.md, docs/metrics.md or docs/presets.md is not what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut reference = workspace.cargo();
    reference.args(["test", "--locked", "--package", "balancer-userspace", "--lib", REFERENCE_TESTS]);
    if args.check {
        reference.env_remove("BLESS");
    } else {
        reference.env("BLESS", "1");
    }
    let counts = test::counted(&mut reference)?;
    ensure!(
        counts.failed == 0,
        "docs/configuration.md, docs/metrics.md or docs/presets.md is out of date; `cargo xtask docs` writes them"
    );
    ensure!(counts.passed == PAGES, "{} tests named …{REFERENCE_TESTS} and not {PAGES}", counts.passed);
    if args.check {
        return Ok(());
    }
    let man = workspace.target().join("man");
    let mut balancer = workspace.cargo();
    balancer.args(["run", "--locked", "--package", "balancer-userspace", "--bin", "balancer", "--", "man"]);
    process::run(balancer.arg(&man))?;
    for page in ["configuration", "metrics", "presets"] {
        eprintln!("reference  {}", workspace.root().join(format!("docs/{page}.md")).display());
    }
    eprintln!("manual     {}", man.display());
    Ok(())
}
