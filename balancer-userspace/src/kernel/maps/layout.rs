//! The services and backends that the maps shall hold, and what that means for each map.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use aya::Pod;
use balancer_common::abi::{
    BackendId, Endpoint, Endpoint4, Endpoint6, MAX_STANDBY, Service, ServiceFlags, ServiceId, octets,
};
use balancer_control::ServiceSteering;

use super::ports::PortTables;
use super::source::NamedHash;
use crate::kernel::Error;

/// The services and backends that the maps shall hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Services: where clients connect to, and how their flows are steered.
    pub services: BTreeMap<ServiceId, (SocketAddr, ServiceSteering)>,
    /// Backends: where they listen, and the service they belong to. Those that leave stay here until their last
    /// flow has ended. Their services must be in `services`.
    pub backends: BTreeMap<BackendId, (SocketAddr, ServiceId)>,
}

impl Layout {
    pub(super) fn vip(&self, service: ServiceId) -> Result<SocketAddr, Error> {
        self.services.get(&service).map(|(vip, _)| *vip).ok_or(Error::NoService { service })
    }
}

/// An address as the maps have it.
pub(super) const fn bytes(address: SocketAddr) -> ([u8; 16], [u8; 2]) {
    (octets(address), address.port().to_be_bytes())
}

pub(super) fn with_steering(service: Service, steering: &ServiceSteering) -> Service {
    let mut standby = [BackendId::NONE; MAX_STANDBY];
    let used = steering.standby.len().min(standby.len());
    standby[..used].copy_from_slice(&steering.standby[..used]);
    Service {
        draw: steering.draw as u8,
        draws: steering.draws,
        flags: if steering.adopt { ServiceFlags::ADOPT } else { 0 },
        n_standby: used as u8,
        standby,
        ..service
    }
}

/// What [`with_steering`] has put into a service.
pub(super) fn steering_of(service: &Service) -> ServiceSteering {
    let used = usize::from(service.n_standby).min(MAX_STANDBY);
    ServiceSteering {
        draw: service.draw(),
        draws: service.draws,
        adopt: service.flags & ServiceFlags::ADOPT != 0,
        standby: service.standby[..used].to_vec(),
    }
}

/// The endpoint maps and the port tables of a layout.
pub(super) struct Endpoints {
    pub(super) v4: Vec<(Endpoint4, Endpoint)>,
    pub(super) v6: Vec<(Endpoint6, Endpoint)>,
    pub(super) ports: PortTables,
}

impl Endpoints {
    pub(super) fn of(layout: &Layout) -> Result<Self, Error> {
        let mut all = Self { v4: Vec::new(), v6: Vec::new(), ports: PortTables::empty() };
        for (&id, &(address, service)) in &layout.backends {
            // Its service must be there before anything is written.
            layout.vip(service)?;
            all.add(address, Endpoint::backend(service, id));
        }
        for (&id, &(address, _)) in &layout.services {
            all.add(address, Endpoint::service(id));
        }
        Ok(all)
    }

    fn add(&mut self, address: SocketAddr, endpoint: Endpoint) {
        self.ports.add(address, &endpoint);
        match address {
            SocketAddr::V4(v4) => self.v4.push((v4.into(), endpoint)),
            SocketAddr::V6(v6) => self.v6.push((v6.into(), endpoint)),
        }
    }
}

pub(super) fn drop_endpoints<K: Pod + PartialEq>(
    map: &mut NamedHash<K, Endpoint>,
    wanted: &[(K, Endpoint)],
) -> Result<(), Error> {
    for (key, _) in map.entries()? {
        if !wanted.iter().any(|(other, _)| *other == key) {
            map.remove(&key)?;
        }
    }
    Ok(())
}

pub(super) fn add_endpoints<K: Pod + PartialEq>(
    map: &mut NamedHash<K, Endpoint>,
    wanted: &[(K, Endpoint)],
) -> Result<(), Error> {
    let present = map.entries()?;
    for (key, endpoint) in wanted {
        if !present.contains(&(*key, *endpoint)) {
            map.insert(key, endpoint)?;
        }
    }
    Ok(())
}
