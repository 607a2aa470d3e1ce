//! The layout of a preset's file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meaning::{AlarmRule, Condition, Cpu, Meaning, Quantity, ResourceRule};
use super::{Drain, Health, Preset, Protocol, SourceKind, Verified};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    name: String,
    title: String,
    #[serde(default)]
    documentation: Vec<String>,
    verified: Option<Verified>,
    advice: Option<String>,
    #[serde(default)]
    bootstrap_only: bool,
    cores: Option<f64>,
    #[serde(default)]
    ports: BTreeMap<Protocol, Vec<u16>>,
    source: SourceKind,
    health: Option<Health>,
    #[serde(default)]
    drain: Vec<Drain>,
    #[serde(default)]
    cpu: Vec<Cpu>,
    connections: Option<Quantity>,
    max_connections: Option<Quantity>,
    messages: Option<Quantity>,
    #[serde(default)]
    resources: Vec<ResourceRule>,
    #[serde(default)]
    alarms: Vec<AlarmRule>,
    #[serde(default)]
    draining: Vec<Condition>,
}

impl TryFrom<File> for Preset {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        file.check()?;
        Ok(Self {
            name: file.name,
            title: file.title,
            documentation: file.documentation,
            // What nobody vouches for was at best read somewhere.
            verified: file.verified.unwrap_or(Verified::Documentation),
            advice: file.advice.map(|advice| advice.trim().to_owned()),
            bootstrap_only: file.bootstrap_only,
            cores: file.cores,
            ports: file.ports,
            source: file.source,
            health: file.health,
            drain: file.drain,
            meaning: Meaning {
                cpu: file.cpu,
                connections: file.connections,
                max_connections: file.max_connections,
                messages: file.messages,
                resources: file.resources,
                alarms: file.alarms,
                draining: file.draining,
            },
        })
    }
}

impl File {
    /// What the types let through.
    fn check(&self) -> Result<(), String> {
        let label = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(label) {
            return Err(format!("name: {:?}: use 1 to 64 letters, digits and any of \"-_.\"", self.name));
        }
        if self.cores.is_some_and(|cores| !(0.01..=1024.0).contains(&cores)) {
            return Err("cores: use 0.01 to 1024".to_owned());
        }
        if self.ports.values().flatten().any(|port| *port == 0) {
            return Err("ports: 0 is not a TCP port; use 1 to 65535".to_owned());
        }
        match &self.source {
            SourceKind::Prometheus { port, path } => place("source", Some(*port), path)?,
            SourceKind::MqttSys { subscribe, .. } if subscribe.is_empty() => {
                return Err("source.subscribe: is empty; write the topic filters to subscribe to".to_owned());
            }
            SourceKind::MqttSys { .. } | SourceKind::None => {}
        }
        if let Some(Health::Http { port, path }) = &self.health {
            place("health", *port, path)?;
        }
        for drain in &self.drain {
            place("drain", Some(drain.port), &drain.path)?;
        }
        Ok(())
    }
}

/// A port and path that can be asked for.
fn place(key: &str, port: Option<u16>, path: &str) -> Result<(), String> {
    if port == Some(0) {
        return Err(format!("{key}.port: 0 is not a TCP port; use 1 to 65535"));
    }
    if !path.starts_with('/') || path.parse::<axum::http::Uri>().is_err() {
        return Err(format!("{key}.path: {path:?} is not a path; start it with \"/\""));
    }
    Ok(())
}
