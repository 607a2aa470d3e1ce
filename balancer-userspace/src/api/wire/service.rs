//! Services.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Cookies;

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
    /// What became of SYN cookies.
    #[serde(default)]
    pub cookies: Cookies,
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
