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
    services: BTreeMap<SocketAddr, ServiceId>,
    /// Those of the configuration, which stay although they have no backend.
    configured: BTreeSet<ServiceId>,
    backends: BTreeMap<(ServiceId, SocketAddr), Entry>,
    /// Where the search for a free backend id begins: ids are used in turn, so that one is not used again at once.
    next: u16,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    id: BackendId,
    /// The last name it had in a configuration.
    name: String,
    leaving: bool,
}

/// Why a configuration cannot be given ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RegistryError {
    /// The maps hold no more services.
    #[error(
        "there is room for {limit} services, and those that were removed keep theirs until their last flow has ended; \
         wait for that, or set datapath.services higher, run `balancer detach`, which ends all flows, and start the agent"
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
        "backend {address} still serves flows of service {vip}, which it was removed from; wait until they have ended, \
         or close them, and reload again"
    )]
    Busy {
        /// The backend.
        address: SocketAddr,
        /// The service it is leaving.
        vip: SocketAddr,
    },
}

impl Registry {
    /// The ids of maps that an earlier agent has filled.
    pub(super) fn from_maps(endpoints: &[(SocketAddr, Endpoint)]) -> Self {
        let mut registry = Self::default();
        for (address, endpoint) in endpoints {
            if endpoint.is_service() {
                registry.services.insert(*address, endpoint.service);
            } else {
                let entry = Entry { id: endpoint.backend, name: address.to_string(), leaving: true };
                registry.backends.insert((endpoint.service, *address), entry);
                registry.next = registry.next.max(endpoint.backend.0 + 1);
            }
        }
        registry
    }

    /// The ids for a configuration: known ones stay, the rest are leaving. `self` is not changed when it fails.
    pub(super) fn follow(&self, config: &Config, limit: u32) -> Result<Self, RegistryError> {
        let mut next = self.clone();
        next.backends.values_mut().for_each(|entry| entry.leaving = true);
        next.configured.clear();
        for service in &config.services {
            let id = next.service(service.vip, limit)?;
            next.configured.insert(id);
            for backend in &service.backends {
                let entry = next.backend(id, backend.address)?;
                entry.name.clone_from(&backend.name);
                entry.leaving = false;
            }
        }
        next.check_addresses()?;
        next.give_names_up();
        Ok(next)
    }

    /// A name is that of who is configured under it: one that is leaving goes by its address then.
    fn give_names_up(&mut self) {
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

    fn service(&mut self, vip: SocketAddr, limit: u32) -> Result<ServiceId, RegistryError> {
        if let Some(id) = self.services.get(&vip) {
            return Ok(*id);
        }
        let used: BTreeSet<u16> = self.services.values().map(|id| id.0).collect();
        let free = (0..limit.min(u32::from(u16::MAX)) as u16).find(|id| !used.contains(id));
        let id = ServiceId(free.ok_or(RegistryError::Services { limit })?);
        self.services.insert(vip, id);
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
            let entry = Entry { id: BackendId(id), name: String::new(), leaving: false };
            self.backends.insert((service, address), entry);
        }
        Ok(self.backends.get_mut(&(service, address)).expect("inserted above"))
    }

    /// An address may be in one service only, those included that are leaving.
    fn check_addresses(&self) -> Result<(), RegistryError> {
        let mut seen: BTreeMap<SocketAddr, (ServiceId, bool)> = BTreeMap::new();
        for ((service, address), entry) in &self.backends {
            if let Some((other, leaving)) = seen.insert(*address, (*service, entry.leaving)) {
                let service = if leaving { other } else { *service };
                let vip = self.vip(service).expect("a backend's service is registered");
                return Err(RegistryError::Busy { address: *address, vip });
            }
        }
        Ok(())
    }

    fn vip(&self, id: ServiceId) -> Option<SocketAddr> {
        self.services.iter().find(|(_, other)| **other == id).map(|(vip, _)| *vip)
    }

