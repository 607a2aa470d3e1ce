//! An agent-check as a source of health: `drain`, `maint`, `down`, `up`.

use std::net::SocketAddr;
use std::time::Duration;

use balancer_control::ProbeResult;

use super::{Answer, Fault};
use crate::telemetry::{AgentCheckSource, AgentWord};

/// The probe of one backend.
pub(super) struct AgentProbe {
    agent: AgentCheckSource,
}

impl AgentProbe {
    pub(super) fn new(address: SocketAddr, send: Option<String>) -> Self {
        Self { agent: AgentCheckSource::new(address, send) }
    }

    /// Reads one line. An agent that is not there or talks nonsense says nothing of the broker.
    pub(super) async fn probe(&mut self, limit: Duration) -> Answer {
        match self.agent.ask(limit).await {
            Ok(AgentWord::Ready) => Answer::Is(ProbeResult::Up),
            Ok(AgentWord::Closed) => {
                Answer::Is(ProbeResult::Draining(format!("{} says drain or maint", self.agent.name())))
            }
            Ok(AgentWord::Down) => Answer::Is(ProbeResult::Down(format!("{} says down", self.agent.name()))),
            Err(error) if error.is_lack() => Fault::from(error).into(),
            Err(error) => Answer::Unknown(error.to_string()),
        }
    }
}
