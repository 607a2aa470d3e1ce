//! Looking things up in the log.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::shelf::Item;
use super::{History, Stamp};
use crate::api::LogFilter;
use crate::api::wire::{Log, LogEntry, LogEvent, SummaryRow};

/// A condition that held: why, whether it kept new flows away, and the wall clock when it began, where that is known.
pub(crate) type Held = (String, bool, Option<i64>);

/// How a service was at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Past {
    /// Its backends by name.
    pub(crate) backends: BTreeMap<String, PastBackend>,
    /// What held of the service.
    pub(crate) conditions: BTreeMap<String, Held>,
    /// The last change of the ring: wall clock, why, slots moved, slots.
    pub(crate) ring: Option<(i64, String, usize, usize)>,
    /// Whether the ring has stayed the same since.
    pub(crate) same_ring: bool,
    /// What has to be known to read this right.
    pub(crate) notes: Vec<String>,
}

/// How a backend was.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PastBackend {
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    /// Wall clock when it came into that state.
    pub(crate) since: Option<i64>,
    pub(crate) conditions: BTreeMap<String, Held>,
    /// Its row of the last summary, and the wall clock of that.
    pub(crate) row: Option<(SummaryRow, i64)>,
}

impl History {
    /// Entries that match, the newest up to the filter's limit.
    pub(crate) fn list(&self, filter: &LogFilter, now: Stamp) -> Log {
        let from = filter.since.map(|since| now.up_millis().saturating_sub(to_millis(since)));
        let matches = |item: &&Item| {
            from.is_none_or(|from| item.line >= from)
                && filter.after.is_none_or(|after| item.entry.number > after)
                && (filter.summaries || !item.entry.event.is_summary())
                && about(&item.entry, filter.service.as_deref(), filter.backend.as_deref())
        };
        let mut found = self.shelf.items().iter().rev().filter(matches);
        let mut entries: Vec<LogEntry> =
            found.by_ref().take(filter.limit).map(|item| (*item.entry).clone()).collect();
        entries.reverse();
        Log {
            entries,
            truncated: found.next().is_some(),
            begins: self.begins(),
            newest: self.shelf.newest().map_or(0, |entry| entry.number),
            now: rfc3339(now.wall),
        }
    }

    /// Whether an entry names a service, a backend, or a backend of a service.
    pub(crate) fn knows(&self, service: Option<&str>, backend: Option<&str>) -> bool {
        self.shelf
            .all()
            .any(|entry| about(entry, service, backend) && (backend.is_none() || entry.backend.is_some()))
    }

    /// When the log begins.
    pub(crate) fn begins(&self) -> Option<String> {
        self.shelf.items().front().map(|item| item.entry.time.clone())
    }

    /// What happened to a service, or to one of its backends, from `before` ahead of a wall-clock time to `after` it.
    pub(crate) fn around(
        &self,
        of: (&str, Option<&str>),
        wall: i64,
        before: Duration,
        after: Duration,
        limit: usize,
    ) -> Vec<LogEntry> {
        let window = wall.saturating_sub(to_millis(before))..=wall.saturating_add(to_millis(after));
        self.happened(of, |item| window.contains(&item.wall), limit)
    }

    /// What happened to a service, or to one of its backends, in the time that led to `now`, however the wall clock was
    /// set meanwhile.
    pub(crate) fn since(
        &self,
        of: (&str, Option<&str>),
        since: Duration,
        now: Stamp,
        limit: usize,
    ) -> Vec<LogEntry> {
        let from = now.up_millis().saturating_sub(to_millis(since));
        self.happened(of, |item| item.line >= from, limit)
    }

    fn happened(
        &self,
        (service, backend): (&str, Option<&str>),
        is_meant: impl Fn(&Item) -> bool,
        limit: usize,
    ) -> Vec<LogEntry> {
        let matches = |item: &&Item| {
            is_meant(item)
                && !item.entry.event.is_summary()
                && (item.entry.service.is_none() || about(&item.entry, Some(service), backend))
        };
        let found = self.shelf.items().iter().rev().filter(matches).take(limit);
        let mut entries: Vec<LogEntry> = found.map(|item| (*item.entry).clone()).collect();
        entries.reverse();
        entries
    }

