//! Where half-open connections are kept: sets of eight ways, as in the cache of a CPU.
//!
//! A connection's hash says which set it belongs to, and its tag, which is a part of the hash and the time of its last
//! packet, in which way of the set it is. So whether it is known costs one line of memory, and one that is new displaces the
//! oldest of eight and nothing else. What is in the way itself is read only where the tag is that of the connection.

use super::{FlowKey4, FlowKey6, HALF_OPEN, HalfOpen, ServiceId};
use crate::steer::hash;

/// Ways of a set.
pub const WAYS: usize = 8;

/// Sets of an address family. A power of two.
pub const SETS: u32 = HALF_OPEN / WAYS as u32;

/// The tags of a set, one for each way; 0 where there is no connection.
///
/// ```text
/// bit 63        62 ... 24           23 ... 0
///     1         of the hash         time of the last packet, in 2^20 ns (1.05 ms)
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfOpenTags(pub [u64; WAYS]);

/// One way: a connection and its key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfOpenEntry<K> {
    /// Whose it is, as long as the tag says so.
    pub key: K,
    /// The connection.
    pub half: HalfOpen,
}

/// Bits of a tag that are its time.
const TIME_BITS: u32 = 24;
const TIME: u64 = (1 << TIME_BITS) - 1;

/// One unit of a tag's time is 2^20 ns of `CLOCK_MONOTONIC`. It comes round after 4.9 hours: a connection of which nothing
/// was heard for so long may then stay for a newer one.
const TIME_SHIFT: u32 = 20;

/// How much older, in units of its time, a tag may be than the last packet: 67 ms, so that not every packet writes, and none
/// that comes often is displaced by a flood.
const STALE: u32 = 1 << 6;

/// Marks a way that is taken.
const TAKEN: u64 = 1 << 63;

/// Where a connection belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its set, below [`SETS`].
    pub set: u32,
    /// Its tag without the time.
    pub mark: u64,
}

impl Place {
    /// The place of a connection by the words of its key.
    #[inline(always)]
    #[must_use]
    pub const fn of(words: [u64; 3], key: u64) -> Self {
        let hash = hash::flow(words, key);
        Self { set: hash as u32 & (SETS - 1), mark: hash & !TIME | TAKEN }
    }

    /// Index of a way in the map of the entries.
    #[inline(always)]
    #[must_use]
    pub const fn entry(&self, way: u32) -> u32 {
        self.set * WAYS as u32 + way
    }
}

/// The tag of `mark` at `nanos`.
#[inline(always)]
#[must_use]
pub const fn tag(mark: u64, nanos: u64) -> u64 {
    mark | ((nanos >> TIME_SHIFT) & TIME)
}

/// How long ago, in units of a tag's time, the last packet of `tag` came.
#[inline(always)]
const fn age(tag: u64, nanos: u64) -> u32 {
    ((nanos >> TIME_SHIFT).wrapping_sub(tag) & TIME) as u32
}

/// Whether the time of `tag` has to be written anew at `nanos`.
#[inline(always)]
#[must_use]
pub const fn is_stale(tag: u64, nanos: u64) -> bool {
    age(tag, nanos) >= STALE
}

/// The way of `mark` in a set.
///
/// Nothing here branches from tag to tag: the verifier would follow every way that is found for itself, and the CPU would
/// guess wrong.
#[inline(always)]
pub fn find(mark: u64, tags: impl Fn(usize) -> u64) -> Option<usize> {
    let mut found = 0;
    for way in 0..WAYS {
        found |= is_of(mark, tags(way)) << way;
    }
    if found == 0 { None } else { Some(lowest(found)) }
}

/// The number of the lowest bit that is set among eight, of which one must be.
#[inline(always)]
const fn lowest(bits: u64) -> usize {
    /// Every number of three bits is somewhere in its eight, by which a shifted copy tells how far it was shifted.
    const DE_BRUIJN: u64 = 0b0001_1101;
    /// By those three bits, four bits each: by how much it was shifted.
    const SHIFTS: u64 = 0x3457_2610;
    let index = (((bits & bits.wrapping_neg()) * DE_BRUIJN) >> 5) & 7;
    ((SHIFTS >> (4 * index)) & 7) as usize
}

