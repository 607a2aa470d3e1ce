//! Flows: established connections.

use core::cell::Cell;

use super::{BackendId, Hop, ServiceId, hop::HopCell};

/// Key of an IPv4 flow. Eight bytes: the service stands for the VIP, the port and the protocol.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey4 {
    /// Client address, network order.
    pub client: [u8; 4],
    /// Client port, network order.
    pub port: [u8; 2],
    /// Service.
    pub service: ServiceId,
}

/// Key of an IPv6 flow.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey6 {
    /// Client address, network order.
    pub client: [u8; 16],
    /// Client port, network order.
    pub port: [u8; 2],
    /// Service.
    pub service: ServiceId,
    /// Keeps the size a multiple of eight.
    pub reserved: u32,
}

/// Backend, state and age of a flow in one word, so that a transition is one compare-and-swap and is counted once.
///
/// ```text
///             FIN of one side             FIN of the other side
///  (empty) ------------------> FIN_x ---------------------------> + CLOSED
///     |                                                              ^
///     +--------- RST of the backend, or RST of the client -----------+
///     |          whose number is what the backend last acknowledged
///     |
///     +--------- data, after the operator chose it to be closed -----> + CUT + CLOSED
/// ```
///
/// Bits 0 to 6 are the flags below, 7 to 15 the time of the last unproven RST (in units of 64 of the data path clock's),
/// 16 to 31 the backend, 32 to 63 the time (data path clock) of the promotion. All of them are 0 where there is no flow:
/// none is promoted in the first second of a host.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState(pub u64);

impl FlowState {
    /// No flow.
    pub const NONE: Self = Self(0);
    /// The client sent a FIN. Anybody can claim that, so it shortens no timer by itself.
    pub const FIN_CLIENT: u64 = 1 << 0;
    /// The backend sent a FIN.
    pub const FIN_BACKEND: u64 = 1 << 1;
    /// Both sides are done; counted in `closed`.
    pub const CLOSED: u64 = 1 << 2;
    /// A RST that claims to be the client's and cannot be proven; see [`FlowState::with_unproven_reset`].
    pub const RST_UNPROVEN: u64 = 1 << 3;
    /// A SYN arrived on the tuple: the half-open table may hold its successor.
    pub const SYN_PENDING: u64 = 1 << 4;
    /// Closed by us. Its packets are answered with a RST.
    pub const CUT: u64 = 1 << 5;
    /// Opened by a cookie: its numbers are translated, see [`super::Shielded`].
    pub const SHIELDED: u64 = 1 << 6;
    /// All of them.
    pub const FLAGS: u64 = (1 << RESET_SHIFT) - 1;

    /// Whether there is no flow.
    #[inline(always)]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }

    /// A fresh flow of `backend`, promoted at `now`.
    #[must_use]
    pub const fn open(backend: BackendId, now: u32) -> Self {
        Self((now as u64) << 32 | (backend.0 as u64) << 16)
    }

    /// When (data path clock) the flow was promoted.
    #[must_use]
    pub const fn opened(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The backend.
    #[must_use]
    pub const fn backend(self) -> BackendId {
        BackendId((self.0 >> 16) as u16)
    }

    /// The same, and ended as far as it is in `other`: two programs may have seen a FIN each.
    #[must_use]
    pub const fn and_ended_as(self, other: Self) -> Self {
        const BOTH: u64 = FlowState::FIN_CLIENT | FlowState::FIN_BACKEND;
        let ended = self.0 | other.0 & (BOTH | Self::CLOSED);
        Self(if ended & BOTH == BOTH { ended | Self::CLOSED } else { ended })
    }

    /// What tells it from a later flow on the same tuple: its backend and when it was promoted.
    #[must_use]
    pub const fn identity(self) -> u64 {
        self.0 >> 16
    }

    /// Whether any of `bits` is set.
    #[must_use]
    pub const fn any(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    /// Whether all of `bits` are set.
    #[must_use]
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// With `bits` set.
    #[must_use]
    pub const fn with(self, bits: u64) -> Self {
        Self(self.0 | bits)
    }

    /// With `bits` not set.
    #[must_use]
    pub const fn without(self, bits: u64) -> Self {
        Self(self.0 & !bits)
    }

    /// With the FIN of one side; closed once both sides have sent theirs.
    #[must_use]
    pub const fn with_fin(self, side: u64) -> Self {
        let both = Self::FIN_CLIENT | Self::FIN_BACKEND;
        let next = self.with(side);
        if next.has(both) { next.with(Self::CLOSED) } else { next }
    }

    /// With a RST at `now` that claims to be the client's and cannot be proven.
    #[must_use]
    pub const fn with_unproven_reset(self, now: u32) -> Self {
        let at = (now as u64 >> RESET_UNIT) & RESET_TIMES;
        Self(self.0 & !(RESET_TIMES << RESET_SHIFT) | at << RESET_SHIFT | Self::RST_UNPROVEN)
    }

    /// Whether an unproven RST is the last that was heard of a flow that was last seen at `last_seen`: nothing but what its
    /// backend may have sent within a minute or two. Such flows are the first to go when the table fills.
    ///
    /// The time wraps in ten hours, so one of 256 flows that live on seems to have ended so.
    #[must_use]
    pub const fn ends_unproven(self, last_seen: u32) -> bool {
        let later = (last_seen as u64 >> RESET_UNIT).wrapping_sub(self.0 >> RESET_SHIFT) & RESET_TIMES;
        self.has(Self::RST_UNPROVEN) && later < 2
    }

    /// Whether it counts as a live connection of its backend.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !self.has(Self::CLOSED)
    }
}

/// The time of an unproven RST, in a [`FlowState`].
const RESET_SHIFT: u32 = 7;
/// Nine bits of it.
const RESET_TIMES: u64 = (1 << 9) - 1;
/// It is counted in units of 2^6 of the data path clock's.
const RESET_UNIT: u32 = 6;

/// An established flow, as the agent reads it. The program sees the same bytes as a [`FlowCell`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Backend, state and age.
    pub state: FlowState,
    /// When (data path clock) the last packet came by, in either direction.
    pub last_seen: u32,
    /// The client's sequence number that the backend last acknowledged.
    pub acked: u32,
    /// What the layout that upgrades are tried with has and others have not.
    #[cfg(feature = "trial-layout")]
    pub trial: u64,
    /// The client's next hop, learnt from its first packet.
    pub hop: Hop,
}

