//! The agent and its client.
//!
//! - [`api`]: the control API on the unix socket, server and client.
//! - [`config`]: the file, checked into a [`config::Config`].
//! - [`kernel`]: the program, its maps, and the network around them.
//! - [`preset`]: what the telemetry of known brokers means.
//! - [`telemetry`]: how loaded each broker says it is.
//! - [`probe`]: whether each broker is up.

pub mod api;
pub mod config;
pub mod kernel;
pub mod preset;
pub mod probe;
pub mod telemetry;
