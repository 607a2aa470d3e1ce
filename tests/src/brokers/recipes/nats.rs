//! NATS, from Debian: its MQTT, plain and in WebSockets.

use std::process::Command;

use anyhow::Result;

use crate::{
    brokers::{
        drain::Drain,
        link::Link,
        recipe::{Place, Programs, Recipe, Trial, version_of},
        running::Running,
    },
    netns,
};

pub(super) enum Nats {
    Plain,
    /// MQTT over WebSocket.
    Links,
}

impl Recipe for Nats {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "nats",
            Self::Links => "nats-links",
        }
    }

    fn broker(&self) -> &'static str {
        "nats"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("nats-server")).arg("--version"))
    }

    /// MQTT needs a name and JetStream. The monitoring port is read by the agent from the gateway.
    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let store = place.directory.join("jetstream");
        // Sessions of an earlier life would only make the start slower.
        let _ = std::fs::remove_dir_all(&store);
        let config = place.write(
            "nats.conf",
            &format!(
                "server_name: lab\nlisten: \"0.0.0.0:4222\"\nhttp: \"0.0.0.0:8222\"\nlame_duck_duration: \"60s\"\n\
                 jetstream {{ store_dir: \"{}\" }}\nmqtt {{ listen: \"0.0.0.0:1883\" }}\n\
                 websocket {{ listen: \"0.0.0.0:8080\", no_tls: true }}\n",
                store.display()
            ),
        )?;
        let mut broker = place.command("nats-server");
        broker.arg("--config").arg(config);
        Ok(vec![broker])
    }

    fn links(&self) -> &'static [Link] {
        const { &[Link::new("MQTT over WebSocket", 8080)] }
    }

    fn trial(&self) -> Trial {
        match self {
            Self::Plain => Trial::Whole,
            Self::Links => Trial::Links,
        }
    }

    /// Lame duck mode: the server's own port is closed, and connections are closed over `lame_duck_duration`. The MQTT
    /// port still accepts, and serves nobody.
    fn drain(&self) -> Option<Drain> {
        let start = |running: &Running<'_>| {
            let signal = format!("ldm={}", running.pid()?);
            netns::run(running.place.command("nats-server").args(["--signal", &signal])).map(|_| ())
        };
        Some(Drain { start, end: None, accepts: true })
    }
}
