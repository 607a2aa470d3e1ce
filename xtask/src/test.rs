//! `cargo xtask test`: every check and every test, those that fail fastest first. A failure does not stop the
//! rest, so that one run tells everything; the last lines sum it up.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{build, deny, process, setup, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs only what needs neither root nor a BPF toolchain; the other tests count as skipped.
    #[arg(long)]
    host: bool,
    /// Runs the storms of thousands of clients as well, which take a quarter of an hour.
    #[arg(long, conflicts_with = "host")]
    storms: bool,
}

/// How the names of storms begin.
const STORM: &str = "storm_";

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !args.host && !process::is_root()? {
        bail!(
            "the tests that load the kernel programs and make network namespaces need root: run this as root, \
             or `cargo xtask test --host` for the rest"
        );
    }
    let mut report = Report::default();
    report.step("fmt", || counted(workspace.cargo().args(["fmt", "--all", "--check"])));
    report.step("clippy", || {
        let options = ["--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        counted(workspace.cargo().arg("clippy").args(options))
    });
    report.step("deny", || denied(workspace));
    if args.host {
        report.step("host", || counted(&mut cargo_test(workspace)));
        return report.finish();
    }
    // Built before the tests, which then find the binary that the labs run and need not build it twice.
    let mut built = None;
    let mut generator = None;
    report.step("build", || {
        setup::programs(workspace)?;
        built = Some(build::build(workspace, false)?);
        generator = Some(build::bench_objects(workspace)?.generator);
        Ok(Counts::default())
    });
    report.step("host", || {
        let mut command = cargo_test(workspace);
        if let Some(built) = &built {
            build::with_products(&mut command, built);
        }
        counted(&mut command).map(Counts::all_run)
    });
    if let (Some(built), Some(generator)) = (built, generator) {
        let mut command = root_only(workspace, args.storms);
        command.env(build::GENERATOR_VARIABLE, generator);
        report.step("kernel and labs", || counted(build::with_products(&mut command, &built)));
    }
    report.finish()
}

/// What continuous integration runs: the test command of the README.
pub(crate) fn ci(workspace: &Workspace) -> Result<()> {
    run(workspace, &Args { host: false, storms: false })
}

fn cargo_test(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--locked", "--no-fail-fast", "--workspace"]);
    cargo
}

/// The tests that need root, which are marked `#[ignore]` for everybody else. One at a time: a lab that
/// competes with another one for the machine's cores proves nothing.
fn root_only(workspace: &Workspace, storms: bool) -> Command {
    let mut cargo = cargo_test(workspace);
    cargo.args(["--tests", "--", "--ignored", "--test-threads=1"]);
    if !storms {
        eprintln!("storms are left out; `cargo xtask test --storms` runs them");
        cargo.args(["--skip", STORM]);
    }
    cargo
}

/// Licences and sources of what comes in from outside.
fn denied(workspace: &Workspace) -> Result<Counts> {
    match deny::find(workspace) {
        Some(program) => counted(&mut deny::check(workspace, &program)),
        None => {
            eprintln!("skipped: cargo-deny is not there; `cargo xtask deny` builds it once, in some minutes");
            Ok(Counts { skipped: 1, ..Counts::default() })
        }
    }
}

/// How many tests did what.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    skipped: u64,
}

/// Runs `command` with its output shown, and counts the tests it reports.
pub(crate) fn counted(command: &mut Command) -> Result<Counts> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", process::describe(command)))?;
    let stdout = child.stdout.take().expect("standard output was asked to be piped");
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.with_context(|| format!("failed to read from {}", process::describe(command)))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.add(&line);
    }
    let status =
        child.wait().with_context(|| format!("failed to wait for {}", process::describe(command)))?;
    if !status.success() && counts.failed == 0 {
        bail!("{} failed: {status}", process::describe(command));
    }
    Ok(counts)
}

impl Counts {
    /// These counts where another step runs the tests that this one leaves out.
    const fn all_run(self) -> Self {
        Self { skipped: 0, ..self }
    }

    /// Adds what a closing line of libtest says; other lines say nothing.
    pub(crate) fn add(&mut self, line: &str) {
        let Some(results) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| {
            let (before, _) = results.split_once(word)?;
            before.trim_end().rsplit(' ').next()?.parse::<u64>().ok()
        };
        self.passed += number("passed").unwrap_or(0);
        self.failed += number("failed;").unwrap_or(0);
        self.skipped += number("ignored").unwrap_or(0);
    }
}

/// What the steps came to.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    total: Counts,
}

impl Report {
    /// Runs one step. A check without tests of its own counts as one test.
    fn step(&mut self, name: &str, run: impl FnOnce() -> Result<Counts>) {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let counts = match run() {
            Ok(counts) if counts == Counts::default() => Counts { passed: 1, ..counts },
            Ok(counts) => counts,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                Counts { failed: 1, ..Counts::default() }
            }
        };
        let end = if counts.failed == 0 { "ok" } else { "FAILED" };
        let Counts { passed, failed, skipped } = counts;
        let seconds = started.elapsed().as_secs();
        self.lines.push(format!(
            "{name:<16} {end:<7} {passed:>4} passed {failed:>4} failed {skipped:>4} skipped {seconds:>5} s"
        ));
        self.total.passed += passed;
        self.total.failed += failed;
        self.total.skipped += skipped;
    }

    fn finish(self) -> Result<()> {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        let Counts { passed, failed, skipped } = self.total;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} failed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_the_closing_lines_of_libtest() {
        let mut counts = Counts::default();
        counts.add("test packet::parse ... ok");
        counts.add(
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        );
        counts.add(
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1s",
        );
        assert_eq!(counts, Counts { passed: 13, failed: 2, skipped: 3 });
    }
}
