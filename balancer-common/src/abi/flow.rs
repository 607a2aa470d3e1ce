//! Flows: established and half-open connections.

use core::sync::atomic::{AtomicU32, Ordering};

use super::{BackendId, Hop, ServiceId};

/// Key of an IPv4 flow. Eight bytes: the service stands for the VIP, the port and the protocol.
#[repr(C)]
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
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey6 {
    /// Client address, network order.
    pub client: [u8; 16],
    /// Client port, network order.
    pub port: [u8; 2],
    /// Service.
    pub service: ServiceId,
}

/// Backend and state of a flow in one word, so that a transition is one compare-and-swap and is counted once.
///
/// ```text
///             FIN of one side             FIN of the other side
///  (empty) ------------------> FIN_x ---------------------------> + CLOSED
///     |                                                              ^
///     +--------- RST of the backend, or RST of the client -----------+
///                whose number is what the backend last acknowledged
/// ```
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState(pub u32);

impl FlowState {
    /// The client sent a FIN. Anybody can claim that, so it shortens no timer by itself.
    pub const FIN_CLIENT: u32 = 1 << 0;
    /// The backend sent a FIN.
    pub const FIN_BACKEND: u32 = 1 << 1;
    /// Both sides are done; counted in `closed`.
    pub const CLOSED: u32 = 1 << 2;
    /// A RST that claims to be the client's and cannot be proven. The first to go when the table fills.
    pub const RST_UNPROVEN: u32 = 1 << 3;
    /// A SYN arrived on the tuple: the half-open table may hold its successor.
    pub const SYN_PENDING: u32 = 1 << 4;

    /// A fresh flow of `backend`.
    #[must_use]
    pub const fn open(backend: BackendId) -> Self {
        Self((backend.0 as u32) << 16)
    }

    /// The backend.
    #[must_use]
    pub const fn backend(self) -> BackendId {
        BackendId((self.0 >> 16) as u16)
    }

    /// Whether all of `bits` are set.
    #[must_use]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// With `bits` set.
    #[must_use]
    pub const fn with(self, bits: u32) -> Self {
        Self(self.0 | bits)
    }

    /// With the FIN of one side; closed once both sides have sent theirs.
    #[must_use]
    pub const fn with_fin(self, side: u32) -> Self {
        let both = Self::FIN_CLIENT | Self::FIN_BACKEND;
        let next = self.with(side);
        if next.has(both) { next.with(Self::CLOSED) } else { next }
    }

    /// Whether it counts as a live connection of its backend.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !self.has(Self::CLOSED)
    }
}

/// An established flow, as the agent reads it. The program sees the same bytes as a [`FlowCell`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Backend and state.
    pub state: FlowState,
    /// When (data path clock) the last packet came by, in either direction.
    pub last_seen: u32,
    /// When (data path clock) the flow was promoted.
    pub opened: u32,
    /// The client's sequence number that the backend last acknowledged.
    pub acked: u32,
    /// The client's next hop, learnt from its first packet.
    pub hop: Hop,
}

/// A [`Flow`] shared by all CPUs.
#[repr(C)]
#[derive(Debug)]
pub struct FlowCell {
    state: AtomicU32,
    last_seen: AtomicU32,
    /// When (data path clock) the flow was promoted.
    pub opened: u32,
    acked: AtomicU32,
    /// The client's next hop.
    pub hop: Hop,
}

impl FlowCell {
    /// Backend and state.
    #[must_use]
    pub fn state(&self) -> FlowState {
        FlowState(self.state.load(Ordering::Relaxed))
    }

