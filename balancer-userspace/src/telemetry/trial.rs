//! One source, tried once: what it tells, and what of its preset it lacks.

use std::time::Duration;

use balancer_common::abi::BackendId;
use tokio::time::{Instant, sleep};

use super::{Clock, Found, OwnClients, Reading, Source, SourceError, Target};
use crate::config::SourceConfig;

/// Time between two readings: utilisation is often a difference between them.
const PAUSE: Duration = Duration::from_secs(1);

/// Time between two looks at a source that is told and not asked.
const LOOK: Duration = Duration::from_millis(50);

/// What came of it.
#[derive(Debug)]
pub struct Trial {
    /// Where it was read.
    pub at: String,
    /// The last reading.
    pub result: Result<Reading, SourceError>,
    /// Every metric of the preset, missing or not; empty when there was nothing to look at.
    pub found: Vec<Found>,
}

/// Reads `config` until it tells utilisation, but no more than twice. Each reading has `timeout`, and what arrives by itself
/// has `patience`. Must be called within a tokio runtime.
///
/// # Errors
///
/// [`SourceError::Config`] when it cannot be read as configured.
pub async fn trial(
    config: &SourceConfig,
    clock: Clock,
    timeout: Duration,
    patience: Duration,
) -> Result<Trial, SourceError> {
    let target = Target { backend: BackendId(0), cores: None, own: OwnClients::default() };
    let mut source = Source::new(config, &target, clock)?.surveyed();
    let deadline = Instant::now() + patience;
    let mut last = None;
    let result = loop {
        match source.poll(clock(), timeout).await {
            Ok(reading) if last.is_some() || !source.backs_off() || reading.sample.utilisation.is_some() => {
                break Ok(reading);
            }
            Ok(reading) => {
                last = Some(reading);
                sleep(PAUSE).await;
            }
            Err(SourceError::Waiting { .. }) if Instant::now() < deadline => sleep(LOOK).await,
            Err(e) => break Err(e),
        }
    };
    Ok(Trial { at: source.name().to_owned(), result, found: source.found().to_vec() })
}
