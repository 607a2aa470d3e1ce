//! Who takes new flows, and who keeps slots.

use super::*;

#[test]
fn a_probed_backend_is_not_in_rotation_before_it_has_risen() {
    let mut bench = Bench::new(Policy::Adaptive, vec![probed(0), backend(1)]);
    assert!(!bench.open(0) && bench.open(1));
    assert_eq!(bench.seen(0, 0).state, BackendState::Starting);
    bench.probe(0, ProbeResult::Up, 1);
    assert!(!bench.open(0));
    assert_eq!(bench.probe(0, ProbeResult::Up, 2), "scores", "its slots were waiting");
    assert!(bench.open(0));
}

#[test]
fn a_failing_backend_is_closed_at_once_and_loses_its_slots_after_a_minute() {
    let mut bench = Bench::new(Policy::Maglev, vec![probed(0), probed(1), probed(2)]);
    for id in 0..3 {
        bench.probe(id, ProbeResult::Up, 1);
        bench.probe(id, ProbeResult::Up, 2);
    }
    assert_eq!(bench.probe(1, down(), 3), "");
    assert_eq!(bench.probe(1, down(), 4), "");
    assert_eq!(bench.probe(1, down(), 5), "scores");
    assert!(!bench.open(1) && bench.score(1).flags & ScoreFlags::DOWN != 0);
    assert_eq!(bench.controller.next_deadline(at(6)), Some(at(65)));
    assert_eq!(bench.tick(64), "");
    assert_eq!(bench.tick(65), "ring");
    assert_eq!(bench.slots().into_keys().collect::<Vec<_>>(), [0, 2]);
    bench.probe(1, ProbeResult::Up, 70);
    assert_eq!(bench.probe(1, ProbeResult::Up, 71), "scores ring");
    assert_eq!(bench.slots().len(), 3);
}

#[test]
fn all_down_stays_down_and_leaves_the_standby() {
    let standby = BackendSpec { standby: true, ..backend(2) };
    let mut bench = Bench::new(Policy::Adaptive, vec![probed(0), probed(1), standby]);
    for second in 1..4 {
        bench.probe(0, down(), second);
        bench.probe(1, down(), second);
    }
    bench.tick(1000);
    assert!(!bench.open(0) && !bench.open(1) && bench.open(2));
    assert_eq!(bench.slots().len(), 2, "the ring is not left empty");
}

#[test]
fn drains_close_keep_their_slots_and_end_with_the_last_flow() {
    let mut bench = Bench::new(Policy::Maglev, vec![backend(0), backend(1), backend(2)]);
    bench.count(&[5, 5, 5], 1);
    let drain = |drain| Input::Drain { backend: BackendId(1), drain };
    assert_eq!(bench.give(drain(true), 2), "scores");
    assert!(!bench.open(1));
    assert_eq!(bench.count(&[5, 5, 5], 1000), "", "slots stay while there are flows");
    assert_eq!(bench.seen(1, 1000).state, BackendState::Draining);
    assert_eq!(bench.count(&[5, 0, 5], 1002), "ring");
    let seen = bench.seen(1, 1002);
    assert_eq!((seen.state, seen.since, seen.drained_by_operator), (BackendState::Drained, at(2), true));
    assert_eq!(bench.give(drain(false), 1003), "scores ring");
    assert!(bench.open(1));
}

#[test]
fn a_drained_backend_loses_its_slots_a_minute_after_the_drain_began() {
    let mut bench = Bench::new(Policy::Maglev, vec![backend(0), backend(1), backend(2)]);
    bench.give(Input::Drain { backend: BackendId(1), drain: true }, 2);
    assert_eq!(bench.count(&[5, 0, 5], 20), "");
    assert_eq!(bench.seen(1, 20).state, BackendState::Drained);
    assert_eq!(bench.controller.next_deadline(at(20)), Some(at(62)));
    assert_eq!(bench.tick(61), "");
    assert_eq!(bench.tick(62), "ring");
    assert_eq!(bench.slots().into_keys().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn who_has_left_the_ring_and_is_gone_has_its_name_still() {
    let mut bench = Bench::new(Policy::Maglev, vec![backend(0), backend(1)]);
    let name = bench.seen(1, 0).name;
    assert_eq!(bench.give(model(service(Policy::Maglev, vec![backend(0)])), 1), "scores ring");
    let told = |bench: &Bench, second| {
        let change = bench.controller.snapshot(at(second)).services[0].ring_change.clone().unwrap();
        let gone = change.shares.into_iter().filter(|(_, _, after)| *after == 0.0).map(|(name, ..)| name);
        (change.why, gone.collect::<Vec<_>>())
    };
    let expected = (format!("{name} left"), vec![name]);
    assert_eq!(told(&bench, 1), expected);
    bench.tick(500);
    assert_eq!(told(&bench, 500), expected);
}

#[test]
fn a_leaving_backend_is_drained_and_then_forgotten() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[1, 1], 1);
    let leaving = BackendSpec { leaving: true, ..backend(1) };
    bench.give(model(service(Policy::Adaptive, vec![backend(0), leaving])), 2);
    assert!(!bench.open(1));
    bench.count(&[1, 0], 20);
    assert_eq!(bench.seen(1, 20).state, BackendState::Drained);
    assert_eq!(bench.give(model(service(Policy::Adaptive, vec![backend(0)])), 21), "scores ring");
    assert_eq!(bench.score(1), Score::default());
}

