//! The controller: inputs in, commands out.

use std::mem;
use std::sync::Arc;

use balancer_common::abi::{BackendId, MAX_BACKENDS, Ring, Score, ScoreTable, ServiceId};

use crate::backend::Backend;
use crate::service::Service;
use crate::{Command, Input, Model, Moment, Paces, ServiceSpec, admission};

mod closing;
mod report;

/// Keeps what is known of every backend, and says what the maps should hold.
///
/// [`Controller::handle`] takes note; [`Controller::tick`] decides. The agent reads the program's counts, hands them
/// over and ticks every second, unless `agent.tick` says otherwise, and at once after an input that should
/// not wait.
///
/// ```
/// use balancer_control::{Controller, Input, Model, Moment};
/// use std::time::Duration;
///
/// let mut controller = Controller::new();
/// let start = Moment(Duration::ZERO);
/// controller.handle(Input::Model(Model::default()), start);
/// assert_eq!(controller.tick(start).len(), 2); // no budgets, and the scores, all closed
/// assert!(controller.tick(start).is_empty()); // nothing is said twice
/// assert_eq!(controller.next_deadline(start), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Controller {
    /// In the order of the model.
    services: Vec<Service>,
    /// How many models there were.
    models: u64,
    /// Where each backend is, by its id: its service and itself, by index. Those that are gone leave their place empty.
    places: Vec<Option<(usize, usize)>>,
    /// As last asked for.
    scores: Option<Arc<ScoreTable>>,
    /// As last asked for.
    paces: Option<Paces>,
    /// Whether there were inputs since the last tick.
    dirty: bool,
    ticked: Moment,
}

impl Controller {
    /// A controller that knows of no service yet: give it an [`Input::Model`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of what happened. Inputs about backends that the model does not have change nothing: they may have
    /// been on their way when it changed.
    pub fn handle(&mut self, input: Input, now: Moment) {
        self.dirty = true;
        match input {
            Input::Model(model) => self.follow(model, now),
            Input::Adopt { scores, rings } => self.adopt(&scores, rings, now),
            Input::Probe { backend, result } => {
                self.with(backend, |backend, service| {
                    backend.probed(result, service.rise, service.fall, now)
                });
            }
            Input::Sample { backend, sample } => {
                self.with(backend, |backend, service| backend.sampled(sample, service, now));
            }
            Input::NoTelemetry { backend } => {
                self.with(backend, |backend, _| backend.forget_telemetry(now));
            }
            Input::OtherTelemetry { backend } => {
                self.with(backend, |backend, _| backend.load.forget());
            }
            Input::Counts(counts) => {
                for (id, counts) in counts {
                    self.with(id, |backend, _| backend.counted(counts, now));
                }
                self.services.iter_mut().for_each(|service| service.remember(now));
            }
            Input::Drain { backend, drain } => {
                self.with(backend, |backend, _| backend.drain.set_operator(drain, now));
            }
            Input::Missing { backend, missing } => {
                self.with(backend, |backend, _| backend.drain.set_missing(missing, now));
            }
            Input::Weight { backend, weight } => {
                self.with(backend, |backend, _| {
                    backend.weight_override = weight.map(|weight| weight.clamp(1, 1000))
                });
            }
        }
    }

    /// What has to change in the maps, in the order to apply it. Says nothing twice.
    pub fn tick(&mut self, now: Moment) -> Vec<Command> {
        self.dirty = false;
        self.ticked = self.ticked.max(now);
        let mut commands = Vec::new();
        for service in &mut self.services {
            let (ring_changed, steering_changed) = service.tick(now);
            if ring_changed {
                commands.extend(ring_command(service));
            }
            if steering_changed {
                commands.extend(steering_command(service));
            }
        }
        // Scores come first: a backend that a ring has just gained is in rotation only by its score, and one that has
        // lost its score is passed over wherever a ring still has it.
        commands.splice(0..0, self.changed_scores().map(Command::Scores));
        let paces = admission::paces(&self.services, now);
        if self.paces.as_ref() != Some(&paces) {
            // Before all: a backend that comes into rotation is not to be stormed before its budget is known.
            commands.insert(0, Command::Paces(paces.clone()));
            self.paces = Some(paces);
        }
        commands
    }

