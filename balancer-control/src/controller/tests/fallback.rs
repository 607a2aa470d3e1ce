//! Panic, priority groups, and alarms of a cluster.

use super::*;
use crate::{Percent, Scope};

fn of_priority(id: u16, priority: u8) -> BackendSpec {
    BackendSpec { priority, ..probed(id) }
}

/// Backends whose probes all succeed.
fn up(policy: Policy, specs: Vec<BackendSpec>) -> Bench {
    let ids: Vec<u16> = specs.iter().map(|spec| spec.id.0).collect();
    let mut bench = Bench::new(policy, specs);
    for id in ids {
        rise(&mut bench, id, 1);
    }
    bench
}

fn rise(bench: &mut Bench, id: u16, second: u64) {
    bench.probe(id, ProbeResult::Up, second);
    bench.probe(id, ProbeResult::Up, second);
}

fn fail(bench: &mut Bench, id: u16, second: u64) {
    for _ in 0..3 {
        bench.probe(id, down(), second);
    }
}

fn open(bench: &Bench) -> Vec<u16> {
    (0..16).filter(|id| bench.open(*id)).collect()
}

fn service_of(bench: &Bench, second: u64) -> crate::snapshot::ServiceSnapshot {
    bench.controller.snapshot(at(second)).services.remove(0)
}

fn words(bench: &Bench, second: u64) -> Vec<&'static str> {
    service_of(bench, second).conditions.iter().map(|condition| condition.word).collect()
}

#[test]
fn with_fewer_than_half_up_all_that_are_configured_take_flows() {
    let mut bench = up(Policy::Adaptive, (0..4).map(probed).collect());
    fail(&mut bench, 0, 2);
    fail(&mut bench, 1, 3);
    assert_eq!(
        (open(&bench), service_of(&bench, 3).panic),
        (vec![2, 3], None),
        "half is not fewer than half"
    );
    fail(&mut bench, 2, 4);
    assert_eq!(open(&bench), [0, 1, 2, 3]);
    let panic = service_of(&bench, 4).panic.unwrap();
    assert_eq!((panic.since, panic.up, panic.of), (at(4), 1, 4));
    assert!(words(&bench, 4).contains(&"panic"));
    let seen = bench.seen(0, 4);
    assert!(seen.state == BackendState::Down && seen.open && seen.reason.contains("panics"), "{seen:?}");
    bench.tick(1000);
    assert_eq!(bench.slots().len(), 4, "nobody who takes flows is without slots");
    rise(&mut bench, 1, 1001);
    assert_eq!((open(&bench), service_of(&bench, 1001).panic), (vec![1, 3], None));
}

#[test]
fn panic_overrides_probes_and_nothing_else() {
    let standby = |id| BackendSpec { standby: true, ..probed(id) };
    let leaving = |id| BackendSpec { leaving: true, ..probed(id) };
    let mut bench = up(Policy::Adaptive, (0..6).map(probed).collect());
    for id in 0..4 {
        fail(&mut bench, id, 2);
    }
    bench.give(Input::Drain { backend: BackendId(0), drain: true }, 3);
    bench.sample(1, 3, memory(0.99));
    assert_eq!(service_of(&bench, 3).panic.map(|panic| (panic.up, panic.of)), Some((2, 5)));
    assert_eq!(open(&bench), [2, 3, 4, 5], "neither the drained nor the exhausted");
    let mut specs: Vec<_> = (0..5).map(probed).collect();
    specs.push(leaving(5));
    specs.push(standby(6));
    bench.give(model(service(Policy::Adaptive, specs)), 4);
    assert_eq!(open(&bench), [2, 3, 4], "the standby is not probed yet, and so cannot stand in");
    rise(&mut bench, 6, 5);
    assert_eq!((open(&bench), service_of(&bench, 5).panic), (vec![4, 6], None), "somebody stands in");
}