#[test]
fn the_brokers_own_wish_drains() {
    let mut bench = Bench::new(Policy::Adaptive, vec![probed(0), backend(1)]);
    bench.probe(0, ProbeResult::Up, 1);
    bench.probe(0, ProbeResult::Draining("maintenance".to_owned()), 2);
    assert_eq!(bench.seen(0, 2).state, BackendState::Draining);
    assert!(bench.seen(0, 2).reason.contains("maintenance"));
    bench.probe(0, ProbeResult::Up, 3);
    assert!(bench.open(0));
    bench.sample(1, 4, Sample { draining: true, ..utilisation(0.1) });
    assert!(!bench.open(1));
    bench.sample(1, 6, utilisation(0.1));
    assert!(bench.open(1));
    bench.sample(1, 8, Sample { draining: true, ..utilisation(0.1) });
    bench.tick(8 + 181);
    assert!(bench.open(1), "a source that fell silent drains nobody for ever");
}

#[test]
fn exhaustion_closes_one_but_never_all() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.sample(0, 2, memory(0.97));
    assert!(!bench.open(0) && bench.open(1));
    assert_eq!(bench.seen(0, 2).state, BackendState::Exhausted);
    bench.sample(1, 2, memory(0.99));
    assert!(bench.open(0) && bench.open(1), "closing all would turn pressure into an outage");
    assert!(bench.seen(0, 2).reason.contains("no backend is better off"), "{}", bench.seen(0, 2).reason);
    bench.sample(1, 4, memory(0.5));
    assert!(!bench.open(0) && bench.open(1));
    bench.sample(0, 6, memory(0.84));
    assert!(bench.open(0));
}

#[test]
fn an_open_standby_is_relief_enough() {
    let standby = BackendSpec { standby: true, ..backend(1) };
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), standby]);
    bench.sample(0, 2, memory(0.97));
    assert!(!bench.open(0) && bench.open(1));
}

#[test]
fn a_backend_that_comes_back_starts_at_level_zero() {
    let mut bench = Bench::new(Policy::Adaptive, vec![probed(0), backend(1)]);
    bench.probe(0, ProbeResult::Up, 1);
    bench.probe(0, ProbeResult::Up, 2);
    bench.count(&[100, 100], 2);
    bench.sample(0, 3, utilisation(0.8));
    for second in 4..7 {
        bench.probe(0, down(), second);
    }
    bench.count(&[0, 100], 8);
    bench.probe(0, ProbeResult::Up, 8);
    bench.probe(0, ProbeResult::Up, 9);
    assert_eq!((bench.seen(0, 9).basis, bench.seen(0, 9).score), (Basis::Count, 0.0));
}

#[test]
fn a_dead_backend_that_leaves_stays_dead_whoever_looks() {
    let leaving = BackendSpec { leaving: true, ..backend(1) };
    let mut bench = Bench::new(Policy::Maglev, vec![probed(0), probed(1), probed(2)]);
    for id in 0..3 {
        bench.probe(id, ProbeResult::Up, 1);
        bench.probe(id, ProbeResult::Up, 2);
    }
    for second in 3..6 {
        bench.probe(1, down(), second);
    }
    bench.count(&[5, 5, 5], 70);
    assert_eq!(bench.slots().into_keys().collect::<Vec<_>>(), [0, 2]);
    let gone = model(service(Policy::Maglev, vec![probed(0), leaving.clone(), probed(2)]));
    bench.give(gone, 71);
    assert!(bench.score(1).flags & ScoreFlags::DOWN != 0);
    assert_eq!(bench.slots().into_keys().collect::<Vec<_>>(), [0, 2], "it gets no slots back");

    // An agent that starts finds it in the maps alone.
    let mut scores = Box::new(ScoreTable([Score::default(); MAX_BACKENDS]));
    scores.0[1] = bench.score(1);
    let mut next = Bench::new(Policy::Maglev, vec![probed(0), leaving, probed(2)]);
    next.give(Input::Adopt { scores, rings: Vec::new() }, 72);
    assert!(next.score(1).flags & ScoreFlags::DOWN != 0);

    // Taken back, it has to rise first.
    bench.give(model(service(Policy::Maglev, vec![probed(0), probed(1), probed(2)])), 73);
    assert!(!bench.open(1));
}

