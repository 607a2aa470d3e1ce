//! Which id a service or backend has in the maps.
//!
//! Flows refer to backends by id, so an id stays with its address for as long as any flow may carry it: what leaves the
//! configuration is kept, drained, until its last flow has ended. An agent that starts takes the ids from the maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use balancer_common::abi::{BackendId, Endpoint, MAX_BACKENDS, ServiceId};
use balancer_control::{BackendSpec, Model, Policy, Protection, ServiceSpec};

use crate::config::{Config, seed};

/// Ids in use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Registry {
    services: BTreeMap<SocketAddr, Known>,
    backends: BTreeMap<(ServiceId, SocketAddr), Entry>,
    /// Where the search for a free backend id begins: ids are used in turn, so that one is not used again at once.
    next: u16,
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    id: ServiceId,
    /// The last name it had in a configuration.
    name: String,
    /// Whether it is in the configuration, and stays although it has no backend.
    configured: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    id: BackendId,
    /// The last name it had in a configuration.
    name: String,
    leaving: bool,
    /// Whether its address is that of a backend of another service by now. Flows that have ended may still carry its id.
    displaced: bool,
}

impl Entry {
    const fn new(id: BackendId, name: String, leaving: bool) -> Self {
        Self { id, name, leaving, displaced: false }
    }
}

/// Why a configuration cannot be given ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RegistryError {
    /// The maps hold no more services.
    #[error(
        "there is room for {limit} services, and those that were removed keep theirs until their last flow has ended; \
         wait for that, or set datapath.services higher and restart the agent, which carries all flows over"
    )]
    Services {
        /// How many fit.
        limit: u32,
    },
    /// The maps hold no more backends.
    #[error(
        "there is room for {} backends, those included that were removed and still have flows; wait until those have \
         ended, or use fewer",
        MAX_BACKENDS - 1
    )]
    Backends,
    /// Replies of a backend could not be told apart.
    #[error(
        "backend {address} has live flows of service {vip}, and cannot serve two: leave that service as it is, or take the \
         backend out of the configuration and add it again when those flows have ended (`balancer backend list`); \
         `balancer detach` ends all flows"
    )]
    Busy {
        /// The backend.
        address: SocketAddr,
        /// The service whose flows it has.
        vip: SocketAddr,
    },
}

impl Registry {
    /// The ids of maps that an earlier agent has filled. A backend whose service is not there is about to begin or has ended,
    /// and its agent was killed between the two: it has no flows.
    pub(super) fn from_maps(endpoints: &[(SocketAddr, Endpoint)]) -> Self {
        let mut registry = Self::default();
        let (services, backends): (Vec<_>, Vec<_>) =
            endpoints.iter().copied().partition(|(_, endpoint)| endpoint.is_service());
        for (vip, endpoint) in services {
            let name = vip.to_string();
            registry.services.insert(vip, Known { id: endpoint.service, name, configured: false });
        }
        let known: BTreeSet<ServiceId> = registry.services.values().map(|known| known.id).collect();
        for (address, endpoint) in backends {
            registry.next = registry.next.max(endpoint.backend.0 + 1);
            if known.contains(&endpoint.service) {
                let entry = Entry::new(endpoint.backend, address.to_string(), true);
                registry.backends.insert((endpoint.service, address), entry);
            }
        }
        registry
    }

    /// The ids for a configuration: known ones stay, the rest are leaving. `self` is not changed when it fails.
    pub(super) fn follow(
        &self,
        config: &Config,
        limit: u32,
        has_flows: impl Fn(BackendId) -> bool,
    ) -> Result<Self, RegistryError> {
        let mut next = self.clone();
        next.backends.values_mut().for_each(|entry| entry.leaving = true);
        next.services.values_mut().for_each(|known| known.configured = false);
        for service in &config.services {
            let id = next.service(service.vip, &service.name, limit)?;
            for backend in &service.backends {
                let entry = next.backend(id, backend.address)?;
                entry.name.clone_from(&backend.name);
                (entry.leaving, entry.displaced) = (false, false);
            }
        }
        next.give_addresses_up(has_flows)?;
        next.give_names_up();
        next.forget_empty();
        Ok(next)
    }

