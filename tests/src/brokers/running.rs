//! A broker's processes.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;

use super::{
    amqp,
    recipe::{Place, Protocol, Recipe, Trial},
};
use crate::{cgroup::CpuGroup, mqtt::Session, process::Process, wait};

/// A broker with what it needs, alone in a control group, killed on drop.
pub struct Running<'a> {
    /// Where it lives.
    pub place: Place<'a>,
    recipe: &'static dyn Recipe,
    group: CpuGroup,
    /// What it needs, and last the broker itself.
    processes: Vec<Process>,
}

impl<'a> Running<'a> {
    /// Starts it and waits until it serves clients.
    pub(super) fn start(recipe: &'static dyn Recipe, place: Place<'a>, serial: u32) -> Result<Self> {
        let group = CpuGroup::new(serial, recipe.name(), None)?;
        let mut running = Self { place, recipe, group, processes: Vec::new() };
        running.start_again()?;
        Ok(running)
    }

    /// Starts it after [`Running::kill`] and waits until it serves clients.
    pub(super) fn start_again(&mut self) -> Result<()> {
        let commands = self.recipe.commands(&self.place)?;
        for (index, mut command) in commands.into_iter().enumerate() {
            let process = Process::start(&mut command, &self.place.directory.join(format!("{index}.log")))?;
            self.group.add(process.pid())?;
            self.processes.push(process);
        }
        let what = format!("{} to serve clients", self.recipe.name());
        let served = wait::until_ok(&what, self.recipe.patience(), || match self.ended() {
            true => Ok(Err(anyhow!("it ended"))),
            false => self.ask().map(Ok),
        });
        served.and_then(|served| served).with_context(|| self.log())
    }

    /// Whether one of its processes has ended, after which no waiting helps.
    fn ended(&mut self) -> bool {
        self.processes.iter_mut().any(|process| process.check().is_err())
    }

    /// Fails while it serves nobody.
    fn ask(&self) -> Result<()> {
        let (to, patience) = (self.address(), Duration::from_secs(5));
        match (self.recipe.trial(), self.recipe.protocol()) {
            (Trial::Deaf, _) => self.accepts(),
            (Trial::Whole | Trial::Links, Protocol::Mqtt) => self
                .place
                .host
                .netns
                .enter(|| Session::connect(to, "ready", patience).and_then(Session::disconnect))?,
            (Trial::Whole | Trial::Links, Protocol::Amqp091) => amqp::try_once(&self.place.host.netns, to),
        }
    }

    /// Whether its port accepts a connection.
    pub(super) fn accepts(&self) -> Result<()> {
        let to = self.address();
        let stream =
            self.place.host.netns.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(2)))?;
        stream.map(|_| ()).with_context(|| format!("failed to connect to {to}"))
    }

    /// Ends it as a crash would, with what it needs.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.processes.drain(..).try_for_each(Process::kill)?;
        wait::until("its processes to be gone", wait::PATIENCE, || {
            self.group.pids().is_ok_and(|pids| pids.is_empty())
        })
    }

    /// Sends a signal to all its processes.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        for pid in self.group.pids()? {
            // One that has ended meanwhile needs no signal.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
        Ok(())
    }

    /// The process id of the broker itself.
    pub(super) fn pid(&self) -> Result<u32> {
        self.processes.last().map(Process::pid).context("the broker does not run")
    }

    /// Its address.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.place.host.v4.into(), self.recipe.protocol().port())
    }

    /// Its control group, for the agent.
    pub(super) fn group(&self) -> String {
        self.group.counter_directory().display().to_string()
    }

    /// CPU time that its processes have used, in seconds, from `/proc`.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let ticks: u64 = self.group.pids()?.iter().filter_map(|pid| ticks(*pid)).sum();
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    /// Memory that its processes hold, in MiB, from `/proc`.
    pub(super) fn resident_mib(&self) -> Result<u64> {
        let kib: u64 = self.group.pids()?.iter().filter_map(|pid| resident_kib(*pid)).sum();
        Ok(kib / 1024)
    }

    /// Clients that are connected to it from beyond the gateway, as `ss` shows.
    pub(super) fn clients(&self, network: &str) -> Result<u64> {
        let port = format!("sport = :{}", self.recipe.protocol().port());
        let list = self.place.host.netns.run("ss", &["-Htn", "state", "established", &port])?;
        Ok(list.lines().filter(|line| line.contains(network)).count() as u64)
    }

    /// The end of what it wrote.
    pub(super) fn log(&self) -> String {
        let text = self.processes.last().map(Process::log).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(|line| line.chars().take(160).collect()).collect();
        format!("its log ends:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // What is left is killed by the kernel, with its owner.
        let _ = self.kill();
    }
}

/// `USER_HZ`, 100 on every architecture of Linux but Alpha.
const TICKS_PER_SECOND: f64 = 100.0;

/// utime and stime, fields 14 and 15 of proc_pid_stat(5). The second field may have spaces and ends with a bracket.
fn ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn resident_kib(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Makes a directory that is empty.
pub(super) fn fresh_directory(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("failed to empty {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("failed to make {}", path.display()))?;
    ensure!(path.is_dir(), "{} is no directory", path.display());
    Ok(())
}