    /// Everything the maps should hold, for a lower half in doubt about what they do.
    pub fn resync(&mut self, now: Moment) -> Vec<Command> {
        self.tick(now);
        let paces = self.paces.clone().map(Command::Paces);
        let scores = self.scores.clone().map(Command::Scores);
        let services =
            self.services.iter().flat_map(|s| ring_command(s).into_iter().chain(steering_command(s)));
        paces.into_iter().chain(scores).chain(services).collect()
    }

    /// When the next tick is due although nothing happens; `None` is never. `now` when it is due already, as after
    /// every input.
    #[must_use]
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        if self.dirty {
            return Some(now);
        }
        let later =
            self.services.iter().flat_map(Service::deadlines).filter(|deadline| *deadline > self.ticked);
        later.min().map(|deadline| deadline.max(now))
    }

    fn follow(&mut self, model: Model, now: Moment) {
        self.models += 1;
        let mut services = mem::take(&mut self.services);
        let follow = |spec: ServiceSpec| match services.iter().position(|s| s.spec.id == spec.id) {
            Some(index) => {
                let mut service = services.swap_remove(index);
                service.respecify(spec, now);
                service
            }
            None => Service::new(spec, now),
        };
        self.services = model.services.into_iter().map(follow).collect();
        self.places.fill(None);
        for (index, service) in self.services.iter().enumerate() {
            for (place, backend) in service.backends.iter().enumerate() {
                let id = usize::from(backend.id().0);
                self.places.resize(self.places.len().max(id + 1), None);
                self.places[id] = Some((index, place));
            }
        }
    }

    fn adopt(&mut self, scores: &ScoreTable, mut rings: Vec<(ServiceId, Box<Ring>)>, now: Moment) {
        for service in &mut self.services {
            let ring = rings.iter().position(|(id, _)| *id == service.spec.id);
            service.adopt(scores, ring.map(|index| rings.swap_remove(index).1), now);
        }
    }

    fn place(&self, id: BackendId) -> Option<(usize, usize)> {
        self.places.get(usize::from(id.0)).copied().flatten()
    }

    fn with(&mut self, id: BackendId, act: impl FnOnce(&mut Backend, &ServiceSpec)) {
        let Some((service, backend)) = self.place(id) else { return };
        let Some(Service { spec, backends, .. }) = self.services.get_mut(service) else { return };
        if let Some(backend) = backends.get_mut(backend) {
            act(backend, spec);
        }
    }

    /// The scores, if they are not those that were last asked for.
    fn changed_scores(&mut self) -> Option<Arc<ScoreTable>> {
        let mut changed = self.scores.is_none();
        let closed = || Arc::new(ScoreTable([Score::default(); MAX_BACKENDS]));
        // Whoever was given the last ones has applied them by now, and nothing is copied.
        let table = Arc::make_mut(self.scores.get_or_insert_with(closed));
        for (place, before) in self.places.iter().zip(&mut table.0) {
            let backend =
                place.and_then(|(service, backend)| self.services.get(service)?.backends.get(backend));
            let score = backend.map_or_else(Score::default, |backend| backend.score);
            changed |= *before != score;
            *before = score;
        }
        if changed { self.scores.clone() } else { None }
    }
}

fn ring_command(service: &Service) -> Option<Command> {
    service.ring.ring().map(|ring| Command::Ring { service: service.spec.id, ring: Box::new(*ring) })
}

fn steering_command(service: &Service) -> Option<Command> {
    service.steering.clone().map(|steering| Command::Service { service: service.spec.id, steering })
}

#[cfg(test)]
mod tests;
