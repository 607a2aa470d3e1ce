//! What steers packets: services, backends, rings and scores.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use balancer_common::abi::{
    Backend, BackendId, BackendPace, Endpoint, Endpoint4, Endpoint6, Hop, MAX_BACKENDS, Ring, Score,
    ScoreTable, Service, ServiceId, ServicePace, Settings, names,
};
use balancer_control::ServiceSteering;

use super::MapSource;
use super::layout::{Endpoints, Layout, add_endpoints, bytes, drop_endpoints, steering_of, with_steering};
use super::ports::PortMaps;
use super::source::{Devices, NamedArray, NamedHash};
use crate::kernel::{Error, sys};

/// A swap younger than this may still be seen by a packet that read the generation before it. Shorter than the agent's
/// tick, so that those do not wait.
const SETTLED: Duration = Duration::from_millis(500);

/// Writes the maps that steer packets, in an order that no packet can see half of.
///
/// One handle at a time may write.
pub struct Steering {
    settings: NamedArray<Settings>,
    ports: PortMaps,
    endpoints4: NamedHash<Endpoint4, Endpoint>,
    endpoints6: NamedHash<Endpoint6, Endpoint>,
    services: NamedArray<Service>,
    backends: NamedArray<Backend>,
    rings: NamedArray<Ring>,
    scores: NamedArray<ScoreTable>,
    generations: NamedArray<u32>,
    pub(super) backend_paces: NamedArray<BackendPace>,
    pub(super) service_paces: NamedArray<ServicePace>,
    /// Backends that may have a pace; `None` before the first were written.
    pub(super) paced: Option<BTreeSet<BackendId>>,
    devices: Devices,
    /// When each generation was last raised.
    swapped: BTreeMap<u32, Instant>,
}

