//! The network that the tables play in, and what a scenario configures.
//!
//! A gateway between two links. On [`CLIENTS`] are 192.0.2.0/24 and 2001:db8:1::/64, on [`SERVERS`] 198.51.100.0/24
//! and 2001:db8:2::/64; host `n` of a link has the address that ends in `n`. The gateway is host 1 of both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use balancer_common::{
    abi::{BackendPace, Draw, Hop, Score, ScoreFlags, ServicePace, Settings, VlanTag, VlanTags},
    tables::Route,
};

use super::Talk;

/// Interface index of the clients' link.
pub const CLIENTS: u32 = 100;
/// Interface index of the servers' link.
pub const SERVERS: u32 = 200;
/// Hosts of either link whose neighbour entry the gateway has.
pub(super) const NEIGHBOURS: std::ops::RangeInclusive<u8> = 10..=19;
/// A host that the gateway has no neighbour entry of.
pub(super) const STRANGER: u8 = 66;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Net {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Host `n` of the clients' link.
    #[must_use]
    pub fn client(self, n: u8, port: u16) -> SocketAddr {
        self.host([192, 0, 2, n], 1, n, port)
    }

    /// Host `n` of the servers' link.
    #[must_use]
    pub fn server(self, n: u8, port: u16) -> SocketAddr {
        self.host([198, 51, 100, n], 2, n, port)
    }

    /// The VIP of service `n`.
    #[must_use]
    pub fn vip(self, n: u8, port: u16) -> SocketAddr {
        self.host([203, 0, 113, n], 0xff, n, port)
    }

    fn host(self, v4: [u8; 4], subnet: u16, n: u8, port: u16) -> SocketAddr {
        let addr = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from(v4)),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, n.into()).into(),
        };
        SocketAddr::new(addr, port)
    }
}

/// The way to host `n` of the clients' link.
#[must_use]
pub const fn client_hop(n: u8) -> Hop {
    Hop { ifindex: CLIENTS, neighbour: [2, 0, 0, 0, 1, n], own: [2, 0, 0, 0, 1, 1], ..Hop::UNKNOWN }
}

/// The way to host `n` of the servers' link.
#[must_use]
pub const fn server_hop(n: u8) -> Hop {
    Hop { ifindex: SERVERS, neighbour: [2, 0, 0, 0, 2, n], own: [2, 0, 0, 0, 2, 1], ..Hop::UNKNOWN }
}

/// The same hop with these tags, outermost first.
#[must_use]
pub fn tagged(hop: Hop, tags: &[(u16, u16)]) -> Hop {
    let push = |vlan: VlanTags, (tpid, tci): &(u16, u16)| {
        vlan.push_inner(VlanTag { tpid: *tpid, tci: *tci }).expect("at most two tags")
    };
    Hop { vlan: tags.iter().fold(VlanTags::NONE, push), ..hop }
}

/// What the gateway's routes say.
#[must_use]
pub fn route(destination: IpAddr) -> Route {
    let (subnet, n) = match destination {
        IpAddr::V4(addr) => match addr.octets() {
            // Broadcast is the gateway's own.
            [.., 255] => (0, 0),
            [192, 0, 2, n] => (1, u64::from(n)),
            [198, 51, 100, n] => (2, u64::from(n)),
            _ => (0, 0),
        },
        IpAddr::V6(addr) => {
            let n = addr.to_bits() as u64;
            match addr.segments() {
                // The anycast address of a subnet's routers is the gateway's own.
                [0x2001, 0xdb8, 1 | 2, 0, ..] if n == 0 => (0, 0),
                [0x2001, 0xdb8, subnet @ (1 | 2), 0, ..] => (subnet, n),
                _ => (0, 0),
            }
        }
    };
    let known = u8::try_from(n).ok().filter(|n| NEIGHBOURS.contains(n));
    match (subnet, known) {
        (0, _) => Route::Local,
        _ if n == 1 => Route::Local,
        (1, Some(n)) => Route::Hop(client_hop(n)),
        (2, Some(n)) => Route::Hop(server_hop(n)),
        _ => Route::Stack,
    }
}

