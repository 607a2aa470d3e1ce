//! `balancer preset test`

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use balancer_control::Moment;

use super::answer::{Answer, told};
use super::place::{Place, by_port};
use super::{From, find};
use crate::cli::output::json;
use crate::cli::{Context, Exit, Failure};
use crate::config::health::MqttLogin;
use crate::config::telemetry::JsonDocument;
use crate::config::{HttpAuth, Meaning, SourceConfig};
use crate::link::Via;
use crate::preset::{Preset, Protocol, SourceKind};
use crate::telemetry::trial;
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
