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
    ShareOrOff, Span,
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
mod health;
mod protection;
mod telemetry;

pub use discovery::{DiscoveryKind, DiscoverySection};
pub use health::{DrainKind, DrainSection, HealthKind, HealthSection, ProbeVersionName, TlsSection};
pub use protection::EjectionSection;
pub use telemetry::{MetricNames, MqttVersionName, SourceName, TelemetrySection};

/// The whole file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The agent itself. May be left out. Changes of `socket`, `pins`, `metrics`, `history` and `history_mib` need a
    /// restart of the agent, which ends no flow.
    pub agent: AgentSection,
    /// The kernel program and its maps. May be left out. Changes of the sizes `flows_v4`, `flows_v6` and `services`
    /// need a restart of the agent, which carries all flows over to maps of the new size. A reload applies the rest.
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
    /// Where `/metrics` is served for Prometheus, without authentication. `"off"` serves none. Where the agent cannot listen
    /// there it steers all the same, says so as a problem, and tries again.
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
    /// Interfaces to attach to. Without it: those that have a VIP, and those that backends are routed through, as found at a start and at each reload.
    pub interfaces: Option<Vec<String>>,
    /// How to attach. `auto` has the drivers run the program; where one of them refuses it, the network stack runs it on
    /// all interfaces (generic mode), which is slower, with a warning. When the agent starts, and when an interface was made
    /// anew, drivers that ran the program until then lose it to the stack, with a gap; a reload is refused instead.
    /// `balancer detach` and a start give it back to the drivers. `native` and `generic` refuse anything else.
    #[schemars(extend("default" = "auto"))]
    pub mode: Option<AttachMode>,
    /// IPv4 flows that the flow table holds. 108 bytes of kernel memory each, 16 of them for the numbers of shielded
    /// flows, allocated at start.
    #[schemars(range(min = 1024, max = 67_108_864), extend("default" = DEFAULT_FLOWS4))]
    pub flows_v4: Option<u32>,
    /// IPv6 flows that the flow table holds. 108 bytes of kernel memory each, 16 of them for the numbers of shielded
    /// flows, allocated at start.
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
    /// SYNs per second and CPU from which on they are answered with SYN cookies: a backend hears of a connection when its
    /// client has shown its cookie. 0 is never. Without the key this is done where the kernel can, which needs Linux 6.0 and
    /// `CONFIG_SYN_COOKIES`; where it cannot, a value of the key is an error. Services with `policy = "maglev"` are left out.
    #[schemars(range(min = 0, max = 10_000_000), extend("default" = defaults::SHIELD_SYNS))]
    pub shield_syns: Option<u32>,
    /// New flows per second and CPU from which on SYNs are steered by the ring alone and leave no state. 0 is never.
    #[schemars(range(min = 0, max = 10_000_000), extend("default" = defaults::FLOOD_SYNS))]
    pub flood_syns: Option<u32>,
    /// Key of the flow hash: 16 hexadecimal digits, a secret. Without it one is drawn at random when the maps are made. Several
    /// gateways that announce the same VIP need the same key.
    #[schemars(extend("x-secret" = defaults::HASH_KEY))]
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
