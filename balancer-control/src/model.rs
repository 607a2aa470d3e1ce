//! The desired state: services and backends, as validated from the configuration.

use core::net::IpAddr;
use core::time::Duration;

use balancer_common::abi::{BackendId, ServiceId};

mod protection;

pub use protection::{EjectionSpec, Percent, Protection};

/// How the backend of a new flow is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Predicted utilisation, lowest of `draws` candidates.
    #[default]
    Adaptive,
    /// Live connections over weight, lower of two candidates.
    LeastConn,
    /// Share in proportion to 100 - CPU %, as often configured by hand; for comparison.
    WeightedCpu,
    /// Every backend in turn, by weight.
    RoundRobin,
    /// At random, by weight.
    Random,
    /// By hash of the flow alone, so that gateways without shared state agree.
    Maglev,
}

/// Everything the controller is responsible for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Services, ids unique and below the number of services that the maps hold.
    pub services: Vec<ServiceSpec>,
}

/// One service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSpec {
    /// Its index in the maps.
    pub id: ServiceId,
    /// Its name in the configuration.
    pub name: String,
    /// How new flows are steered.
    pub policy: Policy,
    /// Candidates per new flow, 1 to 4; `None` takes the policy's own number.
    pub draws: Option<u8>,
    /// Gateways that share this service behind ECMP, this one included; at least 1.
    pub gateways: u32,
    /// Successful probes in a row before a backend is in rotation.
    pub rise: u32,
    /// Failed probes in a row before it is taken out.
    pub fall: u32,
    /// Telemetry older than this is not used; counting goes on.
    pub stale_after: Duration,
    /// How the service is kept up when backends fail.
    pub protection: Protection,
    /// How fast it is given new connections, and how many.
    pub admission: Admission,
    /// Backends, ids unique over all services and below [`balancer_common::abi::MAX_BACKENDS`].
    pub backends: Vec<BackendSpec>,
}

/// How fast a service is given new connections, and how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Admission {
    /// Most new connections per second, above zero.
    pub max_rate: Option<f64>,
    /// Plain connects that one connection costs a broker, at least 1: what it is charged to the budgets of backends.
    pub handshake_cost: u32,
    /// Most live connections, at least 1.
    pub cap: Option<u32>,
    /// Whether a SYN that finds no budget is answered with a RST, and not discarded.
    pub refuse: bool,
    /// Time in which a backend that comes back into rotation gets its whole budget back, and the service after an
    /// outage of all its backends.
    pub ramp: Duration,
}

impl Default for Admission {
    fn default() -> Self {
        Self { max_rate: None, handshake_cost: 1, cap: None, refuse: false, ramp: Duration::ZERO }
    }
}

/// The budget of a broker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Most plain connects per second, above zero.
    pub rate: f64,
    /// Backends of the same address share the budget.
    pub address: IpAddr,
}

/// One backend of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendSpec {
    /// Its index in the maps.
    pub id: BackendId,
    /// Its name, unique in the service.
    pub name: String,
    /// What places it on the ring: [`crate::maglev::seed`] of bytes that are the same on every gateway, such as
    /// `mqtt/192.0.2.1:1883`. An id that comes back with another seed is another backend, and nothing
    /// learnt about the earlier one is kept.
    pub seed: u64,
    /// Capacity relative to the other backends, 1 to 1000: the prior until telemetry has taught better.
    pub weight: u32,
    /// Cores the broker can use, when known, 0.001 to 100,000. Takes precedence over `weight` and over what telemetry says.
    pub cores: Option<f64>,
    /// Its priority group: 0 takes flows first, the next group when too few of the one before do
    /// ([`Protection::takeover`]). Of no meaning for a standby.
    pub priority: u8,
    /// Used only when no other backend takes new flows. The first [`balancer_common::abi::MAX_STANDBY`] of a service
    /// are used.
    pub standby: bool,
    /// Most live connections, at least 1.
    pub cap: Option<u32>,
    /// Most new connections.
    pub budget: Option<Budget>,
    /// Whether probes decide if it is in rotation. Without a probe a backend is always up.
    pub probed: bool,
    /// Removed from the configuration; kept, drained, until its last flow has ended.
    pub leaving: bool,
}
