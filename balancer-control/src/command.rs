//! What the controller asks for.

use balancer_common::abi::{BackendId, Draw, Ring, ScoreTable, ServiceId};

/// One change of the maps. The lower half applies commands in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Replaces the scores of all backends.
    Scores(Box<ScoreTable>),
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
