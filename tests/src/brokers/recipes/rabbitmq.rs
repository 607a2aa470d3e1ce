//! RabbitMQ, from Debian: by AMQP 0-9-1, by MQTT with its plugin, and by whatever else its plugins speak.

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    brokers::{
        authority::{CA, CERTIFICATE, KEY, certify},
        drain::Drain,
        link::Link,
        recipe::{Load, Place, Programs, Protocol, Recipe, Trial, version_of},
        running::Running,
    },
    netns,
};

/// Where Debian has the scripts themselves; those in `PATH` change to the user `rabbitmq`.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

pub(super) enum RabbitMq {
    Amqp,
    Mqtt,
    /// STOMP, AMQP 1.0, MQTT in WebSockets, and TLS.
    Links,
}

impl Recipe for RabbitMq {
    fn name(&self) -> &'static str {
        match self {
            Self::Amqp => "rabbitmq",
            Self::Mqtt => "rabbitmq-mqtt",
            Self::Links => "rabbitmq-links",
        }
    }

    fn broker(&self) -> &'static str {
        "rabbitmq"
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::Amqp | Self::Links => Protocol::Amqp091,
            Self::Mqtt => Protocol::Mqtt,
        }
    }

    fn version(&self, _programs: &Programs) -> Result<String> {
        version_of(Command::new("dpkg-query").args(["--show", "rabbitmq-server"]))
    }

    /// The node's name is local, so that no name of the host has to be resolved. The Erlang port mapper would otherwise
    /// be started in the background and outlive the broker.
    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let (mut config, mut plugins) = (CONFIG.to_owned(), PLUGINS.to_owned());
        if matches!(self, Self::Links) {
            certify(place)?;
            config += LINKS;
            config += &tls(place, "ssl_options");
            config += &tls(place, "web_mqtt.ssl");
            plugins += LINK_PLUGINS;
        }
        place.write("rabbitmq.conf", &config)?;
        place.write("enabled_plugins", &format!("[{plugins}].\n"))?;
        // Messages of an earlier life would only make the start slower.
        for name in ["mnesia", "log"] {
            let directory = place.directory.join(name);
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(&directory)
                .with_context(|| format!("failed to make {}", directory.display()))?;
        }
        let mut mapper = place.command("epmd");
        mapper.args(["-address", "127.0.0.1"]);
        Ok(vec![mapper, script(place, "rabbitmq-server")])
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn load(&self) -> Load {
        Load { clients: 10, interval_ms: 20 }
    }

    fn drain(&self) -> Option<Drain> {
        let start = |running: &Running<'_>| {
            ask(running, "rabbitmq-upgrade", &["drain"])?;
            // Nothing is left to ask whether it drains.
            MANAGEMENT.into_iter().try_for_each(|port| refuses(running, port))
        };
        let end = |running: &Running<'_>| ask(running, "rabbitmq-upgrade", &["revive"]).map(|_| ());
        Some(Drain { start, end: Some(end), accepts: false })
    }

    fn links(&self) -> &'static [Link] {
        const {
            &[
                Link::new("AMQP 1.0", 5672).version("1.0"),
                Link::new("AMQP 0-9-1 over TLS", 5671).tls(),
                Link::new("STOMP", 61613).user("guest"),
                Link::new("STOMP over TLS", 61614).user("guest").tls(),
                Link::new("MQTT over TLS", 8883).tls(),
                Link::new("MQTT over WebSocket", 15675),
                Link::new("MQTT over WebSocket and TLS", 15676).tls(),
            ]
        }
    }

    fn trial(&self) -> Trial {
        match self {
            Self::Amqp | Self::Mqtt => Trial::Whole,
            Self::Links => Trial::Links,
        }
    }

    /// The probe holds an MQTT session, and no AMQP connection.
    fn cross_check(&self, running: &Running<'_>, clients: u64) -> Result<Option<String>> {
        let (verb, own) = match self {
            Self::Amqp | Self::Links => ("list_connections", 0),
            Self::Mqtt => ("list_mqtt_connections", 1),
        };
        let list = ask(running, "rabbitmqctl", &[verb, "--silent", "--no-table-headers"])?;
        let listed = list.lines().filter(|line| !line.is_empty()).count() as u64;
        ensure!(listed == clients + own, "rabbitmqctl {verb} lists {listed} connections:\n{list}");
        Ok(Some(format!("{listed} in rabbitmqctl {verb}")))
    }
}

/// Logs to standard error; the prometheus page and the management API listen on every address.
const CONFIG: &str = "\
listeners.tcp.default = 5672
loopback_users = none
mqtt.listeners.tcp.default = 1883
mqtt.allow_anonymous = true
mqtt.default_user = guest
mqtt.default_pass = guest
management.tcp.port = 15672
prometheus.tcp.port = 15692
log.file = false
log.console = true
log.console.level = warning
";

/// The management API and Prometheus.
const MANAGEMENT: [u16; 2] = [15672, 15692];

const PLUGINS: &str = "rabbitmq_management,rabbitmq_prometheus,rabbitmq_mqtt";

/// What speaks the other protocols.
const LINK_PLUGINS: &str = ",rabbitmq_amqp1_0,rabbitmq_stomp,rabbitmq_web_mqtt";

const LINKS: &str = "\
listeners.ssl.default = 5671
mqtt.listeners.ssl.default = 8883
stomp.listeners.tcp.default = 61613
stomp.listeners.ssl.default = 61614
web_mqtt.tcp.port = 15675
web_mqtt.ssl.port = 15676
";

/// The certificate of the listeners whose keys start like this. No client has to show one.
fn tls(place: &Place<'_>, keys: &str) -> String {
    let file = |name: &str| place.directory.join(name).display().to_string();
    format!(
        "{keys}.cacertfile = {}\n{keys}.certfile = {}\n{keys}.keyfile = {}\n",
        file(CA),
        file(CERTIFICATE),
        file(KEY)
    )
}

fn script(place: &Place<'_>, name: &str) -> Command {
    let directory = &place.directory;
    let mut command = place.command(format!("{SCRIPTS}/{name}"));
    command
        .env("RABBITMQ_NODENAME", "rabbit@localhost")
        .env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", directory.join("enabled_plugins"))
        .env("RABBITMQ_MNESIA_BASE", directory.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", directory.join("log"))
        .env("RABBITMQ_CONF_ENV_FILE", directory.join("none"))
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("LC_ALL", "C.UTF-8");
    command
}

/// Fails if a port of the broker accepts a connection.
fn refuses(running: &Running<'_>, port: u16) -> Result<()> {
    let host = running.place.host;
    let to = SocketAddr::new(host.v4.into(), port);
    let attempt = host.netns.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(2)))?;
    match attempt {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => bail!("{to} is not closed while the node drains: {other:?}"),
    }
}

/// What one of the broker's own tools says.
fn ask(running: &Running<'_>, tool: &str, arguments: &[&str]) -> Result<String> {
    netns::run(script(&running.place, tool).args(arguments))
}
