//! Places of half-open connections: found, claimed and released; see [`balancer_common::abi::half_open_set`].
//!
//! These are global functions: numbers in, a number out, so that the verifier looks at each once and not once for every
//! path that leads to it, and so that their variables take the callers no stack.
#![expect(unsafe_code, reason = "functions that are exported by name, and words of map values by pointer")]

use core::cell::Cell;

use balancer_common::abi::{
    FlowKey4, FlowKey6,
    half_open_set::{Place, SETS, WAYS, choose, find, is_of, is_stale, rank, tag, way_of},
};

use crate::{
    atomic,
    clock::nanos,
    maps::{HALF_OPEN_TAGS, HALF_OPEN4, HALF_OPEN6, SETTINGS},
};

/// No entry.
const NONE: u32 = u32::MAX;

/// The entry of a connection in the table of a family (0 for IPv4, 1 for IPv6), by the words of its key; [`NONE`] when it
/// has none. Notes that a packet has come.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn half_open_find(table: u32, a: u64, b: u64, c: u64) -> u32 {
    let Some((place, tags)) = place(table, [a, b, c]) else { return NONE };
    let Some(way) = find(place.mark, |way| read(tags, way)) else { return NONE };
    let index = place.entry(way as u32);
    if !is_key(table, index, [a, b, c]) {
        return NONE;
    }
    let (now, old) = (nanos(), read(tags, way));
    if is_of(place.mark, old) != 0 && is_stale(old, now) {
        // Another CPU has written the time, or given the way to somebody else.
        let _moved = atomic::compare_and_swap(word(tags, way), old, tag(place.mark, now));
    }
    index
}

/// Makes an entry that of a connection; [`NONE`] when another CPU has just taken it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn half_open_claim(table: u32, a: u64, b: u64, c: u64) -> u32 {
    let Some((place, tags)) = place(table, [a, b, c]) else { return NONE };
    let now = nanos();
    let best = choose(place.mark, now, |way| read(tags, way));
    let way = way_of(best);
    let old = read(tags, way);
    let is_as_chosen = rank(place.mark, now, old, way) == best;
    if !is_as_chosen || !atomic::compare_and_swap(word(tags, way), old, tag(place.mark, now)) {
        return NONE;
    }
    // Whose entry it was does not find it any more.
    let index = place.entry(way as u32);
    if set_key(table, index, [a, b, c]).is_some() { index } else { NONE }
}

/// Frees the entry of a connection; 1 when it had one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn half_open_release(table: u32, a: u64, b: u64, c: u64) -> u32 {
    let Some((place, tags)) = place(table, [a, b, c]) else { return 0 };
    let Some(way) = find(place.mark, |way| read(tags, way)) else { return 0 };
    for _ in 0..2 {
        let old = read(tags, way);
        if is_of(place.mark, old) == 0 {
            return 0;
        }
        if atomic::compare_and_swap(word(tags, way), old, 0) {
            return 1;
        }
        // Another CPU has written the time.
    }
    0
}

/// Where a connection belongs, and the tags of that set.
#[inline(always)]
fn place(table: u32, words: [u64; 3]) -> Option<(Place, &'static [Cell<u64>; WAYS])> {
    let place = Place::of(words, SETTINGS.get(0)?.half_open_key);
    let tags = HALF_OPEN_TAGS.get_ptr(if table == 0 { place.set } else { SETS + place.set })?;
    // SAFETY: the words are in a map value, which outlives the run of the program, and every writer is atomic.
    Some((place, unsafe { &*tags.cast::<[Cell<u64>; WAYS]>() }))
}

#[inline(always)]
fn word(tags: &[Cell<u64>; WAYS], way: usize) -> &Cell<u64> {
    // The mask shows the verifier that it is inside.
    &tags[way & (WAYS - 1)]
}

/// A tag, which other CPUs may be writing.
#[inline(always)]
fn read(tags: &[Cell<u64>; WAYS], way: usize) -> u64 {
    // SAFETY: the word is in a map value. Volatile, so that tags are read one after the other: there is no stack to keep
    // all of them.
    unsafe { word(tags, way).as_ptr().read_volatile() }
}

/// Whether an entry's key is made of these words. Word by word: arrays would be compared by a function that loops.
#[inline(always)]
fn is_key(table: u32, index: u32, [a, b, c]: [u64; 3]) -> bool {
    let found = if table == 0 {
        HALF_OPEN4.get(index).map(|entry| entry.key.words())
    } else {
        HALF_OPEN6.get(index).map(|entry| entry.key.words())
    };
    found.is_some_and(|[x, y, z]| x == a && y == b && z == c)
}

/// Writes an entry's key.
#[inline(always)]
fn set_key(table: u32, index: u32, words: [u64; 3]) -> Option<()> {
    // SAFETY: the pointers are to map values. Volatile, so that the key is there before what belongs to it.
    unsafe {
        if table == 0 {
            (&raw mut (*HALF_OPEN4.get_ptr_mut(index)?).key).write_volatile(FlowKey4::from_words(words));
        } else {
            (&raw mut (*HALF_OPEN6.get_ptr_mut(index)?).key).write_volatile(FlowKey6::from_words(words));
        }
    }
    Some(())
}

/// The functions as the packet path calls them.
pub(crate) mod call {
    /// See [`super::half_open_find`].
    #[inline(always)]
    pub(crate) fn find(table: u32, [a, b, c]: [u64; 3]) -> Option<u32> {
        some(super::half_open_find(table, a, b, c))
    }

    /// See [`super::half_open_claim`].
    #[inline(always)]
    pub(crate) fn claim(table: u32, [a, b, c]: [u64; 3]) -> Option<u32> {
        some(super::half_open_claim(table, a, b, c))
    }

    /// See [`super::half_open_release`].
    #[inline(always)]
    pub(crate) fn release(table: u32, [a, b, c]: [u64; 3]) {
        // Displaced already: nothing is left to free.
        let _gone = super::half_open_release(table, a, b, c);
    }

    #[inline(always)]
    const fn some(index: u32) -> Option<u32> {
        if index == super::NONE { None } else { Some(index) }
    }
}
