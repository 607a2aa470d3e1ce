//! Which readings are not believed, and why.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::{Resource, Sample};
use crate::Moment;

/// Highest utilisation that is still taken for 1.0: sources that count CPU time in ticks of 10 ms overshoot by some
/// per cent when they are asked every second.
const UTILISATION_TOLERANCE: f64 = 1.05;

/// Highest use of a resource that is still taken for 1.0. A broker may be above its own limit (RabbitMQ reports used
/// memory against a high watermark); twice the limit is a mistake of the unit.
const RESOURCE_TOLERANCE: f64 = 2.0;

/// Numbers of cores that are taken for one: a thousandth of a core is the smallest quota of a Kubernetes pod, and no
/// machine has a hundred thousand.
const CORES: RangeInclusive<f64> = 0.001..=100_000.0;

/// How far ahead of the controller's time a reading may be: the caller's `now` may be one turn of its loop old.
const FUTURE_TOLERANCE: Duration = Duration::from_secs(1);

/// Why a reading was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Utilisation is not a number, infinite or below zero.
    #[error("utilisation {0} is not a utilisation; the source must report 0.0 to 1.0")]
    Utilisation(f64),
    /// Utilisation is above 1.0 by more than jitter.
    #[error(
        "utilisation {0:.3} is above 1.0; the source must divide by the cores that the broker can use \
         (set `cores` of the backend), and by 100 where it reports per cent"
    )]
    Overfull(f64),
    /// Cores is not a number that a machine can have.
    #[error("{0} is not a number of cores; the source must report 0.001 to 100000, or nothing")]
    Cores(f64),
    /// The use of a resource is not a number, infinite or below zero.
    #[error("{0} use {1} is not a share; the source must report used / limit, 0.0 to 1.0")]
    ResourceShare(Resource, f64),
    /// The use of a resource is far above its limit.
    #[error(
        "{0} use {1:.3} is far above its limit; the source must divide by the limit, and by 100 where it reports per cent"
    )]
    ResourceUnit(Resource, f64),
    /// The reading is older than the one before, by so much.
    #[error("the reading is {0:?} older than the one before it; the source must report readings in order")]
    Older(Duration),
    /// The reading is from the future.
    #[error(
        "the reading is from {0:?} in the future; the source's clock must be the gateway's monotonic clock"
    )]
    Future(Duration),
    /// The reading is so old that it would not be used.
    #[error(
        "the reading is {age:?} old, more than `stale_after` = {limit:?}; poll more often or raise `stale_after`"
    )]
    Stale {
        /// Its age.
        age: Duration,
        /// What the service allows.
        limit: Duration,
    },
}

/// Whether a number can be a number of cores.
pub(crate) fn is_cores(cores: f64) -> bool {
    CORES.contains(&cores)
}

impl Sample {
    /// Checks a reading and brings values that are above their end by mere jitter back to it.
    ///
    /// `previous` is when the last accepted reading was taken. One of the same time is that reading again, however old it
    /// is by now: a source that is asked more often than its broker reports repeats it, and another of the same backend may
    /// have more to say beside it.
    ///
    /// # Errors
    ///
    /// Says which value cannot be believed, and what the source should do.
    pub fn accept(
        mut self,
        previous: Option<Moment>,
        stale_after: Duration,
        now: Moment,
    ) -> Result<Self, Refusal> {
        self.check_time(previous, stale_after, now)?;
        if let Some(utilisation) = &mut self.utilisation {
            if !utilisation.is_finite() || *utilisation < 0.0 {
                return Err(Refusal::Utilisation(*utilisation));
            }
            if *utilisation > UTILISATION_TOLERANCE {
                return Err(Refusal::Overfull(*utilisation));
            }
            *utilisation = utilisation.min(1.0);
        }
        if let Some(cores) = self.cores.filter(|cores| !is_cores(*cores)) {
            return Err(Refusal::Cores(cores));
        }
        for resource in &mut self.resources {
            if !resource.used.is_finite() || resource.used < 0.0 {
                return Err(Refusal::ResourceShare(resource.resource, resource.used));
            }
            if resource.used > RESOURCE_TOLERANCE {
                return Err(Refusal::ResourceUnit(resource.resource, resource.used));
            }
            resource.used = resource.used.min(1.0);
        }
        Ok(self)
    }

