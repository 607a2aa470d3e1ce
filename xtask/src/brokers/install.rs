//! Where each broker comes from, and how it gets here. Debian's packages are the machine's, without their services;
//! everything else lies in a folder of its own, named by its version, so that another version is another folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::Broker;
use crate::{
    process,
    setup::{self, Package},
    workspace::Workspace,
};

const LIMIT: Duration = Duration::from_secs(1800);

/// Programs that are not where programs usually are, by name.
#[derive(Default)]
pub(super) struct Programs(pub(super) Vec<(&'static str, PathBuf)>);

/// Where a broker comes from.
enum Origin {
    Debian(&'static [Package]),
    /// A package of a registry, its version, and the program it has.
    Npm(&'static str, &'static str, &'static str),
    PyPi(&'static str, &'static str, &'static str),
    /// The same with further arguments for `cargo install`.
    Cargo(&'static str, &'static str, &'static str, &'static [&'static str]),
}

const fn origin(broker: Broker) -> Origin {
    match broker {
        // Among the programs of `cargo xtask setup`.
        Broker::Mosquitto => Origin::Debian(&[]),
        Broker::Rabbitmq => {
            Origin::Debian(&[Package { name: "rabbitmq-server", service: Some("rabbitmq-server") }])
        }
        Broker::Nats => Origin::Debian(&[Package { name: "nats-server", service: Some("nats-server") }]),
        Broker::Activemq => Origin::Debian(&[
            Package { name: "activemq", service: Some("activemq") },
            // The codec of its MQTT connector, which the package does not ask for.
            Package { name: "libmqtt-client-java", service: None },
            // Its management over HTTP: Debian's build comes without Jolokia's agent.
            Package { name: "libjolokia-core-java", service: None },
            Package { name: "default-jdk-headless", service: None },
        ]),
        Broker::Aedes => Origin::Npm("aedes-cli", "1.0.2", "aedes"),
        Broker::Amqtt => Origin::PyPi("amqtt", "0.12.1", "amqtt"),
        Broker::Crossbar => Origin::PyPi("crossbar", "26.10.1", "crossbar"),
        // Neither WebSocket nor TLS is asked for, and they would double the time to build.
        Broker::Rumqttd => Origin::Cargo("rumqttd", "0.20.0", "rumqttd", &["--no-default-features"]),
        Broker::Mqttv5 => Origin::Cargo("mqttv5-cli", "0.29.10", "mqttv5", &[]),
    }
}

/// Installs a broker where it is missing, and notes where its program is.
pub(super) fn install(workspace: &Workspace, broker: Broker, programs: &mut Programs) -> Result<()> {
    let (package, version, program, place) = match origin(broker) {
        Origin::Debian(packages) => {
            return setup::packages(workspace, packages, "the brokers that presets and probes are tried on");
        }
        Origin::Npm(package, version, program) => (package, version, program, "node_modules/.bin"),
        Origin::PyPi(package, version, program) => (package, version, program, "bin"),
        Origin::Cargo(package, version, program, _) => (package, version, program, "bin"),
    };
    let folder = workspace.tools().join("brokers").join(format!("{package}-{version}"));
    let path = folder.join(place).join(program);
    if !path.is_file() {
        // What a run that was cut short left behind is no start for another one.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        fetch(workspace, &origin(broker), &folder)?;
    }
    if !path.is_file() {
        bail!("{package} {version} is installed, but there is no program {}", path.display());
    }
    programs.0.push((program, path));
    Ok(())
}

fn fetch(workspace: &Workspace, origin: &Origin, folder: &Path) -> Result<()> {
    let log = workspace.target().join("brokers/install.log");
    match origin {
        Origin::Debian(_) => Ok(()),
        Origin::Npm(package, version, _) => {
            let mut npm = tool("npm", "Node.js 20 or newer")?;
            npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(folder);
            process::logged(&format!("npm: {package}"), npm.arg(format!("{package}@{version}")), LIMIT, &log)
        }
        Origin::PyPi(package, version, _) => {
            let mut venv = tool("python3", "Python 3.11 or newer")?;
            venv.args(["-m", "venv"]).arg(folder);
            process::logged(&format!("python: {package}"), &mut venv, LIMIT, &log)
                .context("python3 cannot make virtual environments; on Debian install python3-venv")?;
            let mut pip = Command::new(folder.join("bin/python"));
            pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
            process::logged(&format!("pip: {package}"), pip.arg(format!("{package}=={version}")), LIMIT, &log)
        }
        Origin::Cargo(package, version, _, arguments) => {
            let mut cargo = Command::new("nice");
            cargo.args(["-n", "15", "cargo", "install", "--version", version, "--root"]).arg(folder);
            // A target directory of its own: a broker's dependencies are no part of this workspace.
            cargo.env("CARGO_TARGET_DIR", workspace.target().join("brokers/build"));
            // The versions that its author locked are older than what this compiler takes.
            process::logged(&format!("cargo: {package}"), cargo.args(*arguments).arg(package), LIMIT, &log)
        }
    }
}

fn tool(name: &str, of: &str) -> Result<Command> {
    match process::find(name) {
        Some(path) => Ok(Command::new(path)),
        None => bail!("there is no {name}; install {of}"),
    }
}
