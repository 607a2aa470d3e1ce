//! Half-open connections, as the program keeps them.

use balancer_common::abi::half_open_set::{Place, SETS, find};
use balancer_common::abi::{FlowKey4, FlowKey6, HalfOpen, HalfOpenEntry, HalfOpenTags, Settings, names};

use super::source::NamedArray;
use super::{FlowKey, MapSource};
use crate::kernel::Error;

/// The half-open connections of both families.
pub(super) struct HalfOpenSets {
    settings: NamedArray<Settings>,
    tags: NamedArray<HalfOpenTags>,
    v4: NamedArray<HalfOpenEntry<FlowKey4>>,
    v6: NamedArray<HalfOpenEntry<FlowKey6>>,
}

impl HalfOpenSets {
    pub(super) fn open(source: &(impl MapSource + ?Sized)) -> Result<Self, Error> {
        Ok(Self {
            settings: NamedArray::open(source, names::SETTINGS)?,
            tags: NamedArray::open(source, names::HALF_OPEN_TAGS)?,
            v4: NamedArray::open(source, names::HALF_OPEN4)?,
            v6: NamedArray::open(source, names::HALF_OPEN6)?,
        })
    }

    /// Reads one connection.
    pub(super) fn get(&self, key: &FlowKey) -> Result<Option<HalfOpen>, Error> {
        let hash_key = self.settings.get(0)?.half_open_key;
        let (place, row) = match key {
            FlowKey::V4(key) => (Place::of(key.words(), hash_key), 0),
            FlowKey::V6(key) => (Place::of(key.words(), hash_key), SETS),
        };
        let tags = self.tags.get(row + place.set)?;
        let Some(way) = find(place.mark, |way| tags.0[way]) else { return Ok(None) };
        let index = place.entry(way as u32);
        Ok(match key {
            FlowKey::V4(key) => half_of(self.v4.get(index)?, key),
            FlowKey::V6(key) => half_of(self.v6.get(index)?, key),
        })
    }
}

/// The connection of an entry, if it is that of `key`.
fn half_of<K: PartialEq>(entry: HalfOpenEntry<K>, key: &K) -> Option<HalfOpen> {
    (entry.key == *key).then_some(entry.half)
}
