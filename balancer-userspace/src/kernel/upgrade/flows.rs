//! Established flows of a set of maps, whatever version made them.

use std::path::Path;

use aya::maps::MapData;
use balancer_common::abi::{Flow, FlowEntry};

use super::copy::walk;
use super::{LAYOUT, read_records};
use crate::kernel::maps::{MapSource as _, TableKey};
use crate::kernel::records::{Records, Translation, flow};
use crate::kernel::sys::bytes::{lookup, value};
use crate::kernel::{Error, clock};

/// How young a flow is, in units of the data path's clock, that may have been entered while it was read.
const RECENT: u32 = 2;

/// The flow table of one address family.
pub(super) struct Stored<K> {
    map: MapData,
    sizes: (usize, usize),
    kind: Kind,
    translation: Translation,
    _keys: std::marker::PhantomData<K>,
}

/// How a version keeps its flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// In a hash map by their keys (layouts 1 to 5).
    Hash,
    /// In an array of entries.
    Entries,
}

/// How many flows of a family are in the maps of a directory.
///
/// # Errors
///
/// When whoever made them has not described them, or keeps flows in a way that is not known.
pub(crate) fn count<K: TableKey>(dir: &Path) -> Result<u64, Error> {
    let unknown = || Error::Layout { name: LAYOUT, fields: "maps".to_owned() };
    let records = read_records(dir)?.ok_or_else(unknown)?;
    let mut flows = 0;
    Stored::<K>::open(dir, &records)?.walk(|_, _| {
        flows += 1;
        Ok(())
    })?;
    Ok(flows)
}

impl<K: TableKey> Stored<K> {
    /// Opens the table in a directory whose records are `theirs`.
    ///
    /// # Errors
    ///
    /// When it is missing, or keeps flows in a way that is not known.
    pub(super) fn open(dir: &Path, theirs: &Records) -> Result<Self, Error> {
        let name = K::FLOWS;
        let ours = Records::ours();
        let differ = |fields: Vec<String>| Error::Layout { name, fields: fields.join(", ") };
        let of_key = || differ(vec!["key".to_owned()]);
        let (key, theirs) = theirs.maps.get(name).ok_or_else(of_key)?;
        let (index, entry) = &ours.maps[name];
        // Numbers are kept by the keys of their flows.
        let (flow_key, _) = &ours.maps[K::SHIELDED];
        let (kind, translation) = if key == index {
            (Kind::Entries, Translation::between(theirs, entry))
        } else if key == flow_key {
            (Kind::Hash, Translation::between(theirs, &flow()))
        } else {
            return Err(of_key());
        };
        let translation = translation.map_err(differ)?;
        let map = dir.open(name)?;
        let info = map.info().map_err(Error::map(name, "examination"))?;
        let sizes = (info.key_size() as usize, info.value_size() as usize);
        Ok(Self { map, sizes, kind, translation, _keys: std::marker::PhantomData })
    }

    /// Visits every flow; without what it is when this version has no room for all that it says.
    pub(super) fn walk(
        &self,
        mut visit: impl FnMut(K, Option<Flow>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let recent = clock().saturating_sub(RECENT);
        walk(K::FLOWS, &self.map, self.sizes, |key, bytes| {
            let known = match self.kind {
                Kind::Hash => value(key).zip(self.translation.moved(bytes).and_then(|flow| value(&flow))),
                Kind::Entries => self.entry(bytes).and_then(|entry| entry.known()),
            };
            let Some((owner, flow)) = known else { return Ok(()) };
            if self.kind == Kind::Entries && flow.state.opened() >= recent && !self.is_steady(key, bytes)? {
                return Ok(());
            }
            visit(owner, self.translation.carry(bytes).map(|_| flow))
        })
    }

    fn entry(&self, bytes: &[u8]) -> Option<FlowEntry> {
        self.translation.moved(bytes).and_then(|entry| value(&entry))
    }

    /// Whether an entry still is what was read: the program may have been entering a flow just then, and what was read may be
    /// some of that and some of the flow that was there before. The next walk finds what has come of it.
    fn is_steady(&self, key: &[u8], bytes: &[u8]) -> Result<bool, Error> {
        let again = lookup(self.map.fd(), key, self.sizes.1).map_err(Error::call(K::FLOWS, "read"))?;
        let what = |bytes: &[u8]| self.entry(bytes).map(|entry| (entry.owner, entry.flow.state));
        Ok(again.is_some_and(|again| what(&again) == what(bytes)))
    }

    /// Names of the fields that this version does not know.
    pub(super) fn dropped(&self) -> Vec<&str> {
        self.translation.dropped().collect()
    }
}
