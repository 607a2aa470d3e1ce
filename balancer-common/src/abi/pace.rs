//! Budgets of new connections.

use super::{BackendId, Removed};

/// How fast a bucket fills again and how deep it is: the generic cell rate algorithm (ITU-T I.371, annex A).
///
/// The state of a bucket is one word, its due: the time at which everything admitted so far is paid for. A connection
/// is admitted while the due is no more than `tolerance` ahead of the clock, and moves it by `charge`. All three are
/// nanoseconds, the due of `CLOCK_MONOTONIC`; the program reads its coarse form, which is a scheduler tick old at most.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// What one connection moves the due by; 0 is no limit.
    pub charge: u64,
    /// How far the due may be ahead of the clock when a connection is admitted.
    pub tolerance: u64,
}

impl Pace {
    /// Largest charge and tolerance, two years: no sum of a time and some of them wraps.
    pub const MAX: u64 = 1 << 56;

    /// No limit.
    pub const FREE: Self = Self { charge: 0, tolerance: 0 };

    /// Whether there is a limit at all.
    #[inline(always)]
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.charge == 0
    }

    /// A pace of values that are brought into their range.
    #[must_use]
    pub const fn new(charge: u64, tolerance: u64) -> Self {
        const fn bounded(nanos: u64) -> u64 {
            if nanos > Pace::MAX { Pace::MAX } else { nanos }
        }
        Self { charge: bounded(charge), tolerance: bounded(tolerance) }
    }

    /// Whether a connection is admitted at `now` by a bucket with this due.
    #[inline(always)]
    #[must_use]
    pub const fn admits(&self, due: u64, now: u64) -> bool {
        self.is_free() || self.debt(due, now) <= self.tolerance
    }

    /// The due after a connection was admitted at `now`.
    #[inline(always)]
    #[must_use]
    pub const fn charged(&self, due: u64, now: u64) -> u64 {
        now.wrapping_add(self.debt(due, now)).wrapping_add(self.charge)
    }

    /// How far the due is ahead of the clock. None at all where it is so far ahead that it was moved there at a much
    /// slower pace, before that was changed. The factor leaves room for others that share the bucket and are charged
    /// ten times as much while they ramp up.
    #[inline(always)]
    const fn debt(&self, due: u64, now: u64) -> u64 {
        if due <= now {
            return 0;
        }
        let debt = due - now;
        if debt > (self.tolerance.wrapping_add(self.charge)) << 2 { 0 } else { debt }
    }
}

/// The budget of one backend. Written by the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendPace {
    /// The pace; a connection is charged what a handshake of the backend's service costs.
    pub pace: Pace,
    /// Whose [`super::BackendCounts::due`] is the bucket: backends at the same address share one.
    pub bucket: BackendId,
    /// Keeps the size a multiple of eight.
    pub reserved: [u8; 6],
}

/// The budget and cap of one service. Written by the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServicePace {
    /// The pace.
    pub pace: Pace,
    /// Live connections that the program counts and that are none, as found by the agent from the backends' counts.
    pub removed: Removed,
    /// Most live connections; 0 is no limit.
    pub cap: u32,
    /// 1 when a SYN that finds no budget is answered with a RST, and not discarded.
    pub refuse: u32,
}

/// What a service has for one more connection.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Budget and room.
    Open = 0,
    /// It has as many live connections as it may have.
    Full = 1,
    /// Its budget is used up for the moment.
    Spent = 2,
}

impl ServicePace {
    /// Whether there is neither a budget nor a cap.
    #[inline(always)]
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.cap == 0 && self.pace.is_free()
    }

    /// Whether a connection may be admitted at `now`.
    #[inline(always)]
    #[must_use]
    pub const fn room(&self, counts: &ServiceCounts, now: u64) -> Room {
        if self.cap != 0 && counts.live(self.removed) >= self.cap as u64 {
            return Room::Full;
        }
        if self.pace.admits(counts.due, now) { Room::Open } else { Room::Spent }
    }
}

/// Counts of one service, on a cache line of their own. Written by the program with atomic operations.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceCounts {
    /// When (nanoseconds of `CLOCK_MONOTONIC`) the connections admitted so far are paid for, see [`Pace`].
    pub due: u64,
    /// Flows promoted to the flow table.
    pub opened: u64,
    /// Flows that the program saw closed.
    pub closed: u64,
    /// Keeps the entry on one cache line.
    pub reserved: [u64; 5],
}

