//! The control API: HTTP and JSON on a unix socket.
//!
//! The server knows nothing of the agent but [`Call`]: it checks a request, sends the call and waits for the reply.
//! Whatever holds the other end of the channel is the agent: the event loop in production, a fake in tests.

pub mod client;
pub(crate) mod http;
pub mod server;
pub mod socket;
pub mod wire;

use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot};

use wire::ApiError;

/// Calls that wait at the agent before the server answers "busy".
pub const CALL_QUEUE: usize = 64;

/// Sends calls to the agent.
pub type Calls = mpsc::Sender<Call>;

/// Takes the agent's answer. Dropping it unanswered is answered as an internal error.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What can be asked of the agent.
#[derive(Debug)]
pub enum Call {
    /// Everything about the agent, its services and backends. Metrics are rendered from the same answer.
    Status(Reply<wire::Status>),
    /// Drains a backend, or ends it. Lasts until the operator ends it, or the host is started anew.
    Drain {
        /// The backend.
        backend: BackendName,
        /// Whether it takes no new flows.
        drain: bool,
        /// The backend afterwards.
        reply: Reply<wire::Backend>,
    },
    /// Overrides the configured weight of a backend; `None` ends the override.
    Weight {
        /// The backend.
        backend: BackendName,
        /// 1 to 1000, checked by the server.
        weight: Option<u32>,
        /// The backend afterwards.
        reply: Reply<wire::Backend>,
    },
    /// Lists flows.
    Flows {
        /// Which ones.
        filter: FlowFilter,
        /// The flows.
        reply: Reply<wire::Flows>,
    },
    /// Says where a connection goes or would go, and why.
    Explain {
        /// Name of the service.
        service: String,
        /// The client.
        client: SocketAddr,
        /// The decision.
        reply: Reply<wire::Explanation>,
    },
    /// Reads the configuration again and applies it, or refuses it as a whole.
    Reload(Reply<wire::Reload>),
}

/// A backend as people name it: `service/backend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendName {
    /// Name of the service.
    pub service: String,
    /// Name of the backend in it.
    pub backend: String,
}

impl std::fmt::Display for BackendName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}

impl std::str::FromStr for BackendName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((service, backend)) if !service.is_empty() && !backend.is_empty() => {
                Ok(Self { service: service.to_owned(), backend: backend.to_owned() })
            }
            _ => Err("write SERVICE/BACKEND, as \"balancer backend list\" shows them".to_owned()),
        }
    }
}

/// Which flows are listed. Every condition that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFilter {
    /// Of this service.
    pub service: Option<String>,
    /// Of backends of this name.
    pub backend: Option<String>,
    /// Of this client address.
    pub client: Option<std::net::IpAddr>,
    /// At most so many, 1 to [`wire::MAX_FLOWS`].
    pub limit: usize,
}
