//! Backends.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Budget, Condition};

/// `GET /v1/backends`: a list of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// The service it belongs to.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it takes new flows.
    pub state: BackendState,
    /// Why, in words.
    pub reason: String,
    /// For how long.
    pub state_seconds: f64,
    /// Whether it is used only when no other backend takes new flows.
    pub standby: bool,
    /// Its priority group.
    #[serde(default)]
    pub priority: u8,
    /// Whether its priority group waits until too few of those before it take new flows.
    #[serde(default)]
    pub waiting: bool,
    /// Whether it is on trial after an ejection: the last choice of every draw.
    #[serde(default)]
    pub trial: bool,
    /// How often it was ejected since the agent started.
    #[serde(default)]
    pub ejections: u64,
    /// The weight in force.
    pub weight: u32,
    /// The weight in the configuration.
    pub configured_weight: u32,
    /// Most live connections.
    pub max_connections: Option<u32>,
    /// Live connections.
    pub live: u64,
    /// Flows opened.
    pub opened: u64,
    /// SYNs steered here, but for those that a flood leaves without state.
    pub syns: u64,
    /// SYNs that it answered with a RST.
    pub refused: u64,
    /// SYNs that it answered with a SYN-ACK.
    #[serde(default)]
    pub answered: u64,
    /// Budget of new connections, in plain connects; absent without one.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// Packets and bytes.
    pub traffic: Traffic,
    /// Share of the ring.
    pub ring_share: f64,
    /// Predicted utilisation: what new flows are steered by.
    pub score: f64,
    /// Filtered utilisation from telemetry, when that is in use.
    pub utilisation: Option<f64>,
    /// Predicted cost of one more connection, as utilisation.
    pub cost: f64,
    /// What the score rests on.
    pub basis: Basis,
    /// Age of the last accepted reading.
    pub sample_age_seconds: Option<f64>,
    /// Connections that the broker itself counts.
    pub broker_connections: Option<u64>,
    /// Nodes that the broker believes its cluster to have, itself among them.
    #[serde(default)]
    pub cluster_members: Option<u64>,
    /// The name that the broker itself has for its node.
    #[serde(default)]
    pub node: Option<String>,
    /// Why telemetry is not in use, if it is configured and is not.
    pub telemetry_problem: Option<String>,
    /// Interface and neighbour that its packets are sent to; absent while the kernel knows no neighbour.
    pub next_hop: Option<String>,
    /// Where it is.
    #[serde(default)]
    pub zone: Option<String>,
    /// Whether it was found, and is not in the file.
    #[serde(default)]
    pub discovered: bool,
    /// Whether it was removed from the configuration: it serves the flows that it has, and is neither probed nor read.
    #[serde(default)]
    pub leaving: bool,
    /// What holds of it besides its state.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// Whether a backend takes new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendState {
    /// Not probed successfully yet.
    Starting,
    /// In rotation.
    Up,
    /// Its probes fail.
    Down,
    /// No new flows, existing ones continue.
    Draining,
    /// Draining, and its last flow has ended.
    Drained,
    /// An exhaustible resource is nearly used up.
    Exhausted,
    /// SYNs steered to it fail.
    Ejected,
}

/// What a score rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Telemetry, compensated for what was opened since.
    Level,
    /// Connections counted by the program.
    Count,
    /// The policy does not look at load.
    Fixed,
}

/// Packets and bytes forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, as received on the wire.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients, as received from the backend.
    pub bytes_out: u64,
}
