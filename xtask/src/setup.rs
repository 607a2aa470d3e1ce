//! `cargo xtask setup`: what building and testing needs beyond stable Rust and a C linker. Each part looks
//! first and installs only what is missing, so running it again costs a second.

pub(crate) mod apt;
mod compiler;
mod linker;
mod programs;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

pub(crate) use self::{compiler::Compiler, programs::Package};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only says what is there and what is missing; fails when something is missing.
    #[arg(long)]
    check: bool,
}

/// What the kernel programs are built with.
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.check {
        return check(workspace);
    }
    toolchain(workspace)?;
    programs(workspace)?;
    check(workspace)
}

/// The toolchain for the kernel programs, installed where it is missing. Says nothing when it is there.
pub(crate) fn toolchain(workspace: &Workspace) -> Result<Toolchain> {
    let compiler = match compiler::find() {
        Ok(found) => found,
        Err(missing) => compiler::install(workspace, &missing)?,
    };
    let linker = match linker::find(workspace, &compiler) {
        Ok(found) => found,
        Err(missing) => linker::install(workspace, &compiler, &missing)?,
    };
    Ok(Toolchain { compiler, linker })
}

/// The programs that the tests and the demonstration run, installed where they are missing.
pub(crate) fn programs(workspace: &Workspace) -> Result<()> {
    let missing = programs::missing(programs::PROGRAMS);
    if missing.is_empty() { Ok(()) } else { programs::install(workspace, &missing) }
}

/// What the kernel matrix boots other kernels with, installed where it is missing. Not part of
/// `cargo xtask setup`: an emulator is much to install for those who do not ask for the matrix.
pub(crate) fn emulator(workspace: &Workspace) -> Result<()> {
    let missing = programs::missing(programs::EMULATOR);
    if missing.is_empty() { Ok(()) } else { programs::install(workspace, &missing) }
}

/// What `cargo xtask bench gateway` measures beside the balancer, and measures it with, installed where it is missing.
pub(crate) fn rivals(workspace: &Workspace) -> Result<()> {
    let missing = programs::missing(programs::RIVALS);
    if !missing.is_empty() {
        programs::install(workspace, &missing)?;
    }
    // A module is no program that could be looked for. Elsewhere than on Debian it usually comes with nginx.
    if apt::is_there() {
        let module = Package { name: "libnginx-mod-stream", service: None };
        programs::install_packages(workspace, &[module], "nginx as a TCP proxy")?;
    }
    Ok(())
}

/// Debian packages, installed where they are missing. Their services are neither started nor enabled.
pub(crate) fn packages(workspace: &Workspace, packages: &[Package], why: &str) -> Result<()> {
    programs::install_packages(workspace, packages, why)
}

/// Where the programs that the tests run are.
pub(crate) fn lab_programs() -> Result<Vec<PathBuf>> {
    let find = |program: &programs::Program| {
        program.find().with_context(|| format!("{} is not there; it is for {}", program.name, program.why))
    };
    programs::PROGRAMS.iter().map(find).collect()
}

fn check(workspace: &Workspace) -> Result<()> {
    let compiler = compiler::find();
    let linker = match &compiler {
        Ok(compiler) => linker::find(workspace, compiler).map(|path| path.display().to_string()),
        Err(_) => Err("cannot be judged without a BPF compiler".to_owned()),
    };
    let mut complete = say("BPF compiler", compiler.map(|compiler| compiler.to_string()));
    complete &= say("bpf-linker", linker);
    for program in programs::PROGRAMS {
        let path = program.find().map(|path| path.display().to_string());
        complete &= say(program.name, path.ok_or_else(|| format!("it is for {}", program.why)));
    }
    if !complete {
        bail!("something is missing; `cargo xtask setup`, run as root, installs it");
    }
    Ok(())
}

fn say(what: &str, found: Result<String, String>) -> bool {
    let there = found.is_ok();
    match found {
        Ok(place) => eprintln!("{what:<16} {place}"),
        Err(reason) => eprintln!("{what:<16} MISSING: {reason}"),
    }
    there
}
