//! RabbitMQ, from Debian: by AMQP 0-9-1, and by MQTT with its plugin.

use std::{fs, process::Command, thread::available_parallelism, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    brokers::{
        drain::Drain,
        recipe::{Load, Place, Programs, Protocol, Recipe, version_of},
        running::Running,
    },
    netns,
};

/// Where Debian has the scripts themselves; those in `PATH` change to the user `rabbitmq`.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

pub(super) enum RabbitMq {
    Amqp,
    Mqtt,
}

impl Recipe for RabbitMq {
    fn name(&self) -> &'static str {
        match self {
            Self::Amqp => "rabbitmq",
            Self::Mqtt => "rabbitmq-mqtt",
        }
    }

    fn broker(&self) -> &'static str {
        "rabbitmq"
    }

    fn preset(&self) -> &'static str {
        "rabbitmq"
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::Amqp => Protocol::Amqp091,
            Self::Mqtt => Protocol::Mqtt,
        }
    }

    fn version(&self, _programs: &Programs) -> Result<String> {
        version_of(Command::new("dpkg-query").args(["--show", "rabbitmq-server"]))
    }

    /// The node's name is local, so that no name of the host has to be resolved. The Erlang port mapper would otherwise
    /// be started in the background and outlive the broker.
    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        place.write("rabbitmq.conf", CONFIG)?;
        place.write("enabled_plugins", "[rabbitmq_management,rabbitmq_prometheus,rabbitmq_mqtt].\n")?;
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

    fn tells_connections(&self) -> bool {
        true
    }

    fn tells_cpu(&self) -> bool {
        true
    }

    /// Schedulers are as many as CPUs.
    fn cores(&self) -> f64 {
        available_parallelism().map_or(1.0, |n| n.get() as f64)
    }

    fn load(&self) -> Load {
        Load { clients: 10, interval_ms: 20 }
    }

    fn drain(&self) -> Option<Drain> {
        let start = |running: &Running<'_>| ask(running, "rabbitmq-upgrade", &["drain"]).map(|_| ());
        let end = |running: &Running<'_>| ask(running, "rabbitmq-upgrade", &["revive"]).map(|_| ());
        Some(Drain { start, end: Some(end), accepts: false })
    }

    /// The probe holds an MQTT session, and no AMQP connection.
    fn cross_check(&self, running: &Running<'_>, clients: u64) -> Result<Option<String>> {
        let (verb, own) = match self {
            Self::Amqp => ("list_connections", 0),
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

/// What one of the broker's own tools says.
fn ask(running: &Running<'_>, tool: &str, arguments: &[&str]) -> Result<String> {
    netns::run(script(&running.place, tool).args(arguments))
}
