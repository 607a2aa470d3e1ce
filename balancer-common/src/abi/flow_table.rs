//! Where established flows are kept: sets of seven entries, and a word of tags for each set.
//!
//! ```text
//!  hash ──┬──► the entry that the flow prefers: 64 bytes, a line of memory
//!         └──► the tags of a set: 8 bytes, for five flows ──► the entries whose tag is that of the flow
//! ```
//!
//! Most flows are in the entry that they prefer, and cost that line of memory alone. The tags of a million flows are less
//! than two megabytes and stay in the caches of a CPU, so a flow that is not there is soon known not to be.
//!
//! A flow's hash says in which order sets are tried. It takes the entry that it prefers or, where that is taken, the first
//! that is free. Every set counts the flows that have passed it by on their way to another, so a look-up ends at the first
//! set that none has passed. (F14, the hash table of Facebook's Folly, counts so too; it spares the marks that removed
//! entries leave elsewhere.)
//!
//! The program enters flows, the agent removes them, both while others look. An entry is taken by one compare-and-swap of
//! the tags, and is a flow's only as long as the flow has a state: the program writes that last, the agent takes it first.

mod set;
#[cfg(test)]
mod tests;

use core::cell::Cell;

pub use set::{FlowTags, Matches, Probes};

use super::{Flow, FlowCell, FlowKey4, FlowKey6};
use crate::steer::hash;

/// Entries of a set.
pub const WAYS: u32 = 7;

/// Flows that a set is to hold, on average. With five, one flow of twenty is in another set than its first.
const FLOWS: u32 = 5;

/// Sets that are tried for a flow.
pub const PROBES: u32 = 12;

/// Number of sets of a table that is to hold `flows`, which are rounded up to a multiple of five.
#[must_use]
pub const fn sets(flows: u32) -> u32 {
    flows.div_ceil(FLOWS)
}

/// Number of entries of a table that is to hold `flows`.
#[must_use]
pub const fn entries(flows: u32) -> u32 {
    sets(flows).saturating_mul(WAYS)
}

/// Number of flows that a table of `sets` is to hold: the inverse of [`sets`].
#[inline(always)]
#[must_use]
pub const fn capacity(sets: u32) -> u32 {
    sets * FLOWS
}

/// One flow and whose it is, as the agent reads it. The program sees the same bytes as an [`EntryCell`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEntry {
    /// Whose it is.
    pub owner: FlowOwner,
    /// The flow. Without a [state](Flow::state) it is none.
    pub flow: Flow,
}

/// Whose flow it is, in words that can be compared: those of a key, see [`FlowKey4::words`] and [`FlowKey6::words`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowOwner {
    /// The client's address.
    pub client: [u64; 2],
    /// The client's port, and the service above it.
    pub rest: u64,
}

/// A key of flows.
pub trait OwnerKey: Copy {
    /// What is hashed.
    fn to_words(&self) -> [u64; 3];
    /// The key, to be compared.
    fn owner(&self) -> FlowOwner;
    /// The key of an entry that has a flow.
    fn of_owner(owner: &FlowOwner) -> Self;

    /// The hash that a flow is found by.
    #[inline(always)]
    fn hash_by(&self, key: u64) -> u64 {
        hash::flow(self.to_words(), key)
    }
}

impl OwnerKey for FlowKey4 {
    #[inline(always)]
    fn to_words(&self) -> [u64; 3] {
        self.words()
    }

    #[inline(always)]
    fn owner(&self) -> FlowOwner {
        let [word, ..] = self.words();
        FlowOwner { client: [word & u64::from(u32::MAX), 0], rest: word >> 32 }
    }

    fn of_owner(owner: &FlowOwner) -> Self {
        Self::from_words([owner.client[0] | owner.rest << 32, 0, 0])
    }
}

impl OwnerKey for FlowKey6 {
    #[inline(always)]
    fn to_words(&self) -> [u64; 3] {
        self.words()
    }

    #[inline(always)]
    fn owner(&self) -> FlowOwner {
        let [first, second, rest] = self.words();
        FlowOwner { client: [first, second], rest }
    }

    fn of_owner(owner: &FlowOwner) -> Self {
        let [first, second] = owner.client;
        Self::from_words([first, second, owner.rest])
    }
}

impl FlowEntry {
    /// The flow and its key; `None` when it is none.
    #[must_use]
    pub fn known<K: OwnerKey>(&self) -> Option<(K, Flow)> {
        (!self.flow.state.is_none()).then(|| (K::of_owner(&self.owner), self.flow))
    }
}

/// A [`FlowEntry`] shared by all CPUs and the agent.
#[repr(C)]
#[derive(Debug)]
pub struct EntryCell {
    client: [Cell<u64>; 2],
    rest: Cell<u64>,
    /// The flow.
    pub flow: FlowCell,
}

impl EntryCell {
    /// Whether it holds the flow of `owner`.
    #[inline(always)]
    #[must_use]
    pub const fn holds(&self, owner: &FlowOwner) -> bool {
        self.client[0].get() == owner.client[0]
            && self.client[1].get() == owner.client[1]
            && self.rest.get() == owner.rest
            && !self.flow.state().is_none()
    }

    /// The entry as the agent reads it.
    #[must_use]
    pub const fn snapshot(&self) -> FlowEntry {
        let client = [self.client[0].get(), self.client[1].get()];
        FlowEntry { owner: FlowOwner { client, rest: self.rest.get() }, flow: self.flow.snapshot() }
    }