/// A service.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Its id.
    pub id: u16,
    /// Where it listens.
    pub vip: SocketAddr,
    /// Where candidates come from.
    pub draw: Draw,
    /// How many candidates.
    pub draws: u8,
    /// See [`balancer_common::abi::ServiceFlags`].
    pub flags: u8,
    /// Standby backends.
    pub standby: Vec<u16>,
    /// Its budget and cap.
    pub pace: ServicePace,
    /// The ring: these backends, over and over.
    pub ring: Vec<u16>,
}

/// A backend.
#[derive(Clone, Debug)]
pub struct BackendSpec {
    /// Its service.
    pub service: u16,
    /// Where the broker listens.
    pub addr: SocketAddr,
    /// The way to it.
    pub hop: Hop,
    /// Its score.
    pub score: Score,
    /// Flows that the agent took out of its live count.
    pub removed: i64,
    /// Its budget.
    pub pace: BackendPace,
    /// See [`balancer_common::abi::Backend::closing`].
    pub closing: u8,
}

/// What the agent configures.
#[derive(Clone, Debug)]
pub struct World {
    /// The family of its addresses.
    pub net: Net,
    /// Settings of the data path; version and number of services are filled in.
    pub settings: Settings,
    /// Services.
    pub services: Vec<ServiceSpec>,
    /// Backends by id; `None` is an id that is not in use.
    pub backends: Vec<Option<BackendSpec>>,
    /// Generation of scores and rings.
    pub generation: u32,
}

/// Port of the services.
pub(super) const VIP_PORT: u16 = 1883;
/// Port of the brokers.
pub(super) const BROKER_PORT: u16 = 11883;

impl World {
    /// One service with `n` backends, hosts 11 and up of the servers' link. Its ring has only backend 0, so that
    /// every new flow goes there.
    #[must_use]
    pub fn new(net: Net, n: u8) -> Self {
        let service = ServiceSpec {
            id: 0,
            vip: net.vip(1, VIP_PORT),
            draw: Draw::Hash,
            draws: 3,
            flags: 0,
            standby: Vec::new(),
            pace: ServicePace::default(),
            ring: vec![0],
        };
        let backend = |i| {
            Some(BackendSpec {
                service: 0,
                addr: net.server(11 + i, BROKER_PORT),
                hop: server_hop(11 + i),
                score: Score { flags: ScoreFlags::READY, ..Score::default() },
                removed: 0,
                pace: BackendPace::default(),
                closing: 0,
            })
        };
        let settings = Settings {
            flood_syns: 0,
            hash_key: 0x0123_4567_89ab_cdef,
            half_open_key: 0xfedc_ba98_7654_3210,
            flow_key: 0x0f1e_2d3c_4b5a_6978,
            // A matter of the maps.
            flows4_sets: 0,
            flows6_sets: 0,
            flows4_high: super::FLOWS,
            flows6_high: super::FLOWS,
            adopt_for: 3600,
            shield_mss4: 1400,
            shield_mss6: 1380,
            ..Settings::default()
        };
        Self {
            net,
            settings,
            services: vec![service],
            backends: (0..n).map(backend).collect(),
            generation: 1,
        }
    }

    /// A backend that is in use.
    ///
    /// # Panics
    /// When it is not.
    pub fn backend(&mut self, id: u16) -> &mut BackendSpec {
        self.backends[usize::from(id)].as_mut().expect("the backend is in use")
    }

    /// The conversation of host 10 of the clients' link, by way of the service, with a backend.
    ///
    /// # Panics
    /// When the backend is not in use.
    #[must_use]
    pub fn talk(&self, port: u16, backend: u16) -> Talk {
        let spec = self.backends[usize::from(backend)].as_ref().expect("the backend is in use");
        let service = self.services.iter().find(|service| service.id == spec.service);
        Talk {
            client: self.net.client(10, port),
            client_hop: client_hop(10),
            vip: service.expect("the backend's service exists").vip,
            service: spec.service,
            backend,
            server: spec.addr,
            server_hop: spec.hop,
            shape: |_| {},
        }
    }
}
