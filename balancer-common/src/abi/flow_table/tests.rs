use std::vec::Vec;

use super::*;
use crate::abi::{BackendId, FlowState, ServiceId};

const KEY: u64 = 0x1234_5678_9abc_def1;

/// A table that one thread uses.
struct Table {
    words: Vec<Cell<u64>>,
    entries: Vec<EntryCell>,
}

struct Plain;

impl Swap for Plain {
    fn swap(word: &Cell<u64>, from: u64, to: u64) -> bool {
        let is_from = word.get() == from;
        if is_from {
            word.set(to);
        }
        is_from
    }
}

impl<'a> FlowMaps<'a> for &'a Table {
    fn tags(self, number: u32) -> Option<&'a Cell<u64>> {
        self.words.get(number as usize)
    }

    fn entry(self, number: u32) -> Option<&'a EntryCell> {
        self.entries.get(number as usize)
    }
}

impl Table {
    fn of(flows: u32) -> Self {
        let empty =
            || EntryCell { client: Default::default(), rest: Cell::new(0), flow: Flow::default().into() };
        Self {
            words: (0..sets(flows)).map(|_| Cell::new(0)).collect(),
            entries: (0..entries(flows)).map(|_| empty()).collect(),
        }
    }

    fn probes(&self, key: &FlowKey6) -> Probes {
        Probes::of(key.hash_by(KEY), self.words.len() as u32)
    }

    fn find(&self, key: &FlowKey6) -> Option<u32> {
        let probes = self.probes(key);
        let found = find(self, &key.owner(), &probes);
        let is_preferred = self.entries[probes.preferred() as usize].holds(&key.owner());
        assert_eq!(is_preferred, found == Some(probes.preferred()), "both ways find the same");
        found
    }

    fn claim(&self, key: &FlowKey6) -> (Claimed, u32) {
        let (owner, probes) = (key.owner(), self.probes(key));
        let rival = |set, tags| rival(self, &owner, probes.tag(), set, tags);
        let (claimed, entry, tried) = claim::<Plain>(self, || probes, rival);
        if claimed != Claimed::Entry {
            unpass::<Plain>(self, || probes, tried);
        }
        (claimed, entry)
    }

    fn enter(&self, key: &FlowKey6) -> Claimed {
        let (claimed, entry) = self.claim(key);
        if claimed == Claimed::Entry {
            let entry = &self.entries[entry as usize];
            entry.fill(&key.owner(), &Flow::default());
            entry.flow.state_word().set(FlowState::open(BackendId(3), 7).0);
        }
        claimed
    }

    fn remove(&self, key: &FlowKey6) {
        let probes = self.probes(key);
        let number = self.find(key).expect("it is there");
        let tried = (0..PROBES).find(|tried| probes.set(*tried) == number / WAYS).expect("it is one of them");
        self.entries[number as usize].flow.state_word().set(0);
        let freed = |tags: FlowTags| tags.freed(number % WAYS);
        assert!(try_change::<Plain>(&self.words[(number / WAYS) as usize], freed));
        unpass::<Plain>(self, || probes, tried);
    }
}

fn key(number: u32) -> FlowKey6 {
    let mut client = [0x20; 16];
    client[8..12].copy_from_slice(&number.to_be_bytes());
    FlowKey6 { client, port: [4, 1], service: ServiceId(9), reserved: 0 }
}

#[test]
fn a_key_is_all_in_its_owner() {
    let four = FlowKey4 { client: [192, 0, 2, 7], port: [1, 2], service: ServiceId(0x1234) };
    assert_eq!(FlowKey4::of_owner(&four.owner()), four);
    assert_eq!(FlowKey6::of_owner(&key(77).owner()), key(77));
}

#[test]
fn a_full_table_holds_what_it_is_to_hold_and_finds_it() {
    let flows = 20_000;
    let table = Table::of(flows);
    for number in 0..flows {
        assert_eq!(table.find(&key(number)), None);
        assert_eq!(table.enter(&key(number)), Claimed::Entry, "flow {number}");
    }
    assert!((0..flows).all(|number| table.find(&key(number)).is_some()));
    let preferred = |number: &u32| table.find(&key(*number)) == Some(table.probes(&key(*number)).preferred());
    let share = (0..flows).filter(preferred).count() as f64 / f64::from(flows);
    // The figure of docs/performance.md.
    assert!((0.62..0.66).contains(&share), "{share} are where they would like to be");
}

