//! The control API: HTTP and JSON on a unix socket.
//!
//! The server knows nothing of the agent but [`Call`]: it checks a request, sends the call and waits for the reply.
//! Whatever holds the other end of the channel is the agent: the event loop in production, a fake in tests.

pub mod client;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub(crate) mod http;
pub mod server;
pub mod socket;
pub mod wire;

use std::net::SocketAddr;
use std::time::Duration;

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
        /// Who asks.
        peer: Peer,
        /// The backend.
        backend: BackendName,
        /// Whether it takes no new flows.
        drain: bool,
        /// With a drain: also closes its flows, at this pace.
        pace: Option<wire::DrainRequest>,
        /// The backend afterwards.
        reply: Reply<wire::Backend>,
    },
    /// Overrides the configured weight of a backend; `None` ends the override.
    Weight {
        /// Who asks.
        peer: Peer,
        /// The backend.
        backend: BackendName,
        /// 1 to 1000, checked by the server.
        weight: Option<u32>,
        /// The backend afterwards.
        reply: Reply<wire::Backend>,
    },
    /// Closes flows so that every backend gets its share, or says which it would close.
    Rebalance {
        /// Who asks.
        peer: Peer,
        /// The order, checked by the server.
        request: wire::RebalanceRequest,
        /// The runs that were begun or planned.
        reply: Reply<wire::Runs>,
    },
    /// Runs that close flows.
    Runs(Reply<wire::Runs>),
    /// Ends runs that close flows: those of a service, or all.
    StopRuns {
        /// Who asks.
        peer: Peer,
        /// Name of the service.
        service: Option<String>,
        /// Those that were going on.
        reply: Reply<wire::Runs>,
    },
    /// Lists flows.
    Flows {
        /// Which ones.
        filter: FlowFilter,
        /// The flows.
        reply: Reply<wire::Flows>,
    },
    /// Says how a service, a backend or a connection is steered, and why.
    Explain {
        /// What is asked.
        question: Question,
        /// The explanation.
        reply: Reply<wire::Explanation>,
    },
    /// Lists the decision log.
    Log {
        /// Which entries.
        filter: LogFilter,
        /// The entries.
        reply: Reply<wire::Log>,
    },
    /// Reads the configuration again and applies it, or refuses it as a whole.
    Reload {
        /// Who asks.
        peer: Peer,
        /// What changed.
        reply: Reply<wire::Reload>,
    },
}

/// Who asks: the process at the other end of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Process id, where the kernel tells it.
    pub pid: Option<i32>,
}

/// What is to be explained. With a client a connection, else with a backend that, else the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Name of the service; without it the one that the client has a flow to, or the only one.
    pub service: Option<String>,
    /// Name of the backend in it.
    pub backend: Option<String>,
    /// The client.
    pub client: Option<SocketAddr>,
    /// When.
    pub when: When,
}

/// The time that is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// The present.
    #[default]
    Now,
    /// The present, and what happened in the time that led to it.
    Since(Duration),
    /// A moment of the past: milliseconds since 1970-01-01 00:00 UTC.
    At(i64),
}

/// Which entries of the decision log are listed. Every condition that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Not older than this.
    pub since: Option<Duration>,
    /// About this service.
    pub service: Option<String>,
    /// About this backend, or its whole service.
    pub backend: Option<String>,
    /// Numbered higher than this.
    pub after: Option<u64>,
    /// Periodic summaries as well.
    pub summaries: bool,
    /// At most so many, the newest; 1 to [`wire::MAX_ENTRIES`].
    pub limit: usize,
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
