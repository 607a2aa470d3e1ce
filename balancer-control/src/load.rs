//! From readings to a level: what one backend's telemetry says, matched with the connections it had.
//!
//! Utilisation is averaged because it is noisy, and what is averaged is late. The connections of the program are
//! averaged with the same weights over the same windows, so that their difference to the connections of this moment is
//! exactly what the average of the utilisation has not seen yet (a Smith predictor):
//! `score = utilisation + (live - connections) * cost`.

use core::time::Duration;

use crate::ewma::{Ewma, alpha};
use crate::history::History;
use crate::{Moment, Sample};

mod quick;

use quick::Quick;

/// Time constant of utilisation, messages and connections. Shorter ones follow noise, longer ones heavy clients too late:
/// `docs/balance.md`.
const LEVEL_TAU: Duration = Duration::from_secs(20);

/// Time constant of the sums that a backend's capacity is learnt from.
const CAPACITY_TAU: Duration = Duration::from_secs(60);

/// Utilisation below which a reading says nothing of capacity: most of it is the broker's idle work.
const CAPACITY_FLOOR: f64 = 0.05;

/// Utilisation above which a reading says nothing of capacity: the processor is full, more messages would show as
/// delay and not as utilisation.
const CAPACITY_CEILING: f64 = 0.95;

/// Filtered utilisation above which it is saturated, and connections say more than it does.
pub(crate) const SATURATED: f64 = 0.9;

/// Age of the last reading at which everything that telemetry taught is given up.
pub const FORGET_AFTER: Duration = Duration::from_secs(180);

/// Connects are a storm when they come this many times as fast as usual …
const STORM_FACTOR: f64 = 4.0;

/// … and this many a second faster than that.
const STORM_MARGIN: f64 = 3.0;

/// Time constant of the usual connect rate.
const RATE_TAU: Duration = Duration::from_secs(300);

/// Longest time that a storm freezes the level: afterwards one reading is believed, however loud the handshakes in it.
const LONGEST_FREEZE: Duration = Duration::from_secs(60);

/// Readings that wait for the next tick. More mean that nobody calls tick, and the oldest are dropped.
const PENDING: usize = 16;

/// Filtered utilisation, and the connections of the program that it contains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    /// 0.0 to 1.0.
    pub(crate) utilisation: f64,
    /// Live connections through this gateway, filtered alike.
    pub(crate) own: f64,
}

/// What the broker itself counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Population {
    /// Connections at the last reading, whichever way they came.
    pub(crate) connections: f64,
    /// Live connections through this gateway at the same moment.
    pub(crate) own: f64,
}

/// Sums that capacity is learnt from, over time with [`CAPACITY_TAU`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    /// Messages.
    pub(crate) messages: f64,
    /// Utilisation times seconds.
    pub(crate) utilisation: f64,
}

/// Mean rate and connections, for the cost of one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// Messages per second.
    pub(crate) messages: f64,
    /// Connections that sent them.
    pub(crate) connections: f64,
}

/// What the readings of one backend add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pending: Vec<Sample>,
    /// When the last accepted reading was taken.
    taken: Option<Moment>,
    /// When the last reading with a utilisation was taken.
    utilisation_taken: Option<Moment>,
    utilisation: Ewma,
    own: Ewma,
    /// How long the level has been averaged.
    averaged: Duration,
    quick: Quick,
    message_rate: Ewma,
    connections: Ewma,
    /// When and how many messages were last counted.
    messages: Option<(Moment, u64)>,
    population: Option<(Moment, Population)>,
    work: Work,
    /// Usual flows opened per second, and how long they have been watched.
    usual_rate: f64,
    watched: Duration,
    frozen_for: Duration,
    /// What the level is frozen for.
    storm: Option<Storm>,
}

/// Connects that come too fast for the level to be believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Storm {
    /// When the first reading was taken that was left out for it.
    pub(crate) since: Moment,
    /// Flows opened per second, at the last reading.
    pub(crate) rate: f64,
    /// Flows opened per second from which on it is a storm.
    pub(crate) limit: f64,
}

impl Load {
    /// Keeps an accepted reading for the next [`Load::settle`].
    pub(crate) fn offer(&mut self, sample: &Sample) {
        if self.pending.len() == PENDING {
            self.pending.remove(0);
        }
        self.pending.push(sample.clone());
    }

