//! Brokers that disagree on how many they are, and backends that are one node.

use super::*;
use crate::snapshot::Condition;

fn members(count: u64) -> Sample {
    Sample { cluster_members: Some(count), ..utilisation(0.2) }
}

fn bench(n: u16) -> Bench {
    let mut bench = Bench::default();
    bench.give(model(service(Policy::Adaptive, (0..n).map(backend).collect())), 0);
    bench
}

/// Reads all of them at that second.
fn read(bench: &mut Bench, counts: &[u64], second: u64) -> Option<Condition> {
    for (count, id) in counts.iter().zip(0..) {
        bench.sample(id, second, members(*count));
    }
    found(bench, second)
}

fn found(bench: &mut Bench, second: u64) -> Option<Condition> {
    condition(bench, "cluster-disagrees", second)
}

fn condition(bench: &mut Bench, word: &str, second: u64) -> Option<Condition> {
    bench.controller.tick(at(second));
    let snapshot = bench.controller.snapshot(at(second));
    snapshot.services[0].conditions.iter().find(|condition| condition.word == word).cloned()
}

#[test]
fn a_disagreement_is_told_once_all_have_been_read_again() {
    let mut bench = bench(3);
    assert_eq!(read(&mut bench, &[3, 3, 3], 1), None);
    assert_eq!(read(&mut bench, &[3, 2, 1], 3), None, "a node may have been read before it knew");
    bench.sample(0, 5, members(3));
    bench.sample(1, 5, members(2));
    assert_eq!(found(&mut bench, 5), None, "the third has not been read again");
    bench.sample(2, 5, members(1));
    let told = found(&mut bench, 5).unwrap();
    assert_eq!((told.since, told.closes), (Some(at(3)), false));
    assert!(told.reason.contains("3 by b0; 2 by b1; 1 by b2; it may be split"), "{}", told.reason);
    assert_eq!(read(&mut bench, &[2, 2, 2], 7), None, "they agree");
    assert_eq!(read(&mut bench, &[2, 2, 3], 9), None, "a disagreement of its own");
    assert_eq!(read(&mut bench, &[2, 2, 3], 11).unwrap().since, Some(at(9)));
}

#[test]
fn a_node_that_has_gone_has_no_say() {
    let mut bench = bench(3);
    read(&mut bench, &[3, 3, 3], 1);
    for second in (3..40).step_by(2) {
        assert_eq!(read(&mut bench, &[2, 2], second), None, "second {second}");
    }
}

#[test]
fn brokers_that_do_not_tell_neither_agree_nor_disagree() {
    let mut bench = bench(3);
    for second in [1, 3, 5] {
        bench.sample(2, second, utilisation(0.3));
        assert_eq!(read(&mut bench, &[2, 2], second), None);
    }
}

#[test]
fn of_many_that_count_alike_a_few_are_named() {
    let mut bench = bench(9);
    let counts = [8, 8, 8, 8, 8, 8, 8, 8, 1];
    read(&mut bench, &counts, 1);
    let told = read(&mut bench, &counts, 3).unwrap();
    let expected = "8 by b0, b1, b2, b3 and 4 more; 1 by b8; it";
    assert!(told.reason.contains(expected), "{}", told.reason);
}

#[test]
fn backends_that_are_one_node_are_told() {
    let node = |name: &str| Sample { node: Some(name.to_owned()), ..utilisation(0.2) };
    let mut bench = bench(4);
    bench.sample(0, 1, node("rabbit@a"));
    bench.sample(1, 1, node("rabbit@b"));
    bench.sample(2, 1, utilisation(0.2));
    bench.sample(3, 1, utilisation(0.2));
    assert_eq!(condition(&mut bench, "same-node", 1), None, "two nodes, and two that do not tell");
    bench.sample(1, 3, node("rabbit@a"));
    let told = condition(&mut bench, "same-node", 3).unwrap();
    assert!(!told.closes);
    assert!(told.reason.contains("together: rabbit@a by b0, b1; give"), "{}", told.reason);
    // What was read long ago says nothing of the present.
    for second in (5..40).step_by(2) {
        bench.sample(1, second, node("rabbit@a"));
    }
    assert_eq!(condition(&mut bench, "same-node", 39), None);
}
