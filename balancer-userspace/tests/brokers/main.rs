//! Telemetry and probes against real brokers and hostile servers, on loopback only.
#![expect(clippy::unwrap_used, reason = "tests panic")]

mod agent_check;
mod hostile;
mod local;
mod mosquitto;
mod probe;
mod report;
mod support;
mod sys;
