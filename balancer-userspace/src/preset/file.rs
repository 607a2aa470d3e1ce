//! The layout of a preset's file.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::meaning::{AlarmRule, Condition, Cpu, Meaning, Metric, NodeName, Quantity, ResourceRule};
use super::{Drain, Health, JsonPage, Preset, Protocol, SourceKind, Verified};

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
    websocket: Option<String>,
    source: SourceKind,
    clock: Option<Metric>,
    health: Option<Health>,
    #[serde(default)]
    drain: Vec<Drain>,
    #[serde(default)]
    cpu: Vec<Cpu>,
    connections: Option<Quantity>,
    max_connections: Option<Quantity>,
    messages: Option<Quantity>,
    cluster_members: Option<Quantity>,
    node: Option<NodeName>,
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
            websocket: file.websocket,
            source: file.source,
            health: file.health,
            drain: file.drain,
            meaning: Arc::new(Meaning {
                cpu: file.cpu,
                connections: file.connections,
                max_connections: file.max_connections,
                messages: file.messages,
                cluster_members: file.cluster_members,
                node: file.node,
                resources: file.resources,
                alarms: file.alarms,
                draining: file.draining,
                clock: file.clock,
            }),
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
        if let Some(path) = &self.websocket {
            absolute("websocket", path)?;
        }
        match &self.source {
            SourceKind::Prometheus { port, path, .. } => place("source", Some(*port), path)?,
            SourceKind::Json { pages, .. } if pages.is_empty() => {
                return Err("source.pages: is empty; write the pages, as [{ path = \"/varz\" }]".to_owned());
            }
            SourceKind::Json { port, pages, headers, .. } => {
                for page in pages {
                    place("source.pages", Some(*port), &page.path)?;
                }
                check_headers(headers)?;
                self.check_pointers(pages)?;
            }
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

    /// Metrics of JSON pages are pointers into pages that are there.
    fn check_pointers(&self, pages: &[JsonPage]) -> Result<(), String> {
        let known = |name: &str| {
            let (page, pointer) =
                if name.starts_with('/') { ("", name) } else { name.split_once(':').unwrap_or((name, "")) };
            pointer.starts_with('/') && pages.iter().any(|known| known.name == page)
        };
        let quantities = [&self.connections, &self.max_connections, &self.messages, &self.cluster_members];
        let metrics = quantities.into_iter().flatten().map(|quantity| &quantity.metric);
        let metrics = metrics.chain(self.cpu.iter().map(Cpu::metric)).chain(&self.clock);
        let node = self.node.iter().map(|node| &node.metric);
        match metrics.flat_map(|metric| &metric.0).chain(node).find(|selector| !known(&selector.name)) {
            None => Ok(()),
            Some(selector) => Err(format!(
                "{selector} is no pointer into a page; write \"/key/key\", or \"PAGE:/key/key\" for a page with a name"
            )),
        }
    }
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in headers {
        if name.parse::<HeaderName>().is_err() || HeaderValue::try_from(value).is_err() {
            return Err(format!("source.headers: {name}: {value:?} is no header"));
        }
    }
    Ok(())
}

/// A port and path that can be asked for.
fn place(key: &str, port: Option<u16>, path: &str) -> Result<(), String> {
    if port == Some(0) {
        return Err(format!("{key}.port: 0 is not a TCP port; use 1 to 65535"));
    }
    absolute(&format!("{key}.path"), path)
}

/// A path that can be asked for.
fn absolute(key: &str, path: &str) -> Result<(), String> {
    if path.starts_with('/') && path.parse::<axum::http::Uri>().is_ok() {
        return Ok(());
    }
    Err(format!("{key}: {path:?} is not a path; start it with \"/\""))
}
