//! The configuration: one TOML file, checked as a whole before any of it is used.

pub mod health;
pub mod telemetry;

pub use health::{HealthCheck, HealthConfig};
pub use telemetry::{Preset, SourceConfig, TelemetryConfig};
