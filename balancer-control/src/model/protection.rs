//! How a service is kept up when backends fail.

use core::fmt;
use core::time::Duration;

/// A whole number of per cent, 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// A number of per cent; brought to the nearer end of 1 to 100.
    #[must_use]
    pub const fn new(percent: u8) -> Self {
        Self(if percent == 0 {
            1
        } else if percent > 100 {
            100
        } else {
            percent
        })
    }

    /// As a number, 1 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// As a share, 0.01 to 1.0.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Whether `some` is less than this share of `all`.
    pub(crate) const fn is_above(self, some: usize, all: usize) -> bool {
        some * 100 < self.0 as usize * all
    }

    /// This share of a number, rounded down.
    pub(crate) const fn of(self, all: usize) -> usize {
        all * self.0 as usize / 100
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// What is done when backends fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Ejection of backends whose SYNs fail; `None` ejects nobody.
    pub ejection: Option<EjectionSpec>,
    /// A service of which fewer backends than this are up steers to those that probes call down as well; `None` never
    /// does.
    pub panic: Option<Percent>,
    /// The next priority group opens when fewer than this share of a group take new flows.
    pub takeover: Percent,
    /// Most new connections per second of the whole service while brokers raise an alarm of their cluster; `None` goes
    /// on as usual.
    pub alarm_rate: Option<u32>,
    /// Backends that must take new flows before the service opens for the first time; 0 opens at once.
    pub min_ready: u32,
}

impl Default for Protection {
    /// The panic threshold is Envoy's `healthy_panic_threshold`
    /// (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold>).
    fn default() -> Self {
        Self {
            ejection: Some(EjectionSpec::default()),
            panic: Some(Percent(50)),
            takeover: Percent(50),
            alarm_rate: Some(50),
            min_ready: 0,
        }
    }
}

/// When a backend is ejected, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectionSpec {
    /// How far back SYNs are looked at.
    pub window: Duration,
    /// Fewer SYNs than this in a window say nothing.
    pub min_syns: u32,
    /// Share of failing SYNs from which on a backend is ejected.
    pub failing: Percent,
    /// How long the first ejection lasts; each further one lasts twice as long.
    pub time: Duration,
    /// The longest one. A backend that stays in rotation for as long begins anew with `time`.
    pub max_time: Duration,
    /// Most of the backends of a service that are ejected at once, rounded down, but one always may be.
    pub most: Percent,
}

impl Default for EjectionSpec {
    /// A third of the backends. Envoy's `max_ejection_percent` is 10 %, with one host always allowed where
    /// `always_eject_one_host` is set
    /// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/outlier_detection.proto>); services of
    /// brokers have three to ten backends, of which 10 % are one or none.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            min_syns: 10,
            failing: Percent(50),
            time: Duration::from_secs(10),
            max_time: Duration::from_secs(300),
            most: Percent(34),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_compared_and_taken_without_rounding_up() {
        let half = Percent::new(50);
        assert!(!half.is_above(1, 2) && half.is_above(1, 3) && half.is_above(0, 1) && !half.is_above(0, 0));
        let third = Percent::new(34);
        assert_eq!([2, 3, 5, 6, 8, 9].map(|n| third.of(n)), [0, 1, 1, 2, 2, 3]);
        assert_eq!([0, 101].map(|n| Percent::new(n).get()), [1, 100]);
    }
}
