//! What telemetry says of one backend at one time, and which readings are believed.

use core::fmt;

use crate::Moment;

mod refusal;

pub use refusal::Refusal;
pub(crate) use refusal::is_cores;

/// One reading of one backend. Fields that a source cannot tell are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When the reading describes the broker: the time of the request for a pull, of arrival for a push.
    pub taken: Moment,
    /// Utilisation of what the broker can use, 0.0 to 1.0: one core for a single-threaded broker, its quota in a
    /// cgroup, the host otherwise.
    pub utilisation: Option<f64>,
    /// Cores that `utilisation` 1.0 stands for, 0.001 to 100,000.
    pub cores: Option<f64>,
    /// Client connections the broker counts, the agent's own taken off.
    pub connections: Option<u64>,
    /// Messages received since the broker started. May go back to zero when it restarts.
    pub messages: Option<u64>,
    /// Nodes that this broker believes its cluster to have, itself among them.
    pub cluster_members: Option<u64>,
    /// The name that the broker itself has for its node, which no other node has.
    pub node: Option<String>,
    /// Exhaustible resources.
    pub resources: Vec<ResourceUse>,
    /// Names of alarms that are raised, with their scope.
    pub alarms: Vec<(String, Scope)>,
    /// The broker itself asks for no new connections.
    pub draining: bool,
}

/// Whom an alarm concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This broker alone.
    Node,
    /// The whole cluster: ejecting the node that reports it would eject all.
    Cluster,
}

/// A resource that, once used up, harms the connections a broker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Memory against its limit.
    Memory,
    /// File descriptors against their limit.
    Descriptors,
    /// Disk against its limit.
    Disk,
    /// Connections against the broker's own limit.
    Connections,
}

/// How far one resource is used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResourceUse {
    /// Which one.
    pub resource: Resource,
    /// 0.0 (free) to 1.0 (used up), as a share of the limit.
    pub used: f64,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
            Self::Disk => "disk",
            Self::Connections => "connections",
        })
    }
}
