//! The agent's configuration file, as far as labs use it.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    broker::Broker,
    lab::{Host, Lab},
};

/// One configuration.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// `[datapath]`.
    pub datapath: DatapathPlan,
    /// `[[service]]`.
    pub service: Vec<ServicePlan>,
    /// `agent.history`, where it is not beside the socket.
    #[serde(skip)]
    pub history: Option<String>,
    /// Whether `agent.tick` and `agent.log` are the agent's own defaults, and not what suits tests.
    #[serde(skip)]
    pub as_installed: bool,
}

/// `[datapath]`. Small tables, so that a lab costs little memory.
#[derive(Clone, Debug, Serialize)]
pub struct DatapathPlan {
    /// Where the program runs; without them, where the agent finds services and backends.
    pub interfaces: Option<Vec<&'static str>>,
    /// `native`, unless a test is about the other mode.
    pub mode: &'static str,
    /// Size of the IPv4 flow table.
    pub flows_v4: u32,
    /// Size of the IPv6 flow table.
    pub flows_v6: u32,
    /// Silence after which a flow that one side has closed is forgotten.
    pub half_closed_timeout: Option<&'static str>,
    /// New flows per second and CPU from which on they leave no state; 0 is never.
    pub flood_syns: Option<u32>,
    /// SYNs per second and CPU from which on they are answered with cookies.
    pub shield_syns: Option<u32>,
}

impl Default for DatapathPlan {
    fn default() -> Self {
        Self {
            interfaces: None,
            mode: "native",
            flows_v4: 16_384,
            flows_v6: 16_384,
            half_closed_timeout: None,
            flood_syns: None,
            shield_syns: None,
        }
    }
}

/// `[[service]]`. What is `None` is left to the agent's default.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// The VIP.
    pub vip: String,
    /// The VIP's port.
    pub port: u16,
    /// The brokers' kind.
    pub preset: Option<&'static str>,
    /// How new flows are steered.
    pub policy: &'static str,
    /// Age at which telemetry is not used any more.
    pub stale_after: Option<&'static str>,
    /// Most new connections per second.
    pub max_connection_rate: Option<&'static str>,
    /// Most live connections.
    pub max_connections: Option<u32>,
    /// Most new connections per second while brokers raise an alarm of their cluster.
    pub alarm_rate: Option<&'static str>,
    /// Plain connects that one connection costs a broker.
    pub handshake_cost: Option<u32>,
    /// What becomes of SYNs over a budget.
    pub over_budget: Option<&'static str>,
    /// Time in which budgets rise after an outage.
    pub ramp: Option<&'static str>,
    /// When probes are no longer believed.
    pub panic: Option<&'static str>,
    /// Backends that must be ready before the service opens.
    pub min_ready: Option<u32>,
    /// `[service.discovery]`.
    pub discovery: Option<DiscoveryPlan>,
    /// `[service.ejection]`.
    pub ejection: Option<EjectionPlan>,
    /// What becomes of the flows of a backend that is down.
    pub when_down: Option<&'static str>,
    /// After what time.
    pub down_grace: Option<&'static str>,
    /// Probing.
    pub health: HealthPlan,
    /// `[service.telemetry]`, where it is not the preset's.
    pub telemetry: Option<TelemetryPlan>,
    /// `[[service.backend]]`.
    pub backend: Vec<BackendPlan>,
}

/// `[service.health]`: quick, so that tests need not wait.
#[derive(Clone, Debug, Serialize)]
pub struct HealthPlan {
    /// What is asked; without it what the preset says.
    pub kind: Option<&'static str>,
    /// The port that is probed, when it is not the broker's.
    pub port: Option<u16>,
    /// The version of its protocol.
    pub version: Option<&'static str>,
    /// Path of the WebSocket that it is spoken in.
    pub websocket: Option<&'static str>,
    /// As whom it is asked.
    pub username: Option<&'static str>,
    /// File with the password.
    pub password_file: Option<String>,
    /// `[service.health.tls]`.
    pub tls: Option<TlsPlan>,
    /// Time from one probe to the next.
    pub interval: &'static str,
    /// Time for an answer.
    pub timeout: &'static str,
    /// Successes in a row to come up.
    pub rise: u32,
    /// Failures in a row to go down.
    pub fall: u32,
}

impl Default for HealthPlan {
    fn default() -> Self {
        Self {
            kind: None,
            port: None,
            version: None,
            websocket: None,
            username: None,
            password_file: None,
            tls: None,
            interval: "300ms",
            timeout: "300ms",
            rise: 1,
            fall: 2,
        }
    }
}

/// What is encrypted, and who is believed.
#[derive(Clone, Debug, Serialize)]
pub struct TlsPlan {
    /// File with the authorities' certificates.
    pub ca_file: String,
    /// Name that the certificate must be for.
    pub server_name: Option<String>,
}

/// `[service.discovery]`.
#[derive(Clone, Debug, Serialize)]
pub struct DiscoveryPlan {
    /// Where backends are found.
    pub kind: &'static str,
    /// The files.
    pub files: Vec<String>,
    /// Time from one look to the next.
    pub refresh: &'static str,
    /// How long one that vanished is drained before it leaves.
    pub hold_down: &'static str,
}

