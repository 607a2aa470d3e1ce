//! `cargo xtask kernels`: the kernel matrix. Debian's kernels are booted in an emulated machine, and the tests
//! that depend on the kernel run inside; the running kernel gets the same list.

mod image;
mod machine;
mod package;
mod report;
mod script;
mod suite;

use std::{env::consts::ARCH, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use self::{package::Series, report::Row, suite::Suite};
use crate::{build, process, setup, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A kernel to test, may be repeated; without it all of them.
    #[arg(long = "kernel", value_name = "KERNEL", value_enum)]
    kernels: Vec<Kernel>,
    /// A case to ask, as "packet table", may be repeated; without it all of them.
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// A column of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kernel {
    /// The kernel this machine runs.
    Running,
    /// Debian 12's kernel, the oldest that is supported.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 12's newer kernel.
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    const ALL: [Self; 3] = [Self::Running, Self::V6_1, Self::V6_12];

    const fn series(self) -> Option<Series> {
        match self {
            Self::Running => None,
            Self::V6_1 => Some(Series::V6_1),
            Self::V6_12 => Some(Series::V6_12),
        }
    }
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !process::is_root()? {
        bail!("the tests load a kernel program and make network namespaces: run this as root");
    }
    let cases = suite::choose(&args.cases)?;
    let kernels = if args.kernels.is_empty() { &Kernel::ALL[..] } else { &args.kernels };
    setup::programs(workspace)?;
    if kernels.iter().any(|kernel| kernel.series().is_some()) {
        if ARCH != "x86_64" {
            bail!("the matrix boots amd64 kernels with this machine's programs; use `--kernel running` here");
        }
        setup::emulator(workspace)?;
    }
    let suite = Suite::build(workspace, build::build(workspace, false)?, cases)?;
    let mut rows = Vec::new();
    for kernel in kernels {
        // A kernel that cannot be tried is a row of its own, so that the others are still told about.
        rows.push(match one(workspace, &suite, *kernel) {
            Ok(row) => row,
            Err(error) => Row::untried(name(*kernel), &suite.cases, &format!("{error:#}")),
        });
    }
    report::print(&rows, args.json)?;
    let failed: Vec<_> = rows.iter().filter(|row| !row.held).map(|row| row.kernel.as_str()).collect();
    if !failed.is_empty() {
        bail!(
            "not everything holds on {}; the logs are in {}",
            failed.join(", "),
            folder(workspace).display()
        );
    }
    Ok(())
}

fn one(workspace: &Workspace, suite: &Suite, kernel: Kernel) -> Result<Row> {
    let folder = folder(workspace);
    let Some(series) = kernel.series() else {
        let transcript = machine::native(suite, &folder)?;
        return Ok(Row::new((name(kernel), None), &suite.cases, &transcript));
    };
    let package = package::fetch(workspace, series, &folder)?;
    let image = image::make(suite, &package, &folder)
        .with_context(|| format!("failed to make an initramfs for {}", package.release))?;
    let transcript = machine::emulated(&package, &image, &suite.cases, &folder)?;
    Ok(Row::new((name(kernel), Some(&package.file)), &suite.cases, &transcript))
}

/// Where kernels, images and logs are.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("kernels")
}

fn name(kernel: Kernel) -> &'static str {
    kernel.series().map_or("running", Series::name)
}
