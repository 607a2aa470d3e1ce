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
    registry.follow(&config(services), 16, |_| false)
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
fn a_removed_service_keeps_its_name_until_somebody_else_has_it() {
    let names = |registry: &Registry| -> Vec<String> {
        registry.service_names().map(|(_, name)| name.to_owned()).collect()
    };
    let other = ("192.0.2.2", &["10.0.0.2"] as &[&str]);
    let first = follow(&Registry::default(), &[(VIP, &["10.0.0.1"]), other]).unwrap();
    let less = follow(&first, &[(VIP, &["10.0.0.1"])]).unwrap();
    assert_eq!(names(&less), ["s0", "s1"]);
    assert_eq!(less.model(&config(&[(VIP, &["10.0.0.1"])])).services[1].name, "s1");
    let replaced = follow(&less, &[(VIP, &["10.0.0.1"]), ("192.0.2.3", &["10.0.0.3"])]).unwrap();
    assert_eq!(names(&replaced), ["s0", "192.0.2.2:1883", "s1"]);
}

#[test]
fn a_service_without_backends_is_gone_with_its_configuration() {
    let mut both = config(&[(VIP, &["10.0.0.1"]), ("192.0.2.2", &["10.0.0.2"])]);
    both.services[1].backends.clear();
    let first = Registry::default().follow(&both, 2, |_| false).unwrap();
    assert_eq!(first.services().count(), 2);
    let second = follow(&first, &[(VIP, &["10.0.0.1"])]).unwrap();
    assert_eq!(second.services().count(), 1);
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
    let first = Registry::default().follow(&before, 16, |_| false).unwrap();
    let mut renamed = config(&[(VIP, &["10.0.0.2"])]);
    renamed.services[0].name = "other".to_owned();
    let second = first.follow(&renamed, 16, |_| false).unwrap();
    let who = |model: Model| {
        let mut who: Vec<_> = model.services[0].backends.iter().map(|b| (b.id.0, b.seed)).collect();
        who.sort_unstable();
        who
    };
    assert_eq!(who(first.model(&before)), who(second.model(&renamed)));
}

#[test]
fn an_address_moves_to_another_service_when_it_has_no_live_flows() {
    const OTHER: &str = "192.0.2.2";
    let first = follow(&Registry::default(), &[(VIP, &["10.0.0.1"])]).unwrap();
    let moved = config(&[(OTHER, &["10.0.0.1"])]);
    let expected = RegistryError::Busy {
        address: "10.0.0.1:1883".parse().unwrap(),
        vip: "192.0.2.1:1883".parse().unwrap(),
    };
    assert_eq!(first.follow(&moved, 16, |id| id == BackendId(0)), Err(expected));

    let held = |registry: &Registry| registry.endpoints().map(|(id, _)| id.0).collect::<Vec<_>>();
    let second = first.follow(&moved, 16, |_| false).unwrap();
    assert_eq!((second.backends().count(), held(&second)), (2, vec![1]));
    let back = follow(&second, &[(VIP, &["10.0.0.1"])]).unwrap();
    assert_eq!((back.backends().count(), held(&back)), (2, vec![0]));
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
    let error = Registry::default().follow(&config(&[(VIP, &["10.0.0.1"])]), 0, |_| false).unwrap_err();
    assert_eq!(error, RegistryError::Services { limit: 0 });
    // No flow has to end for more room.
    assert!(error.to_string().ends_with("restart the agent, which carries all flows over"), "{error}");
}

#[test]
fn a_backend_without_its_service_in_the_maps_is_nobody() {
    // An agent was killed between the two.
    let orphan = ("10.0.0.9:1883".parse().unwrap(), Endpoint::backend(ServiceId(5), BackendId(7)));
    let service = ("192.0.2.9:1883".parse().unwrap(), Endpoint::service(ServiceId(0)));
    let found = Registry::from_maps(&[orphan, service]);
    let configured = [(VIP, &["10.0.0.1"] as &[&str])];
    let registry = follow(&found, &configured).unwrap();
    let model = registry.model(&config(&configured));
    assert_eq!(model.services.iter().map(|service| service.backends.len()).sum::<usize>(), 1);
    assert_eq!(registry.service_names().map(|(_, name)| name).collect::<Vec<_>>(), ["s0"]);
    // Its id is not used again at once all the same.
    assert_eq!(ids(&registry), [(8, "10.0.0.1".to_owned(), false)]);
}
