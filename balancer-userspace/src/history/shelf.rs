//! Entries in memory: bounded, in order, and thinner with age.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::Stamp;
use super::look::millis;
use crate::api::wire::LogEntry;

/// Most entries, whatever their size.
const ENTRIES: usize = 50_000;

/// Bytes of memory of an entry besides its line in the file.
const OVERHEAD: usize = 200;

/// Ages in milliseconds from which on only one summary of a service is kept in so many milliseconds.
const THIN: [(i64, i64); 2] = [(86_400_000, 600_000), (3_600_000, 60_000)];

/// One entry, and where it is on the line of time that the current run goes on: milliseconds, zero at its start. The
/// line never goes back.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) entry: Arc<LogEntry>,
    pub(super) line: i64,
    /// Wall clock in milliseconds since 1970.
    pub(super) wall: i64,
    bytes: usize,
}

/// The entries.
#[derive(Debug)]
pub(super) struct Shelf {
    items: VecDeque<Item>,
    most: usize,
    bytes: usize,
    /// Part of `bytes` that summaries take.
    summaries: usize,
    thinned: i64,
}

impl Shelf {
    /// An empty one for `most` bytes.
    pub(super) const fn new(most: usize) -> Self {
        Self { items: VecDeque::new(), most, bytes: 0, summaries: 0, thinned: i64::MIN }
    }

    /// Takes in what earlier runs have left. Between runs the wall clock is all there is; where it goes back, no time is
    /// taken to have passed.
    pub(super) fn fill(&mut self, entries: Vec<LogEntry>, now: Stamp) {
        let mut line = now.up_millis();
        let (mut after, mut items) = (None::<(u64, i64, i64)>, Vec::with_capacity(entries.len()));
        for entry in entries.into_iter().rev() {
            let up = (entry.up_seconds * 1e3) as i64;
            let wall = millis(&entry.time).unwrap_or(now.wall);
            let passed = match after {
                Some((run, then, _)) if run == entry.run => then - up,
                Some((_, _, then)) => then - wall,
                None => now.wall - wall,
            };
            line = line.saturating_sub(passed.max(0));
            after = Some((entry.run, up, wall));
            items.push((Arc::new(entry), line, wall));
        }
        for (entry, line, wall) in items.into_iter().rev() {
            self.put(entry, line, wall);
        }
        self.thin(now.up_millis());
    }

    /// Adds an entry at the end.
    pub(super) fn put(&mut self, entry: Arc<LogEntry>, line: i64, wall: i64) {
        let bytes = size(&entry) + OVERHEAD;
        let line = self.items.back().map_or(line, |last| last.line.max(line));
        self.bytes += bytes;
        if entry.event.is_summary() {
            self.summaries += bytes;
        }
        self.items.push_back(Item { entry, line, wall, bytes });
        self.fit();
    }

    /// Drops what there is no room for: summaries beyond half of it, so that they never drive out what happened, and
    /// then the oldest.
    fn fit(&mut self) {
        if self.summaries > self.most / 2 {
            // More than needed, so that it is not done again with the next entry.
            let mut excess = self.summaries - self.most / 2 + self.most / 16;
            self.retain(|item| {
                let goes = item.entry.event.is_summary() && excess > 0;
                if goes {
                    excess = excess.saturating_sub(item.bytes);
                }
                !goes
            });
        }
        while self.bytes > self.most || self.items.len() > ENTRIES {
            let Some(oldest) = self.items.pop_front() else { return };
            self.forget(&oldest);
        }
    }

    /// Drops summaries that have aged, at most once a minute.
    pub(super) fn thin(&mut self, now: i64) {
        if now < self.thinned.saturating_add(60_000) {
            return;
        }
        self.thinned = now;
        let mut kept: BTreeSet<(Option<String>, i64, i64)> = BTreeSet::new();
        self.retain(|item| {
            let age = now - item.line;
            let step = THIN.iter().find(|(from, _)| item.entry.event.is_summary() && age > *from);
            step.is_none_or(|(_, step)| {
                kept.insert((item.entry.service.clone(), *step, item.line.div_euclid(*step)))
            })
        });
    }

    fn retain(&mut self, mut stays: impl FnMut(&Item) -> bool) {
        let (mut bytes, mut summaries) = (0, 0);
        self.items.retain(|item| {
            let stays = stays(item);
            if stays {
                bytes += item.bytes;
                summaries += if item.entry.event.is_summary() { item.bytes } else { 0 };
            }
            stays
        });
        (self.bytes, self.summaries) = (bytes, summaries);
    }

    fn forget(&mut self, item: &Item) {
        self.bytes -= item.bytes;
        if item.entry.event.is_summary() {
            self.summaries -= item.bytes;
        }
    }

    /// Everything, oldest first.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Arc<LogEntry>> {
        self.items.iter().map(|item| &item.entry)
    }

    /// Everything with its place in time, oldest first.
    pub(super) const fn items(&self) -> &VecDeque<Item> {
        &self.items
    }

    /// The last entry.
    pub(super) fn newest(&self) -> Option<&LogEntry> {
        self.items.back().map(|item| &*item.entry)
    }
}

/// Bytes of an entry's line.
fn size(entry: &LogEntry) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(1);
    serde_json::to_writer(&mut count, entry).expect("an entry has no map with keys that are no strings");
    count.0
}

#[cfg(test)]
mod tests;
