//! Eclipse Mosquitto, from Debian.

use std::process::Command;

use anyhow::Result;

use crate::brokers::{
    authority::{CERTIFICATE, KEY, certify},
    link::Link,
    recipe::{Load, Place, Programs, Recipe, Trial, version_of},
};

pub(super) enum Mosquitto {
    Plain,
    /// Over TLS and WebSocket.
    Links,
}

impl Recipe for Mosquitto {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "mosquitto",
            Self::Links => "mosquitto-links",
        }
    }

    fn broker(&self) -> &'static str {
        "mosquitto"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("mosquitto")).arg("-h"))
    }

    /// `user root` because the directory is root's alone.
    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let v4 = place.host.v4;
        let mut config = format!(
            "user root\nlistener 1883 {v4}\nallow_anonymous true\nsys_interval 1\npersistence false\n\
             max_queued_messages 0\nset_tcp_nodelay true\nlog_dest stderr\n"
        );
        if matches!(self, Self::Links) {
            certify(place)?;
            let identity = format!("certfile {CERTIFICATE}\nkeyfile {KEY}\n");
            let websocket = "protocol websockets\nsocket_domain ipv4\n";
            config += &format!(
                "listener 8883 {v4}\n{identity}listener 9001 {v4}\n{websocket}listener 9443 {v4}\n{websocket}{identity}"
            );
        }
        let config = place.write("mosquitto.conf", &config)?;
        let mut broker = place.command("mosquitto");
        broker.arg("-c").arg(config);
        Ok(vec![broker])
    }

    fn cores(&self) -> f64 {
        1.0
    }

    fn load(&self) -> Load {
        Load { clients: 30, interval_ms: 10 }
    }

    fn links(&self) -> &'static [Link] {
        const {
            &[
                Link::new("MQTT over TLS", 8883).tls(),
                Link::new("MQTT over WebSocket", 9001).websocket("/mqtt"),
                Link::new("MQTT over WebSocket and TLS", 9443).websocket("/mqtt").tls(),
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
