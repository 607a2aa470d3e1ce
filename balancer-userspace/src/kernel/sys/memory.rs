//! Values of an array map, mapped into memory.
#![expect(unsafe_code, reason = "memory that the kernel's programs write to")]

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;
use balancer_common::abi::flow_table::Swap;
use balancer_common::abi::{EntryCell, FlowEntry};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A part of the values of an array map that was made with `BPF_F_MMAPABLE`, shared with the kernel.
pub(crate) struct Memory<V> {
    at: NonNull<V>,
    len: usize,
}

// SAFETY: what is mapped belongs to no thread, and may be unmapped by any.
unsafe impl<V: Send> Send for Memory<V> {}

/// A value that others may write while it is read.
pub(crate) trait Shared: Pod {
    /// The same bytes, all of them in [`Cell`]s.
    type Cell;
}

impl Shared for u64 {
    type Cell = Cell<Self>;
}

impl Shared for FlowEntry {
    type Cell = EntryCell;
}

impl<V: Pod> Memory<V> {
    /// Maps `len` values from `first` on, which begins with a page.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` says: `EPERM` when the map was not made for it, `EINVAL` when it has fewer values.
    pub(crate) fn map(map: impl AsFd, first: usize, len: usize) -> io::Result<Self> {
        Self::map_for(ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, map, first, len)
    }

    /// As [`Self::map`], to be read alone.
    pub(crate) fn view(map: impl AsFd, first: usize, len: usize) -> io::Result<Self> {
        Self::map_for(ProtFlags::PROT_READ, map, first, len)
    }

    fn map_for(access: ProtFlags, map: impl AsFd, first: usize, len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<V>()).and_then(NonZeroUsize::new);
        let offset = first.checked_mul(size_of::<V>()).and_then(|offset| i64::try_from(offset).ok());
        let (Some(bytes), Some(offset)) = (bytes, offset) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // SAFETY: a new mapping at an address of the kernel's choice, of which nobody else knows.
        let at = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, map, offset) }?;
        Ok(Self { at: at.cast(), len })
    }

    /// What a value is, word by word.
    pub(crate) fn load(&self, index: usize) -> Option<V> {
        const { assert!(size_of::<V>().is_multiple_of(size_of::<u64>()) && align_of::<V>() >= align_of::<u64>()) };
        if index >= self.len {
            return None;
        }
        let mut value = MaybeUninit::<V>::uninit();
        for word in 0..size_of::<V>() / size_of::<u64>() {
            // SAFETY: an aligned word inside the mapping, which lives as long as `self`, and the same of `value`.
            unsafe {
                let from = self.at.add(index).cast::<Cell<u64>>().add(word).as_ref();
                value.as_mut_ptr().cast::<u64>().add(word).write(atomic(from).load(Ordering::Relaxed));
            }
        }
        // SAFETY: all of it has been written, and any bytes are a value.
        Some(unsafe { value.assume_init() })
    }
}

impl<V: Shared> Memory<V> {
    /// A value in its place.
    pub(crate) fn cell(&self, index: usize) -> Option<&V::Cell> {
        const { assert!(size_of::<V::Cell>() == size_of::<V>() && align_of::<V::Cell>() <= align_of::<V>()) };
        // SAFETY: inside the mapping, which lives as long as `self`; any bytes are a value.
        (index < self.len).then(|| unsafe { self.at.add(index).cast::<V::Cell>().as_ref() })
    }
}

impl Memory<u64> {
    /// All words, which can be written while others read them.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &Cell<u64>> {
        (0..).map_while(|index| self.cell(index))
    }
}

impl<V> Drop for Memory<V> {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and nobody borrows from it any more.
        let _unmapped = unsafe { munmap(self.at.cast(), self.len * size_of::<V>()) };
    }
}

/// The agent's atomic operation on shared words.
pub(crate) enum Atomic {}

impl Swap for Atomic {
    fn swap(word: &Cell<u64>, from: u64, to: u64) -> bool {
        atomic(word).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

const fn atomic(word: &Cell<u64>) -> &AtomicU64 {
    // SAFETY: an aligned word that outlives the reference, and that is written by atomic operations alone while others can
    // see it.
    unsafe { AtomicU64::from_ptr(word.as_ptr()) }
}