#[test]
fn nothing_is_left_of_flows_that_are_removed() {
    let flows = 5_000;
    let table = Table::of(flows);
    (0..flows).for_each(|number| assert_eq!(table.enter(&key(number)), Claimed::Entry));
    (0..flows).filter(|number| number % 3 != 0).for_each(|number| table.remove(&key(number)));
    for number in 0..flows {
        assert_eq!(table.find(&key(number)).is_some(), number % 3 == 0, "flow {number}");
    }
    (0..flows).filter(|number| number % 3 == 0).for_each(|number| table.remove(&key(number)));
    assert!(table.words.iter().all(|word| word.get() == 0), "entries or counts are left");
}

#[test]
fn a_flow_that_finds_no_entry_leaves_no_trace() {
    let table = Table::of(5);
    (0..WAYS).for_each(|number| assert_eq!(table.enter(&key(number)), Claimed::Entry));
    let before: Vec<u64> = table.words.iter().map(Cell::get).collect();
    assert_eq!(table.enter(&key(WAYS)), Claimed::Full);
    assert_eq!(table.words.iter().map(Cell::get).collect::<Vec<_>>(), before);
}

#[test]
fn a_flow_is_entered_once() {
    let table = Table::of(5);
    let (claimed, entry) = table.claim(&key(1));
    assert_eq!(claimed, Claimed::Entry);
    assert_eq!(table.enter(&key(1)), Claimed::Busy, "the first is about to");
    table.entries[entry as usize].fill(&key(1).owner(), &Flow::default());
    table.entries[entry as usize].flow.state_word().set(FlowState::open(BackendId(3), 7).0);
    assert_eq!(table.enter(&key(1)), Claimed::Known);
    assert_eq!(table.enter(&key(2)), Claimed::Entry);
}

#[test]
fn tags_are_told_from_each_other() {
    for way in 0..WAYS {
        for tag in 1..=255 {
            let tags = FlowTags(0x00ff_0180_7f02_0103).freed(way).taken(way, tag);
            assert_eq!(tags.tag(way), tag);
            for other in 0..=255 {
                let mut matches = tags.matching(other);
                for expected in (0..WAYS).filter(|way| tags.tag(*way) == other) {
                    assert_eq!(matches.first(), Some(expected), "{other:#x} in {tags:x?}");
                    matches = matches.behind();
                }
                assert_eq!(matches.first(), None, "{other:#x} in {tags:x?}");
            }
        }
    }
}

#[test]
fn a_count_that_has_run_full_stays() {
    let mut tags = FlowTags(0x11);
    for _ in 0..300 {
        tags = tags.passed();
    }
    assert_eq!(tags.unpassed(), tags);
    assert!(tags.is_passed() && tags.tag(0) == 0x11);
    assert_eq!(FlowTags(0x11).passed().unpassed(), FlowTags(0x11));
    assert_eq!(FlowTags(0x11).unpassed(), FlowTags(0x11));
    assert!(
        FlowTags::default().passed().is_free() && !FlowTags(0x11).is_free() && !FlowTags(1 << 55).is_free()
    );
}

#[test]
fn the_preferred_entry_is_taken_before_others() {
    assert_eq!(FlowTags(0).vacant(5), Some(5));
    assert_eq!(FlowTags(0).taken(5, 9).vacant(5), Some(0));
    assert_eq!(FlowTags(0x00ff_ffff_ffff_ffff).vacant(5), None);
}

#[test]
fn sizes_are_as_many_as_are_asked_for() {
    for flows in [1, 5, 6, 1000, 1 << 20, 10_000_000] {
        assert!(capacity(sets(flows)) >= flows && capacity(sets(flows)) < flows + FLOWS);
        assert_eq!(entries(flows), sets(flows) * WAYS);
    }
}
