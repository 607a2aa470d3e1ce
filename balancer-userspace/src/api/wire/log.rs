//! The decision log, as it goes over the socket and as it is in its file: one entry per line there.

use serde::{Deserialize, Serialize};

/// `GET /v1/log`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// Entries in the order in which they were made.
    pub entries: Vec<LogEntry>,
    /// Whether there are more, older ones than the limit.
    pub truncated: bool,
    /// Time of the oldest entry that is kept, RFC 3339; absent while there is none.
    pub begins: Option<String>,
    /// Number of the newest entry, whether it is listed or not; 0 while there is none.
    #[serde(default)]
    pub newest: u64,
    /// What the agent's wall clock says, RFC 3339.
    pub now: String,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Grows by one with each entry, from the wall clock in milliseconds since 1970 where a log begins. Where one is missing, it
    /// was dropped for its age or for want of room.
    pub number: u64,
    /// What the wall clock said: RFC 3339, UTC, milliseconds. May go back when somebody sets the clock.
    pub time: String,
    /// Counts the starts of the agent.
    pub run: u64,
    /// Monotonic time since that start. Within a run it never goes back.
    pub up_seconds: f64,
    /// The service it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The backend it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// What happened, in words.
    pub text: String,
    /// What happened, for programs.
    #[serde(flatten)]
    pub event: LogEvent,
}

/// What happened. Later versions may know more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum LogEvent {
    /// The agent started. What holds then is told anew.
    Started {
        /// Its version.
        version: String,
        /// Whether pinned maps of an earlier agent were taken over.
        adopted: bool,
        /// Whether the agent before it said that it was stopping. True for the first.
        orderly: bool,
    },
    /// The agent was asked to stop. The program goes on steering.
    Stopped,
    /// The wall clock was set.
    Clock {
        /// By so much; negative is back.
        by_seconds: f64,
    },
    /// A backend changed its state.
    State {
        /// The state before; absent when it was not known before.
        from: Option<String>,
        /// The state after, a word of `BackendState`.
        to: String,
        /// Why.
        reason: String,
    },
    /// Something besides the state began to hold.
    Began {
        /// Its name.
        condition: String,
        /// What it is.
        reason: String,
        /// Whether it keeps new flows away.
        closes: bool,
    },
    /// Something besides the state does not hold any more.
    Ended {
        /// Its name.
        condition: String,
        /// How long it held.
        held_seconds: f64,
    },
    /// The ring of the service changed, or was taken over from an earlier agent, where none may have moved.
    Ring {
        /// Why.
        why: String,
        /// Slots that have another backend than before.
        moved: usize,
        /// Slots of the ring.
        slots: usize,
        /// Shares before and after.
        shares: Vec<Share>,
    },
    /// A service or backend goes by another name. Everything that holds of it is told anew but its ring, which is the
    /// same.
    Renamed {
        /// The name before.
        from: String,
    },
    /// A service or backend was removed, and its last flow has ended.
    Gone,
    /// Somebody changed something at run time.
    Operator {
        /// User id; absent for a signal.
        uid: Option<u32>,
        /// Process id, where the kernel tells it.
        pid: Option<i32>,
        /// What was asked for.
        action: String,
        /// Why it was refused, if it was.
        refused: Option<String>,
    },
    /// How all backends of the service are.
    Summary {
        /// Its backends.
        backends: Vec<SummaryRow>,
    },
}

/// A backend's share of a ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The backend.
    pub backend: String,
    /// Before the change.
    pub before: f64,
    /// After it.
    pub after: f64,
}

/// One backend in a summary. Numbers are rounded to five digits after the point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SummaryRow {
    /// The backend.
    pub backend: String,
    /// Its state, a word of `BackendState`.
    pub state: String,
    /// Whether it takes new flows.
    pub open: bool,
    /// The score that new flows are steered by.
    pub score: f64,
    /// What the score rests on: `level`, `count` or `fixed`.
    pub basis: String,
    /// Live connections.
    pub live: u64,
    /// Share of the ring.
    pub ring_share: f64,
    /// Filtered utilisation, when it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation: Option<f64>,
    /// Age of the last accepted reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_age_seconds: Option<f64>,
    /// Capacity relative to the mean.
    pub capacity: f64,
    /// Names of the conditions that hold, in the order of the alphabet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
}

impl LogEvent {
    /// Whether it is one of many alike, which are thinned out as they age.
    #[must_use]
    pub const fn is_summary(&self) -> bool {
        matches!(self, Self::Summary { .. })
    }
}
