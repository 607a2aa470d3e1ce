use std::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::abi::Score;

struct Fake {
    ring: Box<Ring>,
    scores: Box<ScoreTable>,
    live: BTreeMap<u16, u64>,
    spent: Vec<u16>,
}

impl Steering for Fake {
    fn ring(&self, _: ServiceId) -> Option<&Ring> {
        Some(&self.ring)
    }

    fn scores(&self) -> Option<&ScoreTable> {
        Some(&self.scores)
    }

    fn live(&self, backend: BackendId) -> u64 {
        self.live.get(&backend.0).copied().unwrap_or(0)
    }

    fn has_budget(&self, backend: BackendId) -> bool {
        !self.spent.contains(&backend.0)
    }
}

const READY: Score = Score { base: 0, delta: 0, counted: 0, flags: ScoreFlags::READY, cap: 0 };

fn fake(n: u16) -> Fake {
    let mut slots = vec![BackendId::NONE; RING_SLOTS];
    for (index, slot) in slots.iter_mut().enumerate() {
        *slot = BackendId(index as u16 % n);
    }
    let mut scores = vec![Score::default(); MAX_BACKENDS];
    scores[..usize::from(n)].fill(READY);
    let ring: Box<[BackendId; RING_SLOTS]> = slots.into_boxed_slice().try_into().unwrap();
    let scores: Box<[Score; MAX_BACKENDS]> = scores.into_boxed_slice().try_into().unwrap();
    Fake {
        ring: Box::new(Ring(*ring)),
        scores: Box::new(ScoreTable(*scores)),
        live: BTreeMap::new(),
        spent: Vec::new(),
    }
}

fn service(standby: &[u16]) -> Service {
    let mut service = Service { n_standby: standby.len() as u8, ..Service::default() };
    for (slot, id) in service.standby.iter_mut().zip(standby) {
        *slot = BackendId(*id);
    }
    service
}

fn chosen(fake: &Fake, service: &Service, draws: u8, hash: u64) -> Option<u16> {
    choose(fake, ServiceId(0), service, draws, hash, |_| {}).map(|backend| backend.0)
}

/// Draws slots 1, 2 and 3, which hold backends of the same numbers.
const HASH: u64 = 0x0000_0003_0002_0001;

#[test]
fn lowest_prediction_wins() {
    let mut fake = fake(8);
    fake.scores.0[1].base = 30;
    fake.scores.0[2].base = 10;
    fake.scores.0[3].base = 20;
    assert_eq!(chosen(&fake, &service(&[]), 3, HASH), Some(2));
    assert_eq!(chosen(&fake, &service(&[]), 1, HASH), Some(1));
}

#[test]
fn connections_opened_since_telemetry_count() {
    let mut fake = fake(8);
    fake.scores.0[1] = Score { base: 100, delta: 10, counted: 5, ..READY };
    fake.scores.0[2] = Score { base: 90, delta: 10, counted: 5, ..READY };
    fake.scores.0[3] = Score { base: 500, ..READY };
    fake.live = BTreeMap::from([(1, 5), (2, 7)]);
    assert_eq!(chosen(&fake, &service(&[]), 3, HASH), Some(1));
}

#[test]
fn ties_go_to_the_first_draw() {
    assert_eq!(chosen(&fake(8), &service(&[]), 3, HASH), Some(1));
}

#[test]
fn closed_backends_are_passed_over_for_every_reason() {
    for flags in [0, ScoreFlags::DRAIN, ScoreFlags::DOWN, ScoreFlags::EXHAUSTED] {
        let mut fake = fake(8);
        let ready = if flags == 0 { 0 } else { ScoreFlags::READY };
        fake.scores.0[1].flags = ready | flags;
        assert_eq!(chosen(&fake, &service(&[]), 3, HASH), Some(2), "flags {flags}");
    }
}

