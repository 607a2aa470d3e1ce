//! The agent and its client.
//!
//! - [`api`]: the control API on the unix socket, server and client.
//! - [`config`]: the file, checked into a [`config::Config`].
//! - [`kernel`]: the program, its maps, and the network around them.

pub mod api;
pub mod config;
pub mod kernel;