    /// Takes in the readings that wait. `gateways` is how many share the service.
    /// `cost` is what one connection through this gateway adds to the utilisation of the backend, as far as is known.
    pub(crate) fn settle(
        &mut self,
        history: History<'_>,
        gateways: u32,
        cost: f64,
        stale_after: Duration,
        now: Moment,
    ) {
        for sample in core::mem::take(&mut self.pending) {
            self.observe(&sample, history, gateways, cost, stale_after);
        }
        if self.taken.is_some_and(|taken| now.since(taken) > FORGET_AFTER.max(stale_after)) {
            self.forget();
        }
    }

    /// Gives up everything that readings taught.
    pub(crate) fn forget(&mut self) {
        *self = Self { usual_rate: self.usual_rate, watched: self.watched, ..Self::default() };
    }

    /// The broker started anew: what it carried is gone, what it is capable of is not.
    pub(crate) fn restart(&mut self) {
        self.pending.clear();
        self.forget_level();
    }

    /// Utilisation, unless it was never seen, is stale or is saturated.
    pub(crate) fn level(&self, stale_after: Duration, now: Moment) -> Option<Level> {
        self.fresh_level(stale_after, now).filter(|level| level.utilisation <= SATURATED)
    }

    /// Whether utilisation is known, and too high to tell one backend from another.
    pub(crate) fn is_saturated(&self, stale_after: Duration, now: Moment) -> bool {
        self.fresh_level(stale_after, now).is_some_and(|level| level.utilisation > SATURATED)
    }

    /// Utilisation, unless it was never seen or is stale.
    pub(crate) fn fresh_level(&self, stale_after: Duration, now: Moment) -> Option<Level> {
        self.utilisation_taken.filter(|taken| now.since(*taken) <= stale_after)?;
        Some(Level { utilisation: self.utilisation.get()?, own: self.own.get()? })
    }

    /// Connections by the broker's own count, unless they were never seen or are stale.
    pub(crate) fn population(&self, stale_after: Duration, now: Moment) -> Option<Population> {
        self.population
            .filter(|(taken, _)| now.since(*taken) <= stale_after)
            .map(|(_, population)| population)
    }

    /// Messages per second and the connections they came over, unless they were never seen or are stale.
    pub(crate) fn rate(&self, stale_after: Duration, now: Moment) -> Option<Rate> {
        self.messages.filter(|(taken, _)| now.since(*taken) <= stale_after)?;
        Some(Rate { messages: self.message_rate.get()?, connections: self.connections.get()? })
    }

    /// Connections, filtered; `None` when they were never seen or are stale.
    pub(crate) fn connections(&self, stale_after: Duration, now: Moment) -> Option<f64> {
        self.taken.filter(|taken| now.since(*taken) <= stale_after).and(self.connections.get())
    }

    /// What capacity is learnt from.
    pub(crate) const fn work(&self) -> Work {
        self.work
    }

    /// Whether the level is frozen because connects storm.
    pub(crate) const fn is_frozen(&self) -> bool {
        !self.frozen_for.is_zero()
    }

    /// What the level is frozen for, if it is.
    pub(crate) const fn storm(&self) -> Option<Storm> {
        self.storm
    }

    /// When the last reading with a utilisation was taken.
    pub(crate) const fn utilisation_taken(&self) -> Option<Moment> {
        self.utilisation_taken
    }

    /// When the latest readings of each kind were taken.
    pub(crate) fn readings(&self) -> [Option<Moment>; 3] {
        [
            self.utilisation_taken,
            self.population.map(|(taken, _)| taken),
            self.messages.map(|(taken, _)| taken),
        ]
    }

