//! The packet tables on the host.

use std::collections::BTreeSet;

use balancer_common::outcome::Outcome;
use balancer_tests::table::{self, Host, Step, Way};

/// Plays the tables; says which outcomes packets had that took one step.
fn every_packet_ends_as_the_table_says(way: Way) -> BTreeSet<Outcome> {
    let (mut failed, mut fast) = (Vec::new(), BTreeSet::new());
    let scenarios = table::all();
    for scenario in &scenarios {
        let played = std::panic::catch_unwind(|| {
            let mut host = Host::by(way);
            table::run(scenario, &mut host);
            host.fast
        });
        match played {
            Ok(outcomes) => fast.extend(outcomes.into_keys()),
            Err(_) => failed.push(&scenario.name),
        }
    }
    assert!(failed.is_empty(), "{} of {} scenarios failed: {failed:#?}", failed.len(), scenarios.len());
    fast
}

#[test]
fn every_packet_ends_as_the_table_says_the_usual_way() {
    let fast = every_packet_ends_as_the_table_says(Way::Usual);
    let plain = [Outcome::PassNotOurs, Outcome::ForwardRequest, Outcome::ForwardReply];
    assert!(plain.iter().all(|outcome| fast.contains(outcome)), "{fast:?}");
}

#[test]
fn every_packet_ends_as_the_table_says_by_steps() {
    assert_eq!(every_packet_ends_as_the_table_says(Way::Steps), BTreeSet::new());
}

#[test]
fn every_packet_ends_as_the_table_says_by_endpoints() {
    assert!(every_packet_ends_as_the_table_says(Way::Endpoints).contains(&Outcome::ForwardRequest));
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
