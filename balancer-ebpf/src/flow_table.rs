//! Established flows: found and entered; see [`balancer_common::abi::flow_table`].
//!
//! Global functions, for the reasons of [`crate::half_open`].
#![expect(unsafe_code, reason = "functions that are exported by name, and map values by pointer")]

use core::cell::Cell;

use balancer_common::abi::{
    Entered, EntryCell, Flow, Settings,
    flow_table::{self, Claimed, FlowMaps, FlowOwner, FlowTags, Probes, Swap, capacity},
};

use crate::{
    atomic,
    maps::{ENTERING, FLOW_TAGS4, FLOW_TAGS6, FLOWS4, FLOWS6, SETTINGS, TABLE_REMOVED, TABLE_USE},
};

/// No entry, or nothing.
const NONE: u32 = u32::MAX;

/// The atomic operations of the program.
struct Atomic;

impl Swap for Atomic {
    #[inline(always)]
    fn swap(word: &Cell<u64>, from: u64, to: u64) -> bool {
        atomic::compare_and_swap(word, from, to)
    }
}

/// The table of a family: 0 for IPv4, 1 for IPv6.
#[derive(Clone, Copy)]
struct Table<const N: u32>;

impl<const N: u32> FlowMaps<'static> for Table<N> {
    #[inline(always)]
    fn tags(self, set: u32) -> Option<&'static Cell<u64>> {
        let word = if N == 0 { FLOW_TAGS4.get_ptr(set) } else { FLOW_TAGS6.get_ptr(set) }?;
        // SAFETY: the pointer is to a map value, which outlives the run of the program.
        Some(unsafe { &*word.cast::<Cell<u64>>() })
    }

    #[inline(always)]
    fn entry(self, entry: u32) -> Option<&'static EntryCell> {
        let entry = if N == 0 { FLOWS4.get_ptr(entry) } else { FLOWS6.get_ptr(entry) }?;
        // SAFETY: as above, and an EntryCell has the layout of a FlowEntry.
        Some(unsafe { &*entry.cast::<EntryCell>() })
    }
}

impl<const N: u32> Table<N> {
    #[inline(always)]
    fn sets() -> Option<u32> {
        let settings = SETTINGS.get(0)?;
        Some(if N == 0 { settings.flows4_sets } else { settings.flows6_sets })
    }

    #[inline(always)]
    fn likely(self, sets: u32, hash: u64, owner: &FlowOwner) -> Option<&'static EntryCell> {
        let preferred = self.entry(Probes::of(hash, sets).preferred())?;
        if preferred.holds(owner) { Some(preferred) } else { self.entry(Self::search_by(hash, owner)) }
    }

    #[inline(always)]
    fn search(self, hash: u64, owner: &FlowOwner) -> Option<u32> {
        flow_table::find(self, owner, &Probes::of(hash, Self::sets()?))
    }

    #[inline(always)]
    fn search_by(hash: u64, owner: &FlowOwner) -> u32 {
        let ([a, b], rest) = (owner.client, owner.rest);
        if N == 0 { flow4_search(hash, a, b, rest) } else { flow6_search(hash, a, b, rest) }
    }

    /// Enters the flow of [`ENTERING`].
    #[inline(always)]
    fn enter(self, hash: u64) -> Option<Entered> {
        const KNOWN: u32 = Claimed::Known as u32;
        const BUSY: u32 = Claimed::Busy as u32;
        let desk = Desk(ENTERING.get_ptr_mut(0)?);
        let sets = Self::sets()?;
        if in_use(N)? >= i64::from(capacity(sets)) {
            return Some(Entered::Full);
        }
        desk.write(Probes::of(hash, sets));
        let (claimed, entry, tried) =
            desk.note(flow_table::claim::<Atomic>(self, || desk.probes(), Self::rival_by));
        if claimed == Claimed::Entry as u32 {
            desk.copy_to(self.entry(entry)?);
            // SAFETY: the pointer is to a map value; only the address of a word of it is taken.
            atomic::increment(unsafe { &raw const (*TABLE_USE.get_ptr(N)?).inserted });
            return Some(Entered::New);
        }
        flow_table::unpass::<Atomic>(self, || desk.probes(), tried);
        Some(match claimed {
            KNOWN => Entered::Known,
            BUSY => Entered::Busy,
            _ => Entered::Full,
        })
    }

    /// What keeps the flow of [`ENTERING`] out of a set.
    #[inline(always)]
    fn rival(self, set: u32, tags: u64) -> Option<Claimed> {
        let Some(desk) = ENTERING.get_ptr_mut(0).map(Desk) else { return Some(Claimed::Busy) };
        flow_table::rival(self, desk.owner(), desk.probes().tag(), set, FlowTags(tags))
    }

    #[inline(always)]
    fn rival_by(set: u32, tags: FlowTags) -> Option<Claimed> {
        const KNOWN: u32 = Claimed::Known as u32;
        match if N == 0 { flow4_rival(set, tags.0) } else { flow6_rival(set, tags.0) } {
            NONE => None,
            KNOWN => Some(Claimed::Known),
            _ => Some(Claimed::Busy),
        }
    }
}

