//! Eclipse Mosquitto, from Debian.

use std::process::Command;

use anyhow::Result;

use crate::brokers::recipe::{Load, Place, Programs, Recipe, version_of};

pub(super) struct Mosquitto;

impl Recipe for Mosquitto {
    fn broker(&self) -> &'static str {
        "mosquitto"
    }

    fn preset(&self) -> &'static str {
        "mosquitto"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("mosquitto")).arg("-h"))
    }

    /// `user root` because the directory is root's alone.
    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let v4 = place.host.v4;
        let config = place.write(
            "mosquitto.conf",
            &format!(
                "user root\nlistener 1883 {v4}\nallow_anonymous true\nsys_interval 1\npersistence false\n\
                 max_queued_messages 0\nset_tcp_nodelay true\nlog_dest stderr\n"
            ),
        )?;
        let mut broker = place.command("mosquitto");
        broker.arg("-c").arg(config);
        Ok(vec![broker])
    }

    fn tells_connections(&self) -> bool {
        true
    }

    fn tells_cpu(&self) -> bool {
        false
    }

    fn cores(&self) -> f64 {
        1.0
    }

    fn load(&self) -> Load {
        Load { clients: 30, interval_ms: 10 }
    }
}
