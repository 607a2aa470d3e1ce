//! What the product is compared with.

use core::time::Duration;

use super::case::Case;
use super::gateway::stale_after;
use super::random::Random;
use super::steer::{Steer, Truth};
use crate::ewma::{Ewma, alpha};
use crate::{Input, Moment, ProbeResult, Sample};

mod learnt;

use learnt::Learnt;

/// Failed probes after which a rival takes a broker out, as the product does.
const FALL: u32 = 3;

/// Time constant of the connect rate.
const RATE_TAU: Duration = Duration::from_secs(30);

/// How a rival chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    RoundRobin,
    Hash,
    LeastConn { weighted: bool },
    WeightedCpu,
    LeastCpu,
    TwoChoicesCpu,
    GrpcWeights,
    WaterFill,
    Oracle,
}

/// A rival.
pub(crate) struct Rival {
    rule: Rule,
    brokers: Vec<Known>,
    weights: Vec<f64>,
    /// Where round robin, and the search for a least, begin.
    cursor: usize,
    /// Flows opened until the last count, and how many a second.
    opened: u64,
    open_rate: Ewma,
    counted: Option<Moment>,
    stale_after: Duration,
}

/// What a rival knows of a broker.
#[derive(Clone, Debug)]
struct Known {
    failures: u32,
    weight: f64,
    /// As last reported, 0.0 to 1.0; kept when reports cease, as agents and agent checks in the field do.
    cpu: Option<f64>,
    learnt: Learnt,
}

impl Rival {
    pub(crate) fn new(rule: Rule, case: &Case) -> Self {
        let known = |weight| Known { failures: 0, weight, cpu: None, learnt: Learnt::default() };
        let brokers: Vec<Known> = case.brokers.iter().map(|b| known(f64::from(b.weight))).collect();
        let stale_after = stale_after(&case.telemetry);
        Self {
            rule,
            weights: vec![1.0; brokers.len()],
            brokers,
            cursor: 0,
            opened: 0,
            open_rate: Ewma::default(),
            counted: None,
            stale_after,
        }
    }

    fn counted(&mut self, opened: u64, now: Moment) {
        let before = core::mem::replace(&mut self.opened, opened);
        if let Some(last) = self.counted.replace(now).filter(|last| *last < now) {
            let gap = now.since(last);
            self.open_rate.update((opened - before) as f64 / gap.as_secs_f64(), alpha(gap, RATE_TAU));
        }
    }

    fn is_up(&self, broker: usize) -> bool {
        self.brokers[broker].failures < FALL
    }

    fn sampled(&mut self, broker: usize, sample: &Sample) {
        self.brokers[broker].cpu = sample.utilisation;
        self.brokers[broker].learnt.observe(sample, self.stale_after);
    }

    /// The one with the lowest score among those that are up. Ties go round.
    fn least(&mut self, score: impl Fn(usize, &Known) -> f64) -> Option<usize> {
        let n = self.brokers.len();
        self.cursor = (self.cursor + 1) % n;
        let turns = (0..n).map(|i| (self.cursor + i) % n).filter(|broker| self.is_up(*broker));
        turns
            .map(|broker| (score(broker, &self.brokers[broker]), broker))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|best| best.1)
    }

    fn in_turn(&mut self) -> Option<usize> {
        let n = self.brokers.len();
        let next = (1..=n).map(|i| (self.cursor + i) % n).find(|broker| self.is_up(*broker))?;
        self.cursor = next;
        Some(next)
    }

    fn at_random(&self, random: &mut Random) -> Option<usize> {
        let up: Vec<usize> = (0..self.brokers.len()).filter(|broker| self.is_up(*broker)).collect();
        (!up.is_empty()).then(|| up[random.below(up.len())])
    }

    fn by_weight(&self, random: &mut Random) -> Option<usize> {
        let weight = |(broker, weight): (usize, &f64)| if self.is_up(broker) { *weight } else { 0.0 };
        let weights: Vec<f64> = self.weights.iter().enumerate().map(weight).collect();
        if weights.iter().sum::<f64>() > 0.0 {
            Some(random.weighted(&weights))
        } else {
            self.at_random(random)
        }
    }

    /// Who has not reported yet is taken for the mean of the others.
    fn or_mean(values: &[Option<f64>]) -> Vec<f64> {
        let known: Vec<f64> = values.iter().copied().flatten().collect();
        let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        values.iter().map(|value| value.unwrap_or(mean)).collect()
    }
}

