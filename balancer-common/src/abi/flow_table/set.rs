//! The tags of sets, and which sets are tried for a flow.

use super::WAYS;

/// The tags of a set's entries, and how many flows have passed it.
///
/// ```text
/// bit 63 ... 56            55 ... 48   ...   7 ... 0
///     flows that passed    tag 6       ...   tag 0
/// ```
///
/// The tag of an entry is a part of the hash of its flow, and 0 where the entry is free. The count stays at 255 once it is
/// there.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowTags(pub u64);

impl FlowTags {
    const PASSED_SHIFT: u32 = 56;
    const PASSED: u64 = 1 << Self::PASSED_SHIFT;
    const MOST_PASSED: u64 = 0xff << Self::PASSED_SHIFT;
    /// The lowest bit of each tag.
    const ONES: u64 = 0x0001_0101_0101_0101;
    /// All bits but the highest of each tag.
    const LOWER: u64 = Self::ONES * 0x7f;
    /// The highest bit of each tag.
    const TOPS: u64 = Self::ONES << 7;

    /// Whether a flow has passed it by.
    #[inline(always)]
    #[must_use]
    pub const fn is_passed(self) -> bool {
        self.0 >= Self::PASSED
    }

    /// With one flow more that has passed.
    #[inline(always)]
    #[must_use]
    pub const fn passed(self) -> Self {
        if self.0 >= Self::MOST_PASSED { self } else { Self(self.0 + Self::PASSED) }
    }

    /// With one flow less that has passed.
    #[inline(always)]
    #[must_use]
    pub const fn unpassed(self) -> Self {
        if self.0 >= Self::MOST_PASSED || !self.is_passed() { self } else { Self(self.0 - Self::PASSED) }
    }

    /// Whether all of its entries are free.
    #[must_use]
    pub const fn is_free(self) -> bool {
        self.0 & !Self::MOST_PASSED == 0
    }

    /// The entries that have this tag.
    #[inline(always)]
    #[must_use]
    pub const fn matching(self, tag: u64) -> Matches {
        let differing = self.0 ^ (Self::ONES * tag);
        // The highest bit of each byte is set where any bit is.
        let any = ((differing & Self::LOWER) + Self::LOWER) | differing;
        Matches(!any & Self::TOPS)
    }

    /// An entry that is free: this one, or else the first.
    #[inline(always)]
    #[must_use]
    pub const fn vacant(self, preferred: u32) -> Option<u32> {
        if self.tag(preferred) == 0 { Some(preferred) } else { self.matching(0).first() }
    }

    /// The tag of an entry.
    #[inline(always)]
    #[must_use]
    pub const fn tag(self, way: u32) -> u64 {
        self.0 >> (8 * way) & 0xff
    }

    /// With this tag for an entry that is free.
    #[inline(always)]
    #[must_use]
    pub const fn taken(self, way: u32, tag: u64) -> Self {
        Self(self.0 | tag << (8 * way))
    }

    /// With an entry that is free.
    #[must_use]
    pub const fn freed(self, way: u32) -> Self {
        Self(self.0 & !(0xff << (8 * way)))
    }
}

/// Entries of a set, a bit for each: the highest of its byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matches(u64);

impl Matches {
    /// The first of them.
    #[inline(always)]
    #[must_use]
    pub const fn first(self) -> Option<u32> {
        /// Byte `7 - n` is `n`: shifted up by `n` bytes, its highest byte is `n`.
        const NUMBERS: u64 = 0x0001_0203_0405_0607;
        if self.0 == 0 {
            return None;
        }
        let lowest = (self.0 & self.0.wrapping_neg()) >> 7;
        Some((lowest.wrapping_mul(NUMBERS) >> 56) as u32)
    }

    /// Those behind the first.
    #[inline(always)]
    #[must_use]
    pub const fn behind(self) -> Self {
        Self(self.0 & self.0.wrapping_sub(1))
    }
}

/// The sets that are tried for a flow, in order, and its tag.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    first: u32,
    step: u32,
    sets: u32,
    /// The way that it prefers in a set, and its tag below that.
    way_tag: u32,
}

impl Probes {
    /// Those of a flow with this hash, in a table of so many sets.
    #[inline(always)]
    #[must_use]
    pub const fn of(hash: u64, sets: u32) -> Self {
        let step = (hash >> 32) as u32;
        let (tag, part) = (step >> 24, step & 0xffff);
        let tag = if tag == 0 { 1 } else { tag };
        Self { first: hash as u32, step: step | 1, sets, way_tag: ((part * WAYS) >> 16) << 8 | tag }
    }

    /// The set that is tried after `tried` others.
    #[inline(always)]
    #[must_use]
    pub const fn set(&self, tried: u32) -> u32 {
        let at = self.first.wrapping_add(tried.wrapping_mul(self.step));
        ((at as u64 * self.sets as u64) >> 32) as u32
    }

    /// The tag of the flow; never 0.
    #[inline(always)]
    #[must_use]
    pub const fn tag(&self) -> u64 {
        (self.way_tag & 0xff) as u64
    }

    /// The way that the flow takes where it is free.
    #[inline(always)]
    #[must_use]
    pub const fn way(&self) -> u32 {
        self.way_tag >> 8
    }

    /// The entry that the flow takes if it is free: where most are.
    #[inline(always)]
    #[must_use]
    pub const fn preferred(&self) -> u32 {
        self.set(0) * WAYS + self.way()
    }
}
