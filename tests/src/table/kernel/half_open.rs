//! The half-open connections that the program keeps in sets of ways.
#![expect(unsafe_code, reason = "memory of the kernel's maps")]

use std::{
    num::NonZeroUsize,
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{Ebpf, Pod, maps::Map};
use balancer_common::abi::{
    FlowKey4, FlowKey6, HALF_OPEN, HalfOpen, HalfOpenEntry,
    half_open_set::{SETS, WAYS},
    names,
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::Kernel;

/// Tags of both families.
const TAGS: usize = 2 * SETS as usize * WAYS;

/// The tags of all ways, mapped into memory: there are too many to ask for each after every packet.
pub(super) struct Tags {
    at: NonNull<AtomicU64>,
}

/// SAFETY: the memory is shared with the kernel anyhow, and is only used by atomic operations.
unsafe impl Send for Tags {}

impl Tags {
    const BYTES: NonZeroUsize = NonZeroUsize::new(TAGS * size_of::<AtomicU64>()).expect("there are tags");

    pub(super) fn open(ebpf: &Ebpf) -> Self {
        let Some(Map::Array(map)) = ebpf.map(names::HALF_OPEN_TAGS) else {
            panic!("the object has the tags")
        };
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, of which nobody else knows.
        let at = unsafe { mmap(None, Self::BYTES, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) };
        Self { at: at.expect("the tags can be mapped").cast() }
    }

    const fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has that many words and lives as long as `self`; whoever writes them does so atomically.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), TAGS) }
    }

    /// Indices of the ways that are taken, IPv4 first.
    fn taken(&self) -> Vec<u32> {
        let tags = (0..).zip(self.all());
        tags.filter(|(_, tag)| tag.load(Ordering::Relaxed) != 0).map(|(index, _)| index).collect()
    }
}

impl Drop for Tags {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and nobody borrows from it any more.
        let _unmapped = unsafe { munmap(self.at.cast(), Self::BYTES.get()) };
    }
}

/// Forgets all of them.
pub(super) fn clear(kernel: &Kernel) {
    for tag in kernel.tags.all() {
        tag.store(0, Ordering::Relaxed);
    }
}

/// Connections and their keys.
type Connections<K> = Vec<(K, HalfOpen)>;

/// All of either family.
pub(super) fn read(kernel: &mut Kernel) -> (Connections<FlowKey4>, Connections<FlowKey6>) {
    let (v4, v6): (Vec<u32>, Vec<u32>) = kernel.tags.taken().into_iter().partition(|way| *way < HALF_OPEN);
    let v4 = v4.into_iter().map(|way| entry::<FlowKey4>(kernel, names::HALF_OPEN4, way)).collect();
    let v6 =
        v6.into_iter().map(|way| entry::<FlowKey6>(kernel, names::HALF_OPEN6, way - HALF_OPEN)).collect();
    (v4, v6)
}

fn entry<K>(kernel: &mut Kernel, name: &str, way: u32) -> (K, HalfOpen)
where
    HalfOpenEntry<K>: Pod,
{
    let entry = kernel.array::<HalfOpenEntry<K>>(name).get(&way, 0);
    let HalfOpenEntry { key, half } = entry.unwrap_or_else(|error| panic!("{name}[{way}]: {error}"));
    (key, half)
}
