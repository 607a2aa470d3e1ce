//! What the agent costs: rings, ticks, sweeps, scrapes, starts and memory, of the agent as it is installed.
//!
//! The agent runs in the lab's gateway with one service, whose brokers are pages and ports that answer. Flows are put
//! into its pinned tables as the program would. What ticks and sweeps took, the agent says itself.

mod agent;
mod brokers;
mod figure;
mod floor;
mod rings;
mod run;

pub use figure::{Figure, Report};
pub use run::{Part, Plan, run};
