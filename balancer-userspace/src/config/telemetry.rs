//! Where the load of one backend is read, with every default filled in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::health::MqttLogin;

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
    /// The `$SYS` topics of an MQTT broker.
    MqttSys {
        /// Where.
        address: SocketAddr,
        /// As whom.
        login: MqttLogin,
        /// Whose topics; [`Preset::Mosquitto`] unless another preset is configured.
        preset: Preset,
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

/// Which metrics of a Prometheus page mean what.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// Those of a known broker or exporter.
    Preset(Preset),
    /// Those named in the configuration.
    Named(MetricNames),
}

/// Metric names of a broker that has no preset. Series of one name are summed; `name{label="value"}` selects some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricNames {
    /// Utilisation as a gauge from 0 to 1.
    pub cpu_ratio: Option<String>,
    /// Utilisation as a gauge from 0 to 100.
    pub cpu_percent: Option<String>,
    /// CPU time used, as a counter in seconds (`process_cpu_seconds_total`).
    pub cpu_seconds: Option<String>,
    /// Client connections, a gauge.
    pub connections: Option<String>,
    /// Most client connections, a gauge.
    pub max_connections: Option<String>,
    /// Messages received, a counter.
    pub messages: Option<String>,
    /// Memory used, a gauge in bytes.
    pub memory: Option<String>,
    /// Memory limit, a gauge in bytes.
    pub memory_limit: Option<String>,
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
}

/// A broker or exporter whose telemetry and health are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Eclipse Mosquitto 2: `$SYS` topics, one thread.
    Mosquitto,
    /// RabbitMQ 3.8 and later: Prometheus plugin on port 15692.
    Rabbitmq,
    /// Prometheus node_exporter: CPU and memory of the backend's host.
    NodeExporter,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mosquitto, Self::Rabbitmq, Self::NodeExporter];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::Rabbitmq => "rabbitmq",
            Self::NodeExporter => "node-exporter",
        }
    }

    /// The preset of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }
}
