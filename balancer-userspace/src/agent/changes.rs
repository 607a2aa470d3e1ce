//! What a configuration changes, in sentences.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::{BackendConfig, Config, ServiceConfig};

/// What a service or backend is, as the data path has it: its VIP, and of a backend its address.
type Identity = (SocketAddr, Option<SocketAddr>);

/// What is said of one.
struct Told {
    /// `service` or `backend`.
    kind: &'static str,
    /// Its own name.
    name: String,
    /// The name with that of its service, as people write it.
    full: String,
    /// Everything but names, as text that differs when it does.
    rest: String,
}

/// What differs, in sentences.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    if old.agent != new.agent {
        changes.push("agent settings changed".to_owned());
    }
    if old.datapath != new.datapath {
        changes.push("data path settings changed".to_owned());
    }
    let (before, after) = (by_identity(old), by_identity(new));
    // One that has its name still, and another address: to the data path it is another.
    let moved = |told: &Told, others: &BTreeMap<Identity, Told>, here: &BTreeMap<Identity, Told>| {
        let same = |other: &Told| other.kind == told.kind && other.full == told.full;
        let found = others.iter().find(|(identity, other)| !here.contains_key(identity) && same(other));
        found.map(|(identity, _)| address(identity))
    };
    for (identity, now) in &after {
        let Told { kind, full, .. } = now;
        match before.get(identity) {
            None => match (moved(now, &before, &after), address(identity)) {
                (None, _) => changes.push(format!("{kind} {full} added")),
                // Its service has moved, and that is said.
                (Some(from), to) if from == to => {}
                (Some(from), to) => changes.push(format!(
                    "{kind} {full} moved from {from} to {to}; flows to {from} go on until they end"
                )),
            },
            Some(then) => {
                if then.name != now.name {
                    changes.push(format!("{kind} {} is called {full} from now on", then.full));
                }
                if then.rest != now.rest {
                    changes.push(format!("{kind} {full} changed"));
                }
            }
        }
    }
    let gone = before.iter().filter(|(identity, _)| !after.contains_key(identity));
    let gone = gone.filter(|(_, then)| moved(then, &after, &before).is_none());
    changes.extend(
        gone.map(|(_, then)| format!("{} {} removed; its flows go on until they end", then.kind, then.full)),
    );
    changes
}

fn address((vip, backend): &Identity) -> SocketAddr {
    backend.unwrap_or(*vip)
}

fn by_identity(config: &Config) -> BTreeMap<Identity, Told> {
    let mut all = BTreeMap::new();
    for service in &config.services {
        all.insert((service.vip, None), of_service(service));
        for backend in &service.backends {
            all.insert((service.vip, Some(backend.address)), of_backend(service, backend));
        }
    }
    all
}

fn of_service(service: &ServiceConfig) -> Told {
    let alone = ServiceConfig { name: String::new(), backends: Vec::new(), ..service.clone() };
    let name = service.name.clone();
    Told { kind: "service", full: name.clone(), name, rest: format!("{alone:?}") }
}

fn of_backend(service: &ServiceConfig, backend: &BackendConfig) -> Told {
    let nameless = BackendConfig { name: String::new(), ..backend.clone() };
    let full = format!("{}/{}", service.name, backend.name);
    Told { kind: "backend", name: backend.name.clone(), full, rest: format!("{nameless:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const FILE: &str = r#"
        [[service]]
        name = "mqtt"
        vip = "192.0.2.1"
        port = 1883
        [[service.backend]]
        name = "a"
        address = "10.0.0.1:1883"
        [[service.backend]]
        name = "z"
        address = "10.0.0.9:1883"
    "#;

    /// What is told of a file in which these texts are replaced.
    fn told(replaced: &[(&str, &str)]) -> Vec<String> {
        let new = replaced.iter().fold(FILE.to_owned(), |text, (from, to)| text.replace(from, to));
        let config = |text: &str| config::check(text).unwrap().config;
        changes(&config(FILE), &config(&new))
    }

    #[test]
    fn a_reload_says_what_changed() {
        assert_eq!(told(&[]), [] as [String; 0]);
        assert_eq!(told(&[("port = 1883", "port = 1883\npolicy = \"random\"")]), ["service mqtt changed"]);
        let replaced = [("\"a\"", "\"b\""), ("10.0.0.1:", "10.0.0.2:")];
        assert_eq!(
            told(&replaced),
            ["backend mqtt/b added", "backend mqtt/a removed; its flows go on until they end"]
        );
    }

    #[test]
    fn who_is_renamed_is_not_removed() {
        assert_eq!(told(&[("\"mqtt\"", "\"iot\"")]), ["service mqtt is called iot from now on"]);
        assert_eq!(told(&[("\"a\"", "\"b\"")]), ["backend mqtt/a is called mqtt/b from now on"]);
        assert_eq!(
            told(&[("\"a\"", "\"b\"\nweight = 7")]),
            ["backend mqtt/a is called mqtt/b from now on", "backend mqtt/b changed"]
        );
    }

    #[test]
    fn a_name_that_is_given_to_another_address_moves() {
        assert_eq!(
            told(&[("10.0.0.1:", "10.0.0.2:")]),
            [
                "backend mqtt/a moved from 10.0.0.1:1883 to 10.0.0.2:1883; flows to 10.0.0.1:1883 go on until they end"
            ]
        );
        assert_eq!(
            told(&[("192.0.2.1", "192.0.2.2")]),
            [
                "service mqtt moved from 192.0.2.1:1883 to 192.0.2.2:1883; flows to 192.0.2.1:1883 go on until they end"
            ]
        );
        let swapped = told(&[("\"a\"", "\"x\""), ("\"z\"", "\"a\""), ("\"x\"", "\"z\"")]);
        assert_eq!(
            swapped,
            ["backend mqtt/a is called mqtt/z from now on", "backend mqtt/z is called mqtt/a from now on"]
        );
    }
}