impl Flow {
    /// A flow of which nothing else is known.
    #[inline(always)]
    #[must_use]
    pub const fn new(state: FlowState, last_seen: u32, acked: u32, hop: Hop) -> Self {
        Self {
            state,
            last_seen,
            acked,
            #[cfg(feature = "trial-layout")]
            trial: 0,
            hop,
        }
    }
}

/// How far a client's sequence number may be ahead of what is known: the largest window that TCP has without scaling.
pub(super) const NEAR: u32 = 1 << 16;

/// How far a client's sequence number may be behind what is known: a client that sends again begins with the first byte
/// whose acknowledgement it has not seen (RFC 6298, section 5.4), and what it keeps for that is bounded by its send
/// buffer, which is 4 MiB at most unless a Linux host is told otherwise (`tcp_wmem`).
const FAR: u32 = 1 << 22;

/// A [`Flow`] shared by all CPUs.
///
/// A [`Cell`] makes each access one plain load or store. The state is moved by
/// [`crate::tables::Tables::transition`] alone, because `core` has no compare-and-swap on BPF; the other two words
/// are written by whoever comes by last.
#[repr(C)]
#[derive(Debug)]
pub struct FlowCell {
    state: Cell<u64>,
    last_seen: Cell<u32>,
    acked: Cell<u32>,
    #[cfg(feature = "trial-layout")]
    trial: Cell<u64>,
    hop: HopCell,
}

impl FlowCell {
    /// Writes all but the state, which comes before or after it.
    #[inline(always)]
    pub fn fill(&self, flow: &Flow) {
        self.last_seen.set(flow.last_seen);
        self.acked.set(flow.acked);
        #[cfg(feature = "trial-layout")]
        self.trial.set(flow.trial);
        self.hop.set(&flow.hop);
    }

    /// The client's next hop.
    #[inline(always)]
    #[must_use]
    pub const fn hop(&self) -> &Hop {
        self.hop.get()
    }

    /// Notes the client's next hop.
    #[inline(always)]
    pub fn set_hop(&self, hop: &Hop) {
        self.hop.set(hop);
    }

    /// Backend, state and age.
    #[inline(always)]
    #[must_use]
    pub const fn state(&self) -> FlowState {
        FlowState(self.state.get())
    }

    /// The word that holds the state, for a compare-and-swap.
    #[inline(always)]
    #[must_use]
    pub const fn state_word(&self) -> &Cell<u64> {
        &self.state
    }

    /// Notes that a packet came by at `now`. Writes only when the clock moved, so that the line stays shared.
    #[inline(always)]
    pub fn touch(&self, now: u32) {
        if self.last_seen.get() != now {
            self.last_seen.set(now);
        }
    }

    /// What the backend last acknowledged.
    #[inline(always)]
    #[must_use]
    pub const fn acked(&self) -> u32 {
        self.acked.get()
    }

    /// Whether a segment of the client with this number may be the next that its backend waits for, or one that the
    /// client sends again because the acknowledgement was lost on its way.
    #[inline(always)]
    #[must_use]
    pub const fn expects(&self, seq: u32) -> bool {
        seq.wrapping_sub(self.acked.get().wrapping_sub(FAR)) <= FAR + NEAR
    }

    /// Whether a segment of the client with this number is not older than what its backend last acknowledged.
    #[inline(always)]
    #[must_use]
    pub const fn is_ahead(&self, seq: u32) -> bool {
        seq.wrapping_sub(self.acked.get()) as i32 >= 0
    }

    /// Notes the backend's acknowledgement.
    #[inline(always)]
    pub fn set_acked(&self, ack: u32) {
        if self.acked.get() != ack {
            self.acked.set(ack);
        }
    }

    /// The entry as the agent reads it.
    #[must_use]
    pub const fn snapshot(&self) -> Flow {
        Flow::new(self.state(), self.last_seen.get(), self.acked(), self.hop.read())
    }
}

impl From<Flow> for FlowCell {
    fn from(flow: Flow) -> Self {
        Self {
            state: Cell::new(flow.state.0),
            last_seen: Cell::new(flow.last_seen),
            acked: Cell::new(flow.acked),
            #[cfg(feature = "trial-layout")]
            trial: Cell::new(flow.trial),
            hop: HopCell::new(&flow.hop),
        }
    }
}

const _: () = assert!(size_of::<FlowKey4>() == 8);
const _: () = assert!(size_of::<FlowKey6>() == 24);
const _: () = assert!(size_of::<Flow>() == if cfg!(feature = "trial-layout") { 48 } else { 40 });
const _: () = assert!(size_of::<FlowCell>() == size_of::<Flow>());
