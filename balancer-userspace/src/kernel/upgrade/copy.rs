//! Copying entries from one set of maps to another.

use std::path::Path;

use aya::maps::MapData;
use balancer_common::abi::{FlowKey4, FlowKey6, Settings, names};
use tracing::warn;

use super::Copied;
use super::flows::Stored;
use super::half_open::{self, HalfOpenPairs};
use crate::kernel::Error;
use crate::kernel::maps::{Devices, FlowTable, MapSource as _, TableKey};
use crate::kernel::records::{Record, Records, Translation};
use crate::kernel::sys::bytes::{self, ANY};

/// Entries that are read at a time.
const BATCH: usize = 4096;

/// Numbers of shielded flows. Versions whose flows are not shielded have no such maps.
const NUMBERS: [&str; 2] = [names::SHIELDED4, names::SHIELDED6];

/// The maps of numbers that a version has.
pub(super) fn number_maps(theirs: &Records) -> impl Iterator<Item = &'static str> {
    NUMBERS.into_iter().filter(|name| theirs.maps.contains_key(*name))
}

/// Which ids services and backends have: flows name them by these.
pub(super) const ENDPOINTS: [&str; 2] = [names::ENDPOINTS4, names::ENDPOINTS6];

/// Array maps. What the agent writes there is written again when it starts; until then it is as it was.
const ARRAYS: [&str; 13] = [
    names::PORTS,
    names::SERVICES,
    names::BACKENDS,
    names::RINGS,
    names::SCORES,
    names::GENERATIONS,
    names::COUNTS,
    names::SERVICE_COUNTS,
    names::BACKEND_PACES,
    names::SERVICE_PACES,
    names::REMOVED,
    names::TABLE_USE,
    names::TABLE_REMOVED,
];

/// One map of both sets.
pub(super) struct Pair {
    name: &'static str,
    pub(super) old: MapData,
    new: MapData,
    key: usize,
    value: usize,
    /// Entries that both have room for.
    room: u32,
    pub(super) translation: Translation,
}

/// All maps of both sets.
pub(super) struct Copies {
    arrays: Vec<Pair>,
    endpoints: Vec<Pair>,
    numbers: Vec<Pair>,
    flows4: (Stored<FlowKey4>, FlowTable<FlowKey4>),
    flows6: (Stored<FlowKey6>, FlowTable<FlowKey6>),
    /// `None` when those of the old maps are kept in another way.
    half_open: Option<HalfOpenPairs>,
    settings: Pair,
    paces: MapData,
    /// Where a pace is described in the old layout.
    pace: Record,
    devices: (Devices, Devices),
}

impl Copies {
    pub(super) fn open((old, theirs): (&Path, &Records), new: &Path) -> Result<Self, Error> {
        let ours = Records::ours();
        let pair = |name: &'static str| Pair::open(name, (old, theirs), (new, &ours));
        let mut arrays = Vec::new();
        for name in ARRAYS {
            match pair(name) {
                Ok(pair) => arrays.push(pair),
                Err(Error::Layout { .. }) => warn!("{name} has another layout and is written anew"),
                Err(error) => return Err(error),
            }
        }
        let lacks = || Error::Layout { name: names::SERVICE_PACES, fields: "pace".to_owned() };
        let pace = theirs.maps.get(names::SERVICE_PACES).map(|(_, value)| value.clone()).ok_or_else(lacks)?;
        let half_open =
            if half_open::are_alike(old, theirs)? { Some(HalfOpenPairs::open(pair)?) } else { None };
        Ok(Self {
            arrays,
            endpoints: ENDPOINTS.into_iter().map(pair).collect::<Result<_, _>>()?,
            numbers: number_maps(theirs).map(pair).collect::<Result<_, _>>()?,
            flows4: (Stored::open(old, theirs)?, FlowTable::open(new)?),
            flows6: (Stored::open(old, theirs)?, FlowTable::open(new)?),
            half_open,
            settings: pair(names::SETTINGS)?,
            paces: old.open(names::SERVICE_PACES)?,
            pace,
            devices: (Devices::open(old, names::DEVICES)?, Devices::open(new, names::DEVICES)?),
        })
    }

