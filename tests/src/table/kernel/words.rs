//! Map values in memory: there are too many to ask for each after every packet.
#![expect(unsafe_code, reason = "memory of the kernel's maps")]

use std::{
    num::NonZeroUsize,
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{Ebpf, maps::Map};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The values of an array map, word by word.
pub(super) struct Words {
    at: NonNull<AtomicU64>,
    len: NonZeroUsize,
}

/// SAFETY: the memory is shared with the kernel anyhow, and is only used by atomic operations.
unsafe impl Send for Words {}

impl Words {
    pub(super) fn open(ebpf: &Ebpf, name: &str) -> Self {
        let Some(Map::Array(map)) = ebpf.map(name) else { panic!("the object has {name}") };
        let info = map.info().unwrap_or_else(|error| panic!("{name}: {error}"));
        let len = info.max_entries() as usize * info.value_size() as usize / size_of::<AtomicU64>();
        let len = NonZeroUsize::new(len).expect("the map has values");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let map = map.fd().as_fd();
        // SAFETY: a new mapping, of which nobody else knows.
        let at = unsafe { mmap(None, Self::bytes(len), access, MapFlags::MAP_SHARED, map, 0) };
        Self { at: at.unwrap_or_else(|error| panic!("{name}: {error}")).cast(), len }
    }

    const fn bytes(len: NonZeroUsize) -> NonZeroUsize {
        let word = const { NonZeroUsize::new(size_of::<AtomicU64>()).expect("words have a size") };
        len.checked_mul(word).expect("it is in memory")
    }

    pub(super) const fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has that many words and lives as long as `self`; whoever writes them while others look does
        // so atomically.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len.get()) }
    }

    /// Makes all of them 0.
    pub(super) fn clear(&self) {
        for word in self.all() {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and nobody borrows from it any more.
        let _unmapped = unsafe { munmap(self.at.cast(), Self::bytes(self.len).get()) };
    }
}
