//! What probes and telemetry say. All that has gathered is taken in together.

use std::time::Duration;
use std::{iter, mem};

use balancer_control::{Input, ProbeResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::clock;
use super::core::Agent;
use super::start::Inputs;
use crate::probe::ProbeEvent;
use crate::telemetry::TelemetryEvent;

/// Time for which probes and samples gather before they are taken in together: to wake up for one costs several times as much
/// as to take it in, and backends that come into rotation at the same time are to change the ring once.
const GATHERING: Duration = Duration::from_millis(50);

/// The first of the probes and samples that gather, one of either, while the others wait in their channels.
#[derive(Debug, Default)]
pub(super) struct Heard {
    probe: Option<ProbeEvent>,
    sample: Option<TelemetryEvent>,
    until: Option<Instant>,
}

impl Heard {
    pub(super) fn probe(&mut self, first: ProbeEvent) {
        (self.probe, self.until) = (Some(first), Some(Instant::now() + GATHERING));
    }

    pub(super) fn sample(&mut self, first: TelemetryEvent) {
        (self.sample, self.until) = (Some(first), Some(Instant::now() + GATHERING));
    }

    /// Whether others are not to be listened to.
    pub(super) const fn gathers(&self) -> bool {
        self.until.is_some()
    }

    /// Waits until enough time has passed.
    pub(super) async fn gathered(&self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
        }
    }

    /// Takes in all that has gathered. Due before a configuration changes, too: it was asked for by the old one.
    pub(super) fn take_in(&mut self, agent: &mut Agent, inputs: &mut Inputs) {
        let Self { probe, sample, .. } = mem::take(self);
        // A probe that says that a backend is back clears what was read before.
        agent.probed(probe, &mut inputs.probes);
        agent.sampled(sample, &mut inputs.samples);
    }
}

impl Agent {
    /// A backend that comes into rotation or leaves it does so at once, and not with the next tick: what the agent
    /// says of it then is what the maps hold. Each write of them may cost a wait for packets.
    fn probed(&mut self, first: Option<ProbeEvent>, more: &mut mpsc::Receiver<ProbeEvent>) {
        let mut changed = false;
        for ProbeEvent { backend, result, note, lack } in first.into_iter().chain(waiting(more)) {
            self.lacking(backend, lack);
            if !matches!(result, ProbeResult::Untried(_)) {
                self.note(backend, note);
            }
            debug!("probe of backend {}: {result:?}", backend.0);
            let before = self.controller.state(backend);
            self.controller.handle(Input::Probe { backend, result }, clock::now());
            changed |= self.controller.state(backend) != before;
        }
        if changed {
            self.tick();
        }
    }

    fn sampled(&mut self, first: Option<TelemetryEvent>, more: &mut mpsc::Receiver<TelemetryEvent>) {
        first.into_iter().chain(waiting(more)).for_each(|event| self.read(event));
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

/// What waits in a channel.
fn waiting<T>(channel: &mut mpsc::Receiver<T>) -> impl Iterator<Item = T> {
    iter::from_fn(|| channel.try_recv().ok())
}
