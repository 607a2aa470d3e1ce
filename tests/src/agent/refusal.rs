//! Agents that are expected not to start.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::{Context, Result};

use super::{binary, mount_bpffs};
use crate::{
    lab::Lab,
    plan::{AgentPlan, Plan},
    process::Process,
    table::kernel::OBJECT_VARIABLE,
    wait::PATIENCE,
};

/// How an agent ended that did not start.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it said.
    pub said: String,
}

impl Refusal {
    /// Runs `balancer run` in the lab's gateway with a socket of its own until it ends. `prefix` are the words of the
    /// command line before it, as those of `setpriv`; the user that they change to may be anybody.
    ///
    /// # Errors
    /// It does not end in time, or could not be started.
    pub fn of(lab: &Lab, plan: &Plan, pins: &Path, prefix: &[&str]) -> Result<Self> {
        mount_bpffs()?;
        let directory = tempfile::tempdir().context("failed to make a directory")?;
        let directory = directory.path();
        // Anybody can start a copy of the binary there, wherever the build directory is, and listen on a socket.
        fs::set_permissions(directory, Permissions::from_mode(0o777))
            .context("failed to open a directory")?;
        let program = directory.join("balancer");
        fs::copy(binary()?, &program).context("failed to copy the binary")?;
        let (config, log) = (directory.join("balancer.toml"), directory.join("log"));
        let agent = AgentPlan {
            socket: directory.join("api.sock").display().to_string(),
            pins: pins.display().to_string(),
            metrics: "off".to_owned(),
            log: "debug",
            tick: "200ms",
            history: plan.history.clone(),
        };
        plan.write(&config, &agent)?;
        let mut command = lab.gateway.command("env");
        // Whom the prefix makes of it may not be able to read the object of the build directory.
        command.env_remove(OBJECT_VARIABLE);
        command.args(prefix).arg(program).arg("run").arg("--config").arg(config);
        let process = Process::start(&mut command, &log)?;
        let status = process.end(PATIENCE)?;
        let said = fs::read_to_string(&log).context("failed to read what it said")?;
        Ok(Self { code: status.code(), said })
    }
}
