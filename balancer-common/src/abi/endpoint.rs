//! Which addresses and ports are ours.

use super::{BackendId, ServiceId};

/// An IPv4 address and TCP port, both in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint4 {
    /// Address.
    pub addr: [u8; 4],
    /// Port.
    pub port: [u8; 2],
    /// Keeps the size a multiple of eight.
    pub reserved: [u8; 2],
}

/// An IPv6 address and TCP port, both in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint6 {
    /// Address.
    pub addr: [u8; 16],
    /// Port.
    pub port: [u8; 2],
    /// Keeps the size a multiple of four.
    pub reserved: [u8; 2],
}

/// What an endpoint is to us.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A service: packets *to* it are from clients.
    Service = 1,
    /// A backend: packets *from* it are replies.
    Backend = 2,
}

/// Value of the endpoint maps.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The service that listens here, or that the backend belongs to.
    pub service: ServiceId,
    /// The backend; [`BackendId::NONE`] for a service.
    pub backend: BackendId,
    /// [`Role`] as a number.
    pub role: u8,
    /// Keeps the size a multiple of eight.
    pub reserved: [u8; 3],
}

impl Endpoint {
    /// The endpoint of a service.
    #[must_use]
    pub const fn service(service: ServiceId) -> Self {
        Self { service, backend: BackendId::NONE, role: Role::Service as u8, reserved: [0; 3] }
    }

    /// The endpoint of a backend.
    #[must_use]
    pub const fn backend(service: ServiceId, backend: BackendId) -> Self {
        Self { service, backend, role: Role::Backend as u8, reserved: [0; 3] }
    }
}

/// Roles by TCP port, so that traffic that is not ours costs two byte loads and no look-up.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRoles(pub [u8; 65_536]);

impl PortRoles {
    /// Some service listens on this port.
    pub const SERVICE: u8 = Role::Service as u8;
    /// Some backend sends from this port.
    pub const BACKEND: u8 = Role::Backend as u8;
    /// No port is ours.
    pub const EMPTY: Self = Self([0; 65_536]);
}

const _: () = assert!(size_of::<Endpoint4>() == 8);
const _: () = assert!(size_of::<Endpoint6>() == 20);
const _: () = assert!(size_of::<Endpoint>() == 8);