    /// How a service was at a wall-clock time.
    ///
    /// # Errors
    ///
    /// Says why that is not known.
    pub(crate) fn at(&self, service: &str, wall: i64, now: Stamp) -> Result<Past, String> {
        let asked = rfc3339(wall);
        if wall > now.wall {
            return Err(format!("{asked} is still to come; it is {}", rfc3339(now.wall)));
        }
        let items = self.shelf.items();
        let holding = holding(items, wall);
        let Some(index) = holding.or_else(|| items.iter().rposition(|item| item.wall <= wall)) else {
            let begins = self.begins().unwrap_or_else(|| rfc3339(now.wall));
            return Err(format!(
                "nothing is known of {asked}: the decision log begins at {begins}; agent.history and \
                 agent.history_mib say where and how much of it is kept"
            ));
        };
        let mut past = Past::default();
        for item in items.iter().take(index + 1) {
            past.replay(item, service);
        }
        if past.backends.is_empty() {
            let renamed = items.iter().skip(index + 1).find_map(|item| {
                let LogEvent::Renamed { from } = &item.entry.event else { return None };
                let takes = item.entry.backend.is_none() && item.entry.service.as_deref() == Some(service);
                takes.then(|| format!("; it was called {from} until {}", item.entry.time))
            });
            let renamed = renamed.unwrap_or_default();
            return Err(format!("the decision log knows no service {service} at {asked}{renamed}"));
        }
        let mut later = items.iter().skip(index + 1);
        past.same_ring = !later.clone().any(|item| moves_ring_of(&item.entry, service));
        if let Some(next) = later.next()
            && matches!(next.entry.event, LogEvent::Started { .. })
        {
            past.notes.push(format!(
                "no agent ran at {asked}: the last is heard of at {}, the next started at {}; meanwhile the program went \
                 on steering by the ring and the scores of then and its own counts",
                items[index].entry.time, next.entry.time
            ));
        }
        past.notes.extend(items.iter().filter_map(|item| clock_note(item, wall, holding.is_some())));
        Ok(past)
    }
}

impl Past {
    fn replay(&mut self, item: &Item, service: &str) {
        let entry = &*item.entry;
        if matches!(entry.event, LogEvent::Started { .. }) {
            // Everything that holds is told anew.
            *self = Self { ring: self.ring.take(), ..Self::default() };
        }
        if renames(entry, service) {
            // Whoever has the name from then on is told anew.
            *self = Self::default();
        }
        if entry.service.as_deref() != Some(service) {
            return;
        }
        match (&entry.event, entry.backend.as_ref()) {
            (LogEvent::State { to, reason, .. }, Some(name)) => {
                let backend = self.backends.entry(name.clone()).or_default();
                backend.state.clone_from(to);
                backend.reason = Some(reason.clone());
                backend.since = Some(item.wall);
            }
            (LogEvent::Began { condition, reason, closes }, name) => {
                let held = (reason.clone(), *closes, Some(item.wall));
                self.conditions_of(name).insert(condition.clone(), held);
            }
            (LogEvent::Ended { condition, .. }, name) => {
                self.conditions_of(name).remove(condition);
            }
            (LogEvent::Ring { why, moved, slots, shares }, _) => {
                // A ring that was taken over as it is has been the same since its last change.
                if *moved > 0 {
                    self.ring = Some((item.wall, why.clone(), *moved, *slots));
                }
                for share in shares {
                    if let Some((row, _)) =
                        self.backends.get_mut(&share.backend).and_then(|backend| backend.row.as_mut())
                    {
                        row.ring_share = share.after;
                    }
                }
            }
            (LogEvent::Summary { backends }, _) => self.summarised(backends, item.wall),
            (LogEvent::Renamed { from }, Some(_)) => drop(self.backends.remove(from)),
            (LogEvent::Gone, Some(name)) => drop(self.backends.remove(name)),
            (LogEvent::Gone, None) => *self = Self::default(),
            (
                LogEvent::State { .. }
                | LogEvent::Renamed { .. }
                | LogEvent::Started { .. }
                | LogEvent::Stopped
                | LogEvent::Clock { .. }
                | LogEvent::Operator { .. },
                _,
            ) => {}
        }
    }

