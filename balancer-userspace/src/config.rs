//! The configuration: one TOML file, checked as a whole before any of it is used.
//!
//! The types here are what is left when every problem has been found and every default filled in. Nothing in them needs
//! to be looked at twice.

mod check;
mod defaults;
pub mod discovery;
mod document;
pub mod file;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod health;
mod load;
mod problem;
mod reference;
pub(crate) mod shape;
pub mod telemetry;
pub mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use balancer_common::abi::{BackendId, ServiceId};
use balancer_control::{Admission, BackendSpec, Budget, Model, Policy, Protection, ServiceSpec, maglev};

pub use check::{Checked, Discovered, check, check_with};
pub use discovery::DiscoveryConfig;
pub use file::{AttachMode, ForwardName as Forward, LogLevel, MetricNames, OverBudgetName as OverBudget};
pub use health::{
    AmqpVersion, DrainCheck, DrainQuestion, DrainWhen, HealthCheck, HealthConfig, MqttLogin, MqttVersion,
};
pub use load::{LoadError, check_found, load, load_with};
pub use problem::Problem;
pub use reference::reference;
pub use telemetry::{HttpAuth, JsonDocument, LocalTarget, Meaning, SourceConfig, TelemetryConfig};

use value::HashKey;

/// A configuration without problems.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The agent itself.
    pub agent: AgentConfig,
    /// The program and its maps.
    pub datapath: DatapathConfig,
    /// Services, in the order of the file.
    pub services: Vec<ServiceConfig>,
}

/// The agent itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Path of the API's unix socket.
    pub socket: PathBuf,
    /// Directory that maps, program and links are pinned in.
    pub pins: PathBuf,
    /// Where metrics are served; `None` serves none.
    pub metrics: Option<SocketAddr>,
    /// Least severe message that is logged.
    pub log: LogLevel,
    /// Directory of presets that add to those compiled in or replace them.
    pub presets: Option<PathBuf>,
    /// Time from one run of the controller to the next.
    pub tick: Duration,
    /// The decision log's file; `None` keeps it in memory alone.
    pub history: Option<PathBuf>,
    /// Size of that file at most, in MiB, 1 to 1024; half as much is kept in memory.
    pub history_mib: u32,
}

/// The program and its maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatapathConfig {
    /// Interfaces to attach to; empty: those that VIPs and backends are reached through.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub mode: AttachMode,
    /// IPv4 flows that the flow table holds.
    pub flows_v4: u32,
    /// IPv6 flows that the flow table holds.
    pub flows_v6: u32,
    /// Silence after which an established flow is forgotten.
    pub idle_timeout: Duration,
    /// Silence after which a flow with one FIN is forgotten.
    pub half_closed_timeout: Duration,
    /// Silence after which a closed flow is forgotten.
    pub closing_timeout: Duration,
    /// SYNs per second and CPU from which on they are answered with cookies.
    pub shield_syns: Shield,
    /// New flows per second and CPU from which on they leave no state; 0 is never.
    pub flood_syns: u32,
    /// Key of the flow hash; `None` draws one.
    pub hash_key: Option<HashKey>,
    /// Services that the maps have room for.
    pub services: u32,
}

/// From how many SYNs per second and CPU on they are answered with cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shield {
    /// How many; 0 is never.
    pub syns: u32,
    /// Whether the configuration says so, and not the default.
    pub asked: bool,
}

impl Shield {
    /// What the key says, or the default.
    pub(crate) fn new(key: Option<u32>) -> Self {
        Self { syns: key.unwrap_or(defaults::SHIELD_SYNS), asked: key.is_some() }
    }

    /// The rate on a kernel that has cookies, or has none; 0 is never.
    ///
    /// # Errors
    /// The configuration asks for what the kernel cannot do.
    pub fn on(self, has_cookies: bool) -> Result<u32, String> {
        match (has_cookies, self) {
            (true, _) | (false, Self { syns: 0, .. }) => Ok(self.syns),
            (false, Self { asked: false, .. }) => Ok(0),
            (false, Self { syns, .. }) => Err(format!(
                "datapath.shield_syns: {syns} cannot be had, because this kernel has no SYN cookies for XDP; write 0, or \
                 use Linux 6.0 or later with CONFIG_SYN_COOKIES"
            )),
        }
    }
}

