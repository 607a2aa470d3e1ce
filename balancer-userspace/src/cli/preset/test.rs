//! `balancer preset test`

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use balancer_control::{Moment, Scope};
use serde::Serialize;

use super::{From, find};
use crate::cli::output::{json, percent, print, table};
use crate::cli::{Context, Exit, Failure};
use crate::config::health::MqttLogin;
use crate::config::telemetry::JsonDocument;
use crate::config::{HttpAuth, Meaning, SourceConfig};
use crate::link::Via;
use crate::preset::{Preset, Presets, Protocol, SourceKind};
use crate::telemetry::{Found, Reading, Trial, trial};
use crate::tls::TlsConfig;

/// Port of a broker whose preset names none.
const MQTT_PORT: u16 = 1883;

/// Arguments of `preset test`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A URL of telemetry, or a broker's host, as 10.0.0.11, broker1:15692 or http://broker1:8222.
    #[arg(value_name = "URL|HOST[:PORT]")]
    target: String,
    /// The preset. Without it the one that is known to listen on that port.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// User name.
    #[arg(long)]
    username: Option<String>,
    /// File whose first line is the password.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// File whose first line is a bearer token.
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    token_file: Option<PathBuf>,
    /// Time for one answer.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    tls: Tls,
    #[command(flatten)]
    from: From,
}

/// How a connection is encrypted. Any of them asks for TLS, as https:// does.
#[derive(Debug, clap::Args)]
struct Tls {
    /// Speaks TLS.
    #[arg(long)]
    tls: bool,
    /// PEM file with the certificates of the authorities that are believed. Without it those of the system.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// PEM file with a client certificate.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
    /// Name that the certificate must be for. Without it the host.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Believes whoever answers.
    #[arg(long, conflicts_with = "ca_file")]
    insecure: bool,
}

impl Tls {
    const fn asked(&self) -> bool {
        self.tls
            || self.insecure
            || self.ca_file.is_some()
            || self.certificate_file.is_some()
            || self.server_name.is_some()
    }

    fn config(&self) -> TlsConfig {
        TlsConfig {
            ca_file: self.ca_file.clone(),
            identity: self.certificate_file.clone().zip(self.key_file.clone()),
            server_name: self.server_name.clone(),
            verify: !self.insecure,
        }
    }
}

/// Where telemetry is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// `http` or `https`, where a URL was given.
    scheme: Option<String>,
    /// With brackets if it is an IPv6 address.
    host: String,
    port: Option<u16>,
    /// Path and query, if there is one.
    path: Option<String>,
    /// Whether TLS is asked for where no scheme is given.
    encrypted: bool,
}

pub(super) async fn run(args: Args, context: &mut Context<'_>) -> Result<(), Failure> {
    let presets = args.from.read()?;
    let mut place = Place::read(&args.target).map_err(Failure::Other)?;
    let preset = match &args.preset {
        Some(name) => find(&presets, name)?,
        None => by_port(&presets, &place).map_err(Failure::Other)?,
    };
    if args.tls.asked() && place.scheme.is_none() {
        place.encrypted = true;
    }
    let (config, patience) = source(preset, &place, &args).await.map_err(Failure::Other)?;
    if patience > args.timeout && !context.json {
        let seconds = patience.as_secs();
        writeln!(io::stderr(), "waiting for the next burst of topics, {seconds} s at most")?;
    }
    let tried = trial(&config, clock, args.timeout, patience).await;
    let tried = tried.map_err(|error| Failure::Other(error.to_string()))?;
    let answer = Answer::new(preset, &tried);
    if context.json {
        json(context.out, &answer)?
    } else {
        told(&answer, context.out)?
    }
    if answer.understood { Ok(()) } else { Err(Failure::Told(Exit::Failed)) }
}

/// The time since the first call.
fn clock() -> Moment {
    static START: OnceLock<Instant> = OnceLock::new();
    Moment(START.get_or_init(Instant::now).elapsed())
}

impl Place {
    fn read(text: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            format!(
                "{text:?} {why}; write a URL as http://10.0.0.11:8222/varz, or a host and port as 10.0.0.11:15692"
            )
        };
        if text.contains('@') {
            return Err("the URL has credentials in it, where others can see them; use --username and --password-file".to_owned());
        }
        // An IPv6 address without a port needs no brackets.
        if let Ok(address) = text.parse::<std::net::Ipv6Addr>() {
            return Ok(Self {
                scheme: None,
                host: format!("[{address}]"),
                port: None,
                path: None,
                encrypted: false,
            });
        }
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: axum::http::Uri = url.parse().map_err(|error| bad(&format!("is neither ({error})")))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("has no host"))?;
        let scheme = text.contains("://").then(|| uri.scheme_str().unwrap_or_default().to_owned());
        if scheme.as_deref().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
            return Err(bad("is not an http:// or https:// URL"));
        }
        let path = uri.path_and_query().map(ToString::to_string).filter(|path| path != "/");
        Ok(Self { scheme, host: host.to_owned(), port: uri.port_u16(), path, encrypted: false })
    }

    /// The URL of `path`, with what was not given taken from a preset.
    fn url(&self, port: u16, path: &str) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(if self.encrypted { "https" } else { "http" });
        let port = self.port.map_or_else(|| format!(":{port}"), |port| format!(":{port}"));
        // The scheme's own port was meant by a URL that names none.
        let port = if self.scheme.is_some() && self.port.is_none() { String::new() } else { port };
        format!("{scheme}://{}{port}{}", self.host, self.path.as_deref().unwrap_or(path))
    }
}

