//! Words for the enums of the wire, and where they come from.

use balancer_control::{Policy as ControlPolicy, snapshot};

use super::{BackendState, Basis, FlowState, Policy, XdpMode};

impl BackendState {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Starting, Self::Up, Self::Down, Self::Draining, Self::Drained, Self::Exhausted, Self::Ejected];

    /// The word in JSON, tables and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Exhausted => "exhausted",
            Self::Ejected => "ejected",
        }
    }
}

impl XdpMode {
    /// The word in JSON, tables and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl Policy {
    /// The word in JSON and tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::LeastConn => "least-conn",
            Self::WeightedCpu => "weighted-cpu",
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
            Self::Maglev => "maglev",
        }
    }
}

impl Basis {
    /// The word in JSON and tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Count => "count",
            Self::Fixed => "fixed",
        }
    }

    /// The one that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Level, Self::Count, Self::Fixed].into_iter().find(|basis| basis.word() == word)
    }
}

impl FlowState {
    /// The word in JSON and tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

impl From<ControlPolicy> for Policy {
    fn from(policy: ControlPolicy) -> Self {
        match policy {
            ControlPolicy::Adaptive => Self::Adaptive,
            ControlPolicy::LeastConn => Self::LeastConn,
            ControlPolicy::WeightedCpu => Self::WeightedCpu,
            ControlPolicy::RoundRobin => Self::RoundRobin,
            ControlPolicy::Random => Self::Random,
            ControlPolicy::Maglev => Self::Maglev,
        }
    }
}

impl From<snapshot::BackendState> for BackendState {
    fn from(state: snapshot::BackendState) -> Self {
        match state {
            snapshot::BackendState::Starting => Self::Starting,
            snapshot::BackendState::Up => Self::Up,
            snapshot::BackendState::Down => Self::Down,
            snapshot::BackendState::Draining => Self::Draining,
            snapshot::BackendState::Drained => Self::Drained,
            snapshot::BackendState::Exhausted => Self::Exhausted,
            snapshot::BackendState::Ejected => Self::Ejected,
        }
    }
}

impl From<snapshot::Basis> for Basis {
    fn from(basis: snapshot::Basis) -> Self {
        match basis {
            snapshot::Basis::Level => Self::Level,
            snapshot::Basis::Count => Self::Count,
            snapshot::Basis::Fixed => Self::Fixed,
        }
    }
}
