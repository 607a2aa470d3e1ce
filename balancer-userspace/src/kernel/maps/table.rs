//! A large hash map that the program fills and the agent walks.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;

use aya::Pod;
use aya::maps::{HashMap, MapData, MapError};
use balancer_common::abi::flow_table::OwnerKey;
use balancer_common::abi::{FlowKey4, FlowKey6, ServiceId, names};

use super::{MapSource, source};
use crate::kernel::{Error, sys};

/// Entries read per system call: enough to make the call cheap, few enough to stay in the second-level cache.
const BATCH: usize = 4096;

/// A key of a flow table.
pub trait TableKey: OwnerKey + Pod + Eq + std::hash::Hash + std::fmt::Debug + Send + 'static {
    /// Index of the family in `TABLE_USE` and `TABLE_REMOVED`.
    const TABLE: u32;
    /// Name of the map of established flows.
    const FLOWS: &'static str;
    /// Name of the map of their tags.
    const FLOW_TAGS: &'static str;
    /// Name of the map of the numbers of shielded flows.
    const SHIELDED: &'static str;

    /// The client's address and port.
    fn client(&self) -> SocketAddr;
    /// The service the client talks to.
    fn service(&self) -> ServiceId;
}

impl TableKey for FlowKey4 {
    const TABLE: u32 = 0;
    const FLOWS: &'static str = names::FLOWS4;
    const FLOW_TAGS: &'static str = names::FLOW_TAGS4;
    const SHIELDED: &'static str = names::SHIELDED4;

    fn client(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::from(self.client), u16::from_be_bytes(self.port))
    }

    fn service(&self) -> ServiceId {
        self.service
    }
}

impl TableKey for FlowKey6 {
    const TABLE: u32 = 1;
    const FLOWS: &'static str = names::FLOWS6;
    const FLOW_TAGS: &'static str = names::FLOW_TAGS6;
    const SHIELDED: &'static str = names::SHIELDED6;

    fn client(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::from(self.client), u16::from_be_bytes(self.port))
    }

    fn service(&self) -> ServiceId {
        self.service
    }
}

/// One entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<K, V> {
    /// Its key.
    pub key: K,
    /// Its value when it was read.
    pub value: V,
}

/// A hash map of flows.
#[derive(Debug)]
pub struct Table<K: TableKey, V: Pod> {
    name: &'static str,
    map: HashMap<MapData, K, V>,
    /// A second handle, for the commands that aya does not have.
    raw: MapData,
    capacity: u32,
    /// Whether the kernel has shown that it cannot look up in batches.
    by_key: bool,
}

impl<K: TableKey, V: Pod> Table<K, V> {
    /// Opens the map called `name`.
    ///
    /// # Errors
    ///
    /// When it is missing or its key or value has another size.
    pub fn open(source: &(impl MapSource + ?Sized), name: &'static str) -> Result<Self, Error> {
        let map = source::open(source, name)?;
        let raw = source.open(name)?;
        let capacity = raw.info().map_err(Error::map(name, "examination"))?.max_entries();
        Ok(Self { name, map, raw, capacity, by_key: false })
    }

    /// Most entries it can hold.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Visits every entry.
    ///
    /// An entry that is there during the whole walk is seen exactly once; one that comes or goes meanwhile at most
    /// once. (On kernels before 5.6, which read key by key, a walk may restart and see entries twice.)
    ///
    /// # Errors
    ///
    /// When a system call fails.
    pub fn for_each(&mut self, mut visit: impl FnMut(K, V)) -> Result<(), Error> {
        self.walk(|key, value| {
            visit(key, value);
            ControlFlow::Continue(())
        })
        .map(|_| ())
    }

    /// As [`Table::for_each`], until `visit` breaks. Says whether it has. Gives way to other threads between the system
    /// calls, each of which reads a few thousand entries.
    ///
    /// # Errors
    ///
    /// When a system call fails.
    pub fn walk(&mut self, mut visit: impl FnMut(K, V) -> ControlFlow<()>) -> Result<ControlFlow<()>, Error> {
        if !self.by_key {
            match self.walk_batches(&mut visit) {
                Ok(ended) => return Ok(ended),
                // EINVAL: the command is unknown. ENOTSUPP (524): not for this type of map.
                Err((0, error)) if matches!(error.raw_os_error(), Some(libc::EINVAL | 524)) => {
                    self.by_key = true
                }
                Err((_, error)) => return Err(Error::call(self.name, "walk")(error)),
            }
        }
        self.walk_keys(visit)
    }

    /// Reads one entry.
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        match self.map.get(key, 0) {
            Ok(value) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(Error::map(self.name, "read")(error)),
        }
    }

    /// Removes one entry and returns what it held at that moment; `None` when somebody else was first.
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn remove(&mut self, key: &K) -> Result<Option<V>, Error> {
        match sys::lookup_and_delete(self.raw.fd(), key) {
            Ok(value) => Ok(value),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | 524)) => self.remove_in_two(key),
            Err(error) => Err(Error::call(self.name, "delete")(error)),
        }
    }

    /// Inserts or replaces one entry.
    ///
    /// # Errors
    ///
    /// When the system call fails, `E2BIG` when the table is full.
    pub fn insert(&mut self, key: &K, value: &V) -> Result<(), Error> {
        self.map.insert(key, value, 0).map_err(Error::map(self.name, "write"))
    }

    /// Inserts an entry unless the key is there already. Says whether it did.
    ///
    /// # Errors
    ///
    /// When the system call fails, `E2BIG` when the table is full.
    pub fn insert_absent(&mut self, key: &K, value: &V) -> Result<bool, Error> {
        const BPF_NOEXIST: u64 = 1;
        match self.map.insert(key, value, BPF_NOEXIST) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EEXIST) => {
                Ok(false)
            }
            Err(error) => Err(Error::map(self.name, "write")(error)),
        }
    }

    /// Before Linux 5.14: the state may change between the two calls, and the recount finds that.
    fn remove_in_two(&mut self, key: &K) -> Result<Option<V>, Error> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        match self.map.remove(key) {
            Ok(()) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(Error::map(self.name, "delete")(error)),
        }
    }

    /// On failure, also says how many batches had been read.
    fn walk_batches(
        &self,
        visit: &mut impl FnMut(K, V) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, (usize, io::Error)> {
        let (mut cursor, mut room, mut done) = (None, BATCH, 0);
        loop {
            let batch = match sys::lookup_batch(self.raw.fd(), cursor, room) {
                Ok(batch) => batch,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < 1 << 20 => {
                    room *= 2;
                    continue;
                }
                Err(error) => return Err((done, error)),
            };
            done += 1;
            if batch.entries.into_iter().try_for_each(|(key, value)| visit(key, value)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            match batch.next {
                Some(next) => cursor = Some(next),
                None => return Ok(ControlFlow::Continue(())),
            }
            std::thread::yield_now();
        }
    }

    fn walk_keys(&self, mut visit: impl FnMut(K, V) -> ControlFlow<()>) -> Result<ControlFlow<()>, Error> {
        for entry in self.map.iter() {
            let (key, value) = entry.map_err(Error::map(self.name, "walk"))?;
            if visit(key, value).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
