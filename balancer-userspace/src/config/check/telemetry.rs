//! The telemetry of one backend: the service's keys, with the backend's own over them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::file::{
    BackendSection, HealthKind, MetricNames, ServiceSection, SourceName, TelemetrySection,
};
use crate::config::problem::{Findings, Place};
use crate::config::{HttpAuth, LocalTarget, Meaning, MqttLogin, SourceConfig, TelemetryConfig, defaults};
use crate::preset::{Preset, Presets, SourceKind};

use super::service::Known;
use super::{health, span};

/// The two tables that make up the telemetry of one backend.
pub(super) struct Sections<'a> {
    pub(super) service: &'a TelemetrySection,
    pub(super) backend: &'a TelemetrySection,
}

/// Where those tables are.
pub(super) struct Places {
    pub(super) service: Place,
    pub(super) backend: Place,
}

/// One backend, as its telemetry sees it.
struct Target<'a> {
    keys: TelemetrySection,
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
    let keys = merged(sections);
    let Known { preset, presets } = known;
    let target = Target { keys, sections, places, service, preset, presets, cores: backend.cores, address };
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
        client_id: own.client_id.or(all.client_id),
        version: own.version.or(all.version),
        metrics: own.metrics.or(all.metrics),
        send: own.send.or(all.send),
        node_exporter: own.node_exporter.or(all.node_exporter),
        unit: process.unit,
        pid: process.pid,
        pid_file: process.pid_file,
        cgroup: process.cgroup,
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
            SourceName::MqttSys => self.mqtt_sys(findings),
            SourceName::AgentCheck => self.agent_check(findings),
        };
        let node = self.keys.node_exporter.and_then(|port| self.exporter("node-exporter", port));
        main.into_iter().chain(node).chain(local).collect()
    }

    /// An exporter beside the broker.
    fn exporter(&self, name: &str, port: u16) -> Option<SourceConfig> {
        let preset = self.presets.find(name)?;
        let SourceKind::Prometheus { path, .. } = &preset.source else { return None };
        Some(SourceConfig::Prometheus {
            url: format!("http://{}{path}", SocketAddr::new(self.address.ip(), port)),
            auth: HttpAuth::default(),
            meaning: Meaning::Preset(Arc::clone(preset)),
        })
    }

    fn default_source(&self, local: bool) -> SourceName {
        match self.preset.map(|preset| &preset.source) {
            Some(SourceKind::MqttSys { .. }) => SourceName::MqttSys,
            Some(SourceKind::Prometheus { .. }) => SourceName::Prometheus,
            Some(SourceKind::None) | None if local => SourceName::Local,
            Some(SourceKind::None) | None if self.keys.url.is_some() || self.keys.metrics.is_some() => {
                SourceName::Prometheus
            }
            Some(SourceKind::None) | None => SourceName::None,
        }
    }

    /// Keys of the service that mean one place cannot be right for several backends.
    fn shared(&self, findings: &mut Findings) {
        if self.service.backend.len() < 2 {
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
        use SourceName::{AgentCheck, MqttSys, Prometheus};
        let keys = &self.keys;
        let given: [(&str, bool, &[SourceName]); 10] = [
            ("port", keys.port.is_some(), &[Prometheus, MqttSys, AgentCheck]),
            ("path", keys.path.is_some(), &[Prometheus]),
            ("url", keys.url.is_some(), &[Prometheus]),
            ("metrics", keys.metrics.is_some(), &[Prometheus]),
            ("token_file", keys.token_file.is_some(), &[Prometheus]),
            ("username", keys.username.is_some(), &[Prometheus, MqttSys]),
            ("password_file", keys.password_file.is_some(), &[Prometheus, MqttSys]),
            ("client_id", keys.client_id.is_some(), &[MqttSys]),
            ("version", keys.version.is_some(), &[MqttSys]),
            ("send", keys.send.is_some(), &[AgentCheck]),
        ];
        for (key, given, wanted) in given {
            // A backend with a source of its own leaves the keys of the service's source unused.
            let own = self.sections.backend.source.is_some() && !self.is_own(key);
            if given && !own && !wanted.contains(&source) {
                let wanted: Vec<_> = wanted.iter().map(|name| format!("{:?}", name.word())).collect();
                let place = if self.is_own(key) { &self.places.backend } else { &self.places.service };
                findings.error(
                    &place.key(key),
                    format!(
                        "is for source = {} only, and the source is {:?}; leave it out",
                        wanted.join(" or "),
                        source.word()
                    ),
                );
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
            "client_id" => own.client_id.is_some(),
            "version" => own.version.is_some(),
            "send" => own.send.is_some(),
            _ => false,
        }
    }

    fn prometheus(&self, findings: &mut Findings) -> Option<SourceConfig> {
        let meaning = self.meaning(findings);
        let known = match self.preset.map(|preset| &preset.source) {
            Some(SourceKind::Prometheus { port, path }) if self.keys.metrics.is_none() => {
                Some((*port, path.as_str()))
            }
            Some(_) | None => None,
        };
        let path = health::http_path(
            self.keys.path.as_deref(),
            known.map_or(defaults::TELEMETRY_PATH, |(_, path)| path),
            self.place(|s| s.path.is_some()),
            findings,
        );
        let port = self.keys.port.or_else(|| known.map(|(port, _)| port));
        let url = match (&self.keys.url, port) {
            (Some(url), _) => url.0.clone(),
            (None, Some(port)) => format!("http://{}{path}", SocketAddr::new(self.address.ip(), port)),
            (None, None) => {
                let place = self.place(|s| s.source.is_some()).key("port");
                findings.error(
                    &place,
                    "missing; write the port that the metrics are served on, or a url per backend",
                );
                return None;
            }
        };
        Some(SourceConfig::Prometheus { url, auth: self.auth(findings), meaning: meaning? })
    }

    fn meaning(&self, findings: &mut Findings) -> Option<Meaning> {
        let place = self.place(|s| s.metrics.is_some()).key("metrics");
        if let Some(metrics) = &self.keys.metrics {
            return Some(Meaning::Named(names(metrics, self.cores, &place, findings)));
        }
        match self.preset {
            Some(preset) if matches!(preset.source, SourceKind::Prometheus { .. }) => {
                Some(Meaning::Preset(Arc::clone(preset)))
            }
            Some(preset) => {
                findings.error(
                    &place,
                    format!(
                        "missing; {} serves no metrics itself, so name those of its exporter, or leave source out",
                        preset.title
                    ),
                );
                None
            }
            None => {
                findings.error(
                    &place,
                    "missing; name the metrics, as { cpu_percent = \"emqx_vm_cpu_use\" }, or write a preset for the service",
                );
                None
            }
        }
    }

    fn auth(&self, findings: &mut Findings) -> HttpAuth {
        let keys = &self.keys;
        if keys.token_file.is_some() && (keys.username.is_some() || keys.password_file.is_some()) {
            findings.error(
                &self.place(|s| s.token_file.is_some()).key("token_file"),
                "a request has one authorisation; write either token_file, or username and password_file",
            );
        }
        if keys.password_file.is_some() && keys.username.is_none() {
            findings.error(
                &self.place(|s| s.password_file.is_some()).key("password_file"),
                "needs a username; write username as well",
            );
        }
        HttpAuth {
            username: keys.username.clone(),
            password_file: keys.password_file.as_ref().map(|path| path.0.clone()),
            token_file: keys.token_file.as_ref().map(|path| path.0.clone()),
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
            keys.version.or_else(|| probe?.version),
            self.place(|s| s.password_file.is_some()),
            findings,
        );
        login.client_id = login.client_id.filter(|id| !id.is_empty());
        let port = keys.port.unwrap_or_else(|| self.address.port());
        Some(SourceConfig::MqttSys {
            address: SocketAddr::new(self.address.ip(), port),
            login,
            preset: Arc::clone(preset),
        })
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

/// Names that go together.
fn names(names: &MetricNames, cores: Option<f64>, place: &Place, findings: &mut Findings) -> MetricNames {
    let cpu = [&names.cpu_ratio, &names.cpu_percent, &names.cpu_seconds];
    if cpu.iter().filter(|name| name.is_some()).count() > 1 {
        findings.error(
            place,
            "names the CPU in several ways; write one of cpu_ratio, cpu_percent and cpu_seconds",
        );
    }
    if names.cpu_seconds.is_some() && cores.is_none() {
        findings.error(
            &place.key("cpu_seconds"),
            "needs to know of how many cores; write cores for every [[service.backend]]",
        );
    }
    if *names == MetricNames::default() {
        findings.error(
            place,
            "names no metric; write at least one of cpu_ratio, cpu_percent, cpu_seconds and connections",
        );
    }
    names.clone()
}
