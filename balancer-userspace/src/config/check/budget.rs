//! Budgets of new connections.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::file::ServiceSection;
use crate::config::problem::{Findings, Place};
use crate::config::{BackendConfig, ServiceConfig, defaults};

/// What a connection costs a broker unless it is written: TLS is known by its ports.
pub(super) fn handshake_cost(port: Option<u16>, backends: &[BackendConfig]) -> u32 {
    let ports = backends.iter().map(|backend| backend.address.port());
    let is_tls = port.into_iter().chain(ports).any(|port| defaults::TLS_PORTS.contains(&port));
    if is_tls { defaults::TLS_HANDSHAKE_COST } else { 1 }
}

/// What is odd about the budgets of one service.
pub(super) fn check(section: &ServiceSection, place: &Place, findings: &mut Findings) {
    let has_rate = section.max_connection_rate.is_some()
        || section.backend.iter().any(|backend| backend.max_connection_rate.is_some());
    // Budgets of a backend may be written in another service of the same address, but those of the service are here.
    if section.over_budget.is_some() && !has_rate {
        findings.warn(
            &place.key("over_budget"),
            "says what becomes of SYNs over a budget, and neither the service nor a backend of it has one; write \
             max_connection_rate, unless another service has it for the same brokers",
        );
    }
}

/// Gives backends of the same address the same budget: it is the broker's, in whatever service it is written.
pub(super) fn share(services: &mut [Option<ServiceConfig>], place: &Place, findings: &mut Findings) {
    let mut budgets: HashMap<IpAddr, (f64, String)> = HashMap::new();
    for (i, service) in services.iter().enumerate() {
        let Some(service) = service else { continue };
        for (j, backend) in service.backends.iter().enumerate() {
            let Some(rate) = backend.max_connection_rate else { continue };
            let name = format!("{}/{}", service.name, backend.name);
            let (first, other) = budgets.entry(backend.address.ip()).or_insert((rate, name));
            if *first != rate {
                findings.error(
                    &place.index(i).key("backend").index(j).key("max_connection_rate"),
                    format!(
                        "{rate}/s, but {other} has the same address {} with {first}/s, and both share one budget; write the same rate, or leave one out",
                        backend.address.ip()
                    ),
                );
            }
        }
    }
    for backend in services.iter_mut().flatten().flat_map(|service| &mut service.backends) {
        backend.max_connection_rate = budgets.get(&backend.address.ip()).map(|(rate, _)| *rate);
    }
}
