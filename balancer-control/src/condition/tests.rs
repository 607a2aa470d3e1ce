use std::collections::BTreeSet;

use balancer_common::abi::BackendId;

use super::*;
use crate::fixture::{at, down, hasty, model, probed, up};
use crate::snapshot::{BackendSnapshot, Condition, Snapshot};
use crate::{BackendSpec, Controller, Counts, Input, Resource, ResourceUse, Sample, ServiceSpec};

fn spec(id: u16) -> BackendSpec {
    BackendSpec { standby: id == 3, cap: (id == 2).then_some(5), ..probed(id) }
}

fn known(backends: Vec<BackendSpec>) -> ServiceSpec {
    hasty(Policy::Adaptive, backends)
}

/// Four backends, the last a standby, all up at second 0.
fn controller() -> Controller {
    let mut controller = Controller::new();
    controller.handle(model(known((0..4).map(spec).collect())), at(0));
    for id in 0..4 {
        controller.handle(up(id), at(0));
    }
    controller.tick(at(0));
    controller
}

fn read(controller: &mut Controller, id: u16, second: u64, utilisation: f64) {
    let sample = Sample { taken: at(second), utilisation: Some(utilisation), ..Sample::default() };
    controller.handle(Input::Sample { backend: BackendId(id), sample }, at(second));
}

fn seen(snapshot: &Snapshot, id: usize) -> &BackendSnapshot {
    &snapshot.services[0].backends[id]
}

fn words(conditions: &[Condition]) -> Vec<&'static str> {
    conditions.iter().map(|condition| condition.word).collect()
}

#[test]
fn a_reading_that_ages_is_stale_and_says_how_old() {
    let mut controller = controller();
    read(&mut controller, 0, 1, 0.5);
    controller.tick(at(13));
    let fresh = controller.snapshot(at(13));
    assert_eq!(words(&seen(&fresh, 0).conditions), [] as [&str; 0]);
    assert_eq!(words(&seen(&fresh, 1).conditions), ["no-telemetry"]);
    assert_eq!(words(&fresh.services[0].conditions), [] as [&str; 0], "one is read");
    controller.tick(at(35));
    let stale = controller.snapshot(at(35));
    let condition = &seen(&stale, 0).conditions[0];
    assert_eq!((condition.word, condition.since, condition.closes), ("stale", Some(at(13)), false));
    let reason =
        "the last reading is 34 s old, more than stale_after = 12 s: connections are counted instead";
    assert_eq!(condition.reason, reason);
    assert_eq!(words(&stale.services[0].conditions), ["counting"]);
}

#[test]
fn what_holds_beside_a_drain_is_not_lost() {
    let mut controller = controller();
    let sample = Sample {
        taken: at(1),
        resources: vec![ResourceUse { resource: Resource::Memory, used: 0.97 }],
        ..Sample::default()
    };
    controller.handle(Input::Sample { backend: BackendId(0), sample }, at(1));
    controller.handle(Input::Drain { backend: BackendId(0), drain: true }, at(1));
    controller.handle(down(0, "connection refused"), at(2));
    controller.tick(at(2));
    let snapshot = controller.snapshot(at(2));
    let backend = seen(&snapshot, 0);
    assert_eq!(backend.state, BackendState::Draining);
    assert_eq!(words(&backend.conditions), ["down", "exhausted", "no-utilisation"]);
    assert!(backend.conditions[0].closes && backend.conditions[1].closes && !backend.open);
    assert_eq!(backend.conditions[1].reason, "memory 97 % used");
}

#[test]
fn caps_standbys_and_overrides_are_said() {
    let mut controller = controller();
    let counts = |live| Counts { live, ..Counts::default() };
    controller.handle(Input::Counts(vec![(BackendId(2), counts(5))]), at(1));
    controller.handle(Input::Weight { backend: BackendId(1), weight: Some(50) }, at(1));
    controller.tick(at(1));
    let snapshot = controller.snapshot(at(1));
    assert_eq!(words(&seen(&snapshot, 1).conditions), ["weight-override", "no-telemetry"]);
    let capped = &seen(&snapshot, 2).conditions[0];
    assert_eq!((capped.word, capped.closes), ("capped", true));
    assert_eq!(capped.reason, "5 live connections, and max_connections = 5");
    assert!(!seen(&snapshot, 2).open);
    assert_eq!(words(&seen(&snapshot, 3).conditions), ["standby", "no-telemetry"]);
}

#[test]
fn a_service_at_its_cap_says_so() {
    let mut controller = controller();
    let mut capped = known((0..4).map(spec).collect());
    capped.admission.cap = Some(5);
    controller.handle(model(capped), at(1));
    let counts = |live| Counts { live, ..Counts::default() };
    controller.handle(Input::Counts(vec![(BackendId(0), counts(3)), (BackendId(1), counts(1))]), at(1));
    controller.tick(at(1));
    let words_at =
        |controller: &Controller, second| words(&controller.snapshot(at(second)).services[0].conditions);
    assert!(!words_at(&controller, 1).contains(&"service-capped"));
    controller.handle(Input::Counts(vec![(BackendId(1), counts(2))]), at(2));
    controller.tick(at(2));
    assert!(words_at(&controller, 2).contains(&"service-capped"));
    let snapshot = controller.snapshot(at(2));
    let condition = &snapshot.services[0].conditions[0];
    assert!(condition.closes && condition.reason.contains("max_connections = 5"), "{condition:?}");
}

#[test]
fn a_service_says_who_stands_in_and_when_nobody_does() {
    let mut controller = controller();
    for id in 0..3 {
        controller.handle(Input::Drain { backend: BackendId(id), drain: true }, at(1));
    }
    controller.tick(at(1));
    let snapshot = controller.snapshot(at(1));
    let service = &snapshot.services[0];
    assert_eq!(words(&service.conditions), ["on-standby", "counting"]);
    assert_eq!(service.conditions[0].reason, "no backend of the ring takes new flows: b3 stands in");
    controller.handle(Input::Drain { backend: BackendId(3), drain: true }, at(2));
    controller.tick(at(2));
    let snapshot = controller.snapshot(at(2));
    assert_eq!(words(&snapshot.services[0].conditions), ["no-backend", "counting"]);
}

#[test]
fn one_that_was_removed_is_shown_as_leaving() {
    let mut controller = controller();
    let mut backends: Vec<BackendSpec> = (0..4).map(spec).collect();
    backends[0].leaving = true;
    backends[0].weight = 1;
    controller.handle(model(known(backends)), at(5));
    controller.tick(at(5));
    let snapshot = controller.snapshot(at(5));
    let leaving = seen(&snapshot, 0);
    assert!(words(&leaving.conditions).contains(&"leaving"), "{leaving:?}");
    let reason = &leaving.conditions[0].reason;
    assert!(reason.contains("it was up") && reason.contains("weight counts as 1"), "{reason}");
}

#[test]
fn a_ramp_is_said_until_it_has_ended() {
    let told = |reason: Option<Reason<'_>>| reason.map(|reason| reason());
    let budget = |rate| told(ramp(Some(BudgetSnapshot { rate, full: 500.0 })));
    let expected = "50 of 500 new connections a second are admitted until the ramp has ended";
    assert_eq!(budget(50.0).as_deref(), Some(expected));
    assert_eq!((budget(500.0), told(ramp(None))), (None, None));
}

#[test]
fn words_are_unique_and_in_one_case() {
    let source = include_str!("../condition.rs");
    let words: Vec<&str> = source.split("add(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(words.len() >= 18, "{words:?}");
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "{words:?}");
    for word in words {
        assert!(word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'), "{word}");
    }
}