/// How well a way suits `mark` at `nanos`, and which way it is: one that it has is better than one that is free, that better
/// than one that is taken, and of those the oldest is the best.
#[inline(always)]
#[must_use]
pub const fn rank(mark: u64, nanos: u64, tag: u64, way: usize) -> u64 {
    let kind = (is_of(mark, tag) << 1) | (!tag >> 63);
    ((kind << TIME_BITS) | age(tag, nanos) as u64) * WAYS as u64 + way as u64
}

/// The way of a rank.
#[inline(always)]
#[must_use]
pub const fn way_of(rank: u64) -> usize {
    rank as usize % WAYS
}

/// The best [`rank`] for `mark` in a set.
#[inline(always)]
pub fn choose(mark: u64, nanos: u64, tags: impl Fn(usize) -> u64) -> u64 {
    let mut best = 0;
    for way in 0..WAYS {
        best = larger(best, rank(mark, nanos, tags(way), way));
    }
    best
}

/// 1 if `tag` is that of `mark`, 0 otherwise.
#[inline(always)]
#[must_use]
pub const fn is_of(mark: u64, tag: u64) -> u64 {
    ((tag ^ mark) >> TIME_BITS).wrapping_sub(1) >> 63
}

/// The larger of two numbers below 2^63.
#[inline(always)]
const fn larger(a: u64, b: u64) -> u64 {
    let a_is_less = (a.wrapping_sub(b) >> 63).wrapping_neg();
    a ^ ((a ^ b) & a_is_less)
}

impl FlowKey4 {
    /// What of a flow is hashed to find its place.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 3] {
        let [a, b, c, d] = self.client;
        let [e, f] = self.port;
        let [g, h] = self.service.0.to_le_bytes();
        [u64::from_le_bytes([a, b, c, d, e, f, g, h]), 0, 0]
    }

    /// The key that is made of these words.
    #[inline(always)]
    #[must_use]
    pub const fn from_words([word, _, _]: [u64; 3]) -> Self {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        Self { client: [a, b, c, d], port: [e, f], service: ServiceId(u16::from_le_bytes([g, h])) }
    }
}

impl FlowKey6 {
    /// What of a flow is hashed to find its place.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 3] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.client;
        let [q, r] = self.port;
        let [s, t] = self.service.0.to_le_bytes();
        [
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes([i, j, k, l, m, n, o, p]),
            u64::from_le_bytes([q, r, s, t, 0, 0, 0, 0]),
        ]
    }

    /// The key that is made of these words.
    #[inline(always)]
    #[must_use]
    pub const fn from_words([first, second, third]: [u64; 3]) -> Self {
        let [a, b, c, d, e, f, g, h] = first.to_le_bytes();
        let [i, j, k, l, m, n, o, p] = second.to_le_bytes();
        let [q, r, s, t, ..] = third.to_le_bytes();
        Self {
            client: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p],
            port: [q, r],
            service: ServiceId(u16::from_le_bytes([s, t])),
            reserved: 0,
        }
    }
}

