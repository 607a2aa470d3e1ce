//! Whether a backend answers its probes.

use crate::{Moment, ProbeResult};

/// What is known of a backend's health.
///
/// ```text
///              `rise` successes in a row            `fall` failures in a row
///   Starting ─────────────────────────────► Up ─────────────────────────────────► Down
///       │                                    ▲                                     │ ▲
///       │                                    └─────────────────────────────────────┘ │
///       │                                         `rise` successes in a row          │
///       └────────────────────────────────────────────────────────────────────────────┘
///                                  `fall` failures in a row
/// ```
///
/// A backend without a probe is Up for good. A failed probe of a backend that is Up changes nothing until `fall` of
/// them have come in a row, so that one lost packet closes nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthState {
    /// Not probed often enough yet. Not in rotation.
    Starting,
    /// In rotation.
    Up,
    /// Its probes fail. Not in rotation.
    Down,
}

/// The health of one backend.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    state: HealthState,
    since: Moment,
    /// Successful probes since the last that failed.
    successes: u32,
    /// Failed probes since the last that succeeded.
    failures: u32,
    reason: String,
}

impl Health {
    pub(crate) fn new(probed: bool, now: Moment) -> Self {
        let (state, reason) =
            if probed { (HealthState::Starting, "not probed yet") } else { (HealthState::Up, "not probed") };
        Self { state, since: now, successes: 0, failures: 0, reason: reason.to_owned() }
    }

    pub(crate) const fn state(&self) -> HealthState {
        self.state
    }

    pub(crate) const fn since(&self) -> Moment {
        self.since
    }

    /// Why it is in that state, in words.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether it may be in rotation.
    pub(crate) fn is_up(&self) -> bool {
        self.state == HealthState::Up
    }

    /// Follows the configuration. A backend that gets its first probe while in rotation stays there until the probe
    /// fails.
    pub(crate) fn set_probed(&mut self, probed: bool, now: Moment) {
        if !probed && !self.is_up() {
            self.enter(HealthState::Up, "not probed".to_owned(), now);
        }
    }

    /// Continues from what an earlier agent knew.
    pub(crate) fn adopt(&mut self, state: HealthState, now: Moment) {
        if self.state != state {
            self.enter(state, "as an earlier agent left it".to_owned(), now);
        }
    }

    /// Takes in the end of a probe. Returns whether the backend came up.
    pub(crate) fn probed(&mut self, result: &ProbeResult, rise: u32, fall: u32, now: Moment) -> bool {
        match result {
            // A broker that asks for no new connections is well; `Drain` heeds what it asks for.
            ProbeResult::Up | ProbeResult::Draining(_) => self.succeeded(rise.max(1), now),
            // It says nothing against a backend that is up, and as much for another as a TCP connect does.
            ProbeResult::Unknown(_) => !self.is_up() && self.succeeded(rise.max(1), now),
            ProbeResult::Down(why) => {
                self.failed(why, fall.max(1), now);
                false
            }
            ProbeResult::Untried(_) => false,
        }
    }

    fn succeeded(&mut self, rise: u32, now: Moment) -> bool {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        let comes_up = !self.is_up() && self.successes >= rise;
        if comes_up {
            self.enter(HealthState::Up, format!("successful probes in a row: {rise}"), now);
        } else if self.state == HealthState::Starting {
            self.reason = format!("{} of {rise} successful probes", self.successes);
        }
        comes_up
    }

    fn failed(&mut self, why: &str, fall: u32, now: Moment) {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        match self.state {
            HealthState::Starting | HealthState::Up if self.failures >= fall => {
                self.enter(
                    HealthState::Down,
                    format!("failed probes in a row: {fall}, the last: {why}"),
                    now,
                );
            }
            HealthState::Starting => self.reason = format!("failed probe {} of {fall}: {why}", self.failures),
            HealthState::Up => {}
            HealthState::Down => self.reason = format!("probes fail, the last: {why}"),
        }
    }

    fn enter(&mut self, state: HealthState, reason: String, now: Moment) {
        *self = Self { state, since: now, successes: 0, failures: 0, reason };
    }
}

#[cfg(test)]
mod tests;
