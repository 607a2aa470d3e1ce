//! Telemetry and probes against real brokers and hostile servers, on loopback only.
#![expect(clippy::unwrap_used, reason = "tests panic")]

mod agent_check;
mod authority;
mod discovery;
mod hostile;
mod hostile_json;
mod kept;
mod lacking;
mod local;
mod mosquitto;
mod probe;
mod probe_hostile;
mod probe_links;
mod probe_pages;
mod report;
mod source_tls;
mod support;
mod sys;
mod tls;