    /// Settings, counts, scores and the like.
    pub(super) fn arrays(&self) -> Result<(), Error> {
        for pair in &self.arrays {
            for index in 0..pair.room {
                let Some(value) = pair.read(index)? else { continue };
                let Some(value) = pair.translation.carry(&value) else { continue };
                pair.write(&index.to_ne_bytes(), &value, ANY)?;
            }
        }
        self.settings()
    }

    /// What flows are hashed by stays; sizes and the version are the new maps' own.
    fn settings(&self) -> Result<(), Error> {
        let pair = &self.settings;
        let failed = || Error::Layout { name: pair.name, fields: "hash_key".to_owned() };
        let old = pair.read(0)?.ok_or_else(failed)?;
        let carried = pair.translation.carry(&old).ok_or_else(failed)?;
        let mut keys = vec![std::mem::offset_of!(Settings, hash_key)];
        if self.half_open.is_some() {
            keys.push(std::mem::offset_of!(Settings, half_open_key));
        }
        let mut new = bytes::lookup(pair.new.fd(), &0_u32.to_ne_bytes(), size_of::<Settings>())
            .map_err(Error::call(pair.name, "read"))?
            .ok_or_else(failed)?;
        for at in keys {
            new[at..at + 8].copy_from_slice(&carried[at..at + 8]);
        }
        pair.write(&0_u32.to_ne_bytes(), &new, ANY)
    }

    /// Who services and backends are, and where packets may be redirected to.
    pub(super) fn endpoints(&mut self) -> Result<(), Error> {
        for pair in &self.endpoints {
            pair.copy_all(ANY)?;
        }
        for ifindex in self.devices.0.keys()? {
            self.devices.1.insert(ifindex)?;
        }
        Ok(())
    }

    /// Established flows, and the numbers of those that are shielded. Half-open ones too as long as nobody uses the new maps.
    pub(super) fn flows(&self, flags: u64) -> Result<Copied, Error> {
        // First: one that becomes a flow meanwhile is then a flow in the new maps, and does not vanish between the two.
        if let Some(half_open) = self.half_open.as_ref().filter(|_| flags == ANY) {
            half_open.copy()?;
        }
        // Then the numbers: no flow comes before its own.
        for pair in &self.numbers {
            pair.copy_all(flags)?;
        }
        let mut copied = Copied::default();
        copy_flows(&self.flows4, flags, &mut copied)?;
        copy_flows(&self.flows6, flags, &mut copied)?;
        Ok(copied)
    }

    /// Discards SYNs in the old maps until the pause is forgotten, or for good once it is kept.
    pub(super) fn pause(&self) -> Result<Pause<'_>, Error> {
        let info = self.paces.info().map_err(Error::map(names::SERVICE_PACES, "examination"))?;
        let mut pause = Pause { map: &self.paces, before: Vec::new(), kept: false };
        let field = |name: &str| self.pace.fields.iter().find(|field| field.name == name);
        let (Some(pace), Some(refuse)) = (field("pace"), field("refuse")) else { return Ok(pause) };
        for index in 0..info.max_entries() {
            let read = bytes::lookup(self.paces.fd(), &index.to_ne_bytes(), self.pace.size);
            let Some(mut before) = read.map_err(Error::call(names::SERVICE_PACES, "read"))? else { continue };
            let mut paused = before.clone();
            paused[pace.at..pace.at + 8].copy_from_slice(&HOURS.to_ne_bytes());
            paused[pace.at + 8..pace.at + 16].fill(0);
            paused[refuse.at..refuse.at + refuse.size].fill(0);
            if before == paused {
                // Left by an upgrade that was killed. What was there is not known, and must not be a pause for good.
                before[pace.at..pace.at + 16].fill(0);
            }
            pause.before.push((index, before));
            bytes::update(self.paces.fd(), &index.to_ne_bytes(), &paused, ANY)
                .map_err(Error::call(names::SERVICE_PACES, "write"))?;
        }
        Ok(pause)
    }
}

