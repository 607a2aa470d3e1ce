//! What holds whatever the controller is told.

mod inputs;
mod naive;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use balancer_common::abi::{BackendId, MAX_BACKENDS, Ring, ScoreTable, ServiceId};
use balancer_control::snapshot::{BackendState, ServiceSnapshot};
use balancer_control::{Command, Controller, Input, Moment, Paces, ServiceSteering};
use proptest::prelude::*;

use crate::inputs::steps;
use crate::naive::Naive;

/// What the maps hold.
#[derive(Clone, Default, PartialEq)]
struct Maps {
    paces: Option<Paces>,
    scores: Option<Arc<ScoreTable>>,
    rings: BTreeMap<ServiceId, Box<Ring>>,
    steering: BTreeMap<ServiceId, ServiceSteering>,
}

impl Maps {
    /// Applies commands; each must change something.
    fn apply(&mut self, commands: Vec<Command>) -> Result<(), TestCaseError> {
        for command in commands {
            let changed = match command {
                Command::Paces(paces) => self.paces.replace(paces.clone()) != Some(paces),
                Command::Scores(scores) => self.scores.replace(scores.clone()) != Some(scores),
                Command::Ring { service, ring } => self.rings.insert(service, ring.clone()) != Some(ring),
                Command::Service { service, steering } => {
                    self.steering.insert(service, steering.clone()) != Some(steering)
                }
            };
            prop_assert!(changed, "a command repeats what the maps hold");
        }
        Ok(())
    }
}

fn check(controller: &Controller, maps: &Maps, naive: &Naive, now: Moment) -> Result<(), TestCaseError> {
    let scores = maps.scores.as_ref().expect("the first tick says the scores");
    let services = controller.snapshot(now).services;
    let panics = |id: BackendId| {
        let of = |service: &&ServiceSnapshot| service.backends.iter().any(|backend| backend.id == id);
        services.iter().find(of).is_some_and(|service| service.panic.is_some())
    };
    for (id, score) in (0..MAX_BACKENDS).map(|id| (BackendId(id as u16), scores.0[id])) {
        if naive.closed(id, panics(id)) {
            prop_assert!(!score.is_open(0), "{id:?} is closed, and its score is not: {score:?}");
        }
        prop_assert!(score.base <= 1 << 48, "{id:?}: {score:?}");
        prop_assert!(
            score.predict(u64::MAX) >= score.predict(score.counted),
            "more is never better: {score:?}"
        );
    }
    for service in services {
        let mut share = 0.0;
        for backend in &service.backends {
            let open = scores.0[usize::from(backend.id.0)].is_open(0);
            let set_aside = service.panic.is_some() && backend.state == BackendState::Down;
            prop_assert!(open == (backend.state == BackendState::Up) || open && set_aside, "{backend:?}");
            prop_assert!((1..=1000).contains(&backend.weight));
            prop_assert!((0.1..=10.0).contains(&backend.capacity), "{:?}", backend);
            prop_assert!(backend.score.is_finite() && backend.cost.is_finite() && backend.since <= now);
            prop_assert!(!backend.reason.is_empty());
            prop_assert!(backend.ring_share == 0.0 || !backend.standby && !backend.waiting);
            share += backend.ring_share;
        }
        let taking = service.backends.iter().any(|backend| scores.0[usize::from(backend.id.0)].is_open(0));
        let ejected =
            service.backends.iter().filter(|backend| backend.state == BackendState::Ejected).count();
        prop_assert!(
            ejected == 0 || taking,
            "the last one is never closed by its SYNs: {:?}",
            service.backends
        );
        let expected = if service.backends.iter().all(|backend| backend.standby) { 0.0 } else { 1.0 };
        prop_assert!((share - expected).abs() < 1e-9, "the ring is full or nobody's: {}", share);
        let steering = &maps.steering[&service.id];
        prop_assert!((1..=4).contains(&steering.draws) && steering.standby.len() <= 16);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn whatever_comes(steps in steps()) {
        let (mut controller, mut twin) = (Controller::new(), Controller::new());
        let (mut maps, mut naive) = (Maps::default(), Naive::default());
        let mut now = Moment(Duration::from_secs(1000));
        for step in steps {
            let later = now.plus(Duration::from_millis(step.after));
            // Until the deadline, time alone changes nothing.
            if let Some(deadline) = controller.next_deadline(now).filter(|deadline| *deadline > now) {
                let before = Moment(deadline.min(later).0.saturating_sub(Duration::from_nanos(1)));
                // Time does not go back, not even where no time passes.
                let commands = controller.clone().tick(before.max(now));
                prop_assert!(commands.is_empty(), "it changed before its deadline");
            }
            now = later;
            let mut input = step.input;
            if let Input::Sample { sample, .. } = &mut input {
                let taken = now.0.as_millis() as i64 - step.age;
                sample.taken = Moment(Duration::from_millis(taken as u64));
            }
            if let Input::Model(model) = &input {
                // The agent forgets the maps of a service that is gone.
                let kept = |id: &ServiceId| model.services.iter().any(|service| service.id == *id);
                maps.rings.retain(|id, _| kept(id));
                maps.steering.retain(|id, _| kept(id));
            }
            naive.note(&input);
            controller.handle(input.clone(), now);
            twin.handle(input, now);
            prop_assert_eq!(controller.next_deadline(now), Some(now), "inputs do not wait");
            let commands = controller.tick(now);
            prop_assert!(commands == twin.tick(now), "the same inputs give the same commands");
            maps.apply(commands)?;
            prop_assert!(controller.tick(now).is_empty(), "nothing is said twice");
            check(&controller, &maps, &naive, now)?;
        }
        let mut rebuilt = Maps::default();
        rebuilt.apply(controller.resync(now))?;
        prop_assert!(rebuilt == maps, "a resync is the sum of all commands");
    }
}
