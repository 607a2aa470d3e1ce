use super::*;
use crate::fixture::at;

fn draining() -> Drain {
    let mut drain = Drain::default();
    drain.set_operator(true, at(0));
    drain
}

#[test]
fn it_ends_when_the_last_flow_has_ended() {
    let mut drain = draining();
    assert_eq!(drain.state(), DrainState::Draining);
    drain.counted(3, at(20));
    assert_eq!(drain.state(), DrainState::Draining);
    drain.counted(0, at(22));
    assert_eq!(drain.state(), DrainState::Drained);
}

#[test]
fn a_count_of_zero_right_after_the_start_proves_nothing() {
    let mut drain = draining();
    drain.counted(0, at(1));
    assert_eq!(drain.state(), DrainState::Draining);
    drain.counted(0, at(9));
    assert_eq!(drain.state(), DrainState::Draining);
    drain.counted(0, at(10));
    assert_eq!(drain.state(), DrainState::Drained);
}

#[test]
fn a_flow_that_counts_late_reopens_the_wait() {
    let mut drain = draining();
    drain.counted(0, at(10));
    drain.counted(1, at(12));
    assert_eq!(drain.state(), DrainState::Draining);
}

#[test]
fn it_lasts_while_anybody_asks_and_since_the_first_did() {
    let mut drain = draining();
    drain.set_probe(Some("maintenance".to_owned()), at(5));
    drain.set_telemetry(true, at(6));
    drain.set_leaving(true, at(7));
    assert_eq!(drain.since(), Some(at(0)));
    assert_eq!(drain.reason().split("; ").count(), 4, "{}", drain.reason());
    drain.set_operator(false, at(8));
    drain.set_probe(None, at(8));
    drain.set_leaving(false, at(8));
    assert_eq!(drain.state(), DrainState::Draining);
    drain.set_telemetry(false, at(9));
    assert_eq!(drain.state(), DrainState::Active);
    assert_eq!(drain.since(), None);
}

#[test]
fn taking_it_back_from_drained_is_active_at_once() {
    let mut drain = draining();
    drain.counted(0, at(30));
    drain.set_operator(false, at(31));
    assert_eq!(drain.state(), DrainState::Active);
    drain.set_operator(true, at(32));
    assert_eq!(drain.state(), DrainState::Draining);
}

#[test]
fn counts_without_a_drain_mean_nothing() {
    let mut drain = Drain::default();
    drain.counted(0, at(100));
    assert_eq!(drain.state(), DrainState::Active);
}

#[test]
fn who_is_missing_is_not_drained_by_the_operator() {
    let mut drain = Drain::default();
    drain.set_missing(true, at(0));
    assert_eq!(drain.reason(), "missing from the answers of its discovery");
    assert!(!drain.by_operator());
    drain.set_operator(false, at(1));
    assert_eq!(drain.state(), DrainState::Draining, "the operator does not find it");
    drain.set_missing(false, at(2));
    assert_eq!(drain.state(), DrainState::Active);
}
