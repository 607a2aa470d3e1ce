//! Telling a wrong count from one that merely changed while it was being checked.

use std::collections::BTreeMap;

/// Between which numbers a count is too high. Negative is too low.
///
/// A count is read, then the table is walked, then the count is read again. What is in the table during the whole walk
/// is seen once; what comes or goes meanwhile may be seen or not. So if `excess` is the first count minus what was
/// seen, the true error is at least `excess - gone` and at most `excess + come`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    low: i64,
    high: i64,
}

impl Bounds {
    pub(super) const fn new(excess: i64, gone: i64, come: i64) -> Self {
        Self { low: excess.saturating_sub(gone), high: excess.saturating_add(come) }
    }

    /// The least error that explains what was seen.
    const fn least(self) -> i64 {
        if self.low > 0 {
            self.low
        } else if self.high < 0 {
            self.high
        } else {
            0
        }
    }
}

/// Errors seen in the last check, by what they are errors of.
#[derive(Debug)]
pub(super) struct Suspects<K> {
    seen: BTreeMap<K, i64>,
}

impl<K> Default for Suspects<K> {
    fn default() -> Self {
        Self { seen: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Suspects<K> {
    /// Takes the bounds of one check. Returns the corrections: errors seen twice running, the smaller of the two; or
    /// every error when `at_once`.
    pub(super) fn settle(&mut self, bounds: Vec<(K, Bounds)>, at_once: bool) -> Vec<(K, i64)> {
        let before = std::mem::take(&mut self.seen);
        let mut corrections = Vec::new();
        for (key, bounds) in bounds {
            let error = bounds.least();
            if error == 0 {
                continue;
            }
            let confirmed = match before.get(&key) {
                _ if at_once => error,
                Some(last) if last.signum() == error.signum() => error.signum() * error.abs().min(last.abs()),
                _ => 0,
            };
            if confirmed == 0 {
                self.seen.insert(key, error);
            } else {
                corrections.push((key, confirmed));
            }
        }
        corrections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_during_the_walk_explains_a_difference() {
        // Three were counted, four were seen, but one was opened meanwhile.
        assert_eq!(Bounds::new(-1, 0, 1).least(), 0);
        // Three were counted, two were seen, but one was closed meanwhile.
        assert_eq!(Bounds::new(1, 1, 0).least(), 0);
        // Five too many, of which two may have closed.
        assert_eq!(Bounds::new(5, 2, 7).least(), 3);
        assert_eq!(Bounds::new(-5, 2, 1).least(), -4);
    }

    #[test]
    fn a_correction_needs_two_sightings() {
        let mut suspects = Suspects::default();
        assert_eq!(suspects.settle(vec![(1, Bounds::new(4, 0, 0))], false), []);
        assert_eq!(suspects.settle(vec![(1, Bounds::new(3, 0, 0))], false), [(1, 3)]);
        assert_eq!(suspects.settle(vec![(1, Bounds::new(1, 0, 0))], false), [], "a correction starts afresh");
    }

    #[test]
    fn opposite_sightings_confirm_nothing() {
        let mut suspects = Suspects::default();
        assert_eq!(suspects.settle(vec![(1, Bounds::new(4, 0, 0))], false), []);
        assert_eq!(suspects.settle(vec![(1, Bounds::new(-4, 0, 0))], false), []);
        assert_eq!(suspects.settle(vec![], false), []);
        assert_eq!(suspects.settle(vec![(1, Bounds::new(-4, 0, 0))], false), [], "a gap starts afresh");
    }

    #[test]
    fn at_once_corrects_the_first_sighting() {
        let mut suspects = Suspects::default();
        assert_eq!(
            suspects.settle(vec![(1, Bounds::new(4, 0, 0)), (2, Bounds::new(0, 0, 0))], true),
            [(1, 4)]
        );
    }
}
