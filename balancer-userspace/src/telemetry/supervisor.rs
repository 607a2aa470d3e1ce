//! One task per backend that polls its sources.

use std::time::Duration;

use balancer_control::{FORGET_AFTER, Moment, Sample};
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Clock, Reading, Source, SourceError, Target, TelemetryEvent, reading};
use crate::beat;
use crate::config::TelemetryConfig;

/// Longest time between two polls of a failing source, unless its interval is longer.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// A source and when it is polled again.
struct Polled {
    source: Source,
    /// Failures in a row.
    failures: u32,
    due: Instant,
    /// What it said when it failed last, repeated while it is not polled.
    problem: Option<String>,
    /// What of its last good reading holds until the next.
    warnings: Option<Reading>,
    /// Whether the last poll gave a reading.
    reads: bool,
}

impl Polled {
    const fn new(source: Source, due: Instant) -> Self {
        Self { source, failures: 0, due, problem: None, warnings: None, reads: false }
    }

    /// What it last said against its broker, while it says nothing and not for ever.
    fn held(&self, now: Moment) -> Option<Reading> {
        let is_recent = |reading: &&Reading| now.since(reading.sample.taken) <= FORGET_AFTER;
        self.warnings.as_ref().filter(|_| !self.reads).filter(is_recent).cloned()
    }
}

/// Polls until nobody listens.
pub(super) async fn run(
    target: Target,
    config: TelemetryConfig,
    clock: Clock,
    events: mpsc::Sender<TelemetryEvent>,
) {
    let (mut sources, broken) = open(&target, &config, clock);
    if sources.is_empty() {
        if !broken.is_empty() {
            let result = Err(broken.join("; "));
            let _ =
                events.send(TelemetryEvent { backend: target.backend, result, problems: Vec::new() }).await;
        }
        return;
    }
    let mut tick = Instant::now() + phase(u32::from(target.backend.0), config.interval);
    loop {
        beat::wait(tick).await;
        if let Some((result, problems)) = poll(&mut sources, &config, clock).await {
            let problems = problems.into_iter().chain(broken.iter().cloned()).collect();
            let event = event(&target, result, problems);
            if events.send(event).await.is_err() {
                return;
            }
        }
        tick = (tick + jittered(config.interval)).max(Instant::now());
    }
}

fn event(target: &Target, sample: Option<Sample>, problems: Vec<String>) -> TelemetryEvent {
    let backend = target.backend;
    match sample {
        Some(sample) => TelemetryEvent { backend, result: Ok(sample), problems },
        None => TelemetryEvent { backend, result: Err(problems.join("; ")), problems: Vec::new() },
    }
}

/// The sources that can work, and why the others cannot.
fn open(target: &Target, config: &TelemetryConfig, clock: Clock) -> (Vec<Polled>, Vec<String>) {
    let (mut sources, mut broken) = (Vec::new(), Vec::new());
    for source in &config.sources {
        match Source::new(source, target, clock) {
            Ok(source) => {
                sources.push(Polled::new(source, Instant::now()));
            }
            Err(e) => broken.push(e.to_string()),
        }
    }
    (sources, broken)
}

/// Polls every source that is due. `None` when there is nothing to say: none was due, or the first reading is awaited.
async fn poll(
    sources: &mut [Polled],
    config: &TelemetryConfig,
    clock: Clock,
) -> Option<(Option<Sample>, Vec<String>)> {
    let (now, start) = (clock(), Instant::now());
    if sources.iter().all(|polled| polled.due > start) {
        return None;
    }
    let polls = sources.iter_mut().map(|polled| poll_one(polled, now, start, config));
    let readings: Vec<Reading> = join_all(polls).await.into_iter().flatten().collect();
    let mut problems: Vec<String> = sources.iter().filter_map(|polled| polled.problem.clone()).collect();
    if readings.is_empty() {
        return (!problems.is_empty()).then_some((None, problems));
    }
    // What is known better is believed before what was said earlier.
    let held = sources.iter().filter_map(|polled| polled.held(now));
    let (sample, left_out) = reading::merge(held.chain(readings).collect());
    problems.extend(left_out);
    Some((Some(sample), problems))
}

async fn poll_one(
    polled: &mut Polled,
    now: Moment,
    start: Instant,
    config: &TelemetryConfig,
) -> Option<Reading> {
    if polled.due > start {
        return None;
    }
    let polling = polled.source.poll(now, config.timeout).await;
    polled.reads = polling.is_ok();
    match polling {
        Ok(reading) => {
            (polled.failures, polled.problem, polled.due) = (0, None, start);
            polled.warnings = Some(reading.warnings());
            Some(reading)
        }
        Err(SourceError::Waiting { .. }) => {
            (polled.failures, polled.problem, polled.due) = (0, None, start);
            None
        }
        Err(e) => {
            polled.failures = polled.failures.saturating_add(1);
            polled.problem = Some(e.to_string());
            // What was not asked cost the broker nothing, and may be asked again at once.
            if polled.source.backs_off() && !e.is_lack() {
                polled.due = start + jittered(back_off(config.interval, polled.failures));
            }
            None
        }
    }
}

/// Time until a source is polled again after `failures` failures in a row.
fn back_off(interval: Duration, failures: u32) -> Duration {
    let doubled = interval.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST_BACK_OFF.max(interval))
}

/// `around`, 10 % more or less, so that what started together does not stay together.
fn jittered(around: Duration) -> Duration {
    around.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Where in the interval a backend starts: the same after every restart, and spread evenly over the backends.
pub(crate) fn phase(backend: u32, interval: Duration) -> Duration {
    // Multiples of the golden ratio are spread evenly over 0 to 1, however many there are.
    interval.mul_f64((f64::from(backend) * 0.618_033_988_749_895).fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_half_a_minute() {
        let second = Duration::from_secs(1);
        let times: Vec<_> = (1..8).map(|n| back_off(second, n).as_secs()).collect();
        assert_eq!(times, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(back_off(second, u32::MAX).as_secs(), 30);
        assert_eq!(back_off(second * 60, 5).as_secs(), 60, "never more often than the interval");
    }

    #[test]
    fn phases_are_spread_evenly() {
        let interval = Duration::from_secs(10);
        let mut phases: Vec<_> = (0..10).map(|backend| phase(backend, interval)).collect();
        phases.sort();
        let gaps: Vec<_> = phases.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap > Duration::from_millis(300)), "{gaps:?}");
        assert_eq!(phase(3, interval), phase(3, interval));
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        for _ in 0..1000 {
            let jittered = jittered(Duration::from_secs(1));
            assert!((Duration::from_millis(900)..=Duration::from_millis(1100)).contains(&jittered));
        }
    }
}
