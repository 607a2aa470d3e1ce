//! The thread that walks the flow tables. A walk of a million flows takes a good part of a second, so it is kept off the
//! event loop, and its pace adapts to what it costs.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use balancer_common::abi::BackendId;
use tokio::sync::mpsc as events;

use crate::kernel::sweep::{Report, Sweeper, Timeouts, purge};
use crate::kernel::{self, Flows};

/// Shortest time between two sweeps.
const PERIOD: Duration = Duration::from_secs(1);

/// A sweep is followed by this many times its own length of rest: 2 % of one core at most.
const REST: u32 = 50;

/// What the thread is asked for.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Timeouts changed.
    Timeouts(Timeouts),
    /// Backends that are leaving have no live flow: remove what is left of them.
    Purge(BTreeSet<BackendId>),
}

/// What the thread did.
#[derive(Debug)]
pub(super) enum SweepEvent {
    /// One sweep, and how long it took.
    Swept(Report, Duration),
    /// Nothing refers to these backends any more.
    Purged(BTreeSet<BackendId>),
    /// A map could not be read or written.
    Failed(String),
}

/// Starts the thread. It ends when the orders' sender is dropped.
pub(super) fn start(
    flows: Flows,
    sweeper: Sweeper,
    timeouts: Timeouts,
    events: events::Sender<SweepEvent>,
) -> std::io::Result<mpsc::Sender<Order>> {
    let (orders, inbox) = mpsc::channel();
    std::thread::Builder::new()
        .name("sweeper".to_owned())
        .spawn(move || run(flows, sweeper, timeouts, &inbox, &events))?;
    Ok(orders)
}

fn run(
    mut flows: Flows,
    mut sweeper: Sweeper,
    mut timeouts: Timeouts,
    inbox: &mpsc::Receiver<Order>,
    events: &events::Sender<SweepEvent>,
) {
    // A deadline and no pause, which orders that come often would put off for ever.
    let mut due = Instant::now() + PERIOD;
    loop {
        let event = match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Order::Timeouts(changed)) => {
                timeouts = changed;
                continue;
            }
            Ok(Order::Purge(backends)) => purged(&mut flows, backends),
            Err(RecvTimeoutError::Timeout) => {
                let started = Instant::now();
                let swept = sweeper.sweep(&mut flows, kernel::clock(), &timeouts);
                let took = started.elapsed();
                due = Instant::now() + PERIOD.max(took * REST);
                match swept {
                    Ok(report) => SweepEvent::Swept(report, took),
                    Err(error) => SweepEvent::Failed(error.to_string()),
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if events.blocking_send(event).is_err() {
            return;
        }
    }
}

fn purged(flows: &mut Flows, backends: BTreeSet<BackendId>) -> SweepEvent {
    for backend in &backends {
        if let Err(error) = purge(flows, *backend) {
            return SweepEvent::Failed(error.to_string());
        }
    }
    SweepEvent::Purged(backends)
}
