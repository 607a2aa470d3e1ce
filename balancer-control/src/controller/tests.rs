use core::time::Duration;
use std::collections::BTreeMap;

use balancer_common::abi::{Draw, ScoreFlags};

use super::*;
use crate::fixture::{at, backend, model, probed, service};
use crate::snapshot::{BackendSnapshot, BackendState, Basis};
use crate::{BackendSpec, Counts, Policy, ProbeResult, Resource, ResourceUse, Sample, ServiceSteering};

/// What the maps would hold.
#[derive(Default)]
struct Bench {
    controller: Controller,
    scores: Option<Box<ScoreTable>>,
    ring: Option<Box<Ring>>,
    steering: Option<ServiceSteering>,
    paces: Paces,
}

impl Bench {
    fn new(policy: Policy, backends: Vec<BackendSpec>) -> Self {
        let mut bench = Self::default();
        bench.give(model(service(policy, backends)), 0);
        bench
    }

    /// Hands over an input and ticks. Returns the kinds of commands that came back.
    fn give(&mut self, input: Input, second: u64) -> String {
        self.controller.handle(input, at(second));
        self.tick(second)
    }

    fn tick(&mut self, second: u64) -> String {
        let commands = self.controller.tick(at(second));
        self.apply(commands)
    }

    fn apply(&mut self, commands: Vec<Command>) -> String {
        let mut kinds = Vec::new();
        for command in commands {
            match command {
                Command::Scores(scores) => {
                    self.scores = Some(Box::new(*scores));
                    kinds.push("scores");
                }
                Command::Ring { ring, .. } => {
                    self.ring = Some(ring);
                    kinds.push("ring");
                }
                Command::Service { steering, .. } => {
                    self.steering = Some(steering);
                    kinds.push("service");
                }
                Command::Paces(paces) => {
                    // What every controller says first is that nothing has a limit.
                    if paces != self.paces {
                        kinds.push("paces");
                    }
                    self.paces = paces;
                }
            }
        }
        kinds.join(" ")
    }

    fn probe(&mut self, id: u16, result: ProbeResult, second: u64) -> String {
        self.give(Input::Probe { backend: BackendId(id), result }, second)
    }

    fn sample(&mut self, id: u16, second: u64, sample: Sample) -> String {
        let sample = Sample { taken: at(second), ..sample };
        self.give(Input::Sample { backend: BackendId(id), sample }, second)
    }

    fn count(&mut self, live: &[u64], second: u64) -> String {
        let counts =
            |(id, &live): (usize, &u64)| (BackendId(id as u16), Counts { live, ..Counts::default() });
        self.give(Input::Counts(live.iter().enumerate().map(counts).collect()), second)
    }

    /// The program's counters of SYNs, by backend: steered, answered with a SYN-ACK, answered with a RST. Who is
    /// answered opens a flow.
    fn syns(&mut self, syns: &[(u64, u64, u64)], second: u64) -> String {
        let counts = syns.iter().map(|&(syns, answered, refused)| Counts {
            syns,
            answered,
            refused,
            opened: answered,
            ..Counts::default()
        });
        self.counters(&counts.collect::<Vec<_>>(), second)
    }

    fn counters(&mut self, counts: &[Counts], second: u64) -> String {
        let by_id = counts.iter().enumerate().map(|(id, counts)| (BackendId(id as u16), *counts));
        self.give(Input::Counts(by_id.collect()), second)
    }

    fn score(&self, id: u16) -> Score {
        self.scores.as_ref().unwrap().0[usize::from(id)]
    }

    fn open(&self, id: u16) -> bool {
        self.score(id).is_open(0)
    }

    fn slots(&self) -> BTreeMap<u16, usize> {
        let mut slots = BTreeMap::new();
        for id in self.ring.as_ref().unwrap().0 {
            *slots.entry(id.0).or_default() += 1;
        }
        slots
    }

    fn seen(&self, id: u16, second: u64) -> BackendSnapshot {
        let snapshot = self.controller.snapshot(at(second));
        snapshot.services[0].backends.iter().find(|backend| backend.id.0 == id).unwrap().clone()
    }
}

fn down() -> ProbeResult {
    ProbeResult::Down("connection refused".to_owned())
}

