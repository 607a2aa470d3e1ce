//! Discovered backends, as if they were written in the file.

use std::collections::BTreeMap;

use crate::config::file::{BackendSection, File, TelemetrySection};
use crate::config::value::{BackendLabel, Endpoint, Name, Url};
use crate::discovery::Entry;

/// What was found by the name of the service, and whether each is missing from good answers and so takes no new flows.
pub type Discovered = BTreeMap<String, Vec<(Entry, bool)>>;

/// Adds what was found to the services that have a discovery.
pub(super) fn add(file: &mut File, discovered: &Discovered) {
    for service in file.service.iter_mut().filter(|service| service.discovery.is_some()) {
        let Some(Name(name)) = &service.name else { continue };
        let found = discovered.get(name).into_iter().flatten();
        let own: Vec<_> = service.backend.iter().filter_map(|backend| backend.address).collect();
        // What the file says of a backend stands.
        let found = found.filter(|(entry, _)| !own.contains(&Endpoint(entry.address)));
        let sections: Vec<BackendSection> = found.map(|(entry, missing)| section(entry, *missing)).collect();
        service.backend.extend(sections);
    }
}

fn section(entry: &Entry, missing: bool) -> BackendSection {
    BackendSection {
        name: entry.name.clone().map(BackendLabel),
        address: Some(Endpoint(entry.address)),
        weight: entry.weight,
        cores: entry.cores,
        max_connections: entry.max_connections,
        max_connection_rate: None,
        priority: entry.priority,
        standby: entry.standby.then_some(true),
        drain: None,
        zone: entry.zone.clone(),
        preset: entry.preset.clone(),
        telemetry: TelemetrySection {
            url: entry.telemetry_url.clone().map(Url),
            ..TelemetrySection::default()
        },
        discovered: true,
        missing,
    }
}
