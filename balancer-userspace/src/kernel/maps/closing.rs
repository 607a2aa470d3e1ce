//! The lists of flows that the program closes at their next packet.

use std::collections::HashSet;

use balancer_common::abi::{FlowKey4, FlowKey6, FlowState, names};

use super::{FlowKey, MapSource, Table};
use crate::kernel::Error;

/// Writes the lists. One handle at a time may write; the program removes what it has closed.
pub struct ClosingList {
    v4: Table<FlowKey4, u64>,
    v6: Table<FlowKey6, u64>,
}

impl ClosingList {
    /// Opens the maps of `source`.
    ///
    /// # Errors
    ///
    /// When a map is missing or has another layout than this build's.
    pub fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        Ok(Self { v4: Table::open(source, names::CLOSING4)?, v6: Table::open(source, names::CLOSING6)? })
    }

    /// Flows that fit on the list of either address family.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.v4.capacity().min(self.v6.capacity())
    }

    /// Lists the flow that is in this state. A later one on the same tuple is not meant.
    ///
    /// # Errors
    ///
    /// When the map cannot be written, `E2BIG` when the list is full.
    pub fn add(&mut self, key: &FlowKey, state: FlowState) -> Result<(), Error> {
        match key {
            FlowKey::V4(key) => self.v4.insert(key, &state.identity()),
            FlowKey::V6(key) => self.v6.insert(key, &state.identity()),
        }
    }

    /// Takes a flow off the list. False when it is not there: the program has closed it.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn remove(&mut self, key: &FlowKey) -> Result<bool, Error> {
        match key {
            FlowKey::V4(key) => self.v4.remove(key).map(|entry| entry.is_some()),
            FlowKey::V6(key) => self.v6.remove(key).map(|entry| entry.is_some()),
        }
    }

    /// Everything that is listed.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn keys(&mut self) -> Result<HashSet<FlowKey>, Error> {
        let mut keys = HashSet::new();
        self.v4.for_each(|key, _| keys.extend([FlowKey::V4(key)]))?;
        self.v6.for_each(|key, _| keys.extend([FlowKey::V6(key)]))?;
        Ok(keys)
    }

    /// Empties the list; how many flows were on it.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written.
    pub fn clear(&mut self) -> Result<usize, Error> {
        let keys = self.keys()?;
        keys.iter().try_for_each(|key| self.remove(key).map(drop))?;
        Ok(keys.len())
    }
}
