//! The broker of mqttv5-cli, from crates.io.

use std::{process::Command, thread::available_parallelism};

use anyhow::Result;

use crate::brokers::recipe::{Place, Programs, Recipe, version_of};

pub(super) struct Mqttv5;

impl Recipe for Mqttv5 {
    fn broker(&self) -> &'static str {
        "mqttv5"
    }

    fn preset(&self) -> &'static str {
        "mqttv5"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("mqttv5")).arg("--version"))
    }

    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let mut broker = place.command("mqttv5");
        broker.args(["broker", "--host", "0.0.0.0:1883", "--allow-anonymous", "--sys-interval", "1"]);
        Ok(vec![broker])
    }

    fn tells_connections(&self) -> bool {
        true
    }

    fn tells_cpu(&self) -> bool {
        false
    }

    /// As many threads as CPUs.
    fn cores(&self) -> f64 {
        available_parallelism().map_or(1.0, |n| n.get() as f64)
    }
}