impl Steering {
    /// Opens the maps of `source`.
    ///
    /// # Errors
    ///
    /// When a map is missing or has another layout than this build's.
    pub fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        Ok(Self {
            settings: NamedArray::open(source, names::SETTINGS)?,
            ports: PortMaps::open(source)?,
            endpoints4: NamedHash::open(source, names::ENDPOINTS4)?,
            endpoints6: NamedHash::open(source, names::ENDPOINTS6)?,
            services: NamedArray::open(source, names::SERVICES)?,
            backends: NamedArray::open(source, names::BACKENDS)?,
            rings: NamedArray::open(source, names::RINGS)?,
            scores: NamedArray::open(source, names::SCORES)?,
            generations: NamedArray::open(source, names::GENERATIONS)?,
            backend_paces: NamedArray::open(source, names::BACKEND_PACES)?,
            service_paces: NamedArray::open(source, names::SERVICE_PACES)?,
            paced: None,
            devices: Devices::open(source, names::DEVICES)?,
            swapped: BTreeMap::new(),
        })
    }

    /// Services that the maps have room for.
    #[must_use]
    pub fn service_limit(&self) -> u32 {
        self.services.len().min(self.rings.len() / 2).min(self.generations.len().saturating_sub(1))
    }

    /// The settings in force.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn settings(&self) -> Result<Settings, Error> {
        self.settings.get(0)
    }

    /// Changes settings. What describes the maps themselves (their version, sizes and the keys of their hashes)
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// When the map cannot be read or written.
    pub fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) -> Result<(), Error> {
        let before = self.settings()?;
        let mut after = before;
        change(&mut after);
        (after.abi_version, after.services) = (before.abi_version, before.services);
        (after.half_open_key, after.flow_key) = (before.half_open_key, before.flow_key);
        (after.flows4_sets, after.flows6_sets) = (before.flows4_sets, before.flows6_sets);
        if after == before { Ok(()) } else { self.settings.set(0, &after) }
    }

    /// Replaces the ring of a service: into the idle half, then the generation.
    ///
    /// # Errors
    ///
    /// When the service has no ring or a map cannot be written. The ring in force then stays.
    pub fn put_ring(&mut self, service: ServiceId, ring: &Ring) -> Result<(), Error> {
        self.check_service(service)?;
        let service = u32::from(service.0);
        self.swap(1 + service, |maps, half| maps.rings.set(2 * service + half, ring))
    }

    /// Replaces the scores of all backends: into the idle half, then the generation.
    ///
    /// # Errors
    ///
    /// When a map cannot be written. The scores in force then stay.
    pub fn put_scores(&mut self, scores: &ScoreTable) -> Result<(), Error> {
        self.swap(0, |maps, half| maps.scores.set(half, scores))
    }

    /// The ring in force of a service.
    ///
    /// # Errors
    ///
    /// When the service has no ring or a map cannot be read.
    pub fn ring(&self, service: ServiceId) -> Result<Box<Ring>, Error> {
        self.check_service(service)?;
        let service = u32::from(service.0);
        self.rings.boxed(2 * service + self.generations.get(1 + service)? % 2)
    }

    /// The scores in force.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn scores(&self) -> Result<Box<ScoreTable>, Error> {
        self.scores.boxed(self.generations.get(0)? % 2)
    }

    /// Changes how a service that is in the maps draws candidates.
    ///
    /// # Errors
    ///
    /// When the maps have no room for it or cannot be written.
    pub fn put_steering(&mut self, service: ServiceId, steering: &ServiceSteering) -> Result<(), Error> {
        self.check_service(service)?;
        let before = self.services.get(u32::from(service.0))?;
        let after = with_steering(before, steering);
        if after == before { Ok(()) } else { self.services.set(u32::from(service.0), &after) }
    }

    /// How a service that is in the maps draws candidates.
    ///
    /// # Errors
    ///
    /// As of [`Self::service`].
    pub fn drawing(&self, id: ServiceId) -> Result<ServiceSteering, Error> {
        self.service(id).map(|service| steering_of(&service))
    }

    /// The service as the program sees it.
    ///
    /// # Errors
    ///
    /// When the maps have no room for it or cannot be read.
    pub fn service(&self, id: ServiceId) -> Result<Service, Error> {
        self.check_service(id)?;
        self.services.get(u32::from(id.0))
    }

    /// The backend as the program sees it.
    ///
    /// # Errors
    ///
    /// When the id is out of range or the map cannot be read.
    pub fn backend(&self, id: BackendId) -> Result<Backend, Error> {
        check_backend(id)?;
        self.backends.get(u32::from(id.0))
    }

    /// Every endpoint in the maps: the address and port, and what it is.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn endpoints(&self) -> Result<Vec<(SocketAddr, Endpoint)>, Error> {
        let mut all = Vec::new();
        for (Endpoint4 { addr, port, .. }, endpoint) in self.endpoints4.entries()? {
            all.push(((addr, u16::from_be_bytes(port)).into(), endpoint));
        }
        for (Endpoint6 { addr, port, .. }, endpoint) in self.endpoints6.entries()? {
            all.push(((addr, u16::from_be_bytes(port)).into(), endpoint));
        }
        Ok(all)
    }

    /// Changes next hops. A packet sees the old hop, none, or the new one, but never a mixture: the interface index
    /// is taken away first and given back last, with a grace period after each step.
    ///
    /// Hops of ids that are not in use are ignored.
    ///
    /// # Errors
    ///
    /// When an id is out of range or the map cannot be written.
    pub fn put_hops(&mut self, hops: &[(BackendId, Hop)]) -> Result<(), Error> {
        let mut changes = Vec::new();
        for &(id, hop) in hops {
            let backend = self.backend(id)?;
            if backend.present == 1 && backend.hop != hop {
                changes.push((u32::from(id.0), backend, hop));
            }
        }
        if changes.iter().any(|(_, backend, _)| backend.hop.is_known()) {
            for (index, backend, _) in &mut changes {
                backend.hop.ifindex = 0;
                self.backends.set(*index, backend)?;
            }
            wait_for_packets();
        }
        changes.retain(|(_, _, hop)| hop.is_known());
        if changes.is_empty() {
            return Ok(());
        }
        for (index, backend, hop) in &mut changes {
            backend.hop = Hop { ifindex: 0, ..*hop };
            self.backends.set(*index, backend)?;
        }
        wait_for_packets();
        for (index, backend, hop) in &mut changes {
            backend.hop = *hop;
            self.backends.set(*index, backend)?;
        }
        Ok(())
    }

    /// Says which flows of each backend are to be closed: [`Backend::KEEP`], [`Backend::CLOSE_LISTED`] or
    /// [`Backend::CLOSE_ALL`]. Ids that are not in use are ignored.
    ///
    /// # Errors
    ///
    /// When an id is out of range, or the map cannot be read or written.
    pub fn put_closing(&mut self, changes: impl IntoIterator<Item = (BackendId, u8)>) -> Result<(), Error> {
        for (id, closing) in changes {
            let now = self.backend(id)?;
            if now.present == 1 && now.closing != closing {
                self.backends.set(u32::from(id.0), &Backend { closing, ..now })?;
            }
        }
        Ok(())
    }

    /// Sets the interfaces that packets may be redirected to.
    ///
    /// # Errors
    ///
    /// When the map cannot be read or written.
    pub fn sync_devices(&mut self, wanted: &BTreeSet<u32>) -> Result<(), Error> {
        let present: BTreeSet<u32> = self.devices.keys()?.into_iter().collect();
        present.difference(wanted).try_for_each(|&ifindex| self.devices.remove(ifindex))?;
        wanted.difference(&present).try_for_each(|&ifindex| self.devices.insert(ifindex))
    }

    /// Makes the maps hold `layout` and nothing else. What is right already is not touched, so that it can be run
    /// at any time.
    ///
    /// Removals go from the outside in (score, port, endpoint, backend), additions from the inside out (backend, service,
    /// endpoint, port). A service that is added should have its ring and scores before. The hop of a backend whose
    /// address stays the same is kept, and so is what is to be closed of it; that of another is unknown until [`Self::put_hops`].
    ///
    /// # Errors
    ///
    /// When an id is out of range or a backend's service is missing, before anything is written; or when a map cannot be read or written, and the maps
    /// then hold a state between the two that packets can use.
    pub fn sync(&mut self, layout: &Layout) -> Result<(), Error> {
        layout.services.keys().try_for_each(|&id| self.check_service(id))?;
        layout.backends.keys().try_for_each(|&id| check_backend(id))?;
        let wanted = Endpoints::of(layout)?;
        self.close_gone(layout)?;
        self.follow(layout, &wanted)
    }

    fn follow(&mut self, layout: &Layout, wanted: &Endpoints) -> Result<(), Error> {
        let staying = self.staying(layout)?;
        self.ports.narrow(&wanted.ports, |id| staying.contains(&id))?;
        drop_endpoints(&mut self.endpoints4, &wanted.v4)?;
        drop_endpoints(&mut self.endpoints6, &wanted.v6)?;
        self.sync_backends(layout)?;
        self.sync_services(layout)?;
        add_endpoints(&mut self.endpoints4, &wanted.v4)?;
        add_endpoints(&mut self.endpoints6, &wanted.v6)?;
        self.ports.put(&wanted.ports)
    }

    /// Services that listen where they are to.
    fn staying(&self, layout: &Layout) -> Result<BTreeSet<ServiceId>, Error> {
        let mut staying = BTreeSet::new();
        for (&id, (address, _)) in &layout.services {
            let now = self.service(id)?;
            if (now.addr, now.port) == bytes(*address) {
                staying.insert(id);
            }
        }
        Ok(staying)
    }

    /// Takes the scores of backends away that are about to go: what is steered to one that is not there is refused.
    fn close_gone(&mut self, layout: &Layout) -> Result<(), Error> {
        let mut scores = self.scores()?;
        let mut closes = false;
        for (id, score) in (0..).map(BackendId).zip(&mut scores.0) {
            let is_scored = *score != Score::default() && !layout.backends.contains_key(&id);
            if is_scored && self.backend(id)?.present == 1 {
                (*score, closes) = (Score::default(), true);
            }
        }
        if closes {
            self.put_scores(&scores)?;
            wait_for_packets();
        }
        Ok(())
    }

    fn sync_backends(&mut self, layout: &Layout) -> Result<(), Error> {
        for index in 0..self.backends.len().min(MAX_BACKENDS as u32) {
            let now = self.backends.get(index)?;
            let wanted = match layout.backends.get(&BackendId(index as u16)) {
                None if now.present == 0 => continue,
                None => Backend::default(),
                Some(&(address, service)) => {
                    let same = now.present == 1 && (now.addr, now.port) == bytes(address);
                    let (hop, closing) =
                        if same { (now.hop, now.closing) } else { (Hop::UNKNOWN, Backend::KEEP) };
                    Backend { closing, ..Backend::new(service, layout.vip(service)?, address, hop) }
                }
            };
            if wanted != now {
                self.backends.set(index, &wanted)?;
            }
        }
        Ok(())
    }

    fn sync_services(&mut self, layout: &Layout) -> Result<(), Error> {
        for index in 0..self.service_limit() {
            let now = self.services.get(index)?;
            let wanted = match layout.services.get(&ServiceId(index as u16)) {
                None => Service::default(),
                Some((address, steering)) => {
                    let (addr, port) = bytes(*address);
                    with_steering(Service { addr, port, ..Service::default() }, steering)
                }
            };
            if wanted != now {
                self.services.set(index, &wanted)?;
            }
        }
        Ok(())
    }

    fn swap(
        &mut self,
        index: u32,
        write: impl FnOnce(&mut Self, u32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.swapped.get(&index).is_some_and(|at| at.elapsed() < SETTLED) {
            wait_for_packets();
        }
        let next = self.generations.get(index)?.wrapping_add(1);
        write(self, next % 2)?;
        self.generations.set(index, &next)?;
        self.swapped.insert(index, Instant::now());
        Ok(())
    }

    pub(super) fn check_service(&self, id: ServiceId) -> Result<(), Error> {
        let (value, limit) = (u64::from(id.0), u64::from(self.service_limit()));
        if value < limit { Ok(()) } else { Err(Error::OutOfRange { what: "service", value, limit }) }
    }
}

pub(super) fn check_backend(id: BackendId) -> Result<(), Error> {
    let (value, limit) = (u64::from(id.0), MAX_BACKENDS as u64);
    if value < limit { Ok(()) } else { Err(Error::OutOfRange { what: "backend", value, limit }) }
}

/// Waits until no packet can hold what was just replaced.
fn wait_for_packets() {
    if sys::grace_period().is_err() {
        // Kernels with `nohz_full` CPUs refuse the barrier. No packet spends this long in the program.
        std::thread::sleep(Duration::from_millis(20));
    }
}
