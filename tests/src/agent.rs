//! The real agent, in a lab's gateway.

mod control;
mod disk;
mod refusal;
mod unprivileged;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

pub use control::Control;
use control::is_settled;
use disk::Disk;
pub use refusal::Refusal;
pub use unprivileged::{USER, capabilities, preparations};

use crate::{
    lab::Lab,
    netns, owner,
    plan::{AgentPlan, Plan},
    process::{Process, sibling},
    table::kernel::OBJECT_VARIABLE,
    wait::{self, PATIENCE},
};

/// A running `balancer run` with a socket and pins of its own. On drop it is killed, and its pins are removed, which
/// detaches the program.
#[derive(Debug)]
pub struct Agent<'a> {
    /// The client of this agent.
    pub control: Control,
    lab: &'a Lab,
    _disk: Option<Disk>,
    directory: TempDir,
    process: Option<Process>,
    metrics: String,
    unprivileged: bool,
    /// Words of the command line before the binary.
    prefix: Vec<String>,
}

/// How an agent is started that is not like others.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Words of the command line before the binary, such as those of `env`.
    pub prefix: Vec<String>,
    /// Makes the directory of its socket, state and log a file system of its own with so many KiB.
    pub disk_kib: Option<u32>,
}

impl<'a> Agent<'a> {
    /// Starts the agent and waits until every backend that answers is in rotation.
    ///
    /// # Errors
    /// The binary is missing, the agent ends, or it is not ready in time; the message holds its log.
    pub fn start(lab: &'a Lab, plan: &Plan) -> Result<Self> {
        Self::prepare(lab, plan, "off", false, Start::default())
    }

    /// As [`Agent::start`], in another way.
    ///
    /// # Errors
    /// As there; or the file system cannot be mounted.
    pub fn start_as(lab: &'a Lab, plan: &Plan, start: Start) -> Result<Self> {
        Self::prepare(lab, plan, "off", false, start)
    }

    /// As [`Agent::start`], as a user of its own with the [`capabilities`] of its unit. It cannot be started again.
    ///
    /// # Errors
    /// As there.
    pub fn start_unprivileged(lab: &'a Lab, plan: &Plan) -> Result<Self> {
        Self::prepare(lab, plan, "off", true, Start::default())
    }

    /// As [`Agent::start`], with metrics served on `metrics` in the gateway.
    ///
    /// # Errors
    /// As there.
    pub fn start_with_metrics(lab: &'a Lab, plan: &Plan, metrics: &str) -> Result<Self> {
        Self::prepare(lab, plan, metrics, false, Start::default())
    }

    fn prepare(lab: &'a Lab, plan: &Plan, metrics: &str, unprivileged: bool, start: Start) -> Result<Self> {
        mount_bpffs()?;
        let binary = binary()?;
        let directory = tempfile::tempdir().context("failed to make a directory")?;
        let control = Control { binary, socket: directory.path().join("api.sock") };
        let disk = start.disk_kib.map(|size| Disk::mount(directory.path(), size)).transpose()?;
        let (metrics, prefix) = (metrics.to_owned(), start.prefix);
        let mut agent =
            Self { control, lab, _disk: disk, directory, process: None, metrics, unprivileged, prefix };
        agent.write(plan)?;
        agent.start_again()?;
        Ok(agent)
    }