    fn conditions_of(&mut self, backend: Option<&String>) -> &mut BTreeMap<String, Held> {
        match backend {
            Some(name) => &mut self.backends.entry(name.clone()).or_default().conditions,
            None => &mut self.conditions,
        }
    }

    /// A summary has the last word, so that a log whose beginning was dropped is right again after the next one.
    fn summarised(&mut self, rows: &[SummaryRow], wall: i64) {
        self.backends.retain(|name, _| rows.iter().any(|row| row.backend == *name));
        for row in rows {
            let backend = self.backends.entry(row.backend.clone()).or_default();
            if backend.state != row.state {
                (backend.state, backend.reason, backend.since) = (row.state.clone(), None, None);
            }
            backend.conditions.retain(|word, _| row.conditions.contains(word));
            for word in &row.conditions {
                let unknown = || ("it began before the log does".to_owned(), false, None);
                backend.conditions.entry(word.clone()).or_insert_with(unknown);
            }
            backend.row = Some((row.clone(), wall));
        }
    }
}

fn about(entry: &LogEntry, service: Option<&str>, backend: Option<&str>) -> bool {
    // Who asks by a name that was given up learns the other one.
    let service = service.is_none_or(|name| entry.service.as_deref() == Some(name) || renames(entry, name));
    let was = |name: &str| matches!(&entry.event, LogEvent::Renamed { from } if from == name);
    // What concerns the whole service concerns each of its backends.
    let backend =
        backend.is_none_or(|name| entry.backend.as_deref().is_none_or(|other| other == name || was(name)));
    service && backend
}

/// Whether a service takes or gives up a name.
fn renames(entry: &LogEntry, service: &str) -> bool {
    let LogEvent::Renamed { from } = &entry.event else { return false };
    entry.backend.is_none() && (from == service || entry.service.as_deref() == Some(service))
}

/// Whether slots of a service have another backend since an entry, or it is another service.
fn moves_ring_of(entry: &LogEntry, service: &str) -> bool {
    let moves = matches!(entry.event, LogEvent::Ring { moved, .. } if moved > 0);
    (moves && entry.service.as_deref() == Some(service)) || renames(entry, service)
}

/// The last entry that held while the wall clock said `wall`; none when it never did. A clock that begins in the past at each
/// boot says earlier times after later ones.
fn holding(items: &VecDeque<Item>, wall: i64) -> Option<usize> {
    let held_until = |index: usize| {
        let Some(next) = items.get(index + 1) else { return i64::MAX };
        if let LogEvent::Clock { by_seconds } = next.entry.event {
            return next.wall - (by_seconds * 1e3) as i64;
        }
        let is_start = matches!(next.entry.event, LogEvent::Started { .. });
        // How long ago the agent before it ended is not known then.
        if is_start && next.wall < items[index].wall { i64::MAX } else { next.wall }
    };
    (0..items.len()).rev().find(|index| (items[*index].wall..held_until(*index)).contains(&wall))
}

/// What a wall clock that was set means for a question about `wall`, which it may have said before or after.
fn clock_note(item: &Item, wall: i64, came: bool) -> Option<String> {
    let LogEvent::Clock { by_seconds } = item.entry.event else { return None };
    let by = (by_seconds * 1e3) as i64;
    if by < 0 && (item.wall..item.wall - by).contains(&wall) {
        return Some(format!(
            "{} came twice, because the wall clock was set back by {:.1} s at {}: this is the later one",
            rfc3339(wall),
            -by_seconds,
            item.entry.time
        ));
    }
    (!came && by > 0 && (item.wall - by..item.wall).contains(&wall)).then(|| {
        format!(
            "{} never came, because the wall clock was set forward by {by_seconds:.1} s, to {}: this is what held then",
            rfc3339(wall),
            item.entry.time
        )
    })
}

/// A wall-clock time as text.
pub(crate) fn rfc3339(millis: i64) -> String {
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

/// A wall-clock time from text.
pub(crate) fn millis(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

fn to_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
