//! What goes over the socket. Kept apart from the agent's own types, so that those can change and this cannot by
//! accident. Within one [`API_VERSION`] fields are only added.
//!
//! Durations are seconds, addresses are text (`192.0.2.1:1883`, `[2001:db8::1]:1883`), shares and utilisation are 0.0
//! to 1.0, counters start when the maps are made and never go back while those are pinned.

mod closing;
mod explain;
mod log;
mod words;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use closing::{
    Closed, DEFAULT_MAX, DEFAULT_RATE, DrainRequest, MAX_RATE, Most, RebalanceRequest, Run, RunBackend,
    RunKind, RunState, Runs, StopRequest, UNFORCED,
};
pub use explain::{BackendFacts, Candidate, Condition, Explanation, Steering};
pub use log::{Log, LogEntry, LogEvent, Share, SummaryRow};

/// Version of this interface: the `1` of `/v1/`.
pub const API_VERSION: u32 = 1;

/// Most flows in one answer.
pub const MAX_FLOWS: usize = 100_000;

/// Most entries of the decision log in one answer.
pub const MAX_ENTRIES: usize = 10_000;

/// `GET /v1/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// [`API_VERSION`] of the agent.
    pub api: u32,
    /// Version of the agent.
    pub version: String,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent itself.
    pub agent: Agent,
    /// Interfaces that the program is attached to.
    pub interfaces: Vec<Interface>,
    /// Flow tables.
    pub tables: Vec<Table>,
    /// Services in the order of the configuration.
    pub services: Vec<Service>,
    /// Backends in the order of the configuration.
    pub backends: Vec<Backend>,
    /// Packets by outcome.
    pub outcomes: Vec<Outcome>,
    /// What somebody should look at, with the remedy; empty when all is well.
    pub problems: Vec<String>,
    /// What is odd but may be meant, such as a VIP that no interface holds.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Rebalancings and paced drains that are going on.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// Flows that such runs have closed since the agent started.
    #[serde(default)]
    pub closed: Vec<Closed>,
}

/// The agent itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_seconds: f64,
    /// The configuration file.
    pub config: String,
    /// How long the configuration in force has been so.
    pub config_age_seconds: f64,
    /// Where maps, program and links are pinned.
    pub pins: String,
    /// Whether pinned maps of an earlier agent were taken over.
    pub adopted: bool,
    /// Commands of the controller applied to the maps.
    pub commands: u64,
    /// Times that all maps were written again because their state was in doubt.
    pub resyncs: u64,
    /// Reloads applied.
    pub reloads_applied: u64,
    /// Reloads refused, because the configuration had problems.
    pub reloads_refused: u64,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// How the program is attached.
    pub mode: XdpMode,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack, at several times the cost.
    Generic,
}

/// One flow table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `ipv4` or `ipv6`.
    pub name: String,
    /// Entries in use.
    pub used: u64,
    /// Entries it has room for.
    pub capacity: u64,
    /// Entries from which on new flows are steered by the ring alone.
    pub high: u64,
}

/// `GET /v1/services`: a list of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// VIP and port.
    pub vip: SocketAddr,
    /// How new flows are steered.
    pub policy: Policy,
    /// Candidates per new flow.
    pub draws: u8,
    /// Backends.
    pub backends: usize,
    /// Backends that take new flows.
    pub backends_up: usize,
    /// Live connections.
    pub live: u64,
    /// Flows opened.
    pub opened: u64,
    /// Set while so few backends are up that what probes say is set aside.
    #[serde(default)]
    pub panic: bool,
    /// Alarms that brokers raise for their whole cluster.
    #[serde(default)]
    pub alarms: Vec<String>,
    /// Whether its brokers do not count as many nodes of their cluster as others do.
    #[serde(default)]
    pub cluster_disagrees: bool,
    /// Most new connections per second that such an alarm leaves; absent without one.
    #[serde(default)]
    pub alarm_rate: Option<u32>,
    /// The last priority group that new flows are steered to.
    #[serde(default)]
    pub open_priority: u8,
    /// Where more backends are found; absent without a discovery.
    #[serde(default)]
    pub discovery: Option<Discovery>,
    /// Most live connections.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// Budget of new connections; absent without one.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// SYNs that were dropped or refused because no budget was left, of the service or of a backend.
    #[serde(default)]
    pub over_budget: u64,
}

/// Where the backends of a service are found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Discovery {
    /// What is asked.
    pub source: String,
    /// Backends that the last good answer has.
    pub backends: usize,
    /// Backends that good answers lack, and that are drained before they leave.
    pub missing: usize,
    /// Age of the last good answer; absent before the first.
    pub answer_age_seconds: Option<f64>,
    /// Answers that were not used, since the agent started.
    pub failures: u64,
    /// Why the last answer is not in force, if it is not.
    pub problem: Option<String>,
    /// Why single backends of the last good answer were not taken.
    pub refused: Vec<String>,
}

/// A budget of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Connections per second that are admitted now; of a backend, in plain connects.
    pub per_second: f64,
    /// Connections per second when the ramp after an outage is over.
    pub full: f64,
}

/// How new flows are steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the variants are those of the controller's type, documented there")]
pub enum Policy {
    Adaptive,
    LeastConn,
    WeightedCpu,
    RoundRobin,
    Random,
    Maglev,
}

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
    /// SYNs steered here.
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

/// Packets of one service that ended in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The service; absent for packets of none.
    pub service: Option<String>,
    /// How they ended, in `snake_case`.
    pub outcome: String,
    /// How many.
    pub packets: u64,
}

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

/// `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// What changed, one sentence each; empty when the file says what is in force already.
    pub changes: Vec<String>,
    /// What is odd about the configuration, but does not keep it from being used.
    pub warnings: Vec<String>,
}

/// `GET /v1/health`: status 200 when `ok`, 503 otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether there is no problem.
    pub ok: bool,
    /// What somebody should look at.
    pub problems: Vec<String>,
    /// What is odd but may be meant; it does not change `ok`.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Body of `PUT /v1/backends/{service}/{backend}/weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightRequest {
    /// 1 to 1000; null takes the weight of the configuration again.
    pub weight: Option<u32>,
}

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// Every problem of a refused configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl ApiError {
    /// An error without a list of problems.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), problems: Vec::new() }
    }
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request makes no sense. HTTP 400.
    Invalid,
    /// No such route, service or backend. HTTP 404.
    NotFound,
    /// Something is going on, or so, that does not go with the request; nothing was changed. HTTP 409.
    Conflict,
    /// The configuration has problems; nothing was changed. HTTP 422.
    BadConfiguration,
    /// The agent has too many requests waiting, or did not answer in time. HTTP 503.
    Busy,
    /// The agent could not do it. HTTP 500.
    Failed,
}
