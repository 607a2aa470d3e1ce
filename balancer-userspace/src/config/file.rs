//! The file exactly as written. The doc comments here are the reference; the schema made of these types carries
//! ranges and defaults, and is what single values are checked against.
//!
//! Every key is optional to serde: what is missing is a problem like any other, found by the check.

use balancer_common::abi::{DEFAULT_FLOWS4, DEFAULT_FLOWS6, DEFAULT_SERVICES};
use schemars::JsonSchema;
use serde::Deserialize;

use super::defaults;
use super::value::{
    Address, BackendLabel, Endpoint, HashKey, Listen, LogFile, Name, Path, Rate, RateOrOff, Share,
    ShareOrOff, Span, Statuses, Url,
};

/// Declares an enum whose variants are words of the file.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
        #[expect(missing_docs, reason = "the words are explained where they are used as values")]
        pub enum $name {
            $(#[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// The word in the file.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

mod discovery;
mod protection;

pub use discovery::{DiscoveryKind, DiscoverySection};
pub use protection::EjectionSection;

/// The whole file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The agent itself. May be left out. Changes of `socket`, `pins`, `metrics`, `history` and `history_mib` need a
    /// restart of the agent, which ends no flow.
    pub agent: AgentSection,
    /// The kernel program and its maps. May be left out. The sizes `flows_v4`, `flows_v6` and `services` hold until the
    /// maps are made again, for which `balancer detach` ends all flows. A reload applies the rest.
    pub datapath: DatapathSection,
    /// One table per service. At least one.
    pub service: Vec<ServiceSection>,
}

/// `[agent]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSection {
    /// Path of the API's unix socket. Created with mode 0660.
    #[schemars(extend("default" = defaults::SOCKET))]
    pub socket: Option<Path>,
    /// Directory on a BPF file system that maps, program and links are pinned in, so that they outlive the agent.
    #[schemars(extend("default" = defaults::PINS))]
    pub pins: Option<Path>,
    /// Where `/metrics` is served for Prometheus, without authentication. `"off"` serves none.
    #[schemars(extend("default" = defaults::METRICS))]
    pub metrics: Option<Listen>,
    /// Least severe message that is logged to standard error.
    #[schemars(extend("default" = "info"))]
    pub log: Option<LogLevel>,
    /// Directory of presets, one file NAME.toml each, that add to those compiled in or replace them. Read at every reload.
    pub presets: Option<Path>,
    /// Time from one run of the controller to the next. Scores are refreshed once per tick.
    #[schemars(extend("default" = defaults::TICK, "x-min" = "100ms", "x-max" = "10s"))]
    pub tick: Option<Span>,
    /// File of the decision log, which `balancer log` and `balancer explain --at` answer from. Without it beside the
    /// socket (`/run/balancer/api.history.jsonl`), where it outlives the agent, but no reboot; under `/var/lib/balancer`
    /// it outlives that too. `"off"` keeps the log in memory alone, and it ends with the agent.
    pub history: Option<LogFile>,
    /// Size of that file at most, in MiB. Half as much of the log is kept in memory. What is dropped first are the oldest
    /// summaries, then the oldest entries.
    #[schemars(range(min = 1, max = 1024), extend("default" = defaults::HISTORY_MIB))]
    pub history_mib: Option<u32>,
}

