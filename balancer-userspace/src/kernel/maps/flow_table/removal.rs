//! Removing flows from a table.

use std::cell::Cell;

use balancer_common::abi::flow_table::{FlowTags, PROBES, Swap as _, WAYS, try_change};
use balancer_common::abi::{EntryCell, Flow};

use super::{FlowTable, TableKey, WINDOW};
use crate::kernel::Error;
use crate::kernel::sys::memory::Atomic;

impl<K: TableKey> FlowTable<K> {
    /// Removes the flows of those of `numbers`, which ascend, for which `why` gives a reason, and tells `removed` of each:
    /// what it was at that moment, and the reason. Looks again after each removal; if a packet came meanwhile, so that there
    /// is no reason any more, the flow is put back.
    ///
    /// # Errors
    ///
    /// When the table cannot be mapped into memory. What was removed until then has been told.
    pub(crate) fn remove<R>(
        &self,
        numbers: &[u32],
        why: impl Fn(&Flow) -> Option<R>,
        mut removed: impl FnMut(Flow, R),
    ) -> Result<(), Error> {
        let mut passed = Vec::new();
        let outcome = self.visit(numbers, |number, word, entry| {
            if let Some((flow, reason)) = take(entry, &why) {
                removed(flow, reason);
                passed.extend(self.passed(number, entry));
                change(word, |tags| tags.freed(number % WAYS));
            }
        });
        // A set that is said to have been passed more often than it was makes look-ups longer, and no more than that.
        outcome.and(self.unpass(passed))
    }

    /// Frees those of `numbers`, which ascend, that have no flow: whoever was about to enter or to remove it was killed.
    /// Returns how many there were.
    ///
    /// Which sets that flow has passed is not known for certain, so they go on saying that it has.
    ///
    /// # Errors
    ///
    /// When the table cannot be mapped into memory.
    pub(crate) fn reclaim(&self, numbers: &[u32]) -> Result<u64, Error> {
        let mut reclaimed = 0;
        self.visit(numbers, |number, word, entry| {
            let is_taken = FlowTags(word.get()).tag(number % WAYS) != 0;
            if is_taken && entry.flow.state().is_none() {
                change(word, |tags| tags.freed(number % WAYS));
                reclaimed += 1;
            }
        })?;
        Ok(reclaimed)
    }

    /// The sets that a flow has passed on its way to this entry.
    fn passed(&self, number: u32, entry: &EntryCell) -> impl Iterator<Item = u32> {
        let probes = self.probes(&K::of_owner(&entry.snapshot().owner));
        let tried = (0..PROBES).find(|tried| probes.set(*tried) == number / WAYS).unwrap_or(0);
        (0..tried).map(move |tried| probes.set(tried))
    }

    fn unpass(&self, passed: Vec<u32>) -> Result<(), Error> {
        if passed.is_empty() {
            return Ok(());
        }
        let tags = self.tags.map_all()?;
        for set in passed {
            if let Some(word) = tags.cell(set as usize) {
                change(word, FlowTags::unpassed);
            }
        }
        Ok(())
    }

    /// Visits entries by their numbers, which ascend, with the tags of their sets.
    fn visit(
        &self,
        numbers: &[u32],
        mut visit: impl FnMut(u32, &Cell<u64>, &EntryCell),
    ) -> Result<(), Error> {
        const ENTRIES: u32 = WINDOW * WAYS;
        for numbers in numbers.chunk_by(|one, next| one / ENTRIES == next / ENTRIES) {
            let first = numbers[0] / ENTRIES * WINDOW;
            let (tags, window) = self.window(first)?;
            for number in numbers {
                let at = number - first * WAYS;
                if let (Some(word), Some(entry)) = (tags.cell((at / WAYS) as usize), window.cell(at as usize))
                {
                    visit(*number, word, entry);
                }
            }
        }
        Ok(())
    }
}

/// Takes the flow of an entry if `why` gives a reason.
///
/// Whoever moves the state of a flow that is taken at the same moment finds that it has none.
fn take<R>(entry: &EntryCell, why: &impl Fn(&Flow) -> Option<R>) -> Option<(Flow, R)> {
    let before = entry.flow.snapshot();
    let state = before.state.0;
    if before.state.is_none() {
        return None;
    }
    why(&before)?;
    if !Atomic::swap(entry.flow.state_word(), state, 0) {
        return None;
    }
    let flow = Flow { state: before.state, ..entry.flow.snapshot() };
    let reason = why(&flow);
    if reason.is_none() {
        let _put_back = Atomic::swap(entry.flow.state_word(), 0, state);
    }
    Some((flow, reason?))
}

/// Changes the tags of a set.
fn change(word: &Cell<u64>, to: impl Fn(FlowTags) -> FlowTags) {
    while !try_change::<Atomic>(word, &to) {}
}
