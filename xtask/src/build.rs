//! `cargo xtask build`: the kernel object, then the binary with the object inside.

use std::{
    env::consts::ARCH,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    process,
    setup::{self, Toolchain},
    workspace::Workspace,
};

/// The variable that names the kernel object: the build script of `balancer-userspace` embeds that file,
/// and the integration tests load it.
pub(crate) const OBJECT_VARIABLE: &str = "BALANCER_BPF_OBJECT";

/// The variable that names the object of the packet generator.
pub(crate) const GENERATOR_VARIABLE: &str = "BALANCER_GENERATOR_OBJECT";

/// The variable that names a binary with another layout of its maps, for those who try upgrades.
pub(crate) const TRIAL_VARIABLE: &str = "BALANCER_TRIAL_BIN";

/// The BPF instruction set: v3 (32-bit ALU and jumps) is what every kernel since 5.1 takes.
const BPF_CPU: &str = "v3";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Builds the binary with optimisation; the kernel object always is optimised.
    #[arg(long)]
    release: bool,
}

/// What a build made.
pub(crate) struct Built {
    pub(crate) object: PathBuf,
    pub(crate) binary: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let built = build(workspace, args.release)?;
    eprintln!("object  {}", built.object.display());
    eprintln!("binary  {}", built.binary.display());
    Ok(())
}

/// Builds everything, and sets up the toolchain first where something of it is missing.
pub(crate) fn build(workspace: &Workspace, release: bool) -> Result<Built> {
    let toolchain = setup::toolchain(workspace)?;
    let object = build_object(workspace, &toolchain)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--locked", "--package", "balancer-userspace", "--bin", "balancer"]);
    if release {
        cargo.arg("--release");
    }
    process::run(cargo.env(OBJECT_VARIABLE, &object))?;
    let profile = if release { "release" } else { "debug" };
    Ok(Built { object, binary: workspace.target().join(profile).join("balancer") })
}

/// Builds a binary, with its object inside, whose maps have another layout. It lies where the binary itself does until
/// that is built, so this comes first.
pub(crate) fn trial(workspace: &Workspace) -> Result<PathBuf> {
    const FEATURES: [&str; 2] = ["--features", "trial-layout"];
    let toolchain = setup::toolchain(workspace)?;
    let folder = workspace.target().join("trial");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let made = build_program(workspace, &toolchain, "balancer-ebpf", &FEATURES)?;
    let object = folder.join("balancer.o");
    copy_changed(&made, &object)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--locked", "--package", "balancer-userspace", "--bin", "balancer"]).args(FEATURES);
    process::run(cargo.env(OBJECT_VARIABLE, &object))?;
    let binary = folder.join("balancer");
    copy_changed(&workspace.target().join("debug/balancer"), &binary)?;
    Ok(binary)
}

/// The objects of the packet benchmark.
pub(crate) struct BenchObjects {
    pub(crate) balancer: PathBuf,
    pub(crate) generator: PathBuf,
}

/// Builds the kernel object and the packet generator that runs in front of it.
pub(crate) fn bench_objects(workspace: &Workspace) -> Result<BenchObjects> {
    let toolchain = setup::toolchain(workspace)?;
    Ok(BenchObjects {
        balancer: build_object(workspace, &toolchain)?,
        generator: build_program(workspace, &toolchain, "balancer-generator", &[])?,
    })
}

fn build_object(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    let made = build_program(workspace, toolchain, "balancer-ebpf", &[])?;
    let object = workspace.object();
    copy_changed(&made, &object)?;
    Ok(object)
}

/// Copies only what differs, so that an unchanged object does not cost a new build of the binary.
fn copy_changed(from: &Path, to: &Path) -> Result<()> {
    if fs::read(from).ok() != fs::read(to).ok() || !to.exists() {
        fs::copy(from, to)
            .with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Builds one of the binaries of `balancer-ebpf` for the kernel.
fn build_program(
    workspace: &Workspace,
    toolchain: &Toolchain,
    name: &str,
    options: &[&str],
) -> Result<PathBuf> {
    let target = workspace.target().join("bpf");
    let mut cargo = toolchain.compiler.cargo();
    cargo
        .current_dir(workspace.root())
        .args(["build", "--locked", "--package", "balancer-ebpf", "--profile", "bpf"])
        .args(["--bin", name])
        .args(options)
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace, toolchain));
    process::run(&mut cargo).context("failed to build the kernel programs")?;

    Ok(target.join("bpfel-unknown-none/bpf").join(name))
}

/// The compiler's flags, in the encoding of `CARGO_ENCODED_RUSTFLAGS`, which is safe for paths with spaces.
fn flags(workspace: &Workspace, toolchain: &Toolchain) -> OsString {
    let mut linker = OsString::from("-Clinker=");
    linker.push(&toolchain.linker);
    let mut remap = OsString::from("--remap-path-prefix=");
    remap.push(workspace.root());
    remap.push("=.");
    let flags = [
        // aya-ebpf picks the layout of `pt_regs` by it.
        OsString::from(format!("--cfg=bpf_target_arch=\"{}\"", bpf_target_arch())),
        OsString::from(format!("-Ctarget-cpu={BPF_CPU}")),
        linker,
        OsString::from("-Clink-arg=--btf"),
        // The linker's default has memory cleared by a function that loops over bytes.
        OsString::from("-Clink-arg=--disable-expand-memcpy-in-order"),
        remap,
    ];
    flags.join(&OsString::from("\x1f"))
}

/// The machine the kernel runs on, in aya's words.
fn bpf_target_arch() -> &'static str {
    if ARCH.starts_with("riscv64") { "riscv64" } else { ARCH }
}

/// Builds the binary and the programs of `balancer-tests` that run it in labs, and installs what they need.
pub(crate) fn lab_programs(workspace: &Workspace) -> Result<Built> {
    setup::programs(workspace)?;
    let built = build(workspace, false)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--locked", "--package", "balancer-tests", "--bins"]);
    process::run(with_products(&mut cargo, &built))?;
    Ok(built)
}

/// A command of the test suite, told where the object and the binary are.
pub(crate) fn with_products<'a>(command: &'a mut Command, built: &Built) -> &'a mut Command {
    command.env(OBJECT_VARIABLE, &built.object).env("BALANCER_BIN", &built.binary)
}
