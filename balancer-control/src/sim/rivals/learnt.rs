//! What the better rivals learn from telemetry: messages per CPU, and a level.

use core::time::Duration;

use crate::ewma::{Ewma, alpha};
use crate::{Moment, Sample};

/// Time a broker must have reported before gRPC uses its weight (`blackout_period`, gRFC A58).
const BLACKOUT: Duration = Duration::from_secs(10);

/// Age at which gRPC gives a weight up (`weight_expiration_period`, gRFC A58).
const EXPIRATION: Duration = Duration::from_secs(180);

/// Time constants of the level and of the capacity, the same as the product's.
const LEVEL_TAU: Duration = Duration::from_secs(10);
const CAPACITY_TAU: Duration = Duration::from_secs(60);

/// Seconds within which water-filling wants the level even.
const HORIZON: f64 = 30.0;

/// Part of its capacity that water-filling sends a broker above the level all the same: otherwise a broker that is
/// wrongly taken for full is never seen again.
const FLOOR: f64 = 0.05;

/// What is learnt of one broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    first: Option<Moment>,
    taken: Option<Moment>,
    messages: Option<u64>,
    connections: Option<u64>,
    /// Messages per second over utilisation, of the last sample.
    ratio: Option<f64>,
    level: Ewma,
    rate: Ewma,
    capacity: Ewma,
}

impl Learnt {
    pub(crate) fn observe(&mut self, sample: &Sample, stale_after: Duration) {
        let previous = self.taken.replace(sample.taken);
        let before = core::mem::replace(&mut self.messages, sample.messages);
        self.connections = sample.connections;
        let gap = previous.map(|previous| sample.taken.since(previous));
        if gap.is_none_or(|gap| gap > EXPIRATION) {
            self.first = Some(sample.taken);
        }
        let Some(utilisation) = sample.utilisation else { return };
        let Some(gap) = gap.filter(|gap| *gap <= stale_after && !gap.is_zero()) else {
            self.level.update(utilisation, 1.0);
            return;
        };
        self.level.update(utilisation, alpha(gap, LEVEL_TAU));
        let Some(messages) = before.zip(sample.messages).and_then(|(a, b)| b.checked_sub(a)) else { return };
        let rate = messages as f64 / gap.as_secs_f64();
        self.rate.update(rate, alpha(gap, LEVEL_TAU));
        if utilisation > 0.0 && rate > 0.0 {
            self.ratio = Some(rate / utilisation);
            self.capacity.update(rate / utilisation, alpha(gap, CAPACITY_TAU));
        }
    }

    /// The weight of gRPC's `weighted_round_robin`.
    pub(crate) fn messages_per_cpu(&self, now: Moment) -> Option<f64> {
        let fresh = now.since(self.taken?) < EXPIRATION;
        let known = now.since(self.first?) >= BLACKOUT;
        self.ratio.filter(|_| fresh && known)
    }
}

/// Shares that bring all brokers to one level within [`HORIZON`], by what they are capable of and how loaded they are.
///
/// `open_rate` is of new connections per second.
pub(crate) fn water_fill(
    brokers: &[&Learnt],
    up: &[bool],
    open_rate: f64,
    now: Moment,
    stale_after: Duration,
) -> Vec<f64> {
    let known: Vec<f64> = brokers.iter().filter_map(|broker| broker.capacity.get()).collect();
    let usual = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
    let capacities: Vec<f64> = brokers.iter().map(|b| b.capacity.get().unwrap_or(usual)).collect();
    let is_fresh = |b: &Learnt| b.taken.is_some_and(|taken| now.since(taken) <= stale_after);
    let levels: Vec<Option<f64>> = brokers.iter().map(|b| b.level.get().filter(|_| is_fresh(b))).collect();
    let seen: Vec<f64> = levels.iter().copied().flatten().collect();
    let mean = if seen.is_empty() { 0.0 } else { seen.iter().sum::<f64>() / seen.len() as f64 };
    let levels: Vec<f64> = levels.iter().map(|level| level.unwrap_or(mean)).collect();
    let members: Vec<usize> = (0..brokers.len()).filter(|broker| up[*broker]).collect();
    let total: f64 = members.iter().map(|&b| capacities[b]).sum();
    let rate: f64 = brokers.iter().filter_map(|broker| broker.rate.get()).sum();
    let connections: u64 = brokers.iter().filter_map(|broker| broker.connections).sum();
    // What new connections will ask for within the horizon, at least a hundredth of everything.
    let each = rate / connections.max(1) as f64;
    let water = (HORIZON * open_rate * each).max(0.01 * total);
    let (mut low, mut high) = (0.0, 2.0);
    for _ in 0..40 {
        let level = (low + high) / 2.0;
        let filled: f64 = members.iter().map(|&b| capacities[b] * (level - levels[b]).max(0.0)).sum();
        if filled < water { low = level } else { high = level }
    }
    let share =
        |b: usize| (capacities[b] * (low - levels[b]).max(0.0)).max(FLOOR * capacities[b] * water / total);
    (0..brokers.len()).map(|b| if up[b] { share(b) } else { 0.0 }).collect()
}
