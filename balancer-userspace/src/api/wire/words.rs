//! Words for the enums of the wire, and where they come from.

use balancer_control::{Policy as ControlPolicy, snapshot};

use super::{BackendState, Basis, FlowState, Policy, XdpMode};

/// A rate with its unit, in three digits: `50/s`, `1.67/s`, `0.0167/s`.
#[must_use]
pub fn per_second(rate: f64) -> String {
    let digits = (2.0 - rate.abs().log10().floor()).clamp(0.0, 9.0);
    let unit = 10_f64.powf(digits);
    format!("{}/s", (rate * unit).round() / unit)
}

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

#[cfg(test)]
mod tests {
    use super::per_second;

    #[test]
    fn rates_have_three_digits() {
        let rates = [0.0, 1.0 / 60.0, 100.0 / 60.0, 9.5, 10.0, 16.0 + 2.0 / 3.0, 200.4, 1e6];
        let told = ["0/s", "0.0167/s", "1.67/s", "9.5/s", "10/s", "16.7/s", "200/s", "1000000/s"];
        assert_eq!(rates.map(per_second), told);
    }
}