/// `[datapath]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DatapathSection {
    /// Interfaces to attach to. Without it: those that have a VIP, and those that backends are routed through.
    pub interfaces: Option<Vec<String>>,
    /// How to attach. `auto` takes the driver's mode and falls back to the generic one, which is slower, with a warning.
    /// `native` refuses to fall back.
    #[schemars(extend("default" = "auto"))]
    pub mode: Option<AttachMode>,
    /// IPv4 flows that the flow table holds. About 100 bytes of kernel memory each, allocated at start.
    #[schemars(range(min = 1024, max = 67_108_864), extend("default" = DEFAULT_FLOWS4))]
    pub flows_v4: Option<u32>,
    /// IPv6 flows that the flow table holds. About 112 bytes of kernel memory each, allocated at start.
    #[schemars(range(min = 1024, max = 67_108_864), extend("default" = DEFAULT_FLOWS6))]
    pub flows_v6: Option<u32>,
    /// Silence after which an established flow is forgotten. Its next packet is answered with a RST. Use at least three
    /// times the longest MQTT keep-alive of the clients. The default outlasts the two hours after which kernels probe
    /// idle connections, and what RFC 5382 asks of a NAT.
    #[schemars(extend("default" = defaults::IDLE_TIMEOUT, "x-min" = "60s", "x-max" = "7days"))]
    pub idle_timeout: Option<Span>,
    /// Silence after which a flow that one side has closed is forgotten.
    #[schemars(extend("default" = defaults::HALF_CLOSED_TIMEOUT, "x-min" = "10s", "x-max" = "1h"))]
    pub half_closed_timeout: Option<Span>,
    /// Silence after which a flow that both sides have closed is forgotten.
    #[schemars(extend("default" = defaults::CLOSING_TIMEOUT, "x-min" = "2s", "x-max" = "5m"))]
    pub closing_timeout: Option<Span>,
    /// New flows per second and CPU from which on SYNs are steered by the ring alone and leave no state. 0 is never.
    #[schemars(range(min = 0, max = 10_000_000), extend("default" = defaults::FLOOD_SYNS))]
    pub flood_syns: Option<u32>,
    /// Key of the flow hash: 16 hexadecimal digits, a secret. Without it one is drawn at random when the maps are made. Several
    /// gateways that announce the same VIP need the same key.
    pub hash_key: Option<HashKey>,
    /// Services that the maps have room for. 256 KiB of kernel memory each.
    #[schemars(range(min = 1, max = 1024), extend("default" = DEFAULT_SERVICES))]
    pub services: Option<u32>,
}

