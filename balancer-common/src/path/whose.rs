//! Whose an address and port are.

use crate::{
    abi::{Endpoint, PortRoles, ServiceId},
    packet::Family,
    tables::FamilyTables,
};

/// The service that listens there.
#[inline(always)]
pub(super) fn service<F: Family, T: FamilyTables<F>>(
    tables: &T,
    (addr, port): (F::Addr, [u8; 2]),
) -> Option<ServiceId> {
    if let Some(id) = tables.port_service(port) {
        let service = tables.service(id)?;
        return (service.port == port && F::is_in(service.addr, addr)).then_some(id);
    }
    if !tables.roles()?.has(port, PortRoles::SERVICE) {
        return None;
    }
    let endpoint = tables.endpoint(addr, port)?;
    endpoint.is_service().then_some(endpoint.service)
}

/// The service whose backend it may be that sends from there. Whether it is one the flow tells, and its backend.
#[inline(always)]
pub(super) fn sender<F: Family, T: FamilyTables<F>>(
    tables: &T,
    from: (F::Addr, [u8; 2]),
) -> Option<ServiceId> {
    tables.port_backends(from.1).or_else(|| backend(tables, from).map(|endpoint| endpoint.service))
}

/// The backend that sends from there, and its service.
#[inline(always)]
pub(super) fn backend<F: Family, T: FamilyTables<F>>(
    tables: &T,
    (addr, port): (F::Addr, [u8; 2]),
) -> Option<&Endpoint> {
    if !tables.roles()?.has(port, PortRoles::BACKEND) {
        return None;
    }
    tables.endpoint(addr, port).filter(|endpoint| !endpoint.is_service())
}
