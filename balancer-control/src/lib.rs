//! The pure controller.
//!
//! ```text
//!  Input::Model, Probe, Sample, Counts, Drain, Weight      Command::Paces, Scores, Ring, Service
//!  ─────────────────────────────► Controller ─────────────────────────────► (lower half)
//!                                  │ snapshot()
//!                                  ▼ status, metrics, explain
//! ```
//!
//! No clock, no I/O, no threads: inputs and `now` in, commands out. The same inputs give the same commands.
//!
//! What comes in passes through, in this order:
//!
//! - `health`, `drain`, `exhaustion`, `ejection`: whether a backend takes new flows.
//! - `history`, `load`: how loaded it is, and how many connections that contains.
//! - `fleet`: what it is capable of, and what a connection costs, compared with the others of the service.
//! - `outliers`, `groups`, `alarm`: who is ejected, which backends are asked at all, and how fast clients are let in.
//! - `cluster`: whether the brokers agree on how many they are, which is told and closes nobody.
//! - `score`: what the data path compares.
//! - `admission`: how fast it is given new connections.
//! - `ring`, [`maglev`]: what the data path draws from.
//!
//! What came out is told by [`snapshot`], in words by `condition`, and what has changed since the last look by
//! [`journal`].
#![forbid(unsafe_code)]

mod admission;
mod alarm;
mod backend;
pub mod closing;
mod cluster;
pub mod command;
mod condition;
pub mod controller;
mod drain;
mod ejection;
mod ewma;
mod exhaustion;
#[cfg(test)]
mod fixture;
mod fleet;
mod groups;
mod health;
mod history;
pub mod input;
pub mod journal;
mod load;
pub mod maglev;
pub mod model;
pub mod moment;
mod outliers;
pub mod outline;
mod ring;
pub mod sample;
mod score;
mod service;
#[cfg(feature = "sim")]
pub mod sim;
pub mod snapshot;

pub use command::{Command, Paces, ServiceLimits, ServiceSteering};
pub use controller::Controller;
pub use input::{Counts, Input, ProbeResult};
pub use load::FORGET_AFTER;
pub use model::{
    Admission, BackendSpec, Budget, EjectionSpec, Model, Percent, Policy, Protection, ServiceSpec,
};
pub use moment::Moment;
pub use sample::{Refusal, Resource, ResourceUse, Sample, Scope};
pub use snapshot::Snapshot;
