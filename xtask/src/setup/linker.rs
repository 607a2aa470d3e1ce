//! bpf-linker, which turns the compiler's LLVM bitcode into one BPF object with BTF.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use super::{Compiler, apt};
use crate::{process, workspace::Workspace};

/// The release of bpf-linker that the kernel programs are built with.
const VERSION: &str = "0.13.0";

/// The LLVM that bpf-linker is built against. It reads the bitcode of this version and of older ones.
pub(super) const LLVM_MAJOR: u32 = 22;

/// What its build needs: LLVM with Polly, the compression libraries LLVM is linked with, and a C++ compiler.
const DEBIAN_PACKAGES: &[&str] = &["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev", "g++"];

const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// A bpf-linker of the right version that reads what `compiler` writes, or why there is none.
pub(super) fn find(workspace: &Workspace, compiler: &Compiler) -> Result<PathBuf, String> {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let candidates = [
        Some(root(workspace).join("bin/bpf-linker")),
        cargo_home.map(|home| home.join("bin/bpf-linker")),
        process::find("bpf-linker"),
    ];
    let mut reasons = Vec::new();
    for path in candidates.into_iter().flatten().filter(|path| path.exists()) {
        match inspect(&path, compiler.llvm()) {
            Ok(()) => return Ok(path),
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        reasons.push(format!("there is no bpf-linker {VERSION}"));
    }
    Err(reasons.join("; "))
}

/// Builds bpf-linker into the folder of this project's own tools.
pub(super) fn install(workspace: &Workspace, compiler: &Compiler, missing: &str) -> Result<PathBuf> {
    eprintln!("setup: the kernel programs are linked by bpf-linker {VERSION} ({missing})");
    if apt::is_there()
        && let Err(failure) = apt::install(workspace, DEBIAN_PACKAGES, "bpf-linker is built against LLVM")
    {
        // An LLVM from elsewhere will do.
        llvm_prefix().ok_or(failure)?;
    }
    let llvm = llvm_prefix().with_context(|| {
        format!(
            "bpf-linker is built against LLVM {LLVM_MAJOR} with Polly, libzstd and zlib (headers and libraries), \
             which are not there.\nInstall them with your distribution's package manager so that \
             `llvm-config --version` says {LLVM_MAJOR}, or put a ready-made bpf-linker {VERSION} into PATH: \
             https://github.com/aya-rs/bpf-linker/releases"
        )
    })?;

    let log = workspace.target().join("setup.log");
    let mut cargo = workspace.cargo();
    cargo
        .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force", "--no-default-features"])
        .args(["--features", &format!("llvm-{LLVM_MAJOR}"), "--root"])
        .arg(root(workspace))
        .env("LLVM_PREFIX", llvm)
        .env_remove("CARGO_TARGET_DIR");
    process::logged("building bpf-linker (some minutes)", &mut cargo, BUILD_LIMIT, &log)?;
    find(workspace, compiler).map_err(|missing| anyhow!("bpf-linker was built, but {missing}"))
}

fn root(workspace: &Workspace) -> PathBuf {
    workspace.tools().join(format!("bpf-linker-{VERSION}-llvm-{LLVM_MAJOR}"))
}

fn inspect(path: &Path, llvm: u32) -> Result<(), String> {
    let version = process::output(Command::new(path).arg("--version"))
        .ok_or_else(|| format!("{} does not run", path.display()))?;
    if version.trim() != format!("bpf-linker {VERSION}") {
        return Err(format!("{} is {}, not {VERSION}", path.display(), version.trim()));
    }
    let file = fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    match linked_llvm(&file) {
        Some(linked) if linked < llvm => {
            Err(format!("{} has LLVM {linked}, older than the compiler's {llvm}", path.display()))
        }
        Some(_) | None => Ok(()),
    }
}

/// The major version of the LLVM library an executable asks for; `None` when LLVM is inside it.
fn linked_llvm(file: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"libLLVM.so.";
    let at = file.windows(NAME.len()).position(|window| window == NAME)?;
    let digits: Vec<u8> = file[at + NAME.len()..].iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// The folder LLVM is installed in, if its headers are there.
fn llvm_prefix() -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{LLVM_MAJOR}"));
    let told =
        [format!("llvm-config-{LLVM_MAJOR}"), "llvm-config".to_owned()].into_iter().filter_map(|config| {
            let text = process::output(Command::new(config).args(["--version", "--prefix"]))?;
            let (version, prefix) = text.trim().split_once('\n')?;
            version.starts_with(&format!("{LLVM_MAJOR}.")).then(|| PathBuf::from(prefix))
        });
    [debian].into_iter().chain(told).find(|prefix| prefix.join("include/llvm-c/Core.h").exists())
}

#[cfg(test)]
mod tests {
    use super::linked_llvm;

    #[test]
    fn reads_the_library_an_executable_asks_for() {
        assert_eq!(linked_llvm(b"\0libc.so.6\0libLLVM.so.22.1\0"), Some(22));
        assert_eq!(linked_llvm(b"\0libc.so.6\0"), None);
        assert_eq!(linked_llvm(b"\0libLLVM.so.\0"), None);
    }
}
