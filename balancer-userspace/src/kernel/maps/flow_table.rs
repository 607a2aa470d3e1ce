//! A table of established flows, which the program and the agent share; see [`balancer_common::abi::flow_table`].

mod removal;
mod writer;

use std::io;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::atomic::{Ordering, fence};

use aya::Pod;
use aya::maps::MapData;
use balancer_common::abi::flow_table::{FlowTags, PROBES, Probes, WAYS, capacity};
use balancer_common::abi::{EntryCell, Flow, FlowEntry, Settings, names};

use super::source::NamedArray;
use super::{MapSource, TableKey};
use crate::kernel::Error;
use crate::kernel::sys::memory::{Memory, Shared};

pub use writer::FlowWriter;

/// Sets whose entries are mapped at a time: less than 4 MiB, and whole pages whatever the size of an entry.
const WINDOW: u32 = 1 << 13;

/// Attempts to read an entry that is not being written.
const ATTEMPTS: usize = 8;

/// The established flows of one address family.
pub struct FlowTable<K> {
    entries: Handles<FlowEntry>,
    tags: Handles<u64>,
    hash_key: u64,
    _keys: PhantomData<K>,
}

/// An array: to be read, and to be mapped into memory.
struct Handles<V: Pod> {
    name: &'static str,
    array: NamedArray<V>,
    raw: MapData,
}

impl<V: Shared> Handles<V> {
    fn open(source: &(impl MapSource + ?Sized), name: &'static str) -> Result<Self, Error> {
        Ok(Self { name, array: NamedArray::open(source, name)?, raw: source.open(name)? })
    }

    fn map(&self, first: u32, len: u32) -> Result<Memory<V>, Error> {
        Memory::map(self.raw.fd(), first as usize, len as usize)
            .map_err(Error::call(self.name, "map into memory"))
    }

    fn map_all(&self) -> Result<Memory<V>, Error> {
        self.map(0, self.array.len())
    }
}

impl<K: TableKey> FlowTable<K> {
    /// Opens the family's maps.
    ///
    /// # Errors
    ///
    /// When one is missing, or has another layout than this build's.
    pub fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        let settings: NamedArray<Settings> = NamedArray::open(source, names::SETTINGS)?;
        let hash_key = settings.get(0)?.flow_key;
        let (entries, tags) = (Handles::open(source, K::FLOWS)?, Handles::open(source, K::FLOW_TAGS)?);
        Ok(Self { entries, tags, hash_key, _keys: PhantomData })
    }

    /// Most flows it is to hold.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        capacity(self.sets())
    }

    /// Visits every flow.
    ///
    /// One that is there during the whole walk is seen exactly once; one that comes or goes meanwhile at most once.
    ///
    /// # Errors
    ///
    /// When the table cannot be mapped into memory.
    pub fn for_each(&self, mut visit: impl FnMut(K, Flow)) -> Result<(), Error> {
        self.walk(|key, flow| {
            visit(key, flow);
            ControlFlow::Continue(())
        })
        .map(|_| ())
    }

    /// As [`FlowTable::for_each`], until `visit` breaks. Says whether it has. Gives way to other threads every 8,192
    /// sets.
    ///
    /// # Errors
    ///
    /// When the table cannot be mapped into memory.
    pub fn walk(&self, mut visit: impl FnMut(K, Flow) -> ControlFlow<()>) -> Result<ControlFlow<()>, Error> {
        self.walk_entries(|_, entry| match entry.known() {
            Some((key, flow)) => visit(key, flow),
            None => ControlFlow::Continue(()),
        })
    }

    /// Visits every entry that is taken, with its number. One without a state is being entered or removed, or its removal
    /// was interrupted.
    ///
    /// # Errors
    ///
    /// When the table cannot be mapped into memory.
    pub(crate) fn walk_entries(
        &self,
        mut visit: impl FnMut(u32, FlowEntry) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        for first in (0..self.sets()).step_by(WINDOW as usize) {
            if self.walk_window(first, &mut visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            std::thread::yield_now();
        }
        Ok(ControlFlow::Continue(()))
    }

    fn walk_window(
        &self,
        first: u32,
        visit: &mut impl FnMut(u32, FlowEntry) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let len = self.window_len(first);
        let tags = self.tags.map(first, len)?;
        // To map its entries costs ten times as much as to look at its tags.
        if tags.cells().all(|word| FlowTags(word.get()).is_free()) {
            return Ok(ControlFlow::Continue(()));
        }
        let window = self.entries.map(first * WAYS, len * WAYS)?;
        for (set, word) in (0..).zip(tags.cells()) {
            let taken = FlowTags(word.get());
            for way in (0..WAYS).filter(|way| taken.tag(*way) != 0) {
                let Some(entry) = window.cell(set * WAYS as usize + way as usize) else { continue };
                if visit((first + set as u32) * WAYS + way, steady(entry)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads one flow.
    ///
    /// # Errors
    ///
    /// When a system call fails.
    pub fn get(&self, key: &K) -> Result<Option<Flow>, Error> {
        let probes = self.probes(key);
        for tried in 0..PROBES {
            let set = probes.set(tried);
            let tags = FlowTags(self.tags.array.get(set)?);
            for way in (0..WAYS).filter(|way| tags.tag(*way) == probes.tag()) {
                let entry = self.entries.array.get(set * WAYS + way)?;
                if let Some((_, flow)) = entry.known::<K>().filter(|(found, _)| found == key) {
                    return Ok(Some(flow));
                }
            }
            if !tags.is_passed() {
                break;
            }
        }
        Ok(None)
    }

    /// The whole table, to enter flows.
    ///
    /// # Errors
    ///
    /// When it cannot be mapped into memory.
    pub fn writer(&self) -> Result<FlowWriter<'_, K>, Error> {
        FlowWriter::new(self)
    }

    /// Enters or replaces one flow, which has a state.
    #[cfg(test)]
    pub(crate) fn insert(&self, key: &K, flow: &Flow) -> Result<(), Error> {
        self.writer()?.put(key, flow)
    }

    fn sets(&self) -> u32 {
        self.tags.array.len()
    }

    /// The sets from `first` on, which is a multiple of [`WINDOW`], and their entries.
    fn window(&self, first: u32) -> Result<(Memory<u64>, Memory<FlowEntry>), Error> {
        let len = self.window_len(first);
        Ok((self.tags.map(first, len)?, self.entries.map(first * WAYS, len * WAYS)?))
    }

    /// Sets of the window that begins with `first`.
    fn window_len(&self, first: u32) -> u32 {
        self.sets().saturating_sub(first).min(WINDOW)
    }

    fn probes(&self, key: &K) -> Probes {
        Probes::of(key.hash_by(self.hash_key), self.sets())
    }

    fn full(&self) -> Error {
        Error::call(self.entries.name, "write")(io::Error::from_raw_os_error(libc::E2BIG))
    }
}

/// An entry as it was at one moment, unless it changes all the time.
fn steady(cell: &EntryCell) -> FlowEntry {
    let mut entry = cell.snapshot();
    for _ in 0..ATTEMPTS {
        fence(Ordering::Acquire);
        let again = cell.snapshot();
        if (again.owner, again.flow.state) == (entry.owner, entry.flow.state) {
            break;
        }
        entry = again;
    }
    entry
}
