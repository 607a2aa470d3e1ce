//! No new flows, and when the last one has ended.

use core::time::Duration;

use crate::Moment;

/// How long a draining backend must have been closed before a count of zero ends it. A flow whose SYN was steered just
/// before counts only once its handshake ends: the half-open timeout of 5 s and the age of a reading fit in twice.
const LINGER: Duration = Duration::from_secs(10);

/// How far a drain has come.
///
/// ```text
///            the operator, the configuration                no live flow, in a count
///            or the broker asks for it                      taken LINGER after the start
///   Active ──────────────────────────────────► Draining ──────────────────────────────► Drained
///     ▲                                         │    ▲                                    │  │
///     │                                         │    └── a flow counts after all ─────────┘  │
///     └────────── nobody asks any longer ───────┴────────────────────────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainState {
    /// Nobody asks for a drain.
    Active,
    /// No new flows; existing ones continue.
    Draining,
    /// The last flow has ended.
    Drained,
}

/// What a broker asks for.
#[derive(Clone, Debug)]
struct Wish {
    why: String,
    /// Probes since then that could not tell.
    unknown: u32,
}

/// Who asks for a drain, and how far it has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    operator: bool,
    leaving: bool,
    /// Whether its discovery misses it.
    missing: bool,
    /// The broker's own wish, as its probe says.
    probe: Option<Wish>,
    /// The broker's own wish, as telemetry says.
    telemetry: bool,
    /// Since when somebody asks.
    since: Option<Moment>,
    empty: bool,
}

impl Drain {
    pub(crate) const fn state(&self) -> DrainState {
        match (self.since, self.empty) {
            (None, _) => DrainState::Active,
            (Some(_), false) => DrainState::Draining,
            (Some(_), true) => DrainState::Drained,
        }
    }

    /// Since when no new flows are taken.
    pub(crate) const fn since(&self) -> Option<Moment> {
        self.since
    }

    /// Whether the operator asks.
    pub(crate) const fn by_operator(&self) -> bool {
        self.operator
    }

    /// Who asks, in words.
    pub(crate) fn reason(&self) -> String {
        let mut reasons = Vec::new();
        if self.leaving {
            reasons.push("removed from the configuration".to_owned());
        }
        if self.missing {
            reasons.push("missing from the answers of its discovery".to_owned());
        }
        if self.operator {
            reasons.push("drained by the operator".to_owned());
        }
        if let Some(Wish { why, .. }) = &self.probe {
            reasons.push(format!("the broker's probe asks for no new connections: {why}"));
        }
        if self.telemetry {
            reasons.push("the broker's telemetry asks for no new connections".to_owned());
        }
        reasons.join("; ")
    }

    /// The operator drains, or ends it.
    pub(crate) fn set_operator(&mut self, drain: bool, now: Moment) {
        self.operator = drain;
        self.settle(now);
    }

    /// The configuration removes the backend, or takes it back.
    pub(crate) fn set_leaving(&mut self, leaving: bool, now: Moment) {
        self.leaving = leaving;
        self.settle(now);
    }

    /// Good answers lack the backend, or have it again.
    pub(crate) fn set_missing(&mut self, missing: bool, now: Moment) {
        self.missing = missing;
        self.settle(now);
    }

    /// A probe says what the broker asks for.
    pub(crate) fn set_probe(&mut self, wish: Option<String>, now: Moment) {
        self.probe = wish.map(|why| Wish { why, unknown: 0 });
        self.settle(now);
    }

    /// A probe could not tell what the broker asks for: the last answer holds for `patience` of them.
    pub(crate) fn probe_unknown(&mut self, patience: u32, now: Moment) {
        let Some(wish) = &mut self.probe else { return };
        wish.unknown = wish.unknown.saturating_add(1);
        if wish.unknown >= patience {
            self.set_probe(None, now);
        }
    }

    /// Telemetry says what the broker asks for.
    pub(crate) fn set_telemetry(&mut self, wish: bool, now: Moment) {
        self.telemetry = wish;
        self.settle(now);
    }

    /// Takes in a count of live flows.
    pub(crate) fn counted(&mut self, live: u64, now: Moment) {
        self.empty = live == 0 && self.since.is_some_and(|since| now.since(since) >= LINGER);
    }

    fn settle(&mut self, now: Moment) {
        let asked = self.operator || self.leaving || self.missing || self.probe.is_some() || self.telemetry;
        if asked {
            self.since.get_or_insert(now);
        } else {
            self.since = None;
            self.empty = false;
        }
    }
}

#[cfg(test)]
mod tests;
