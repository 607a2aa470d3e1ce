//! The health check of one backend.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::file::{HealthKind, HealthSection, MqttVersionName, ServiceSection};
use crate::config::problem::{Findings, Place};
use crate::config::value::{Path, Statuses};
use crate::config::{HealthCheck, HealthConfig, MqttLogin, MqttVersion, defaults};

use crate::preset::{Health, Preset};

use super::{default, span};

/// How the backend at `address` is probed. Called for every backend of a service: a problem is noted once, at `place`.
pub(super) fn health(
    service: &ServiceSection,
    preset: Option<&Arc<Preset>>,
    address: SocketAddr,
    place: &Place,
    findings: &mut Findings,
) -> HealthConfig {
    let section = &service.health;
    let kind = kind(service, preset, address.port());
    if service.preset.is_none() && section.kind.is_none() && !is_noted(place, findings) {
        findings.warn(
            place,
            "no preset and no kind: a TCP connect finds no broker that accepts and then hangs; write preset = \
             \"mosquitto\" or health.kind = \"mqtt\"",
        );
    }
    misplaced(section, kind, place, findings);
    let (interval, timeout) =
        (span(section.interval, defaults::HEALTH_INTERVAL), span(section.timeout, defaults::HEALTH_TIMEOUT));
    let timeout = super::telemetry::timeout(interval, timeout, section.timeout.is_some(), place, findings);
    HealthConfig {
        check: check(section, kind, preset, address, place, findings),
        interval,
        timeout,
        rise: section.rise.unwrap_or(defaults::RISE),
        fall: section.fall.unwrap_or(defaults::FALL),
    }
}

fn is_noted(place: &Place, findings: &Findings) -> bool {
    findings.warnings.iter().any(|finding| finding.place == *place)
}

/// The kind that is configured, or that the preset means for a backend of this port.
pub(super) fn kind(service: &ServiceSection, preset: Option<&Arc<Preset>>, port: u16) -> HealthKind {
    service.health.kind.unwrap_or_else(|| match preset.and_then(|preset| preset.health(port)) {
        Some(Health::Mqtt) => HealthKind::Mqtt,
        Some(Health::Amqp) => HealthKind::Amqp,
        Some(Health::Http { .. }) => HealthKind::Http,
        Some(Health::Tcp) | None => HealthKind::Tcp,
    })
}

/// Keys that another kind of probe would use.
fn misplaced(section: &HealthSection, kind: HealthKind, place: &Place, findings: &mut Findings) {
    let given = [
        ("username", section.username.is_some(), HealthKind::Mqtt),
        ("password_file", section.password_file.is_some(), HealthKind::Mqtt),
        ("client_id", section.client_id.is_some(), HealthKind::Mqtt),
        ("version", section.version.is_some(), HealthKind::Mqtt),
        ("path", section.path.is_some(), HealthKind::Http),
        ("status", section.status.is_some(), HealthKind::Http),
    ];
    for (key, given, wanted) in given {
        if given && kind != wanted {
            findings.error(
                &place.key(key),
                format!(
                    "is for kind = {:?} only, and the kind is {:?}; leave it out",
                    wanted.word(),
                    kind.word()
                ),
            );
        }
    }
}

fn check(
    section: &HealthSection,
    kind: HealthKind,
    preset: Option<&Arc<Preset>>,
    address: SocketAddr,
    place: &Place,
    findings: &mut Findings,
) -> HealthCheck {
    // Where the preset's GET goes, unless the configuration asks for another kind of probe, or for a GET of its own.
    let get = match preset.and_then(|preset| preset.health(address.port())) {
        Some(Health::Http { port, path }) if section.kind.is_none() => Some((port, path)),
        _ => None,
    };
    let port = section.port.or_else(|| get.as_ref()?.0).unwrap_or_else(|| address.port());
    let address = SocketAddr::new(address.ip(), port);
    let path = section.path.clone().or_else(|| get.map(|(_, path)| path));
    match kind {
        HealthKind::None => HealthCheck::None,
        HealthKind::Tcp => HealthCheck::Tcp { address },
        HealthKind::Amqp => HealthCheck::Amqp { address },
        HealthKind::Mqtt => HealthCheck::Mqtt { address, login: login(section, place, findings) },
        HealthKind::Http => HealthCheck::Http {
            address,
            path: http_path(path.as_deref(), defaults::HEALTH_PATH, place, findings),
            expect: section.status.clone().unwrap_or_else(|| default::<Statuses>(defaults::STATUS)).0,
        },
    }
}

/// The MQTT login of the health check.
pub(super) fn login(section: &HealthSection, place: &Place, findings: &mut Findings) -> MqttLogin {
    mqtt_login(
        section.username.as_deref(),
        section.password_file.as_ref(),
        section.client_id.as_deref(),
        section.version,
        place,
        findings,
    )
}

/// An MQTT login of those keys.
pub(super) fn mqtt_login(
    username: Option<&str>,
    password_file: Option<&Path>,
    client_id: Option<&str>,
    version: Option<MqttVersionName>,
    place: &Place,
    findings: &mut Findings,
) -> MqttLogin {
    if password_file.is_some() && username.is_none() {
        findings.error(&place.key("password_file"), "needs a username; write username as well");
    }
    MqttLogin {
        username: username.map(str::to_owned),
        password_file: password_file.map(|path| path.0.clone()),
        client_id: client_id.map(str::to_owned),
        version: match version {
            Some(MqttVersionName::V5) => MqttVersion::V5,
            Some(MqttVersionName::V311) | None => MqttVersion::V311,
        },
    }
}

/// A path of an HTTP request.
pub(super) fn http_path(
    path: Option<&str>,
    otherwise: &str,
    place: &Place,
    findings: &mut Findings,
) -> String {
    let path = path.unwrap_or(otherwise);
    if !path.starts_with('/') || path.parse::<axum::http::Uri>().is_err() {
        findings.error(
            &place.key("path"),
            format!("{path:?} is not a path; start it with \"/\", as {otherwise:?}"),
        );
    }
    path.to_owned()
}
