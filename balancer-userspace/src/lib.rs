//! The agent and its client.
//!
//! - [`config`]: the file, checked into a [`config::Config`].

pub mod config;
