//! Looks at everything twice a second, and remembers.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use balancer_userspace::api::wire::BackendState;

use super::screen::Screen;
use crate::{
    agent::Control,
    cgroup::Meter,
    chart::Series,
    load::{Book, wire::Totals},
};

const INTERVAL: Duration = Duration::from_millis(500);

/// What is watched.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Names, cores and meters of the brokers.
    pub(crate) brokers: Vec<(String, f64, Meter)>,
    /// The agent's client.
    pub(crate) control: Control,
    /// The clients' reports.
    pub(crate) book: Book,
}

/// What was seen at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// Seconds since the start of the watch.
    pub(crate) at: f64,
    /// Whether the agent answered.
    pub(crate) agent: bool,
    /// The clients' counts.
    pub(crate) totals: Totals,
    /// Messages that came back in the last second.
    pub(crate) message_rate: f64,
    /// In the order of the scene.
    pub(crate) brokers: Vec<Sight>,
}

/// One broker at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// Its name.
    pub(crate) name: String,
    /// Cores it may use.
    pub(crate) cores: f64,
    /// Clients that have a flow to it, as they say.
    pub(crate) connections: u64,
    /// Use of its cores since the moment before, 0.0 to 1.0.
    pub(crate) cpu: f64,
    /// What the agent says, while it runs.
    pub(crate) said: Option<Said>,
}

/// What the agent says of a broker.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Live connections by its count.
    pub(crate) live: u64,
    /// Its score.
    pub(crate) score: f64,
    /// Its state.
    pub(crate) state: BackendState,
}

/// A running watch, ended on drop.
#[derive(Debug)]
pub(crate) struct Watch {
    start: Instant,
    history: Arc<Mutex<Vec<Moment>>>,
    caption: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts watching, and showing on `screen` what is seen.
    pub(crate) fn start(scene: Scene, mut screen: Option<Screen>) -> Result<Self> {
        let start = Instant::now();
        let history: Arc<Mutex<Vec<Moment>>> = Arc::default();
        let caption: Arc<Mutex<String>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (past, words, end) = (Arc::clone(&history), Arc::clone(&caption), Arc::clone(&stop));
        let look = move || {
            let mut eye = Eye { start, before: Vec::new(), received: (start, 0) };
            while !end.load(Ordering::Relaxed) {
                let moment = eye.look(&scene);
                if let Some(screen) = &mut screen {
                    screen.show(&lock(&words), &moment);
                }
                lock(&past).push(moment);
                thread::park_timeout(INTERVAL);
            }
        };
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(look);
        let thread = Some(thread.context("failed to start a thread")?);
        Ok(Self { start, history, caption, stop, thread })
    }

    /// Seconds since the start.
    pub(crate) fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Says what is going on.
    pub(crate) fn caption(&self, words: &str) {
        words.clone_into(&mut lock(&self.caption));
    }

    /// Everything seen so far.
    pub(crate) fn history(&self) -> Vec<Moment> {
        lock(&self.history).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// What is needed to see rates.
struct Eye {
    start: Instant,
    before: Vec<(Instant, Duration)>,
    received: (Instant, u64),
}

impl Eye {
    fn look(&mut self, scene: &Scene) -> Moment {
        let status = scene.control.status().ok();
        let (totals, live) = scene.book.read(|records| (records.totals.clone(), records.live.clone()));
        let use_of = self.uses(scene);
        let sights = scene.brokers.iter().zip(use_of).map(|((name, cores, _), cpu)| {
            let backend = status.as_ref().and_then(|status| status.backends.iter().find(|b| b.name == *name));
            Sight {
                name: name.clone(),
                cores: *cores,
                connections: live.get(name).copied().unwrap_or(0),
                cpu,
                said: backend.map(|b| Said { live: b.live, score: b.score, state: b.state }),
            }
        });
        Moment {
            at: self.start.elapsed().as_secs_f64(),
            agent: status.is_some(),
            message_rate: self.message_rate(&totals),
            brokers: sights.collect(),
            totals,
        }
    }

    fn uses(&mut self, scene: &Scene) -> Vec<f64> {
        let readings =
            scene.brokers.iter().map(|(_, _, meter)| (Instant::now(), meter.usage().unwrap_or_default()));
        let after: Vec<_> = readings.collect();
        let before = std::mem::replace(&mut self.before, after.clone());
        let uses = scene.brokers.iter().enumerate().map(|(index, (_, cores, _))| {
            let (Some(before), after) = (before.get(index), after[index]) else { return 0.0 };
            let wall = (after.0 - before.0).as_secs_f64();
            if wall == 0.0 { 0.0 } else { (after.1.saturating_sub(before.1)).as_secs_f64() / wall / cores }
        });
        uses.collect()
    }

    fn message_rate(&mut self, totals: &Totals) -> f64 {
        let (now, (then, before)) = (Instant::now(), self.received);
        self.received = (now, totals.received);
        (totals.received - before) as f64 / (now - then).as_secs_f64().max(f64::EPSILON)
    }
}

/// Whatever a panicking thread left is whole: it is replaced or appended to in one step.
/// `value` of each broker over time.
pub(crate) fn by_broker(history: &[Moment], value: impl Fn(&Moment, usize) -> Option<f64>) -> Vec<Series> {
    let brokers = history.last().map(|moment| moment.brokers.as_slice()).unwrap_or_default();
    let series = |(index, broker): (usize, &Sight)| Series {
        name: broker.name.clone(),
        points: history.iter().map(|moment| (moment.at, value(moment, index))).collect(),
    };
    brokers.iter().enumerate().map(series).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
