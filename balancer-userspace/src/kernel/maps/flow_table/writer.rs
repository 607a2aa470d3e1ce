//! Entering flows into a table.

use std::cell::Cell;

use balancer_common::abi::flow_table::{self, Claimed, FlowMaps, Swap as _};
use balancer_common::abi::{EntryCell, Flow, FlowEntry};

use super::{FlowTable, TableKey};
use crate::kernel::Error;
use crate::kernel::sys::memory::{Atomic, Memory};

/// How often somebody else is given way who is about to enter or to remove a flow. Whoever takes longer than that was killed.
const PATIENCE: u32 = 1000;

/// A table that is mapped into memory as a whole.
pub struct FlowWriter<'a, K> {
    table: &'a FlowTable<K>,
    maps: Maps,
}

struct Maps {
    tags: Memory<u64>,
    entries: Memory<FlowEntry>,
}

impl<'a> FlowMaps<'a> for &'a Maps {
    fn tags(self, set: u32) -> Option<&'a Cell<u64>> {
        self.tags.cell(set as usize)
    }

    fn entry(self, entry: u32) -> Option<&'a EntryCell> {
        self.entries.cell(entry as usize)
    }
}

impl<'a, K: TableKey> FlowWriter<'a, K> {
    pub(super) fn new(table: &'a FlowTable<K>) -> Result<Self, Error> {
        Ok(Self { table, maps: Maps { tags: table.tags.map_all()?, entries: table.entries.map_all()? } })
    }

    /// Enters or replaces one flow, which has a state.
    ///
    /// # Errors
    ///
    /// When there is no room for it.
    pub fn put(&self, key: &K, flow: &Flow) -> Result<(), Error> {
        while let Some(entry) = self.find(key) {
            let old = entry.flow.state();
            if !old.is_none() && Atomic::swap(entry.flow.state_word(), old.0, flow.state.0) {
                entry.flow.fill(flow);
                return Ok(());
            }
        }
        self.enter(key, flow)
    }

    /// Enters a flow that has a state, unless the key is there already.
    ///
    /// # Errors
    ///
    /// When there is no room for it.
    pub fn enter(&self, key: &K, flow: &Flow) -> Result<(), Error> {
        let (owner, probes) = (key.owner(), self.table.probes(key));
        for turn in 0.. {
            if self.find(key).is_some() {
                break;
            }
            let rival = |set, tags| {
                let found = flow_table::rival(&self.maps, &owner, probes.tag(), set, tags);
                found.filter(|found| *found != Claimed::Busy || turn < PATIENCE)
            };
            let (claimed, entry, tried) = flow_table::claim::<Atomic>(&self.maps, || probes, rival);
            if claimed == Claimed::Entry
                && let Some(entry) = (&self.maps).entry(entry)
            {
                entry.fill(&owner, flow);
                // It has no state, and nobody else gives it one.
                let _filled = Atomic::swap(entry.flow.state_word(), 0, flow.state.0);
                return Ok(());
            }
            flow_table::unpass::<Atomic>(&self.maps, || probes, tried);
            if claimed == Claimed::Full {
                return Err(self.table.full());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Enters a flow that has a state. The same flow, if it is there already, only learns how far it has ended elsewhere: it
    /// may be the newer one otherwise.
    ///
    /// # Errors
    ///
    /// When there is no room for it.
    pub fn catch_up(&self, key: &K, flow: &Flow) -> Result<(), Error> {
        let Some(entry) = self.find(key) else { return self.enter(key, flow) };
        loop {
            let known = entry.flow.state();
            let ended = known.and_ended_as(flow.state);
            let is_same = known.identity() == flow.state.identity();
            if !is_same || ended == known || Atomic::swap(entry.flow.state_word(), known.0, ended.0) {
                return Ok(());
            }
        }
    }

    fn find(&self, key: &K) -> Option<&EntryCell> {
        let found = flow_table::find(&self.maps, &key.owner(), &self.table.probes(key));
        (&self.maps).entry(found?)
    }
}
