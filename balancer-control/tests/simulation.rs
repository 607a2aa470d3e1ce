//! Some cases of `cargo xtask simulate`, with fewer clients, so that a change that costs balance fails here.
//!
//! Figures are those of docs/balance.md with room for fewer clients and other seeds. Rivals must show the failures they
//! have: a simulator in which everybody does well proves nothing.

use balancer_control::sim::{Case, Outcome, SteererName, catalogue, random_case, run};

const SEED: u64 = 7;

/// A named case with an eighth of its clients, each of whom asks for eight times as much and costs as much to accept.
fn case(name: &str) -> Case {
    let mut case = whole(name);
    case.clients.number /= 8.0;
    case.clients.handshake *= 8.0;
    case
}

fn whole(name: &str) -> Case {
    catalogue().into_iter().find(|case| case.name == name).expect("it is in the catalogue")
}

fn outcome(name: &str, policy: SteererName) -> Outcome {
    run(&case(name), policy, SEED)
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_seed_another() {
    let mut case = case("SA");
    case.until = 330.0;
    let first = run(&case, SteererName::Adaptive, SEED);
    assert_eq!(run(&case, SteererName::Adaptive, SEED), first);
    assert_ne!(run(&case, SteererName::Adaptive, SEED + 1), first);
    assert_eq!(random_case(3).brokers, random_case(3).brokers);
    assert_ne!(random_case(3).brokers, random_case(4).brokers);
}

#[test]
fn unequal_brokers_are_found_out_and_rivals_overload_the_small_ones() {
    let ours = outcome("S1", SteererName::Adaptive);
    assert!(ours.max_over_mean <= 1.05, "{}", ours.max_over_mean);
    assert!(ours.average <= 1.06, "from the first minute on: {}", ours.average);
    for (rival, least) in [(SteererName::RoundRobin, 1.4), (SteererName::WeightedCpu, 1.25)] {
        let theirs = outcome("S1", rival).max_over_mean;
        assert!(theirs >= least, "{}: {theirs}", rival.as_str());
    }
}

/// What the equation says of 100 - CPU %: u / (1 - u) is in proportion to one over the capacity, which for capacities of
/// 1, 1, 1, 1, 2, 2, 4, 4 at 60 % load is 0.787 on the small ones, 1.31 times the mean. And of round robin: twice it.
#[test]
fn the_plant_agrees_with_the_equations() {
    for (rival, wanted) in [(SteererName::WeightedCpu, 1.31), (SteererName::RoundRobin, 2.0)] {
        let found = outcome("S1", rival).max_over_mean;
        assert!((found / wanted - 1.0).abs() < 0.06, "{}: {found}, not {wanted}", rival.as_str());
    }
}

#[test]
fn heavy_clients_are_evened_out_and_counting_does_not_see_them() {
    let ours = outcome("S2h", SteererName::Adaptive).max_over_mean;
    let theirs = outcome("S2h", SteererName::LeastConn).max_over_mean;
    assert!(ours <= 1.12, "{ours}");
    assert!(theirs >= 1.2, "{theirs}");
}

#[test]
fn a_restarted_broker_is_filled_without_a_stampede() {
    // With fewer clients too few connect in five seconds to say who gets how many of them.
    let ours = run(&whole("S3"), SteererName::Adaptive, SEED);
    assert!(ours.max_over_mean <= 1.05, "{}", ours.max_over_mean);
    assert!(ours.peak_share <= 4.5, "{}", ours.peak_share);
    let theirs = run(&whole("S3"), SteererName::LeastConn, SEED);
    assert!(theirs.peak_share >= 6.0, "{}", theirs.peak_share);
    // Its SYNs give the stopped broker away before its probes do.
    assert!(
        ours.connect_p99 <= 0.05 && theirs.connect_p99 >= 2.0,
        "{} {}",
        ours.connect_p99,
        theirs.connect_p99
    );
    let theirs = outcome("S3b", SteererName::Hash).max_over_mean;
    assert!(theirs >= 1.2, "{theirs}");
}

#[test]
fn a_storm_is_served_and_a_rival_makes_clients_wait() {
    let ours = outcome("SA", SteererName::Adaptive);
    assert!(ours.connect_p99 <= 0.15, "{} s", ours.connect_p99);
    assert_eq!(ours.timeouts, 0);
    let theirs = outcome("SA", SteererName::WeightedCpu).connect_p99;
    assert!(theirs >= 0.5, "{theirs} s");
}

#[test]
fn silent_brokers_are_counted_and_least_cpu_trusts_their_last_word() {
    let ours = outcome("S6", SteererName::Adaptive).max_over_mean;
    assert!(ours <= 1.06, "{ours}");
    let theirs = outcome("S6", SteererName::LeastCpu).max_over_mean;
    assert!(theirs >= 1.5, "{theirs}");
}

/// Limits that hold for everybody show that the plant moves no connection.
#[test]
fn nobody_beats_the_limits() {
    let brown_out = outcome("S5", SteererName::Oracle).settled.unwrap();
    assert!((brown_out / 445.0 - 1.0).abs() < 0.1, "{brown_out} s");
    let rolling = outcome("SB", SteererName::Oracle).max_over_mean;
    assert!((1.48..1.56).contains(&rolling), "{rolling}");
}
