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

    /// Watches exactly these backends. Tasks whose configuration stays the same go on, held sessions included: those of the
    /// backends that are returned.
    pub(super) fn follow(&mut self, wanted: BTreeMap<BackendId, Watched>) -> BTreeSet<BackendId> {
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
        goes_on
    }
}
