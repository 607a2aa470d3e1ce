//! Brokers that ask for no new clients.

use anyhow::{Result, ensure};
use balancer_userspace::api::wire::BackendState;

use super::{
    checks::{Bench, refused},
    running::Running,
};
use crate::wait;

/// How a broker is told to take no new clients.
#[derive(Clone, Copy)]
pub struct Drain {
    /// What an operator does.
    pub start: fn(&Running<'_>) -> Result<()>,
    /// What undoes it; without it the broker must be started again.
    pub end: Option<fn(&Running<'_>) -> Result<()>>,
    /// Whether its port accepts connections meanwhile, which it then does not serve.
    pub accepts: bool,
}

impl Bench<'_> {
    /// Drains the broker, waits until the agent steers nobody there, and takes it back.
    pub(super) fn drain(&mut self, drain: Drain) -> Result<String> {
        (drain.start)(&self.running)?;
        let backend = wait::until_ok("the agent to follow the drain", self.patience(), || {
            let backend = self.backend()?;
            let state = backend.state;
            let out = matches!(state, BackendState::Draining | BackendState::Drained | BackendState::Down);
            ensure!(out, "it is {state:?}: {}", backend.reason);
            Ok(backend)
        })?;
        let accepts = self.running.accepts();
        ensure!(
            accepts.is_ok() == drain.accepts,
            "its port {}",
            accepts.map_or_else(|error| format!("does not accept: {error:#}"), |()| "accepts".to_owned())
        );
        refused(self.lab, self.vip())?;
        match drain.end {
            Some(end) => end(&self.running)?,
            None => {
                self.running.kill()?;
                self.running.start_again()?;
            }
        }
        self.wait_up()?;
        self.serves()?;
        let port = if drain.accepts { "its port accepts" } else { "its port refuses" };
        Ok(format!("{}: {}; {port}", format!("{:?}", backend.state).to_lowercase(), backend.reason))
    }
}
