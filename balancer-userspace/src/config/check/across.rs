//! What only shows when services and backends are compared with each other.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use balancer_common::abi::MAX_BACKENDS;

use crate::config::problem::{Findings, Place};
use crate::config::{BackendConfig, Meaning, ServiceConfig, SourceConfig};

/// Compares all services. Those that are `None` had problems of their own; their index counts all the same.
pub(super) fn services(
    services: &[Option<ServiceConfig>],
    room: u32,
    place: &Place,
    findings: &mut Findings,
) {
    let present: Vec<_> =
        services.iter().enumerate().filter_map(|(i, s)| Some((place.index(i), s.as_ref()?))).collect();
    if services.len() > room as usize {
        findings.error(
            place,
            format!(
                "{} services, and the maps have room for {room}; write datapath.services = {}",
                services.len(),
                services.len()
            ),
        );
    }
    unique_services(&present, findings);
    for (place, service) in &present {
        unique_names(&service.backends, &place.key("backend"), findings);
        own_pages(&service.backends, &place.key("backend"), findings);
    }
    unique_addresses(&present, findings);
    let n_backends: usize = present.iter().map(|(_, service)| service.backends.len()).sum();
    // The last id is nobody's, see `ScoreTable::get`.
    let most = MAX_BACKENDS - 1;
    if n_backends > most {
        findings.error(place, format!("{n_backends} backends in all; use at most {most}"));
    }
}

fn unique_services(services: &[(Place, &ServiceConfig)], findings: &mut Findings) {
    let mut names = HashMap::new();
    let mut vips: HashMap<SocketAddr, &str> = HashMap::new();
    for (place, service) in services {
        if names.insert(&service.name, ()).is_some() {
            findings.error(
                &place.key("name"),
                format!("{:?} is the name of another service too; give each its own", service.name),
            );
        }
        if let Some(other) = vips.insert(service.vip, &service.name) {
            findings.error(
                &place.key("vip"),
                format!(
                    "{} is where service {other:?} listens; give one of them another vip or port, or make them one service",
                    service.vip
                ),
            );
        }
    }
}

fn unique_names(backends: &[BackendConfig], place: &Place, findings: &mut Findings) {
    let mut names = HashMap::new();
    for (i, backend) in backends.iter().enumerate() {
        if let Some(first) = names.insert(&backend.name, backend.address)
            // A backend that is there twice is reported as such.
            && first != backend.address
        {
            findings.error(
                &place.index(i).key("name"),
                format!("{:?} is the name of {first} too; give each backend its own", backend.name),
            );
        }
    }
}

/// Backends of one service that are told to read one page. Those of exporters are of hosts, which brokers may share.
fn own_pages(backends: &[BackendConfig], place: &Place, findings: &mut Findings) {
    let mut readers: HashMap<&str, &str> = HashMap::new();
    for (i, backend) in backends.iter().enumerate() {
        for url in backend.telemetry.sources.iter().filter_map(own_page) {
            if let Some(other) = readers.insert(url, &backend.name) {
                findings.warn(
                    &place.index(i).key("telemetry"),
                    format!(
                        "{url} is what {other} reads too, so that both are steered by one load; write a port or url of \
                         its own"
                    ),
                );
            }
        }
    }
}

/// The page that is a broker's own.
fn own_page(source: &SourceConfig) -> Option<&str> {
    match source {
        SourceConfig::Prometheus { meaning: Meaning::Preset(preset), .. }
            if preset.name == "node-exporter" =>
        {
            None
        }
        SourceConfig::Prometheus { url, .. } => Some(url),
        SourceConfig::Json { documents, .. } => documents.first().map(|document| document.url.as_str()),
        SourceConfig::MqttSys { .. } | SourceConfig::Local { .. } | SourceConfig::AgentCheck { .. } => None,
    }
}

fn unique_addresses(services: &[(Place, &ServiceConfig)], findings: &mut Findings) {
    let vips: HashMap<IpAddr, &str> = services.iter().map(|(_, s)| (s.vip.ip(), s.name.as_str())).collect();
    let mut owners: HashMap<SocketAddr, (usize, &str)> = HashMap::new();
    for (n, (place, service)) in services.iter().enumerate() {
        for (i, backend) in service.backends.iter().enumerate() {
            let here = place.key("backend").index(i).key("address");
            let address = backend.address;
            if let Some(owner) = vips.get(&address.ip()) {
                findings.error(
                    &here,
                    format!(
                        "{address} is on the VIP of service {owner:?}; write the address of the broker's own host \
                         (brokers on this host are not supported)"
                    ),
                );
            }
            match owners.insert(address, (n, &service.name)) {
                Some((other, _)) if other == n => {
                    findings.error(&here, format!("{address} is in this service twice; write it once"));
                }
                Some((_, other)) => findings.error(
                    &here,
                    format!(
                        "{address} is a backend of service {other:?} too, and its replies could not be told apart; let \
                         the broker listen on another address or port for one of them"
                    ),
                ),
                None => {}
            }
        }
    }
}
