//! Where map handles come from.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::Pod;
use aya::maps::xdp::DevMapHash;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues};

use crate::kernel::sys::memory::Memory;
use crate::kernel::{Error, sys};

/// Something that opens a map by name. Each call gives a handle of its own.
pub trait MapSource {
    /// Opens the map.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    fn open(&self, name: &'static str) -> Result<MapData, Error>;
}

/// A directory of pinned maps.
impl MapSource for Path {
    fn open(&self, name: &'static str) -> Result<MapData, Error> {
        let path = self.join(name);
        let fd = sys::obj_get(&path).map_err(Error::pin("open", &path))?;
        let kind = sys::object_kind(fd.as_fd()).map_err(Error::pin("examine", &path))?;
        if kind != "bpf-map" {
            return Err(Error::ForeignPin { path, found: format!("a {kind}") });
        }
        MapData::from_fd(fd).map_err(Error::map(name, "opening"))
    }
}

impl MapSource for PathBuf {
    fn open(&self, name: &'static str) -> Result<MapData, Error> {
        self.as_path().open(name)
    }
}

pub(super) fn open<M>(source: &(impl MapSource + ?Sized), name: &'static str) -> Result<M, Error>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    let data = source.open(name)?;
    Map::from_map_data(data).and_then(M::try_from).map_err(Error::map(name, "opening"))
}

/// An array map that knows its name.
pub(super) struct NamedArray<V: Pod> {
    name: &'static str,
    map: Array<MapData, V>,
}

impl<V: Pod> NamedArray<V> {
    pub(super) fn open(source: &(impl MapSource + ?Sized), name: &'static str) -> Result<Self, Error> {
        Ok(Self { name, map: open(source, name)? })
    }

    pub(super) fn len(&self) -> u32 {
        self.map.len()
    }

    pub(super) fn get(&self, index: u32) -> Result<V, Error> {
        self.map.get(&index, 0).map_err(Error::map(self.name, "read"))
    }

    /// A value that is too large to be handed around on the stack.
    pub(super) fn boxed(&self, index: u32) -> Result<Box<V>, Error> {
        self.get(index).map(Box::new)
    }

    pub(super) fn set(&mut self, index: u32, value: &V) -> Result<(), Error> {
        self.map.set(index, value, 0).map_err(Error::map(self.name, "write"))
    }
}

/// An array map that was made with `BPF_F_MMAPABLE`: all its values are read without a system call.
pub(super) struct NamedMapped<V: Pod> {
    array: NamedArray<V>,
    memory: Memory<V>,
}

impl<V: Pod> NamedMapped<V> {
    pub(super) fn open(source: &(impl MapSource + ?Sized), name: &'static str) -> Result<Self, Error> {
        let array: NamedArray<V> = NamedArray::open(source, name)?;
        let memory = Memory::view(source.open(name)?.fd(), 0, array.len() as usize)
            .map_err(Error::call(name, "map into memory"))?;
        Ok(Self { array, memory })
    }

    pub(super) fn get(&self, index: u32) -> Result<V, Error> {
        self.array.get(index)
    }

    pub(super) fn set(&mut self, index: u32, value: &V) -> Result<(), Error> {
        self.array.set(index, value)
    }

    /// All values from the first on. Each word of one is of some moment; the kernel's program goes on writing.
    pub(super) fn values(&self) -> impl Iterator<Item = V> {
        (0..).map_while(|index| self.memory.load(index))
    }
}

/// A per-CPU array map that knows its name.
pub(super) struct NamedPerCpu<V: Pod> {
    name: &'static str,
    map: PerCpuArray<MapData, V>,
}

impl<V: Pod> NamedPerCpu<V> {
    pub(super) fn open(source: &(impl MapSource + ?Sized), name: &'static str) -> Result<Self, Error> {
        Ok(Self { name, map: open(source, name)? })
    }

    /// Folds the values of all CPUs.
    pub(super) fn fold<T>(&self, index: u32, start: T, add: impl FnMut(T, &V) -> T) -> Result<T, Error> {
        let values = self.map.get(&index, 0).map_err(Error::map(self.name, "read"))?;
        Ok(values.iter().fold(start, add))
    }

    /// Changes the values of all CPUs, of which none may be in use.
    pub(super) fn change(&mut self, index: u32, change: impl FnOnce(&mut [V])) -> Result<(), Error> {
        let values = self.map.get(&index, 0).map_err(Error::map(self.name, "read"))?;
        let mut values = values.to_vec();
        change(&mut values);
        let written = PerCpuValues::try_from(values).map_err(Error::call(self.name, "write"));
        self.map.set(index, written?, 0).map_err(Error::map(self.name, "write"))
    }
}

/// A small hash map that knows its name.
pub(super) struct NamedHash<K: Pod, V: Pod> {
    name: &'static str,
    map: HashMap<MapData, K, V>,
}

impl<K: Pod, V: Pod> NamedHash<K, V> {
    pub(super) fn open(source: &(impl MapSource + ?Sized), name: &'static str) -> Result<Self, Error> {
        Ok(Self { name, map: open(source, name)? })
    }

    pub(super) fn entries(&self) -> Result<Vec<(K, V)>, Error> {
        self.map.iter().collect::<Result<_, _>>().map_err(Error::map(self.name, "walk"))
    }

    pub(super) fn insert(&mut self, key: &K, value: &V) -> Result<(), Error> {
        self.map.insert(key, value, 0).map_err(Error::map(self.name, "write"))
    }

    pub(super) fn remove(&mut self, key: &K) -> Result<(), Error> {
        self.map.remove(key).map_err(Error::map(self.name, "delete"))
    }
}

/// The map of interfaces that packets may be redirected to.
pub(crate) struct Devices {
    name: &'static str,
    map: DevMapHash<MapData>,
}

impl Devices {
    pub(crate) fn open(source: &(impl MapSource + ?Sized), name: &'static str) -> Result<Self, Error> {
        Ok(Self { name, map: open(source, name)? })
    }

    pub(crate) fn keys(&self) -> Result<Vec<u32>, Error> {
        self.map.keys().collect::<Result<_, _>>().map_err(Error::map(self.name, "walk"))
    }

    pub(crate) fn insert(&mut self, ifindex: u32) -> Result<(), Error> {
        self.map.insert(ifindex, ifindex, None, 0).map_err(|error| Error::Device {
            name: self.name,
            ifindex,
            source: Box::new(error),
        })
    }

    pub(super) fn remove(&mut self, ifindex: u32) -> Result<(), Error> {
        self.map.remove(ifindex).map_err(Error::map(self.name, "delete"))
    }
}
