//! Presets: what is known of brokers and exporters, as data.
//!
//! One TOML file each in `presets/`, compiled in; a directory of the operator's can add to them and replace them. What is
//! a counter, what a gauge, and what shows that a page is fresh comes from the preset and never from the page: exporters
//! mistype their metrics (`# TYPE … gauge` for counters).
//!
//! ```text
//!  presets/NAME.toml ──► Preset ─┬─ source   where its telemetry is found, by default
//!                                ├─ meaning  which metric means what ──► telemetry::interpret
//!                                ├─ ports    which protocol its ports speak, by default ─┐
//!                                ├─ health   how it is probed ◄──────────────────────────┘
//!                                └─ drain    where it says that it wants no new clients
//! ```

mod cores;
mod file;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod meaning;
mod reads;
mod reference;
mod registry;
mod selector;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

pub use cores::Cores;
pub use meaning::{
    AlarmRule, AlarmScope, AlarmWhen, Condition, Cpu, CpuUnit, Limit, Meaning, Metric, NodeName, Quantity,
    ResourceKind, ResourceRule, TimeUnit, Unknown,
};
pub use reference::reference;
pub use registry::{PresetError, Presets};
pub use selector::{LabelRule, Selector, SelectorError};

/// A broker or exporter whose telemetry is known.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "file::File")]
pub struct Preset {
    /// Its name in the configuration.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// URLs of the pages that the names are documented on.
    pub documentation: Vec<String>,
    /// How it is known that the preset is right.
    pub verified: Verified,
    /// What to switch on in the broker, and what it does not tell.
    pub advice: Option<String>,
    /// Whether clients use the address they are given only to learn the brokers' own, so that steering ends there.
    pub bootstrap_only: bool,
    /// Cores the broker can use at most; `None` when it uses what it is given.
    pub cores: Option<f64>,
    /// Ports that it listens on by default.
    pub ports: BTreeMap<Protocol, Vec<u16>>,
    /// Path of its WebSockets; `None` for the usual one.
    pub websocket: Option<String>,
    /// Where its telemetry is found unless the configuration says otherwise.
    pub source: SourceKind,
    /// How it is probed unless its port or the configuration says otherwise.
    pub health: Option<Health>,
    /// Where it says that it wants no new clients, besides its telemetry.
    pub drain: Vec<Drain>,
    /// Which metrics mean what.
    pub meaning: Arc<Meaning>,
}

/// How it is known that a preset is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verified {
    /// Tests run it against the broker itself.
    Live,
    /// Tests run it on what such a broker really answered.
    Capture,
    /// Tests run it on an answer written from the documentation or source code.
    Documentation,
}

/// What is spoken on a port. An `s` at the end is TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names of the protocols are all there is to say")]
pub enum Protocol {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
    Amqp,
    Amqps,
    Stomp,
    Stomps,
    Http,
    Openwire,
    Nats,
    Kafka,
}

/// Where telemetry is found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SourceKind {
    /// A page of Prometheus text on the backend's address.
    Prometheus {
        /// Its TCP port.
        port: u16,
        /// Its path and query.
        path: String,
        /// Which credentials it asks for by default.
        #[serde(default)]
        auth: Auth,
    },
    /// JSON documents on the backend's address. Metrics are RFC 6901 pointers; those into a page with a name are
    /// `NAME:/pointer`.
    Json {
        /// Their TCP port.
        port: u16,
        /// At least one.
        pages: Vec<JsonPage>,
        /// Which credentials they ask for by default.
        #[serde(default)]
        auth: Auth,
        /// Headers sent with every request.
        #[serde(default)]
        headers: BTreeMap<String, String>,
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
    /// Nowhere: the broker tells nothing.
    None,
}

/// One JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonPage {
    /// Its path and query.
    pub path: String,
    /// What its metrics start with; empty for nothing.
    #[serde(default)]
    pub name: String,
    /// Sent with a POST; without it the document is got.
    pub post: Option<String>,
}

/// Credentials that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// User name and password.
    Basic,
    /// A token.
    Bearer,
}

/// How health is probed by default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "check", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Health {
    /// A held MQTT session on the backend's own port.
    Mqtt,
    /// The AMQP header on the backend's own port.
    Amqp,
    /// A STOMP CONNECT on the backend's own port.
    Stomp,
    /// A connect to the backend's own port: nothing better is known.
    Tcp,
    /// A GET.
    Http {
        /// TCP port; `None` is the backend's own.
        port: Option<u16>,
        /// Path and query.
        path: String,
    },
}

/// An HTTP resource of the broker that tells whether it wants new clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// TCP port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Statuses that mean that it wants none. Any other, and no answer, means nothing.
    pub status: Vec<u16>,
}

impl Preset {
    /// What its default port `port` speaks, if it is one.
    #[must_use]
    pub fn protocol(&self, port: u16) -> Option<Protocol> {
        self.ports.iter().find(|(_, ports)| ports.contains(&port)).map(|(protocol, _)| *protocol)
    }

    /// How a backend on `port` is probed by default: by what that port speaks, or else as the preset says.
    #[must_use]
    pub fn health(&self, port: u16) -> Option<Health> {
        match self.protocol(port) {
            Some(Protocol::Mqtt | Protocol::Mqtts | Protocol::Ws | Protocol::Wss) => Some(Health::Mqtt),
            Some(Protocol::Amqp | Protocol::Amqps) => Some(Health::Amqp),
            Some(Protocol::Stomp | Protocol::Stomps) => Some(Health::Stomp),
            _ => self.health.clone(),
        }
    }
}

/// The preset of that name among those that are compiled in.
#[must_use]
pub fn find(name: &str) -> Option<Arc<Preset>> {
    Presets::embedded().find(name).cloned()
}

#[cfg(test)]
mod tests;
