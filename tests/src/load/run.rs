//! The load program: takes orders, runs clients and probes on one thread, and reports.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin},
    net::TcpStream,
    sync::Notify,
    task::{JoinHandle, JoinSet, LocalSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    client::Client,
    way::Way,
    wire::{Group, Line, Order, Probe, Totals},
};

/// How long messages may be on the way after the end of publishing.
const LAST_CALL: Duration = Duration::from_secs(15);
/// Time between lines of totals.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// A SYN is sent again after 1, 3 and 7 seconds.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// What all clients share.
#[derive(Debug)]
pub(super) struct Office {
    start: Instant,
    totals: RefCell<Totals>,
    /// When the last message was published that came back, by client: nanoseconds of `CLOCK_MONOTONIC`.
    back: RefCell<BTreeMap<u32, u64>>,
    closed: Cell<Option<Instant>>,
    bell: Notify,
}

impl Office {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            totals: RefCell::default(),
            back: RefCell::default(),
            closed: Cell::new(None),
            bell: Notify::new(),
        }
    }

    /// Seconds since the start.
    pub(super) fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Counts.
    pub(super) fn totals<T>(&self, count: impl FnOnce(&mut Totals) -> T) {
        count(&mut self.totals.borrow_mut());
    }

    /// Notes when a client published the message that has come back last.
    pub(super) fn back(&self, client: u32, sent: u64) {
        self.back.borrow_mut().insert(client, sent);
    }

    /// Reports. When nobody reads any more, the program ends by the end of its input.
    pub(super) fn say(&self, line: &Line) {
        let mut text = serde_json::to_vec(line).expect("a line has no map with keys other than strings");
        text.push(b'\n');
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(&text).and_then(|()| output.flush());
    }

    /// Whether clients publish no more.
    pub(super) const fn is_closing(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Whether messages on the way are given up.
    pub(super) fn is_late(&self) -> bool {
        self.closed.get().is_some_and(|closed| closed.elapsed() > LAST_CALL)
    }

    /// Ends when publishing does.
    pub(super) async fn closing(&self) {
        self.bell.notified().await;
    }

    fn close(&self) {
        self.closed.set(Some(Instant::now()));
        self.bell.notify_waiters();
    }

    fn say_totals(&self, finished: bool) {
        let mut totals = self.totals.borrow().clone();
        (totals.at, totals.finished) = (self.now(), finished);
        totals.back = self.back.borrow().values().min().copied().unwrap_or_default();
        self.say(&Line::Totals(totals));
    }
}

/// Runs clients until told to finish.
///
/// # Errors
/// The runtime could not be made, or an order was not understood.
pub fn run(way: Way) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("failed to make a runtime")?;
    let result = LocalSet::new().block_on(&runtime, Program::new(way).run());
    // Standard input may still be waited for by the runtime's blocking thread.
    runtime.shutdown_background();
    result
}

struct Program {
    way: Rc<Way>,
    office: Rc<Office>,
    groups: JoinSet<()>,
    next_client: u32,
    probe: Option<JoinHandle<()>>,
}

impl Program {
    fn new(way: Way) -> Self {
        Self {
            way: Rc::new(way),
            office: Rc::new(Office::new()),
            groups: JoinSet::new(),
            next_client: 0,
            probe: None,
        }
    }

    async fn run(mut self) -> Result<()> {
        let mut orders = BufReader::new(stdin()).lines();
        let mut report = interval(REPORT_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                order = next_order(&mut orders) => match order? {
                    Some(Order::Add(group)) => self.add(group),
                    Some(Order::Probe { interval_ms }) => self.start_probe(Duration::from_millis(interval_ms)),
                    Some(Order::StopProbe) => self.stop_probe(),
                    Some(Order::Finish) | None => break,
                },
                _ = report.tick() => self.office.say_totals(false),
            }
        }
        self.stop_probe();
        self.office.close();
        while !self.groups.is_empty() {
            tokio::select! {
                _ = self.groups.join_next() => {}
                _ = report.tick() => self.office.say_totals(false),
            }
        }
        self.office.say_totals(true);
        Ok(())
    }

    fn add(&mut self, group: Group) {
        let first = self.next_client;
        self.next_client += group.clients;
        let (way, office, group) = (Rc::clone(&self.way), Rc::clone(&self.office), Rc::new(group));
        self.groups.spawn_local(async move {
            let mut pace = interval(Duration::from_secs(1) / group.per_second.max(1));
            let mut clients = JoinSet::new();
            for id in first..first + group.clients {
                pace.tick().await;
                if office.is_closing() {
                    break;
                }
                office.totals(|t| t.clients += 1);
                office.back(id, 0);
                let client = Client::new(id, Rc::clone(&group), Rc::clone(&office));
                clients.spawn_local(client.run(Rc::clone(&way)));
            }
            while clients.join_next().await.is_some() {}
        });
    }

    fn start_probe(&mut self, every: Duration) {
        self.stop_probe();
        let (to, office) = (self.way.to(), Rc::clone(&self.office));
        self.probe = Some(spawn_local(async move {
            let mut pace = interval(every);
            pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut probes = JoinSet::new();
            loop {
                pace.tick().await;
                probes.spawn_local(probe(to, Rc::clone(&office)));
                while probes.try_join_next().is_some() {}
            }
        }));
    }

    fn stop_probe(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
    }
}

async fn probe(to: SocketAddr, office: Rc<Office>) {
    let at = office.now();
    let error = match timeout(PROBE_PATIENCE, TcpStream::connect(to)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.kind().to_string()),
        Err(_elapsed) => Some("no handshake".to_owned()),
    };
    office.say(&Line::Probe(Probe { at, took: office.now() - at, error }));
}

async fn next_order(orders: &mut Lines<BufReader<Stdin>>) -> Result<Option<Order>> {
    let line = orders.next_line().await.context("failed to read standard input")?;
    line.map(|line| serde_json::from_str(&line).with_context(|| format!("not an order: {line}"))).transpose()
}
