//! Flows.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Most flows in one answer.
pub const MAX_FLOWS: usize = 100_000;

/// `GET /v1/flows`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// The flows, in no order.
    pub flows: Vec<Flow>,
    /// Whether there are more: than the limit, or than could be looked at in time.
    pub truncated: bool,
    /// Entries that were looked at.
    #[serde(default)]
    pub looked_at: u64,
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Its service.
    pub service: String,
    /// Its client.
    pub client: SocketAddr,
    /// Its backend.
    pub backend: String,
    /// Where it is in its life.
    pub state: FlowState,
    /// Since it was established.
    pub age_seconds: f64,
    /// Since its last packet.
    pub idle_seconds: f64,
}

/// Where a flow is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// Steered, not proven by the client yet.
    Opening,
    /// Established.
    Established,
    /// One side has sent a FIN, or somebody an unproven RST.
    Closing,
    /// Both sides are done.
    Closed,
}
