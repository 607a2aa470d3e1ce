//! `cargo xtask deny`: licences, sources and known faults of what comes in from outside, by cargo-deny and `deny.toml`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{process, workspace::Workspace};

/// The release of cargo-deny that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// Time to fetch the database of advisories; where there is no way to it, some connections hang.
const FETCH_LIMIT: Duration = Duration::from_secs(120);

/// What is checked without a network.
const CHECKS: [&str; 3] = ["licenses", "bans", "sources"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leaves advisories out, whose database is fetched from GitHub.
    #[arg(long)]
    offline: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let program = match find(workspace) {
        Some(program) => program,
        None => install(workspace)?,
    };
    process::run(&mut check(workspace, &program))?;
    if args.offline {
        eprintln!("advisories: left out (--offline)");
        return Ok(());
    }
    let log = workspace.target().join("deny.log");
    // Each run has a log of its own, whose last line says why.
    let _ = fs::remove_file(&log);
    let mut fetch = command(workspace, &program);
    fetch.args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    if process::logged("fetching the database of advisories", &mut fetch, FETCH_LIMIT, &log).is_err() {
        eprintln!(
            "advisories: SKIPPED, as https://github.com/RustSec/advisory-db cannot be fetched here ({})",
            log.display()
        );
        return Ok(());
    }
    process::run(command(workspace, &program).args(["check", "--disable-fetch", "advisories"]))
}

/// A cargo-deny of the right release: our own, or one that is installed.
pub(crate) fn find(workspace: &Workspace) -> Option<PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let candidates = [
        Some(root(workspace).join("bin/cargo-deny")),
        cargo_home.map(|home| home.join("bin/cargo-deny")),
        process::find("cargo-deny"),
    ];
    let is_right = |path: &PathBuf| {
        let version = process::output(Command::new(path).arg("--version"));
        version.is_some_and(|version| version.trim() == format!("cargo-deny {VERSION}"))
    };
    candidates.into_iter().flatten().find(is_right)
}

/// The check of everything that needs no network.
pub(crate) fn check(workspace: &Workspace, program: &Path) -> Command {
    let mut command = command(workspace, program);
    command.args(["--offline", "check", "--hide-inclusion-graph"]).args(CHECKS);
    command
}

fn command(workspace: &Workspace, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace.root()).args(["--locked", "--all-features"]);
    command
}

fn install(workspace: &Workspace) -> Result<PathBuf> {
    eprintln!("deny: licences and sources are checked by cargo-deny {VERSION}, which is built once");
    let mut cargo = workspace.cargo();
    cargo
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--force", "--root"])
        .arg(root(workspace))
        // Its own profile takes three times as long to make a program that runs for seconds.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env_remove("CARGO_TARGET_DIR");
    let log = workspace.target().join("setup.log");
    process::logged("building cargo-deny (some minutes)", &mut cargo, BUILD_LIMIT, &log)?;
    let built = find(workspace).context("cargo-deny was built, but does not say its version")?;
    ensure!(built.starts_with(root(workspace)), "{} is used in place of what was built", built.display());
    Ok(built)
}

fn root(workspace: &Workspace) -> PathBuf {
    workspace.tools().join(format!("cargo-deny-{VERSION}"))
}
