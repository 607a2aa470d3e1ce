//! A short form of the scenarios: the program is known to balance better where it clearly does.

use balancer_tests::scenarios::play_once;

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn unequal_brokers_are_loaded_far_more_evenly_than_by_round_robin() {
    let adaptive = play_once("S1", "adaptive").unwrap();
    let round_robin = play_once("S1", "round-robin").unwrap();
    assert!(
        round_robin > 1.5 * adaptive,
        "standard deviation of CPU in percentage points: adaptive {adaptive:.1}, round-robin {round_robin:.1}"
    );
}
