//! What probes and telemetry say. All that is waiting is taken in at once.

use balancer_control::Input;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::clock;
use super::core::Agent;
use crate::probe::ProbeEvent;
use crate::telemetry::TelemetryEvent;

impl Agent {
    /// A backend that comes into rotation or leaves it does so at once, and not with the next tick: what the agent
    /// says of it then is what the maps hold. Each write of them may cost a wait for packets.
    pub(super) fn probed(&mut self, first: ProbeEvent, more: &mut mpsc::Receiver<ProbeEvent>) {
        let mut changed = false;
        let mut next = Some(first);
        while let Some(ProbeEvent { backend, result, note }) = next {
            self.note(backend, note);
            debug!("probe of backend {}: {result:?}", backend.0);
            let before = self.controller.state(backend);
            self.controller.handle(Input::Probe { backend, result }, clock::now());
            changed |= self.controller.state(backend) != before;
            next = more.try_recv().ok();
        }
        if changed {
            self.tick();
        }
    }

    pub(super) fn sampled(&mut self, first: TelemetryEvent, more: &mut mpsc::Receiver<TelemetryEvent>) {
        let mut next = Some(first);
        while let Some(event) = next {
            self.read(event);
            next = more.try_recv().ok();
        }
    }

    /// Takes note of a reading, or of why there is none.
    fn read(&mut self, event: TelemetryEvent) {
        let backend = event.backend;
        if !self.watchers.has(backend) {
            // It was on its way when the backend was removed.
            return;
        }
        let problem = match event.result {
            Ok(sample) => {
                self.controller.handle(Input::Sample { backend, sample }, clock::now());
                (!event.problems.is_empty()).then(|| event.problems.join("; "))
            }
            Err(problem) => Some(problem),
        };
        match problem {
            Some(problem) => {
                if self.silent.insert(backend, problem.clone()).as_ref() != Some(&problem) {
                    warn!("telemetry of {}: {problem}", self.name(backend));
                }
            }
            None => {
                if self.silent.remove(&backend).is_some() {
                    info!("telemetry of {} is back", self.name(backend));
                }
            }
        }
    }
}
