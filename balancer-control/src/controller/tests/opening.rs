//! A service that waits for enough backends.

use super::*;

fn waiting(n: u16, min_ready: u32) -> ServiceSpec {
    let mut service = service(Policy::RoundRobin, (0..n).map(probed).collect());
    service.protection.min_ready = min_ready;
    service
}

/// Probes a backend until it is up.
fn come_up(bench: &mut Bench, id: u16) {
    for _ in 0..2 {
        bench.probe(id, ProbeResult::Up, 1);
    }
}

fn open(bench: &Bench) -> usize {
    bench.scores.as_ref().expect("scores").0.iter().filter(|score| score.is_open(0)).count()
}

fn waits(bench: &Bench) -> Option<String> {
    let conditions = bench.controller.snapshot(at(1)).services.remove(0).conditions;
    conditions
        .into_iter()
        .find(|condition| condition.word == "too-few-ready")
        .map(|condition| condition.reason)
}

#[test]
fn it_opens_with_enough_ready_backends_and_stays_open() {
    let mut bench = Bench::default();
    bench.give(model(waiting(3, 2)), 0);
    come_up(&mut bench, 0);
    assert_eq!(open(&bench), 0);
    assert!(waits(&bench).is_some_and(|why| why.starts_with("1 of the 2 backends of min_ready are ready")));
    come_up(&mut bench, 1);
    assert_eq!((open(&bench), waits(&bench)), (2, None));
    let why = || "connection refused".to_owned();
    for _ in 0..3 {
        bench.give(Input::Probe { backend: BackendId(1), result: ProbeResult::Down(why()) }, 2);
    }
    assert_eq!((open(&bench), waits(&bench)), (1, None));
}

#[test]
fn an_adopted_service_is_open() {
    let mut bench = Bench::default();
    bench.give(model(waiting(2, 2)), 0);
    come_up(&mut bench, 0);
    come_up(&mut bench, 1);
    let scores = bench.scores.take().expect("scores");
    let mut next = Bench::default();
    next.controller.handle(model(waiting(2, 2)), at(5));
    next.give(Input::Adopt { scores, rings: Vec::new() }, 5);
    assert_eq!((open(&next), waits(&next)), (2, None));
}

#[test]
fn a_service_that_was_open_stays_so_across_a_restart_while_nobody_is_up() {
    let mut spec = waiting(2, 2);
    spec.protection.panic = None;
    let mut bench = Bench::default();
    bench.give(model(spec.clone()), 0);
    let closed = bench.scores.clone().expect("scores");
    come_up(&mut bench, 0);
    come_up(&mut bench, 1);
    for id in [0, 1] {
        for _ in 0..3 {
            bench.probe(id, down(), 2);
        }
    }
    assert_eq!(open(&bench), 0);
    for (scores, expected) in [(bench.scores.take().expect("scores"), 1), (closed, 0)] {
        let mut next = Bench::default();
        next.controller.handle(model(spec.clone()), at(5));
        next.give(Input::Adopt { scores, rings: Vec::new() }, 5);
        come_up(&mut next, 0);
        assert_eq!(open(&next), expected);
        assert_eq!(waits(&next).is_some(), expected == 0);
    }
}

#[test]
fn without_a_minimum_it_is_open_from_the_start() {
    let mut bench = Bench::default();
    bench.controller.handle(model(waiting(1, 0)), at(0));
    assert_eq!(waits(&bench), None);
    come_up(&mut bench, 0);
    assert_eq!(open(&bench), 1);
}

#[test]
fn an_agent_that_starts_again_counts_the_operators_weight_once() {
    let specs = || vec![backend(0), backend(1)];
    let heavier = || Input::Weight { backend: BackendId(0), weight: Some(200) };
    let mut old = Bench::new(Policy::Adaptive, specs());
    old.give(heavier(), 1);
    let slots = old.slots();
    assert!(slots[&0].abs_diff(2 * slots[&1]) < 20, "{slots:?}");

    // The agent repeats what the operator asked for when it has told what it found.
    let mut new = Bench::default();
    new.controller.handle(model(service(Policy::Adaptive, specs())), at(0));
    let rings = vec![(ServiceId(0), old.ring.clone().unwrap())];
    new.controller.handle(Input::Adopt { scores: old.scores.clone().unwrap(), rings }, at(0));
    new.controller.handle(heavier(), at(0));
    new.tick(0);
    for second in 1..70 {
        new.tick(second);
        assert_eq!(new.slots(), slots, "after {second} s");
        assert!((new.seen(0, second).capacity - 1.0).abs() < 0.01, "{}", new.seen(0, second).capacity);
    }
}
