//! The health check of one backend.

mod drain;
mod keys;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::file::{HealthKind, HealthSection, MqttVersionName, ProbeVersionName, ServiceSection};
use crate::config::problem::{Findings, Place};
use crate::config::value::{Path, Statuses};
use crate::config::{AmqpVersion, HealthCheck, HealthConfig, HttpAuth, MqttLogin, MqttVersion, defaults};
use crate::link::Via;
use crate::preset::{Health, Preset, Protocol};
use crate::tls::TlsConfig;

use super::tls::tls;
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
    keys::misplaced(section, kind, place, findings);
    let (interval, timeout) =
        (span(section.interval, defaults::HEALTH_INTERVAL), span(section.timeout, defaults::HEALTH_TIMEOUT));
    let timeout = super::telemetry::timeout(interval, timeout, section.timeout.is_some(), place, findings);
    let asked = Asked { section, kind, preset, address, place };
    HealthConfig {
        check: asked.check(findings),
        drain: drain::drain(section.drain.as_ref(), preset, address, &place.key("drain"), findings),
        service: address,
        interval,
        jitter: jitter(section, interval, place, findings),
        timeout,
        rise: section.rise.unwrap_or(defaults::RISE),
        fall: section.fall.unwrap_or(defaults::FALL),
    }
}

fn is_noted(place: &Place, findings: &Findings) -> bool {
    findings.warnings.iter().any(|finding| finding.place == *place)
}

fn jitter(section: &HealthSection, interval: Duration, place: &Place, findings: &mut Findings) -> Duration {
    let Some(jitter) = section.jitter else { return interval / defaults::JITTER_PART };
    if jitter.0 > interval / 2 {
        let words = [jitter.0, interval].map(humantime::format_duration);
        findings.error(
            &place.key("jitter"),
            format!("\"{}\" is more than half of interval (\"{}\"); write at most that", words[0], words[1]),
        );
    }
    jitter.0
}

/// The kind that is configured, or that the preset means for a backend of this port.
pub(super) fn kind(service: &ServiceSection, preset: Option<&Arc<Preset>>, port: u16) -> HealthKind {
    service.health.kind.unwrap_or_else(|| match preset.and_then(|preset| preset.health(port)) {
        Some(Health::Mqtt) => HealthKind::Mqtt,
        Some(Health::Amqp) => HealthKind::Amqp,
        Some(Health::Stomp) => HealthKind::Stomp,
        Some(Health::Http { .. }) => HealthKind::Http,
        Some(Health::Tcp) | None => HealthKind::Tcp,
    })
}

/// One backend, and what is written about its probe.
struct Asked<'a> {
    section: &'a HealthSection,
    kind: HealthKind,
    preset: Option<&'a Arc<Preset>>,
    address: SocketAddr,
    place: &'a Place,
}

