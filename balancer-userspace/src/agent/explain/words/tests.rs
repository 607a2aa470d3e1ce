use super::*;
use crate::api::wire::{RunKind, RunState};

fn steering(policy: Policy, draws: u8) -> Steering {
    Steering {
        policy,
        draws,
        gateways: 1,
        stale_after_seconds: 12.0,
        connection_cost: 0.001,
        ring_seconds: Some(200.0),
        ring_why: Some("b3 left".to_owned()),
        ring_moved: Some(21_845),
        ring_slots: 65_536,
    }
}

fn facts(name: &str, score: f64) -> BackendFacts {
    BackendFacts {
        name: name.to_owned(),
        state: "up".to_owned(),
        reason: Some("successful probes in a row: 2".to_owned()),
        state_seconds: Some(3_700.0),
        open: true,
        weight: Some(100),
        weight_share: Some(0.5),
        capacity: Some(1.0),
        capacity_learnt: Some(false),
        ring_share: 0.5,
        most_share: Some(0.875),
        live: 55,
        score,
        base: Some(0.2),
        counted: Some(50),
        cost: Some(0.001),
        basis: Some(Basis::Level),
        utilisation: Some(0.2),
        sample_age_seconds: Some(1.5),
        ..BackendFacts::default()
    }
}

fn held(word: &str, reason: &str, closes: bool) -> Condition {
    Condition { condition: word.to_owned(), reason: reason.to_owned(), seconds: Some(22.0), closes }
}

fn answer(policy: Policy, draws: u8, backends: Vec<BackendFacts>) -> Explanation {
    Explanation {
        service: "mqtt".to_owned(),
        steering: Some(steering(policy, draws)),
        backends,
        ..Explanation::default()
    }
}

#[test]
fn a_backend_that_is_well_says_where_its_score_and_share_come_from() {
    let learnt = BackendFacts { capacity: Some(0.67), capacity_learnt: Some(true), ..facts("b1", 0.205) };
    let answer = answer(Policy::Adaptive, 3, vec![learnt]);
    let expected = [
        "mqtt/b1 is up for 1h 1m: successful probes in a row: 2",
        "it takes new flows; it has 55 live connections",
        "its score is 20.5 %: 20.0 % predicted from telemetry with 50 connections, and 5 more connections since at 0.1000 % each",
        "its last reading is 1.5 s old (used until 12s), utilisation 20.0 %",
        "it has 50.0 % of the ring; its weight 100 alone would be 50.0 %, and its capacity is learnt to be 0.67 times the mean",
        "with 3 draws it gets at most 87.5 % of new flows, whatever its score",
    ];
    assert_eq!(of_backend(&answer, "b1"), expected);
}

#[test]
fn every_reason_that_keeps_flows_away_is_named() {
    let closed = BackendFacts {
        state: "draining".to_owned(),
        reason: Some("drained by the operator".to_owned()),
        open: false,
        conditions: vec![
            held("down", "failed probes in a row: 3", true),
            held("stale", "the last reading is 34 s old", false),
        ],
        ..facts("b2", 0.4)
    };
    let lines = of_backend(&answer(Policy::Adaptive, 3, vec![closed]), "b2");
    assert_eq!(lines[0], "mqtt/b2 is draining for 1h 1m: drained by the operator");
    assert_eq!(
        lines[1],
        "it takes no new flows, because it is draining and down; it has 55 live connections, which go on"
    );
    assert_eq!(lines[2], "down for 22s, which keeps new flows away: failed probes in a row: 3");
    assert_eq!(lines[3], "stale for 22s: the last reading is 34 s old");
}

#[test]
fn what_keeps_flows_from_the_whole_service_keeps_them_from_each_backend() {
    let told = |open: bool, state: &str, conditions: Vec<Condition>| {
        let backend = BackendFacts { open, state: state.to_owned(), ..facts("b1", 0.2) };
        of_backend(&Explanation { conditions, ..answer(Policy::Adaptive, 3, vec![backend]) }, "b1").remove(1)
    };
    let few = || vec![held("no-backend", "refused", true), held("too-few-ready", "1 of the 2", true)];
    assert_eq!(
        told(false, "up", few()),
        "it takes no new flows, because of too-few-ready of the service; it has 55 live connections, which go on"
    );
    assert_eq!(
        told(false, "down", few()),
        "it takes no new flows, because it is down and of too-few-ready of the service; it has 55 live connections, \
         which go on"
    );
    assert_eq!(
        told(true, "up", vec![held("service-capped", "900 live connections", true)]),
        "it takes new flows, but none for the moment, because of service-capped of the service; it has 55 live \
         connections"
    );
}

