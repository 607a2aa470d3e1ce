use std::net::SocketAddr;

use balancer_common::abi::{
    Backend, BackendId, Draw, Endpoint, Hop, MAX_BACKENDS, PortRoles, PortServices, RING_SLOTS, Ring, Score,
    ScoreFlags, ScoreTable, ServiceFlags, ServiceId, names,
};
use balancer_control::ServiceSteering;

use super::{Site, in_namespace};
use crate::kernel::maps::MapSource as _;
use crate::kernel::{Error, Layout};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn steering(adopt: bool) -> ServiceSteering {
    ServiceSteering { draw: Draw::Hash, draws: 3, adopt, standby: vec![BackendId(9)] }
}

fn layout() -> Layout {
    let mut layout = Layout::default();
    layout.services.insert(ServiceId(0), (address("192.0.2.1:1883"), steering(false)));
    layout.services.insert(ServiceId(1), (address("[2001:db8::1]:8883"), steering(true)));
    layout.backends.insert(BackendId(4), (address("10.0.0.4:1883"), ServiceId(0)));
    layout.backends.insert(BackendId(5), (address("10.0.0.5:21883"), ServiceId(0)));
    layout.backends.insert(BackendId(6), (address("[fd00::6]:8883"), ServiceId(1)));
    layout
}

fn roles(site: &Site, port: u16) -> u8 {
    let data = site.pin_dir.open(names::PORTS).unwrap();
    let map = aya::maps::Map::from_map_data(data).unwrap();
    let ports = aya::maps::Array::<_, PortRoles>::try_from(map).unwrap();
    let ports = ports.get(&0, 0).unwrap();
    let has = |role| if ports.has(port.to_be_bytes(), role) { role } else { 0 };
    has(PortRoles::SERVICE) | has(PortRoles::BACKEND)
}

fn port_service(site: &Site, family: u32, port: u16) -> Option<ServiceId> {
    named(site, names::PORT_SERVICES, family, port)
}

fn port_backends(site: &Site, family: u32, port: u16) -> Option<ServiceId> {
    named(site, names::PORT_BACKENDS, family, port)
}

fn named(site: &Site, table: &'static str, family: u32, port: u16) -> Option<ServiceId> {
    let data = site.pin_dir.open(table).unwrap();
    let map = aya::maps::Map::from_map_data(data).unwrap();
    let services = aya::maps::Array::<_, PortServices>::try_from(map).unwrap();
    services.get(&family, 0).unwrap().of(port.to_be_bytes())
}

fn endpoints4(site: &Site) -> Vec<Endpoint> {
    let data = site.pin_dir.open(names::ENDPOINTS4).unwrap();
    let map = aya::maps::Map::from_map_data(data).unwrap();
    let map = aya::maps::HashMap::<_, balancer_common::abi::Endpoint4, Endpoint>::try_from(map).unwrap();
    map.iter().map(|entry| entry.unwrap().1).collect()
}