/// The one preset that is known to be read on the port.
fn by_port<'a>(presets: &'a Presets, place: &Place) -> Result<&'a Preset, String> {
    let Some(port) = place.port else {
        return Err(format!("{} alone does not tell its kind; write --preset NAME, or a port", place.host));
    };
    let known = presets.iter().map(|(preset, _)| preset.as_ref()).filter(|preset| match &preset.source {
        SourceKind::Prometheus { port: known, .. } | SourceKind::Json { port: known, .. } => *known == port,
        SourceKind::MqttSys { .. } => preset.protocol(port) == Some(Protocol::Mqtt),
        SourceKind::None => false,
    });
    let known: Vec<&Preset> = known.collect();
    match known[..] {
        [one] => Ok(one),
        [] => Err(format!(
            "no preset is read on port {port} by default; write --preset NAME, one of {}",
            presets.names().collect::<Vec<_>>().join(", ")
        )),
        [..] => {
            let names: Vec<_> = known.iter().map(|preset| preset.name.as_str()).collect();
            Err(format!(
                "several presets are read on port {port}; write --preset {}",
                names.join(", or --preset ")
            ))
        }
    }
}

/// The source, and how long to wait for what arrives by itself.
async fn source(preset: &Preset, place: &Place, args: &Args) -> Result<(SourceConfig, Duration), String> {
    let auth = HttpAuth {
        username: args.username.clone(),
        password_file: args.password_file.clone(),
        token_file: args.token_file.clone(),
        tls: args.tls.config(),
    };
    let meaning = Meaning::Preset(std::sync::Arc::new(preset.clone()));
    match &preset.source {
        SourceKind::Prometheus { port, path, .. } => {
            Ok((SourceConfig::Prometheus { url: place.url(*port, path), auth, meaning }, Duration::ZERO))
        }
        SourceKind::Json { port, pages, headers, .. } => {
            if pages.len() > 1 && place.path.is_some() {
                return Err(format!("{} reads several documents; leave the path out", preset.name));
            }
            let document = |page: &crate::preset::JsonPage| JsonDocument {
                name: page.name.clone(),
                url: place.url(*port, &page.path),
                post: page.post.clone(),
            };
            let documents = pages.iter().map(document).collect();
            Ok((SourceConfig::Json { documents, headers: headers.clone(), auth, meaning }, Duration::ZERO))
        }
        SourceKind::MqttSys { heartbeat_interval_s, .. } => {
            let ports = preset.ports.get(&Protocol::Mqtt).and_then(|ports| ports.first());
            let port = place.port.or(ports.copied()).unwrap_or(MQTT_PORT);
            let host = place.host.trim_matches(['[', ']']);
            let found = tokio::net::lookup_host((host, port)).await;
            let address = found.map_err(|error| format!("{host}: {error}"))?.next();
            let address = address.ok_or_else(|| format!("{host} has no address"))?;
            let login = MqttLogin {
                username: auth.username,
                password_file: auth.password_file,
                ..MqttLogin::default()
            };
            let encrypted = args.tls.asked() || preset.protocol(port) == Some(Protocol::Mqtts);
            let via = Via { tls: encrypted.then_some(auth.tls), websocket: None };
            let preset = std::sync::Arc::new(preset.clone());
            // Until the second heartbeat, and a little more.
            let patience = Duration::from_secs(heartbeat_interval_s * 2 + 2);
            Ok((SourceConfig::MqttSys { address, login, via, preset }, patience))
        }
        SourceKind::None => Err(format!(
            "{} tells nothing that could be read. {}",
            preset.title,
            preset.advice.as_deref().unwrap_or_default().replace('\n', " ")
        )),
    }
}

/// What is told.
#[derive(Serialize)]
struct Answer<'a> {
    preset: &'a str,
    title: &'a str,
    at: &'a str,
    /// Whether a reading came of it.
    understood: bool,
    problem: Option<String>,
    reading: Option<Told>,
    metrics: Vec<Metric<'a>>,
}

#[derive(Serialize)]
struct Told {
    utilisation: Option<f64>,
    cores: Option<f64>,
    connections: Option<u64>,
    max_connections: Option<u64>,
    messages: Option<u64>,
    resources: Vec<(String, f64)>,
    alarms: Vec<(String, &'static str)>,
    draining: bool,
}

#[derive(Serialize)]
struct Metric<'a> {
    what: &'a str,
    metric: &'a str,
    value: Option<f64>,
    optional: bool,
    problem: Option<&'a str>,
}

