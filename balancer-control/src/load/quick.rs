//! A second average of a level, which notices clients that are not what clients were.
//!
//! Between readings connections are predicted by what clients cost so far. When heavier ones come, a slow average
//! notices late, and a backend that looks empty would get them all until then.

use core::time::Duration;

use crate::ewma::{Ewma, alpha};

use super::Level;

/// Time constant: as short as leaves a few readings in it.
const QUICK_TAU: Duration = Duration::from_secs(3);

/// How many times what noise makes of it a difference to the slow average must be to be believed.
const SURPRISING: f64 = 3.0;

/// Least standard deviation of one reading: a hundredth is neither measured reliably nor worth a reaction.
const LEAST_NOISE: f64 = 0.01;

/// Time constant of the noise of readings.
const NOISE_TAU: Duration = Duration::from_secs(60);

/// The quick average, and how noisy its readings are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Quick {
    utilisation: Ewma,
    own: Ewma,
    /// The reading before.
    before: Option<Level>,
    /// Mean square of half the difference of two readings in a row, without what connections explain.
    variance: Ewma,
}

impl Quick {
    /// Takes in a reading, `gap` after the one before if that was of the same run of the broker. Returns what to take
    /// for the level instead of `slow`, if that is too far off. `cost` is what one connection adds.
    pub(super) fn observe(
        &mut self,
        reading: Level,
        gap: Option<Duration>,
        slow: Level,
        cost: f64,
    ) -> Option<Level> {
        let weight = gap.map_or(1.0, |gap| alpha(gap, QUICK_TAU));
        self.utilisation.update(reading.utilisation, weight);
        self.own.update(reading.own, weight);
        let before = self.before.replace(reading)?;
        let difference = reading.utilisation - before.utilisation - (reading.own - before.own) * cost;
        self.variance.update(difference * difference / 2.0, alpha(gap?, NOISE_TAU));
        let quick = Level { utilisation: self.utilisation.get()?, own: self.own.get()? };
        let surprise = quick.utilisation - slow.utilisation - (quick.own - slow.own) * cost;
        let noise = self.variance.get()?.sqrt().max(LEAST_NOISE) * (weight / (2.0 - weight)).sqrt();
        (surprise.abs() > SURPRISING * noise).then_some(quick)
    }
}
