//! What the program counts.

use balancer_common::abi::{
    BackendCounts, BackendId, Removed, ServiceCounts, ServiceId, TableUse, Traffic, names,
};
use balancer_common::outcome::Outcome;

use super::MapSource;
use super::source::{NamedArray, NamedFront, NamedPerCpu};
use crate::kernel::Error;

/// Reads of all counters. Sums over CPUs are not one moment's: each CPU goes on counting while they are read.
pub struct Counters {
    counts: NamedFront<BackendCounts>,
    services: NamedArray<ServiceCounts>,
    removed: NamedFront<Removed>,
    traffic: NamedPerCpu<Traffic>,
    outcomes: NamedPerCpu<u64>,
    table_use: NamedArray<TableUse>,
    table_removed: NamedArray<u64>,
}

/// Use of one flow table, from the counts of both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableUsage {
    /// Entries inserted by the program since the maps were made.
    pub inserted: u64,
    /// Entries removed by the agent since the maps were made.
    pub removed: u64,
    /// Until when (data path clock) packets of unknown flows are adopted; 0 is never.
    pub adopt_until: u64,
}

impl TableUsage {
    /// Entries in the table.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.inserted.saturating_sub(self.removed)
    }
}

impl Counters {
    /// Opens the counters of `source`.
    ///
    /// # Errors
    ///
    /// When a map is missing or has another layout than this build's.
    pub fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        Ok(Self {
            counts: NamedFront::open(source, names::COUNTS)?,
            services: NamedArray::open(source, names::SERVICE_COUNTS)?,
            removed: NamedFront::open(source, names::REMOVED)?,
            traffic: NamedPerCpu::open(source, names::TRAFFIC)?,
            outcomes: NamedPerCpu::open(source, names::OUTCOMES)?,
            table_use: NamedArray::open(source, names::TABLE_USE)?,
            table_removed: NamedArray::open(source, names::TABLE_REMOVED)?,
        })
    }

    /// The program's flow counts of one backend.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn backend(&self, id: BackendId) -> Result<BackendCounts, Error> {
        self.counts.get(u32::from(id.0))
    }

    /// The program's flow counts of the first `number` backends, and their live connections.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn backends(&self, number: u32) -> Result<Vec<(BackendCounts, u64)>, Error> {
        // `removed` first: a flow that is counted and removed between the two reads must not make a count negative.
        let removed = self.removed.first(number)?;
        let counts = self.counts.first(number)?;
        Ok(counts.into_iter().zip(removed).map(|(counts, removed)| (counts, counts.live(removed))).collect())
    }

    /// The program's counts of one service.
    ///
    /// # Errors
    ///
    /// When the maps have no room for it or cannot be read.
    pub fn service(&self, id: ServiceId) -> Result<ServiceCounts, Error> {
        self.services.get(u32::from(id.0))
    }

    /// Live connections of one backend.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn live(&self, id: BackendId) -> Result<u64, Error> {
        let removed = self.removed.get(u32::from(id.0))?;
        Ok(self.backend(id)?.live(removed))
    }

    /// Packets and bytes of one backend, over all CPUs.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn traffic(&self, id: BackendId) -> Result<Traffic, Error> {
        self.traffic.fold(u32::from(id.0), Traffic::default(), |sum, cpu| Traffic {
            packets_in: sum.packets_in + cpu.packets_in,
            bytes_in: sum.bytes_in + cpu.bytes_in,
            packets_out: sum.packets_out + cpu.packets_out,
            bytes_out: sum.bytes_out + cpu.bytes_out,
        })
    }

    /// Packets by outcome (the index is the [`Outcome`] as a number), over all CPUs, of one service or of packets of
    /// none.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn outcomes(&self, service: Option<ServiceId>) -> Result<Vec<u64>, Error> {
        let row = service.map_or(0, |service| 1 + u32::from(service.0));
        let start = row * Outcome::COUNT as u32;
        (start..start + Outcome::COUNT as u32)
            .map(|index| self.outcomes.fold(index, 0, |sum: u64, cpu| sum + cpu))
            .collect()
    }

    /// Packets of one outcome and service, over all CPUs.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn outcome(&self, service: ServiceId, outcome: Outcome) -> Result<u64, Error> {
        let row = 1 + u32::from(service.0);
        self.outcomes.fold(row * Outcome::COUNT as u32 + outcome as u32, 0, |sum: u64, cpu| sum + cpu)
    }

    /// Use of the IPv4 and the IPv6 flow table.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn tables(&self) -> Result<[TableUsage; 2], Error> {
        Ok([self.table(0)?, self.table(1)?])
    }

    fn table(&self, index: u32) -> Result<TableUsage, Error> {
        // `removed` first: an entry inserted and removed between the two reads must not make the use negative.
        let removed = self.table_removed.get(index)?;
        let TableUse { inserted, adopt_until, .. } = self.table_use.get(index)?;
        Ok(TableUsage { inserted, removed, adopt_until })
    }
}
