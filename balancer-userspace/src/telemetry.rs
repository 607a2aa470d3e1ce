//! Telemetry: how loaded each broker says it is.
//!
//! ```text
//!  Source::poll ──► Reading ─┐ merge, check
//!  Source::poll ──► Reading ─┴─► supervisor ──► TelemetryEvent ──► (agent) ──► balancer_control::Input::Sample
//!  one task per backend: interval with jitter, timeout, back-off
//! ```
//!
//! A source reads one place (a Prometheus page, JSON, `$SYS` topics, a local process, an agent-check) and trusts none of it:
//! whatever is not a plausible reading ends in a [`SourceError`] that says where and what was seen, never in a sample.

mod agent_check;
mod body;
mod document;
mod error;
mod exposition;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod http;
mod interpret;
mod json;
mod labels;
mod local;
pub(crate) mod mqtt;
mod named;
mod own;
mod page;
mod prometheus;
mod reading;
pub(crate) mod secret;
mod source;
mod supervisor;
mod sys;
mod trial;

use balancer_common::abi::BackendId;
use balancer_control::{Moment, Sample};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::config::TelemetryConfig;

pub(crate) use agent_check::{AgentCheckSource, AgentWord};
pub use error::SourceError;
pub(crate) use error::excerpt;
pub use http::check_url;
pub(crate) use http::{Extra, Get, port_of};
pub use interpret::Found;
pub(crate) use local::{Usage as LocalUsage, measure};
pub use own::{OwnClients, OwnSession};
pub use reading::Reading;
pub use source::Source;
pub(crate) use supervisor::phase;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use sys::fuzz as sys_fuzz;
pub use trial::{Trial, trial};

/// Where `now` comes from: the agent's monotonic clock, or a test's.
pub type Clock = fn() -> Moment;

/// Bytes of a telemetry page that are read at most: fifty times a large broker's.
pub const BODY_LIMIT: usize = 4 << 20;

/// The result of one interval of one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryEvent {
    /// The backend.
    pub backend: BackendId,
    /// Its sample, checked; or why there is none, for people.
    pub result: Result<Sample, String>,
    /// Sources of this backend that failed although others gave a sample. Empty when `result` is an error.
    pub problems: Vec<String>,
}

/// The backend that is read.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its id.
    pub backend: BackendId,
    /// Cores it can use as configured, for sources that tell CPU time but not of how many cores.
    pub cores: Option<f64>,
    /// The agent's sessions with its broker, taken off the broker's count of connections. The same value goes to
    /// [`crate::probe::spawn`].
    pub own: OwnClients,
}

/// A running supervisor. Dropping it ends it; a changed configuration is a new one.
#[derive(Debug)]
#[must_use = "dropping it ends telemetry of the backend"]
pub struct TelemetryTask {
    _task: AbortOnDropHandle<()>,
}

/// Starts reading the telemetry of one backend. Must be called within a tokio runtime.
///
/// Nothing is sent for a configuration without sources.
pub fn spawn(
    target: Target,
    config: TelemetryConfig,
    clock: Clock,
    events: mpsc::Sender<TelemetryEvent>,
) -> TelemetryTask {
    let task = tokio::spawn(supervisor::run(target, config, clock, events));
    TelemetryTask { _task: AbortOnDropHandle::new(task) }
}
