//! Forgetting flows that have ended or gone silent, and keeping the counts honest.
//!
//! The program enters flows and marks what it sees of their end; it never removes them. The sweeper walks the tables,
//! removes what has expired and counts that: whoever removes a live flow adds one to `REMOVED` of its backend, exactly
//! once, because its last state is taken atomically. Closed flows were counted by the program already.
//!
//! Each walk also recounts. A count that no order of events can explain is corrected.

mod drift;
mod expiry;
mod shielded;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use balancer_common::abi::{BackendCounts, BackendId, Flow, FlowState, MAX_BACKENDS};

use drift::{Bounds, Suspects};
pub use expiry::{Expiry, Timeouts};
use shielded::Tidied;

use super::Error;
use super::maps::{FlowTable, Flows, TableKey, TableUsage};

/// Above this part of its capacity (in percent) a table is under pressure.
const PRESSURE_PERCENT: u64 = 90;

/// Removals between two writes of the counts.
const CHUNK: usize = 1 << 14;

/// What one sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries in the IPv4 and IPv6 table before the sweep, closed ones included.
    pub entries: [u64; 2],
    /// Flows removed, by reason.
    pub removed: BTreeMap<Expiry, u64>,
    /// Corrections of live counts; positive where too many were counted.
    pub corrected: BTreeMap<BackendId, i64>,
    /// Corrections of the two tables' use; positive where too many entries were counted.
    pub corrected_use: [i64; 2],
    /// Entries of the two tables that an agent had taken from a flow and not freed.
    pub reclaimed: [u64; 2],
}

/// Sweeps, and remembers between sweeps what looked wrong.
#[derive(Debug, Default)]
pub struct Sweeper {
    live: Suspects<BackendId>,
    used: Suspects<u32>,
    /// Entries of either table that were somebody's without a flow.
    void: [BTreeSet<u32>; 2],
    tidied: Tidied,
    /// Backends that do not answer.
    down: BTreeSet<BackendId>,
}

/// What one walk saw.
struct Walk {
    entries: [u64; 2],
    /// Shielded flows in either table.
    shielded: [u64; 2],
    /// Live flows by backend.
    live: Vec<u64>,
    /// Entries of either table that are somebody's who has no flow.
    void: [Vec<u32>; 2],
}

impl Default for Walk {
    fn default() -> Self {
        Self { entries: [0; 2], shielded: [0; 2], live: vec![0; MAX_BACKENDS], void: Default::default() }
    }
}

impl Sweeper {
    /// Corrects all counts at once, as an agent does when it starts: the one before may have been killed between
    /// removing a flow and counting that.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written.
    pub fn rebuild(&mut self, flows: &mut Flows) -> Result<Report, Error> {
        let before = Counted::read(flows)?;
        let walk = walk(flows, |_, _, _| {})?;
        let mut report = Report { entries: walk.entries, ..Report::default() };
        let live = before.live_bounds(flows, &walk);
        self.correct_live(flows, live, true, &mut report)?;
        let used = before.use_bounds(flows, &walk)?;
        self.correct_use(flows, used, true, &mut report)?;
        Ok(report)
    }

    /// Says which backends do not answer.
    pub fn set_down(&mut self, down: BTreeSet<BackendId>) {
        self.down = down;
    }

    /// Removes every flow that has expired at `now` (data path clock), and corrects counts that were wrong in this
    /// sweep and the one before.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written. What was removed until then is counted.
    pub fn sweep(&mut self, flows: &mut Flows, now: u32, timeouts: &Timeouts) -> Result<Report, Error> {
        let before = Counted::read(flows)?;
        let mut expired = [Candidates::default(), Candidates::default()];
        let expiry = |flow: &Flow, pressed| {
            let down = self.down.contains(&flow.state.backend());
            timeouts.expiry(flow, now, pressed, down)
        };
        let walk = walk(flows, |table, number, flow| expired[table].consider(number, |p| expiry(flow, p)))?;
        let mut report = Report { entries: walk.entries, ..Report::default() };
        let live = before.live_bounds(flows, &walk);
        let used = before.use_bounds(flows, &walk)?;

        let pressure = [flows.v4.capacity(), flows.v6.capacity()];
        let pressure = [0, 1].map(|table| is_pressed(walk.entries[table], pressure[table]));
        let check = |pressed| move |flow: &Flow| expiry(flow, pressed);
        let [v4, v6] = expired;
        remove(flows, |flows| &flows.v4, &v4.under(pressure[0]), check(pressure[0]), &mut report)?;
        remove(flows, |flows| &flows.v6, &v6.under(pressure[1]), check(pressure[1]), &mut report)?;

        self.correct_live(flows, live, false, &mut report)?;
        self.correct_use(flows, used, false, &mut report)?;
        let [void4, void6] = &walk.void;
        report.reclaimed =
            [reclaim(&flows.v4, &mut self.void[0], void4)?, reclaim(&flows.v6, &mut self.void[1], void6)?];
        self.tidied.tidy(flows, walk.shielded, now)?;
        Ok(report)
    }

