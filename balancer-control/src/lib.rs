//! The pure controller.
//!
//! ```text
//!  Input::Model, Probe, Sample, Counts, Drain, Weight      Command::Scores, Ring, Service
//!  ─────────────────────────────► Controller ─────────────────────────────► (lower half)
//!                                  │ snapshot()
//!                                  ▼ status, metrics, explain
//! ```
//!
//! No clock, no I/O, no threads: inputs and `now` in, commands out. The same inputs give the same commands.
#![forbid(unsafe_code)]

pub mod command;
pub mod input;
pub mod model;
pub mod moment;
pub mod sample;
pub mod snapshot;

pub use command::{Command, ServiceSteering};
pub use input::{Counts, Input, ProbeResult};
pub use model::{BackendSpec, Model, Policy, ServiceSpec};
pub use moment::Moment;
pub use sample::{Resource, ResourceUse, Sample, Scope};
