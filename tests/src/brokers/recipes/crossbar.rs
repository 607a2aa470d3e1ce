//! Crossbar.io, from PyPI: its MQTT bridge.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::brokers::recipe::{Load, Place, Programs, Recipe, version_of};

pub(super) struct Crossbar;

impl Recipe for Crossbar {
    fn broker(&self) -> &'static str {
        "crossbar"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("crossbar")).arg("version"))
    }

    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let node = place.directory.join(".crossbar");
        fs::create_dir_all(&node).with_context(|| format!("failed to make {}", node.display()))?;
        // A node that was killed leaves its process id, and would not start again.
        let _ = fs::remove_file(node.join("node.pid"));
        place.write(".crossbar/config.json", CONFIG)?;
        let mut broker = place.command("crossbar");
        broker.args(["start", "--loglevel", "warn", "--cbdir"]).arg(node);
        Ok(vec![broker])
    }

    fn load(&self) -> Load {
        Load { clients: 10, interval_ms: 50 }
    }
}

/// One router whose only transport is MQTT, where everybody may do everything.
const CONFIG: &str = r#"{
  "version": 2,
  "controller": {},
  "workers": [{
    "type": "router",
    "realms": [{
      "name": "lab",
      "roles": [{
        "name": "anonymous",
        "permissions": [{
          "uri": "", "match": "prefix",
          "allow": {"call": true, "register": true, "publish": true, "subscribe": true},
          "disclose": {"caller": false, "publisher": false}, "cache": true
        }]
      }]
    }],
    "transports": [{
      "type": "mqtt",
      "endpoint": {"type": "tcp", "port": 1883},
      "options": {
        "realm": "lab", "role": "anonymous",
        "payload_mapping": {"": {"type": "passthrough"}},
        "auth": {"anonymous": {"type": "static", "role": "anonymous"}}
      }
    }]
  }]
}
"#;
