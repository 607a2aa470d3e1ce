//! aMQTT, from PyPI.

use std::process::Command;

use anyhow::Result;

use crate::brokers::recipe::{Load, Place, Programs, Recipe, version_of};

pub(super) struct Amqtt;

impl Recipe for Amqtt {
    fn broker(&self) -> &'static str {
        "amqtt"
    }

    fn version(&self, programs: &Programs) -> Result<String> {
        version_of(Command::new(programs.find("amqtt")).arg("--version"))
    }

    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        let config = place.write(
            "broker.yaml",
            "listeners:\n  default:\n    type: tcp\n    bind: 0.0.0.0:1883\nplugins:\n  \
             amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n  \
             amqtt.plugins.sys.broker.BrokerSysPlugin:\n    sys_interval: 1\n",
        )?;
        let mut broker = place.command("amqtt");
        broker.arg("-c").arg(config);
        Ok(vec![broker])
    }

    /// The interpreter runs one thread at a time.
    fn cores(&self) -> f64 {
        1.0
    }

    /// A message costs it about a millisecond.
    fn load(&self) -> Load {
        Load { clients: 10, interval_ms: 50 }
    }
}
