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
const SURPRISING: f64 = 4.0;

/// Least standard deviation of one reading: a hundredth is neither measured reliably nor worth a reaction.
const LEAST_NOISE: f64 = 0.01;

/// Time constant of the noise of readings.
const NOISE_TAU: Duration = Duration::from_secs(60);

/// How many times the variance so far one reading may say it is: what clients do at once is not noise.
const OUTLIER: f64 = 9.0;

/// The quick average, and how noisy its readings are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Quick {
    utilisation: Ewma,
    own: Ewma,
    /// The reading before.
    before: Option<Level>,
    /// Half the mean square of the difference of two readings in a row, without what connections explain.
    variance: Option<f64>,
    /// Whether the reading before was too far off, and upwards. One alone may be a mistake.
    suspected: Option<bool>,
}

impl Quick {
    /// Takes in a reading, `gap` after the one before if that was of the same run of the broker. Returns what to take
    /// for the level instead of `slow`, if two readings in a row say that it is too far off on the same side. `cost` is what one connection adds.
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
        let known = self.variance.unwrap_or(LEAST_NOISE * LEAST_NOISE);
        let found = (difference * difference / 2.0).min(OUTLIER * known);
        let variance = (known + alpha(gap?, NOISE_TAU) * (found - known)).max(LEAST_NOISE * LEAST_NOISE);
        self.variance = Some(variance);
        let quick = Level { utilisation: self.utilisation.get()?, own: self.own.get()? };
        let surprise = quick.utilisation - slow.utilisation - (quick.own - slow.own) * cost;
        let noise = variance.sqrt() * (weight / (2.0 - weight)).sqrt();
        let found = (surprise.abs() > SURPRISING * noise).then_some(surprise > 0.0);
        let before = core::mem::replace(&mut self.suspected, found);
        let confirmed = found.is_some() && before == found;
        confirmed.then_some(quick)
    }
}
