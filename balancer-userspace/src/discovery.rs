//! Discovery: which backends a service has, where a registry says so.
//!
//! ```text
//!  DNS, files, HTTP ──► one task per service ──► DiscoveryEvent ──► (agent) ──► Roster ──► configuration
//! ```
//!
//! What is found becomes backends of the configuration, which is then checked and applied as a reload is: nothing of
//! an answer comes into force without the checks that the file goes through. No answer is trusted: one that fails,
//! is empty or makes no sense removes nobody, and who vanishes from good ones is drained first ([`Roster`]).

mod admit;
mod dns;
mod document;
mod entry;
mod file;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod http;
mod roster;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::config::discovery::{DiscoveryConfig, DiscoverySource};

pub use admit::{Grounds, admit};
pub use entry::Entry;
pub use roster::Roster;

/// Shortest time between two questions, whatever a TTL says.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// An answer about one service, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveryEvent {
    /// Its name.
    pub service: String,
    /// The backends; or why the answer cannot be used, for people.
    pub result: Result<Vec<Entry>, String>,
}

/// A running discovery. Dropping it ends it; a changed configuration is a new one.
#[derive(Debug)]
#[must_use = "dropping it ends the discovery of the service"]
pub struct DiscoveryTask {
    _task: AbortOnDropHandle<()>,
}

/// What a source said, and for how long that holds.
struct Said {
    entries: Vec<Entry>,
    /// `None` when the source does not say.
    holds: Option<Duration>,
}

/// Starts to ask for the backends of one service. Must be called within a tokio runtime.
pub fn spawn(
    service: String,
    config: DiscoveryConfig,
    events: mpsc::Sender<DiscoveryEvent>,
) -> DiscoveryTask {
    DiscoveryTask { _task: AbortOnDropHandle::new(tokio::spawn(run(service, config, events))) }
}

async fn run(service: String, config: DiscoveryConfig, events: mpsc::Sender<DiscoveryEvent>) {
    let mut failures = 0;
    loop {
        let said = ask(&config).await;
        failures = if said.is_err() { failures + 1 } else { 0 };
        let pause = pause(&config, said.as_ref().ok().and_then(|said| said.holds), failures);
        let result = said.map(|said| said.entries);
        if events.send(DiscoveryEvent { service: service.clone(), result }).await.is_err() {
            return;
        }
        // Gateways that were started together do not ask in step.
        tokio::time::sleep(pause.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

/// Time to the next question. A source that fails is asked again sooner at first, and then as always.
fn pause(config: &DiscoveryConfig, holds: Option<Duration>, failures: u32) -> Duration {
    let refresh = config.refresh.max(LEAST_PAUSE);
    match (failures, holds) {
        (0, Some(holds)) if !holds.is_zero() => holds.clamp(LEAST_PAUSE, refresh),
        // A TTL of zero would mean to ask without pause.
        (0, Some(_) | None) => refresh,
        (failures, _) => (LEAST_PAUSE * 2_u32.saturating_pow(failures.min(16) - 1)).min(refresh),
    }
}

async fn ask(config: &DiscoveryConfig) -> Result<Said, String> {
    let said = match &config.source {
        DiscoverySource::Dns(question) => dns::ask(question, config).await?,
        DiscoverySource::Files(paths) => file::ask(paths).await?,
        DiscoverySource::Http { url, auth } => http::ask(url, auth, config.timeout).await?,
    };
    if said.entries.is_empty() {
        return Err("the answer is empty, which removes nobody".to_owned());
    }
    if said.entries.len() > config.max {
        return Err(too_many(said.entries.len(), config.max));
    }
    Ok(said)
}

fn too_many(n: usize, max: usize) -> String {
    format!("the answer has {n} backends, and discovery.max allows {max}; nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_heeded_within_bounds() {
        let config = DiscoveryConfig::of(DiscoverySource::Files(Vec::new()));
        let seconds = Duration::from_secs;
        assert_eq!(config.refresh, seconds(10));
        for (holds, expected) in [(None, 10), (Some(0), 10), (Some(3), 3), (Some(3600), 10)] {
            assert_eq!(pause(&config, holds.map(seconds), 0), seconds(expected), "{holds:?}");
        }
        let failing: Vec<u64> = (1..7).map(|failures| pause(&config, None, failures).as_secs()).collect();
        assert_eq!(failing, [1, 2, 4, 8, 10, 10]);
    }
}