    fn observe(
        &mut self,
        sample: &Sample,
        history: History<'_>,
        gateways: u32,
        cost: f64,
        stale_after: Duration,
    ) {
        let previous = self.taken.replace(sample.taken);
        let gap = previous.map(|previous| sample.taken.since(previous));
        let afresh = gap.is_none_or(|gap| gap > stale_after) || self.is_restart(sample);
        if afresh {
            self.forget_level();
        }
        let connected = history.live_at(sample.taken);
        if let Some(connections) = sample.connections {
            let population = Population { connections: connections as f64, own: connected };
            self.population = Some((sample.taken, population));
        }
        let gap = gap.filter(|gap| *gap <= stale_after);
        let rate = self.message_rate_of(sample, stale_after);
        if sample.utilisation.is_some() {
            self.utilisation_taken = Some(sample.taken);
        }
        if let (Some(previous), Some(gap)) = (previous, gap)
            && self.is_storm(previous, sample.taken, gap, history)
        {
            return;
        }
        // A source reports the mean since its last reading, unless that was of another run of the broker.
        let (weight, own) = match (gap, previous) {
            (Some(gap), Some(from)) if !afresh => {
                // The first readings count alike, or the very first would be believed for as long as the average lasts.
                self.averaged = self.averaged.saturating_add(gap);
                let part = gap.as_secs_f64() / (self.averaged + gap).as_secs_f64();
                (alpha(gap, LEVEL_TAU).max(part), history.mean_live(from, sample.taken))
            }
            _ => (1.0, connected),
        };
        let everywhere = own * f64::from(gateways.max(1));
        self.connections.update(sample.connections.map_or(everywhere, |n| n as f64), weight);
        if let Some(rate) = rate {
            self.message_rate.update(rate, weight);
        }
        if let Some(utilisation) = sample.utilisation {
            self.average(Level { utilisation, own }, gap.filter(|_| !afresh), weight, cost);
            if let (Some(rate), Some(gap)) = (rate, gap) {
                self.learn(rate, utilisation, gap);
            }
        }
    }

    fn average(&mut self, reading: Level, gap: Option<Duration>, weight: f64, cost: f64) {
        self.utilisation.update(reading.utilisation, weight);
        self.own.update(reading.own, weight);
        let (Some(utilisation), Some(own)) = (self.utilisation.get(), self.own.get()) else { return };
        if let Some(Level { utilisation, own }) =
            self.quick.observe(reading, gap, Level { utilisation, own }, cost)
        {
            self.utilisation.update(utilisation, 1.0);
            self.own.update(own, 1.0);
        }
    }

    /// A counter that goes back to zero belongs to another run of the broker.
    const fn is_restart(&self, sample: &Sample) -> bool {
        matches!((self.messages, sample.messages), (Some((_, before)), Some(after)) if after < before)
    }

    /// Messages per second since they were last counted.
    fn message_rate_of(&mut self, sample: &Sample, stale_after: Duration) -> Option<f64> {
        let counted = sample.messages?;
        let (at, before) = self.messages.replace((sample.taken, counted))?;
        let gap = sample.taken.since(at);
        if gap > stale_after {
            return None;
        }
        Some(counted.checked_sub(before)? as f64 / gap.as_secs_f64())
    }

    /// Whether so many clients connect that their handshakes would be taken for load.
    fn is_storm(&mut self, from: Moment, to: Moment, gap: Duration, history: History<'_>) -> bool {
        let opened = history.at(to).since(&history.at(from)).opened;
        // Over less than a second a handful of connects is no rate.
        let rate = opened / gap.as_secs_f64().max(1.0);
        if self.watched.is_zero() {
            // What is usual is not known yet: a service that fills for the first time would pass for a storm, and nothing
            // would be learnt of its brokers while it does.
            (self.usual_rate, self.watched) = (rate, gap);
            return false;
        }
        self.watched = self.watched.saturating_add(gap).min(RATE_TAU);
        let limit = STORM_FACTOR * self.usual_rate + STORM_MARGIN;
        self.usual_rate += alpha(gap, self.watched) * (rate.min(limit) - self.usual_rate);
        if rate > limit && self.frozen_for < LONGEST_FREEZE {
            self.frozen_for += gap;
            let since = self.storm.map_or(to, |storm| storm.since);
            self.storm = Some(Storm { since, rate, limit });
            return true;
        }
        self.frozen_for = Duration::ZERO;
        self.storm = None;
        false
    }

    fn learn(&mut self, rate: f64, utilisation: f64, gap: Duration) {
        if !(CAPACITY_FLOOR..=CAPACITY_CEILING).contains(&utilisation) {
            return;
        }
        let seconds = gap.as_secs_f64();
        let kept = 1.0 - alpha(gap, CAPACITY_TAU);
        self.work.messages = self.work.messages * kept + rate * seconds;
        self.work.utilisation = self.work.utilisation * kept + utilisation * seconds;
    }

    fn forget_level(&mut self) {
        self.utilisation = Ewma::default();
        self.own = Ewma::default();
        self.averaged = Duration::ZERO;
        self.quick = Quick::default();
        self.message_rate = Ewma::default();
        self.connections = Ewma::default();
        self.population = None;
        self.utilisation_taken = None;
        self.frozen_for = Duration::ZERO;
        self.storm = None;
    }
}

#[cfg(test)]
mod tests;
