//! What a configuration changes, in sentences.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::{BackendConfig, Config, ServiceConfig};

/// What a service or backend is, as the data path has it: its VIP, and of a backend its address.
type Identity = (SocketAddr, Option<SocketAddr>);

/// What is said of one.
struct Told<'a> {
    /// Its own name.
    name: &'a str,
    /// The name with that of its service, as people write it.
    full: String,
    what: What<'a>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Service(&'a ServiceConfig),
    Backend(&'a BackendConfig),
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
    for (identity, now) in &after {
        let full = now.whole();
        let then = match before.get(identity) {
            Some(then) => {
                if then.name != now.name {
                    changes.push(format!("{} is called {} from now on", then.whole(), now.full));
                }
                Some(then)
            }
            None => moved(now, &before, &after).map(|(was, then)| {
                let (from, to) = (address(was), address(identity));
                // Otherwise its service has moved, and that is said.
                if from != to {
                    changes.push(format!(
                        "{full} moved from {from} to {to}; flows to {from} go on until they end"
                    ));
                }
                then
            }),
        };
        match then {
            None => changes.push(format!("{full} added")),
            Some(then) if now.differs(then) => changes.push(format!("{full} changed")),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(identity, _)| !after.contains_key(identity));
    let gone = gone.filter(|(_, then)| moved(then, &after, &before).is_none());
    changes.extend(gone.map(|(_, then)| format!("{} removed; its flows go on until they end", then.whole())));
    changes
}

/// Backends that are called otherwise than before, or whose service is: their full names before and after.
pub(super) fn renamed(old: &Config, new: &Config) -> BTreeMap<String, String> {
    let (before, after) = (by_identity(old), by_identity(new));
    let has_name = |full: &str| after.values().any(|now| now.full == full);
    let pair = |(identity, then): (Identity, Told<'_>)| {
        let (address, now) = (identity.1?, after.get(&identity)?);
        // A broker that was started anew elsewhere has taken its name, and goes on as the one that people mean.
        let gave_up = now.name == address.to_string() && has_name(&then.full);
        (then.full != now.full && !gave_up).then(|| (then.full, now.full.clone()))
    };
    before.into_iter().filter_map(pair).collect()
}

/// One that has its name still, and another address: to the data path it is another.
fn moved<'a>(
    told: &Told<'_>,
    others: &'a BTreeMap<Identity, Told<'a>>,
    here: &BTreeMap<Identity, Told<'_>>,
) -> Option<(&'a Identity, &'a Told<'a>)> {
    others.iter().find(|(identity, other)| !here.contains_key(identity) && other.whole() == told.whole())
}

fn address((vip, backend): &Identity) -> SocketAddr {
    backend.unwrap_or(*vip)
}

fn by_identity(config: &Config) -> BTreeMap<Identity, Told<'_>> {
    let mut all = BTreeMap::new();
    for service in &config.services {
        let name = service.name.as_str();
        all.insert((service.vip, None), Told { name, full: name.to_owned(), what: What::Service(service) });
        for backend in &service.backends {
            let full = format!("{}/{}", service.name, backend.name);
            let told = Told { name: &backend.name, full, what: What::Backend(backend) };
            all.insert((service.vip, Some(backend.address)), told);
        }
    }
    all
}

impl Told<'_> {
    /// What it is, and its full name.
    fn whole(&self) -> String {
        let kind = match self.what {
            What::Service(_) => "service",
            What::Backend(_) => "backend",
        };
        format!("{kind} {}", self.full)
    }

    /// Whether something differs besides names and addresses.
    fn differs(&self, then: &Self) -> bool {
        match (self.what, then.what) {
            (What::Service(now), What::Service(then)) => {
                let alone = |service: &ServiceConfig| ServiceConfig {
                    name: String::new(),
                    vip: now.vip,
                    backends: Vec::new(),
                    ..service.clone()
                };
                alone(now) != alone(then)
            }
            (What::Backend(now), What::Backend(then)) => {
                let mut then = BackendConfig { name: now.name.clone(), ..then.clone() };
                if then.address != now.address {
                    // Where it is probed and read goes by its address, unless the file says otherwise.
                    then.address = now.address;
                    then.health.clone_from(&now.health);
                    then.telemetry.clone_from(&now.telemetry);
                }
                *now != then
            }
            (What::Service(_), What::Backend(_)) | (What::Backend(_), What::Service(_)) => true,
        }
    }
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
    fn names_are_followed_through_renames_of_backends_and_services() {
        let config = |text: &str| config::check(text).unwrap().config;
        let new = FILE.replace("\"a\"", "\"x\"").replace("\"z\"", "\"a\"").replace("\"x\"", "\"z\"");
        let names = renamed(&config(FILE), &config(&new));
        let pair = |then: &str, now: &str| (then.to_owned(), now.to_owned());
        assert_eq!(names, [pair("mqtt/a", "mqtt/z"), pair("mqtt/z", "mqtt/a")].into());
        let names = renamed(&config(FILE), &config(&FILE.replace("\"mqtt\"", "\"iot\"")));
        assert_eq!(names, [pair("mqtt/a", "iot/a"), pair("mqtt/z", "iot/z")].into());
        // As a discovery has it when an answer gives the name to another address.
        let anew = FILE
            .replace("\"a\"", "\"10.0.0.1:1883\"")
            .replace("\"z\"", "\"a\"")
            .replace("10.0.0.9:", "10.0.0.8:");
        assert_eq!(renamed(&config(FILE), &config(&anew)), BTreeMap::new());
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
        assert_eq!(
            told(&[("10.0.0.1:1883\"", "10.0.0.2:1883\"\nweight = 7")]),
            [
                "backend mqtt/a moved from 10.0.0.1:1883 to 10.0.0.2:1883; flows to 10.0.0.1:1883 go on until they end",
                "backend mqtt/a changed"
            ]
        );
        let moved = told(&[("192.0.2.1", "192.0.2.2"), ("10.0.0.1:1883\"", "10.0.0.1:1883\"\nweight = 7")]);
        assert!(
            moved[0].starts_with("service mqtt moved") && moved[1..] == ["backend mqtt/a changed"],
            "{moved:?}"
        );
        let moved = told(&[("192.0.2.1\"", "192.0.2.2\"\npolicy = \"random\"")]);
        assert!(
            moved[0].starts_with("service mqtt moved") && moved[1..] == ["service mqtt changed"],
            "{moved:?}"
        );
        let swapped = told(&[("\"a\"", "\"x\""), ("\"z\"", "\"a\""), ("\"x\"", "\"z\"")]);
        assert_eq!(
            swapped,
            ["backend mqtt/a is called mqtt/z from now on", "backend mqtt/z is called mqtt/a from now on"]
        );
    }
}