impl Steer for Rival {
    fn handle(&mut self, input: Input, now: Moment) {
        match input {
            Input::Counts(counts) => {
                self.counted(counts.iter().map(|(_, counts)| counts.opened).sum(), now);
            }
            Input::Probe { backend, result: ProbeResult::Down(_) } => {
                self.brokers[usize::from(backend.0)].failures += 1;
            }
            Input::Probe { result: ProbeResult::Untried(_), .. } => {}
            Input::Probe { backend, .. } => self.brokers[usize::from(backend.0)].failures = 0,
            Input::Sample { backend, sample } => self.sampled(usize::from(backend.0), &sample),
            Input::Model(_)
            | Input::Adopt { .. }
            | Input::Drain { .. }
            | Input::Missing { .. }
            | Input::NoTelemetry { .. }
            | Input::OtherTelemetry { .. }
            | Input::Weight { .. } => {}
        }
    }

    fn tick(&mut self, now: Moment) {
        match self.rule {
            Rule::WeightedCpu => {
                // One per cent is left to a full broker: a weight of zero takes it out.
                let idle = |b: &Known| b.cpu.map(|cpu| (1.0 - cpu).max(0.01));
                self.weights = Self::or_mean(&self.brokers.iter().map(idle).collect::<Vec<_>>());
            }
            Rule::GrpcWeights => {
                let weight = |b: &Known| b.learnt.messages_per_cpu(now);
                self.weights = Self::or_mean(&self.brokers.iter().map(weight).collect::<Vec<_>>());
            }
            Rule::WaterFill => {
                let up: Vec<bool> = (0..self.brokers.len()).map(|broker| self.is_up(broker)).collect();
                let learnt: Vec<&Learnt> = self.brokers.iter().map(|broker| &broker.learnt).collect();
                self.weights = learnt::water_fill(
                    &learnt,
                    &up,
                    self.open_rate.get().unwrap_or(0.0),
                    now,
                    self.stale_after,
                );
            }
            Rule::RoundRobin
            | Rule::Hash
            | Rule::LeastConn { .. }
            | Rule::LeastCpu
            | Rule::TwoChoicesCpu
            | Rule::Oracle => {}
        }
    }

    fn choose(&mut self, live: &[u64], truth: &Truth<'_>, random: &mut Random) -> Option<usize> {
        match self.rule {
            Rule::RoundRobin => self.in_turn(),
            Rule::Hash => self.at_random(random),
            Rule::LeastConn { weighted } => {
                if weighted {
                    self.least(|broker, known| (live[broker] as f64 + 1.0) / known.weight)
                } else {
                    self.least(|broker, _| live[broker] as f64)
                }
            }
            Rule::LeastCpu => self.least(|_, known| known.cpu.unwrap_or(0.0)),
            Rule::TwoChoicesCpu => {
                let (a, b) = (self.at_random(random)?, self.at_random(random)?);
                let cpu = |broker: usize| self.brokers[broker].cpu.unwrap_or(0.0);
                Some(if cpu(b) < cpu(a) { b } else { a })
            }
            Rule::WeightedCpu | Rule::GrpcWeights | Rule::WaterFill => self.by_weight(random),
            Rule::Oracle => self.least(|broker, _| {
                let broker = &truth.0[broker];
                (broker.promised + broker.fixed) / broker.capacity
            }),
        }
    }
}