/// `[[service]]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceSection {
    /// Its name, unique, in tables, metrics and commands.
    #[schemars(extend("x-required" = true))]
    pub name: Option<Name>,
    /// The address that clients connect to. It must be routed to this host; put it on an interface, or announce it.
    #[schemars(extend("x-required" = true))]
    pub vip: Option<Address>,
    /// The TCP port that clients connect to.
    #[schemars(range(min = 1, max = 65535), extend("x-required" = true, "x-noun" = "a TCP port"))]
    pub port: Option<u16>,
    /// The brokers' kind, which supplies defaults for `health` and `telemetry`, as `"mosquitto"` or `"rabbitmq"`.
    /// `balancer preset list` lists them all, `balancer preset show NAME` says what one does.
    pub preset: Option<String>,
    /// How the backend of a new flow is chosen. `adaptive`: least predicted utilisation of `draws` candidates.
    /// `least-conn`: fewest connections per weight of two candidates. `weighted-cpu`: share by 100 − CPU %. `round-robin`,
    /// `random`: by weight. `maglev`: by hash of the flow alone, for several gateways without shared state.
    #[schemars(extend("default" = "adaptive"))]
    pub policy: Option<PolicyName>,
    /// Candidates per new flow. Without it the policy's own number. Not for `maglev`, which has one.
    #[schemars(range(min = 1, max = 4))]
    pub draws: Option<u8>,
    /// Gateways that share this service behind ECMP, this one included.
    #[schemars(range(min = 1, max = 64), extend("default" = defaults::GATEWAYS))]
    pub gateways: Option<u32>,
    /// How packets get to a backend and back. `nat` rewrites addresses; the backends' replies must pass this host.
    #[schemars(extend("default" = "nat", "x-note" = "other forward modes are not built"))]
    pub forward: Option<ForwardName>,
    /// Age at which a reading is no longer believed and connections are counted instead. Without it four times
    /// `telemetry.interval`, but at least 12 s.
    #[schemars(extend("x-min" = "500ms", "x-max" = "1h"))]
    pub stale_after: Option<Span>,
    /// What becomes of the flows of a backend whose probes fail. `keep`: nothing, they end when their ends end them.
    /// `close`: each is closed at its next packet with data, so that its client connects again, once the backend has been
    /// down for `down_grace`; not as long as no other backend takes new flows.
    #[schemars(extend("default" = "keep"))]
    pub when_down: Option<WhenDown>,
    /// How long a backend must have been down before `when_down = "close"` closes its flows. A backend that comes back
    /// earlier loses none.
    #[schemars(extend("default" = defaults::DOWN_GRACE, "x-min" = "1s", "x-max" = "1h"))]
    pub down_grace: Option<Span>,
    /// When fewer of the backends than this are up, and no standby is, probes are no longer believed: all that are not
    /// drained and have not used up a resource take new flows, but those whose SYNs fail. `"off"` believes probes always.
    #[schemars(extend("default" = defaults::PANIC))]
    pub panic: Option<ShareOrOff>,
    /// The next priority group takes new flows too when fewer of a group than this do.
    #[schemars(extend("default" = defaults::TAKEOVER))]
    pub takeover: Option<Share>,
    /// Most new connections per second of the whole service while brokers raise an alarm of their whole cluster, as RabbitMQ
    /// does when one node is short of memory or disk. Nobody is closed for such an alarm. `"off"` goes on as usual.
    #[schemars(extend("default" = defaults::ALARM_RATE))]
    pub alarm_rate: Option<RateOrOff>,
    /// When a backend is closed because its SYNs fail.
    pub ejection: EjectionSection,
    /// Most new connections per second, over all backends, on this gateway. What comes beyond is dropped or refused, see
    /// `over_budget`.
    pub max_connection_rate: Option<Rate>,
    /// Most live connections, over all backends, on this gateway. SYNs beyond are answered with a RST.
    #[schemars(range(min = 1, max = 4_294_967_295_u32), extend("x-noun" = "a number of connections"))]
    pub max_connections: Option<u32>,
    /// Plain connects that one connection to this service costs a broker: what it is charged to the
    /// `max_connection_rate` of backends. Without it 15 where the service or a backend listens on a TLS port (443, 5671,
    /// 8084, 8443, 8883, 8884, 61614, 61617), otherwise 1.
    #[schemars(range(min = 1, max = 1000), extend("x-noun" = "a number of plain connects"))]
    pub handshake_cost: Option<u32>,
    /// What becomes of a SYN for which no budget is left. `drop`: the client's TCP sends it again after 1, 3, 7 … seconds,
    /// which spreads a herd. `refuse`: a RST, so that clients with an address list go elsewhere at once.
    #[schemars(extend("default" = "drop"))]
    pub over_budget: Option<OverBudgetName>,
    /// Time in which the budget of a backend that comes back into rotation rises from a tenth to the whole, and that of the
    /// service after an outage of all its backends. `"0s"` gives the whole at once.
    #[schemars(extend("default" = defaults::RAMP, "x-min" = "0s", "x-max" = "1h"))]
    pub ramp: Option<Span>,
    /// How the health of the backends is probed.
    pub health: HealthSection,
    /// Where the load of the backends is read.
    pub telemetry: TelemetrySection,
    /// Backends that must be ready before the service takes its first flow; until then all are refused. Once it is open
    /// it stays so. With 0 it opens at once.
    #[schemars(range(min = 0, max = 4095), extend("default" = defaults::MIN_READY))]
    pub min_ready: Option<u32>,
    /// Where more backends are found.
    pub discovery: Option<DiscoverySection>,
    /// One table per backend. At least one that is not a standby, unless there is a `discovery`.
    pub backend: Vec<BackendSection>,
}