    /// A name is that of who is configured under it: one that is leaving goes by its address then.
    fn give_names_up(&mut self) {
        let configured = self.services.values().filter(|known| known.configured);
        let taken: BTreeSet<String> = configured.map(|known| known.name.clone()).collect();
        for (vip, known) in &mut self.services {
            if !known.configured && taken.contains(&known.name) {
                known.name = vip.to_string();
            }
        }
        let mut taken: BTreeSet<(ServiceId, String)> = BTreeSet::new();
        for ((service, _), entry) in self.backends.iter().filter(|(_, entry)| !entry.leaving) {
            taken.insert((*service, entry.name.clone()));
        }
        for ((service, address), entry) in &mut self.backends {
            if entry.leaving && taken.contains(&(*service, entry.name.clone())) {
                entry.name = address.to_string();
            }
        }
    }

    fn service(&mut self, vip: SocketAddr, name: &str, limit: u32) -> Result<ServiceId, RegistryError> {
        let used: BTreeSet<u16> = self.services.values().map(|known| known.id.0).collect();
        let free = (0..limit.min(u32::from(u16::MAX)) as u16).find(|id| !used.contains(id));
        let id = self.service_id(vip).or(free.map(ServiceId)).ok_or(RegistryError::Services { limit })?;
        self.services.insert(vip, Known { id, name: name.to_owned(), configured: true });
        Ok(id)
    }

    fn backend(&mut self, service: ServiceId, address: SocketAddr) -> Result<&mut Entry, RegistryError> {
        let free = || {
            let used: BTreeSet<u16> = self.backends.values().map(|entry| entry.id.0).collect();
            // The last id is nobody's, see `ScoreTable::get`.
            let all = MAX_BACKENDS as u16 - 1;
            (0..all).map(|step| (self.next % all + step) % all).find(|id| !used.contains(id))
        };
        if !self.backends.contains_key(&(service, address)) {
            let id = free().ok_or(RegistryError::Backends)?;
            self.next = id + 1;
            let entry = Entry::new(BackendId(id), String::new(), false);
            self.backends.insert((service, address), entry);
        }
        Ok(self.backends.get_mut(&(service, address)).expect("inserted above"))
    }

    /// By its address alone a reply is known to be of a service. One that is leaving keeps it while it has live flows, and
    /// nobody else gets it until then.
    fn give_addresses_up(&mut self, has_flows: impl Fn(BackendId) -> bool) -> Result<(), RegistryError> {
        let configured = self.backends.iter().filter(|(_, entry)| !entry.leaving);
        let configured: BTreeSet<SocketAddr> = configured.map(|((_, address), _)| *address).collect();
        for ((service, address), entry) in &mut self.backends {
            if !entry.leaving || !configured.contains(address) {
                continue;
            }
            if has_flows(entry.id) {
                let vip = self.services.iter().find(|(_, known)| known.id == *service).map(|(vip, _)| *vip);
                let vip = vip.expect("a backend's service is registered");
                return Err(RegistryError::Busy { address: *address, vip });
            }
            entry.displaced = true;
        }
        Ok(())
    }

    /// The VIP of a service that is registered, and its name.
    fn identity(&self, id: ServiceId) -> (SocketAddr, &str) {
        let found = self.services.iter().find(|(_, known)| known.id == id);
        found.map(|(vip, known)| (*vip, known.name.as_str())).expect("a backend's service is registered")
    }

    /// The id of a service.
    pub(super) fn service_id(&self, vip: SocketAddr) -> Option<ServiceId> {
        self.services.get(&vip).map(|known| known.id)
    }

    /// The id of a backend.
    pub(super) fn backend_id(&self, service: ServiceId, address: SocketAddr) -> Option<BackendId> {
        self.backends.get(&(service, address)).map(|entry| entry.id)
    }

