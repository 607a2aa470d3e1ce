//! Sources that are asked by HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::check::health;
use crate::config::check::tls::tls;
use crate::config::file::MetricNames;
use crate::config::problem::{Findings, Place};
use crate::config::{HttpAuth, JsonDocument, Meaning, SourceConfig, defaults};
use crate::preset::{Auth, Preset, SourceKind};
use crate::tls::TlsConfig;

use super::Target;

/// The preset of `balancer report`.
const REPORT: &str = "balancer-report";

impl Target<'_> {
    /// The exporters beside the broker.
    pub(super) fn exporters(&self, findings: &mut Findings) -> Vec<SourceConfig> {
        let place = self.place(|s| s.exporter_tls.is_some()).key("exporter_tls");
        let tls = self.keys.exporter_tls.as_ref().map(|section| tls(section, &place, findings));
        let known = [("node-exporter", self.keys.node_exporter), (REPORT, self.keys.report)];
        if tls.is_some() && known.iter().all(|(_, port)| port.is_none()) {
            findings.error(&place, "is for node_exporter and report, and there is neither; leave it out");
        }
        let source = |(name, port): (&str, Option<u16>)| self.exporter(name, port?, tls.as_ref());
        known.into_iter().filter_map(source).collect()
    }

    fn exporter(&self, name: &str, port: u16, tls: Option<&TlsConfig>) -> Option<SourceConfig> {
        let preset = self.presets.find(name)?;
        let SourceKind::Prometheus { path, .. } = &preset.source else { return None };
        let s = if tls.is_some() { "s" } else { "" };
        Some(SourceConfig::Prometheus {
            url: format!("http{s}://{}{path}", SocketAddr::new(self.address.ip(), port)),
            auth: HttpAuth { tls: tls.cloned().unwrap_or_default(), ..HttpAuth::default() },
            meaning: Meaning::Preset(Arc::clone(preset)),
        })
    }

    pub(super) fn prometheus(&self, findings: &mut Findings) -> Option<SourceConfig> {
        let known = match self.preset.map(|preset| &preset.source) {
            Some(SourceKind::Prometheus { port, path, auth }) if self.keys.metrics.is_none() => {
                Some((*port, path.as_str(), *auth))
            }
            Some(_) | None => None,
        };
        let meaning = self.meaning(known.is_some(), "a page of metrics", findings);
        let path = known.map_or(defaults::TELEMETRY_PATH, |(_, path, _)| path);
        let url = self.url(path, known.map(|(port, ..)| port), findings)?;
        let auth = self.auth(known.map(|(.., auth)| auth), findings);
        Some(SourceConfig::Prometheus { url, auth, meaning: meaning? })
    }

    pub(super) fn json(&self, findings: &mut Findings) -> Option<SourceConfig> {
        let known = match self.preset.map(|preset| &preset.source) {
            Some(SourceKind::Json { port, pages, auth, headers }) if self.keys.metrics.is_none() => {
                Some((*port, pages.as_slice(), *auth, headers.clone()))
            }
            Some(_) | None => None,
        };
        let meaning = self.meaning(known.is_some(), "JSON", findings);
        let Some((port, pages, auth, headers)) = known else {
            let url = self.url("/", None, findings)?;
            let documents = vec![JsonDocument { name: String::new(), url, post: None }];
            let auth = self.auth(None, findings);
            return Some(SourceConfig::Json {
                documents,
                headers: Default::default(),
                auth,
                meaning: meaning?,
            });
        };
        if pages.len() > 1 && self.keys.path.is_some() {
            findings.error(
                &self.place(|s| s.path.is_some()).key("path"),
                "the preset reads several documents; leave path out, or write the start of their URL as url",
            );
        }
        let mut documents = Vec::new();
        for page in pages {
            let url = match &self.keys.url {
                Some(url) => format!("{}{}", url.0.trim_end_matches('/'), page.path),
                None => self.url(&page.path, Some(port), findings)?,
            };
            documents.push(JsonDocument { name: page.name.clone(), url, post: page.post.clone() });
        }
        let auth = self.auth(Some(auth), findings);
        Some(SourceConfig::Json { documents, headers, auth, meaning: meaning? })
    }

    /// The URL of a page, which is at `path` and `port` unless the configuration says otherwise.
    fn url(&self, path: &str, port: Option<u16>, findings: &mut Findings) -> Option<String> {
        let path =
            health::http_path(self.keys.path.as_deref(), path, self.place(|s| s.path.is_some()), findings);
        match (&self.keys.url, self.keys.port.or(port)) {
            (Some(url), _) => Some(url.0.clone()),
            (None, Some(port)) => {
                let s = if self.keys.tls.is_some() { "s" } else { "" };
                Some(format!("http{s}://{}{path}", SocketAddr::new(self.address.ip(), port)))
            }
            (None, None) => {
                let place = self.place(|s| s.source.is_some()).key("port");
                findings.error(
                    &place,
                    "missing; write the port that the metrics are served on, or a url per backend",
                );
                None
            }
        }
    }

    /// Which metrics mean what: as named, or as the preset says if it is for this kind of source.
    fn meaning(&self, known: bool, what: &str, findings: &mut Findings) -> Option<Meaning> {
        let place = self.place(|s| s.metrics.is_some()).key("metrics");
        if let Some(metrics) = &self.keys.metrics {
            return Some(Meaning::Named(names(metrics, self.cores, &place, findings)));
        }
        match self.preset {
            Some(preset) if known => Some(Meaning::Preset(Arc::clone(preset))),
            Some(preset) => {
                findings.error(&place, missing(preset, what));
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

    fn auth(&self, wanted: Option<Auth>, findings: &mut Findings) -> HttpAuth {
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
        if keys.tls.is_some() && keys.url.as_ref().is_some_and(|url| url.0.starts_with("http:")) {
            findings.error(
                &self.place(|s| s.tls.is_some()).key("tls"),
                "is for an encrypted page, and url is not one; write \"https://\", or leave tls out",
            );
        }
        let given = keys.token_file.is_some() || keys.username.is_some();
        let place = &self.places.service;
        if let Some(wanted @ (Auth::Basic | Auth::Bearer)) = wanted
            && !given
            && !self.withheld
            && !findings.warnings.iter().any(|finding| finding.place == *place)
        {
            let title = self.preset.map_or("", |preset| preset.title.as_str());
            let write = if wanted == Auth::Basic { "username and password_file" } else { "token_file" };
            findings.warn(place, format!("{title} asks for credentials unless told not to; write {write}"));
        }
        HttpAuth {
            username: keys.username.clone(),
            password_file: keys.password_file.as_ref().map(|path| path.0.clone()),
            token_file: keys.token_file.as_ref().map(|path| path.0.clone()),
            tls: self.tls(findings).unwrap_or_default(),
        }
    }
}

fn missing(preset: &Preset, what: &str) -> String {
    format!(
        "missing; {} does not serve {what} that the preset knows, so name the metrics of what does, or leave source out",
        preset.title
    )
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
