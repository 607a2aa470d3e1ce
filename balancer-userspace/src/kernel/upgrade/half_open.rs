//! Half-open flows, which go from one set of maps to another with the tags that they are found by.

use std::path::Path;

use balancer_common::abi::half_open_set::{SETS, WAYS};
use balancer_common::abi::{HALF_OPEN, HalfOpenTags, names};

use super::copy::{Pair, translation, walk};
use crate::kernel::Error;
use crate::kernel::maps::MapSource as _;
use crate::kernel::records::Records;
use crate::kernel::sys::bytes::ANY;

/// The maps, and how many entries they have.
const MAPS: [(&str, u32); 3] =
    [(names::HALF_OPEN4, HALF_OPEN), (names::HALF_OPEN6, HALF_OPEN), (names::HALF_OPEN_TAGS, 2 * SETS)];

/// A set of tags as bytes.
const TAGS_SIZE: usize = size_of::<HalfOpenTags>();

/// The maps of both sets. What is in the old ones must be [kept alike](are_alike).
pub(super) struct HalfOpenPairs {
    v4: Pair,
    v6: Pair,
    tags: Pair,
}

/// Whether half-open flows of another version are kept as ours are and say no more than ours, so that all can be carried over.
pub(super) fn are_alike(old: &Path, theirs: &Records) -> Result<bool, Error> {
    let ours = Records::ours();
    for (name, entries) in MAPS {
        if !translation(name, theirs, &ours).is_ok_and(|translation| translation.dropped().next().is_none()) {
            return Ok(false);
        }
        let info = old.open(name)?.info().map_err(Error::map(name, "examination"))?;
        if info.max_entries() != entries {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Half-open flows of maps that are [alike](are_alike).
pub(super) fn count(old: &Path) -> Result<u64, Error> {
    let mut found = 0;
    walk(names::HALF_OPEN_TAGS, &old.open(names::HALF_OPEN_TAGS)?, (4, TAGS_SIZE), |_, tags| {
        found += tags.as_chunks::<8>().0.iter().filter(|tag| **tag != [0; 8]).count() as u64;
        Ok(())
    })?;
    Ok(found)
}

impl HalfOpenPairs {
    pub(super) fn open(pair: impl Fn(&'static str) -> Result<Pair, Error>) -> Result<Self, Error> {
        Ok(Self {
            v4: pair(names::HALF_OPEN4)?,
            v6: pair(names::HALF_OPEN6)?,
            tags: pair(names::HALF_OPEN_TAGS)?,
        })
    }

    /// Makes the new maps what the old ones are. Nobody may use the new ones yet.
    pub(super) fn copy(&self) -> Result<(), Error> {
        walk(names::HALF_OPEN_TAGS, &self.tags.old, (4, TAGS_SIZE), |row, tags| {
            let mut kept = tags.to_vec();
            for (way, tag) in kept.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                if *tag != [0; 8] && !self.copy_entry(number(row), way)? {
                    *tag = [0; 8];
                }
            }
            self.tags.write(row, &kept, ANY)
        })
    }

    /// Copies the entry of a way; whether the new maps have room for all that it says.
    fn copy_entry(&self, row: u32, way: usize) -> Result<bool, Error> {
        let pair = if row < SETS { &self.v4 } else { &self.v6 };
        let index = row % SETS * WAYS as u32 + way as u32;
        let entry = pair.read(index)?.and_then(|entry| pair.translation.carry(&entry));
        let Some(entry) = entry else { return Ok(false) };
        pair.write(&index.to_ne_bytes(), &entry, ANY)?;
        Ok(true)
    }
}

/// The index of an array's entry.
fn number(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}
