//! Aedes, by its command line from npm.

use std::process::Command;

use anyhow::Result;

use crate::brokers::{
    authority::{CERTIFICATE, KEY, certify},
    link::Link,
    recipe::{Place, Programs, Recipe, Trial, version_of},
};

pub(super) enum Aedes {
    Plain,
    /// Over TLS and WebSocket.
    Links,
}

impl Recipe for Aedes {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "aedes",
            Self::Links => "aedes-links",
        }
    }

    fn broker(&self) -> &'static str {
        "aedes"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("aedes")).arg("--version"))
    }

    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let mut broker = place.command("aedes");
        broker.args(["--protos", "tcp"]);
        if matches!(self, Self::Links) {
            certify(place)?;
            broker.args(["tls", "ws", "wss", "--key", KEY, "--cert", CERTIFICATE]);
        }
        broker.args(["--host", "0.0.0.0", "--port", "1883"]);
        broker.args(["--stats", "--stats-interval", "1000"]);
        Ok(vec![broker])
    }

    fn links(&self) -> &'static [Link] {
        const {
            &[
                Link::new("MQTT over TLS", 8883).tls(),
                Link::new("MQTT over WebSocket", 3000),
                Link::new("MQTT over WebSocket and TLS", 4000).tls(),
            ]
        }
    }

    fn trial(&self) -> Trial {
        match self {
            Self::Plain => Trial::Whole,
            Self::Links => Trial::Links,
        }
    }

    /// One event loop.
    fn cores(&self) -> f64 {
        1.0
    }
}
