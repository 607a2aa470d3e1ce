//! What goes over the socket. Kept apart from the agent's own types, so that those can change and this cannot by
//! accident. Within one [`API_VERSION`] fields are only added.
//!
//! Durations are seconds, addresses are text (`192.0.2.1:1883`, `[2001:db8::1]:1883`), shares and utilisation are 0.0
//! to 1.0, counters start when the maps are made and never go back while those are pinned.

mod backend;
mod closing;
mod explain;
mod flow;
mod log;
mod service;
mod shield;
mod words;

use std::fmt::Display;

use serde::{Deserialize, Serialize};

pub use backend::{Backend, BackendState, Basis, Traffic};
pub use closing::{
    Closed, DEFAULT_MAX, DEFAULT_RATE, DrainRequest, MAX_RATE, Most, RebalanceRequest, Run, RunBackend,
    RunKind, RunState, Runs, StopRequest, UNFORCED,
};
pub use explain::{BackendFacts, Candidate, Condition, Explanation, Steering};
pub use flow::{Flow, FlowState, Flows, MAX_FLOWS};
pub use log::{Log, LogEntry, LogEvent, Share, SummaryRow};
pub use service::{Budget, Discovery, Policy, Service};
pub use shield::{Cookies, Shield};
pub use words::per_second;

/// Version of this interface: the `1` of `/v1/`.
pub const API_VERSION: u32 = 1;

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
    /// What its own work took.
    #[serde(default)]
    pub work: Work,
    /// The shield against floods of SYNs.
    #[serde(default)]
    pub shield: Shield,
}

/// What the agent's own work took since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Runs of the controller.
    pub ticks: u64,
    /// Time of all of them.
    pub tick_seconds: f64,
    /// Time of the longest.
    pub longest_tick_seconds: f64,
    /// Walks of the flow tables for flows that have ended or gone silent.
    pub sweeps: u64,
    /// Time of all of them.
    pub sweep_seconds: f64,
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

    /// That `what`, such as `service mqtt`, is not there, and what there is in its place.
    pub fn missing<'a>(what: impl Display, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let known = if known.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there are: {}", known.join(", "))
        };
        Self::new(ErrorCode::NotFound, format!("no {what}; {known}"))
    }
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request makes no sense. HTTP 400, or 405, 408 and 413 where these say more.
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
    /// What a newer agent says and this version does not know; the message holds all the same. None is sent as this.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_newer_agent_hides_no_message() {
        let error: ApiError =
            serde_json::from_str(r#"{"code":"too-early","message":"wait a second"}"#).unwrap();
        assert_eq!((error.code, error.to_string().as_str()), (ErrorCode::Unknown, "wait a second"));
    }
}