#[test]
fn scores_are_told_in_the_policys_own_terms() {
    let told = |policy, facts: BackendFacts| score(&answer(policy, 2, vec![]), &facts).unwrap_or_default();
    let counted =
        BackendFacts { basis: Some(Basis::Count), base: Some(0.0), counted: Some(0), ..facts("b", 0.055) };
    assert_eq!(
        told(Policy::Adaptive, counted.clone()),
        "its score is 5.5 % by count: 55 live connections at 0.1000 % each"
    );
    let population = BackendFacts { base: Some(0.05), counted: Some(60), ..counted.clone() };
    assert_eq!(
        told(Policy::Adaptive, population),
        "its score is 5.5 % by count: 5.0 % with 60 connections, and 5 fewer connections since at 0.1000 % each"
    );
    let least = BackendFacts { score: 0.55, ..counted };
    assert_eq!(
        told(Policy::LeastConn, least),
        "its score is 0.550 connections per weight: 55 live connections over weight 100"
    );
    assert_eq!(told(Policy::Random, BackendFacts { basis: Some(Basis::Fixed), ..facts("b", 0.0) }), "");
}

#[test]
fn a_service_is_told_by_policy_ring_conditions_and_ranking() {
    let drained = BackendFacts {
        state: "draining".to_owned(),
        reason: Some("drained by the operator".to_owned()),
        open: false,
        ..facts("b3", 0.0)
    };
    let stale = BackendFacts { conditions: vec![held("stale", "34 s old", false)], ..facts("b2", 0.1) };
    let mut answer = answer(Policy::Adaptive, 3, vec![facts("b1", 0.2), stale, drained]);
    answer.conditions = vec![Condition { seconds: None, ..held("ring-waits", "in 5.0 s", false) }];
    let lines = of_service(&answer);
    assert!(lines[0].starts_with("service mqtt: adaptive: 3 candidates are drawn"), "{lines:?}");
    let rest = [
        "the ring changed last 3m 20s ago: b3 left; 21845 of 65536 slots moved",
        "ring-waits: in 5.0 s",
        "by score, the lowest first: b2 10.0 %, b1 20.0 %",
        "b1: up, 55 live, 50.0 % of the ring",
        "b2: up, 55 live, 50.0 % of the ring, stale",
        "b3: draining (drained by the operator), 55 live, 50.0 % of the ring",
    ];
    assert_eq!(lines[1..], rest);
    let steering = answer.steering.as_mut().unwrap();
    (steering.ring_moved, steering.ring_why) = (Some(0), Some("taken over from an earlier agent".to_owned()));
    let kept = "the ring was taken over from an earlier agent 3m 20s ago, and no slot has moved since";
    assert_eq!(of_service(&answer)[1], kept);
}

#[test]
fn a_standby_says_whether_it_is_needed() {
    let standby = BackendFacts { standby: true, ring_share: 0.0, ..facts("b2", 0.0) };
    let one = answer(Policy::Adaptive, 3, vec![facts("b1", 0.1), standby.clone()]);
    let line = &of_backend(&one, "b2")[1];
    assert_eq!(line, "it takes new flows, but is not asked while others do; it has 55 live connections");
    let down = BackendFacts { open: false, ..facts("b1", 0.1) };
    let line = &of_backend(&answer(Policy::Adaptive, 3, vec![down, standby]), "b2")[1];
    assert!(line.starts_with("it takes new flows, as no backend of the ring does;"), "{line}");
}

#[test]
fn policies_without_scores_promise_no_bound() {
    for policy in [Policy::RoundRobin, Policy::Random, Policy::Maglev, Policy::WeightedCpu] {
        let lines = of_backend(&answer(policy, 1, vec![facts("b1", 0.0)]), "b1");
        assert!(!lines.iter().any(|line| line.contains("at most")), "{lines:?}");
    }
}

#[test]
fn a_budget_that_is_spent_closes_for_the_moment() {
    let spent = BackendFacts { conditions: vec![held("over-budget", "x", true)], ..facts("b1", 0.2) };
    let lines = of_backend(&answer(Policy::Adaptive, 3, vec![spent]), "b1");
    assert_eq!(
        lines[1],
        "it takes new flows, but none for the moment, because of over-budget; it has 55 live connections"
    );
}

#[test]
fn runs_under_way_are_told() {
    let rebalancing = Run {
        id: 1,
        kind: RunKind::Rebalance,
        service: "mqtt".to_owned(),
        backend: None,
        to: Some(0.1),
        rate: 10.0,
        max: 100,
        state: RunState::Running,
        reason: String::new(),
        done: false,
        age_seconds: 3.0,
        listed: 4,
        closed: 5,
        backends: Vec::new(),
    };
    assert_eq!(
        run(&rebalancing),
        "a rebalancing to 10.0 % at 10/s is under way for 3.0 s: 5 flows closed, 4 listed to be; their clients come \
         again as new flows"
    );
    let drain = Run {
        kind: RunKind::Drain,
        backend: Some("b1".to_owned()),
        to: None,
        reason: "nobody has room".to_owned(),
        ..rebalancing
    };
    assert!(run(&drain).starts_with("a drain of mqtt/b1 at 10/s is under way for 3.0 s (nobody has room): "));
}