/// `[service.health]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    /// What is asked. `mqtt`: one session that is held, and a PINGREQ per probe. `amqp`: the protocol header. `stomp`: a
    /// CONNECT. `http`: a GET. `agent-check`: HAProxy's agent-check, whose `drain`, `maint` and `down` count. `tcp`: a connect,
    /// which finds no broker that accepts and then hangs. `none`: nothing, backends are always up. Without it what the
    /// preset says for the backend's port, otherwise `tcp`.
    pub kind: Option<HealthKind>,
    /// Time from one probe to the next.
    #[schemars(extend("default" = defaults::HEALTH_INTERVAL, "x-min" = "100ms", "x-max" = "10m"))]
    pub interval: Option<Span>,
    /// Each probe is late by a random part of this, so that several gateways do not ask in step. At most half of
    /// `interval`. Without it a tenth of it.
    #[schemars(extend("x-min" = "0ms", "x-max" = "5m"))]
    pub jitter: Option<Span>,
    /// Time after which a probe without an answer has failed. At most `interval`.
    #[schemars(extend("default" = defaults::HEALTH_TIMEOUT, "x-min" = "50ms", "x-max" = "1m"))]
    pub timeout: Option<Span>,
    /// Successful probes in a row before a backend is in rotation.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::RISE))]
    pub rise: Option<u32>,
    /// Failed probes in a row before it is taken out. Its flows stay.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::FALL))]
    pub fall: Option<u32>,
    /// Port that is probed. Without it the backend's own, or the preset's for a GET. `agent-check` needs it.
    #[schemars(range(min = 1, max = 65535), extend("x-noun" = "a TCP port"))]
    pub port: Option<u16>,
    /// `mqtt`, `stomp`, `http`: user name.
    pub username: Option<String>,
    /// `mqtt`, `stomp`, `http`: file whose first line is the password, the only place for it. Read at every connect.
    pub password_file: Option<Path>,
    /// `http`: file whose first line is a bearer token, instead of `username` and `password_file`.
    pub token_file: Option<Path>,
    /// `mqtt`: start of the client id, which is made unique per backend and gateway. Without it the broker chooses an id.
    pub client_id: Option<String>,
    /// Protocol version. `mqtt`: `3.1.1` (the default) or `5`. `amqp`: `0-9-1` (the default) or `1.0`.
    pub version: Option<ProbeVersionName>,
    /// `mqtt`: path of the WebSocket that MQTT is spoken in. Without it there is none, unless the preset knows the
    /// backend's port as one for WebSockets; then `/mqtt`.
    pub websocket: Option<String>,
    /// `http`: path and query of the request.
    #[schemars(extend("default" = defaults::HEALTH_PATH))]
    pub path: Option<String>,
    /// `http`: statuses that mean healthy. 404 means that the broker does not have the check, and is no failure while the
    /// backend's own port accepts connections.
    #[schemars(extend("default" = defaults::STATUS))]
    pub status: Option<Statuses>,
    /// `http`: text that a healthy answer has in its body. Without it the body is not read.
    pub body: Option<String>,
    /// `agent-check`: text that is sent before the answer is read.
    pub send: Option<String>,
    /// The probe is encrypted, as `tls = {}`. Without it only where the preset knows the backend's port as one for TLS.
    pub tls: Option<TlsSection>,
    /// Where the brokers say that they want no new connections, besides their answers to probes.
    pub drain: Option<DrainSection>,
}

/// `[service.health.tls]`, and wherever else a connection can be encrypted
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// PEM file with the certificates of the authorities that are believed. Without it those of the system.
    pub ca_file: Option<Path>,
    /// PEM file with the agent's own certificate, and what leads from it to an authority.
    pub certificate_file: Option<Path>,
    /// PEM file with the key of `certificate_file`.
    pub key_file: Option<Path>,
    /// Name that is asked for and that the certificate must be for. Without it the address.
    pub server_name: Option<String>,
    /// Whether the certificate is looked at. `false` encrypts without knowing with whom.
    #[schemars(extend("default" = true))]
    pub verify: Option<bool>,
}

/// `[service.health.drain]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrainSection {
    /// What is asked at every probe. `http`: a GET; credentials alone are added to those of the preset. `agent-check`:
    /// HAProxy's agent-check. `none`: nothing, whatever the preset says.
    #[schemars(extend("default" = "http"))]
    pub kind: Option<DrainKind>,
    /// Port on the backend's address. Without it the preset's.
    #[schemars(range(min = 1, max = 65535), extend("x-noun" = "a TCP port"))]
    pub port: Option<u16>,
    /// `http`: path and query of the request. Without it the preset's.
    pub path: Option<String>,
    /// `http`: statuses that mean that no new connections are wanted. Success means that they are, anything else nothing.
    #[schemars(extend("default" = defaults::DRAIN_STATUS))]
    pub status: Option<Statuses>,
    /// `http`: instead of `status` a place in a JSON document (RFC 6901), as `/0/being_drained`: true, or a number
    /// other than 0, means that no new connections are wanted.
    pub json: Option<String>,
    /// `http`: user name.
    pub username: Option<String>,
    /// `http`: file whose first line is the password, the only place for it. Read at every request.
    pub password_file: Option<Path>,
    /// `http`: file whose first line is a bearer token, instead of `username` and `password_file`.
    pub token_file: Option<Path>,
    /// `agent-check`: text that is sent before the answer is read.
    pub send: Option<String>,
    /// `http`: the request is encrypted, as `tls = {}`.
    pub tls: Option<TlsSection>,
}

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
    pub password_file: Option<Path>,
    /// `prometheus`, `json`: file whose first line is a bearer token, instead of `username` and `password_file`.
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

