//! Processes that end with their owner.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait;

/// A process whose output goes to a file, killed on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command; standard output and error are appended to `log`.
    ///
    /// # Errors
    /// The log cannot be written or the program cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("failed to open {}", log.display()))?;
        let error = output.try_clone().context("failed to share the log")?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(error).spawn();
        let child = child.with_context(|| format!("failed to start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// It has; the message holds its status and what it wrote.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("failed to look at the process")? {
            bail!("the process ended with {status}:\n{}", self.log());
        }
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process has been waited for already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).expect("process ids are below 2^22");
        kill(Pid::from_raw(pid), signal).with_context(|| format!("failed to send {signal} to {pid}"))
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.end(patience)
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It does not in time.
    pub fn end(mut self, patience: Duration) -> Result<ExitStatus> {
        wait::until_ok("the process to end", patience, || {
            self.child.try_wait().context("failed to look at the process")?.context("it still runs")
        })
    }

    /// Kills it with SIGKILL and waits.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("failed to kill the process")?;
        self.child.wait().context("failed to wait for the process")?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of this workspace, built in the same profile as the running one.
///
/// # Errors
/// It is not built.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find the running program")?;
    // Tests lie in `deps/`, one below the programs.
    let places = own.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: cargo build --workspace --bins, or cargo xtask test"))
}
