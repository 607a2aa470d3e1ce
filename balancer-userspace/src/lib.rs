//! The agent and its client.
//!
//! - [`api`]: the control API on the unix socket, server and client.
//! - [`config`]: the file, checked into a [`config::Config`].

pub mod api;
pub mod config;
