//! The flow tables, and the agent's own side of the counts.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use balancer_common::abi::{
    BackendCounts, BackendId, Flow, FlowKey4, FlowKey6, HalfOpen, MAX_BACKENDS, Removed, ServiceId, Shielded,
    names,
};

use super::counters::counted_and_removed;
use super::half_open::HalfOpenSets;
use super::source::NamedMapped;
use super::table_use::{TableCounts, TableUsage};
use super::{FlowTable, MapSource, Table, TableKey};
use crate::kernel::Error;

/// Key of a flow of either address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowKey {
    /// IPv4.
    V4(FlowKey4),
    /// IPv6.
    V6(FlowKey6),
}

impl FlowKey {
    /// The key of a client's flow to a service. An IPv4-mapped IPv6 address is an IPv6 client: so it is on the wire.
    #[must_use]
    pub const fn new(client: SocketAddr, service: ServiceId) -> Self {
        let port = client.port().to_be_bytes();
        match client {
            SocketAddr::V4(v4) => Self::V4(FlowKey4 { client: v4.ip().octets(), port, service }),
            SocketAddr::V6(v6) => Self::V6(FlowKey6 { client: v6.ip().octets(), port, service, reserved: 0 }),
        }
    }

    /// The client's address and port.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        match self {
            Self::V4(key) => key.client(),
            Self::V6(key) => key.client(),
        }
    }

    /// The service.
    #[must_use]
    pub const fn service(&self) -> ServiceId {
        match self {
            Self::V4(key) => key.service,
            Self::V6(key) => key.service,
        }
    }
}

/// Flow tables and half-open tables, and what the agent itself counts in `REMOVED` and `TABLE_REMOVED`.
///
/// One handle at a time may write: the counts are read, changed and written back.
pub struct Flows {
    /// Established IPv4 flows.
    pub v4: FlowTable<FlowKey4>,
    /// Established IPv6 flows.
    pub v6: FlowTable<FlowKey6>,
    /// Numbers of shielded IPv4 flows.
    pub shielded4: Table<FlowKey4, Shielded>,
    /// Numbers of shielded IPv6 flows.
    pub shielded6: Table<FlowKey6, Shielded>,
    half_open: HalfOpenSets,
    counts: NamedMapped<BackendCounts>,
    removed: NamedMapped<Removed>,
    tables: TableCounts,
}

impl Flows {
    /// Opens the tables of `source`.
    ///
    /// # Errors
    ///
    /// When a map is missing or has another layout than this build's.
    pub fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        Ok(Self {
            v4: FlowTable::open(source)?,
            v6: FlowTable::open(source)?,
            shielded4: Table::open(source, names::SHIELDED4)?,
            shielded6: Table::open(source, names::SHIELDED6)?,
            half_open: HalfOpenSets::open(source)?,
            counts: NamedMapped::open(source, names::COUNTS)?,
            removed: NamedMapped::open(source, names::REMOVED)?,
            tables: TableCounts::open(source)?,
        })
    }

    /// Visits every established flow, as [`FlowTable::for_each`].
    ///
    /// # Errors
    ///
    /// When a table cannot be walked.
    pub fn for_each(&self, mut visit: impl FnMut(FlowKey, Flow)) -> Result<(), Error> {
        self.v4.for_each(|key, flow| visit(FlowKey::V4(key), flow))?;
        self.v6.for_each(|key, flow| visit(FlowKey::V6(key), flow))
    }

    /// Visits established flows until `visit` breaks, as [`FlowTable::walk`]. Says whether it has.
    ///
    /// # Errors
    ///
    /// When a table cannot be walked.
    pub fn walk(
        &self,
        mut visit: impl FnMut(FlowKey, Flow) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        if self.v4.walk(|key, flow| visit(FlowKey::V4(key), flow))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.v6.walk(|key, flow| visit(FlowKey::V6(key), flow))
    }

    /// Reads one established flow.
    ///
    /// # Errors
    ///
    /// When the table cannot be read.
    pub fn get(&self, key: &FlowKey) -> Result<Option<Flow>, Error> {
        match key {
            FlowKey::V4(key) => self.v4.get(key),
            FlowKey::V6(key) => self.v6.get(key),
        }
    }

    /// Reads one half-open flow.
    ///
    /// # Errors
    ///
    /// When the table cannot be read.
    pub fn half_open(&self, key: &FlowKey) -> Result<Option<HalfOpen>, Error> {
        self.half_open.get(key)
    }

    /// The program's counts of every backend, by id, and the agent's own.
    pub(crate) fn counts(&self) -> Vec<(BackendCounts, i64)> {
        counted_and_removed(&self.counts, &self.removed, MAX_BACKENDS)
            .map(|(counts, Removed(removed))| (counts, removed))
            .collect()
    }

    /// Use of table 0 (IPv4) or 1 (IPv6).
    pub(crate) fn table_use(&self, table: u32) -> Result<TableUsage, Error> {
        self.tables.of(table)
    }

    /// Takes `by` flows out of the live count of a backend; a negative number puts some back.
    pub(crate) fn adjust_live(&mut self, backend: BackendId, by: i64) -> Result<(), Error> {
        if usize::from(backend.0) >= MAX_BACKENDS {
            // No count exists for an id that no map holds.
            return Ok(());
        }
        let index = u32::from(backend.0);
        let Removed(removed) = self.removed.get(index)?;
        self.removed.set(index, &Removed(removed.wrapping_add(by)))
    }

    /// Counts entries removed from table 0 (IPv4) or 1 (IPv6); a negative number corrects.
    pub(crate) fn count_removed(&mut self, table: u32, by: i64) -> Result<(), Error> {
        self.tables.count_removed(table, by)
    }
}
