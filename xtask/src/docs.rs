//! `cargo xtask docs`: the pages that the program writes about itself.

use anyhow::{Result, ensure};

use crate::{process, test, workspace::Workspace};

/// What the names of the tests have in common that compare pages in docs/ with what they are made from, and write the pages
/// when `BLESS` is set.
const REFERENCE_TESTS: &str = "_md_is_up_to_date";

/// Where those tests are, and which pages they are about.
const PAGES: [(&[&str], &[&str]); 2] = [
    (&["--package", "balancer-userspace", "--lib"], &["configuration", "metrics", "presets"]),
    (&["--package", "balancer-tests", "--test", "docs"], &["brokers"]),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Writes nothing; fails when a page is not what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    for (tests, pages) in PAGES {
        check(workspace, args, tests, pages)?;
    }
    if args.check {
        return Ok(());
    }
    let man = workspace.target().join("man");
    let mut balancer = workspace.cargo();
    balancer.args(["run", "--locked", "--package", "balancer-userspace", "--bin", "balancer", "--", "man"]);
    process::run(balancer.arg(&man))?;
    for page in PAGES.iter().flat_map(|(_, pages)| *pages) {
        eprintln!("reference  {}", workspace.root().join(format!("docs/{page}.md")).display());
    }
    eprintln!("manual     {}", man.display());
    Ok(())
}

/// Compares some pages with what they are made from, or writes them.
fn check(workspace: &Workspace, args: &Args, tests: &[&str], pages: &[&str]) -> Result<()> {
    let mut reference = workspace.cargo();
    reference.args(["test", "--locked"]).args(tests).arg(REFERENCE_TESTS);
    if args.check {
        reference.env_remove("BLESS");
    } else {
        reference.env("BLESS", "1");
    }
    let counts = test::counted(&mut reference)?;
    ensure!(
        counts.failed == 0,
        "a page of docs/ is out of date ({}); `cargo xtask docs` writes them",
        pages.join(", ")
    );
    let wanted = pages.len() as u64;
    ensure!(counts.passed == wanted, "{} tests named …{REFERENCE_TESTS} and not {wanted}", counts.passed);
    Ok(())
}
