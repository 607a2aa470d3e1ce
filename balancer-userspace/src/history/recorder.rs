//! The thread that writes the file, so that a slow or full disk keeps nobody waiting.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::file::Writer;
use crate::api::wire::LogEntry;

/// Entries that wait for the thread. More mean a disk that hangs, and the file is written as a whole later.
const QUEUE: usize = 1024;

/// Time between two attempts at a file that cannot be written.
const RETRY: Duration = Duration::from_secs(10);

/// How long the end of the agent waits for the last entries.
const LAST_WORDS: Duration = Duration::from_secs(2);

enum Order {
    Append(Arc<LogEntry>),
    Rewrite(Vec<Arc<LogEntry>>),
    /// Everything there is, for a file that has fallen behind.
    Last(Vec<Arc<LogEntry>>),
}

/// What the thread tells.
#[derive(Debug, Default)]
struct Shared {
    /// Times that the file fell behind what memory has, or grew too long.
    behind: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Shared {
    fn set(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// Writes entries to a file.
#[derive(Debug)]
pub(crate) struct Recorder {
    orders: SyncSender<Order>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// [`Shared::behind`] when the file was last ordered to be written as a whole.
    seen: u64,
    /// Whether an entry was left out because the queue was full.
    left_out: bool,
    /// When the file was last ordered to be written as a whole for a failure.
    tried: Option<Duration>,
}

impl Recorder {
    /// Starts the thread for a file of at most `bytes`.
    pub(crate) fn start(path: &Path, bytes: u64) -> Self {
        let (orders, inbox) = mpsc::sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let name = path.display().to_string();
        let writer = Writer::new(path);
        let thread = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || run(writer, bytes, &inbox, &theirs, &name));
        if let Err(error) = &thread {
            shared.set(Some(format!("the decision log is kept in memory alone: no thread: {error}")));
        }
        Self { orders, shared, thread: thread.ok(), seen: 0, left_out: false, tried: None }
    }

    /// What is wrong, for people.
    pub(crate) fn problem(&self) -> Option<String> {
        self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has an entry written.
    pub(super) fn append(&mut self, entry: &Arc<LogEntry>) {
        if let Err(TrySendError::Full(_)) = self.orders.try_send(Order::Append(Arc::clone(entry))) {
            self.left_out = true;
        }
    }

    /// Has the file written as a whole when it has fallen behind or grown too long.
    pub(super) fn settle(&mut self, now: Duration, all: impl FnOnce() -> Vec<Arc<LogEntry>>) {
        let behind = self.shared.behind.load(Ordering::Acquire);
        let failing = self.problem().is_some();
        let waits = failing && self.tried.is_some_and(|tried| now.saturating_sub(tried) < RETRY);
        if (behind == self.seen && !self.left_out) || waits {
            return;
        }
        self.tried = Some(now);
        if self.orders.try_send(Order::Rewrite(all())).is_ok() {
            // What is appended from here on waits behind it.
            (self.seen, self.left_out) = (behind, false);
        }
    }

    /// Waits until everything is written, for a moment.
    pub(super) fn finish(self, all: Vec<Arc<LogEntry>>) {
        let Some(thread) = self.thread else { return };
        let deadline = Instant::now() + LAST_WORDS;
        let mut last = Order::Last(all);
        while let Err(TrySendError::Full(unsent)) = self.orders.try_send(last) {
            if Instant::now() > deadline {
                break;
            }
            last = unsent;
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.orders);
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn run(mut writer: Writer, bytes: u64, inbox: &Receiver<Order>, shared: &Shared, name: &str) {
    // Set while the file is behind: what is appended then comes with the next whole.
    let mut skipping = false;
    while let Ok(order) = inbox.recv() {
        let written = match order {
            Order::Append(_) if skipping => continue,
            Order::Append(entry) => writer.append(&entry),
            Order::Rewrite(entries) => writer.rewrite(&entries),
            Order::Last(entries) if skipping => writer.rewrite(&entries),
            Order::Last(_) => continue,
        };
        match written {
            Ok(length) => {
                skipping = length > bytes;
                shared.set(None);
            }
            Err(error) => {
                skipping = true;
                shared.set(Some(format!(
                    "the decision log cannot be written to {name}: {error}; it goes on in memory, and is written \
                     again every {} s; make room, or correct agent.history",
                    RETRY.as_secs()
                )));
            }
        }
        if skipping {
            shared.behind.fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests;
