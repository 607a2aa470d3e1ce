//! Network namespaces that end with their owner.

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

use crate::owner;

/// A network namespace, deleted on drop.
///
/// Commands enter with `nsenter` and not with `ip netns exec`, which mounts a `/sys` of its own and so hides the
/// pins under `/sys/fs/bpf`.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace that plays `role` in the lab `serial`.
    ///
    /// # Errors
    /// `ip netns add` failed: no root, or no iproute2.
    pub fn new(serial: u32, role: &str) -> Result<Self> {
        owner::sweep_stale();
        let name = owner::name(serial, role);
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let netns = Self { name };
        netns.ip(&["link set lo up".to_owned()])?;
        Ok(netns)
    }

    /// Its name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that will run inside, and that dies with the thread that starts it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program);
        command
    }

    /// Runs a command inside to its end and returns its standard output.
    ///
    /// # Errors
    /// The command could not be started or failed; the message holds its standard error.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        run(self.command(program).args(args))
    }

    /// Runs lines of `ip -batch` inside.
    ///
    /// # Errors
    /// A line was refused.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start ip")?;
        let mut stdin = child.stdin.take().expect("standard input was piped");
        stdin.write_all(lines.join("\n").as_bytes()).context("failed to write to ip")?;
        drop(stdin);
        let output = child.wait_with_output().context("failed to wait for ip")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip in {}: {stderr} while doing {lines:#?}", self.name);
        Ok(())
    }

    /// Runs a closure on a thread of its own that has entered the namespace. Sockets it makes stay inside.
    ///
    /// # Errors
    /// The namespace could not be entered.
    ///
    /// # Panics
    /// When the closure does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.open()?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).context("failed to enter the namespace")?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// As [`Netns::enter`], without waiting for the end.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
        let file = self.open()?;
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET)
                    .expect("a namespace that could be opened can be entered");
                work();
            })
            .context("failed to start a thread")
    }

    fn open(&self) -> Result<File> {
        File::open(self.path()).with_context(|| format!("failed to open {}", self.path().display()))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // A namespace that cannot be deleted is left for the next sweep.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
    }
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// The command could not be started or failed; the message holds its standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
