//! Exponentially weighted moving averages over readings that come at irregular intervals.

use core::time::Duration;

/// The weight of a reading `gap` after the one before, for an average that forgets with the time constant `tau`:
/// `1 - e^(-gap / tau)`, 0.0 to 1.0.
#[must_use]
pub(crate) fn alpha(gap: Duration, tau: Duration) -> f64 {
    -(-gap.as_secs_f64() / tau.as_secs_f64()).exp_m1()
}

/// An average. The first reading is taken as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Ewma(Option<f64>);

impl Ewma {
    /// The average, once there was a reading.
    pub(crate) const fn get(self) -> Option<f64> {
        self.0
    }

    /// Takes in a finite reading with weight `alpha`.
    pub(crate) fn update(&mut self, reading: f64, alpha: f64) {
        self.0 = Some(self.0.map_or(reading, |old| old + alpha * (reading - old)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reading_is_taken_as_it_is() {
        let mut average = Ewma::default();
        assert_eq!(average.get(), None);
        average.update(0.7, 0.1);
        assert_eq!(average.get(), Some(0.7));
    }

    #[test]
    fn after_one_time_constant_two_thirds_of_a_step_are_seen_at_any_interval() {
        let tau = Duration::from_secs(10);
        for steps in [1_u32, 5, 100] {
            let mut average = Ewma::default();
            average.update(0.0, 1.0);
            for _ in 0..steps {
                average.update(1.0, alpha(tau / steps, tau));
            }
            let seen = average.get().unwrap();
            assert!((seen - 0.632).abs() < 0.001, "{steps} steps: {seen}");
        }
    }

    #[test]
    fn weights_are_between_zero_and_one() {
        let tau = Duration::from_secs(10);
        assert_eq!(alpha(Duration::ZERO, tau), 0.0);
        assert_eq!(alpha(Duration::MAX, tau), 1.0);
    }
}
