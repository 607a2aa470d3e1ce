//! Backends.

use core::net::SocketAddr;

use super::{Hop, ServiceId, endpoint::octets};
use crate::packet::checksum::Delta;

/// Index of a backend in the maps, below [`super::MAX_BACKENDS`] - 1. One broker endpoint in one service.
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
    /// What turns the checksums of a packet to the VIP into those of one to this backend.
    pub from_vip: Delta,
    /// 1 while the id is in use. Flows of an id that is not are reset.
    pub present: u8,
    /// Whether flows of it are to be closed: [`Backend::KEEP`], [`Backend::CLOSE_LISTED`] or [`Backend::CLOSE_ALL`].
    pub closing: u8,
    /// Fills the entry to a cache line.
    pub reserved: [u8; 14],
}

impl Backend {
    /// No flow is to be closed.
    pub const KEEP: u8 = 0;
    /// The flows that `CLOSING4` and `CLOSING6` list are to be closed.
    pub const CLOSE_LISTED: u8 = 1;
    /// The backend is dead, and all its flows are to be closed.
    pub const CLOSE_ALL: u8 = 2;

    /// The backend at `addr` of a service at `vip`.
    #[must_use]
    pub const fn new(service: ServiceId, vip: SocketAddr, addr: SocketAddr, hop: Hop) -> Self {
        Self {
            hop,
            addr: octets(addr),
            port: addr.port().to_be_bytes(),
            service,
            from_vip: Delta::between(vip, addr),
            present: 1,
            closing: Self::KEEP,
            reserved: [0; 14],
        }
    }
}

const _: () = assert!(size_of::<Backend>() == 64);