    /// Moves from one state to the next; false when another CPU was faster.
    #[must_use]
    pub fn transition(&self, from: FlowState, to: FlowState) -> bool {
        self.state.compare_exchange(from.0, to.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Notes that a packet came by at `now`. Writes only when the clock moved, so that the line stays shared.
    pub fn touch(&self, now: u32) {
        if self.last_seen.load(Ordering::Relaxed) != now {
            self.last_seen.store(now, Ordering::Relaxed);
        }
    }

    /// What the backend last acknowledged.
    #[must_use]
    pub fn acked(&self) -> u32 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Notes the backend's acknowledgement.
    pub fn set_acked(&self, ack: u32) {
        if self.acked.load(Ordering::Relaxed) != ack {
            self.acked.store(ack, Ordering::Relaxed);
        }
    }
}

impl From<Flow> for FlowCell {
    fn from(flow: Flow) -> Self {
        Self {
            state: AtomicU32::new(flow.state.0),
            last_seen: AtomicU32::new(flow.last_seen),
            opened: flow.opened,
            acked: AtomicU32::new(flow.acked),
            hop: flow.hop,
        }
    }
}

/// A connection that has not proven itself: a SYN that was steered, or a packet of an unknown flow that was adopted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfOpen {
    /// The backend it was steered to.
    pub backend: BackendId,
    /// 1 when it was adopted mid-stream and has no handshake to prove.
    pub adopted: u8,
    /// Keeps the size a multiple of four.
    pub reserved: u8,
    /// The client's initial sequence number.
    pub client_isn: u32,
    /// The backend's initial sequence number; valid when `answered` is 1.
    pub backend_isn: u32,
    /// 1 once the backend's SYN-ACK was seen.
    pub answered: u32,
    /// When (data path clock) it was steered.
    pub at: u32,
    /// The client's next hop.
    pub hop: Hop,
}

/// A [`HalfOpen`] shared by all CPUs.
#[repr(C)]
#[derive(Debug)]
pub struct HalfOpenCell {
    /// The backend it was steered to.
    pub backend: BackendId,
    /// 1 when it was adopted mid-stream.
    pub adopted: u8,
    reserved: u8,
    client_isn: AtomicU32,
    backend_isn: AtomicU32,
    answered: AtomicU32,
    at: AtomicU32,
    /// The client's next hop.
    pub hop: Hop,
}

impl HalfOpenCell {
    /// The client's initial sequence number.
    fn client_isn(&self) -> u32 {
        self.client_isn.load(Ordering::Relaxed)
    }

    /// Takes over a retransmitted or repeated SYN.
    pub fn resyn(&self, isn: u32, now: u32) {
        if self.client_isn() != isn {
            self.client_isn.store(isn, Ordering::Relaxed);
            self.answered.store(0, Ordering::Relaxed);
        }
        self.at.store(now, Ordering::Relaxed);
    }

    /// Notes the backend's SYN-ACK.
    pub fn answer(&self, isn: u32) {
        self.backend_isn.store(isn, Ordering::Relaxed);
        self.answered.store(1, Ordering::Relaxed);
    }

    /// Whether the backend has not answered the SYN.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.adopted == 0 && self.answered.load(Ordering::Relaxed) == 0
    }

    /// Whether a client that sends `seq` and `ack` has seen the backend's SYN-ACK, so that its address is real.
    #[must_use]
    pub fn is_proven_by(&self, seq: u32, ack: u32) -> bool {
        self.answered.load(Ordering::Relaxed) == 1
            && seq == self.client_isn().wrapping_add(1)
            && ack == self.backend_isn.load(Ordering::Relaxed).wrapping_add(1)
    }
}

impl From<HalfOpen> for HalfOpenCell {
    fn from(half: HalfOpen) -> Self {
        Self {
            backend: half.backend,
            adopted: half.adopted,
            reserved: 0,
            client_isn: AtomicU32::new(half.client_isn),
            backend_isn: AtomicU32::new(half.backend_isn),
            answered: AtomicU32::new(half.answered),
            at: AtomicU32::new(half.at),
            hop: half.hop,
        }
    }
}

const _: () = assert!(size_of::<FlowKey4>() == 8);
const _: () = assert!(size_of::<FlowKey6>() == 20);
const _: () = assert!(size_of::<Flow>() == 40);
const _: () = assert!(size_of::<FlowCell>() == size_of::<Flow>());
const _: () = assert!(size_of::<HalfOpen>() == 44);
const _: () = assert!(size_of::<HalfOpenCell>() == size_of::<HalfOpen>());
