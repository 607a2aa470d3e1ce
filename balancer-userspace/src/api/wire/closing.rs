//! Closing flows: rebalancing and paced drains.

use serde::{Deserialize, Serialize};

/// Flows listed per second, unless the request says otherwise.
pub const DEFAULT_RATE: f64 = 10.0;

/// Part of a service's live flows that one rebalancing closes at most, unless the request says otherwise.
pub const DEFAULT_MAX: f64 = 0.1;

/// Largest part of a service's live flows that one rebalancing may close without `force`.
pub const UNFORCED: f64 = 0.5;

/// Most flows per second of a request.
pub const MAX_RATE: f64 = 100_000.0;

/// Body of `POST /v1/rebalance`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebalanceRequest {
    /// The service; all without it.
    #[serde(default)]
    pub service: Option<String>,
    /// How far above its share a backend may stay, 0.01 to 1.0 of the share.
    pub to: f64,
    /// Flows per second, by default [`DEFAULT_RATE`].
    #[serde(default)]
    pub rate: Option<f64>,
    /// Most flows closed of each service, by default [`DEFAULT_MAX`] of its live flows.
    #[serde(default)]
    pub max: Option<Most>,
    /// Only says what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Allows a `max` of more than [`UNFORCED`] of the live flows.
    #[serde(default)]
    pub force: bool,
}

/// A number of flows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Most {
    /// So many.
    Flows(u64),
    /// A part of the live ones, above 0.0, at most 1.0.
    Share(f64),
}

/// Body of `POST /v1/rebalance/stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StopRequest {
    /// The service; all without it.
    pub service: Option<String>,
}

/// Body of `POST /v1/backends/{service}/{backend}/drain`. Without one, no flow is closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Flows closed per second.
    pub rate: f64,
    /// Also when no other backend takes new flows.
    #[serde(default)]
    pub force: bool,
}

/// `GET /v1/rebalance`, and what the requests that begin or end runs are answered with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Runs {
    /// Those that are going on or planned, and the last that ended, oldest first.
    pub runs: Vec<Run>,
}

/// Flows of one service that are closed on an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its number since the agent started; 0 for one that is only planned.
    pub id: u64,
    /// What for.
    pub kind: RunKind,
    /// The service.
    pub service: String,
    /// Of a drain, the backend.
    pub backend: Option<String>,
    /// Of a rebalancing, how far above its share a backend may stay.
    pub to: Option<f64>,
    /// Flows per second.
    pub rate: f64,
    /// Most flows that it closes in all.
    pub max: u64,
    /// How far it has come.
    pub state: RunState,
    /// Why it is in that state, in words; empty while it goes on.
    pub reason: String,
    /// Whether it has ended because there was nothing left to do.
    pub done: bool,
    /// From its beginning until now, or until it ended.
    pub age_seconds: f64,
    /// Flows that are to be closed at their next packet with data.
    pub listed: u64,
    /// Flows that were closed.
    pub closed: u64,
    /// Backend by backend.
    pub backends: Vec<RunBackend>,
}

/// What a run does to one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunBackend {
    /// Its name.
    pub name: String,
    /// Live connections.
    pub live: u64,
    /// Its part of the capacity of all backends in the balance; 0.0 when it is not one of them.
    pub share: f64,
    /// Predicted load, as new flows are steered by; connections over weight where the policy does not look at load.
    pub load: f64,
    /// Flows that it had too many when the run began, of those that the others had room for.
    pub planned: u64,
    /// Flows of it that are to be closed at their next packet with data.
    pub listed: u64,
    /// Flows of it that were closed.
    pub closed: u64,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// Every backend gets its share.
    Rebalance,
    /// A backend is emptied.
    Drain,
}

impl RunKind {
    /// The word in JSON, tables and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rebalance => "rebalance",
            Self::Drain => "drain",
        }
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Nothing is done: the request asked for a plan.
    Planned,
    /// It goes on.
    Running,
    /// It has nothing to do for the moment.
    Waiting,
    /// It is over.
    Ended,
}

impl RunState {
    /// The word in JSON and tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
        }
    }
}

/// Flows that were closed on purpose, since the agent started, of a service and backend that are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The service.
    pub service: String,
    /// The backend they were closed at.
    pub backend: String,
    /// What for.
    pub reason: RunKind,
    /// How many.
    pub flows: u64,
}
