//! The next hop of every backend, from the kernel's own routes and neighbours, kept up to date.
//!
//! Routes, interfaces and neighbours announce their changes; each change that may matter has all backends looked up
//! again, which costs a few microseconds each. A periodic look-up finds what no announcement told, and keeps neighbours
//! fresh that only the program talks to: the kernel sees none of its packets and would forget them.

pub mod discover;
mod resolve;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use balancer_common::abi::{BackendId, Hop};

pub use discover::{Discovered, discover};
pub use resolve::{Problem, Resolution, resolve};
pub use watch::Watcher;

/// What to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Addresses of the backends.
    pub backends: BTreeMap<BackendId, IpAddr>,
    /// Indices of the interfaces that packets may be redirected to.
    pub devices: BTreeSet<u32>,
}

/// The next hop of a backend changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopEvent {
    /// The backend.
    pub backend: BackendId,
    /// Its hop; [`Hop::UNKNOWN`] when there is none that the program could use by itself. It then asks the kernel for
    /// each packet.
    pub hop: Hop,
    /// Why it is unknown.
    pub problem: Option<Problem>,
}
