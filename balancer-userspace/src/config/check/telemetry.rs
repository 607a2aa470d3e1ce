//! The telemetry of one backend: the service's keys, with the backend's own over them.

mod http;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::file::{BackendSection, HealthKind, ServiceSection, SourceName, TelemetrySection};
use crate::config::problem::{Findings, Place};
use crate::config::value::Url;
use crate::config::{HealthCheck, LocalTarget, MqttLogin, SourceConfig, TelemetryConfig, defaults};
use crate::link::Via;
use crate::preset::{Preset, Presets, Protocol, SourceKind};
use crate::tls::TlsConfig;

use super::misplaced::Chosen;
use super::service::Known;
use super::tls::tls;
use super::{health, span};

/// The two tables that make up the telemetry of one backend.
pub(super) struct Sections<'a> {
    pub(super) service: &'a TelemetrySection,
    pub(super) backend: &'a TelemetrySection,
    /// Whether a registry found the backend, and so wrote its table.
    pub(super) discovered: bool,
    /// How the backend is probed: a subscription to the same port goes the same way.
    pub(super) probe: &'a HealthCheck,
}

/// Where those tables are.
pub(super) struct Places {
    pub(super) service: Place,
    pub(super) backend: Place,
}

/// One backend, as its telemetry sees it.
struct Target<'a> {
    keys: TelemetrySection,
    /// Whether the service's credentials are not for this backend.
    withheld: bool,
    sections: &'a Sections<'a>,
    places: &'a Places,
    service: &'a ServiceSection,
    preset: Option<&'a Arc<Preset>>,
    presets: &'a Presets,
    cores: Option<f64>,
    address: SocketAddr,
}

/// Where the load of the backend at `address` is read.
pub(super) fn telemetry(
    sections: &Sections<'_>,
    service: &ServiceSection,
    known: Known<'_>,
    backend: &BackendSection,
    address: SocketAddr,
    places: &Places,
    findings: &mut Findings,
) -> TelemetryConfig {
    let mut keys = merged(sections);
    let withheld = sections.discovered && is_elsewhere(keys.url.as_ref(), address);
    if withheld {
        withhold(&mut keys, address, places, findings);
    }
    let Known { preset, presets } = known;
    let cores = backend.cores;
    let target = Target { keys, withheld, sections, places, service, preset, presets, cores, address };
    let interval = span(target.keys.interval, defaults::TELEMETRY_INTERVAL);
    let given = span(target.keys.timeout, defaults::TELEMETRY_TIMEOUT);
    let place = target.place(|section| section.timeout.is_some());
    let timeout = timeout(interval, given, target.keys.timeout.is_some(), place, findings);
    TelemetryConfig { sources: target.sources(findings), interval, timeout }
}

/// A timeout that is no longer than the interval. A default is shortened, a value that was written is not.
pub(super) fn timeout(
    interval: Duration,
    timeout: Duration,
    given: bool,
    place: &Place,
    findings: &mut Findings,
) -> Duration {
    if given && timeout > interval {
        let (timeout, interval) = (humantime::format_duration(timeout), humantime::format_duration(interval));
        findings.error(
            &place.key("timeout"),
            format!("\"{timeout}\" is longer than interval (\"{interval}\"); write at most that"),
        );
    }
    timeout.min(interval)
}

fn merged(sections: &Sections<'_>) -> TelemetrySection {
    let (own, all) = (sections.backend.clone(), sections.service.clone());
    let local = |s: &TelemetrySection| {
        s.unit.is_some() || s.pid.is_some() || s.pid_file.is_some() || s.cgroup.is_some()
    };
    // Any of the four names the process, so one at the backend replaces all of the service's.
    let process = if local(&own) { own.clone() } else { all.clone() };
    TelemetrySection {
        source: own.source.or(all.source),
        interval: own.interval.or(all.interval),
        timeout: own.timeout.or(all.timeout),
        port: own.port.or(all.port),
        path: own.path.or(all.path),
        url: own.url.or(all.url),
        username: own.username.or(all.username),
        password_file: own.password_file.or(all.password_file),
        token_file: own.token_file.or(all.token_file),
        tls: own.tls.or(all.tls),
        client_id: own.client_id.or(all.client_id),
        version: own.version.or(all.version),
        metrics: own.metrics.or(all.metrics),
        send: own.send.or(all.send),
        node_exporter: own.node_exporter.or(all.node_exporter),
        report: own.report.or(all.report),
        exporter_tls: own.exporter_tls.or(all.exporter_tls),
        unit: process.unit,
        pid: process.pid,
        pid_file: process.pid_file,
        cgroup: process.cgroup,
    }
}