/// `[[service.backend]]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackendSection {
    /// Its name, unique in the service. Without it its address.
    pub name: Option<BackendLabel>,
    /// Address and port of the broker. In one service only: replies from it could not be told apart otherwise.
    #[schemars(extend("x-required" = true))]
    pub address: Option<Endpoint>,
    /// Capacity relative to the other backends: what counts until telemetry has taught better.
    #[schemars(
        range(min = 1, max = 1000),
        extend("default" = defaults::WEIGHT, "x-noun" = "a weight", "x-hint" = "or drain = true")
    )]
    pub weight: Option<u32>,
    /// Cores that the broker can use. Without it what telemetry says.
    #[schemars(range(min = 0.01, max = 1024.0), extend("x-noun" = "a number of cores"))]
    pub cores: Option<f64>,
    /// Most live connections. New flows go elsewhere from there on.
    #[schemars(
        range(min = 1, max = 4_294_967_295_u32),
        extend("x-noun" = "a number of connections", "x-hint" = "or drain = true")
    )]
    pub max_connections: Option<u32>,
    /// Its priority group. Group 0 takes new flows first, the next one when fewer than `takeover` of the group before do.
    /// Not for a standby, which comes after all of them.
    #[schemars(range(min = 0, max = 15), extend("default" = defaults::PRIORITY))]
    pub priority: Option<u8>,
    /// Most new connections per second that the broker can take, in plain connects: a connection is charged the
    /// `handshake_cost` of its service. What comes beyond goes to other backends. Backends of the same IP address share one
    /// budget, in whatever service they are; write it once or the same everywhere.
    pub max_connection_rate: Option<Rate>,
    /// Used only when no other backend takes new flows. At most 16 in a service.
    #[schemars(extend("default" = false))]
    pub standby: Option<bool>,
    /// Takes no new flows; those it has continue.
    #[schemars(extend("default" = false))]
    pub drain: Option<bool>,
    /// Where it is, for people: shown by `balancer backend list`.
    pub zone: Option<String>,
    /// Its kind, if it is another than the service's.
    pub preset: Option<String>,
    /// What is different from the service's `telemetry`, key by key.
    pub telemetry: TelemetrySection,
    /// Whether it was found, and is not in the file.
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) discovered: bool,
    /// Whether good answers lack it.
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) missing: bool,
}

words!(
    /// Values of `agent.log`.
    LogLevel { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
);
words!(
    /// Values of `datapath.mode`.
    AttachMode { Auto = "auto", Native = "native", Generic = "generic" }
);
words!(
    /// Values of `service.policy`.
    PolicyName {
        Adaptive = "adaptive",
        LeastConn = "least-conn",
        WeightedCpu = "weighted-cpu",
        RoundRobin = "round-robin",
        Random = "random",
        Maglev = "maglev",
    }
);
words!(
    /// Values of `service.over_budget`.
    OverBudgetName { Drop = "drop", Refuse = "refuse" }
);
words!(
    /// Values of `service.forward`.
    ForwardName { Nat = "nat" }
);
words!(
    /// Values of `service.when_down`.
    WhenDown { Keep = "keep", Close = "close" }
);
words!(
    /// Values of `service.health.kind`.
    HealthKind {
        Mqtt = "mqtt",
        Amqp = "amqp",
        Stomp = "stomp",
        Http = "http",
        AgentCheck = "agent-check",
        Tcp = "tcp",
        None = "none",
    }
);
words!(
    /// Values of `service.health.drain.kind`.
    DrainKind { Http = "http", AgentCheck = "agent-check", None = "none" }
);
words!(
    /// Values of `service.health.version`.
    ProbeVersionName { V311 = "3.1.1", V5 = "5", V091 = "0-9-1", V10 = "1.0" }
);
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
