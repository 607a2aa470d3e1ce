//! Backends.

use super::{Hop, ServiceId};

/// Index of a backend in the maps, below [`super::MAX_BACKENDS`]. One broker endpoint in one service.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u16);

impl BackendId {
    /// No backend: what an empty ring slot holds.
    pub const NONE: Self = Self(u16::MAX);
}

/// One broker endpoint, as the packet path needs it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// The next hop towards the backend; unknown when the kernel has no neighbour entry.
    pub hop: Hop,
    /// IPv4 in the first four bytes, or IPv6.
    pub addr: [u8; 16],
    /// TCP port, network order.
    pub port: [u8; 2],
    /// The service it belongs to.
    pub service: ServiceId,
    /// 1 while the id is in use. Flows of an id that is not are reset.
    pub present: u8,
    /// Keeps the size a multiple of four.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<Backend>() == 48);
