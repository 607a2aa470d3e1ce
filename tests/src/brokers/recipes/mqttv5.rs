//! The broker of mqttv5-cli, from crates.io.

use std::process::Command;

use anyhow::Result;

use crate::brokers::{
    authority::{CERTIFICATE, KEY, certify},
    link::Link,
    recipe::{Place, Programs, Recipe, Trial, version_of},
};

pub(super) enum Mqttv5 {
    Plain,
    /// Over TLS and WebSocket.
    Links,
}

impl Recipe for Mqttv5 {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "mqttv5",
            Self::Links => "mqttv5-links",
        }
    }

    fn broker(&self) -> &'static str {
        "mqttv5"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("mqttv5")).arg("--version"))
    }

    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let mut broker = place.command("mqttv5");
        broker.args(["broker", "--host", "0.0.0.0:1883", "--allow-anonymous", "--sys-interval", "1"]);
        if matches!(self, Self::Links) {
            certify(place)?;
            broker.args(["--tls-host", "0.0.0.0:8883", "--tls-cert", CERTIFICATE, "--tls-key", KEY]);
            broker.args(["--ws-host", "0.0.0.0:8080", "--ws-tls-host", "0.0.0.0:8443"]);
        }
        Ok(vec![broker])
    }

    fn links(&self) -> &'static [Link] {
        const {
            &[
                Link::new("MQTT over TLS", 8883).tls(),
                Link::new("MQTT over WebSocket", 8080),
                Link::new("MQTT over WebSocket and TLS", 8443).tls(),
            ]
        }
    }

    fn trial(&self) -> Trial {
        match self {
            Self::Plain => Trial::Whole,
            Self::Links => Trial::Links,
        }
    }
}
