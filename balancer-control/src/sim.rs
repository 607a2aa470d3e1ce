//! The simulator: the controller of the agent and the decision of the program, against brokers and clients that are
//! made up, and beside rivals that are given the same telemetry.
//!
//! Deterministic: a case, a policy and a seed give one outcome. There is no clock; a run takes as long as it takes.
//!
//! ```
//! use balancer_control::sim::{SteererName, catalogue, run};
//!
//! let mut case = catalogue().swap_remove(0);
//! (case.clients.number, case.until) = (2000.0, 180.0);
//! assert_eq!(run(&case, SteererName::Adaptive, 1), run(&case, SteererName::Adaptive, 1));
//! ```
//!
//! What is modelled:
//!
//! - A broker's processor is fluid. Clients ask for work, and so does the cluster; handshakes wait in one queue and get
//!   what messages leave, at least a quarter. A client gives up after 10 s and tries again a second or three later; what
//!   it has given up is worked on all the same.
//! - A gateway counts a flow from its SYN until 10 s after its end, probes every 2 s, reads telemetry at its own times and
//!   ticks every second. Several gateways share clients evenly and know nothing of each other.
//! - A reading is the mean utilisation since the reading before, with noise, at most 1.0, and arrives late.
//!
//! What is not: loss of packets, memory limits, fan-out of messages, pauses of garbage collection, clients whose loads
//! rise and fall together, or change.

mod adaptive;
mod broker;
mod case;
mod catalogue;
mod gateway;
mod measure;
mod plant;
mod random;
mod rivals;
mod steer;
mod suite;

pub use case::{BrokerSpec, Case, Clients, Event, Mix, Telemetry};
pub use catalogue::catalogue;
pub use measure::{Outcome, mean, quantile};
pub use plant::run;
pub use steer::SteererName;
pub use suite::random_case;
