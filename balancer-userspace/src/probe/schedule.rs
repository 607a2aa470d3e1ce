//! When a backend is probed.

use std::time::Duration;

use balancer_common::abi::BackendId;
use tokio::time::Instant;

use crate::beat;
use crate::telemetry::phase;

/// Within this time of the start every backend is probed once, so that a start is quick.
const FIRST_WITHIN: Duration = Duration::from_millis(250);

/// The times of the probes of one backend.
pub(super) struct Schedule {
    next: Instant,
    interval: Duration,
    jitter: Duration,
    /// How much later than `next` this time.
    delay: Duration,
}

impl Schedule {
    /// The first probe soon, the second at the backend's own point of the interval, then one per interval. Each but the
    /// first is late by a random part of `jitter`, so that gateways do not ask in step.
    pub(super) fn new(backend: BackendId, interval: Duration, jitter: Duration) -> Self {
        let start = Instant::now();
        let first = start + phase(u32::from(backend.0), FIRST_WITHIN.min(interval));
        Self { next: first, interval, jitter, delay: Duration::ZERO }
    }

    /// Waits until the next probe is due. Cancelled, it is due again at the same time.
    pub(super) async fn due(&mut self) {
        beat::wait(self.next + self.delay).await;
        // Missed times are not made up for: a broker that was slow is not asked twice in a row.
        let now = Instant::now();
        self.next += self.interval;
        while self.next <= now {
            self.next += self.interval;
        }
        self.delay = self.jitter.mul_f64(fastrand::f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beat::BEAT;

    #[tokio::test(start_paused = true)]
    async fn one_probe_per_interval_each_a_little_late() {
        let (interval, jitter) = (Duration::from_secs(2), Duration::from_millis(200));
        let start = Instant::now();
        let mut schedule = Schedule::new(BackendId(3), interval, jitter);
        schedule.due().await;
        let first = start.elapsed();
        assert!(first < FIRST_WITHIN + BEAT, "{first:?}");
        for n in 1..50 {
            schedule.due().await;
            let due = first + interval * n;
            let late = start.elapsed().saturating_sub(due);
            assert!(late <= jitter + BEAT + Duration::from_millis(2), "probe {n} was {late:?} late");
            // The first was up to a beat late.
            assert!(start.elapsed() + BEAT >= due, "probe {n} was early");
        }
    }
}
