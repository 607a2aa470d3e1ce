//! The thread that walks the flow tables. A walk of a million flows takes a good part of a second, so it is kept off the
//! event loop, and its pace adapts to what it costs.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use balancer_common::abi::{BackendId, ServiceId};
use balancer_control::Input;
use balancer_control::snapshot::BackendState;
use tokio::sync::mpsc as events;
use tracing::{error, warn};

use super::core::{Agent, high};
use super::{blocking, clock};
use crate::kernel::sweep::{Report, Sweeper, Timeouts, purge};
use crate::kernel::{self, Error, Flows};

/// Shortest time between two sweeps.
const PERIOD: Duration = Duration::from_secs(1);

/// A sweep that was worth it is followed by this many times its own length of rest: 2 % of one core at most.
const REST: u32 = 50;

/// A sweep that was not is followed by this many times its own length of rest, 0.2 % of one core, as long as that is no
/// longer than [`LONGEST`].
const LONG_REST: u32 = 500;

/// Longest rest for that reason alone: flows that have ended take up room for as long.
const LONGEST: Duration = Duration::from_secs(120);

/// While a table fills up, a sweep is followed by this many times its own length of rest: a sixth of one core at most.
const SHORT_REST: u32 = 5;

/// A table fills up when half of the room that the last sweep left is taken, and at least one entry of so many.
const FILLING: u64 = 32;

/// A sweep is worth it that removes at least one flow of so many.
const WORTH: u64 = 100;

/// What the thread is asked for.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Timeouts changed.
    Timeouts(Timeouts),
    /// These backends do not answer, and no others.
    Down(BTreeSet<BackendId>),
    /// Backends that are leaving have no live flow: remove what has ended of theirs.
    Purge(BTreeSet<BackendId>),
}