    /// Starts the agent after [`Agent::kill`] or [`Agent::stop`] and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub fn start_again(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts the agent without waiting for anything.
    ///
    /// # Errors
    /// The binary cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.command()?;
        self.process = Some(Process::start(&mut command, &self.directory.path().join("log"))?);
        Ok(())
    }

    /// Waits until every backend that answers is in rotation.
    ///
    /// # Errors
    /// The agent ends, or they are not in time.
    pub fn wait_ready(&mut self) -> Result<()> {
        wait::until_ok("the agent to be ready", PATIENCE, || {
            let process = self.process.as_mut().expect("the agent was started");
            process.check()?;
            let status = self.control.status()?;
            status.backends.iter().try_for_each(is_settled)
        })
        .with_context(|| format!("the agent says:\n{}", self.log()))
    }

    fn command(&self) -> Result<Command> {
        let mut command = if self.unprivileged { self.as_user()? } else { self.as_root() };
        // Each binary brings its own program, which the layout of its maps belongs to.
        command.env_remove(OBJECT_VARIABLE);
        Ok(command)
    }

    fn as_root(&self) -> Command {
        let binary = &self.control.binary;
        let mut command = match self.prefix.as_slice() {
            [] => self.lab.gateway.command(binary),
            [first, rest @ ..] => {
                let mut command = self.lab.gateway.command(first);
                command.args(rest).arg(binary);
                command
            }
        };
        command.arg("run").arg("--config").arg(self.config());
        command
    }

    fn as_user(&self) -> Result<Command> {
        let directory = self.directory.path();
        // Anybody can start a copy, wherever the build directory is.
        let copy = directory.join("balancer");
        fs::copy(&self.control.binary, &copy).context("failed to copy the binary")?;
        unprivileged::command(&self.lab.gateway, &copy, directory, &self.config())
    }

    /// Ends the agent with SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the agent does not run")?.kill()
    }

    /// Ends the agent with SIGTERM.
    ///
    /// # Errors
    /// It does not run, does not end in time, or fails.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.take().context("the agent does not run")?.stop(PATIENCE)?;
        ensure!(status.success(), "the agent ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// Replaces the configuration file, which changes nothing until a reload.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, plan: &Plan) -> Result<()> {
        let directory = self.directory.path();
        let agent = AgentPlan {
            socket: self.control.socket.display().to_string(),
            pins: self.pins().display().to_string(),
            metrics: self.metrics.clone(),
            log: if plan.as_installed { "info" } else { "debug" },
            tick: if plan.as_installed { "1s" } else { "200ms" },
            history: plan.history.clone(),
        };
        plan.write(&directory.join("balancer.toml"), &agent)
    }

    /// Replaces the configuration and has it applied.
    ///
    /// # Errors
    /// It is refused.
    pub fn reload(&self, plan: &Plan) -> Result<()> {
        self.write(plan)?;
        self.control.run(&["reload"]).map(|_| ())
    }

    /// Sends the agent SIGHUP, the other way to ask for a reload.
    ///
    /// # Errors
    /// It does not run.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    /// Sends the agent a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the agent does not run")?.signal(signal)
    }

    /// Takes the program off its interfaces and gives its maps back, with the agent's own verb. No agent may run.
    ///
    /// # Errors
    /// One runs, or a pin cannot be removed.
    pub fn detach(&self) -> Result<()> {
        let mut command = self.lab.gateway.command(&self.control.binary);
        netns::run(command.arg("detach").arg("--config").arg(self.config())).map(|_| ())
    }

    /// The directory of its socket, state and log.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the agent logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log"))
            .unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Where its maps are pinned.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        let name = owner::name(self.lab.serial, "pins");
        let parent = Path::new(owner::BPFFS);
        // The parent of the pins has to be the user's: a new set of pins is made beside them and then renamed.
        if self.unprivileged { parent.join("balancer").join(name) } else { parent.join(name) }
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("balancer.toml")
    }

    /// Starts this program from the next time on, and asks by it.
    pub fn use_program(&mut self, program: PathBuf) {
        self.control.binary = program;
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        self.process = None;
        // There are no pins when the agent did not get so far.
        let _ = fs::remove_dir_all(self.pins());
        // An upgrade that was cut short leaves the other maps beside them.
        for suffix in ["-setup", "-next"] {
            let mut other = self.pins().into_os_string();
            other.push(suffix);
            let _ = fs::remove_dir_all(other);
        }
        let _ = fs::remove_file(balancer_userspace::agent::lock_path(&self.pins()));
    }
}

fn binary() -> Result<PathBuf> {
    env::var_os("BALANCER_BIN").map_or_else(|| sibling("balancer"), |path| Ok(PathBuf::from(path)))
}

/// Mounts the BPF file system where it is missing, as in most containers.
fn mount_bpffs() -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mounts = fs::read_to_string("/proc/mounts").context("failed to read /proc/mounts")?;
    if mounts.lines().any(|line| line.split(' ').nth(1) == Some(owner::BPFFS)) {
        return Ok(());
    }
    netns::run(Command::new("mount").args(["-t", "bpf", "bpf", owner::BPFFS])).map(|_| ())
}