    /// Writes whose it is, and the flow but for its state, which is to be written last.
    #[inline(always)]
    pub fn fill(&self, owner: &FlowOwner, flow: &Flow) {
        self.client[0].set(owner.client[0]);
        self.client[1].set(owner.client[1]);
        self.rest.set(owner.rest);
        self.flow.fill(flow);
    }
}

/// Writes a word at once: `to`, if it is `from`. Says whether it was.
pub trait Swap {
    /// See there.
    fn swap(word: &Cell<u64>, from: u64, to: u64) -> bool;
}

/// A table, as one side reaches it. `None` is what it does not have.
pub trait FlowMaps<'a>: Copy {
    /// The tags of a set.
    fn tags(self, set: u32) -> Option<&'a Cell<u64>>;
    /// An entry.
    fn entry(self, entry: u32) -> Option<&'a EntryCell>;
}

/// What became of a flow that was to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is in the table.
    New,
    /// It was there already.
    Known,
    /// Others are in the way: somebody may be about to enter it.
    Busy,
    /// There is no room for it.
    Full,
}

/// What became of a [`claim`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// An entry is taken, and is to be filled.
    Entry = 0,
    /// An entry holds the flow.
    Known = 1,
    /// Others are in the way: somebody may be about to enter this very flow.
    Busy = 2,
    /// No set that is tried has a free entry.
    Full = 3,
}

/// The entry of a flow, by the tags of the sets.
#[inline(always)]
pub fn find<'a>(maps: impl FlowMaps<'a>, owner: &FlowOwner, probes: &Probes) -> Option<u32> {
    for tried in 0..PROBES {
        let set = probes.set(tried);
        let tags = FlowTags(maps.tags(set)?.get());
        let mut matches = tags.matching(probes.tag());
        for _ in 0..WAYS {
            let Some(way) = matches.first() else { break };
            let entry = set * WAYS + way;
            if maps.entry(entry)?.holds(owner) {
                return Some(entry);
            }
            matches = matches.behind();
        }
        if !tags.is_passed() {
            return None;
        }
    }
    None
}

/// What keeps a flow from being entered into a set with these tags, by the entries that have its tag.
#[inline(always)]
pub fn rival<'a>(
    maps: impl FlowMaps<'a>,
    owner: &FlowOwner,
    tag: u64,
    set: u32,
    tags: FlowTags,
) -> Option<Claimed> {
    let mut matches = tags.matching(tag);
    for _ in 0..WAYS {
        let Some(way) = matches.first() else { break };
        let Some(entry) = maps.entry(set * WAYS + way) else { break };
        if entry.flow.state().is_none() {
            return Some(Claimed::Busy);
        }
        if entry.holds(owner) {
            return Some(Claimed::Known);
        }
        matches = matches.behind();
    }
    None
}

/// Attempts at a word that others have just written.
const ATTEMPTS: usize = 3;

/// Takes an entry for a flow that was not in the table; says which, and how many sets the flow has passed before, which
/// [`unpass`] takes back unless it is entered. `rival` is [`rival`] for this flow.
///
/// Two that enter the same flow change the same words, so the second sees the tag of the first.
#[inline(always)]
pub fn claim<'a, W: Swap>(
    maps: impl FlowMaps<'a>,
    probes: impl Fn() -> Probes,
    rival: impl Fn(u32, FlowTags) -> Option<Claimed>,
) -> (Claimed, u32, u32) {
    'sets: for tried in 0..PROBES {
        let set = probes().set(tried);
        let Some(word) = maps.tags(set) else { return (Claimed::Full, 0, tried) };
        for _ in 0..ATTEMPTS {
            let tags = FlowTags(word.get());
            if tags.matching(probes().tag()).first().is_some()
                && let Some(found) = rival(set, tags)
            {
                return (found, 0, tried);
            }
            match tags.vacant(probes().way()) {
                Some(way) if W::swap(word, tags.0, tags.taken(way, probes().tag()).0) => {
                    return (Claimed::Entry, set * WAYS + way, tried);
                }
                None if W::swap(word, tags.0, tags.passed().0) => continue 'sets,
                _ => {}
            }
        }
        return (Claimed::Busy, 0, tried);
    }
    (Claimed::Full, 0, PROBES)
}

/// Takes back that a flow has passed the first `tried` sets.
#[inline(always)]
pub fn unpass<'a, W: Swap>(maps: impl FlowMaps<'a>, probes: impl Fn() -> Probes, tried: u32) {
    for n in 0..PROBES {
        if n >= tried {
            return;
        }
        let Some(word) = maps.tags(probes().set(n)) else { return };
        for _ in 0..ATTEMPTS {
            if try_change::<W>(word, FlowTags::unpassed) {
                break;
            }
        }
    }
}

/// Changes the tags of a set, unless others have just done so. Says whether it did.
#[inline(always)]
pub fn try_change<W: Swap>(word: &Cell<u64>, to: impl Fn(FlowTags) -> FlowTags) -> bool {
    let tags = FlowTags(word.get());
    W::swap(word, tags.0, to(tags).0)
}

const _: () = assert!(size_of::<FlowEntry>() == if cfg!(feature = "trial-layout") { 72 } else { 64 });
const _: () = assert!(size_of::<EntryCell>() == size_of::<FlowEntry>());
