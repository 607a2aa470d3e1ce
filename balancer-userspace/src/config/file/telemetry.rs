//! `[service.telemetry]`: where the load of brokers is read.

use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsSection;
use crate::config::defaults;
use crate::config::value::{Path, Span, Url};

/// `[service.telemetry]`, and `[service.backend.telemetry]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySection {
    /// What is read. `prometheus`: a page of metrics. `json`: a JSON document. `mqtt-sys`: the broker's `$SYS` topics. `local`: a process on this machine.
    /// `agent-check`: HAProxy's agent-check. `none`: nothing, connections are counted. Without it what the preset says,
    /// otherwise `none`, or `local` when `unit`, `pid`, `pid_file` or `cgroup` is given.
    pub source: Option<SourceName>,
    /// Time from one reading to the next.
    #[schemars(extend("default" = defaults::TELEMETRY_INTERVAL, "x-min" = "100ms", "x-max" = "10m"))]
    pub interval: Option<Span>,
    /// Time after which a reading is given up. At most `interval`.
    #[schemars(extend("default" = defaults::TELEMETRY_TIMEOUT, "x-min" = "50ms", "x-max" = "1m"))]
    pub timeout: Option<Span>,
    /// Port on the backend's address. Without it the preset's, or for `mqtt-sys` the backend's own.
    #[schemars(range(min = 1, max = 65535), extend("x-noun" = "a TCP port"))]
    pub port: Option<u16>,
    /// `prometheus`, `json`: path and query of the page. Without it the preset's, or else `/metrics` and `/`.
    pub path: Option<String>,
    /// `prometheus`, `json`: the whole URL, instead of `port` and `path`; with a preset that reads JSON the URL up to the
    /// preset's paths. Only for one backend.
    pub url: Option<Url>,
    /// `prometheus`, `json`, `mqtt-sys`: user name. For `mqtt-sys` without it the one of `health`.
    pub username: Option<String>,
    /// `prometheus`, `json`, `mqtt-sys`: file whose first line is the password, the only place for it. Read at every use.
    #[schemars(extend("x-secret" = defaults::SECRET_FILE))]
    pub password_file: Option<Path>,
    /// `prometheus`, `json`: file whose first line is a bearer token, instead of `username` and `password_file`.
    #[schemars(extend("x-secret" = defaults::SECRET_FILE))]
    pub token_file: Option<Path>,
    /// `prometheus`, `json`, `mqtt-sys`: the connection is encrypted, as `tls = {}`. Without it only for `https` URLs, and for
    /// `mqtt-sys` where the probe of the same port is, or the preset knows the port as one for TLS.
    pub tls: Option<TlsSection>,
    /// `mqtt-sys`: start of the client id, which is made unique per backend and gateway.
    pub client_id: Option<String>,
    /// `mqtt-sys`: protocol version.
    #[schemars(extend("default" = "3.1.1"))]
    pub version: Option<MqttVersionName>,
    /// `prometheus`: names of the metrics, for brokers without a preset. Series of one name are summed;
    /// `name{label="value"}` selects some of them. `json`: RFC 6901 pointers, as `/connections`; a key may be `+` for all.
    pub metrics: Option<MetricNames>,
    /// `agent-check`: text that is sent before the answer is read.
    pub send: Option<String>,
    /// Port of a node_exporter on the backend's address. Read as well; its CPU and memory are believed over those of
    /// `source`.
    #[schemars(range(min = 1, max = 65535), extend("x-noun" = "a TCP port"))]
    pub node_exporter: Option<u16>,
    /// Port of a `balancer report` on the backend's address. Read as well; its CPU, memory and descriptors are believed
    /// over those of `source`.
    #[schemars(range(min = 1, max = 65535), extend("x-noun" = "a TCP port"))]
    pub report: Option<u16>,
    /// `node_exporter` and `report` are read over TLS, as `exporter_tls = {}`. A `balancer report` needs something in front
    /// of it that speaks TLS.
    pub exporter_tls: Option<TlsSection>,
    /// The broker runs on this machine as this systemd unit. Read as well; CPU and memory of the unit are believed over those of
    /// `source`. Only for one backend, as are the next three.
    pub unit: Option<String>,
    /// The broker runs on this machine as this process.
    #[schemars(range(min = 1, max = 4_194_304), extend("x-noun" = "a process id"))]
    pub pid: Option<u32>,
    /// The broker runs on this machine, and this file has its process id.
    pub pid_file: Option<Path>,
    /// The broker runs on this machine in this control group: a path under `/sys/fs/cgroup`, or relative to it.
    pub cgroup: Option<String>,
}

/// `[service.telemetry.metrics]`: metric names of a broker that has no preset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricNames {
    /// Utilisation, a gauge from 0 to 1. One of the three `cpu` names at most.
    pub cpu_ratio: Option<String>,
    /// Utilisation, a gauge from 0 to 100.
    pub cpu_percent: Option<String>,
    /// CPU time used, a counter in seconds, such as `process_cpu_seconds_total`. Needs the backend's `cores`.
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

words!(
    /// Values of `service.telemetry.source`.
    SourceName {
        Prometheus = "prometheus",
        Json = "json",
        MqttSys = "mqtt-sys",
        Local = "local",
        AgentCheck = "agent-check",
        None = "none",
    }
);
words!(
    /// Values of `service.telemetry.version`.
    MqttVersionName { V311 = "3.1.1", V5 = "5" }
);