#[test]
fn a_probe_that_cannot_tell_leaves_a_drain_for_as_long_as_one_that_fails_leaves_a_backend() {
    let unknown = || ProbeResult::Unknown("404".to_owned());
    let mut bench = Bench::new(Policy::Maglev, vec![probed(0), probed(1)]);
    bench.probe(0, ProbeResult::Draining("503".to_owned()), 1);
    bench.probe(0, ProbeResult::Draining("503".to_owned()), 2);
    bench.probe(0, unknown(), 3);
    bench.probe(0, unknown(), 4);
    bench.probe(0, ProbeResult::Draining("503".to_owned()), 5);
    for second in 6..8 {
        bench.probe(0, unknown(), second);
        assert_eq!(bench.seen(0, second).state, BackendState::Draining);
    }
    assert_eq!(bench.probe(0, unknown(), 8), "scores");
    assert!(bench.open(0));
}

#[test]
fn probes_that_were_not_sent_change_nothing() {
    let untried = || ProbeResult::Untried("too many open files".to_owned());
    let mut bench = Bench::new(Policy::Maglev, vec![probed(0), probed(1)]);
    for second in 1..4 {
        bench.probe(0, ProbeResult::Draining("503".to_owned()), second);
        bench.probe(1, ProbeResult::Up, second);
    }
    for second in 4..60 {
        assert_eq!(bench.probe(0, untried(), second), "");
        assert_eq!(bench.probe(1, untried(), second), "");
    }
    assert_eq!(bench.seen(0, 60).state, BackendState::Draining);
    assert_eq!(bench.seen(1, 60).state, BackendState::Up);
}

#[test]
fn what_is_not_probed_any_more_is_not_drained_by_its_probe() {
    let mut bench = Bench::new(Policy::Maglev, vec![probed(0), probed(1)]);
    for second in 1..3 {
        bench.probe(0, ProbeResult::Draining("CONNACK 3".to_owned()), second);
    }
    assert_eq!(bench.seen(0, 2).state, BackendState::Draining);
    bench.give(model(service(Policy::Maglev, vec![backend(0), probed(1)])), 3);
    assert!(bench.open(0));
}

#[test]
fn a_backend_that_leaves_keeps_its_slots_while_it_has_flows() {
    let weighted = |id| BackendSpec { weight: 100, ..backend(id) };
    let mut bench = Bench::new(Policy::Maglev, (0..3).map(weighted).collect());
    bench.count(&[5, 5, 5], 1);
    let before = bench.slots();
    let left = vec![weighted(0), BackendSpec { leaving: true, ..backend(1) }, weighted(2)];
    bench.give(model(service(Policy::Maglev, left)), 2);
    bench.count(&[5, 5, 5], 30);
    assert_eq!(bench.slots(), before);
}

#[test]
fn who_is_out_of_a_resource_is_so_for_the_next_agent_until_telemetry_speaks_or_falls_silent() {
    let both = || (0..2).map(backend).collect();
    let mut old = Bench::new(Policy::Adaptive, both());
    old.sample(0, 1, memory(0.97));
    let next = || {
        let mut bench = Bench::default();
        bench.controller.handle(model(service(Policy::Adaptive, both())), at(10));
        bench.give(Input::Adopt { scores: old.scores.clone().unwrap(), rings: Vec::new() }, 10);
        assert_eq!((bench.open(0), bench.open(1)), (false, true), "nobody has been heard yet");
        assert_eq!(bench.seen(0, 10).state, BackendState::Exhausted);
        bench
    };
    let mut told = next();
    for (second, used, open) in [(11, 0.90, false), (13, 0.80, true), (15, 0.90, true)] {
        told.sample(0, second, memory(used));
        assert_eq!(told.open(0), open, "{used} used at {second} s");
    }
    let mut silent = next();
    silent.tick(190);
    assert!(!silent.open(0));
    let due = silent.controller.next_deadline(at(190)).expect("it is not closed for ever");
    assert!((at(190)..=at(191)).contains(&due), "{due:?}");
    silent.tick(191);
    assert!(silent.open(0));
    let mut unread = next();
    unread.give(Input::NoTelemetry { backend: BackendId(0) }, 11);
    assert!(unread.open(0));
}

#[test]
fn what_telemetry_said_holds_no_longer_when_nothing_reads_it() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    let full = ResourceUse { resource: Resource::Memory, used: 0.99 };
    bench.sample(0, 1, Sample { draining: true, resources: vec![full], ..Sample::default() });
    bench.sample(0, 2, Sample { utilisation: Some(2.0), ..Sample::default() });
    let seen = bench.seen(0, 2);
    assert!(!bench.open(0) && seen.state == BackendState::Draining && seen.refused.is_some());
    bench.give(Input::NoTelemetry { backend: BackendId(0) }, 3);
    assert!(bench.open(0) && bench.seen(0, 3).refused.is_none());
}