#[test]
fn a_panic_is_decided_by_what_syns_show() {
    let mut bench = up(Policy::Adaptive, (0..4).map(probed).collect());
    bench.syns(&[(100, 100, 0); 4], 1);
    for id in 0..3 {
        fail(&mut bench, id, 2);
    }
    assert_eq!(open(&bench), [0, 1, 2, 3]);
    // Two of those that probes call down are; the third answers.
    bench.syns(&[(150, 100, 50), (150, 150, 0), (150, 100, 50), (150, 150, 0)], 3);
    assert_eq!(open(&bench), [1, 3]);
    let seen = bench.seen(0, 3);
    assert!(seen.state == BackendState::Down && !seen.reason.contains("all the same"), "{seen:?}");
    assert!(seen.conditions.iter().any(|condition| condition.word == "ejected" && condition.closes));
    // When nobody answers, everybody is asked: there is nothing to lose.
    let mut bench = up(Policy::Adaptive, (0..3).map(probed).collect());
    bench.syns(&[(100, 100, 0); 3], 1);
    for id in 0..3 {
        fail(&mut bench, id, 2);
    }
    bench.syns(&[(150, 100, 50); 3], 3);
    assert_eq!(open(&bench), [0, 1, 2]);
}

/// Brokers that answer some SYNs are overloaded. Were they ejected one after the other, the last would get everything.
#[test]
fn a_panic_does_not_eject_the_overloaded_one_by_one() {
    let mut bench = up(Policy::Adaptive, (0..6).map(probed).collect());
    bench.syns(&[(100, 100, 0); 6], 1);
    for id in 0..5 {
        fail(&mut bench, id, 2);
    }
    let half = (300, 190, 110);
    bench.syns(&[half, half, half, half, (300, 100, 200), (300, 300, 0)], 3);
    let closed: Vec<u16> = (0..6).filter(|id| !bench.open(*id)).collect();
    assert_eq!(closed, [0, 4], "the dead, and as many of the others as there may be");
}

#[test]
fn panic_can_be_off_and_its_threshold_set() {
    let with = |panic| {
        let mut spec = service(Policy::Adaptive, (0..4).map(probed).collect());
        spec.protection.panic = panic;
        let mut bench = Bench::default();
        bench.give(model(spec), 0);
        (0..4).for_each(|id| rise(&mut bench, id, 1));
        (0..3).for_each(|id| fail(&mut bench, id, 2));
        open(&bench)
    };
    assert_eq!(with(None), [3]);
    assert_eq!(with(Some(Percent::new(25))), [3]);
    assert_eq!(with(Some(Percent::new(26))), [0, 1, 2, 3]);
}

#[test]
fn what_was_not_probed_yet_is_not_sick() {
    let mut bench = Bench::new(Policy::Adaptive, (0..3).map(probed).collect());
    assert_eq!((open(&bench), service_of(&bench, 0).panic), (vec![], None));
    fail(&mut bench, 0, 1);
    fail(&mut bench, 1, 1);
    assert!(service_of(&bench, 1).panic.is_some());
    assert_eq!(open(&bench), [0, 1], "the third waits for its first probes");
}

#[test]
fn the_next_group_opens_when_too_few_of_the_first_are_left() {
    let specs = vec![
        of_priority(0, 0),
        of_priority(1, 0),
        of_priority(2, 0),
        of_priority(3, 1),
        of_priority(4, 1),
        of_priority(5, 7),
        BackendSpec { standby: true, ..probed(6) },
    ];
    let mut bench = up(Policy::Adaptive, specs);
    let on_ring = |bench: &Bench| bench.slots().into_keys().collect::<Vec<_>>();
    let order =
        |bench: &Bench| bench.steering.as_ref().unwrap().standby.iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!((on_ring(&bench), order(&bench)), (vec![0, 1, 2], vec![3, 4, 5, 6]));
    assert!(bench.seen(3, 1).waiting && bench.seen(3, 1).open, "it is asked when nobody else takes a flow");
    fail(&mut bench, 0, 2);
    assert_eq!(on_ring(&bench), [0, 1, 2], "two of three are enough");
    bench.give(Input::Drain { backend: BackendId(1), drain: true }, 3);
    assert_eq!((on_ring(&bench), order(&bench)), (vec![0, 1, 2, 3, 4], vec![5, 6]));
    assert_eq!((words(&bench, 3), service_of(&bench, 3).open_to), (vec!["takeover", "counting"], 1));
    bench.sample(3, 4, memory(0.99));
    bench.sample(4, 4, memory(0.99));
    assert_eq!((on_ring(&bench).last(), order(&bench)), (Some(&5), vec![6]), "whatever the reason is");
    assert_eq!(service_of(&bench, 4).panic, None, "the last group is well");
    bench.give(Input::Drain { backend: BackendId(1), drain: false }, 5);
    assert_eq!((on_ring(&bench), order(&bench)), (vec![0, 1, 2], vec![3, 4, 5, 6]));
}