/// What the thread did.
#[derive(Debug)]
pub(super) enum SweepEvent {
    /// One sweep, and how long it took.
    Swept(Report, Duration),
    /// Removed what had ended of the flows of backends.
    Purged {
        /// All that it was asked for.
        asked: BTreeSet<BackendId>,
        /// Those that no flow refers to any more.
        empty: BTreeSet<BackendId>,
    },
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
    let mut next = Next::after(Duration::ZERO, true, &flows);
    loop {
        let event = match inbox.recv_timeout(next.wait()) {
            Ok(Order::Timeouts(changed)) => {
                timeouts = changed;
                continue;
            }
            Ok(Order::Down(down)) => {
                sweeper.set_down(down);
                continue;
            }
            Ok(Order::Purge(backends)) => purged(&mut flows, backends),
            Err(RecvTimeoutError::Timeout) if !next.is_due(&flows) => continue,
            Err(RecvTimeoutError::Timeout) => {
                let started = Instant::now();
                let swept = sweeper.sweep(&mut flows, kernel::clock(), &timeouts);
                let took = started.elapsed();
                let is_worth_it = swept.as_ref().map_or(true, is_worth_it);
                next = Next::after(took, is_worth_it, &flows);
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

/// When the next sweep is due: deadlines and no pauses, which orders that come often would put off for ever.
struct Next {
    /// At the latest.
    due: Instant,
    /// At the earliest, while a table fills up.
    soonest: Instant,
    /// Entries of the IPv4 and IPv6 table from which on it does.
    limits: [u64; 2],
}

impl Next {
    /// After a sweep that took so long.
    fn after(took: Duration, is_worth_it: bool, flows: &Flows) -> Self {
        let now = Instant::now();
        let capacities = [flows.v4.capacity(), flows.v6.capacity()];
        let limits = [0, 1].map(|table| limit(used(flows, table as u32), capacities[table]));
        Self { due: now + rest(took, is_worth_it), soonest: now + PERIOD.max(took * SHORT_REST), limits }
    }

    /// Until somebody should look again.
    fn wait(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now()).min(PERIOD)
    }

    fn is_due(&self, flows: &Flows) -> bool {
        let now = Instant::now();
        let is_filling = || (0..).zip(self.limits).any(|(table, limit)| used(flows, table) >= limit);
        now >= self.due || (now >= self.soonest && is_filling())
    }
}

/// Entries of a table. None if it cannot be read, which the next sweep will tell.
fn used(flows: &Flows, table: u32) -> u64 {
    flows.table_use(table).map_or(0, |usage| usage.used())
}

/// Entries from which on a table fills up that has `used` ones after a sweep.
fn limit(used: u64, capacity: u32) -> u64 {
    let room = u64::from(high(capacity)).saturating_sub(used);
    used + (room / 2).max(u64::from(capacity) / FILLING).max(1)
}

/// Whether another sweep is wanted soon. Flows that have ended harm nobody but by the room they take: few of them can
/// wait.
fn is_worth_it(report: &Report) -> bool {
    let entries: u64 = report.entries.iter().sum();
    let removed: u64 = report.removed.values().sum();
    removed > 0 && removed * WORTH >= entries
}

/// Time to the next sweep after one that took so long.
fn rest(took: Duration, is_worth_it: bool) -> Duration {
    let least = PERIOD.max(took * REST);
    if is_worth_it { least } else { least.max(LONGEST.min(took * LONG_REST)) }
}

fn purged(flows: &mut Flows, asked: BTreeSet<BackendId>) -> SweepEvent {
    let mut empty = BTreeSet::new();
    for backend in &asked {
        match purge(flows, *backend) {
            Ok(0) => drop(empty.insert(*backend)),
            Ok(_) => {}
            Err(error) => return SweepEvent::Failed(error.to_string()),
        }
    }
    SweepEvent::Purged { asked, empty }
}

impl Agent {
    /// Asks for the remains of leaving backends that have drained to the end to be removed.
    pub(super) fn let_go(&mut self) {
        let is_ready = |id: &BackendId| {
            self.controller.state(*id) == Some(BackendState::Drained) && !self.purging.contains(id)
        };
        let ready: BTreeSet<BackendId> = self.registry.leaving().filter(is_ready).collect();
        if !ready.is_empty() && self.orders.send(Order::Purge(ready.clone())).is_ok() {
            self.purging.extend(ready);
        }
    }

    /// Tells the sweeper who does not answer.
    pub(super) fn mind_down(&mut self) {
        let down = self.controller.down();
        if down != self.down && self.orders.send(Order::Down(down.clone())).is_ok() {
            self.down = down;
        }
    }

    /// Forgets backends of which nothing is left in the flow tables.
    fn forget_purged(&mut self, empty: &BTreeSet<BackendId>) {
        // A flow that began while the remains were removed keeps its backend.
        let live = |id: &BackendId| self.counters.live(*id).map_or(1, |live| live);
        // One that has been configured again stays.
        let gone: BTreeSet<_> =
            self.registry.leaving().filter(|id| empty.contains(id) && live(id) == 0).collect();
        if gone.is_empty() {
            return;
        }
        if let Err(error) = blocking(|| self.keep_packets(&gone)) {
            warn!("packets of backends that are gone are not counted any more: {error}");
        }
        self.registry.forget(&gone);
        self.forget_closed();
        self.forget_drawing();
        self.hops.retain(|id| !gone.contains(&id));
        self.controller.handle(Input::Model(self.registry.model(&self.config)), clock::now());
        self.resync();
        self.watch();
    }

    fn keep_packets(&mut self, gone: &BTreeSet<BackendId>) -> Result<(), Error> {
        let gone = self.registry.backends().filter(|(_, _, id, ..)| gone.contains(id));
        let gone: Vec<(ServiceId, BackendId)> = gone.map(|(service, _, id, ..)| (service, id)).collect();
        gone.into_iter().try_for_each(|(service, id)| self.counters.keep_packets(service, id))
    }

    pub(super) fn swept(&mut self, event: SweepEvent) {
        match event {
            SweepEvent::Swept(report, took) => {
                self.done.work.sweeps += 1;
                self.done.work.sweep_seconds += took.as_secs_f64();
                for (backend, by) in report.corrected {
                    warn!("live count of {} was {by} too high and is corrected", self.name(backend));
                }
                let reclaimed: u64 = report.reclaimed.iter().sum();
                if reclaimed > 0 {
                    warn!(
                        "{reclaimed} entries of flow tables, whose flows an agent that was killed had removed, are free again"
                    );
                }
            }
            SweepEvent::Purged { asked, empty } => {
                self.purging.retain(|id| !asked.contains(id));
                self.forget_purged(&empty);
            }
            SweepEvent::Failed(error) => {
                error!("flows could not be swept: {error}");
                // Whatever was being purged is asked for again; purging twice does no harm.
                self.purging.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::sweep::Expiry;

    #[test]
    fn a_table_that_nothing_leaves_is_left_alone_for_longer() {
        let report = |removed| Report {
            entries: [900, 100],
            removed: [(Expiry::Closed, removed), (Expiry::Idle, 1)].into(),
            ..Report::default()
        };
        assert!(is_worth_it(&report(9)));
        assert!(!is_worth_it(&report(8)));
        assert!(!is_worth_it(&Report::default()), "an empty table is looked through as well");
    }

    #[test]
    fn a_table_fills_up_when_half_of_its_room_is_taken() {
        assert_eq!(limit(0, 1_000_000), 450_000);
        assert_eq!(limit(450_000, 1_000_000), 675_000);
        assert_eq!(limit(890_000, 1_000_000), 921_250, "one that is nearly full is not swept for each flow");
        assert_eq!(limit(1_000_000, 1_000_000), 1_031_250);
        assert_eq!(limit(0, 1), 1);
    }

    #[test]
    fn rests_follow_what_a_sweep_costs() {
        let millis = Duration::from_millis;
        let rests = |took| [rest(millis(took), true), rest(millis(took), false)].map(|rest| rest.as_millis());
        assert_eq!(rests(1), [1_000, 1_000]);
        assert_eq!(rests(100), [5_000, 50_000]);
        assert_eq!(rests(1_000), [50_000, 120_000]);
        assert_eq!(rests(10_000), [500_000, 500_000]);
    }
}
