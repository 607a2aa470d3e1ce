//! Passive ejection: closing a backend whose SYNs fail although nothing else speaks against it.
//!
//! The program counts the SYNs that it steers to a backend, and how they are answered. A SYN that is answered with a RST
//! has failed, and so has one that is not answered within [`PATIENCE`]. Clients cannot make SYNs fail: a spoofed SYN is
//! answered with a SYN-ACK like any other. What a flood leaves unanswered, because it fills a backlog or the way there,
//! is not held against the backend either, see [`Evidence::flooded`].

use core::time::Duration;

use crate::history::{History, Point};
use crate::{EjectionSpec, Moment};

/// Time after which a SYN without an answer has failed: clients send it again then (RFC 6298, section 2).
const PATIENCE: Duration = Duration::from_secs(1);

/// How far a failing share must be above that of the rest: what is wrong with all of them is not the backend's fault.
pub(crate) const MARGIN: f64 = 0.25;

/// How far back it takes no answer to call a backend dead: twice as long as a SYN waits for one.
pub(crate) const LATELY: Duration = Duration::from_secs(2);

/// SYNs that decide a trial. Fewer than it takes for an ejection: each of them may be a client that waits.
pub(crate) const TRIAL_SYNS: f64 = 5.0;

/// Share of the answered SYNs that open a flow when no flood passes, at the least.
const COMPLETED: f64 = 0.5;

/// Shortest ejection and trial: what is shorter than the time between two looks at the counts decides nothing.
const SHORTEST: Duration = Duration::from_millis(100);

/// What became of the SYNs steered to one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Evidence {
    /// Answered with a SYN-ACK.
    pub(crate) answered: f64,
    /// Answered with a RST.
    pub(crate) refused: f64,
    /// Not answered in time.
    pub(crate) unanswered: f64,
    /// Whether most of those who were answered never completed the handshake. Clients do, and senders of spoofed SYNs
    /// cannot: most of what came was a flood. A backend that answers nobody is dead by this, and not flooded.
    pub(crate) flooded: bool,
}

impl Evidence {
    /// SYNs since `from` whose fate is known at the last reading of the counts.
    pub(crate) fn since(history: History<'_>, from: Moment) -> Self {
        let Some(last) = history.last() else { return Self::default() };
        let before = Moment(last.0.saturating_sub(PATIENCE)).max(from);
        let start = history.at(from);
        let Point { refused, opened, answered, .. } = history.at(last).since(&start);
        // A flow that was opened was answered, whoever counted what.
        let answered = answered.max(opened);
        let old_enough = history.at(before).since(&start).syns;
        Self {
            answered,
            refused,
            unanswered: (old_enough - answered - refused).max(0.0),
            flooded: opened < answered * COMPLETED,
        }
    }

    /// What is held against the backend.
    pub(crate) fn failed(&self) -> f64 {
        self.refused + if self.flooded { 0.0 } else { self.unanswered }
    }

    pub(crate) fn settled(&self) -> f64 {
        self.answered + self.failed()
    }

    /// Failed over all, 0.0 to 1.0.
    pub(crate) fn share(&self) -> f64 {
        share(self.failed(), self.settled())
    }

    /// SYNs whose fate is known, with those that a flood left unanswered.
    pub(crate) fn all(&self) -> f64 {
        self.answered + self.refused + self.unanswered
    }

    /// The share of [`Self::all`] that failed, whoever's fault it was: another backend that fails as much is no worse.
    pub(crate) fn failing_share(&self) -> f64 {
        share(self.refused + self.unanswered, self.all())
    }
}

fn share(some: f64, all: f64) -> f64 {
    if all > 0.0 { some / all } else { 0.0 }
}

/// How far an ejection has come.
///
/// ```text
///           SYNs fail                     its time is over                  SYNs are answered,
///   In ───────────────────────► Out ───────────────────────► Trial           or the window ends
///    ▲                           ▲                            │  │           without any that failed
///    │                           └────── SYNs fail again ─────┘  │
///    └───────────────────────────────────────────────────────────┘
///      and from everywhere when its probes have failed and succeed again: it has been restarted
/// ```
#[derive(Clone, Debug, PartialEq)]
enum State {
    In,
    Out { since: Moment, until: Moment, reason: String },
    Trial { since: Moment, until: Moment },
}