impl Asked<'_> {
    fn check(&self, findings: &mut Findings) -> HealthCheck {
        // Where the preset's GET goes, unless the configuration asks for another kind of probe, or for a GET of its own.
        let get = match self.preset.and_then(|preset| preset.health(self.address.port())) {
            Some(Health::Http { port, path }) if self.section.kind.is_none() => Some((port, path)),
            _ => None,
        };
        let port = self.section.port.or_else(|| get.as_ref()?.0);
        let address = SocketAddr::new(self.address.ip(), port.unwrap_or_else(|| self.address.port()));
        let (section, place) = (self.section, self.place);
        match self.kind {
            HealthKind::None => HealthCheck::None,
            HealthKind::Tcp => HealthCheck::Tcp { address },
            HealthKind::Amqp => {
                let version = match section.version {
                    Some(ProbeVersionName::V10) => AmqpVersion::V10,
                    _ => AmqpVersion::V091,
                };
                HealthCheck::Amqp { address, version, via: self.via(address, findings) }
            }
            HealthKind::Mqtt => HealthCheck::Mqtt {
                address,
                login: login(section, place, findings),
                via: self.via(address, findings),
            },
            HealthKind::Stomp => {
                needs_username(section.username.is_some(), section.password_file.as_ref(), place, findings);
                let password = section.password_file.as_ref().map(|path| path.0.clone());
                let login = section.username.clone().map(|user| (user, password));
                HealthCheck::Stomp { address, login, via: self.via(address, findings) }
            }
            HealthKind::Http => {
                let path = section.path.clone().or_else(|| get.map(|(_, path)| path));
                let path = http_path(path.as_deref(), defaults::HEALTH_PATH, place, findings);
                let via = self.via(address, findings);
                let keys = (&section.username, &section.password_file, &section.token_file);
                HealthCheck::Http {
                    url: url(address, &path, via.tls.is_some()),
                    auth: http_auth(keys, via.tls, place, findings),
                    expect: section.status.clone().unwrap_or_else(|| default::<Statuses>(defaults::STATUS)).0,
                    body: section.body.clone(),
                }
            }
            HealthKind::AgentCheck => {
                if section.port.is_none() {
                    findings
                        .error(&place.key("port"), "missing; write the port that the agent-check answers on");
                }
                HealthCheck::AgentCheck { address, send: section.send.clone() }
            }
        }
    }

    /// What the probe of `address` is carried in: as written, or else as the preset knows the port.
    fn via(&self, address: SocketAddr, findings: &mut Findings) -> Via {
        let protocol = self.preset.and_then(|preset| preset.protocol(address.port()));
        let encrypted =
            matches!(protocol, Some(Protocol::Mqtts | Protocol::Wss | Protocol::Amqps | Protocol::Stomps));
        let web = matches!(protocol, Some(Protocol::Ws | Protocol::Wss)) && self.kind == HealthKind::Mqtt;
        let tls = match &self.section.tls {
            Some(section) => Some(tls(section, &self.place.key("tls"), findings)),
            None => encrypted.then(TlsConfig::default),
        };
        let usual = self.preset.and_then(|preset| preset.websocket.as_deref());
        let usual = usual.unwrap_or(defaults::WEBSOCKET_PATH);
        let path = self.section.websocket.as_deref().or_else(|| web.then_some(usual));
        let websocket = path
            .map(|path| checked_path(path, defaults::WEBSOCKET_PATH, &self.place.key("websocket"), findings));
        Via { tls, websocket }
    }
}

/// The URL of a path at an address.
fn url(address: SocketAddr, path: &str, encrypted: bool) -> String {
    format!("http{}://{address}{path}", if encrypted { "s" } else { "" })
}

/// Credentials of an HTTP request: user name, password file, token file.
pub(super) fn http_auth(
    (username, password_file, token_file): (&Option<String>, &Option<Path>, &Option<Path>),
    tls: Option<TlsConfig>,
    place: &Place,
    findings: &mut Findings,
) -> HttpAuth {
    if token_file.is_some() && (username.is_some() || password_file.is_some()) {
        findings.error(
            &place.key("token_file"),
            "a request has one authorisation; write either token_file, or username and password_file",
        );
    }
    needs_username(username.is_some(), password_file.as_ref(), place, findings);
    HttpAuth {
        username: username.clone(),
        password_file: password_file.as_ref().map(|path| path.0.clone()),
        token_file: token_file.as_ref().map(|path| path.0.clone()),
        tls: tls.unwrap_or_default(),
    }
}

fn needs_username(username: bool, password_file: Option<&Path>, place: &Place, findings: &mut Findings) {
    if password_file.is_some() && !username {
        findings.error(&place.key("password_file"), "needs a username; write username as well");
    }
}

/// The MQTT login of the health check.
pub(super) fn login(section: &HealthSection, place: &Place, findings: &mut Findings) -> MqttLogin {
    mqtt_login(
        section.username.as_deref(),
        section.password_file.as_ref(),
        section.client_id.as_deref(),
        mqtt_version(section),
        place,
        findings,
    )
}

/// The version, if it is one of MQTT.
pub(super) fn mqtt_version(section: &HealthSection) -> Option<MqttVersionName> {
    match section.version? {
        ProbeVersionName::V311 => Some(MqttVersionName::V311),
        ProbeVersionName::V5 => Some(MqttVersionName::V5),
        ProbeVersionName::V091 | ProbeVersionName::V10 => None,
    }
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
    needs_username(username.is_some(), password_file, place, findings);
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
    checked_path(path.unwrap_or(otherwise), otherwise, &place.key("path"), findings)
}

fn checked_path(path: &str, example: &str, place: &Place, findings: &mut Findings) -> String {
    if !path.starts_with('/') || path.parse::<axum::http::Uri>().is_err() {
        findings.error(place, format!("{path:?} is not a path; start it with \"/\", as {example:?}"));
    }
    path.to_owned()
}
