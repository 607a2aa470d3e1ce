//! `cargo xtask brokers`: the presets and probes against the real brokers. Installs what is missing, builds, then hands
//! over to the program `balancer-brokers`.

mod install;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;

use self::install::Programs;
use crate::{build, process, setup, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A broker to try, may be repeated; without it all of them.
    #[arg(long = "only", value_name = "NAME", value_enum)]
    only: Vec<Broker>,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Only installs the brokers.
    #[arg(long)]
    install: bool,
}

/// A broker that can be installed from a public registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Broker {
    /// From Debian.
    Mosquitto,
    /// From Debian; by AMQP 0-9-1 and by MQTT.
    Rabbitmq,
    /// From Debian; its MQTT.
    Nats,
    /// From Debian; its MQTT, with and without the codec that Debian leaves out.
    Activemq,
    /// From npm.
    Aedes,
    /// From PyPI.
    Amqtt,
    /// From crates.io.
    Rumqttd,
    /// From crates.io.
    Mqttv5,
    /// From PyPI.
    Crossbar,
}

impl Broker {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !process::is_root()? {
        bail!("the tests load a kernel program and make network namespaces: run this as root");
    }
    let only = if args.only.is_empty() { Broker::value_variants() } else { &args.only };
    setup::programs(workspace)?;
    let mut programs = Programs::default();
    let mut missing = Vec::new();
    for broker in only {
        // A broker that cannot be installed is a row of its own, so that the others are still tried.
        if let Err(error) = install::install(workspace, *broker, &mut programs) {
            eprintln!("{}: {error:#}", broker.name());
            missing.push((broker.name(), format!("{error:#}")));
        }
    }
    if args.install {
        return match missing.as_slice() {
            [] => Ok(()),
            _ => bail!("{} of {} brokers could not be installed", missing.len(), only.len()),
        };
    }
    let built = build::lab_programs(workspace)?;

    let program = built.binary.with_file_name("balancer-brokers");
    let mut brokers = std::process::Command::new(&program);
    if args.json {
        brokers.arg("--json");
    }
    for broker in only {
        brokers.args(["--only", &broker.name()]);
    }
    for (name, path) in &programs.0 {
        brokers.arg("--program").arg(format!("{name}={}", path.display()));
    }
    for (name, reason) in &missing {
        brokers.arg("--missing").arg(format!("{name}={reason}"));
    }
    brokers.arg("--out").arg(workspace.target().join("brokers"));
    let status = build::with_products(&mut brokers, &built)
        .status()
        .with_context(|| format!("failed to start {}", program.display()))?;
    if !status.success() {
        bail!("not everything holds; the logs are in {}", workspace.target().join("brokers").display());
    }
    Ok(())
}
