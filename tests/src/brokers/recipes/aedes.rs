//! Aedes, by its command line from npm.

use std::process::Command;

use anyhow::Result;

use crate::brokers::recipe::{Place, Programs, Recipe, version_of};

pub(super) struct Aedes;

impl Recipe for Aedes {
    fn broker(&self) -> &'static str {
        "aedes"
    }

    fn preset(&self) -> &'static str {
        "aedes"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("aedes")).arg("--version"))
    }

    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let mut broker = place.command("aedes");
        broker.args(["--protos", "tcp", "--host", "0.0.0.0", "--port", "1883"]);
        broker.args(["--stats", "--stats-interval", "1000"]);
        Ok(vec![broker])
    }

    fn tells_connections(&self) -> bool {
        true
    }

    fn tells_cpu(&self) -> bool {
        false
    }

    /// One event loop.
    fn cores(&self) -> f64 {
        1.0
    }
}
