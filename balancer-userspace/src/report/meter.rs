//! Measures when asked, and remembers a little of what it measured.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use balancer_control::ResourceUse;
use tokio::sync::Mutex;

use crate::config::LocalTarget;
use crate::telemetry::{LocalUsage, measure};

/// A measurement is given again for this long: `/proc` counts in steps of 10 ms, and a flood of requests should not be one
/// of measurements.
const FRESH: Duration = Duration::from_millis(100);

/// Utilisation is that since the youngest measurement that is at least this old, if there is one.
const WINDOW: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// CPU time used, in seconds.
    pub cpu_s: f64,
    /// The clock that goes with it, in seconds.
    pub clock_s: f64,
    /// Cores that can be used.
    pub cores: f64,
    /// Memory and descriptors, where they have a limit.
    pub resources: Vec<ResourceUse>,
    /// Of the cores, 0 to 1; `None` before there is a past to compare with.
    pub utilisation: Option<f64>,
}

/// Measures one process, control group or host.
#[derive(Debug)]
pub struct Meter {
    target: LocalTarget,
    /// Cores it can use at most, as told.
    cores: Option<f64>,
    start: Instant,
    past: Mutex<VecDeque<(Duration, LocalUsage)>>,
}

impl Meter {
    /// Measures nothing yet.
    #[must_use]
    pub fn new(target: LocalTarget, cores: Option<f64>) -> Self {
        Self { target, cores, start: Instant::now(), past: Mutex::default() }
    }

    /// What is measured, for people.
    #[must_use]
    pub fn name(&self) -> String {
        self.target.to_string()
    }

    /// Measures, unless that was done a moment ago.
    ///
    /// # Errors
    ///
    /// What is missing, for people.
    pub async fn measure(&self) -> Result<Measured, String> {
        let mut past = self.past.lock().await;
        let age = past.back().map(|(at, _)| self.start.elapsed().saturating_sub(*at));
        if age.is_none_or(|age| age >= FRESH) {
            let target = self.target.clone();
            // Finding a unit walks a file system; a broker has tens of thousands of descriptors.
            let usage = tokio::task::spawn_blocking(move || measure(&target)).await;
            let usage = usage.map_err(|e| e.to_string()).and_then(|usage| usage)?;
            remember(&mut past, self.start.elapsed(), usage);
        }
        let (at, usage) = past.back().ok_or("nothing was measured")?;
        let cores = self.cores.map_or(usage.cores, |most| most.min(usage.cores));
        Ok(Measured {
            cpu_s: usage.cpu_s,
            clock_s: at.as_secs_f64(),
            cores,
            resources: usage.resources.clone(),
            utilisation: utilisation(&past, cores),
        })
    }
}

/// Keeps what the next measurements are compared with, and nothing of another process or of before a restart.
fn remember(past: &mut VecDeque<(Duration, LocalUsage)>, at: Duration, usage: LocalUsage) {
    if past.back().is_some_and(|(_, before)| before.of != usage.of || before.cpu_s > usage.cpu_s) {
        past.clear();
    }
    past.push_back((at, usage));
    while past.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= WINDOW) {
        past.pop_front();
    }
}

fn utilisation(past: &VecDeque<(Duration, LocalUsage)>, cores: f64) -> Option<f64> {
    let ((from, before), (to, after)) = (past.front()?, past.back()?);
    let passed_s = to.saturating_sub(*from).as_secs_f64();
    (passed_s >= FRESH.as_secs_f64())
        .then(|| ((after.cpu_s - before.cpu_s) / passed_s / cores).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(of: &str, cpu_s: f64) -> LocalUsage {
        LocalUsage { of: of.to_owned(), cpu_s, cores: 2.0, resources: Vec::new() }
    }

    #[test]
    fn utilisation_is_of_the_last_seconds() {
        let mut past = VecDeque::new();
        let second = |n| Duration::from_secs(n);
        remember(&mut past, second(0), usage("a", 0.0));
        assert_eq!(utilisation(&past, 2.0), None, "no past");
        for n in 1..=10 {
            remember(&mut past, second(n), usage("a", n as f64));
        }
        assert_eq!(utilisation(&past, 2.0), Some(0.5));
        assert_eq!(past.front().map(|(at, _)| *at), Some(second(8)));
        remember(&mut past, second(12), usage("a", 10.0));
        assert_eq!(utilisation(&past, 2.0), Some(0.0), "since the measurement two seconds ago");
        remember(&mut past, second(13), usage("b", 100.0));
        assert_eq!(utilisation(&past, 2.0), None, "another process");
        remember(&mut past, second(14), usage("b", 1.0));
        assert_eq!(past.len(), 1, "its counter went back");
    }

    #[tokio::test]
    async fn asking_often_measures_once() {
        let meter = Meter::new(LocalTarget::Host, Some(0.5));
        let (first, second) = (meter.measure().await.unwrap(), meter.measure().await.unwrap());
        if second.clock_s - first.clock_s < FRESH.as_secs_f64() {
            assert_eq!(first, second);
        }
        assert_eq!(first.cores, 0.5, "no more than told");
    }

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        let meter = Meter::new(LocalTarget::Pid(u32::MAX), None);
        assert!(meter.measure().await.unwrap_err().contains("no process 4294967295"));
        assert_eq!(meter.name(), "process 4294967295");
    }
}
