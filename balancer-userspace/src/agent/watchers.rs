//! The tasks that watch each backend: probes and telemetry.

use std::collections::{BTreeMap, BTreeSet};

use balancer_common::abi::BackendId;
use tokio::sync::mpsc;

use super::clock;
use crate::config::{HealthConfig, TelemetryConfig};
use crate::probe::{self, ProbeEvent, ProbeTask};
use crate::telemetry::{self, OwnClients, Target, TelemetryEvent, TelemetryTask};

/// What is watched of one backend.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Watched {
    pub(super) health: HealthConfig,
    pub(super) telemetry: TelemetryConfig,
    pub(super) cores: Option<f64>,
}

impl Watched {
    /// Whether its load is read, and not as it was: from another place, or by other rules.
    fn reads_otherwise(&self, before: &Self) -> bool {
        let (now, then) = (&self.telemetry.sources, &before.telemetry.sources);
        !now.is_empty() && (now != then || self.cores != before.cores)
    }
}

/// What became of tasks when the configuration changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Followed {
    /// Backends whose tasks go on.
    pub(super) goes_on: BTreeSet<BackendId>,
    /// Backends that were watched before, whose load is read otherwise from here on.
    pub(super) reads_otherwise: BTreeSet<BackendId>,
}

/// Running tasks by backend.
#[derive(Debug)]
pub(super) struct Watchers {
    running: BTreeMap<BackendId, (Watched, ProbeTask, TelemetryTask)>,
    probes: mpsc::Sender<ProbeEvent>,
    samples: mpsc::Sender<TelemetryEvent>,
}

impl Watchers {
    /// Nothing is watched yet.
    pub(super) const fn new(probes: mpsc::Sender<ProbeEvent>, samples: mpsc::Sender<TelemetryEvent>) -> Self {
        Self { running: BTreeMap::new(), probes, samples }
    }

    /// Whether a backend is watched.
    pub(super) fn has(&self, backend: BackendId) -> bool {
        self.running.contains_key(&backend)
    }

    /// Watches exactly these backends. Tasks whose configuration stays the same go on, held sessions included.
    pub(super) fn follow(&mut self, wanted: BTreeMap<BackendId, Watched>) -> Followed {
        let before = |id| self.running.get(id).map(|(watched, ..)| watched);
        let otherwise =
            wanted.iter().filter(|(id, now)| before(id).is_some_and(|was| now.reads_otherwise(was)));
        let reads_otherwise = otherwise.map(|(id, _)| *id).collect();
        self.running.retain(|id, (watched, ..)| wanted.get(id) == Some(watched));
        let goes_on = self.running.keys().copied().collect();
        for (backend, watched) in wanted {
            if self.running.contains_key(&backend) {
                continue;
            }
            let own = OwnClients::default();
            let probe = probe::spawn(backend, watched.health.clone(), own.clone(), self.probes.clone());
            let target = Target { backend, cores: watched.cores, own };
            let telemetry =
                telemetry::spawn(target, watched.telemetry.clone(), clock::now, self.samples.clone());
            self.running.insert(backend, (watched, probe, telemetry));
        }
        Followed { goes_on, reads_otherwise }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const ID: BackendId = BackendId(3);

    fn watched(cores: &str, telemetry: &str) -> BTreeMap<BackendId, Watched> {
        let text = format!(
            r#"
            [[service]]
            name = "mqtt"
            vip = "192.0.2.1"
            port = 1883
            [[service.backend]]
            name = "a"
            address = "10.0.0.1:1883"
            {cores}
            [service.backend.telemetry]
            {telemetry}
            "#
        );
        let backend = config::check(&text).unwrap().config.services.remove(0).backends.remove(0);
        let (health, telemetry) = (backend.health, backend.telemetry);
        BTreeMap::from([(ID, Watched { health, telemetry, cores: backend.cores })])
    }

    /// No task is given the time to begin.
    #[tokio::test]
    async fn whose_load_is_read_otherwise_is_told_apart_from_who_is_watched_otherwise() {
        let mut watchers = Watchers::new(mpsc::channel(1).0, mpsc::channel(1).0);
        let mut follow = |cores: &str, telemetry: &str| {
            let Followed { goes_on, reads_otherwise } = watchers.follow(watched(cores, telemetry));
            (goes_on.contains(&ID), reads_otherwise.contains(&ID))
        };
        let often = "source = \"agent-check\"\nport = 9000";
        let seldom = &format!("{often}\ninterval = \"4s\"");
        let other = "source = \"agent-check\"\nport = 9001";
        assert_eq!(follow("", often), (false, false), "nobody watched it");
        assert_eq!(follow("", often), (true, false));
        assert_eq!(follow("", seldom), (false, false), "the same, less often");
        assert_eq!(follow("", other), (false, true), "another agent");
        assert_eq!(follow("cores = 2", other), (false, true), "utilisation of other cores");
        assert_eq!(follow("cores = 2", "source = \"none\""), (false, false), "nothing is read");
    }
}