    /// Every service: VIP and id.
    pub(super) fn services(&self) -> impl Iterator<Item = (SocketAddr, ServiceId)> {
        self.services.iter().map(|(vip, known)| (*vip, known.id))
    }

    /// The names of all services, those included that were removed and have flows.
    pub(super) fn service_names(&self) -> impl Iterator<Item = (ServiceId, &str)> {
        self.services.values().map(|known| (known.id, known.name.as_str()))
    }

    /// Every backend: service, address, id, name, and whether it is leaving.
    pub(super) fn backends(&self) -> impl Iterator<Item = (ServiceId, SocketAddr, BackendId, &str, bool)> {
        self.backends.iter().map(|((service, address), entry)| {
            (*service, *address, entry.id, entry.name.as_str(), entry.leaving)
        })
    }

    /// Every backend by id with its address and service, as replies tell them apart.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (BackendId, (SocketAddr, ServiceId))> {
        let holds = self.backends.iter().filter(|(_, entry)| !entry.displaced);
        holds.map(|((service, address), entry)| (entry.id, (*address, *service)))
    }

    /// Whom `before` did not know.
    pub(super) fn added(&self, before: &Self) -> (Vec<ServiceId>, Vec<BackendId>) {
        let services = self.services.iter().filter(|(vip, _)| !before.services.contains_key(vip));
        let backends = self.backends.iter().filter(|(key, _)| !before.backends.contains_key(key));
        (services.map(|(_, known)| known.id).collect(), backends.map(|(_, entry)| entry.id).collect())
    }

    /// Backends that are leaving.
    pub(super) fn leaving(&self) -> impl Iterator<Item = BackendId> {
        self.backends().filter(|(.., leaving)| *leaving).map(|(_, _, id, ..)| id)
    }

    /// Forgets backends whose last flow has ended, and services that have none left.
    pub(super) fn forget(&mut self, gone: &BTreeSet<BackendId>) {
        self.backends.retain(|_, entry| !(entry.leaving && gone.contains(&entry.id)));
        self.forget_empty();
    }

    /// Forgets services that are not configured and have no backend.
    fn forget_empty(&mut self) {
        let used: BTreeSet<ServiceId> = self.backends.keys().map(|(service, _)| *service).collect();
        self.services.retain(|_, known| used.contains(&known.id) || known.configured);
    }

    /// The controller's view: the configuration, and after it what is leaving.
    pub(super) fn model(&self, config: &Config) -> Model {
        let id = |vip| self.service_id(vip).expect("follow registered every service");
        let mut model = config.model(
            |service| id(service.vip),
            |service, backend| {
                self.backend_id(id(service.vip), backend.address).expect("follow registered every backend")
            },
        );
        for (service, address, backend, name, _) in self.backends().filter(|(.., leaving)| *leaving) {
            let position = model.services.iter().position(|spec| spec.id == service);
            let position = position.unwrap_or_else(|| {
                model.services.push(self.removed_service(service));
                model.services.len() - 1
            });
            model.services[position].backends.push(self.removed_backend(service, backend, name, address));
        }
        model
    }

    fn removed_service(&self, id: ServiceId) -> ServiceSpec {
        ServiceSpec {
            id,
            name: self.identity(id).1.to_owned(),
            policy: Policy::Maglev,
            draws: None,
            gateways: 1,
            rise: 1,
            fall: 1,
            stale_after: core::time::Duration::from_secs(12),
            protection: Protection::default(),
            admission: balancer_control::Admission::default(),
            backends: Vec::new(),
        }
    }

    /// It is the same to the controller as when it was configured: its seed says so.
    fn removed_backend(
        &self,
        service: ServiceId,
        id: BackendId,
        name: &str,
        address: SocketAddr,
    ) -> BackendSpec {
        let (vip, _) = self.identity(service);
        BackendSpec {
            id,
            name: name.to_owned(),
            seed: seed(vip, address),
            weight: 1,
            cores: None,
            priority: 0,
            standby: false,
            cap: None,
            budget: None,
            probed: false,
            leaving: true,
        }
    }
}

#[cfg(test)]
mod tests;
