//! Forgetting flows that have ended or gone silent, and keeping the counts honest.
//!
//! The program inserts flows and marks what it sees of their end; it never deletes. The sweeper walks the tables, deletes
//! what has expired and counts that: whoever deletes a live flow adds one to `REMOVED` of its backend, exactly once,
//! because deleting hands over the flow's last state atomically. Closed flows were counted by the program already.
//!
//! Each walk also recounts. A count that no order of events can explain is corrected.

mod drift;
mod expiry;
mod shielded;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use balancer_common::abi::{BackendCounts, BackendId, Flow, FlowState, MAX_BACKENDS};

use drift::{Bounds, Suspects};
pub use expiry::{Expiry, Timeouts};

use super::Error;
use super::maps::{Flows, Table, TableKey};

/// Above this part of its capacity (in percent) a table is under pressure.
const PRESSURE_PERCENT: u64 = 90;

/// Deletions between two writes of the counts.
const CHUNK: usize = 1024;

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
    /// Flows of which the numbers are known after the sweep, because they are shielded.
    pub shielded: u64,
}

/// Sweeps, and remembers between sweeps what looked wrong.
#[derive(Debug, Default)]
pub struct Sweeper {
    live: Suspects<BackendId>,
    used: Suspects<u32>,
}

/// What one walk saw.
struct Walk {
    entries: [u64; 2],
    /// Shielded flows in either table.
    shielded: [u64; 2],
    /// Live flows by backend.
    live: Vec<u64>,
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
        let walk = walk(flows, |_, _| {}, |_, _| {})?;
        let mut report = Report { entries: walk.entries, ..Report::default() };
        let live = before.live_bounds(flows, &walk)?;
        self.correct_live(flows, live, true, &mut report)?;
        let used = before.use_bounds(flows, &walk)?;
        self.correct_use(flows, used, true, &mut report)?;
        Ok(report)
    }

    /// Removes every flow that has expired at `now` (data path clock), and corrects counts that were wrong in this
    /// sweep and the one before.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written. What was removed until then is counted.
    pub fn sweep(&mut self, flows: &mut Flows, now: u32, timeouts: &Timeouts) -> Result<Report, Error> {
        let before = Counted::read(flows)?;
        let (mut expired4, mut expired6) = (Candidates::default(), Candidates::default());
        let walk = walk(
            flows,
            |key, flow| expired4.consider(key, flow, now, timeouts),
            |key, flow| expired6.consider(key, flow, now, timeouts),
        )?;
        let mut report = Report { entries: walk.entries, ..Report::default() };
        let live = before.live_bounds(flows, &walk)?;
        let used = before.use_bounds(flows, &walk)?;

        let pressure = [flows.v4.capacity(), flows.v6.capacity()];
        let pressure = [0, 1].map(|table| is_pressed(walk.entries[table], pressure[table]));
        let check = |pressed| move |flow: &Flow| timeouts.expiry(flow, now, pressed);
        let keys4 = expired4.under(pressure[0]);
        remove(flows, 0, |flows| &mut flows.v4, &keys4, check(pressure[0]), &mut report)?;
        let keys6 = expired6.under(pressure[1]);
        remove(flows, 1, |flows| &mut flows.v6, &keys6, check(pressure[1]), &mut report)?;

        self.correct_live(flows, live, false, &mut report)?;
        self.correct_use(flows, used, false, &mut report)?;
        report.shielded = shielded::tidy(flows, walk.shielded, now)?;
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

/// Removes all flows of a backend, so that its id can be given to another. Returns how many there were.
///
/// # Errors
///
/// When a map cannot be read or written. What was removed until then is counted.
pub fn purge(flows: &mut Flows, backend: BackendId) -> Result<u64, Error> {
    let (mut keys4, mut keys6) = (Vec::new(), Vec::new());
    let is_theirs = |flow: &Flow| flow.state.backend() == backend;
    flows.v4.for_each(|key, flow| keys4.extend(is_theirs(&flow).then_some(key)))?;
    flows.v6.for_each(|key, flow| keys6.extend(is_theirs(&flow).then_some(key)))?;
    let mut report = Report::default();
    let check = |flow: &Flow| is_theirs(flow).then_some(Expiry::Purged);
    remove(flows, 0, |flows| &mut flows.v4, &keys4, check, &mut report)?;
    remove(flows, 1, |flows| &mut flows.v6, &keys6, check, &mut report)?;
    Ok(report.removed.values().sum())
}

fn walk(
    flows: &mut Flows,
    mut visit4: impl FnMut(balancer_common::abi::FlowKey4, &Flow),
    mut visit6: impl FnMut(balancer_common::abi::FlowKey6, &Flow),
) -> Result<Walk, Error> {
    let mut walk = Walk { entries: [0; 2], shielded: [0; 2], live: vec![0; MAX_BACKENDS] };
    flows.v4.for_each(|key, flow| {
        walk.see(0, &flow);
        visit4(key, &flow);
    })?;
    flows.v6.for_each(|key, flow| {
        walk.see(1, &flow);
        visit6(key, &flow);
    })?;
    Ok(walk)
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

/// Keys that may have expired, found by a walk.
struct Candidates<K> {
    expired: Vec<K>,
    /// Expired only if the table turns out to be under pressure.
    if_pressed: Vec<K>,
}

impl<K> Default for Candidates<K> {
    fn default() -> Self {
        Self { expired: Vec::new(), if_pressed: Vec::new() }
    }
}

impl<K> Candidates<K> {
    fn consider(&mut self, key: K, flow: &Flow, now: u32, timeouts: &Timeouts) {
        if timeouts.expiry(flow, now, false).is_some() {
            self.expired.push(key);
        } else if timeouts.expiry(flow, now, true).is_some() {
            self.if_pressed.push(key);
        }
    }

    fn under(mut self, pressed: bool) -> Vec<K> {
        if pressed {
            self.expired.append(&mut self.if_pressed);
        }
        self.expired
    }
}

/// Removes those of `keys` whose flows still are what `expiry` says, and counts that.
fn remove<K: TableKey>(
    flows: &mut Flows,
    table: u32,
    select: impl Fn(&mut Flows) -> &mut Table<K, Flow>,
    keys: &[K],
    expiry: impl Fn(&Flow) -> Option<Expiry>,
    report: &mut Report,
) -> Result<(), Error> {
    for keys in keys.chunks(CHUNK) {
        let mut removed = 0;
        let mut live = BTreeMap::<BackendId, i64>::new();
        let outcome: Result<(), Error> = keys.iter().try_for_each(|key| {
            if let Some((flow, why)) = remove_one(select(flows), key, &expiry)? {
                removed += 1;
                *report.removed.entry(why).or_default() += 1;
                if flow.state.is_live() {
                    *live.entry(flow.state.backend()).or_default() += 1;
                }
            }
            Ok(())
        });
        flows.count_removed(table, removed)?;
        live.into_iter().try_for_each(|(backend, by)| flows.adjust_live(backend, by))?;
        outcome?;
    }
    Ok(())
}

/// Removes one flow. Looks again just before; and if a packet came between that look and the removal, puts it back.
fn remove_one<K: TableKey>(
    table: &mut Table<K, Flow>,
    key: &K,
    expiry: impl Fn(&Flow) -> Option<Expiry>,
) -> Result<Option<(Flow, Expiry)>, Error> {
    if table.get(key)?.as_ref().and_then(&expiry).is_none() {
        return Ok(None);
    }
    let Some(flow) = table.remove(key)? else { return Ok(None) };
    match expiry(&flow) {
        Some(why) => Ok(Some((flow, why))),
        None if table.insert_absent(key, &flow)? => Ok(None),
        // The program has made an entry of its own meanwhile; the one we hold is history.
        None => Ok(Some((flow, Expiry::Superseded))),
    }
}

/// All counts, as they were before a walk.
struct Counted {
    backends: Vec<(BackendCounts, i64)>,
    used: [(u64, u64); 2],
}

impl Counted {
    fn read(flows: &Flows) -> Result<Self, Error> {
        Ok(Self { backends: flows.counts()?, used: [flows.table_use(0)?, flows.table_use(1)?] })
    }

    /// Within which bounds each live count is wrong.
    fn live_bounds(&self, flows: &Flows, walk: &Walk) -> Result<Vec<(BackendId, Bounds)>, Error> {
        let mut bounds = Vec::new();
        let after = flows.counts()?;
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
        Ok(bounds)
    }

    /// Within which bounds the use of each table is wrong.
    fn use_bounds(&self, flows: &Flows, walk: &Walk) -> Result<Vec<(u32, Bounds)>, Error> {
        [0_u32, 1]
            .into_iter()
            .map(|table| {
                let (inserted, removed) = self.used[table as usize];
                let (after, _) = flows.table_use(table)?;
                let used = inserted.wrapping_sub(removed).cast_signed();
                let excess = used.wrapping_sub(walk.entries[table as usize].cast_signed());
                Ok((table, Bounds::new(excess, 0, after.wrapping_sub(inserted).cast_signed())))
            })
            .collect()
    }
}
