//! The shield against floods of SYNs.

use serde::{Deserialize, Serialize};

/// Whether and when SYNs are answered with cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shield {
    /// SYNs per second and CPU from which on they are; 0 is never.
    pub syns: u32,
    /// Whether the kernel has SYN cookies for XDP programs.
    pub supported: bool,
}

/// What became of SYN cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookies {
    /// SYNs that were answered with one.
    pub sent: u64,
    /// Clients that have shown theirs.
    pub accepted: u64,
    /// Packets of unknown flows that could have carried one, and did not.
    pub refused: u64,
}
