//! Telemetry that lies, jumps, stops and goes back in time, and counters that do.

use super::*;

#[test]
fn telemetry_that_goes_back_in_time_is_refused_and_the_rest_goes_on() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[100, 100], 10);
    bench.sample(0, 10, utilisation(0.4));
    let before = bench.score(0);
    for taken in [9, 0] {
        let sample = Sample { taken: at(taken), ..utilisation(0.9) };
        assert_eq!(bench.give(Input::Sample { backend: BackendId(0), sample }, 12), "", "taken at {taken} s");
        assert_eq!(bench.score(0), before);
        assert!(bench.seen(0, 12).refused.is_some());
    }
    let ahead = Sample { taken: at(20), ..utilisation(0.9) };
    bench.give(Input::Sample { backend: BackendId(0), sample: ahead }, 12);
    assert_eq!(bench.score(0), before, "and neither is one of the future believed");
    bench.sample(0, 14, utilisation(0.5));
    assert_eq!(bench.seen(0, 14).refused, None);
}

#[test]
fn the_same_reading_given_again_is_no_fault_and_ages_as_it_should() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[100, 100], 10);
    bench.sample(0, 10, utilisation(0.4));
    let again = Sample { taken: at(10), ..utilisation(0.4) };
    for second in [12, 14, 30] {
        bench.give(Input::Sample { backend: BackendId(0), sample: again.clone() }, second);
        assert_eq!(bench.seen(0, second).refused, None);
    }
    let seen = bench.seen(0, 30);
    assert_eq!((seen.basis, seen.conditions[0].word), (Basis::Count, "stale"), "{:?}", seen.conditions);
}

/// A broker that tells its load every minute has an agent beside it that is asked every other second.
#[test]
fn the_same_reading_with_more_beside_it_is_heard_and_counts_once() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[100, 100], 10);
    let told = |second: u64| {
        let used = vec![ResourceUse { resource: Resource::Memory, used: 0.5 + second as f64 / 100.0 }];
        Sample { taken: at(10), messages: Some(500), resources: used, ..utilisation(0.4) }
    };
    bench.give(Input::Sample { backend: BackendId(0), sample: told(10) }, 10);
    let before = bench.score(0);
    for second in [12, 14, 30] {
        bench.give(Input::Sample { backend: BackendId(0), sample: told(second) }, second);
        let seen = bench.seen(0, second);
        assert_eq!((seen.refused, seen.state), (None, BackendState::Up), "at {second} s");
        assert_eq!(bench.score(0).base == before.base, second <= 22, "the load ages as it should");
    }
    let leaves = Sample { draining: true, ..told(30) };
    bench.give(Input::Sample { backend: BackendId(0), sample: leaves }, 32);
    assert_eq!(bench.seen(0, 32).state, BackendState::Draining);
    bench.give(Input::Sample { backend: BackendId(0), sample: told(46) }, 34);
    assert_eq!(bench.seen(0, 34).state, BackendState::Exhausted);
}

#[test]
fn a_level_that_jumps_moves_the_score_by_its_weight_and_not_at_once() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[100, 100], 2);
    for second in (2..60).step_by(2) {
        bench.sample(0, second, utilisation(0.3));
        bench.sample(1, second, utilisation(0.3));
    }
    bench.sample(0, 60, utilisation(1.0));
    let after = bench.seen(0, 60).score;
    assert!((0.3..0.4).contains(&after), "one reading of a jump is filtered: {after}");
    bench.sample(0, 62, utilisation(0.0));
    assert!((0.25..0.4).contains(&bench.seen(0, 62).score), "{}", bench.seen(0, 62).score);
}

