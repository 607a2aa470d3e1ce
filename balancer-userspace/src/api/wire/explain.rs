//! Answers of `GET /v1/explain`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Basis, Flow, LogEntry, Policy};

/// `GET /v1/explain`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The service.
    pub service: String,
    /// The client, when a connection was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// The backend that was asked about; of a connection the one that it goes to, or nothing when it would be refused.
    pub backend: Option<String>,
    /// The live flow, when there is one: it stays where it is.
    pub flow: Option<Flow>,
    /// Candidates drawn for the connection, in order; empty when a live flow decides.
    pub candidates: Vec<Candidate>,
    /// The answer in sentences, first what, then why.
    pub reasons: Vec<String>,
    /// The time that is explained, RFC 3339, when it is not the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How the service steers; absent for the past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steering: Option<Steering>,
    /// What holds of the service besides the states of its backends.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The backends that matter: all of the service, the one that was asked about, or those that were drawn.
    #[serde(default)]
    pub backends: Vec<BackendFacts>,
    /// What happened around that time, or since the time asked for.
    #[serde(default)]
    pub events: Vec<LogEntry>,
    /// Time of the oldest entry of the decision log, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_begins: Option<String>,
}

/// One candidate of a steering decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The backend.
    pub backend: String,
    /// Ring slot it was drawn from; absent for a standby.
    pub slot: Option<u32>,
    /// Predicted utilisation; lowest wins.
    pub score: f64,
    /// Live connections.
    pub live: u64,
    /// Why it takes no new flow, if so.
    pub closed: Option<String>,
    /// Whether it was chosen.
    pub chosen: bool,
}

/// How a service steers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// Its policy.
    pub policy: Policy,
    /// Candidates per new flow.
    pub draws: u8,
    /// Gateways that share the service.
    pub gateways: u32,
    /// Age at which telemetry is not used any more.
    pub stale_after_seconds: f64,
    /// Cost of one connection as utilisation of a backend of mean capacity.
    pub connection_cost: f64,
    /// How long ago the ring changed last; absent while there is none.
    pub ring_seconds: Option<f64>,
    /// Why it did.
    pub ring_why: Option<String>,
    /// Slots that moved then.
    pub ring_moved: Option<usize>,
    /// Slots of a ring.
    pub ring_slots: usize,
}

/// Something besides its state that holds of a backend or a service and bears on where new flows go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Its name, such as `stale`, `frozen` or `capped`. Later versions may know more.
    pub condition: String,
    /// What it is, in words.
    pub reason: String,
    /// For how long, where that is known.
    pub seconds: Option<f64>,
    /// Whether it alone keeps new flows away.
    pub closes: bool,
}

/// Everything that bears on whether a backend gets new flows. Of the past, what the decision log has kept of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendFacts {
    /// Its name.
    pub name: String,
    /// Its state: a word of `BackendState`.
    pub state: String,
    /// Why it is in that state; absent when the log does not go back so far.
    pub reason: Option<String>,
    /// For how long.
    pub state_seconds: Option<f64>,
    /// Whether it takes new flows: what state, cap and conditions add up to.
    pub open: bool,
    /// What holds of it besides its state.
    pub conditions: Vec<Condition>,
    /// Whether it is used only when no other backend takes new flows.
    pub standby: bool,
    /// Whether it was removed from the configuration and waits for its last flow.
    pub leaving: bool,
    /// The weight in force.
    pub weight: Option<u32>,
    /// Share that the weight alone would give it; zero for a standby.
    pub weight_share: Option<f64>,
    /// Capacity relative to the mean of the service.
    pub capacity: Option<f64>,
    /// Whether telemetry has taught the capacity.
    pub capacity_learnt: Option<bool>,
    /// Share of the ring.
    pub ring_share: f64,
    /// Greatest share of new flows that it can get, whatever the scores: `1 - (1 - ring_share)^draws`.
    pub most_share: Option<f64>,
    /// Live connections.
    pub live: u64,
    /// Most live connections.
    pub max_connections: Option<u32>,
    /// The score that new flows are steered by, lowest wins: `base + (live - counted) * cost`.
    pub score: f64,
    /// The score at `counted` connections.
    pub base: Option<f64>,
    /// Connections that `base` contains.
    pub counted: Option<u64>,
    /// Cost of one more connection.
    pub cost: Option<f64>,
    /// What the score rests on.
    pub basis: Option<Basis>,
    /// Filtered utilisation from telemetry, when it is in use.
    pub utilisation: Option<f64>,
    /// Age of the last accepted reading.
    pub sample_age_seconds: Option<f64>,
    /// Time of the summary that score, connections and utilisation are of, RFC 3339; absent for the present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
}
