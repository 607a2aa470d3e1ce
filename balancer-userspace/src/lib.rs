//! The agent and its client.
//!
//! - [`agent`]: the event loop around the controller.
//! - [`api`]: the control API on the unix socket, server and client.
//! - `beat`: moments at which backends are turned to.
//! - [`cli`]: the command line.
//! - [`config`]: the file, checked into a [`config::Config`].
//! - [`discovery`]: which backends a service has, where a registry says so.
//! - [`doctor`]: what would keep the balancer from working.
//! - `files`: files that are read whole.
//! - `history`: the decision log.
//! - [`kernel`]: the program, its maps, and the network around them.
//! - `lack`: what this host has none left of.
//! - [`link`]: connections to brokers, plain, encrypted or in a WebSocket.
//! - [`logging`], [`metrics`]: what the agent says of itself.
//! - [`preset`]: what the telemetry of known brokers means.
//! - [`probe`]: whether each broker is up.
//! - [`report`]: the load of this host, for balancers elsewhere.
//! - [`telemetry`]: how loaded each broker says it is.
//! - [`tls`]: encrypted connections, as a client.

#[forbid(unsafe_code)]
pub mod agent;
#[forbid(unsafe_code)]
pub mod api;
#[forbid(unsafe_code)]
mod beat;
#[forbid(unsafe_code)]
pub mod cli;
#[forbid(unsafe_code)]
pub mod config;
#[forbid(unsafe_code)]
pub mod discovery;
#[forbid(unsafe_code)]
pub mod doctor;
#[forbid(unsafe_code)]
mod files;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
#[forbid(unsafe_code)]
pub mod fuzz;
#[forbid(unsafe_code)]
mod history;
pub mod kernel;
#[forbid(unsafe_code)]
mod lack;
#[forbid(unsafe_code)]
pub mod link;
#[forbid(unsafe_code)]
pub mod logging;
#[forbid(unsafe_code)]
pub mod metrics;
#[forbid(unsafe_code)]
pub mod preset;
#[forbid(unsafe_code)]
pub mod probe;
#[forbid(unsafe_code)]
pub mod report;
#[forbid(unsafe_code)]
pub mod telemetry;
#[forbid(unsafe_code)]
pub mod tls;