const _: () = assert!(SETS.is_power_of_two() && SETS as u64 <= TIME, "the set is not of the mark");
const _: () = assert!(size_of::<HalfOpenEntry<FlowKey4>>() == 64, "one line of memory");
const _: () = assert!(size_of::<HalfOpenEntry<FlowKey6>>() == 80);

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = 1 << TIME_SHIFT;

    fn mark(number: u64) -> u64 {
        TAKEN | number << TIME_BITS
    }

    /// Puts connections into a set as the program does, a unit of time after each other.
    fn filled(numbers: core::ops::Range<u64>) -> HalfOpenTags {
        let mut set = HalfOpenTags::default();
        for number in numbers {
            let way = way_of(choose(mark(number), number * UNIT, |way| set.0[way]));
            set.0[way] = tag(mark(number), number * UNIT);
        }
        set
    }

    fn is_in(set: &HalfOpenTags, number: u64) -> bool {
        find(mark(number), |way| set.0[way]).is_some()
    }

    #[test]
    fn eight_are_kept_and_a_ninth_takes_the_place_of_the_oldest() {
        let eight = filled(1..9);
        assert!((1..9).all(|number| is_in(&eight, number)), "{eight:x?}");
        let nine = filled(1..10);
        assert!(!is_in(&nine, 1) && (2..10).all(|number| is_in(&nine, number)), "{nine:x?}");
    }

    #[test]
    fn the_lowest_bit_is_found() {
        for bits in 1..=255_u64 {
            assert_eq!(lowest(bits), bits.trailing_zeros() as usize, "{bits:b}");
        }
    }

    #[test]
    fn a_free_way_is_taken_before_any_other() {
        let mut set = filled(1..9);
        set.0[3] = 0;
        assert_eq!(way_of(choose(mark(9), 1 << 40, |way| set.0[way])), 3);
    }

    #[test]
    fn what_is_there_already_keeps_its_way() {
        let set = filled(1..7);
        let way = find(mark(3), |way| set.0[way]).expect("it is there");
        assert_eq!(way_of(choose(mark(3), 7 * UNIT, |way| set.0[way])), way);
    }

    #[test]
    fn the_oldest_is_the_oldest_when_the_time_has_come_round() {
        let mut set = filled(1..9);
        let around = (1 << TIME_BITS) * UNIT;
        for (way, tag_of) in set.0.iter_mut().enumerate() {
            // The first half before it came round, the second half after.
            *tag_of = tag(mark(way as u64), around - 4 * UNIT + way as u64 * UNIT);
        }
        assert_eq!(way_of(choose(mark(100), around + 5 * UNIT, |way| set.0[way])), 0);
    }

    #[test]
    fn a_key_is_all_in_its_words() {
        let service = ServiceId(0x1234);
        let four = FlowKey4 { client: [192, 0, 2, 7], port: [1, 2], service };
        assert_eq!(FlowKey4::from_words(four.words()), four);
        let client = core::array::from_fn(|at| at as u8 + 1);
        let six = FlowKey6 { client, port: [1, 2], service, reserved: 0 };
        assert_eq!(FlowKey6::from_words(six.words()), six);
    }

    #[test]
    fn a_tag_is_written_anew_after_a_while() {
        let tag = tag(mark(1), 5 * UNIT);
        assert!(!is_stale(tag, 5 * UNIT) && !is_stale(tag, 68 * UNIT));
        assert!(is_stale(tag, (5 + 64) * UNIT));
    }

    /// How many of `flows` connections that begin at the same time lose their place before they are through.
    fn displaced(flows: u64) -> usize {
        let mut sets = std::vec![HalfOpenTags::default(); SETS as usize];
        let places: std::vec::Vec<_> = (0..flows).map(|word| Place::of([word, 0, 0], 7)).collect();
        for (place, nanos) in places.iter().zip((0..).step_by(5_000)) {
            let set = &mut sets[place.set as usize];
            let way = way_of(choose(place.mark, nanos, |way| set.0[way]));
            set.0[way] = tag(place.mark, nanos);
        }
        let is_gone = |place: &&Place| find(place.mark, |way| sets[place.set as usize].0[way]).is_none();
        places.iter().filter(is_gone).count()
    }

    /// The figures of ARCHITECTURE.md.
    #[test]
    fn many_can_begin_at_the_same_time() {
        assert!(displaced(10_000) <= 1, "{} of 10,000", displaced(10_000));
        assert!((2..20).contains(&displaced(20_000)), "{} of 20,000", displaced(20_000));
    }

    #[test]
    fn the_set_and_the_mark_come_from_different_bits() {
        let all: std::collections::HashSet<_> =
            (0..10_000_u64).map(|word| Place::of([word, 0, 0], 7).mark).collect();
        assert_eq!(all.len(), 10_000);
        let mut load = std::vec![0_u32; SETS as usize];
        for word in 0..u64::from(SETS) {
            load[Place::of([word, 0, 0], 7).set as usize] += 1;
        }
        let most = load.iter().max().expect("there are sets");
        assert!(*most <= 10, "{most} of {SETS} connections in one set");
    }
}
