//! Debian packages: without questions, without starting services, without removing anything, and waiting for
//! another apt that holds the lock.

use std::{
    fs::{self, Permissions},
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace::Workspace};

const INSTALL_LIMIT: Duration = Duration::from_secs(1800);

/// How long to wait for another apt.
const LOCK_LIMIT: Duration = Duration::from_secs(600);

/// Where Debian's maintainer scripts ask whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// By which a policy that a run of ours left behind is known.
const POLICY_MARK: &str = "Written by `cargo xtask setup`, which removes it when it ends.";

/// Whether this machine has apt.
pub(super) fn is_there() -> bool {
    process::find("apt-get").is_some()
}

/// Installs those of `packages` that are not there; `why` is told to the person who waits.
pub(super) fn install(workspace: &Workspace, packages: &[&str], why: &str) -> Result<()> {
    let missing: Vec<_> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    eprintln!("setup: apt-get install {list} ({why})");
    if !process::is_root()? {
        bail!(
            "installing packages needs root; run `cargo xtask setup` as root, or yourself:\n  apt-get install {list}"
        );
    }
    let log = workspace.target().join("setup.log");
    let _quiet = NoServices::begin()?;
    // The lists may be absent, as in a fresh container, or too old to find the packages at the mirror.
    if can_install(&missing) && apt("packages", install_command(&missing), &log).is_ok() {
        return Ok(());
    }
    update(&log)?;
    if !can_install(&missing) {
        bail!("{}", refusal(&missing));
    }
    apt("packages", install_command(&missing), &log)
}

pub(super) fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status}\n", package]);
    process::output(&mut query).is_some_and(|status| status.lines().any(|line| line == "installed"))
}

/// Whether apt would install all of them without removing anything.
fn can_install(packages: &[&str]) -> bool {
    let mut simulation = install_command(packages);
    simulation.arg("--simulate");
    process::output(&mut simulation).is_some()
}

/// Why apt will not install these packages, in its own words.
fn refusal(packages: &[&str]) -> String {
    let words = install_command(packages).arg("--simulate").output().map_or_else(
        |error| error.to_string(),
        |output| {
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        },
    );
    format!(
        "apt cannot install {}:\n{words}\nThey are in Debian 12 with its security updates \
         (https://security.debian.org); newer LLVM packages are also at https://apt.llvm.org. \
         What would have to be removed for them is listed above; nothing is removed here, so do that yourself if you \
         do not need it: apt-get remove NAME",
        packages.join(" ")
    )
}

/// Fetches the lists of packages.
pub(crate) fn update(log: &Path) -> Result<()> {
    let mut command = apt_command();
    command.arg("update");
    apt("lists of packages", command, log)
}

/// Runs apt, again while another one holds a lock: only the package database's lock has a time-out of apt's own.
fn apt(what: &str, mut command: Command, log: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        let Err(failure) = process::logged(&format!("apt: {what}"), &mut command, INSTALL_LIMIT, log) else {
            return Ok(());
        };
        if !failure.to_string().contains("Could not get lock") || started.elapsed() > LOCK_LIMIT {
            return Err(failure);
        }
        eprintln!("  apt: another program holds the lock, waiting for it");
        thread::sleep(Duration::from_secs(5));
    }
}

fn install_command(packages: &[&str]) -> Command {
    let mut command = apt_command();
    command.args(["install", "--no-install-recommends", "--no-remove"]).args(packages);
    command
}

fn apt_command() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["--yes", "-o", &format!("DPkg::Lock::Timeout={}", LOCK_LIMIT.as_secs())])
        .args([
            "-o",
            "Acquire::Retries=3",
            "-o",
            "Acquire::http::Timeout=60",
            "-o",
            "Acquire::https::Timeout=60",
        ])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("LD_LIBRARY_PATH");
    command
}

/// While it lives, no package that is being installed may start its service: the tests start brokers and
/// proxies of their own, and a machine's ports are its owner's. A policy of the machine's own is left alone.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        match fs::read(POLICY) {
            Ok(policy) if !String::from_utf8_lossy(&policy).contains(POLICY_MARK) => {
                return Ok(Self { ours: false });
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to read {POLICY}")),
        }
        // Denies only while this process lives, so that a run that is cut short denies nothing afterwards.
        let id = std::process::id();
        let policy = format!("#!/bin/sh\n# {POLICY_MARK}\nif kill -0 {id} 2>/dev/null; then exit 101; fi\n");
        fs::write(POLICY, policy).with_context(|| format!("failed to write {POLICY}"))?;
        let written = Self { ours: true };
        fs::set_permissions(POLICY, Permissions::from_mode(0o755))
            .with_context(|| format!("failed to make {POLICY} executable"))?;
        Ok(written)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("setup: failed to remove {POLICY} ({error})");
        }
    }
}
