//! How full the flow tables are, by the counts of both sides.

use balancer_common::abi::{TableUse, names};

use super::MapSource;
use super::source::NamedArray;
use crate::kernel::Error;

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

/// Those counts of table 0 (IPv4) and 1 (IPv6).
pub(super) struct TableCounts {
    inserted: NamedArray<TableUse>,
    removed: NamedArray<u64>,
}

impl TableCounts {
    pub(super) fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        Ok(Self {
            inserted: NamedArray::open(source, names::TABLE_USE)?,
            removed: NamedArray::open(source, names::TABLE_REMOVED)?,
        })
    }

    pub(super) fn of(&self, table: u32) -> Result<TableUsage, Error> {
        // `removed` first: an entry inserted and removed between the two reads must not make the use negative.
        let removed = self.removed.get(table)?;
        let TableUse { inserted, adopt_until, .. } = self.inserted.get(table)?;
        Ok(TableUsage { inserted, removed, adopt_until })
    }

    /// Counts entries removed; a negative number corrects.
    pub(super) fn count_removed(&mut self, table: u32, by: i64) -> Result<(), Error> {
        if by == 0 {
            return Ok(());
        }
        let removed = self.removed.get(table)?;
        self.removed.set(table, &removed.wrapping_add_signed(by))
    }
}
