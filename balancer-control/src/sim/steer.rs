//! Who chooses a broker for a new flow: the product, and what it is compared with.
//!
//! All of them are told the same: the inputs of the controller. The oracle alone looks at the brokers themselves.

use super::adaptive::Product;
use super::broker::Broker;
use super::case::Case;
use super::random::Random;
use super::rivals::{Rival, Rule};
use crate::{Input, Moment, Policy};

/// What only the oracle sees.
pub(crate) struct Truth<'a>(pub(crate) &'a [Broker]);

/// Chooses a broker for a new flow.
pub(crate) trait Steer {
    /// Takes note of what happened.
    fn handle(&mut self, input: Input, now: Moment);

    /// Decides anew.
    fn tick(&mut self, now: Moment);

    /// The broker of a new flow; `None` when nobody takes it. `live` are the flows that the gateway counts.
    fn choose(&mut self, live: &[u64], truth: &Truth<'_>, random: &mut Random) -> Option<usize>;
}

/// A policy by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SteererName {
    /// Each in turn.
    RoundRobin,
    /// By hash of the flow.
    Hash,
    /// Fewest live connections of all.
    LeastConn,
    /// Fewest live connections over configured weight of all.
    WeightedLeastConn,
    /// At random, in proportion to 100 - CPU %.
    WeightedCpu,
    /// Lowest reported CPU of all.
    LeastCpu,
    /// Lower reported CPU of two drawn at random.
    TwoChoicesCpu,
    /// At random, in proportion to messages per second over CPU, as gRPC's weighted round robin.
    GrpcWeights,
    /// At random, in proportion to what is missing to a common level.
    WaterFill,
    /// The product's default policy.
    Adaptive,
    /// Lowest true load of all, the new client's own included.
    Oracle,
}

impl SteererName {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 11] = [
        Self::RoundRobin,
        Self::Hash,
        Self::LeastConn,
        Self::WeightedLeastConn,
        Self::WeightedCpu,
        Self::LeastCpu,
        Self::TwoChoicesCpu,
        Self::GrpcWeights,
        Self::WaterFill,
        Self::Adaptive,
        Self::Oracle,
    ];

    /// As in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Hash => "hash",
            Self::LeastConn => "least-conn",
            Self::WeightedLeastConn => "weighted-least-conn",
            Self::WeightedCpu => "weighted-cpu",
            Self::LeastCpu => "least-cpu",
            Self::TwoChoicesCpu => "p2c-cpu",
            Self::GrpcWeights => "grpc-weights",
            Self::WaterFill => "water-fill",
            Self::Adaptive => "adaptive",
            Self::Oracle => "oracle",
        }
    }

    /// The product's policy; that of rivals does not matter.
    pub(crate) const fn policy(self) -> Policy {
        Policy::Adaptive
    }

    pub(crate) fn make(self, case: &Case) -> Box<dyn Steer> {
        let rule = match self {
            Self::Adaptive => return Box::new(Product::new(case)),
            Self::RoundRobin => Rule::RoundRobin,
            Self::Hash => Rule::Hash,
            Self::LeastConn => Rule::LeastConn { weighted: false },
            Self::WeightedLeastConn => Rule::LeastConn { weighted: true },
            Self::WeightedCpu => Rule::WeightedCpu,
            Self::LeastCpu => Rule::LeastCpu,
            Self::TwoChoicesCpu => Rule::TwoChoicesCpu,
            Self::GrpcWeights => Rule::GrpcWeights,
            Self::WaterFill => Rule::WaterFill,
            Self::Oracle => Rule::Oracle,
        };
        Box::new(Rival::new(rule, case))
    }
}