#[test]
#[ignore = "needs root and BPF"]
fn a_layout_is_written_and_taken_back() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        let mut layout = layout();
        maps.sync(&layout).unwrap();
        assert_eq!(roles(&site, 1883), PortRoles::SERVICE | PortRoles::BACKEND);
        assert_eq!(roles(&site, 21883), PortRoles::BACKEND);
        assert_eq!(roles(&site, 80), 0);
        assert_eq!((port_service(&site, 0, 1883), port_service(&site, 1, 1883)), (Some(ServiceId(0)), None));
        assert_eq!((port_service(&site, 0, 8883), port_service(&site, 1, 8883)), (None, Some(ServiceId(1))));
        assert_eq!(
            (port_backends(&site, 0, 21883), port_backends(&site, 1, 21883)),
            (Some(ServiceId(0)), None)
        );
        assert_eq!(
            (port_backends(&site, 0, 8883), port_backends(&site, 1, 8883)),
            (None, Some(ServiceId(1)))
        );
        assert_eq!(endpoints4(&site).len(), 3);
        let service = maps.service(ServiceId(1)).unwrap();
        assert_eq!((service.draws, service.n_standby, service.standby[0]), (3, 1, BackendId(9)));
        assert_eq!(service.flags, ServiceFlags::ADOPT);
        let backend = maps.backend(BackendId(5)).unwrap();
        let vip = address("192.0.2.1:1883");
        let expected = Backend::new(ServiceId(0), vip, address("10.0.0.5:21883"), Hop::UNKNOWN);
        assert_eq!(backend, expected);

        layout.backends.remove(&BackendId(5));
        layout.services.remove(&ServiceId(1));
        layout.backends.remove(&BackendId(6));
        maps.sync(&layout).unwrap();
        assert_eq!(roles(&site, 1883), PortRoles::SERVICE | PortRoles::BACKEND);
        assert_eq!((roles(&site, 21883), roles(&site, 8883)), (0, 0));
        assert_eq!(port_service(&site, 1, 8883), None);
        assert_eq!((port_backends(&site, 0, 21883), port_backends(&site, 1, 8883)), (None, None));
        assert_eq!(endpoints4(&site).len(), 2);
        assert_eq!(maps.backend(BackendId(5)).unwrap().present, 0);

        maps.sync(&Layout::default()).unwrap();
        assert_eq!(roles(&site, 1883), 0);
        assert!(endpoints4(&site).is_empty());
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_port_names_the_service_that_listens_there_alone() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        let mut layout = Layout::default();
        let mut named = |services: &[(u16, &str)]| {
            layout.services =
                services.iter().map(|(id, vip)| (ServiceId(*id), (address(vip), steering(false)))).collect();
            maps.sync(&layout).unwrap();
            port_service(&site, 0, 1883)
        };
        assert_eq!(named(&[(0, "192.0.2.1:1883")]), Some(ServiceId(0)));
        assert_eq!(named(&[(0, "192.0.2.1:1883"), (1, "192.0.2.2:1883")]), None);
        assert_eq!(named(&[(1, "192.0.2.2:1883")]), Some(ServiceId(1)));
        assert_eq!(named(&[(1, "192.0.2.3:1883")]), Some(ServiceId(1)));
        assert_eq!(named(&[(1, "[2001:db8::1]:1883")]), None);
        assert_eq!(port_service(&site, 1, 1883), Some(ServiceId(1)));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_port_names_the_service_whose_backends_alone_send_from_it() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        let mut layout = layout();
        layout.services.insert(ServiceId(1), (address("192.0.2.2:1883"), steering(false)));
        layout.backends.remove(&BackendId(6));
        let mut named = |service: u16| {
            layout.backends.insert(BackendId(7), (address("10.0.0.7:1883"), ServiceId(service)));
            maps.sync(&layout).unwrap();
            port_backends(&site, 0, 1883)
        };
        assert_eq!(named(0), Some(ServiceId(0)), "two backends of one service");
        assert_eq!(named(1), None, "backends of two");
        assert_eq!(named(0), Some(ServiceId(0)), "and of one again");
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_backend_that_goes_takes_no_flow_from_before_on() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        let mut layout = layout();
        maps.sync(&layout).unwrap();
        let mut scores = Box::new(ScoreTable([Score::default(); MAX_BACKENDS]));
        // A score that comes before its backend is left alone.
        [4, 5, 7].into_iter().for_each(|id| scores.0[id].flags = ScoreFlags::READY);
        maps.put_scores(&scores).unwrap();
        maps.sync(&layout).unwrap();
        assert!(maps.scores().unwrap() == scores);
        layout.backends.remove(&BackendId(5));
        maps.sync(&layout).unwrap();
        scores.0[5] = Score::default();
        assert!(maps.scores().unwrap() == scores);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn impossible_layouts_change_nothing() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        maps.sync(&layout()).unwrap();
        let before = endpoints4(&site);

        let mut too_many = layout();
        too_many.services.insert(ServiceId(2), (address("192.0.2.1:1884"), steering(false)));
        too_many.backends.clear();
        let refused = maps.sync(&too_many).unwrap_err();
        assert!(matches!(refused, Error::OutOfRange { what: "service", value: 2, limit: 2 }), "{refused}");

        let mut orphan = layout();
        orphan.services.remove(&ServiceId(0));
        let refused = maps.sync(&orphan).unwrap_err();
        assert!(matches!(refused, Error::NoService { service: ServiceId(0) }), "{refused}");
        assert_eq!(endpoints4(&site), before);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn rings_and_scores_swap_halves() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        let ring = |id| Box::new(Ring([BackendId(id); RING_SLOTS]));
        for id in 1..4 {
            maps.put_ring(ServiceId(1), &ring(id)).unwrap();
            assert!(maps.ring(ServiceId(1)).unwrap() == ring(id));
        }
        assert!(maps.ring(ServiceId(0)).unwrap() == ring(0), "each service has its own");
        let mut scores = Box::new(ScoreTable([Score::default(); MAX_BACKENDS]));
        for base in 1..4 {
            scores.0[7].base = base;
            maps.put_scores(&scores).unwrap();
            assert!(maps.scores().unwrap() == scores);
        }
        let refused = maps.put_ring(ServiceId(2), &ring(1)).unwrap_err();
        assert!(matches!(refused, Error::OutOfRange { .. }), "{refused}");
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn hops_survive_a_sync_unless_the_address_moves() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        let mut layout = layout();
        maps.sync(&layout).unwrap();
        let hop = Hop { ifindex: 7, neighbour: [1; 6], own: [2; 6], ..Hop::UNKNOWN };
        let other = Hop { ifindex: 8, neighbour: [3; 6], ..hop };
        maps.put_hops(&[(BackendId(4), hop), (BackendId(5), hop), (BackendId(77), hop)]).unwrap();
        assert_eq!(maps.backend(BackendId(4)).unwrap().hop, hop);
        assert_eq!(maps.backend(BackendId(77)).unwrap(), Backend::default(), "an unused id gets no hop");
        maps.put_hops(&[(BackendId(4), other), (BackendId(5), Hop::UNKNOWN)]).unwrap();
        assert_eq!(maps.backend(BackendId(4)).unwrap().hop, other);
        assert!(!maps.backend(BackendId(5)).unwrap().hop.is_known());

        maps.put_hops(&[(BackendId(5), hop)]).unwrap();
        layout.backends.insert(BackendId(5), (address("10.0.0.55:1883"), ServiceId(0)));
        maps.sync(&layout).unwrap();
        assert_eq!(maps.backend(BackendId(4)).unwrap().hop, other);
        assert!(!maps.backend(BackendId(5)).unwrap().hop.is_known());
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn what_is_closed_survives_a_sync_and_a_hop_unless_the_address_moves() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        let mut layout = layout();
        maps.sync(&layout).unwrap();
        let all =
            [(BackendId(4), Backend::CLOSE_LISTED), (BackendId(5), Backend::CLOSE_ALL), (BackendId(77), 1)];
        maps.put_closing(all).unwrap();
        let hop = Hop { ifindex: 2, ..Hop::UNKNOWN };
        maps.put_hops(&[(BackendId(4), hop)]).unwrap();
        let moved = layout.backends.get_mut(&BackendId(5)).unwrap();
        moved.0 = address("10.0.0.99:21883");
        maps.sync(&layout).unwrap();
        let found = [4, 5, 77].map(|id| maps.backend(BackendId(id)).unwrap().closing);
        assert_eq!(found, [Backend::CLOSE_LISTED, Backend::KEEP, Backend::KEEP]);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn settings_keep_what_describes_the_maps() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        let before = maps.settings().unwrap();
        assert_ne!(before.hash_key, 0);
        assert_eq!((before.services, before.flows4_high), (2, 18_000));
        maps.change_settings(|settings| {
            settings.flood_syns = 99;
            settings.abi_version = 0;
            settings.services = 1000;
        })
        .unwrap();
        let after = maps.settings().unwrap();
        assert_eq!(after.flood_syns, 99);
        assert_eq!((after.abi_version, after.services), (before.abi_version, before.services));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn devices_follow() {
    in_namespace(|| {
        let site = Site::new();
        let mut maps = site.open().maps.steering;
        let links = crate::kernel::net::Net::open().unwrap().links().unwrap();
        let index = |name: &str| links.iter().find(|link| link.name == name).unwrap().index;
        maps.sync_devices(&[index("one"), index("two")].into()).unwrap();
        maps.sync_devices(&[index("two")].into()).unwrap();
        let refused = maps.sync_devices(&[index("two"), 4_000_000].into()).unwrap_err();
        assert!(matches!(refused, Error::Device { ifindex: 4_000_000, .. }), "{refused}");
    });
}
