//! The decision log: what changed, when and why, for as long as there is room.
//!
//! ```text
//!  controller's journal ─┐             ┌─► Shelf (memory, bounded) ──► balancer log, explain --at
//!  operators, reloads ───┼─► History ──┤
//!  starts, the clock ────┘             └─► Recorder (a thread) ──► file, bounded
//! ```
//!
//! Entries have two clocks. The monotonic one orders them and dates `--since`; the wall clock is what people ask by, and
//! may be set at any time. [`Stamp`] is the edge where the two meet: nothing here reads a clock.
//!
//! Nothing here waits: a file that cannot be written is a warning, and is written as a whole once it can be.

mod events;
mod file;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod look;
mod recorder;
mod shelf;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use balancer_control::journal;

pub(crate) use self::look::{Held, Past, PastBackend, millis, rfc3339};
pub(crate) use self::recorder::Recorder;
use self::shelf::Shelf;
use crate::api::wire::{LogEntry, LogEvent};

/// Change of the difference between the two clocks that is taken for somebody setting the wall clock. Slewing of NTP is
/// 0.05 % at most.
const CLOCK_SET: i64 = 1_000;

/// One moment by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Monotonic time since the agent started.
    pub(crate) up: Duration,
    /// Wall clock: milliseconds since 1970-01-01 00:00 UTC.
    pub(crate) wall: i64,
}

impl Stamp {
    fn up_millis(self) -> i64 {
        i64::try_from(self.up.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The decision log of one agent.
#[derive(Debug)]
pub(crate) struct History {
    shelf: Shelf,
    /// Writes the file; `None` keeps no file.
    recorder: Option<Recorder>,
    run: u64,
    next: u64,
    /// Wall clock minus monotonic clock, as last seen.
    offset: Option<i64>,
    /// What was wrong with the file at the start.
    found: Option<String>,
    /// What the journal has told while somebody's wish is carried out, which is told first.
    held: Option<Vec<journal::Entry>>,
}

impl History {
    /// Goes on with what `path` holds, in at most `bytes` of file and half as many of memory. Without a path nothing
    /// outlives the agent.
    pub(crate) fn open(path: Option<&Path>, bytes: u64, now: Stamp) -> Self {
        let mut history = Self {
            shelf: Shelf::new(usize::try_from(bytes / 2).unwrap_or(usize::MAX)),
            recorder: None,
            run: 1,
            next: first_number(now),
            offset: None,
            found: None,
            held: None,
        };
        let Some(path) = path else { return history };
        // Memory keeps half as many bytes, and a file is longer than it may be when the limit was lowered.
        match file::load(path, bytes) {
            Ok(loaded) => {
                history.run = loaded.entries.last().map_or(0, |entry| entry.run) + 1;
                history.next = loaded.entries.last().map_or(first_number(now), |entry| entry.number + 1);
                if loaded.skipped > 0 {
                    history.found = Some(format!(
                        "{} lines of {} could not be read and were left out of the decision log",
                        loaded.skipped,
                        path.display()
                    ));
                }
                history.shelf.fill(loaded.entries, now);
                history.recorder = Some(Recorder::start(path, bytes));
            }
            Err(problem) => history.found = Some(problem),
        }
        history
    }

    /// Notes that the agent has started.
    pub(crate) fn started(&mut self, adopted: bool, now: Stamp) {
        let last = self.shelf.newest();
        let orderly = last.is_none_or(|entry| entry.event == LogEvent::Stopped);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let maps = if adopted { "took over from an earlier agent" } else { "made new maps" };
        let before = last.filter(|_| !orderly).map(|entry| {
            format!("; the agent before it ended without a word, last heard of at {}", entry.time)
        });
        let text = format!("balancer {version} started and {maps}{}", before.unwrap_or_default());
        self.note(None, None, text, LogEvent::Started { version, adopted, orderly }, now);
    }

    /// Notes that the agent stops, and waits a moment for the file.
    pub(crate) fn stop(&mut self, now: Stamp) {
        let text = "the agent was asked to stop; the program goes on steering".to_owned();
        self.note(None, None, text, LogEvent::Stopped, now);
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(self.shelf.all().cloned().collect());
        }
    }

    /// Notes what the controller's journal tells.
    pub(crate) fn observed(&mut self, entries: Vec<journal::Entry>, now: Stamp) {
        if let Some(held) = &mut self.held {
            held.extend(entries);
            return;
        }
        for entry in entries {
            let (text, event) = events::told(&entry);
            self.note(Some(entry.service), entry.backend, text, event, now);
        }
    }

    /// Keeps what the journal tells for after the next [`History::operator`]: the cause comes before its effects.
    pub(crate) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Notes what somebody asked for at run time, and whether it was done. `who` is absent for a signal.
    pub(crate) fn operator(
        &mut self,
        who: Option<(u32, Option<i32>)>,
        about: (Option<String>, Option<String>),
        action: &str,
        refused: Option<String>,
        now: Stamp,
    ) {
        let by = who.map_or_else(|| "by signal".to_owned(), |(uid, _)| format!("by uid {uid}"));
        let end = refused.as_ref().map(|why| format!(", refused: {why}")).unwrap_or_default();
        let text = format!("{action}, asked {by}{end}");
        let (uid, pid) = (who.map(|(uid, _)| uid), who.and_then(|(_, pid)| pid));
        let event = LogEvent::Operator { uid, pid, action: action.to_owned(), refused };
        self.note(about.0, about.1, text, event, now);
        if let Some(held) = self.held.take() {
            self.observed(held, now);
        }
    }

    /// Thins out what has aged, and has the file written where that is due.
    pub(crate) fn settle(&mut self, now: Stamp) {
        self.watch_clock(now);
        self.shelf.thin(now.up_millis());
        if let Some(recorder) = &mut self.recorder {
            recorder.settle(now.up, || self.shelf.all().cloned().collect());
        }
    }

    /// What is wrong with the file, for people.
    pub(crate) fn problem(&self) -> Option<String> {
        self.recorder.as_ref().and_then(Recorder::problem).or_else(|| self.found.clone())
    }

    fn watch_clock(&mut self, now: Stamp) {
        let offset = now.wall - now.up_millis();
        let by = offset - self.offset.replace(offset).unwrap_or(offset);
        if by.abs() >= CLOCK_SET {
            let seconds = by as f64 / 1e3;
            let way = if by > 0 { "forward" } else { "back" };
            let text = format!("the wall clock was set {way} by {:.1} s", seconds.abs());
            self.put(None, None, text, LogEvent::Clock { by_seconds: seconds }, now);
        }
    }

    fn note(
        &mut self,
        service: Option<String>,
        backend: Option<String>,
        text: String,
        event: LogEvent,
        now: Stamp,
    ) {
        self.watch_clock(now);
        self.put(service, backend, text, event, now);
    }

    fn put(
        &mut self,
        service: Option<String>,
        backend: Option<String>,
        text: String,
        event: LogEvent,
        now: Stamp,
    ) {
        let entry = LogEntry {
            number: self.next,
            time: rfc3339(now.wall),
            run: self.run,
            up_seconds: now.up_millis() as f64 / 1e3,
            service,
            backend,
            text,
            event,
        };
        self.next += 1;
        let entry = Arc::new(entry);
        if let Some(recorder) = &mut self.recorder {
            recorder.append(&entry);
        }
        self.shelf.put(entry, now.up_millis(), now.wall);
    }
}

/// The number of the first entry of a log that begins anew: above those of the log before it, or whoever follows the log would
/// take new entries for known ones.
fn first_number(now: Stamp) -> u64 {
    u64::try_from(now.wall).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests;