/// How many flows the table of a family holds.
#[inline(always)]
pub(crate) fn in_use(table: u32) -> Option<i64> {
    let (used, removed) = (TABLE_USE.get(table)?, TABLE_REMOVED.get(table)?);
    Some(used.inserted.wrapping_sub(*removed).cast_signed())
}

/// A flow on its way into the table, and what is needed on it. In a map, because there is no stack for it.
#[repr(C)]
pub(crate) struct Entering {
    owner: FlowOwner,
    flow: Flow,
    probes: Probes,
    /// What [`flow_table::claim`] says.
    claimed: [u32; 3],
    reserved: u32,
}

/// The [`Entering`] of this CPU. What is read of it is read from memory each time, and takes no register meanwhile.
struct Desk(*mut Entering);

impl Desk {
    #[inline(always)]
    fn write(&self, probes: Probes) {
        // SAFETY: the pointer is to a map value that is this CPU's own.
        unsafe { (&raw mut (*self.0).probes).write_volatile(probes) };
    }

    /// The same, of which the verifier knows nothing: it sees one path where each number of tries was one.
    #[inline(always)]
    fn note(&self, (claimed, entry, tried): (Claimed, u32, u32)) -> (u32, u32, u32) {
        // SAFETY: as above.
        let [claimed, entry, tried] = unsafe {
            let place = &raw mut (*self.0).claimed;
            place.write_volatile([claimed as u32, entry, tried]);
            place.read_volatile()
        };
        (claimed, entry, tried)
    }

    #[inline(always)]
    fn probes(&self) -> Probes {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).probes).read_volatile() }
    }

    #[inline(always)]
    fn owner(&self) -> &FlowOwner {
        // SAFETY: as above.
        unsafe { &(*self.0).owner }
    }

    /// Writes the flow. Its state comes last, for it makes it one.
    #[inline(always)]
    fn copy_to(&self, entry: &EntryCell) {
        // SAFETY: as above.
        let (owner, flow) = unsafe { (&(*self.0).owner, &(*self.0).flow) };
        entry.fill(owner, flow);
        // It has no state, and nobody else gives it one.
        let _filled = atomic::compare_and_swap(entry.flow.state_word(), 0, flow.state.0);
    }
}

/// The functions of a family.
macro_rules! table {
    ($table:literal, $search:ident, $rival:ident, $enter:ident) => {
        /// The entry of a flow by its hash and the words of its owner; [`NONE`] when it is not there.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $search(hash: u64, a: u64, b: u64, rest: u64) -> u32 {
            Table::<$table>.search(hash, &FlowOwner { client: [a, b], rest }).unwrap_or(NONE)
        }

        /// What keeps the flow of [`ENTERING`] out of a set with these tags: a [`Claimed`] as a number, or [`NONE`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $rival(set: u32, tags: u64) -> u32 {
            Table::<$table>.rival(set, tags).map_or(NONE, |found| found as u32)
        }

        /// Enters the flow of [`ENTERING`], which has this hash: an [`Entered`] as a number.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $enter(hash: u64) -> u32 {
            Table::<$table>.enter(hash).unwrap_or(Entered::Full) as u32
        }
    };
}

table!(0, flow4_search, flow4_rival, flow4_enter);
table!(1, flow6_search, flow6_rival, flow6_enter);

/// The functions as the packet path calls them, for a family's `table`.
pub(crate) mod call {
    use super::*;

    /// The entry of a flow, by the tags: fast where there is none.
    #[inline(always)]
    pub(crate) fn search(table: u32, hash: u64, owner: &FlowOwner) -> Option<&'static EntryCell> {
        if table == 0 {
            Table::<0>.entry(Table::<0>::search_by(hash, owner))
        } else {
            Table::<1>.entry(Table::<1>::search_by(hash, owner))
        }
    }

    /// The entry of a flow, by the tags unless it is the one that the flow prefers: fast where there is one.
    #[inline(always)]
    pub(crate) fn likely(
        table: u32,
        settings: &Settings,
        hash: u64,
        owner: &FlowOwner,
    ) -> Option<&'static EntryCell> {
        if table == 0 {
            Table::<0>.likely(settings.flows4_sets, hash, owner)
        } else {
            Table::<1>.likely(settings.flows6_sets, hash, owner)
        }
    }

    /// Enters a flow that was not in the table.
    #[inline(always)]
    pub(crate) fn enter(table: u32, hash: u64, owner: &FlowOwner, flow: &Flow) -> Entered {
        const NEW: u32 = Entered::New as u32;
        const KNOWN: u32 = Entered::Known as u32;
        const BUSY: u32 = Entered::Busy as u32;
        let Some(entering) = ENTERING.get_ptr_mut(0) else { return Entered::Full };
        // SAFETY: the pointer is to a map value that is this CPU's own.
        unsafe {
            (&raw mut (*entering).owner).write(*owner);
            (&raw mut (*entering).flow).write(*flow);
        }
        match if table == 0 { flow4_enter(hash) } else { flow6_enter(hash) } {
            NEW => Entered::New,
            KNOWN => Entered::Known,
            BUSY => Entered::Busy,
            _ => Entered::Full,
        }
    }
}
