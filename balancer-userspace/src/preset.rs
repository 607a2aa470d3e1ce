//! Presets: what the telemetry of known brokers and exporters means, as data.
//!
//! One TOML file each in `presets/`, compiled in. What is a counter, what a gauge, and what shows that a page is fresh
//! comes from the preset and never from the page: exporters mistype their metrics (`# TYPE … gauge` for counters).
//!
//! ```text
//!  presets/NAME.toml ──► Preset ─┬─ source   where its telemetry is found, by default
//!                                ├─ meaning  which metric means what ──► telemetry::interpret
//!                                └─ health   how it is probed, by default
//! ```

mod meaning;
mod selector;

use std::sync::LazyLock;

use serde::Deserialize;

pub use meaning::{
    AlarmRule, AlarmScope, Condition, Cores, Cpu, CpuUnit, Limit, Meaning, Metric, Quantity, ResourceKind,
    ResourceRule, TimeUnit,
};
pub use selector::{LabelRule, Selector, SelectorError};

/// The TOML of every preset. A preset is added by adding its file here.
const FILES: [&str; 3] = [
    include_str!("../presets/mosquitto.toml"),
    include_str!("../presets/rabbitmq.toml"),
    include_str!("../presets/node-exporter.toml"),
];

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    FILES.iter().map(|text| toml::from_str(text).expect("presets are checked by tests")).collect()
});

/// A broker or exporter whose telemetry is known.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "File")]
pub struct Preset {
    /// Its name in the configuration.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// Where its telemetry is found unless the configuration says otherwise.
    pub source: SourceKind,
    /// Cores the broker can use at most; `None` when it uses what it is given.
    pub cores: Option<f64>,
    /// How it is probed unless the configuration says otherwise.
    pub health: Option<Health>,
    /// Which metrics mean what.
    pub meaning: Meaning,
}

/// Where telemetry is found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SourceKind {
    /// A page of Prometheus text on the backend's address.
    Prometheus {
        /// Its TCP port.
        port: u16,
        /// Its path.
        path: String,
    },
    /// Topics under `$SYS` of the broker itself.
    MqttSys {
        /// Topic filters subscribed to.
        subscribe: Vec<String>,
        /// The topic that is published in every interval, changed or not.
        heartbeat: String,
        /// Seconds between heartbeats by the broker's default, until the real interval was seen.
        heartbeat_interval_s: u64,
    },
}

/// How health is probed by default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "check", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Health {
    /// A held MQTT session on the backend's own port.
    Mqtt,
    /// The AMQP header on the backend's own port.
    Amqp,
    /// A GET.
    Http {
        /// TCP port.
        port: u16,
        /// Path and query.
        path: String,
    },
}

/// The layout of a preset's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    title: String,
    source: SourceKind,
    cores: Option<f64>,
    health: Option<Health>,
    cpu: Option<Cpu>,
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

impl From<File> for Preset {
    fn from(file: File) -> Self {
        Self {
            name: file.name,
            title: file.title,
            source: file.source,
            cores: file.cores,
            health: file.health,
            meaning: Meaning {
                cpu: file.cpu,
                connections: file.connections,
                max_connections: file.max_connections,
                messages: file.messages,
                resources: file.resources,
                alarms: file.alarms,
                draining: file.draining,
            },
        }
    }
}

/// All presets, in the order they are documented.
#[must_use]
pub fn all() -> &'static [Preset] {
    &PRESETS
}

/// The preset of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_valid_preset() {
        for text in FILES {
            let preset: Preset = toml::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert!(!preset.title.is_empty());
            assert_eq!(find(&preset.name), Some(&preset));
        }
        let mut names: Vec<_> = all().iter().map(|preset| &preset.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), FILES.len(), "two presets have one name");
    }

    #[test]
    fn every_preset_of_the_configuration_has_a_file() {
        for preset in crate::config::Preset::ALL {
            assert!(find(preset.name()).is_some(), "no presets/{}.toml", preset.name());
        }
        assert_eq!(crate::config::Preset::ALL.len(), all().len());
    }

    #[test]
    fn a_key_nobody_knows_is_an_error() {
        let text = FILES[0].replace("counts_agent", "counts_agents");
        assert!(toml::from_str::<Preset>(&text).unwrap_err().to_string().contains("counts_agents"));
    }
}