    fn correct_live(
        &mut self,
        flows: &mut Flows,
        bounds: Vec<(BackendId, Bounds)>,
        at_once: bool,
        report: &mut Report,
    ) -> Result<(), Error> {
        for (backend, by) in self.live.settle(bounds, at_once) {
            flows.adjust_live(backend, by)?;
            report.corrected.insert(backend, by);
        }
        Ok(())
    }

    fn correct_use(
        &mut self,
        flows: &mut Flows,
        bounds: Vec<(u32, Bounds)>,
        at_once: bool,
        report: &mut Report,
    ) -> Result<(), Error> {
        for (table, by) in self.used.settle(bounds, at_once) {
            flows.count_removed(table, by)?;
            report.corrected_use[table as usize] = by;
        }
        Ok(())
    }
}

/// Frees the entries that were nobody's flow in this walk and in the one before: whoever is about to enter or to remove a flow
/// is done by then. Returns how many.
fn reclaim<K: TableKey>(table: &FlowTable<K>, before: &mut BTreeSet<u32>, now: &[u32]) -> Result<u64, Error> {
    let again: Vec<u32> = now.iter().copied().filter(|number| before.contains(number)).collect();
    *before = now.iter().copied().collect();
    table.reclaim(&again)
}

/// Removes all flows of a backend that have ended, so that its id can be given to another. Returns how many live ones it has:
/// those stay, as it may have been taken back since somebody asked.
///
/// # Errors
///
/// When a map cannot be read or written. What was removed until then is counted.
pub fn purge(flows: &mut Flows, backend: BackendId) -> Result<u64, Error> {
    let mut numbers = [Vec::new(), Vec::new()];
    let has_ended = |flow: &Flow| flow.state.backend() == backend && !flow.state.is_live();
    let walk = walk(flows, |table, number, flow| numbers[table].extend(has_ended(flow).then_some(number)))?;
    let mut report = Report::default();
    let check = |flow: &Flow| has_ended(flow).then_some(Expiry::Purged);
    remove(flows, |flows| &flows.v4, &numbers[0], check, &mut report)?;
    remove(flows, |flows| &flows.v6, &numbers[1], check, &mut report)?;
    Ok(walk.live.get(usize::from(backend.0)).copied().unwrap_or(0))
}

/// Visits all flows, with the table (0 for IPv4, 1 for IPv6) and the number of the entry that each is in.
fn walk(flows: &Flows, mut visit: impl FnMut(usize, u32, &Flow)) -> Result<Walk, Error> {
    let mut walk = Walk::default();
    walk_table(&flows.v4, &mut walk, &mut visit)?;
    walk_table(&flows.v6, &mut walk, &mut visit)?;
    Ok(walk)
}

fn walk_table<K: TableKey>(
    table: &FlowTable<K>,
    walk: &mut Walk,
    visit: &mut impl FnMut(usize, u32, &Flow),
) -> Result<(), Error> {
    let index = K::TABLE as usize;
    table
        .walk_entries(|number, entry| {
            if let Some((_, flow)) = entry.known::<K>() {
                walk.see(index, &flow);
                visit(index, number, &flow);
            } else {
                walk.void[index].push(number);
            }
            ControlFlow::Continue(())
        })
        .map(|_| ())
}

