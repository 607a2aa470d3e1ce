//! Typed handles to the maps, by the names of [`balancer_common::abi::names`].
//!
//! There are four of them, because several tasks use them, and each can be moved to its own thread:
//! [`Steering`] is what the lower half writes, [`Flows`] is what the sweeper walks, [`Counters`] is what anybody reads,
//! [`ClosingList`] is what closing runs write.
//! All are views of the same kernel maps.

mod closing;
mod counters;
mod flow_table;
mod flows;
mod half_open;
mod layout;
mod paces;
mod ports;
mod source;
mod steering;
mod table;
mod table_use;

pub use closing::ClosingList;
pub use counters::Counters;
pub use flow_table::{FlowTable, FlowWriter};
pub use flows::{FlowKey, Flows};
pub use layout::Layout;
pub(crate) use source::Devices;
pub use source::MapSource;
pub use steering::Steering;
pub use table::{Entry, Table, TableKey};
pub use table_use::TableUsage;

use super::Error;

/// All handles.
pub struct Maps {
    /// What steers packets. Written by the lower half alone.
    pub steering: Steering,
    /// Flow tables and the agent's own side of the counts. Written by the sweeper alone.
    pub flows: Flows,
    /// What the program counts. Read only.
    pub counters: Counters,
    /// Flows that are to be closed.
    pub closing: ClosingList,
}

impl Maps {
    /// Opens every map of `source`.
    ///
    /// # Errors
    ///
    /// When a map is missing or has another layout than this build's.
    pub fn open(source: &impl MapSource) -> Result<Self, Error> {
        Ok(Self {
            steering: Steering::open(source)?,
            flows: Flows::open(source)?,
            counters: Counters::open(source)?,
            closing: ClosingList::open(source)?,
        })
    }
}