/// One service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceConfig {
    /// Its name, unique.
    pub name: String,
    /// VIP and port, unique.
    pub vip: SocketAddr,
    /// How new flows are steered.
    pub policy: Policy,
    /// Candidates per new flow, 1 to 4; `None` takes the policy's own number.
    pub draws: Option<u8>,
    /// Gateways that share the service, this one included; at least 1.
    pub gateways: u32,
    /// How packets get to the backends and back.
    pub forward: Forward,
    /// Telemetry older than this is not used.
    pub stale_after: Duration,
    /// What is done when backends fail.
    pub protection: Protection,
    /// Most new connections per second.
    pub max_connection_rate: Option<f64>,
    /// Most live connections.
    pub max_connections: Option<u32>,
    /// Plain connects that one connection costs a broker.
    pub handshake_cost: u32,
    /// What becomes of a SYN for which no budget is left.
    pub over_budget: OverBudget,
    /// Time in which a budget is given back after an outage.
    pub ramp: Duration,
    /// How long a backend must have been down before its flows are closed; `None` keeps them.
    pub close_down_after: Option<Duration>,
    /// Successful probes in a row before a backend is in rotation.
    pub rise: u32,
    /// Failed probes in a row before it is taken out.
    pub fall: u32,
    /// Where more backends are found.
    pub discovery: Option<DiscoveryConfig>,
    /// In the order of the file, and after them what was found; of the VIP's address family. At least one without a
    /// discovery.
    pub backends: Vec<BackendConfig>,
}

/// One backend of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendConfig {
    /// Its name, unique in the service.
    pub name: String,
    /// Its address, unique over all services.
    pub address: SocketAddr,
    /// Capacity relative to the other backends, 1 to 1000.
    pub weight: u32,
    /// Cores the broker can use, when known.
    pub cores: Option<f64>,
    /// Most live connections.
    pub max_connections: Option<u32>,
    /// Its priority group, 0 to 15.
    pub priority: u8,
    /// Most plain connects per second; shared by all backends of the same IP address, each of which has it here.
    pub max_connection_rate: Option<f64>,
    /// Used only when no other backend takes new flows.
    pub standby: bool,
    /// Takes no new flows, as the file says.
    pub drain: bool,
    /// Where it is, for people.
    pub zone: Option<String>,
    /// Whether it was found and is not in the file.
    pub discovered: bool,
    /// Whether good answers lack it, so that it takes no new flows.
    pub missing: bool,
    /// How its health is probed.
    pub health: HealthConfig,
    /// Where its load is read.
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// The controller's view, given the ids that services and backends have in the maps.
    pub fn model(
        &self,
        service_id: impl Fn(&ServiceConfig) -> ServiceId,
        backend_id: impl Fn(&ServiceConfig, &BackendConfig) -> BackendId,
    ) -> Model {
        let services = self.services.iter();
        Model { services: services.map(|s| s.spec(service_id(s), |b| backend_id(s, b))).collect() }
    }
}

impl ServiceConfig {
    fn spec(&self, id: ServiceId, backend_id: impl Fn(&BackendConfig) -> BackendId) -> ServiceSpec {
        ServiceSpec {
            id,
            name: self.name.clone(),
            policy: self.policy,
            draws: self.draws,
            gateways: self.gateways,
            rise: self.rise,
            fall: self.fall,
            stale_after: self.stale_after,
            protection: self.protection.clone(),
            admission: Admission {
                max_rate: self.max_connection_rate,
                handshake_cost: self.handshake_cost,
                cap: self.max_connections,
                refuse: self.over_budget == OverBudget::Refuse,
                ramp: self.ramp,
            },
            backends: self.backends.iter().map(|b| b.spec(self.vip, backend_id(b))).collect(),
        }
    }
}

/// Places a backend on the ring of its service: by addresses alone, so that it stays there whatever the two are called, and
/// is there on every gateway.
pub(crate) fn seed(vip: SocketAddr, backend: SocketAddr) -> u64 {
    maglev::seed(format!("{vip}/{backend}").as_bytes())
}

impl BackendConfig {
    fn spec(&self, vip: SocketAddr, id: BackendId) -> BackendSpec {
        BackendSpec {
            id,
            name: self.name.clone(),
            seed: seed(vip, self.address),
            weight: self.weight,
            cores: self.cores,
            priority: self.priority,
            standby: self.standby,
            cap: self.max_connections,
            budget: self.max_connection_rate.map(|rate| Budget { rate, address: self.address.ip() }),
            probed: self.health.check != HealthCheck::None,
            leaving: false,
        }
    }
}

#[cfg(test)]
mod tests;
