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
    /// SYNs steered here.
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

/// What a CPU keeps for itself between packets. Written by the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuState {
    /// Next ring position of a round-robin service.
    pub cursor: u64,
    /// The clock unit that `syns` counts.
    pub window: u32,
    /// New flows steered in `window`.
    pub syns: u32,
    /// 1 while new flows leave no state.
    pub flooded: u32,
    /// 1 when a backend was passed over for the SYN at hand because it had no budget left. Here and not in a variable,
    /// whose values the verifier would follow through every candidate.
    pub spent: u32,
}

const _: () = assert!(size_of::<CpuState>() == 24);
const _: () = assert!(size_of::<BackendCounts>() == 64);
const _: () = assert!(size_of::<Traffic>() == 32);
