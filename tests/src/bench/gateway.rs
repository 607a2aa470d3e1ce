//! The gateway beside what else could stand in its place: real clients and servers in the namespace lab, the balancer,
//! two proxies, the kernel's own address translation and plain routing in turn.
//!
//! A figure is the median of rounds. In each round every rival has its turn, each time in another order, so that what
//! disturbs the machine disturbs all of them. Everything shares the machine's CPUs, so ratios count.

mod churn;
mod forward;
mod idle;
mod machine;
mod metric;
mod mqtt;
mod report;
mod rival;
mod run;
mod web;

pub use metric::{Metric, Part};
pub use report::Report;
pub use rival::Rival;
pub(super) use run::background;
pub use run::{Plan, run};
