//! What the agent writes into the maps.

use balancer_common::abi::{
    ABI_VERSION, Backend, BackendId, BackendPace, Endpoint, MAX_BACKENDS, MAX_STANDBY, PortRoles,
    PortServices, RING_SLOTS, Removed, Ring, Score, ScoreTable, Service, ServiceId, ServicePace, Settings,
};

use super::{SERVICES, World};
use crate::memory::Endpoints;

/// Values of the agent's maps.
#[derive(Clone)]
pub struct Image {
    /// `SETTINGS`.
    pub settings: Settings,
    /// `PORTS`.
    pub roles: Box<PortRoles>,
    /// `PORT_SERVICES`.
    pub port_services: [Box<PortServices>; 2],
    /// `PORT_BACKENDS`.
    pub port_backends: [Box<PortServices>; 2],
    /// `ENDPOINTS4` and `ENDPOINTS6`.
    pub endpoints: Endpoints,
    /// `SERVICES`.
    pub services: Vec<Service>,
    /// `BACKENDS`.
    pub backends: Vec<Backend>,
    /// `RINGS`: both halves of each service.
    pub rings: Vec<[Box<Ring>; 2]>,
    /// `SCORES`: both halves.
    pub scores: [Box<ScoreTable>; 2],
    /// `GENERATIONS`: of the scores, then of each service's ring.
    pub generations: Vec<u32>,
    /// `REMOVED`.
    pub removed: Vec<Removed>,
    /// `BACKEND_PACES`.
    pub backend_paces: Vec<BackendPace>,
    /// `SERVICE_PACES`.
    pub service_paces: Vec<ServicePace>,
}

impl Image {
    /// What the agent writes for `world`. Idle halves hold what no packet must see: empty rings, closed backends.
    #[must_use]
    pub fn new(world: &World) -> Self {
        let no_ports = || [Box::new(PortServices::EMPTY), Box::new(PortServices::EMPTY)];
        let empty = || Box::new(Ring([BackendId::NONE; RING_SLOTS]));
        let closed = || Box::new(ScoreTable([Score::default(); MAX_BACKENDS]));
        let mut image = Self {
            settings: Settings { abi_version: ABI_VERSION, services: SERVICES, ..world.settings },
            roles: Box::new(PortRoles::EMPTY),
            port_services: no_ports(),
            port_backends: no_ports(),
            endpoints: Endpoints::new(),
            services: vec![Service::default(); SERVICES as usize],
            backends: vec![Backend::default(); MAX_BACKENDS],
            rings: (0..SERVICES).map(|_| [empty(), empty()]).collect(),
            scores: [closed(), closed()],
            generations: vec![world.generation; 1 + SERVICES as usize],
            removed: vec![Removed::default(); MAX_BACKENDS],
            backend_paces: vec![BackendPace::default(); MAX_BACKENDS],
            service_paces: vec![ServicePace::default(); SERVICES as usize],
        };
        image.add_services(world);
        image.add_backends(world);
        image
    }

    /// Takes away the endpoints of services that their ports name: who looked them up would find nobody.
    pub fn spare_endpoints(&mut self) {
        let Self { endpoints, port_services, .. } = self;
        endpoints.retain(|addr, endpoint| {
            let named = port_services[PortServices::index(addr) as usize].of(addr.port().to_be_bytes());
            !(endpoint.is_service() && named == Some(endpoint.service))
        });
    }

    fn add_services(&mut self, world: &World) {
        let half = (world.generation & 1) as usize;
        for spec in &world.services {
            self.roles.add(spec.vip.port(), PortRoles::SERVICE);
            self.endpoints.insert(spec.vip, Endpoint::service(ServiceId(spec.id)));
            let Some(service) = self.services.get_mut(usize::from(spec.id)) else { continue };
            self.port_services[PortServices::index(&spec.vip) as usize]
                .add(spec.vip.port(), ServiceId(spec.id));
            *service = Service {
                addr: balancer_common::abi::octets(spec.vip),
                port: spec.vip.port().to_be_bytes(),
                draw: spec.draw as u8,
                draws: spec.draws,
                flags: spec.flags,
                n_standby: u8::try_from(spec.standby.len()).expect("few standbys"),
                standby: [BackendId::NONE; MAX_STANDBY],
                reserved: [0; 2],
            };
            for (slot, id) in service.standby.iter_mut().zip(&spec.standby) {
                *slot = BackendId(*id);
            }
            self.service_paces[usize::from(spec.id)] = spec.pace;
            if !spec.ring.is_empty() {
                let ring = &mut self.rings[usize::from(spec.id)][half].0;
                for (slot, id) in ring.iter_mut().zip(spec.ring.iter().cycle()) {
                    *slot = BackendId(*id);
                }
            }
        }
    }

    fn add_backends(&mut self, world: &World) {
        let half = (world.generation & 1) as usize;
        for (id, spec) in (0_u16..).zip(&world.backends) {
            let Some(spec) = spec else { continue };
            let service = world.services.iter().find(|service| service.id == spec.service);
            let vip = service.expect("the backend's service exists").vip;
            let service = ServiceId(spec.service);
            let index = usize::from(id);
            let backend = Backend::new(service, vip, spec.addr, spec.hop);
            self.backends[index] = Backend { closing: spec.closing, ..backend };
            self.roles.add(spec.addr.port(), PortRoles::BACKEND);
            self.port_backends[PortServices::index(&spec.addr) as usize].add(spec.addr.port(), service);
            self.endpoints.insert(spec.addr, Endpoint::backend(service, BackendId(id)));
            self.scores[half].0[index] = spec.score;
            self.removed[index] = Removed(spec.removed);
            self.backend_paces[index] = spec.pace;
        }
    }
}
