//! When a backend is probed.

use std::time::Duration;

use balancer_common::abi::BackendId;
use tokio::time::{Instant, sleep_until};

use crate::telemetry::phase;

/// Within this time of the start every backend is probed once, so that a start is quick.
const FIRST_WITHIN: Duration = Duration::from_millis(250);

/// The times of the probes of one backend.
pub(super) struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    /// The first probe soon, the second at the backend's own point of the interval, then one per interval.
    pub(super) fn new(backend: BackendId, interval: Duration) -> Self {
        let start = Instant::now();
        let first = start + phase(u32::from(backend.0), FIRST_WITHIN.min(interval));
        Self { next: first, interval }
    }

    /// Waits until the next probe is due. Cancelled, it is due again at the same time.
    pub(super) async fn due(&mut self) {
        sleep_until(self.next).await;
        // Missed times are not made up for: a broker that was slow is not asked twice in a row.
        let now = Instant::now();
        self.next += self.interval;
        while self.next <= now {
            self.next += self.interval;
        }
    }
}
