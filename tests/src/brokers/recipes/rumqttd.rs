//! rumqttd, from crates.io.

use std::process::Command;

use anyhow::Result;

use crate::brokers::recipe::{Place, Programs, Recipe, version_of};

pub(super) struct Rumqttd;

impl Recipe for Rumqttd {
    fn broker(&self) -> &'static str {
        "rumqttd"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("rumqttd")).arg("--version"))
    }

    /// Without the section `prometheus`: its figures stand still while nobody publishes.
    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let config = place.write(
            "rumqttd.toml",
            "id = 0\n\n[router]\nid = 0\nmax_connections = 1000\nmax_outgoing_packet_count = 200\n\
             max_segment_size = 1048576\nmax_segment_count = 10\n\n[v4.1]\nname = \"v4-1\"\n\
             listen = \"0.0.0.0:1883\"\nnext_connection_delay_ms = 1\n\n[v4.1.connections]\n\
             connection_timeout_ms = 60000\nmax_payload_size = 20480\nmax_inflight_count = 100\n\
             dynamic_filters = true\n",
        )?;
        let mut broker = place.command("rumqttd");
        broker.arg("-c").arg(config);
        Ok(vec![broker])
    }
}
