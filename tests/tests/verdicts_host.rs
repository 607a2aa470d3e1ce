//! The packet tables on the host.

use std::collections::BTreeSet;

use balancer_common::outcome::Outcome;
use balancer_tests::table::{self, Host, Step};

#[test]
fn every_packet_ends_as_the_table_says() {
    let mut failed = Vec::new();
    let scenarios = table::all();
    for scenario in &scenarios {
        let played = std::panic::catch_unwind(|| table::run(scenario, &mut Host::default()));
        if played.is_err() {
            failed.push(&scenario.name);
        }
    }
    assert!(failed.is_empty(), "{} of {} scenarios failed: {failed:#?}", failed.len(), scenarios.len());
}

#[test]
fn every_outcome_is_in_the_table() {
    let mut seen = BTreeSet::new();
    for scenario in table::all() {
        for step in scenario.steps {
            if let Step::Packet(row) = step {
                seen.insert(row.expect.outcome);
            }
        }
    }
    let missing: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| !seen.contains(outcome)).collect();
    assert_eq!(missing, []);
}

#[test]
fn names_are_unique() {
    let names: Vec<String> = table::all().into_iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:#?}");
}
