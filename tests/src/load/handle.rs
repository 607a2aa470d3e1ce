//! `balancer-load` as a fixture.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::wire::{Broken, Group, Line, Order, Probe, Totals};
use crate::{
    lab::Host,
    process::sibling,
    wait::{self},
};

/// What clients reported so far.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The latest counts.
    pub totals: Totals,
    /// Group and broker of each flow, in order.
    pub flows: Vec<(String, String)>,
    /// How long each flow took to be established, seconds, in order.
    pub connects: Vec<f64>,
    /// Broken flows, in order.
    pub broken: Vec<Broken>,
    /// Causes of connections that were not established.
    pub failed: Vec<String>,
    /// Probes, in order of their ends.
    pub probes: Vec<Probe>,
    /// Clients that have a flow, by broker.
    pub live: BTreeMap<String, u64>,
}

impl Records {
    /// New flows of one group by broker, later flows of the same clients included.
    #[must_use]
    pub fn tally(&self, group: &str) -> BTreeMap<String, usize> {
        let mut tally = BTreeMap::new();
        for (_, broker) in self.flows.iter().filter(|(name, _)| name == group) {
            *tally.entry(broker.clone()).or_default() += 1;
        }
        tally
    }

    fn note(&mut self, line: Line) {
        match line {
            Line::Totals(totals) => self.totals = totals,
            Line::Connected { group, broker, .. } => {
                *self.live.entry(broker.clone()).or_default() += 1;
                self.flows.push((group, broker));
            }
            Line::Established { took, .. } => self.connects.push(took),
            Line::Broken(broken) => {
                if let Some(live) = broken.broker.as_ref().and_then(|name| self.live.get_mut(name)) {
                    *live -= 1;
                }
                self.broken.push(broken);
            }
            Line::Failed { cause, .. } => self.failed.push(cause),
            Line::Probe(probe) => self.probes.push(probe),
        }
    }
}

/// What a [`Load`] reports, readable from any thread.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<Mutex<Records>>);

impl Book {
    /// Looks at the records.
    pub fn read<T>(&self, look: impl FnOnce(&Records) -> T) -> T {
        look(&lock(&self.0))
    }
}

/// Running clients, ended on drop.
#[derive(Debug)]
pub struct Load {
    child: Child,
    orders: Option<ChildStdin>,
    book: Book,
    reader: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts the program on a host, without clients.
    ///
    /// # Errors
    /// The program is not built.
    pub fn start(host: &Host, to: SocketAddr) -> Result<Self> {
        Self::start_over(host, to, &[])
    }

    /// As [`Load::start`], of clients that connect over TLS and believe any certificate.
    ///
    /// # Errors
    /// As there.
    pub fn start_tls(host: &Host, to: SocketAddr) -> Result<Self> {
        Self::start_over(host, to, &["--tls"])
    }

    fn start_over(host: &Host, to: SocketAddr, options: &[&str]) -> Result<Self> {
        let mut command = host.netns.command(sibling("balancer-load")?);
        command.arg(to.to_string()).args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("failed to start balancer-load")?;
        let orders = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("standard output was piped"));
        let book = Book::default();
        let notes = book.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("balancer-load says what its types say");
                lock(&notes.0).note(line);
            }
        });
        Ok(Self { child, orders, book, reader: Some(reader) })
    }

    /// Gives an order.
    ///
    /// # Errors
    /// The program has ended.
    pub fn order(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order).context("failed to write an order")?;
        line.push(b'\n');
        let orders = self.orders.as_mut().context("balancer-load was told to finish")?;
        orders.write_all(&line).context("balancer-load takes no orders")
    }

    /// Adds clients and waits until all clients have a flow.
    ///
    /// # Errors
    /// They have not in `patience`.
    pub fn add(&mut self, group: Group, patience: Duration) -> Result<()> {
        let all = self.records().totals.clients + u64::from(group.clients);
        self.order(&Order::Add(group))?;
        self.wait_connected(all, patience)
    }

    /// Waits until `clients` have been started and all of them have a flow.
    ///
    /// # Errors
    /// They have not in `patience`.
    pub fn wait_connected(&self, clients: u64, patience: Duration) -> Result<()> {
        wait::until_ok("all clients to be connected", patience, || {
            let records = self.records();
            let totals = records.totals;
            ensure!(
                totals.clients >= clients && totals.connected == totals.clients,
                "{} of {clients} are; the last failures are {:?}",
                totals.connected,
                records.failed.iter().rev().take(3).collect::<Vec<_>>()
            );
            Ok(())
        })
    }

    /// The records as they grow.
    #[must_use]
    pub fn book(&self) -> Book {
        self.book.clone()
    }

    /// What the clients reported so far.
    #[must_use]
    pub fn records(&self) -> Records {
        self.book.read(Records::clone)
    }

    /// The latest counts.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.book.read(|records| records.totals.clone())
    }

    /// Ends publishing, waits for messages on the way, and returns everything.
    ///
    /// # Errors
    /// The program failed.
    pub fn finish(mut self) -> Result<Records> {
        self.orders = None;
        let status = self.child.wait().context("failed to wait for balancer-load")?;
        ensure!(status.success(), "balancer-load ended with {status}");
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let records = self.records();
        ensure!(records.totals.finished, "balancer-load ended without its totals");
        Ok(records)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A reader that panicked has left whole records: they are changed line by line.
fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}
