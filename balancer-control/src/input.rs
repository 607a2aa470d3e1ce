//! What the controller is told.

use balancer_common::abi::{BackendId, Ring, ScoreTable, ServiceId};

use crate::{Model, Sample};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The desired state changed. Backends keep what was learnt about them by id.
    Model(Model),
    /// The maps were found filled by an earlier agent. Given once, after the first [`Input::Model`] and before the
    /// first tick: backends that were in rotation stay in rotation until their probes fail, those that were out
    /// of a resource stay closed until telemetry speaks, and rings stay as they are as long as they fit the model, so that
    /// a restart of the agent refuses no flow and moves none.
    ///
    /// Drains and weights of the operator are not in the maps; the agent repeats them as [`Input::Drain`] and
    /// [`Input::Weight`].
    Adopt {
        /// The active half of the scores.
        scores: Box<ScoreTable>,
        /// The active half of each ring.
        rings: Vec<(ServiceId, Box<Ring>)>,
    },
    /// A probe ended.
    Probe {
        /// The backend.
        backend: BackendId,
        /// How it ended.
        result: ProbeResult,
    },
    /// Telemetry arrived. It takes effect at the next tick, against the counts known then.
    Sample {
        /// The backend.
        backend: BackendId,
        /// The reading.
        sample: Sample,
    },
    /// Nothing reads a backend's load: what telemetry said of it holds no longer.
    NoTelemetry {
        /// The backend.
        backend: BackendId,
    },
    /// A backend's load is read from another place, or by other rules, from here on. What was learnt by the earlier ones is
    /// not compared with what comes: counters go on from other numbers.
    OtherTelemetry {
        /// The backend.
        backend: BackendId,
    },
    /// The program's own counters were read just now. Best before every tick: what a sample is compared with is the
    /// number of connections when the sample was taken, interpolated between readings.
    Counts(Vec<(BackendId, Counts)>),
    /// The operator drains a backend, or ends it.
    Drain {
        /// The backend.
        backend: BackendId,
        /// Whether it takes no new flows.
        drain: bool,
    },
    /// Its discovery misses a backend, or has found it again.
    Missing {
        /// The backend.
        backend: BackendId,
        /// Whether it takes no new flows for that.
        missing: bool,
    },
    /// The operator overrides a configured weight; `None` ends the override.
    ///
    /// Where telemetry has taught a backend's capacity, the override scales it: half the configured weight takes the
    /// backend for half as capable.
    Weight {
        /// The backend.
        backend: BackendId,
        /// 1 to 1000; values outside are brought to the nearer end.
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
    /// What was asked for could not be told, but the broker's own port accepts connections: a check that this broker
    /// does not have, or a management port that is closed. The reason is for people.
    Unknown(String),
    /// Nobody was asked: this host lacks what asking takes. Says nothing of the broker, good or bad. The reason is for
    /// people.
    Untried(String),
}

/// The program's counters of one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live connections.
    pub live: u64,
    /// Flows opened since the maps were made.
    pub opened: u64,
    /// SYNs steered whose answers are counted.
    pub syns: u64,
    /// SYNs the backend answered with a RST.
    pub refused: u64,
    /// SYNs the backend answered with a SYN-ACK, each once however often the SYN-ACK was sent.
    pub answered: u64,
}