impl Walk {
    fn see(&mut self, table: usize, flow: &Flow) {
        self.entries[table] += 1;
        self.shielded[table] += u64::from(flow.state.any(FlowState::SHIELDED));
        if flow.state.is_live()
            && let Some(live) = self.live.get_mut(usize::from(flow.state.backend().0))
        {
            *live += 1;
        }
    }
}

const fn is_pressed(entries: u64, capacity: u32) -> bool {
    entries * 100 > capacity as u64 * PRESSURE_PERCENT
}

/// Entries whose flows may have expired, found by a walk.
#[derive(Default)]
struct Candidates {
    expired: Vec<u32>,
    /// Expired only if the table turns out to be under pressure.
    if_pressed: Vec<u32>,
}

impl Candidates {
    /// `expiry` is asked whether its flow is with and without pressure.
    fn consider(&mut self, number: u32, expiry: impl Fn(bool) -> Option<Expiry>) {
        if expiry(false).is_some() {
            self.expired.push(number);
        } else if expiry(true).is_some() {
            self.if_pressed.push(number);
        }
    }

    /// Their numbers, which ascend.
    fn under(mut self, pressed: bool) -> Vec<u32> {
        if pressed {
            self.expired.append(&mut self.if_pressed);
            self.expired.sort_unstable();
        }
        self.expired
    }
}

/// Removes those flows in the entries of these `numbers` that are what `expiry` says, and counts that.
fn remove<K: TableKey>(
    flows: &mut Flows,
    select: impl Fn(&Flows) -> &FlowTable<K>,
    numbers: &[u32],
    expiry: impl Fn(&Flow) -> Option<Expiry>,
    report: &mut Report,
) -> Result<(), Error> {
    for numbers in numbers.chunks(CHUNK) {
        let mut removed = 0;
        let mut live = BTreeMap::<BackendId, i64>::new();
        let outcome = select(flows).remove(numbers, &expiry, |flow, why| {
            removed += 1;
            *report.removed.entry(why).or_default() += 1;
            if flow.state.is_live() {
                *live.entry(flow.state.backend()).or_default() += 1;
            }
        });
        flows.count_removed(K::TABLE, removed)?;
        live.into_iter().try_for_each(|(backend, by)| flows.adjust_live(backend, by))?;
        outcome?;
    }
    Ok(())
}

/// All counts, as they were before a walk.
struct Counted {
    backends: Vec<(BackendCounts, i64)>,
    used: [TableUsage; 2],
}

impl Counted {
    fn read(flows: &Flows) -> Result<Self, Error> {
        Ok(Self { backends: flows.counts(), used: [flows.table_use(0)?, flows.table_use(1)?] })
    }

    /// Within which bounds each live count is wrong.
    fn live_bounds(&self, flows: &Flows, walk: &Walk) -> Vec<(BackendId, Bounds)> {
        let mut bounds = Vec::new();
        let after = flows.counts();
        for (index, ((counts, removed), (after, _))) in self.backends.iter().zip(after).enumerate() {
            if *counts == BackendCounts::default() && *removed == 0 && walk.live[index] == 0 {
                continue;
            }
            let id = BackendId(index as u16);
            let counted = counts.opened.wrapping_sub(counts.closed).cast_signed().wrapping_sub(*removed);
            let excess = counted.wrapping_sub(walk.live[index].cast_signed());
            let opened = after.opened.wrapping_sub(counts.opened).cast_signed();
            let closed = after.closed.wrapping_sub(counts.closed).cast_signed();
            bounds.push((id, Bounds::new(excess, closed, opened)));
        }
        bounds
    }

    /// Within which bounds the use of each table is wrong.
    fn use_bounds(&self, flows: &Flows, walk: &Walk) -> Result<Vec<(u32, Bounds)>, Error> {
        [0_u32, 1]
            .into_iter()
            .map(|table| {
                let TableUsage { inserted, removed, .. } = self.used[table as usize];
                let after = flows.table_use(table)?.inserted;
                let used = inserted.wrapping_sub(removed).cast_signed();
                let excess = used.wrapping_sub(walk.entries[table as usize].cast_signed());
                Ok((table, Bounds::new(excess, 0, after.wrapping_sub(inserted).cast_signed())))
            })
            .collect()
    }
}
