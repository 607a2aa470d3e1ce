//! Maps of a loaded object, as the agent's own handles see them.

use std::os::fd::AsFd as _;

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use balancer_userspace::kernel::{Error, FlowTable, MapSource, TableKey};

/// The arrays and hash maps of an object.
pub(crate) struct OfObject<'a>(pub(crate) &'a Ebpf);

impl MapSource for OfObject<'_> {
    fn open(&self, name: &'static str) -> Result<MapData, Error> {
        let map = self.0.map(name);
        let Some(Map::Array(data) | Map::HashMap(data)) = map else {
            panic!("{name} is no array and no hash map")
        };
        let fd = data.fd().as_fd().try_clone_to_owned().unwrap_or_else(|error| panic!("{name}: {error}"));
        Ok(MapData::from_fd(fd).unwrap_or_else(|error| panic!("{name}: {error}")))
    }
}

impl OfObject<'_> {
    /// The established flows of a family, provided that the settings say how they are hashed.
    ///
    /// # Errors
    /// When a map cannot be opened.
    pub(crate) fn flows<K: TableKey>(&self) -> Result<FlowTable<K>, Error> {
        FlowTable::open(self)
    }
}