fn utilisation(utilisation: f64) -> Sample {
    Sample { utilisation: Some(utilisation), ..Sample::default() }
}

fn memory(used: f64) -> Sample {
    Sample { resources: vec![ResourceUse { resource: Resource::Memory, used }], ..utilisation(0.2) }
}

mod bad_input;
mod closing;
mod cluster;
mod fallback;
mod opening;
mod outliers;
mod rotation;

#[test]
fn the_first_tick_says_everything_and_the_second_nothing() {
    let mut controller = Controller::new();
    controller.handle(model(service(Policy::Adaptive, vec![backend(0), backend(1)])), at(0));
    assert_eq!(controller.next_deadline(at(0)), Some(at(0)));
    let mut bench = Bench { controller, ..Bench::default() };
    assert_eq!(bench.tick(0), "scores ring service");
    assert_eq!(bench.tick(2), "");
    let resync = bench.controller.resync(at(2));
    assert_eq!(bench.apply(resync), "scores ring service");
}

#[test]
fn a_model_asks_for_what_it_changes_and_closes_who_is_gone() {
    let with = |ids: &[u16]| {
        model(service(
            Policy::LeastConn,
            ids.iter().map(|id| BackendSpec { cap: Some(5), ..backend(*id) }).collect(),
        ))
    };
    let mut bench = Bench::default();
    bench.give(with(&[0, 1, 2]), 0);
    assert_eq!(bench.give(with(&[0, 1, 2]), 1), "", "the same again");
    assert_eq!(bench.give(with(&[2, 0]), 2).split(' ').next(), Some("scores"));
    assert_eq!([0, 1, 2].map(|id| bench.score(id).cap), [5, 0, 5]);
    // One that is back before anybody was told that it was gone.
    bench.controller.handle(with(&[0]), at(3));
    assert!(!bench.give(with(&[0, 2]), 3).contains("scores"));
}

#[test]
fn a_controller_without_a_model_closes_everything() {
    let mut bench = Bench::default();
    assert_eq!(bench.tick(0), "scores");
    assert!((0..100).all(|id| !bench.open(id)));
    assert_eq!(bench.controller.next_deadline(at(0)), None);
}

#[test]
fn each_policy_draws_in_its_own_way() {
    for (policy, draw, draws, adopt) in [
        (Policy::Adaptive, Draw::Hash, 4, false),
        (Policy::LeastConn, Draw::Hash, 2, false),
        (Policy::WeightedCpu, Draw::Counter, 1, false),
        (Policy::RoundRobin, Draw::Counter, 1, false),
        (Policy::Random, Draw::Random, 1, false),
        (Policy::Maglev, Draw::Hash, 1, true),
    ] {
        let bench = Bench::new(policy, vec![backend(0), BackendSpec { standby: true, ..backend(1) }]);
        let standby = vec![BackendId(1)];
        assert_eq!(bench.steering, Some(ServiceSteering { draw, draws, adopt, standby }), "{policy:?}");
        assert_eq!(bench.slots().into_keys().collect::<Vec<_>>(), [0], "a standby has no slots");
        assert!(bench.open(0) && bench.open(1));
    }
}

/// However low its score, no backend is to get more than three times its share of new flows.
#[test]
fn draws_are_as_many_as_bound_every_backend_by_three_times_its_share() {
    for (weights, draws) in [
        (vec![100, 100, 100], 4),
        (vec![200, 200, 100], 4),
        (vec![100; 5], 4),
        (vec![100; 6], 3),
        (vec![100, 100, 200, 400], 3),
    ] {
        let backends = weights.iter().zip(0..).map(|(&weight, id)| BackendSpec { weight, ..backend(id) });
        let bench = Bench::new(Policy::Adaptive, backends.collect());
        assert_eq!(bench.steering.map(|steering| steering.draws), Some(draws), "{weights:?}");
    }
}

#[test]
fn a_configured_number_of_draws_is_kept_within_what_a_hash_holds() {
    let mut spec = service(Policy::Adaptive, vec![backend(0)]);
    spec.draws = Some(9);
    let mut bench = Bench::default();
    bench.give(model(spec), 0);
    assert_eq!(bench.steering.unwrap().draws, MAX_DRAWS_AS_DOCUMENTED);
}

