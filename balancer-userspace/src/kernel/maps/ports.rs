//! The tables by port: which ports are ours, who listens there, and whose backends send from there.

use std::net::SocketAddr;

use balancer_common::abi::{Endpoint, PortRoles, PortServices, ServiceId, names};

use super::MapSource;
use super::source::NamedArray;
use crate::kernel::Error;

/// What the tables are to say.
#[derive(Clone)]
pub(super) struct PortTables {
    roles: Box<PortRoles>,
    services: Families,
    backends: Families,
}

/// IPv4's and IPv6's.
type Families = [Box<PortServices>; 2];

impl PortTables {
    pub(super) fn empty() -> Self {
        let nobody = || [Box::new(PortServices::EMPTY), Box::new(PortServices::EMPTY)];
        Self { roles: Box::new(PortRoles::EMPTY), services: nobody(), backends: nobody() }
    }

    /// Adds what is at an address.
    pub(super) fn add(&mut self, address: SocketAddr, endpoint: &Endpoint) {
        let port = address.port();
        self.roles.add(port, endpoint.role);
        let of = if endpoint.is_service() { &mut self.services } else { &mut self.backends };
        of[PortServices::index(&address) as usize].add(port, endpoint.service);
    }
}

/// The maps `PORTS`, `PORT_SERVICES` and `PORT_BACKENDS`.
pub(super) struct PortMaps {
    roles: NamedArray<PortRoles>,
    services: NamedArray<PortServices>,
    backends: NamedArray<PortServices>,
}

impl PortMaps {
    pub(super) fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        Ok(Self {
            roles: NamedArray::open(source, names::PORTS)?,
            services: NamedArray::open(source, names::PORT_SERVICES)?,
            backends: NamedArray::open(source, names::PORT_BACKENDS)?,
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
        for (map, kept) in [(&self.services, &mut kept.services), (&self.backends, &mut kept.backends)] {
            for (index, services) in (0..).zip(kept) {
                services.keep(&*map.boxed(index)?, &stays);
            }
        }
        self.put(&kept)
    }

    /// Makes the maps say what is `wanted`. What does so already is not written.
    pub(super) fn put(&mut self, wanted: &PortTables) -> Result<(), Error> {
        if self.roles.boxed(0)? != wanted.roles {
            self.roles.set(0, &wanted.roles)?;
        }
        for (map, wanted) in [(&mut self.services, &wanted.services), (&mut self.backends, &wanted.backends)]
        {
            for (index, services) in (0..).zip(wanted) {
                if map.boxed(index)? != *services {
                    map.set(index, services)?;
                }
            }
        }
        Ok(())
    }
}
