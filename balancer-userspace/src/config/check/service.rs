//! One service and its backends, without a look at the others.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use balancer_common::abi::MAX_STANDBY;
use balancer_control::Policy;

use crate::config::file::{
    BackendSection, ForwardName, OverBudgetName, PolicyName, ServiceSection, WhenDown,
};
use crate::config::problem::{Findings, Place};
use crate::config::value::{Name, Span};
use crate::config::{BackendConfig, ServiceConfig, defaults};
use crate::preset::{Preset, Presets};

use super::{budget, default, discovery, health, protection, span, telemetry};

/// What is known of the brokers of a service.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// The preset of the service.
    pub(super) preset: Option<&'a Arc<Preset>>,
    /// All presets.
    pub(super) presets: &'a Presets,
}

/// The service; `None` when it has no name or nowhere to listen.
pub(super) fn service(
    section: ServiceSection,
    presets: &Presets,
    place: &Place,
    findings: &mut Findings,
) -> Option<ServiceConfig> {
    let name = required(section.name.clone(), place, "name", "write a name, as name = \"mqtt\"", findings);
    let vip = required(section.vip, place, "vip", "write the address that clients connect to", findings);
    let port =
        required(section.port, place, "port", "write the port that clients connect to, as 1883", findings);
    let policy = policy(section.policy.unwrap_or(PolicyName::Adaptive));
    if policy == Policy::Maglev && section.draws.is_some_and(|draws| draws != 1) {
        findings.error(&place.key("draws"), "policy \"maglev\" draws one candidate; leave draws out");
    }
    let preset = preset(section.preset.as_deref(), presets, place, findings);
    let backends = backends(&section, Known { preset, presets }, vip.map(|vip| vip.0), place, findings);
    let telemetry_interval = span(section.telemetry.interval, defaults::TELEMETRY_INTERVAL);
    let stale_after = stale_after(section.stale_after, telemetry_interval, place, findings);
    let (rise, fall) =
        (section.health.rise.unwrap_or(defaults::RISE), section.health.fall.unwrap_or(defaults::FALL));
    budget::check(&section, place, findings);
    let endpoint = vip.zip(port).map(|(vip, port)| SocketAddr::new(vip.0, port));
    let discovery = section.discovery.as_ref();
    let discovery = discovery
        .and_then(|section| discovery::discovery(section, endpoint, &place.key("discovery"), findings));
    Some(ServiceConfig {
        name: name.map(|Name(name)| name)?,
        vip: SocketAddr::new(vip?.0, port?),
        policy,
        draws: section.draws,
        gateways: section.gateways.unwrap_or(defaults::GATEWAYS),
        forward: section.forward.unwrap_or(ForwardName::Nat),
        stale_after,
        protection: protection::protection(&section, place, findings),
        max_connection_rate: section.max_connection_rate.map(|rate| rate.per_second),
        max_connections: section.max_connections,
        handshake_cost: section.handshake_cost.unwrap_or_else(|| budget::handshake_cost(port, &backends)),
        over_budget: section.over_budget.unwrap_or(OverBudgetName::Drop),
        ramp: span(section.ramp, defaults::RAMP),
        close_down_after: close_down_after(&section, place, findings),
        rise,
        fall,
        discovery,
        backends,
    })
}

fn close_down_after(section: &ServiceSection, place: &Place, findings: &mut Findings) -> Option<Duration> {
    match section.when_down.unwrap_or(WhenDown::Keep) {
        WhenDown::Keep if section.down_grace.is_some() => {
            findings
                .warn(&place.key("down_grace"), "has no effect; add when_down = \"close\", or leave it out");
            None
        }
        WhenDown::Keep => None,
        WhenDown::Close => Some(span(section.down_grace, defaults::DOWN_GRACE)),
    }
}

fn stale_after(value: Option<Span>, interval: Duration, place: &Place, findings: &mut Findings) -> Duration {
    let least: Span = default(defaults::STALE_LEAST);
    let Some(Span(stale)) = value else { return least.0.max(interval * defaults::STALE_INTERVALS) };
    if stale <= interval {
        let (stale, interval) = (humantime::format_duration(stale), humantime::format_duration(interval));
        findings.error(
            &place.key("stale_after"),
            format!("\"{stale}\" makes every reading stale before the next; write several times telemetry.interval (\"{interval}\")"),
        );
    }
    stale
}