/// The ejection of one backend.
#[derive(Clone, Debug)]
pub(crate) struct Ejection {
    state: State,
    /// SYNs before this moment do not count against it.
    from: Moment,
    /// Ejections in a row, and when the last one ended.
    row: u32,
    ended: Moment,
    /// Ejections ever.
    total: u64,
}

impl Ejection {
    pub(crate) const fn new(now: Moment) -> Self {
        Self { state: State::In, from: now, row: 0, ended: now, total: 0 }
    }

    /// Whether it takes no new flows.
    pub(crate) const fn is_out(&self) -> bool {
        matches!(self.state, State::Out { .. })
    }

    /// Whether it takes new flows as a last choice.
    pub(crate) const fn is_on_trial(&self) -> bool {
        matches!(self.state, State::Trial { .. })
    }

    /// Since when it is out or on trial.
    pub(crate) const fn since(&self) -> Option<Moment> {
        match &self.state {
            State::In => None,
            State::Out { since, .. } | State::Trial { since, .. } => Some(*since),
        }
    }

    /// Why it is out or on trial, in words; empty when it is neither.
    pub(crate) fn reason(&self) -> String {
        match &self.state {
            State::In => String::new(),
            State::Out { reason, .. } => reason.clone(),
            State::Trial { .. } => format!("on trial after ejection {} in a row", self.row),
        }
    }

    /// How often it was ejected.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// When time alone changes something.
    pub(crate) const fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::In => None,
            State::Out { until, .. } | State::Trial { until, .. } => Some(until),
        }
    }

    /// SYNs from here on count.
    pub(crate) fn from(&self, history: History<'_>, window: Duration) -> Moment {
        let last = history.last().unwrap_or_default();
        Moment(last.0.saturating_sub(window)).max(self.from)
    }

    /// Takes it back: it has been restarted, or nobody is ejected any longer.
    pub(crate) fn clear(&mut self, now: Moment) {
        if self.state != State::In {
            self.ended = now;
        }
        (self.state, self.from) = (State::In, now);
    }

    /// Goes on from what an earlier agent left: nobody knows for how long it has been out.
    pub(crate) fn adopt(&mut self, spec: &EjectionSpec, now: Moment) {
        self.row = 1;
        self.begin_trial(spec, now);
    }

    /// Closes the backend.
    pub(crate) fn eject(&mut self, why: &str, spec: &EjectionSpec, now: Moment) {
        if self.state == State::In && now.since(self.ended) >= spec.max_time {
            self.row = 0;
        }
        self.row = self.row.saturating_add(1);
        self.total += 1;
        let doublings = (self.row - 1).min(31);
        let lasts = spec.time.saturating_mul(1 << doublings).min(spec.max_time.max(spec.time)).max(SHORTEST);
        let reason = format!("{why}; ejection {} in a row, for {lasts:?}", self.row);
        self.state = State::Out { since: now, until: now.plus(lasts), reason };
    }

    /// Ends what time ends; says whether that was so.
    pub(crate) fn settle(&mut self, spec: &EjectionSpec, now: Moment) -> bool {
        let is_over = matches!(self.state, State::Out { until, .. } if now >= until);
        if is_over {
            self.begin_trial(spec, now);
        }
        is_over
    }

    /// Whether the trial is over, given what became of the SYNs in it.
    pub(crate) fn is_decided(&self, evidence: &Evidence, now: Moment) -> bool {
        matches!(self.state, State::Trial { until, .. } if evidence.settled() >= TRIAL_SYNS || now >= until)
    }

    fn begin_trial(&mut self, spec: &EjectionSpec, now: Moment) {
        self.state = State::Trial { since: now, until: now.plus(spec.window.max(SHORTEST)) };
        self.from = now;
        self.ended = now;
    }
}

#[cfg(test)]
mod tests;
