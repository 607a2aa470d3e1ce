//! Counters.

/// Flow counts of one backend, on a cache line of their own. Written by the program with atomic adds.
///
/// Live connections are `opened - closed - removed`, where `removed` is the agent's own [`Removed`] entry:
/// each field has one writer, so none of the three can be lost in a race.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendCounts {
    /// Flows promoted to the flow table.
    pub opened: u64,
    /// Flows that the program saw closed.
    pub closed: u64,
    /// SYNs steered here and remembered. Those without state are not among them: nothing would tell of their answer.
    pub syns: u64,
    /// SYNs that the backend answered with a RST.
    pub refused: u64,
    /// SYNs that the backend answered with a SYN-ACK.
    pub answered: u64,
    /// When (nanoseconds of `CLOCK_MONOTONIC`) the connections admitted so far are paid for, see [`super::Pace`]. Of
    /// backends at one address, one has it for all.
    pub due: u64,
    /// Keeps the entry on one cache line.
    pub reserved: [u64; 2],
}

impl BackendCounts {
    /// Live connections, given what the agent removed.
    #[must_use]
    pub const fn live(&self, removed: Removed) -> u64 {
        let live = (self.opened.wrapping_sub(self.closed) as i64).wrapping_sub(removed.0);
        if live < 0 { 0 } else { live as u64 }
    }
}

/// Flows of one backend that the agent took out of the live count: idle ones it removed, and corrections.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed(pub i64);

/// Use of one flow table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableUse {
    /// Entries inserted by the program.
    pub inserted: u64,
    /// Until when (data path clock) packets of unknown flows are adopted, because flows were steered without state.
    pub adopt_until: u64,
    /// Until when (data path clock) a packet of an unknown flow may carry a cookie, because SYNs were answered with some.
    pub cookies_until: u64,
}

/// Packets and bytes of one backend on one CPU. Bytes are those of the frame as received.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// How often something happens on one CPU, by units of the data path's clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// The clock unit that `count` is of.
    pub window: u32,
    /// How often in `window`.
    pub count: u32,
    /// 1 while it is over its limit.
    pub over: u32,
}

impl Rate {
    /// Counts one at `now`, of which `limit` a clock unit are none too many; whether it was one too many.
    #[inline(always)]
    #[must_use]
    pub const fn exceeds(&mut self, now: u32, limit: u32) -> bool {
        if self.window != now {
            self.window = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count > limit
    }

    /// Counts one at `now`; whether they come faster than `limit` per clock unit, 0 being no limit. It takes a unit with
    /// less than half of the limit to end that.
    #[inline(always)]
    #[must_use]
    pub const fn floods(&mut self, now: u32, limit: u32) -> bool {
        if limit == 0 {
            return false;
        }
        if self.window != now {
            // A unit without any lies between: nothing is flooding.
            let idle = now.wrapping_sub(self.window) > 1;
            self.over = (self.over != 0 && !idle && self.count >= limit / 2) as u32;
        }
        if self.exceeds(now, limit) {
            self.over = 1;
        }
        self.over != 0
    }
}

/// What a CPU keeps for itself between packets. Written by the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuState {
    /// Next ring position of a round-robin service.
    pub cursor: u64,
    /// New flows that were steered; over its limit they leave no state.
    pub flows: Rate,
    /// SYNs of services that are shielded; over its limit they are answered with cookies.
    pub syns: Rate,
    /// RSTs for packets of unknown flows.
    pub resets: Rate,
    /// 1 when a backend was passed over for the SYN at hand because it had no budget left. Here and not in a variable,
    /// whose values the verifier would follow through every candidate.
    pub spent: u32,
}

const _: () = assert!(size_of::<CpuState>() == 48);
const _: () = assert!(size_of::<BackendCounts>() == 64);
const _: () = assert!(size_of::<Traffic>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_begins_above_the_limit_and_ends_below_half_of_it() {
        let mut rate = Rate::default();
        let mut unit = |now, times: u32| (0..times).fold(false, |_, _| rate.floods(now, 100));
        assert!(!unit(1, 100));
        assert!(unit(2, 101));
        assert!(unit(3, 60), "still above half in the unit before");
        assert!(unit(4, 10), "the unit before had 60");
        assert!(!unit(5, 10), "the unit before had 10");
        assert!(unit(6, 101));
        assert!(!unit(9, 1), "an idle unit ends it");
        let mut off = Rate::default();
        assert!(!(0..1000).any(|_| off.floods(1, 0)), "0 is never");
    }

    #[test]
    fn what_exceeds_a_limit_is_counted_by_unit() {
        let mut rate = Rate::default();
        let over = |rate: &mut Rate, now| (0..5).filter(|_| rate.exceeds(now, 3)).count();
        assert_eq!(over(&mut rate, 7), 2);
        assert_eq!(over(&mut rate, 8), 2, "a unit forgets the one before");
    }
}