impl<'a> Answer<'a> {
    fn new(preset: &'a Preset, tried: &'a Trial) -> Self {
        let metric = |found: &'a Found| Metric {
            what: &found.what,
            metric: &found.metric,
            value: found.value,
            optional: found.optional,
            problem: found.problem.as_deref(),
        };
        Self {
            preset: &preset.name,
            title: &preset.title,
            at: &tried.at,
            understood: tried.result.is_ok(),
            problem: tried.result.as_ref().err().map(ToString::to_string),
            reading: tried.result.as_ref().ok().map(Told::new),
            metrics: tried.found.iter().map(metric).collect(),
        }
    }
}

impl Told {
    fn new(reading: &Reading) -> Self {
        let Reading { sample, max_connections } = reading;
        let scope = |scope| match scope {
            Scope::Node => "node",
            Scope::Cluster => "cluster",
        };
        Self {
            utilisation: sample.utilisation,
            cores: sample.cores,
            connections: sample.connections,
            max_connections: *max_connections,
            messages: sample.messages,
            resources: sample
                .resources
                .iter()
                .map(|r| (format!("{:?}", r.resource).to_lowercase(), r.used))
                .collect(),
            alarms: sample.alarms.iter().map(|(name, of)| (name.clone(), scope(*of))).collect(),
            draining: sample.draining,
        }
    }
}

fn told(answer: &Answer<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}, read from {}", answer.preset, answer.title, answer.at)?;
    if let Some(reading) = &answer.reading {
        understood(reading, out)?;
    }
    let mut all = table(&["WHAT", "METRIC", "VALUE"], &[2]);
    for metric in &answer.metrics {
        let value = match (metric.value, metric.optional) {
            (Some(value), _) => value.to_string(),
            (None, true) => "missing (optional)".to_owned(),
            (None, false) => "MISSING".to_owned(),
        };
        all.add_row([metric.what.to_owned(), metric.metric.to_owned(), value]);
    }
    if !answer.metrics.is_empty() {
        writeln!(out)?;
        print(out, &all)?;
    }
    let problems: Vec<_> = answer.metrics.iter().filter_map(|metric| metric.problem).collect();
    if !problems.is_empty() {
        writeln!(out)?;
    }
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    match &answer.problem {
        Some(problem) if !problems.contains(&problem.as_str()) => writeln!(out, "\n{problem}"),
        Some(_) | None => Ok(()),
    }
}

fn understood(reading: &Told, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |key: &str, value: String| writeln!(out, "  {key:<14}{value}");
    let cores = reading.cores.map_or_else(String::new, |cores| format!(" of {cores} cores"));
    match reading.utilisation {
        Some(utilisation) => line("cpu", format!("{}{cores}", percent(utilisation)))?,
        None => line("cpu", "not told: see the advice of balancer preset show".to_owned())?,
    }
    match (reading.connections, reading.max_connections) {
        (Some(connections), Some(most)) => line("connections", format!("{connections} of {most} at most"))?,
        (Some(connections), None) => line("connections", connections.to_string())?,
        (None, _) => {}
    }
    if let Some(messages) = reading.messages {
        line("messages", messages.to_string())?;
    }
    for (resource, used) in &reading.resources {
        line(resource, format!("{} used", percent(*used)))?;
    }
    for (alarm, scope) in &reading.alarms {
        line("alarm", format!("{alarm} ({scope})"))?;
    }
    if reading.draining {
        line("draining", "it asks for no new connections".to_owned())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = |text| Place::read(text).unwrap();
        assert_eq!(place("10.0.0.11").url(15692, "/metrics"), "http://10.0.0.11:15692/metrics");
        assert_eq!(place("broker1:9000").url(15692, "/metrics"), "http://broker1:9000/metrics");
        assert_eq!(place("http://broker1:9000").url(15692, "/metrics"), "http://broker1:9000/metrics");
        assert_eq!(place("http://broker1/own?a=b").url(15692, "/metrics"), "http://broker1/own?a=b");
        assert_eq!(place("https://broker1").url(15692, "/metrics"), "https://broker1/metrics");
        assert_eq!(place("2001:db8::1").url(8222, "/varz"), "http://[2001:db8::1]:8222/varz");
        assert_eq!(place("[2001:db8::1]:9000").url(8222, "/varz"), "http://[2001:db8::1]:9000/varz");
        for (text, why) in [
            ("ftp://broker1", "is not an http:// or https:// URL"),
            ("http://user:secret@broker1/", "has credentials in it"),
            ("", "is neither"),
            ("broker 1", "is neither"),
        ] {
            let error = Place::read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_port_names_a_preset_if_it_is_of_one_only() {
        let named = |text| {
            by_port(Presets::embedded(), &Place::read(text).unwrap()).map(|preset| preset.name.clone())
        };
        assert_eq!(named("10.0.0.11:15692").unwrap(), "rabbitmq");
        assert_eq!(named("http://10.0.0.11:8222/varz").unwrap(), "nats");
        assert!(named("10.0.0.11:1883").unwrap_err().contains("several presets are read on port 1883"));
        assert!(named("10.0.0.11:7").unwrap_err().contains("no preset is read on port 7"));
        assert!(named("10.0.0.11").unwrap_err().contains("write --preset NAME"));
    }
}