fn copy_flows<K: TableKey>(
    (from, to): &(Stored<K>, FlowTable<K>),
    flags: u64,
    copied: &mut Copied,
) -> Result<(), Error> {
    let writer = to.writer()?;
    from.walk(|key, flow| {
        let Some(flow) = flow else {
            copied.left += 1;
            return Ok(());
        };
        copied.flows += 1;
        if flags == ANY { writer.put(&key, &flow) } else { writer.catch_up(&key, &flow) }
    })
}

/// What one connection is charged while none shall be begun, in nanoseconds: one may be, and that pays for hours.
const HOURS: u64 = 1 << 44;

/// A time without new connections.
pub(crate) struct Pause<'a> {
    map: &'a MapData,
    before: Vec<(u32, Vec<u8>)>,
    kept: bool,
}

impl Pause<'_> {
    /// The old maps are not in use any more.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for (index, value) in &self.before {
            if let Err(error) = bytes::update(self.map.fd(), &index.to_ne_bytes(), value, ANY) {
                warn!("the budget of service {index} could not be put back: {error}");
            }
        }
    }
}

impl Pair {
    fn open(
        name: &'static str,
        (old, theirs): (&Path, &Records),
        (new, ours): (&Path, &Records),
    ) -> Result<Self, Error> {
        let translation = translation(name, theirs, ours)?;
        let (old, new) = (old.open(name)?, new.open(name)?);
        let info = |map: &MapData| map.info().map_err(Error::map(name, "examination"));
        let (before, after) = (info(&old)?, info(&new)?);
        Ok(Self {
            name,
            key: before.key_size() as usize,
            value: before.value_size() as usize,
            room: before.max_entries().min(after.max_entries()),
            old,
            new,
            translation,
        })
    }

    pub(super) fn read(&self, index: u32) -> Result<Option<Vec<u8>>, Error> {
        bytes::lookup(self.old.fd(), &index.to_ne_bytes(), self.value).map_err(Error::call(self.name, "read"))
    }

    pub(super) fn write(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Error> {
        match bytes::update(self.new.fd(), key, value, flags) {
            Err(error) if flags == bytes::ABSENT && error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result.map_err(Error::call(self.name, "write")),
        }
    }

    /// Copies all entries of a hash map that both have room for.
    fn copy_all(&self, flags: u64) -> Result<(), Error> {
        walk(self.name, &self.old, (self.key, self.value), |key, value| match self.translation.carry(value) {
            Some(value) => self.write(key, &value, flags),
            None => Ok(()),
        })
    }
}

/// Visits every entry of a map.
pub(super) fn walk(
    name: &'static str,
    map: &MapData,
    (key, value): (usize, usize),
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut cursor, mut room) = (None, BATCH);
    loop {
        let batch = match bytes::lookup_batch(map.fd(), cursor, room, (key, value)) {
            Ok(batch) => batch,
            // A bucket that has more entries than there is room for.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < 1 << 20 => {
                room *= 2;
                continue;
            }
            Err(error) => return Err(Error::call(name, "walk")(error)),
        };
        for (key, value) in batch.keys.chunks_exact(key).zip(batch.values.chunks_exact(value)) {
            visit(key, value)?;
        }
        match batch.next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
        std::thread::yield_now();
    }
}

/// How values of a map become ours. Keys must be the same.
pub(super) fn translation(
    name: &'static str,
    theirs: &Records,
    ours: &Records,
) -> Result<Translation, Error> {
    let differ = |fields: Vec<String>| Error::Layout { name, fields: fields.join(", ") };
    match (theirs.maps.get(name), ours.maps.get(name)) {
        (Some((old_key, old)), Some((new_key, new))) if old_key == new_key => {
            Translation::between(old, new).map_err(differ)
        }
        _ => Err(differ(vec!["key".to_owned()])),
    }
}