    fn check_time(
        &self,
        previous: Option<Moment>,
        stale_after: Duration,
        now: Moment,
    ) -> Result<(), Refusal> {
        let ahead = self.taken.since(now);
        if ahead > FUTURE_TOLERANCE {
            return Err(Refusal::Future(ahead));
        }
        if let Some(previous) = previous.filter(|previous| self.taken < *previous) {
            return Err(Refusal::Older(previous.since(self.taken)));
        }
        if previous == Some(self.taken) {
            return Ok(());
        }
        let age = now.since(self.taken);
        if age > stale_after {
            return Err(Refusal::Stale { age, limit: stale_after });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ResourceUse;
    use super::*;
    use crate::fixture::at;

    const STALE: Duration = Duration::from_secs(12);

    fn sample() -> Sample {
        Sample { taken: at(100), utilisation: Some(0.5), ..Sample::default() }
    }

    fn accept(sample: Sample) -> Result<Sample, Refusal> {
        sample.accept(Some(at(98)), STALE, at(100))
    }

    #[test]
    fn a_sane_reading_is_accepted_as_it_is() {
        assert_eq!(accept(sample()), Ok(sample()));
        let silent = Sample { utilisation: None, ..sample() };
        assert_eq!(accept(silent.clone()), Ok(silent));
    }

    #[test]
    fn impossible_utilisation_is_refused_by_name() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.01] {
            let refusal = accept(Sample { utilisation: Some(bad), ..sample() }).unwrap_err();
            assert!(matches!(refusal, Refusal::Utilisation(_)), "{bad}: {refusal}");
        }
        let refusal = accept(Sample { utilisation: Some(85.0), ..sample() }).unwrap_err();
        assert_eq!(refusal, Refusal::Overfull(85.0));
        assert!(
            refusal.to_string().contains("85.000") && refusal.to_string().contains("per cent"),
            "{refusal}"
        );
    }

    #[test]
    fn jitter_above_full_is_full() {
        assert_eq!(accept(Sample { utilisation: Some(1.04), ..sample() }).unwrap().utilisation, Some(1.0));
    }

    #[test]
    fn cores_and_resources_are_checked() {
        for bad in [0.0, -2.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(matches!(accept(Sample { cores: Some(bad), ..sample() }), Err(Refusal::Cores(_))));
        }
        let used =
            |used| Sample { resources: vec![ResourceUse { resource: Resource::Memory, used }], ..sample() };
        assert!(matches!(accept(used(f64::NAN)), Err(Refusal::ResourceShare(Resource::Memory, _))));
        assert!(matches!(accept(used(-1.0)), Err(Refusal::ResourceShare(..))));
        assert!(matches!(accept(used(97.0)), Err(Refusal::ResourceUnit(..))));
        assert_eq!(accept(used(1.2)).unwrap().resources[0].used, 1.0);
    }

    #[test]
    fn time_must_go_on_and_not_ahead() {
        let taken = |seconds| Sample { taken: at(seconds), ..sample() };
        assert_eq!(accept(taken(98)), Ok(taken(98)), "the same reading, with what others say beside it");
        assert_eq!(taken(98).accept(Some(at(98)), STALE, at(200)), Ok(taken(98)), "which was fresh once");
        let refusal = accept(taken(90)).unwrap_err();
        assert_eq!(refusal, Refusal::Older(Duration::from_secs(8)));
        assert!(
            refusal.to_string().starts_with("the reading is 8s older than the one before it;"),
            "{refusal}"
        );
        assert_eq!(accept(taken(101)), Ok(taken(101)));
        assert_eq!(accept(taken(102)), Err(Refusal::Future(Duration::from_secs(2))));
        let old = taken(80).accept(None, STALE, at(100));
        assert_eq!(old, Err(Refusal::Stale { age: Duration::from_secs(20), limit: STALE }));
    }
}
