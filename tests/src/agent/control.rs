//! The client of an agent in a lab.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use balancer_userspace::api::wire::{Backend, BackendState, Flows, Status};
use serde::de::DeserializeOwned;

use crate::{
    netns,
    table::kernel::OBJECT_VARIABLE,
    wait::{self, PATIENCE},
};

/// The client: `balancer` with verbs, which talk to the agent's socket.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) binary: PathBuf,
    pub(super) socket: PathBuf,
}

impl Control {
    /// The program itself, for verbs that need no agent.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.binary
    }

    /// Runs a client verb and returns its standard output.
    ///
    /// # Errors
    /// It failed; the message holds its standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.env_remove(OBJECT_VARIABLE).arg("--socket").arg(&self.socket).args(arguments);
        netns::run(&mut command)
    }

    /// What a person types to run a client verb.
    #[must_use]
    pub fn command_line(&self, arguments: &[&str]) -> String {
        format!("{} --socket {} {}", self.binary.display(), self.socket.display(), arguments.join(" "))
    }

    /// Runs a client verb with `--json`.
    ///
    /// # Errors
    /// It failed, or its output is not that type.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.run(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{arguments:?} --json says: {text}"))
    }

    /// `balancer status --json`.
    ///
    /// # Errors
    /// The agent does not answer.
    pub fn status(&self) -> Result<Status> {
        self.json(&["status"])
    }

    /// `balancer flow list --json`.
    ///
    /// # Errors
    /// The agent does not answer.
    pub fn flows(&self) -> Result<Flows> {
        self.json(&["flow", "list"])
    }

    /// One backend of `balancer status --json`.
    ///
    /// # Errors
    /// The agent does not answer, or has no such backend.
    pub fn backend(&self, service: &str, name: &str) -> Result<Backend> {
        let backends = self.status()?.backends;
        let found = backends.into_iter().find(|b| b.service == service && b.name == name);
        found.with_context(|| format!("no backend {service}/{name}"))
    }

    /// Packets that ended in `outcome`, over all services.
    ///
    /// # Errors
    /// The agent does not answer.
    pub fn outcome(&self, outcome: &str) -> Result<u64> {
        let outcomes = self.status()?.outcomes;
        Ok(outcomes.iter().filter(|o| o.outcome == outcome).map(|o| o.packets).sum())
    }

    /// Waits until a backend is in a state.
    ///
    /// # Errors
    /// It is not in time; the message holds its state.
    pub fn wait_state(&self, service: &str, name: &str, state: BackendState) -> Result<()> {
        wait::until_ok(&format!("{name} to be {state:?}"), PATIENCE, || {
            let backend = self.backend(service, name)?;
            ensure!(backend.state == state, "it is {:?}: {}", backend.state, backend.reason);
            is_settled(&backend)
        })
    }

    /// Waits until the agent counts `live` connections of a backend.
    ///
    /// # Errors
    /// It does not in time; the message holds its count.
    pub fn wait_live(&self, service: &str, name: &str, live: u64) -> Result<()> {
        wait::until_ok(&format!("{name} to have {live} connections"), PATIENCE, || {
            let backend = self.backend(service, name)?;
            ensure!(backend.live == live, "it has {}", backend.live);
            Ok(())
        })
    }
}

/// A backend in rotation gets its share with the controller's next run.
pub(super) fn is_settled(backend: &Backend) -> Result<()> {
    let name = &backend.name;
    ensure!(backend.state != BackendState::Starting, "{name} has not been probed");
    let waits = backend.state == BackendState::Up
        && !backend.standby
        && !backend.waiting
        && backend.ring_share == 0.0;
    ensure!(!waits, "{name} is up and has no share of the ring");
    Ok(())
}