#[test]
fn message_counters_that_jump_teach_no_capacity_beyond_its_range() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[100, 100], 2);
    for (step, second) in (2..120).step_by(2).enumerate() {
        let absurd = if step % 2 == 0 { u64::MAX / 2 } else { 3 };
        bench.sample(0, second, Sample { messages: Some(absurd), ..utilisation(0.5) });
        bench.sample(1, second, Sample { messages: Some(100 * second), ..utilisation(0.5) });
        for id in 0..2 {
            let seen = bench.seen(id, second);
            assert!((0.1..=10.0).contains(&seen.capacity) && seen.score.is_finite(), "{seen:?}");
        }
    }
    let slots = bench.slots();
    assert!(slots[&1] > 500, "whatever one says, the other keeps its place: {slots:?}");
}

#[test]
fn a_counter_that_is_another_one_teaches_no_capacity() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[100, 100], 2);
    for second in (2..300).step_by(2) {
        if second == 200 {
            bench.give(Input::OtherTelemetry { backend: BackendId(0) }, second);
        }
        let other = if second < 200 { 0 } else { 40_000_000 };
        bench.sample(0, second, Sample { messages: Some(other + 100 * second), ..utilisation(0.5) });
        bench.sample(1, second, Sample { messages: Some(100 * second), ..utilisation(0.5) });
        let (capacity, slots) = (bench.seen(0, second).capacity, bench.slots());
        assert!((0.9..1.1).contains(&capacity), "{capacity} at {second} s");
        assert!((30_000..36_000).contains(&slots[&0]), "{slots:?} at {second} s");
    }
}

#[test]
fn telemetry_that_stops_everywhere_leaves_the_counts() {
    let mut bench = Bench::new(Policy::Adaptive, (0..3).map(backend).collect());
    bench.count(&[100, 200, 300], 2);
    for id in 0..3 {
        bench.sample(id, 2, utilisation(0.2 + f64::from(id) / 10.0));
    }
    bench.count(&[100, 200, 300], 15);
    for id in 0..3 {
        assert_eq!(bench.seen(id, 15).basis, Basis::Count);
        assert!(bench.open(id));
    }
    let predicted = [0, 1, 2].map(|id| bench.score(id).predict([100, 200, 300][usize::from(id)]));
    assert!(predicted.is_sorted() && predicted[0] < predicted[2], "fewest connections win: {predicted:?}");
    let service = bench.controller.snapshot(at(15)).services.remove(0);
    assert!(service.conditions.iter().any(|condition| condition.word == "counting"));
}

#[test]
fn counters_that_go_back_or_overflow_eject_nobody_and_break_nothing() {
    let mut bench = Bench::new(Policy::Adaptive, (0..3).map(backend).collect());
    bench.syns(&[(1000, 1000, 0); 3], 1);
    for (second, syns) in [(2, (0, 0, 0)), (3, (u64::MAX, u64::MAX, 0)), (4, (5, 0, 0)), (6, (5, 0, 0))] {
        bench.syns(&[syns; 3], second);
        assert!((0..3).all(|id| bench.open(id)), "at {second} s");
    }
    bench.syns(&[(1000, 1000, 0), (0, 0, u64::MAX), (1000, 1000, 0)], 8);
    let open = (0..3).filter(|id| bench.open(*id)).count();
    assert!(open >= 2, "never more than the share");
}

#[test]
fn each_exhaustible_resource_closes_and_reopens_with_hysteresis() {
    for resource in [Resource::Memory, Resource::Descriptors, Resource::Disk, Resource::Connections] {
        let used = |used| Sample { resources: vec![ResourceUse { resource, used }], ..utilisation(0.2) };
        let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
        for (step, (share, open)) in
            [(0.94, true), (0.95, false), (0.94, false), (0.86, false), (0.85, true), (0.94, true)]
                .into_iter()
                .enumerate()
        {
            let second = 2 + 2 * step as u64;
            bench.sample(0, second, used(share));
            assert_eq!(bench.open(0), open, "{resource} at {share}");
            assert!(bench.open(1));
            if !open {
                assert_eq!(bench.seen(0, second).state, BackendState::Exhausted);
                assert!(bench.seen(0, second).reason.contains(&resource.to_string()));
            }
        }
    }
}