#[test]
fn a_group_that_waits_is_no_place_for_what_a_rebalancing_closes() {
    let mut bench = up(Policy::Adaptive, vec![of_priority(0, 0), of_priority(1, 0), of_priority(2, 1)]);
    let balanced = |bench: &Bench| {
        let seats = bench.controller.seats(ServiceId(0), |_| 5).unwrap();
        seats.iter().filter(|seat| seat.balanced).map(|seat| seat.id.0).collect::<Vec<_>>()
    };
    assert_eq!(balanced(&bench), [0, 1]);
    bench.give(Input::Drain { backend: BackendId(0), drain: true }, 2);
    bench.give(Input::Drain { backend: BackendId(1), drain: true }, 2);
    assert_eq!(balanced(&bench), [2]);
}

#[test]
fn a_start_does_not_send_flows_to_the_second_group() {
    let mut bench = Bench::new(Policy::Adaptive, vec![of_priority(0, 0), of_priority(1, 1)]);
    rise(&mut bench, 1, 1);
    assert_eq!(bench.slots().into_keys().collect::<Vec<_>>(), [0]);
    fail(&mut bench, 0, 2);
    assert_eq!(service_of(&bench, 2).open_to, 1);
    assert_eq!(open(&bench), [1], "the second group is there, so nobody panics");
}

#[test]
fn a_panic_opens_every_group() {
    let mut bench = up(Policy::Adaptive, vec![of_priority(0, 0), of_priority(1, 0), of_priority(2, 1)]);
    for id in 0..3 {
        fail(&mut bench, id, 2);
    }
    assert_eq!(open(&bench), [0, 1, 2]);
    assert_eq!(service_of(&bench, 2).open_to, 1);
    assert!(!words(&bench, 2).contains(&"takeover"));
}

#[test]
fn an_alarm_of_the_cluster_slows_the_service_and_closes_nobody() {
    let mut bench = Bench::new(Policy::Adaptive, (0..3).map(backend).collect());
    let alarm = Sample { alarms: vec![("disk".to_owned(), Scope::Cluster)], ..utilisation(0.2) };
    for id in 0..3 {
        bench.sample(id, 2, alarm.clone());
    }
    let service = service_of(&bench, 2);
    assert_eq!((open(&bench), service.pace), (vec![0, 1, 2], Some(50)));
    assert_eq!(service.alarm.unwrap().names, ["disk"]);
    // A connection costs a fiftieth of a second.
    assert_eq!(bench.paces.services[&ServiceId(0)].pace.charge, 20_000_000);
    for id in 0..2 {
        bench.sample(id, 4, utilisation(0.2));
    }
    assert_eq!(service_of(&bench, 4).alarm.unwrap().since, at(2), "one that still raises it is enough");
    assert!(words(&bench, 4).contains(&"alarm"));
    bench.sample(2, 6, utilisation(0.2));
    assert_eq!((service_of(&bench, 6).alarm, service_of(&bench, 6).pace), (None, None));
    assert!(bench.paces.services.is_empty());
    // A source that falls silent raises nothing for ever.
    bench.sample(2, 8, alarm);
    bench.tick(21);
    assert_eq!(service_of(&bench, 21).alarm, None);
}