/// The preset of that name.
fn preset<'a>(
    name: Option<&str>,
    presets: &'a Presets,
    place: &Place,
    findings: &mut Findings,
) -> Option<&'a Arc<Preset>> {
    let name = name?;
    let found = presets.find(name);
    if found.is_none() {
        findings.error(&place.key("preset"), presets.unknown(name));
    }
    if found.is_some_and(|preset| preset.bootstrap_only) {
        findings.warn(
            &place.key("preset"),
            "clients learn the brokers' own addresses from the first connection and then go there: only that one is steered",
        );
    }
    found
}

fn backends(
    section: &ServiceSection,
    known: Known<'_>,
    vip: Option<IpAddr>,
    place: &Place,
    findings: &mut Findings,
) -> Vec<BackendConfig> {
    let all = place.key("backend");
    let backends: Vec<_> = (section.backend.iter().enumerate())
        .filter_map(|(i, backend)| self::backend(section, known, backend, vip, &all.index(i), findings))
        .collect();
    // What a registry says is not the file's fault.
    if section.discovery.is_some() {
        return backends;
    }
    if section.backend.is_empty() {
        findings.error(&all, "no backend; add a [[service.backend]] with an address");
    } else if !backends.is_empty() && backends.iter().all(|backend| backend.standby) {
        findings.error(&all, "every backend is a standby; leave standby out for at least one");
    }
    let n_standby = backends.iter().filter(|backend| backend.standby).count();
    if n_standby > MAX_STANDBY {
        findings.error(&all, format!("{n_standby} backends are standbys; use at most {MAX_STANDBY}"));
    }
    backends
}

fn backend(
    service: &ServiceSection,
    known: Known<'_>,
    section: &BackendSection,
    vip: Option<IpAddr>,
    place: &Place,
    findings: &mut Findings,
) -> Option<BackendConfig> {
    let address = required(
        section.address,
        place,
        "address",
        "write the broker's address and port, as \"10.0.0.11:1883\"",
        findings,
    )?
    .0;
    if let Some(vip) = vip
        && vip.is_ipv4() != address.is_ipv4()
    {
        findings.error(
            &place.key("address"),
            format!(
                "{address} is {}, the VIP {vip} is {}; give the service a VIP of the backends' family, or each family a service",
                family(address.ip()),
                family(vip)
            ),
        );
    }
    if section.standby == Some(true) && section.priority.is_some() {
        findings.error(
            &place.key("priority"),
            "a standby comes after every priority group; leave out priority, or standby",
        );
    }
    let own = section.preset.as_deref();
    let preset = match own {
        Some(_) => preset(own, known.presets, place, findings),
        None => known.preset,
    };
    let known = Known { preset, ..known };
    let health =
        health::health(service, known.preset, address, &place_of_service(place).key("health"), findings);
    let sections = telemetry::Sections {
        service: &service.telemetry,
        backend: &section.telemetry,
        discovered: section.discovered,
        probe: &health.check,
    };
    let telemetry_place = telemetry::Places {
        service: place_of_service(place).key("telemetry"),
        backend: place.key("telemetry"),
    };
    let telemetry =
        telemetry::telemetry(&sections, service, known, section, address, &telemetry_place, findings);
    Some(BackendConfig {
        name: section.name.as_ref().map_or_else(|| address.to_string(), |name| name.0.clone()),
        address,
        weight: section.weight.unwrap_or(defaults::WEIGHT),
        cores: section.cores,
        max_connections: section.max_connections,
        priority: section.priority.unwrap_or(defaults::PRIORITY),
        max_connection_rate: section.max_connection_rate.map(|rate| rate.per_second),
        standby: section.standby.unwrap_or(false),
        zone: section.zone.clone(),
        discovered: section.discovered,
        missing: section.missing,
        drain: section.drain.unwrap_or(false),
        health,
        telemetry,
    })
}

/// `service[x]` of `service[x].backend[y]`.
fn place_of_service(backend: &Place) -> Place {
    Place(backend.0[..backend.0.len() - 2].to_vec())
}

const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

const fn policy(name: PolicyName) -> Policy {
    match name {
        PolicyName::Adaptive => Policy::Adaptive,
        PolicyName::LeastConn => Policy::LeastConn,
        PolicyName::WeightedCpu => Policy::WeightedCpu,
        PolicyName::RoundRobin => Policy::RoundRobin,
        PolicyName::Random => Policy::Random,
        PolicyName::Maglev => Policy::Maglev,
    }
}

fn required<T>(
    value: Option<T>,
    place: &Place,
    key: &str,
    remedy: &str,
    findings: &mut Findings,
) -> Option<T> {
    if value.is_none() {
        findings.error(&place.key(key), format!("missing; {remedy}"));
    }
    value
}
