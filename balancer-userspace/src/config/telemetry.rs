//! Where the load of one backend is read, with every default filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::file::MetricNames;
use super::health::MqttLogin;
use crate::link::Via;
use crate::preset::Preset;
use crate::tls::TlsConfig;

/// Telemetry of one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// What is read. All readings of one interval make one sample; where two sources tell the same thing, the later
    /// one is believed. Empty: the program's own count of connections is all there is.
    pub sources: Vec<SourceConfig>,
    /// Time from one reading to the next.
    pub interval: Duration,
    /// Time after which a reading is given up; at most `interval`.
    pub timeout: Duration,
}

/// One thing that can say how loaded a backend is.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// A page of Prometheus text.
    Prometheus {
        /// `http://host:port/path`.
        url: String,
        /// Sent with the request, if given.
        auth: HttpAuth,
        /// Which metrics mean what.
        meaning: Meaning,
    },
    /// JSON documents.
    Json {
        /// At least one.
        documents: Vec<JsonDocument>,
        /// Sent with every request, by name.
        headers: BTreeMap<String, String>,
        /// Sent with every request, if given.
        auth: HttpAuth,
        /// Which metrics, by RFC 6901 pointer, mean what.
        meaning: Meaning,
    },
    /// The `$SYS` topics of an MQTT broker.
    MqttSys {
        /// Where.
        address: SocketAddr,
        /// As whom.
        login: MqttLogin,
        /// Over what.
        via: Via,
        /// Whose topics.
        preset: Arc<Preset>,
    },
    /// CPU and memory of a process on this machine.
    Local {
        /// Which one.
        target: LocalTarget,
        /// Cores it can use at most, when that is less than its quota or the host's: 1 for a single-threaded broker.
        cores: Option<f64>,
    },
    /// HAProxy's agent-check: connect, read one line.
    AgentCheck {
        /// Where.
        address: SocketAddr,
        /// Sent before reading, if given.
        send: Option<String>,
    },
}

/// One JSON document of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonDocument {
    /// Stands before the pointers into it, with a colon; empty for nothing.
    pub name: String,
    /// `http://host:port/path`.
    pub url: String,
    /// Sent with a POST; without it the document is got.
    pub post: Option<String>,
}

/// Which metrics of a page mean what.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// Those of a known broker or exporter.
    Preset(Arc<Preset>),
    /// Those named in the configuration.
    Named(MetricNames),
}

/// Credentials of an HTTP request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAuth {
    /// User name of basic authentication.
    pub username: Option<String>,
    /// File whose first line is the password. Read at every request, so that a rotated password is picked up.
    pub password_file: Option<PathBuf>,
    /// File whose first line is a bearer token. Excludes the other two.
    pub token_file: Option<PathBuf>,
    /// How the two sides of an `https` connection prove who they are.
    pub tls: TlsConfig,
}

/// A process on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalTarget {
    /// Process id.
    Pid(u32),
    /// File with the process id. Read again when the process is gone.
    PidFile(PathBuf),
    /// systemd unit, for example `mosquitto.service`.
    Unit(String),
    /// Path of a control group, absolute under `/sys/fs/cgroup` or relative to it.
    Cgroup(PathBuf),
    /// The whole machine.
    Host,
}

impl fmt::Display for LocalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "process {pid}"),
            Self::PidFile(path) => write!(f, "process of {}", path.display()),
            Self::Unit(unit) => write!(f, "unit {unit}"),
            Self::Cgroup(path) => write!(f, "control group {}", path.display()),
            Self::Host => f.write_str("this host"),
        }
    }
}
