//! What the controller knows, for people and metrics.

use balancer_common::abi::{BackendId, ServiceId};

use crate::{Moment, Policy, Sample};

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Services in the order of the model.
    pub services: Vec<ServiceSnapshot>,
}

/// One service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSnapshot {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: Policy,
    /// Candidates drawn per new flow.
    pub draws: u8,
    /// Set while fewer of its backends are up than the panic threshold, so that what probes say is set aside.
    pub panic: Option<PanicSnapshot>,
    /// Set while brokers raise an alarm of their whole cluster.
    pub alarm: Option<AlarmSnapshot>,
    /// Most new connections per second that the service is sent; `None` is no limit.
    pub pace: Option<u32>,
    /// The last priority group that new flows are steered to.
    pub open_to: u8,
    /// Its budget, in connections of the service.
    pub budget: Option<BudgetSnapshot>,
    /// Most live connections.
    pub cap: Option<u32>,
    /// When its ring was last rebuilt; `None` before the first tick.
    pub ring_built: Option<Moment>,
    /// Age at which telemetry is not used any more.
    pub stale_after: core::time::Duration,
    /// Gateways that share the service, this one included.
    pub gateways: u32,
    /// Cost of one connection as utilisation of a backend of mean capacity.
    pub cost: f64,
    /// What holds of the service as a whole.
    pub conditions: Vec<Condition>,
    /// How many times the ring has changed.
    pub ring_changes: u64,
    /// The last change of the ring.
    pub ring_change: Option<RingChange>,
    /// Its backends in the order of the model.
    pub backends: Vec<BackendSnapshot>,
}

/// A change of a ring.
#[derive(Clone, Debug, PartialEq)]
pub struct RingChange {
    /// When.
    pub at: Moment,
    /// Why, in words.
    pub why: String,
    /// Whether it follows telemetry by rule, as under `weighted-cpu` with every reading.
    pub routine: bool,
    /// Slots that have another backend than before.
    pub moved: usize,
    /// Slots of the ring.
    pub slots: usize,
    /// Backends by name, with their share before and after, 0.0 to 1.0.
    pub shares: Vec<(String, f64, f64)>,
}

/// Something besides its state that holds of a backend or a service and bears on where new flows go.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Its name for programs, in `kebab-case`.
    pub word: &'static str,
    /// What it is, in words, each number with its unit.
    pub reason: String,
    /// Since when, where the controller keeps that.
    pub since: Option<Moment>,
    /// Whether it alone keeps new flows away.
    pub closes: bool,
}

/// A service of which too few backends are up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanicSnapshot {
    /// Since when.
    pub since: Moment,
    /// Backends that are up by their probes and not ejected.
    pub up: usize,
    /// Out of so many, standbys and drained ones not counted.
    pub of: usize,
}

/// An alarm of a whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmSnapshot {
    /// Since when.
    pub since: Moment,
    /// Names of what is raised.
    pub names: Vec<String>,
}

/// A budget of new connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetSnapshot {
    /// New connections per second that are admitted now.
    pub rate: f64,
    /// New connections per second when the ramp after an outage is over.
    pub full: f64,
}

/// Whether a backend takes new flows, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// Not probed successfully yet.
    Starting,
    /// In rotation.
    Up,
    /// Its probes fail.
    Down,
    /// No new flows, existing ones continue.
    Draining,
    /// Draining, and its last flow has ended.
    Drained,
    /// An exhaustible resource is nearly used up.
    Exhausted,
    /// SYNs steered to it fail.
    Ejected,
}

/// One backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendSnapshot {
    /// Its id.
    pub id: BackendId,
    /// Its name.
    pub name: String,
    /// Whether it takes new flows.
    pub state: BackendState,
    /// Why it is in that state and since when, in words.
    pub reason: String,
    /// Since when.
    pub since: Moment,
    /// Whether it is on trial after an ejection: open, and the last choice of every draw.
    pub trial: bool,
    /// How often it was ejected.
    pub ejections: u64,
    /// Its priority group.
    pub priority: u8,
    /// Whether its priority group waits: it is asked only when nobody else takes a flow.
    pub waiting: bool,
    /// Whether it is a standby.
    pub standby: bool,
    /// Whether it was removed from the configuration and waits for its last flow.
    pub leaving: bool,
    /// Whether the operator drains it.
    pub drained_by_operator: bool,
    /// The weight in force.
    pub weight: u32,
    /// Whether the operator overrides the configured weight.
    pub weight_overridden: bool,
    /// Capacity relative to the mean of the service, as known or learnt, 0.1 to 10.0; 1.0 where the policy does not
    /// look at load.
    pub capacity: f64,
    /// Whether telemetry has taught the capacity, and it is not what weights or cores say.
    pub capacity_learnt: bool,
    /// Share of the service's flows that its weight in force stands for, 0.0 to 1.0; zero for a standby.
    pub weight_share: f64,
    /// Whether it takes new flows: what state, cap and every condition add up to.
    pub open: bool,
    /// What holds of it besides its state.
    pub conditions: Vec<Condition>,
    /// Most live connections.
    pub cap: Option<u32>,
    /// Its budget, in plain connects.
    pub budget: Option<BudgetSnapshot>,
    /// Live connections.
    pub live: u64,
    /// Share of the ring, 0.0 to 1.0.
    pub ring_share: f64,
    /// The score that new flows are steered by. Of `adaptive`, predicted utilisation: 0.0 is idle, 1.0 is full. Of
    /// `least-conn`, live connections over weight. Of the others, zero.
    pub score: f64,
    /// Filtered utilisation from telemetry, when it is in use.
    pub utilisation: Option<f64>,
    /// Predicted cost of one more connection, in the unit of `score`.
    pub cost: f64,
    /// The score at `counted` connections: `score` is `base` plus `cost` for each connection beyond those.
    pub base: f64,
    /// Connections that `base` contains.
    pub counted: u64,
    /// Whether the level is frozen because clients are connecting in a storm, whose handshakes would be taken for load.
    pub frozen: bool,
    /// How the score came about.
    pub basis: Basis,
    /// The last accepted reading.
    pub sample: Option<Sample>,
    /// Why the last reading was refused, if it was.
    pub refused: Option<String>,
}

/// What a score rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Telemetry, compensated for what was opened since.
    Level,
    /// Connections counted by the program, because telemetry was never seen, is stale or is saturated.
    Count,
    /// The policy does not look at load.
    Fixed,
}
