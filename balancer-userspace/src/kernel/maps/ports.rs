//! The tables by port: which ports are ours, and who listens there.

use std::net::SocketAddr;

use balancer_common::abi::{Endpoint, PortRoles, PortServices, ServiceId, names};

use super::MapSource;
use super::source::NamedArray;
use crate::kernel::Error;

/// What the tables are to say.
#[derive(Clone)]
pub(super) struct PortTables {
    roles: Box<PortRoles>,
    /// IPv4's and IPv6's.
    services: [Box<PortServices>; 2],
}

impl PortTables {
    pub(super) fn empty() -> Self {
        let services = || Box::new(PortServices::EMPTY);
        Self { roles: Box::new(PortRoles::EMPTY), services: [services(), services()] }
    }

    /// Adds what is at an address.
    pub(super) fn add(&mut self, address: SocketAddr, endpoint: &Endpoint) {
        let port = address.port();
        self.roles.add(port, endpoint.role);
        if endpoint.is_service() {
            self.services[PortServices::index(&address) as usize].add(port, endpoint.service);
        }
    }
}

/// The maps `PORTS` and `PORT_SERVICES`.
pub(super) struct PortMaps {
    roles: NamedArray<PortRoles>,
    services: NamedArray<PortServices>,
}

impl PortMaps {
    pub(super) fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        Ok(Self {
            roles: NamedArray::open(source, names::PORTS)?,
            services: NamedArray::open(source, names::PORT_SERVICES)?,
        })
    }

    /// Leaves what is true now and will be when the maps say what is `wanted`, provided that services stay where they are.
    pub(super) fn narrow(
        &mut self,
        wanted: &PortTables,
        stays: impl Fn(ServiceId) -> bool,
    ) -> Result<(), Error> {
        let mut kept = wanted.clone();
        kept.roles.keep(&*self.roles.boxed(0)?);
        for (index, services) in (0..).zip(&mut kept.services) {
            services.keep(&*self.services.boxed(index)?, &stays);
        }
        self.put(&kept)
    }

    /// Makes the maps say what is `wanted`. What does so already is not written.
    pub(super) fn put(&mut self, wanted: &PortTables) -> Result<(), Error> {
        if self.roles.boxed(0)? != wanted.roles {
            self.roles.set(0, &wanted.roles)?;
        }
        for (index, services) in (0..).zip(&wanted.services) {
            if self.services.boxed(index)? != *services {
                self.services.set(index, services)?;
            }
        }
        Ok(())
    }
}