/// Of `ServiceSpec::draws`.
const MAX_DRAWS_AS_DOCUMENTED: u8 = 4;

#[test]
fn levels_become_scores_and_stale_ones_counts() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[100, 100], 2);
    bench.sample(0, 2, utilisation(0.5));
    bench.sample(1, 2, utilisation(0.25));
    let seen = bench.seen(0, 2);
    assert_eq!((seen.basis, seen.utilisation), (Basis::Level, Some(0.5)));
    assert!((seen.score - 0.5).abs() < 1e-6, "{}", seen.score);
    // A hundred connections more cost what the first two hundred did.
    let more = bench.score(0).predict(200) as f64 / Score::ONE as f64;
    assert!((more - 0.875).abs() < 0.01, "{more}");

    assert_eq!(bench.tick(14), "");
    let stale = Duration::from_secs(14) + Duration::from_nanos(1);
    assert_eq!(bench.controller.next_deadline(at(14)), Some(Moment(stale)));
    assert_eq!(bench.tick(15), "scores");
    let seen = bench.seen(0, 15);
    assert_eq!((seen.basis, seen.utilisation), (Basis::Count, None));
    let (zero, one) = (bench.score(0), bench.score(1));
    assert!(zero.predict(10) < one.predict(11), "fewer connections win");
}

#[test]
fn a_saturated_backend_is_never_better_than_one_with_room() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[1, 5000], 2);
    bench.sample(0, 2, utilisation(1.0));
    bench.sample(1, 2, utilisation(0.8));
    assert_eq!(bench.seen(0, 2).basis, Basis::Count);
    assert!(bench.score(0).predict(1) > bench.score(1).predict(5000));
}

#[test]
fn several_gateways_expect_each_other_to_open_as_many() {
    let score = |gateways| {
        let mut spec = service(Policy::Adaptive, vec![backend(0)]);
        spec.gateways = gateways;
        let mut bench = Bench::default();
        bench.give(model(spec), 0);
        bench.count(&[100], 2);
        bench.sample(0, 2, Sample { connections: Some(400), ..utilisation(0.4) });
        bench.score(0)
    };
    let (one, four) = (score(1), score(4));
    assert_eq!(one.predict(100), four.predict(100));
    assert!(four.delta.abs_diff(4 * one.delta) <= 4, "{} {}", one.delta, four.delta);
}

#[test]
fn bad_readings_change_nothing_and_say_why() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0)]);
    bench.sample(0, 2, utilisation(0.4));
    let before = bench.score(0);
    assert_eq!(bench.sample(0, 4, utilisation(f64::NAN)), "");
    assert_eq!(bench.score(0), before);
    assert!(bench.seen(0, 4).refused.unwrap().contains("NaN"));
    bench.sample(0, 6, utilisation(0.5));
    assert_eq!(bench.seen(0, 6).refused, None);
}

#[test]
fn least_conn_compares_connections_over_weight() {
    let mut bench =
        Bench::new(Policy::LeastConn, vec![backend(0), BackendSpec { weight: 300, ..backend(1) }]);
    let (light, heavy) = (bench.score(0), bench.score(1));
    assert!(heavy.predict(299) < light.predict(100) && light.predict(100) < heavy.predict(301));
    assert_eq!(bench.slots().len(), 2);
    assert!((bench.slots()[&1] as f64 / 65536.0 - 0.75).abs() < 0.001);
    bench.give(Input::Weight { backend: BackendId(1), weight: Some(100) }, 1);
    assert_eq!(bench.score(1).delta, bench.score(0).delta);
    assert!(bench.seen(1, 1).weight_overridden);
    bench.give(Input::Weight { backend: BackendId(1), weight: None }, 2);
    assert_eq!(bench.score(1), heavy);
}

