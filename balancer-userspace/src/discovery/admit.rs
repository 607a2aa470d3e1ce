//! Which of the backends that were found can be backends of the service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::Entry;
use crate::config::value::{Endpoint, Text};

/// What a backend must fit.
#[derive(Clone, Debug)]
pub struct Grounds {
    /// The VIP of the service.
    pub vip: IpAddr,
    /// The VIPs of all services.
    pub vips: BTreeSet<IpAddr>,
    /// Backends that the file gives the service, and their names.
    pub own: BTreeMap<SocketAddr, String>,
    /// Backends of other services.
    pub others: BTreeSet<SocketAddr>,
}

/// The entries that fit, each once, and why the others do not.
#[must_use]
pub fn admit(entries: Vec<Entry>, grounds: &Grounds) -> (Vec<Entry>, Vec<String>) {
    let (mut admitted, mut refused, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for entry in entries {
        let address = entry.address;
        // Who is named twice is there once, and what the file says of a backend stands.
        if !seen.insert(address) || grounds.own.contains_key(&address) {
            continue;
        }
        match objection(&entry, grounds) {
            Some(why) => refused.push(why),
            None => admitted.push(entry),
        }
    }
    (admitted, refused)
}

fn objection(entry: &Entry, grounds: &Grounds) -> Option<String> {
    let address = entry.address;
    if let Err(why) = Endpoint::read(&address.to_string()) {
        return Some(why);
    }
    if address.is_ipv4() != grounds.vip.is_ipv4() {
        return Some(format!("{address} is of another family than the VIP {}", grounds.vip));
    }
    if grounds.vips.contains(&address.ip()) {
        return Some(format!("{address} is on a VIP, and its flows would come back to this host for ever"));
    }
    if grounds.others.contains(&address) {
        return Some(format!(
            "{address} is a backend of another service too, or has flows of one, and its replies could not be told apart"
        ));
    }
    let name = entry.name.as_ref()?;
    let (other, _) = grounds.own.iter().find(|(_, own)| *own == name)?;
    Some(format!(
        "{address} has the name {name:?}, which is that of {other} in the file; give one of them another name, or, where \
         both are one broker, the file its new address"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_backend_can_have() {
        let grounds = Grounds {
            vip: "192.0.2.10".parse().unwrap(),
            vips: ["192.0.2.10", "192.0.2.11"].map(|ip| ip.parse().unwrap()).into(),
            own: BTreeMap::from([("10.0.0.1:1883".parse().unwrap(), "own".to_owned())]),
            others: BTreeSet::from(["10.0.0.9:1883".parse().unwrap()]),
        };
        let found = [
            ("10.0.0.2:1883", ""),
            ("10.0.0.2:1883", ""),
            ("10.0.0.1:1883", ""),
            ("127.0.0.1:1883", "loopback"),
            ("0.0.0.0:1883", "unspecified"),
            ("224.0.0.1:1883", "multicast"),
            ("10.0.0.3:0", "port 0"),
            ("192.0.2.11:1883", "on a VIP"),
            ("10.0.0.9:1883", "another service"),
            ("[2001:db8::1]:1883", "another family"),
        ];
        let entries = found.iter().map(|(address, _)| Entry::new(address.parse().unwrap())).collect();
        let (admitted, refused) = admit(entries, &grounds);
        assert_eq!(admitted, [Entry::new("10.0.0.2:1883".parse().unwrap())]);
        let whys: Vec<_> = found.iter().map(|(_, why)| *why).filter(|why| !why.is_empty()).collect();
        assert_eq!(refused.len(), whys.len(), "{refused:?}");
        for (refused, why) in refused.iter().zip(whys) {
            assert!(refused.contains(why), "{refused}");
        }

        let named = |address: &str, name: &str| Entry {
            name: Some(name.to_owned()),
            ..Entry::new(address.parse().unwrap())
        };
        let found = vec![
            named("10.0.0.1:1883", "own"),
            named("10.0.0.2:1883", "own"),
            named("10.0.0.3:1883", "other"),
        ];
        let (admitted, refused) = admit(found, &grounds);
        assert_eq!(admitted, [named("10.0.0.3:1883", "other")], "the rest of the answer is good");
        assert!(
            refused[0].contains("10.0.0.2:1883 has the name \"own\", which is that of 10.0.0.1:1883"),
            "{refused:?}"
        );
    }
}
