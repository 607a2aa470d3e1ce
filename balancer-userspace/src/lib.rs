//! The agent and its client.
//!
//! - [`agent`]: the event loop around the controller.
//! - [`api`]: the control API on the unix socket, server and client.
//! - [`cli`]: the command line.
//! - [`config`]: the file, checked into a [`config::Config`].
//! - [`discovery`]: which backends a service has, where a registry says so.
//! - [`doctor`]: what would keep the balancer from working.
//! - `history`: the decision log.
//! - [`kernel`]: the program, its maps, and the network around them.
//! - [`link`]: connections to brokers, plain, encrypted or in a WebSocket.
//! - [`logging`], [`metrics`]: what the agent says of itself.
//! - [`preset`]: what the telemetry of known brokers means.
//! - [`probe`]: whether each broker is up.
//! - [`report`]: the load of this host, for balancers elsewhere.
//! - [`telemetry`]: how loaded each broker says it is.
//! - [`tls`]: encrypted connections, as a client.

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod discovery;
pub mod doctor;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod history;
pub mod kernel;
pub mod link;
pub mod logging;
pub mod metrics;
pub mod preset;
pub mod probe;
pub mod report;
pub mod telemetry;
pub mod tls;