#[test]
fn weighted_cpu_gives_slots_by_idle_cpu() {
    let mut bench = Bench::new(Policy::WeightedCpu, vec![backend(0), backend(1), backend(2)]);
    bench.sample(0, 2, utilisation(0.9));
    bench.sample(1, 2, utilisation(0.5));
    let slots = bench.slots();
    // 10 : 50, and 30 for the one that says nothing.
    assert!((slots[&0] as f64 / 65536.0 - 10.0 / 90.0).abs() < 0.001, "{slots:?}");
    assert!((slots[&1] as f64 / 65536.0 - 50.0 / 90.0).abs() < 0.001, "{slots:?}");
    assert_eq!(bench.sample(1, 4, utilisation(0.501)), "", "not a whole per cent");
    assert_eq!(bench.sample(1, 6, utilisation(0.52)), "ring");
    bench.sample(1, 8, utilisation(1.0));
    assert!(bench.slots()[&1] > 0, "never less than 1");
}

#[test]
fn an_override_scales_what_was_learnt() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[100, 100], 2);
    bench.sample(0, 2, utilisation(0.4));
    bench.sample(1, 2, utilisation(0.4));
    bench.tick(12);
    assert_eq!(bench.give(Input::Weight { backend: BackendId(1), weight: Some(25) }, 13), "scores ring");
    assert!((bench.slots()[&1] as f64 / 65536.0 - 0.2).abs() < 0.001);
    assert!((bench.seen(1, 13).score - 1.6).abs() < 1e-6, "a quarter as capable is four times as full");
}

#[test]
fn caps_reach_the_scores() {
    let bench = Bench::new(Policy::RoundRobin, vec![BackendSpec { cap: Some(7), ..backend(0) }]);
    assert!(bench.score(0).is_open(6) && !bench.score(0).is_open(7));
    assert_eq!(bench.seen(0, 0).basis, Basis::Fixed);
}

#[test]
fn a_reload_keeps_what_was_learnt_unless_it_is_another_backend() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0), backend(1)]);
    bench.count(&[100, 100], 2);
    bench.sample(0, 2, utilisation(0.4));
    bench.give(Input::Drain { backend: BackendId(1), drain: true }, 2);
    bench.give(model(service(Policy::Adaptive, vec![backend(1), backend(0)])), 3);
    assert_eq!(bench.seen(0, 3).basis, Basis::Level);
    assert!(!bench.open(1), "the operator's drain outlives a reload");
    let other = BackendSpec { seed: 99, ..backend(0) };
    bench.give(model(service(Policy::Adaptive, vec![backend(1), other])), 4);
    assert_eq!((bench.seen(0, 4).basis, bench.seen(0, 4).live), (Basis::Count, 0));
}

#[test]
fn an_agent_that_starts_again_closes_nobody_and_moves_no_slot() {
    let specs = || vec![probed(0), probed(1), probed(2)];
    let mut old = Bench::new(Policy::Adaptive, specs());
    for id in 0..2 {
        old.probe(id, ProbeResult::Up, 1);
        old.probe(id, ProbeResult::Up, 2);
    }
    for second in 1..4 {
        old.probe(2, down(), second);
    }
    // Teach it unequal capacities.
    for second in (4..40).step_by(2) {
        for (id, rate) in [(0, 100), (1, 300), (2, 200)] {
            old.sample(id, second, Sample { messages: Some(rate * second), ..utilisation(0.5) });
        }
    }
    assert!(old.slots()[&1] > 2 * old.slots()[&0], "{:?}", old.slots());

    let mut new = Bench::default();
    new.controller.handle(model(service(Policy::Adaptive, specs())), at(0));
    let rings = vec![(ServiceId(0), old.ring.clone().unwrap())];
    new.controller.handle(Input::Adopt { scores: old.scores.clone().unwrap(), rings }, at(0));
    new.tick(0);
    assert_eq!([0, 1, 2].map(|id| new.open(id)), [true, true, false]);
    assert_eq!(new.ring, old.ring);
    assert_eq!(new.tick(30), "", "nothing was learnt yet that speaks against it");
    new.probe(0, down(), 31);
    assert!(new.open(0), "it takes `fall` failures to close what was open");
}

#[test]
fn inputs_about_strangers_change_nothing() {
    let mut bench = Bench::new(Policy::Adaptive, vec![backend(0)]);
    for id in [1, 4095, u16::MAX] {
        assert_eq!(bench.probe(id, down(), 1), "");
        assert_eq!(bench.sample(id, 1, utilisation(0.5)), "");
        assert_eq!(bench.give(Input::Drain { backend: BackendId(id), drain: true }, 1), "");
    }
}
