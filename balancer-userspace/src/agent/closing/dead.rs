//! Services that close the flows of a backend that is down.

use std::collections::BTreeSet;

use tracing::{error, info, warn};

use crate::agent::core::Agent;
use crate::agent::{blocking, clock};

impl Agent {
    /// Has the flows of backends closed that have been down for longer than their service waits, and keeps those of
    /// backends that are back.
    pub(in crate::agent) fn mind_dead(&mut self) {
        let now = clock::now();
        let mut dead = BTreeSet::new();
        for service in &self.config.services {
            if let (Some(grace), Some(id)) = (service.close_down_after, self.registry.service_id(service.vip))
            {
                dead.extend(self.controller.dead(id, grace, now));
            }
        }
        for id in dead.difference(&self.closing.dead) {
            let live = self.counters.live(*id).unwrap_or(0);
            warn!("{} stays down: each of its {live} flows is closed at its next packet", self.name(*id));
        }
        for id in self.closing.dead.difference(&dead) {
            info!("flows of {} are kept again", self.name(*id));
        }
        self.closing.dead = dead;
        if let Err(error) = blocking(|| self.write_closing()) {
            error!("what is to be closed could not be written: {error}; it is tried again at the next tick");
        }
    }
}