    /// The id of a service.
    pub(super) fn service_id(&self, vip: SocketAddr) -> Option<ServiceId> {
        self.services.get(&vip).copied()
    }

    /// The id of a backend.
    pub(super) fn backend_id(&self, service: ServiceId, address: SocketAddr) -> Option<BackendId> {
        self.backends.get(&(service, address)).map(|entry| entry.id)
    }

    /// Every service: VIP and id.
    pub(super) fn services(&self) -> impl Iterator<Item = (SocketAddr, ServiceId)> {
        self.services.iter().map(|(vip, id)| (*vip, *id))
    }

    /// Every backend: service, address, id, name, and whether it is leaving.
    pub(super) fn backends(&self) -> impl Iterator<Item = (ServiceId, SocketAddr, BackendId, &str, bool)> {
        self.backends.iter().map(|((service, address), entry)| {
            (*service, *address, entry.id, entry.name.as_str(), entry.leaving)
        })
    }

    /// Backends that are leaving.
    pub(super) fn leaving(&self) -> impl Iterator<Item = BackendId> {
        self.backends().filter(|(.., leaving)| *leaving).map(|(_, _, id, ..)| id)
    }

    /// Forgets backends whose last flow has ended, and services that have none left.
    pub(super) fn forget(&mut self, gone: &BTreeSet<BackendId>) {
        self.backends.retain(|_, entry| !(entry.leaving && gone.contains(&entry.id)));
        let used: BTreeSet<ServiceId> = self.backends.keys().map(|(service, _)| *service).collect();
        self.services.retain(|_, id| used.contains(id) || self.configured.contains(id));
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
            name: self.vip(id).map(|vip| vip.to_string()).unwrap_or_default(),
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
        let vip = self.vip(service).expect("a backend's service is registered");
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
mod tests {
    use super::*;
    use crate::config::check;

    fn config(services: &[(&str, &[&str])]) -> Config {
        let mut text = String::new();
        for (index, (vip, backends)) in services.iter().enumerate() {
            text += &format!("[[service]]\nname = \"s{index}\"\nvip = \"{vip}\"\nport = 1883\n");
            for (index, address) in backends.iter().enumerate() {
                text += &format!("[[service.backend]]\nname = \"b{index}\"\naddress = \"{address}:1883\"\n");
            }
        }
        check(&text).unwrap().config
    }

    fn follow(registry: &Registry, services: &[(&str, &[&str])]) -> Result<Registry, RegistryError> {
        registry.follow(&config(services), 16)
    }

    fn ids(registry: &Registry) -> Vec<(u16, String, bool)> {
        registry
            .backends()
            .map(|(_, address, id, _, leaving)| (id.0, address.ip().to_string(), leaving))
            .collect()
    }

    const VIP: &str = "192.0.2.1";

    #[test]
    fn known_addresses_keep_their_ids_and_the_rest_leave() {
        let first = follow(&Registry::default(), &[(VIP, &["10.0.0.1", "10.0.0.2"])]).unwrap();
        let second = follow(&first, &[(VIP, &["10.0.0.2", "10.0.0.3"])]).unwrap();
        let expected = [(0, "10.0.0.1", true), (1, "10.0.0.2", false), (2, "10.0.0.3", false)];
        assert_eq!(ids(&second), expected.map(|(id, address, leaving)| (id, address.to_owned(), leaving)));
        let back = follow(&second, &[(VIP, &["10.0.0.1"])]).unwrap();
        assert_eq!(ids(&back)[0], (0, "10.0.0.1".to_owned(), false));
    }

    #[test]
    fn a_backend_that_leaves_keeps_its_name_until_somebody_else_has_it() {
        let names = |registry: &Registry| -> Vec<String> {
            registry.backends().map(|(_, _, _, name, _)| name.to_owned()).collect()
        };
        let first = follow(&Registry::default(), &[(VIP, &["10.0.0.1", "10.0.0.2"])]).unwrap();
        let less = follow(&first, &[(VIP, &["10.0.0.1"])]).unwrap();
        assert_eq!(names(&less), ["b0", "b1"]);
        let replaced = follow(&less, &[(VIP, &["10.0.0.1", "10.0.0.3"])]).unwrap();
        assert_eq!(names(&replaced), ["b0", "10.0.0.2:1883", "b1"]);
    }

    #[test]
    fn a_freed_id_is_not_used_again_at_once() {
        let first = follow(&Registry::default(), &[(VIP, &["10.0.0.1", "10.0.0.2"])]).unwrap();
        let mut second = follow(&first, &[(VIP, &["10.0.0.2"])]).unwrap();
        second.forget(&BTreeSet::from([BackendId(0)]));
        let third = follow(&second, &[(VIP, &["10.0.0.2", "10.0.0.9"])]).unwrap();
        assert_eq!(ids(&third), [(1, "10.0.0.2".to_owned(), false), (2, "10.0.0.9".to_owned(), false)]);
    }

    #[test]
    fn a_removed_service_stays_until_its_backends_are_forgotten() {
        let both = [(VIP, &["10.0.0.1"] as &[&str]), ("192.0.2.2", &["10.0.0.2"])];
        let first = follow(&Registry::default(), &both).unwrap();
        let mut second = follow(&first, &both[1..]).unwrap();
        let model = second.model(&config(&both[1..]));
        assert_eq!(model.services.len(), 2);
        assert!(model.services[1].backends[0].leaving);
        second.forget(&BTreeSet::from([BackendId(0)]));
        assert_eq!(second.model(&config(&both[1..])).services.len(), 1);
    }

    #[test]
    fn a_backend_stays_who_it_is_when_it_leaves_and_when_its_service_is_renamed() {
        let before = config(&[(VIP, &["10.0.0.1", "10.0.0.2"])]);
        let first = Registry::default().follow(&before, 16).unwrap();
        let mut renamed = config(&[(VIP, &["10.0.0.2"])]);
        renamed.services[0].name = "other".to_owned();
        let second = first.follow(&renamed, 16).unwrap();
        let who = |model: Model| {
            let mut who: Vec<_> = model.services[0].backends.iter().map(|b| (b.id.0, b.seed)).collect();
            who.sort_unstable();
            who
        };
        assert_eq!(who(first.model(&before)), who(second.model(&renamed)));
    }

    #[test]
    fn an_address_cannot_move_to_another_service_while_it_serves_flows() {
        let first = follow(&Registry::default(), &[(VIP, &["10.0.0.1"])]).unwrap();
        let moved = follow(&first, &[("192.0.2.2", &["10.0.0.1"])]);
        let expected = RegistryError::Busy {
            address: "10.0.0.1:1883".parse().unwrap(),
            vip: "192.0.2.1:1883".parse().unwrap(),
        };
        assert_eq!(moved, Err(expected));
    }

    #[test]
    fn ids_come_back_from_the_maps() {
        let registry = follow(&Registry::default(), &[(VIP, &["10.0.0.1", "10.0.0.2"])]).unwrap();
        let mut endpoints = Vec::new();
        for (vip, service) in registry.services() {
            endpoints.push((vip, Endpoint::service(service)));
            for (_, address, id, ..) in registry.backends() {
                endpoints.push((address, Endpoint::backend(service, id)));
            }
        }
        let restored = Registry::from_maps(&endpoints);
        let again = follow(&restored, &[(VIP, &["10.0.0.1", "10.0.0.2"])]).unwrap();
        assert_eq!(ids(&again), ids(&registry));
    }

    #[test]
    fn services_without_room_are_refused() {
        let error = Registry::default().follow(&config(&[(VIP, &["10.0.0.1"])]), 0).unwrap_err();
        assert_eq!(error, RegistryError::Services { limit: 0 });
    }
}