impl ServiceCounts {
    /// Live connections, given what the agent found to be none.
    #[inline(always)]
    #[must_use]
    pub const fn live(&self, removed: Removed) -> u64 {
        let live = (self.opened.wrapping_sub(self.closed) as i64).wrapping_sub(removed.0);
        if live < 0 { 0 } else { live as u64 }
    }
}

const _: () = assert!(size_of::<BackendPace>() == 24);
const _: () = assert!(size_of::<ServicePace>() == 32);
const _: () = assert!(size_of::<ServiceCounts>() == 64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Ten a second, ten at once.
    const PACE: Pace = Pace { charge: SECOND / 10, tolerance: 9 * SECOND / 10 };

    fn admitted(pace: Pace, due: &mut u64, now: u64, arrivals: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..arrivals {
            if pace.admits(*due, now) {
                *due = pace.charged(*due, now);
                admitted += 1;
            }
        }
        admitted
    }

    #[test]
    fn a_burst_is_admitted_and_then_what_time_brings() {
        let (mut due, start) = (0, 1000 * SECOND);
        assert_eq!(admitted(PACE, &mut due, start, 100), 10);
        assert_eq!(admitted(PACE, &mut due, start + SECOND / 10 - 1, 100), 0);
        assert_eq!(admitted(PACE, &mut due, start + SECOND / 10, 100), 1);
        assert_eq!(admitted(PACE, &mut due, start + SECOND, 100), 9);
        assert_eq!(
            admitted(PACE, &mut due, start + 3600 * SECOND, 100),
            10,
            "an idle hour saves up one burst"
        );
    }

    #[test]
    fn no_charge_is_no_limit() {
        let mut due = 0;
        assert_eq!(admitted(Pace::FREE, &mut due, SECOND, 1000), 1000);
    }

    #[test]
    fn a_debt_from_a_much_slower_pace_is_forgotten() {
        let slow = Pace { charge: 60 * SECOND, tolerance: 540 * SECOND };
        let (mut due, start) = (0, 1000 * SECOND);
        assert_eq!(admitted(slow, &mut due, start, 100), 10);
        assert_eq!(admitted(PACE, &mut due, start, 100), 10, "the pace of now is what counts");
    }

    #[test]
    fn a_dear_connection_owes_more_and_is_not_starved() {
        let dear = Pace { charge: 15 * PACE.charge, ..PACE };
        let (mut due, start) = (0, 1000 * SECOND);
        assert_eq!(admitted(dear, &mut due, start, 100), 1);
        assert_eq!(admitted(PACE, &mut due, start, 100), 0);
        assert_eq!(admitted(PACE, &mut due, start + 6 * SECOND / 10, 100), 1);
    }

    #[test]
    fn a_cap_counts_what_the_agent_has_removed() {
        let pace = ServicePace { cap: 2, ..ServicePace::default() };
        let counts = ServiceCounts { opened: 5, closed: 3, ..ServiceCounts::default() };
        assert_eq!(pace.room(&counts, 0), Room::Full);
        assert_eq!(ServicePace { removed: Removed(1), ..pace }.room(&counts, 0), Room::Open);
        let spent = ServicePace { pace: PACE, cap: 3, ..pace };
        let counts = ServiceCounts { due: 2 * SECOND, ..counts };
        assert_eq!(spent.room(&counts, SECOND), Room::Spent);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            gaps in prop::collection::vec(0..SECOND, 1..200),
            charge in 1..10 * SECOND,
            tolerance in 0..10 * SECOND,
        ) {
            let pace = Pace { charge, tolerance };
            let (start, mut now, mut due, mut passed) = (SECOND, SECOND, 0, 0_u64);
            for gap in gaps {
                now += gap;
                passed += u64::from(admitted(pace, &mut due, now, 1));
                prop_assert!(passed <= (now - start + tolerance) / charge + 1);
            }
        }

        #[test]
        fn a_due_is_never_lost_in_the_future(
            charge in 1..u64::MAX,
            tolerance in any::<u64>(),
            due in any::<u64>(),
            now in 0..u64::MAX >> 2,
        ) {
            let pace = Pace::new(charge, tolerance);
            let next = pace.charged(due, now);
            prop_assert!(next > now && next - now <= 5 * (pace.charge + pace.tolerance));
        }
    }
}
