//! What the controller is told.

use balancer_common::abi::BackendId;

use crate::{Model, Sample};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The desired state changed. Backends keep what was learnt about them by id.
    Model(Model),
    /// A probe ended.
    Probe {
        /// The backend.
        backend: BackendId,
        /// How it ended.
        result: ProbeResult,
    },
    /// Telemetry arrived.
    Sample {
        /// The backend.
        backend: BackendId,
        /// The reading.
        sample: Sample,
    },
    /// The program's own counters were read.
    Counts(Vec<(BackendId, Counts)>),
    /// The operator drains a backend, or ends it.
    Drain {
        /// The backend.
        backend: BackendId,
        /// Whether it takes no new flows.
        drain: bool,
    },
    /// The operator overrides a configured weight; `None` ends the override.
    Weight {
        /// The backend.
        backend: BackendId,
        /// 1 to 1000.
        weight: Option<u32>,
    },
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The broker answered in its own protocol.
    Up,
    /// It did not; the reason is for people.
    Down(String),
    /// The broker asks for no new connections, but serves those it has.
    Draining(String),
}

/// The program's counters of one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live connections.
    pub live: u64,
    /// Flows opened since the maps were made.
    pub opened: u64,
    /// SYNs steered.
    pub syns: u64,
    /// SYNs the backend answered with a RST.
    pub refused: u64,
}
