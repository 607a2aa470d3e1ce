//! Which addresses and ports are ours.

use core::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use super::{BackendId, ServiceId};

/// An IPv4 address and TCP port, both in network order.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint4 {
    /// Address.
    pub addr: [u8; 4],
    /// Port.
    pub port: [u8; 2],
    /// Keeps the size a multiple of eight.
    pub reserved: [u8; 2],
}

impl From<SocketAddrV4> for Endpoint4 {
    fn from(addr: SocketAddrV4) -> Self {
        Self { addr: addr.ip().octets(), port: addr.port().to_be_bytes(), reserved: [0; 2] }
    }
}

/// An IPv6 address and TCP port, both in network order.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint6 {
    /// Address.
    pub addr: [u8; 16],
    /// Port.
    pub port: [u8; 2],
    /// Keeps the size a multiple of eight.
    pub reserved: [u8; 6],
}

impl From<SocketAddrV6> for Endpoint6 {
    fn from(addr: SocketAddrV6) -> Self {
        Self { addr: addr.ip().octets(), port: addr.port().to_be_bytes(), reserved: [0; 6] }
    }
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

/// Value of the endpoint maps: whose an address and port are.
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

    /// Whether packets to it are from clients.
    #[must_use]
    pub const fn is_service(&self) -> bool {
        self.role == Role::Service as u8
    }
}

/// The address, IPv4 in the first four bytes.
#[must_use]
pub const fn octets(addr: SocketAddr) -> [u8; 16] {
    match addr {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        SocketAddr::V6(v6) => v6.ip().octets(),
    }
}

/// Roles by TCP port, so that traffic that is not ours needs no look-up of its endpoints.
///
/// The index is the port as it is on the wire, read low byte first: the verifier of kernels before 6.13 loses the
/// bounds of a number whose bytes are swapped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRoles([u8; 65_536]);

impl PortRoles {
    /// Some service listens on this port.
    pub const SERVICE: u8 = Role::Service as u8;
    /// Some backend sends from this port.
    pub const BACKEND: u8 = Role::Backend as u8;
    /// No port is ours.
    pub const EMPTY: Self = Self([0; 65_536]);

    /// Whether a port, network order, has a role.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, port: [u8; 2], role: u8) -> bool {
        self.0[u16::from_le_bytes(port) as usize] & role != 0
    }

    /// Gives a port, host order, a role.
    pub const fn add(&mut self, port: u16, role: u8) {
        self.0[u16::from_le_bytes(port.to_be_bytes()) as usize] |= role;
    }

    /// Keeps only the roles that `other` has too.
    pub fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(role, other)| *role &= other);
    }
}

/// The service that listens on each TCP port of an address family, or whose backends send from it, where there is one
/// only. Whether a packet is for it is then seen in its [`super::Service`], and whether it is from its backend in the flow
/// and its [`super::Backend`], which costs less than a look-up of the endpoint. All zero names nobody.
///
/// Indexed as [`PortRoles`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortServices([u16; 65_536]);

impl PortServices {
    /// No port is named.
    pub const EMPTY: Self = Self([Self::NOBODY; 65_536]);
    /// No service, or none that is told.
    const NOBODY: u16 = 0;
    /// Several services. No service has the id that would be this number.
    const SEVERAL: u16 = u16::MAX;

    /// The only service of a port, network order.
    #[inline(always)]
    #[must_use]
    pub const fn of(&self, port: [u8; 2]) -> Option<ServiceId> {
        match self.0[u16::from_le_bytes(port) as usize] {
            Self::NOBODY | Self::SEVERAL => None,
            number => Some(ServiceId(number - 1)),
        }
    }

    /// Notes that a service has a port, host order.
    pub const fn add(&mut self, port: u16, service: ServiceId) {
        let entry = &mut self.0[u16::from_le_bytes(port.to_be_bytes()) as usize];
        let number = service.0.saturating_add(1);
        *entry = if *entry == Self::NOBODY || *entry == number { number } else { Self::SEVERAL };
    }

    /// Index of the map's entry for the family of an address.
    #[must_use]
    pub const fn index(addr: &SocketAddr) -> u32 {
        addr.is_ipv6() as u32
    }

    /// Keeps only what `other` says too, of services that stay where they are: what is true all through a change.
    pub fn keep(&mut self, other: &Self, stays: impl Fn(ServiceId) -> bool) {
        for (number, other) in self.0.iter_mut().zip(&other.0) {
            let is_gone = |number: u16| {
                !matches!(number, Self::NOBODY | Self::SEVERAL) && !stays(ServiceId(number - 1))
            };
            if number != other || is_gone(*number) {
                *number = Self::NOBODY;
            }
        }
    }
}

const _: () = assert!(size_of::<Endpoint4>() == 8);
const _: () = assert!(size_of::<Endpoint6>() == 24);
const _: () = assert!(size_of::<Endpoint>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: [u8; 2] = 1883_u16.to_be_bytes();

    fn services(services: &[u16]) -> PortServices {
        let mut all = PortServices::EMPTY;
        services.iter().for_each(|id| all.add(1883, ServiceId(*id)));
        all
    }

    #[test]
    fn a_port_names_the_service_that_has_it_alone() {
        assert_eq!(services(&[]).of(PORT), None);
        assert_eq!(services(&[7, 7]).of(PORT), Some(ServiceId(7)));
        assert_eq!(services(&[0]).of(PORT), Some(ServiceId(0)));
        assert_eq!(services(&[7]).of(PORT), Some(ServiceId(7)));
        assert_eq!(services(&[7]).of(8883_u16.to_be_bytes()), None);
    }

    #[test]
    fn a_port_of_several_services_names_none() {
        assert_eq!(services(&[7, 8]).of(PORT), None);
        assert_eq!(services(&[7, 8, 9]).of(PORT), None);
        assert_eq!(services(&[7, 8, 7]).of(PORT), None);
        // Its number would be that of several.
        assert_eq!(services(&[u16::MAX - 1]).of(PORT), None);
        assert_eq!(services(&[u16::MAX]).of(PORT), None);
    }

    #[test]
    fn what_changes_names_nobody_meanwhile() {
        let during = |before: &[u16], after: &[u16]| {
            let mut kept = services(after);
            kept.keep(&services(before), |service| service != ServiceId(6));
            kept.of(PORT)
        };
        assert_eq!(during(&[7], &[7]), Some(ServiceId(7)));
        assert_eq!(during(&[6], &[6]), None, "it gets another address");
        for (before, after) in
            [(&[7][..], &[8][..]), (&[], &[7]), (&[7], &[]), (&[7], &[7, 8]), (&[7, 8], &[7])]
        {
            assert_eq!(during(before, after), None, "{before:?} {after:?}");
        }
    }
}
