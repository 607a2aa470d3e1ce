//! What the controller asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use balancer_common::abi::{BackendId, BackendPace, Draw, Pace, Ring, ScoreTable, ServiceId};

/// One change of the maps. The lower half applies commands in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Replaces the scores of all backends.
    Scores(Arc<ScoreTable>),
    /// Replaces the ring of one service.
    Ring {
        /// The service.
        service: ServiceId,
        /// Its new ring.
        ring: Box<Ring>,
    },
    /// Replaces how one service draws candidates.
    Service {
        /// The service.
        service: ServiceId,
        /// How it draws.
        steering: ServiceSteering,
    },
    /// Replaces the budgets of new connections of all services and backends.
    Paces(Paces),
}

/// How fast new connections are admitted. Services and backends without an entry have no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paces {
    /// Services.
    pub services: BTreeMap<ServiceId, ServiceLimits>,
    /// Backends.
    pub backends: BTreeMap<BackendId, BackendPace>,
}

/// The controller's part of [`balancer_common::abi::ServicePace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// The budget, in connections of the service.
    pub pace: Pace,
    /// Most live connections, at least 1.
    pub cap: Option<u32>,
    /// Whether a SYN that finds no budget is answered with a RST.
    pub refuse: bool,
}

/// The controller's part of [`balancer_common::abi::Service`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSteering {
    /// Where candidates come from.
    pub draw: Draw,
    /// How many, 1 to 4.
    pub draws: u8,
    /// Whether packets of unknown flows are adopted.
    pub adopt: bool,
    /// Standby backends, at most 16.
    pub standby: Vec<BackendId>,
}