/// `[service.ejection]`.
#[derive(Clone, Debug, Serialize)]
pub struct EjectionPlan {
    /// Whether backends are ejected.
    pub enabled: bool,
}

/// `[service.telemetry]` and `[service.backend.telemetry]`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TelemetryPlan {
    /// What is read.
    pub source: Option<&'static str>,
    /// Time from one reading to the next.
    pub interval: Option<&'static str>,
    /// Time for one reading.
    pub timeout: Option<&'static str>,
    /// The port that it is read from.
    pub port: Option<u16>,
    /// Which metrics mean what.
    pub metrics: Option<BTreeMap<&'static str, &'static str>>,
    /// The control group on this machine that the broker runs in.
    pub cgroup: Option<String>,
    /// As whom it is read.
    pub username: Option<&'static str>,
    /// File with the password.
    pub password_file: Option<String>,
    /// The whole URL of a page.
    pub url: Option<String>,
}

/// `[[service.backend]]`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BackendPlan {
    /// Its name.
    pub name: String,
    /// Address and port.
    pub address: String,
    /// Relative capacity.
    pub weight: Option<u32>,
    /// Cores it can use.
    pub cores: Option<f64>,
    /// Most live connections.
    pub max_connections: Option<u32>,
    /// Most plain connects per second.
    pub max_connection_rate: Option<&'static str>,
    /// Its priority group.
    pub priority: Option<u8>,
    /// Only when no other takes new flows.
    pub standby: bool,
    /// Takes no new flows.
    pub drain: bool,
    /// What is different from the service's telemetry.
    pub telemetry: Option<TelemetryPlan>,
}

impl Plan {
    /// One IPv4 service on the VIP with all hosts as backends of weight 100, probed by TCP connects.
    #[must_use]
    pub fn tcp(lab: &Lab, policy: &'static str) -> Self {
        Self { service: vec![ServicePlan::v4(lab, policy)], ..Self::default() }
    }

    /// The file without the fixture's own business.
    ///
    /// # Errors
    /// It cannot be written as TOML.
    pub fn text(&self) -> Result<String> {
        toml::to_string(self).context("failed to write a configuration")
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, to: &Path, agent: &AgentPlan) -> Result<()> {
        #[derive(Serialize)]
        struct File<'a> {
            agent: &'a AgentPlan,
            #[serde(flatten)]
            plan: &'a Plan,
        }
        let text = toml::to_string(&File { agent, plan: self }).context("failed to write a configuration")?;
        std::fs::write(to, text).with_context(|| format!("failed to write {}", to.display()))
    }
}

/// `[agent]`: the fixture's own business.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AgentPlan {
    pub(crate) socket: String,
    pub(crate) pins: String,
    pub(crate) metrics: String,
    pub(crate) log: &'static str,
    pub(crate) tick: &'static str,
    pub(crate) history: Option<String>,
}

impl ServicePlan {
    /// A service on the VIP's IPv4 address.
    #[must_use]
    pub fn v4(lab: &Lab, policy: &'static str) -> Self {
        let backend = lab.brokers.iter().map(|host| BackendPlan::new(host, host.socket4())).collect();
        Self::new("tcp4", Lab::VIP4, policy, backend)
    }

    /// A service on the VIP's IPv6 address.
    #[must_use]
    pub fn v6(lab: &Lab, policy: &'static str) -> Self {
        let backend = lab.brokers.iter().map(|host| BackendPlan::new(host, host.socket6())).collect();
        Self::new("tcp6", Lab::VIP6, policy, backend)
    }

    /// A service of Mosquitto brokers on the VIP's IPv4 address, with the preset, and with the CPU of each broker's own
    /// control group, read once per `interval`.
    #[must_use]
    pub fn mosquitto(
        lab: &Lab,
        name: &str,
        policy: &'static str,
        brokers: &[Broker<'_>],
        interval: &'static str,
    ) -> Self {
        let mut service = Self::v4(lab, policy);
        name.clone_into(&mut service.name);
        service.preset = Some("mosquitto");
        service.health =
            HealthPlan { interval: "500ms", timeout: "500ms", rise: 1, fall: 3, ..HealthPlan::default() };
        service.read_groups(brokers, interval);
        service
    }

    /// Has the CPU and descriptors of each broker's own control group read, once per `interval`.
    pub fn read_groups(&mut self, brokers: &[Broker<'_>], interval: &'static str) {
        self.telemetry = Some(TelemetryPlan { interval: Some(interval), ..TelemetryPlan::default() });
        for (backend, broker) in self.backend.iter_mut().zip(brokers) {
            let cgroup = Some(broker.group().counter_directory().display().to_string());
            backend.telemetry = Some(TelemetryPlan { cgroup, ..TelemetryPlan::default() });
        }
    }

    fn new(name: &str, vip: std::net::SocketAddr, policy: &'static str, backend: Vec<BackendPlan>) -> Self {
        Self {
            name: name.to_owned(),
            vip: vip.ip().to_string(),
            port: vip.port(),
            policy,
            backend,
            ..Self::default()
        }
    }
}

impl BackendPlan {
    fn new(host: &Host, address: std::net::SocketAddr) -> Self {
        Self { name: host.name.clone(), address: address.to_string(), ..Self::default() }
    }
}