#[test]
fn a_backend_at_its_cap_is_passed_over() {
    let mut fake = fake(8);
    fake.scores.0[1].cap = 10;
    fake.live = BTreeMap::from([(1, 9)]);
    assert_eq!(chosen(&fake, &service(&[]), 3, HASH), Some(1));
    fake.live = BTreeMap::from([(1, 10)]);
    assert_eq!(chosen(&fake, &service(&[]), 3, HASH), Some(2));
}

#[test]
fn walks_the_ring_then_the_standbys_then_refuses() {
    let mut fake = fake(8);
    for id in [1, 2, 3] {
        fake.scores.0[id].flags |= ScoreFlags::DOWN;
    }
    assert_eq!(chosen(&fake, &service(&[7]), 3, HASH), Some(4));
    for id in 0..7 {
        fake.scores.0[id].flags |= ScoreFlags::DOWN;
    }
    fake.ring.0.fill(BackendId(0));
    assert_eq!(chosen(&fake, &service(&[6, 7]), 3, HASH), Some(7));
    assert_eq!(chosen(&fake, &service(&[6]), 3, HASH), None);
}

#[test]
fn an_empty_ring_or_a_wild_slot_refuses() {
    let mut fake = fake(8);
    fake.ring.0.fill(BackendId::NONE);
    assert_eq!(chosen(&fake, &service(&[]), 3, HASH), None);
}

#[test]
fn every_candidate_is_shown() {
    let mut fake = fake(8);
    for id in 0..8 {
        fake.scores.0[id].flags |= ScoreFlags::DRAIN;
    }
    let mut seen = Vec::new();
    let none = choose(&fake, ServiceId(0), &service(&[5]), 2, HASH, |candidate| seen.push(candidate));
    assert_eq!(none, None);
    let count = |stage| seen.iter().filter(|candidate| candidate.stage == stage).count();
    assert_eq!((count(Stage::Draw), count(Stage::Walk), count(Stage::Standby)), (2, usize::from(WALK), 1));
}

proptest! {
    /// The guard against herds: whatever the scores say, a backend gets at most 1 - (1 - p)^d.
    #[test]
    fn no_score_attracts_more_than_its_draws(bases in proptest::collection::vec(any::<u32>(), 8), seed in any::<u64>()) {
        let mut fake = fake(8);
        for (score, base) in fake.scores.0.iter_mut().zip(&bases) {
            score.base = u64::from(*base);
        }
        let mut hits = [0_u32; 8];
        const N: u32 = 4000;
        for i in 0..u64::from(N) {
            let hash = hash::flow([i, 0, 0], seed);
            hits[usize::from(chosen(&fake, &service(&[]), 3, hash).unwrap())] += 1;
        }
        // 1 - (7/8)^3 = 0.330, plus five standard deviations of a binomial with N trials.
        prop_assert!(hits.iter().all(|hits| f64::from(*hits) < f64::from(N) * (0.330 + 5.0 * 0.0075)), "{hits:?}");
    }
}

#[test]
fn cpus_start_apart_and_walk_in_step() {
    let mut first = CpuState::default();
    let mut second = CpuState::default();
    let starts = (advance(&mut first, 0) as u16, advance(&mut second, 1) as u16);
    assert!(starts.1.wrapping_sub(starts.0) > 1000);
    assert_eq!(advance(&mut first, 0), 1);
}

#[test]
fn backends_without_budget_are_passed_over_and_said_to_be() {
    let mut fake = fake(8);
    fake.scores.0[1].base = 10;
    fake.scores.0[2].base = 20;
    fake.scores.0[3].base = 30;
    fake.spent = vec![1];
    assert_eq!(chosen(&fake, &service(&[]), 3, HASH), Some(2));
    fake.spent = (0..8).collect();
    fake.scores.0[2].flags |= ScoreFlags::DOWN;
    let mut spent = Vec::new();
    let note = |candidate: Candidate| spent.extend(candidate.spent.then_some(candidate.backend.0));
    assert_eq!(choose(&fake, ServiceId(0), &service(&[]), 3, HASH, note), None);
    assert!(spent.contains(&1) && !spent.contains(&2), "{spent:?}");
}
