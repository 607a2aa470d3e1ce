//! The kernel side as the agent sees it. Nothing else in the agent knows of aya or netlink.
//!
//! - `announcements`: what the kernel announces of interfaces, routes and neighbours.
//! - [`cookies`]: whether SYNs can be answered with cookies.
//! - [`datapath`]: loading, attaching, pinning and adopting the program.
//! - [`maps`]: typed handles to its maps.
//! - [`sweep`]: forgetting flows and keeping counts honest.
//! - [`net`]: interfaces, routes and neighbours.
//! - [`nexthop`]: the next hop of every backend.

pub(crate) mod announcements;
pub mod cookies;
pub mod datapath;
pub mod device;
mod error;
#[cfg(test)]
pub(crate) mod live;
mod lock;
pub mod maps;
pub mod net;
pub mod nexthop;
mod notice;
mod object;
mod pins;
mod records;
pub mod sweep;
mod sys;
pub mod upgrade;
mod wanted;

pub use datapath::{
    Attachment, Datapath, Detached, Opened, Options, PinState, detach, pin_state, plan, stranger, try_program,
};
pub use error::Error;
pub use maps::{
    ClosingList, Counters, FlowKey, FlowTable, Flows, Layout, MapSource, Maps, Steering, TableKey, TableUsage,
};
pub use nexthop::{Discovered, HopEvent, Targets, Watcher, discover};
pub use notice::Notice;
pub use object::Object;
pub use pins::{Difference, Mismatch};
pub use upgrade::Plan;
pub use wanted::Sizes;
use wanted::Wanted;

pub(crate) use sys::{allow_descriptors, interface_index, is_bpffs};

/// Nanoseconds of the clock that budgets are counted by.
#[must_use]
pub fn nanos() -> u64 {
    sys::monotonic_nanos()
}

/// The data path's clock, as the program reads it.
#[must_use]
pub fn clock() -> u32 {
    balancer_common::abi::clock_from_nanos(sys::monotonic_nanos())
}
