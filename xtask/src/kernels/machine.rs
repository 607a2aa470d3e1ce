//! Running the script: in an emulated machine, and on this one.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    package::Package,
    script::{self, Places, Transcript},
    suite::{Case, Suite},
};
use crate::process;

/// Until the first test begins: seconds on an idle machine, more where others need the processor.
const BOOT_LIMIT: u64 = 180;

/// Boots the kernel without a disk or a network card. The machine ends by itself, or is ended.
pub(super) fn emulated(
    package: &Package,
    image: &Path,
    cases: &[&Case],
    folder: &Path,
) -> Result<Transcript> {
    let folder = folder.join(&package.release);
    let (console, log) = (folder.join("console.log"), folder.join("tests.log"));
    forget(&log)?;
    forget(&console)?;
    let mut qemu = Command::new("qemu-system-x86_64");
    // Without hardware virtualisation, which most containers and rented machines do not have.
    qemu.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "2048"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .arg("-kernel")
        .arg(&package.kernel)
        .arg("-initrd")
        .arg(image)
        .args(["-append", "console=ttyS0 panic=-1"]);
    let what = format!("kernel {}", package.release);
    // How it went is in the transcript, also when the machine had to be ended.
    if let Err(error) = process::logged(&what, &mut qemu, limit(cases), &log) {
        eprintln!("{error:#}");
    }
    let transcript = read(&log)?;
    if transcript.release.is_none() {
        let last = fs::read(&console).unwrap_or_default();
        let last = String::from_utf8_lossy(&last);
        let lines: Vec<_> = last.lines().rev().take(10).collect();
        eprintln!("the kernel did not start the tests; it said last:");
        for line in lines.iter().rev() {
            eprintln!("  {line}");
        }
    }
    Ok(transcript)
}

/// Asks the running kernel.
pub(super) fn native(suite: &Suite, folder: &Path) -> Result<Transcript> {
    let folder = folder.join("running");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let (path, log) = (folder.join("run"), folder.join("tests.log"));
    forget(&log)?;
    let places = Places { object: &suite.built.object, binary: &suite.built.binary, patience: 1 };
    let script = script::write(&places, &suite.cases, |case| suite.tests[case.file].display().to_string());
    fs::write(&path, script).with_context(|| format!("failed to write {}", path.display()))?;
    process::logged("the running kernel", Command::new("sh").arg(&path), limit(&suite.cases), &log)?;
    read(&log)
}

/// The tests' own limits end them before this one does.
fn limit(cases: &[&Case]) -> Duration {
    Duration::from_secs(BOOT_LIMIT + cases.iter().map(|case| case.limit).sum::<u64>())
}

fn forget(log: &PathBuf) -> Result<()> {
    match fs::remove_file(log) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", log.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(log: &Path) -> Result<Transcript> {
    let text = fs::read(log).with_context(|| format!("failed to read {}", log.display()))?;
    Ok(Transcript::read(&String::from_utf8_lossy(&text)))
}