/// Whether `url` leads to another host than the backend's own address.
fn is_elsewhere(url: Option<&Url>, address: SocketAddr) -> bool {
    let Some(uri) = url.map(|url| url.0.parse::<axum::http::Uri>()) else { return false };
    let host = uri.ok().and_then(|uri| uri.host()?.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    host != Some(address.ip())
}

/// Takes out what only the service's own brokers may be shown: a registry could name any host.
fn withhold(keys: &mut TelemetrySection, address: SocketAddr, places: &Places, findings: &mut Findings) {
    let given = keys.username.take().is_some()
        | keys.password_file.take().is_some()
        | keys.token_file.take().is_some()
        | keys.tls.take().is_some();
    if given {
        findings.warn(
            &places.service,
            format!(
                "telemetry_url of {address} leads to another host, which is not given the credentials and tls of the \
                 service; write the backend with telemetry.url in the file if it should have them"
            ),
        );
    }
}

impl Target<'_> {
    /// The table that `has` is true of: the backend's, or else the service's.
    fn place(&self, has: impl Fn(&TelemetrySection) -> bool) -> &Place {
        if has(self.sections.backend) { &self.places.backend } else { &self.places.service }
    }

    fn sources(&self, findings: &mut Findings) -> Vec<SourceConfig> {
        self.shared(findings);
        let local = self.local(findings);
        let source = self.keys.source.unwrap_or_else(|| self.default_source(local.is_some()));
        self.misplaced(source, findings);
        let main = match source {
            SourceName::None => None,
            SourceName::Local => {
                if local.is_none() {
                    let place = self.place(|s| s.source.is_some());
                    findings.error(
                        place,
                        "source \"local\" needs to know the process; write unit, pid_file, pid or cgroup",
                    );
                }
                None
            }
            SourceName::Prometheus => self.prometheus(findings),
            SourceName::Json => self.json(findings),
            SourceName::MqttSys => self.mqtt_sys(findings),
            SourceName::AgentCheck => self.agent_check(findings),
        };
        main.into_iter().chain(self.exporters(findings)).chain(local).collect()
    }

    fn default_source(&self, local: bool) -> SourceName {
        match self.preset.map(|preset| &preset.source) {
            Some(SourceKind::MqttSys { .. }) => SourceName::MqttSys,
            Some(SourceKind::Prometheus { .. }) => SourceName::Prometheus,
            Some(SourceKind::Json { .. }) => SourceName::Json,
            Some(SourceKind::None) | None if local => SourceName::Local,
            Some(SourceKind::None) | None if self.keys.url.is_some() || self.keys.metrics.is_some() => {
                SourceName::Prometheus
            }
            Some(SourceKind::None) | None => SourceName::None,
        }
    }

    /// Keys of the service that mean one place cannot be right for several backends.
    fn shared(&self, findings: &mut Findings) {
        if self.service.backend.len() < 2 && self.service.discovery.is_none() {
            return;
        }
        let all = self.sections.service;
        let given = [
            ("url", all.url.is_some()),
            ("unit", all.unit.is_some()),
            ("pid", all.pid.is_some()),
            ("pid_file", all.pid_file.is_some()),
            ("cgroup", all.cgroup.is_some()),
        ];
        for (key, given) in given {
            if given {
                findings.error(
                    &self.places.service.key(key),
                    "would give every backend the same reading; write it as telemetry.* of the [[service.backend]] it belongs to",
                );
            }
        }
    }

    /// Keys that another source would use.
    fn misplaced(&self, source: SourceName, findings: &mut Findings) {
        use SourceName::{AgentCheck, Json, MqttSys, Prometheus};
        let keys = &self.keys;
        let given: [(&str, bool, &[SourceName]); 11] = [
            ("port", keys.port.is_some(), &[Prometheus, Json, MqttSys, AgentCheck]),
            ("path", keys.path.is_some(), &[Prometheus, Json]),
            ("url", keys.url.is_some(), &[Prometheus, Json]),
            ("metrics", keys.metrics.is_some(), &[Prometheus, Json]),
            ("token_file", keys.token_file.is_some(), &[Prometheus, Json]),
            ("username", keys.username.is_some(), &[Prometheus, Json, MqttSys]),
            ("password_file", keys.password_file.is_some(), &[Prometheus, Json, MqttSys]),
            ("tls", keys.tls.is_some(), &[Prometheus, Json, MqttSys]),
            ("client_id", keys.client_id.is_some(), &[MqttSys]),
            ("version", keys.version.is_some(), &[MqttSys]),
            ("send", keys.send.is_some(), &[AgentCheck]),
        ];
        let chosen = Chosen { by: "source", choice: source, word: SourceName::word };
        for (key, given, wanted) in given {
            // A backend with a source of its own leaves the keys of the service's source unused.
            let own = self.sections.backend.source.is_some() && !self.is_own(key);
            if given && !own {
                let place = if self.is_own(key) { &self.places.backend } else { &self.places.service };
                chosen.check_key(&place.key(key), wanted, findings);
            }
        }
    }

    /// Whether the key is in the backend's own table.
    fn is_own(&self, key: &str) -> bool {
        let own = self.sections.backend;
        match key {
            "port" => own.port.is_some(),
            "path" => own.path.is_some(),
            "url" => own.url.is_some(),
            "metrics" => own.metrics.is_some(),
            "token_file" => own.token_file.is_some(),
            "username" => own.username.is_some(),
            "password_file" => own.password_file.is_some(),
            "tls" => own.tls.is_some(),
            "client_id" => own.client_id.is_some(),
            "version" => own.version.is_some(),
            "send" => own.send.is_some(),
            _ => false,
        }
    }

    fn mqtt_sys(&self, findings: &mut Findings) -> Option<SourceConfig> {
        let keys = &self.keys;
        let preset = match self.preset {
            Some(preset) if matches!(preset.source, SourceKind::MqttSys { .. }) => preset,
            // The topics that most brokers have copied.
            None => self.presets.find("mosquitto")?,
            Some(preset) => {
                findings.error(
                    &self.place(|s| s.source.is_some()).key("source"),
                    format!("{} is not known to publish $SYS topics; leave source out", preset.title),
                );
                return None;
            }
        };
        let own = keys.username.is_some() || keys.password_file.is_some();
        // The probe's credentials do for the subscription, unless it has its own.
        let probe = (!own
            && health::kind(self.service, self.preset, self.address.port()) == HealthKind::Mqtt)
            .then_some(&self.service.health)
            .filter(|probe| probe.username.is_some());
        let mut login: MqttLogin = health::mqtt_login(
            keys.username.as_deref().or_else(|| probe?.username.as_deref()),
            keys.password_file.as_ref().or_else(|| probe?.password_file.as_ref()),
            keys.client_id.as_deref().or_else(|| probe?.client_id.as_deref()),
            keys.version.or_else(|| health::mqtt_version(probe?)),
            self.place(|s| s.password_file.is_some()),
            findings,
        );
        login.client_id = login.client_id.filter(|id| !id.is_empty());
        let port = keys.port.unwrap_or_else(|| self.address.port());
        let address = SocketAddr::new(self.address.ip(), port);
        let via = self.via(address, findings);
        Some(SourceConfig::MqttSys { address, login, via, preset: Arc::clone(preset) })
    }

    /// What a subscription at `address` is carried in: as written, as the probe, or else as the preset knows the port.
    fn via(&self, address: SocketAddr, findings: &mut Findings) -> Via {
        if let Some(tls) = self.tls(findings) {
            return Via { tls: Some(tls), websocket: None };
        }
        if let HealthCheck::Mqtt { address: probed, via, .. } = self.sections.probe
            && *probed == address
        {
            return via.clone();
        }
        let protocol = self.preset.and_then(|preset| preset.protocol(address.port()));
        Via { tls: (protocol == Some(Protocol::Mqtts)).then(TlsConfig::default), websocket: None }
    }

    /// How the source is encrypted, if that is written.
    fn tls(&self, findings: &mut Findings) -> Option<TlsConfig> {
        let section = self.keys.tls.as_ref()?;
        Some(tls(section, &self.place(|s| s.tls.is_some()).key("tls"), findings))
    }

    fn agent_check(&self, findings: &mut Findings) -> Option<SourceConfig> {
        let Some(port) = self.keys.port else {
            let place = self.place(|s| s.source.is_some()).key("port");
            findings.error(&place, "missing; write the port that the agent-check answers on");
            return None;
        };
        Some(SourceConfig::AgentCheck {
            address: SocketAddr::new(self.address.ip(), port),
            send: self.keys.send.clone(),
        })
    }

    fn local(&self, findings: &mut Findings) -> Option<SourceConfig> {
        let keys = &self.keys;
        let targets = [
            keys.unit.clone().map(LocalTarget::Unit),
            keys.pid.map(LocalTarget::Pid),
            keys.pid_file.clone().map(|path| LocalTarget::PidFile(path.0)),
            keys.cgroup.clone().map(|path| LocalTarget::Cgroup(PathBuf::from(path))),
        ];
        let mut targets = targets.into_iter().flatten();
        let target = targets.next()?;
        if targets.next().is_some() {
            let here = self
                .place(|s| s.unit.is_some() || s.pid.is_some() || s.pid_file.is_some() || s.cgroup.is_some());
            findings.error(
                here,
                "names the process in several ways; write one of unit, pid, pid_file and cgroup",
            );
        }
        let most = self.preset.and_then(|preset| preset.cores);
        Some(SourceConfig::Local { target, cores: self.cores.or(most) })
    }
}
