//! The compiler for the BPF target. rustup ships no `core` for that target, so `core` is built from source,
//! which takes an unstable option of cargo and the sources of the standard library. Two compilers have both:
//! a rustup nightly with `rust-src`, and the rustc that Debian builds for its web browsers.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};

use super::{apt, linker::LLVM_MAJOR};
use crate::{process, workspace::Workspace};

/// The nightly that is installed where there is none to extend. A date rather than "the newest", because its
/// LLVM must be one that the linker can read.
const PINNED_NIGHTLY: &str = "nightly-2026-05-20";

/// The oldest minor version of Rust 1 that this workspace builds with.
const OLDEST_MINOR: u32 = 95;

/// Debian's rustc for web browsers, which follows upstream within a stable release, with its sources.
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

const NO_SOURCES: &str = "has no sources of the standard library";

const RUSTUP_LIMIT: Duration = Duration::from_secs(600);

/// A compiler that can build `core` for BPF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    place: Place,
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A toolchain of rustup's, by name.
    Rustup(&'static str),
    /// A distribution's compiler, not known to rustup.
    System { rustc: PathBuf, cargo: PathBuf },
}

#[derive(Debug, PartialEq, Eq)]
struct Version {
    release: String,
    minor: u32,
    llvm: u32,
}

impl Compiler {
    /// The cargo of this compiler, free of what the cargo around us has set for its own.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = match &self.place {
            Place::Rustup(name) => rustup_run(name, "cargo"),
            Place::System { rustc, cargo } => {
                let mut command = clean(Command::new(cargo));
                // A stable compiler takes unstable options only with this variable.
                command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        cargo.env_remove("CARGO_TARGET_DIR");
        cargo
    }

    /// The major version of the LLVM whose bitcode this compiler writes.
    pub(crate) const fn llvm(&self) -> u32 {
        self.version.llvm
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, rustc {}, LLVM {}", self.place, self.version.release, self.version.llvm)
    }
}

impl Place {
    fn rustc(&self) -> Command {
        match self {
            Self::Rustup(name) => rustup_run(name, "rustc"),
            Self::System { rustc, .. } => clean(Command::new(rustc)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup(name) => write!(f, "rustup's {name}"),
            Self::System { rustc, .. } => write!(f, "{}", rustc.display()),
        }
    }
}

/// The first compiler that will do, or why none does.
pub(super) fn find() -> Result<Compiler, String> {
    let mut reasons = Vec::new();
    for place in places() {
        match inspect(place) {
            Ok(compiler) => return Ok(compiler),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons.join("; "))
}

/// Installs a compiler by the first way that works.
pub(super) fn install(workspace: &Workspace, missing: &str) -> Result<Compiler> {
    eprintln!("setup: the kernel programs need a compiler that can build `core` for BPF ({missing})");
    let log = workspace.target().join("setup.log");
    let mut failures = Vec::new();
    if process::find("rustup").is_some() {
        let mut command = rustup_command();
        if let Err(failure) =
            process::logged("rustup: nightly with rust-src", &mut command, RUSTUP_LIMIT, &log)
        {
            eprintln!("setup: rustup cannot help, trying the distribution's packages");
            failures.push(format!("{failure:#}"));
        }
    }
    if let Ok(compiler) = find() {
        return Ok(compiler);
    }
    if apt::is_there()
        && let Err(failure) = apt::install(workspace, DEBIAN_PACKAGES, "a rustc with the sources of `core`")
    {
        failures.push(format!("{failure:#}"));
    }
    find().or_else(|missing| {
        bail!(
            "no compiler for the kernel programs: {missing}\n{}\n\
             Install one of:\n  \
             rustup toolchain install {PINNED_NIGHTLY} --profile minimal --component rust-src\n  \
             apt-get install {}   (Debian 12 or newer)\n\
             and run `cargo xtask setup` again.",
            failures.join("\n"),
            DEBIAN_PACKAGES.join(" "),
        )
    })
}

fn places() -> Vec<Place> {
    let mut places = Vec::new();
    if process::find("rustup").is_some() {
        places.extend(["nightly", PINNED_NIGHTLY].map(Place::Rustup));
    }
    places.push(Place::System { rustc: "/usr/bin/rustc".into(), cargo: "/usr/bin/cargo".into() });
    places
}

fn inspect(place: Place) -> Result<Compiler, String> {
    let name = place.to_string();
    let ask = |arguments: &[&str]| process::output(place.rustc().args(arguments));
    let version = ask(&["-vV"]).ok_or_else(|| format!("{name} is not there"))?;
    let version = Version::parse(&version).ok_or_else(|| format!("{name} tells no version"))?;
    if version.minor < OLDEST_MINOR {
        return Err(format!("{name} is {}, older than 1.{OLDEST_MINOR}", version.release));
    }
    if version.llvm > LLVM_MAJOR {
        return Err(format!("{name} has LLVM {}, newer than the linker's {LLVM_MAJOR}", version.llvm));
    }
    let sysroot = ask(&["--print", "sysroot"]).unwrap_or_default();
    if !Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs").exists() {
        return Err(format!("{name} {NO_SOURCES}"));
    }
    if let Place::System { cargo, .. } = &place
        && !cargo.exists()
    {
        return Err(format!("{} is not there", cargo.display()));
    }
    Ok(Compiler { place, version })
}

/// The way to a nightly with sources that downloads least.
fn rustup_command() -> Command {
    let mut command = Command::new("rustup");
    match inspect(Place::Rustup("nightly")) {
        Err(reason) if reason.ends_with(NO_SOURCES) => {
            command.args(["component", "add", "rust-src", "--toolchain", "nightly"]);
        }
        Ok(_) | Err(_) => {
            command.args(["toolchain", "install", PINNED_NIGHTLY, "--no-self-update"]);
            command.args(["--profile", "minimal", "--component", "rust-src"]);
        }
    }
    clean(command)
}

fn rustup_run(toolchain: &str, program: &str) -> Command {
    let mut command = Command::new("rustup");
    // Looking whether a toolchain is there must not install it.
    command.args(["run", toolchain, program]).env("RUSTUP_AUTO_INSTALL", "0");
    clean(command)
}

/// Removes what cargo and rustup set for the programs they start and another compiler must not see.
fn clean(mut command: Command) -> Command {
    for variable in [
        "CARGO",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ] {
        command.env_remove(variable);
    }
    command
}

impl Version {
    /// Reads the output of `rustc -vV`.
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let release = field("release:")?.to_owned();
        let minor = release.split('.').nth(1)?.parse().ok()?;
        let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
        Some(Self { release, minor, llvm })
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    const VERBOSE: &str = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
                           host: x86_64-unknown-linux-gnu\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";

    #[test]
    fn reads_the_verbose_version() {
        let version = Version::parse(VERBOSE);
        assert_eq!(version, Some(Version { release: "1.97.0-nightly".into(), minor: 97, llvm: 22 }));
    }

    #[test]
    fn a_version_without_llvm_is_none() {
        assert_eq!(Version::parse("release: 1.97.0\n"), None);
        assert_eq!(Version::parse(""), None);
    }
}
