//! Half-open connections.

use core::cell::Cell;

use super::{BackendId, FlowState, Hop, Shielded, flow::NEAR, hop::HopCell};

/// A connection that has not proven itself: a SYN that was steered, or a packet of an unknown flow that was adopted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfOpen {
    /// The backend it was steered to.
    pub backend: BackendId,
    /// 1 when it was adopted mid-stream and has no handshake to prove.
    pub adopted: u8,
    /// 1 when its SYN was steered and counted; 0 when it went where the live flow on its tuple goes.
    pub steered: u8,
    /// The client's initial sequence number: that of the SYN which the backend answered, or of the last one. Of an adopted
    /// flow that of its first packet, or of its last RST.
    pub client_isn: u32,
    /// The backend's initial sequence number; valid when `answered` is 1.
    pub backend_isn: u32,
    /// 1 once the backend's SYN-ACK was seen.
    pub answered: u32,
    /// When (data path clock) it was steered.
    pub at: u32,
    /// The initial sequence number that the client of a shielded flow was given.
    pub cookie: u32,
    /// The largest segment that the client of a shielded flow takes; 0 when the flow is not shielded.
    pub mss: u16,
    /// What the client of an adopted flow claims about its end: flags of [`FlowState`].
    pub claimed: u16,
    /// Keeps the hop aligned.
    pub reserved: u32,
    /// The client's next hop.
    pub hop: Hop,
}

/// A [`HalfOpen`] shared by all CPUs; see [`FlowCell`] for the cells.
#[repr(C)]
#[derive(Debug)]
pub struct HalfOpenCell {
    /// The backend it was steered to.
    pub backend: BackendId,
    /// 1 when it was adopted mid-stream.
    pub adopted: u8,
    /// 1 when its SYN was steered and counted.
    pub steered: u8,
    client_isn: Cell<u32>,
    backend_isn: Cell<u32>,
    answered: Cell<u32>,
    at: Cell<u32>,
    cookie: u32,
    /// The largest segment that the client of a shielded flow takes; 0 when the flow is not shielded.
    pub mss: u16,
    claimed: Cell<u16>,
    reserved: u32,
    hop: HopCell,
}

impl HalfOpenCell {
    /// Notes a SYN on the same tuple, which came by `hop`. Once the backend has answered one, only its next answer can put
    /// another in that one's place: anybody can send a SYN. The same one again says by which way its client is reached now.
    #[inline(always)]
    pub fn resyn(&self, isn: u32, hop: &Hop, now: u32) {
        if self.answered.get() == 0 {
            self.client_isn.set(isn);
        }
        if self.client_isn.get() == isn {
            self.hop.set(hop);
        }
        self.at.set(now);
    }

    /// The client's next hop.
    #[inline(always)]
    #[must_use]
    pub const fn hop(&self) -> &Hop {
        self.hop.get()
    }

    /// Notes the backend's SYN-ACK, which also says which SYN it answers.
    #[inline(always)]
    pub fn answer(&self, isn: u32, ack: u32) {
        self.client_isn.set(ack.wrapping_sub(1));
        self.backend_isn.set(isn);
        self.answered.set(1);
    }

    /// The client's number that follows its SYN.
    #[inline(always)]
    #[must_use]
    pub const fn first_seq(&self) -> u32 {
        self.client_isn.get().wrapping_add(1)
    }

    /// Whether the backend has not answered the SYN.
    #[inline(always)]
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.adopted == 0 && self.answered.get() == 0
    }

    /// Whether a client that sends `seq` and `ack` has seen the backend's SYN-ACK, so that its address is real.
    #[inline(always)]
    #[must_use]
    pub const fn is_proven_by(&self, seq: u32, ack: u32) -> bool {
        self.answered.get() == 1 && seq == self.first_seq() && ack == self.backend_isn.get().wrapping_add(1)
    }

    /// Notes the FIN of an adopted flow's client.
    #[inline(always)]
    pub fn claim_fin(&self) {
        self.claimed.set(self.claimed.get() | FlowState::FIN_CLIENT as u16);
    }

    /// Notes the RST of an adopted flow's client, and its number.
    #[inline(always)]
    pub fn claim_reset(&self, seq: u32) {
        self.claimed.set(self.claimed.get() | FlowState::RST_UNPROVEN as u16);
        self.client_isn.set(seq);
    }

    /// The state of an adopted flow whose backend acknowledges `ack` at `now`, and so knows the connection. With a FIN it
    /// is no more than an established flow's would be, which anybody can claim; a RST ends it by the number that the
    /// backend acknowledges, which only the client knows (RFC 5961 section 3).
    #[inline(always)]
    #[must_use]
    pub const fn known_by(&self, ack: u32, now: u32) -> FlowState {
        let claimed = self.claimed.get() as u64;
        let state = FlowState::open(self.backend, now).with(claimed);
        if !state.any(FlowState::RST_UNPROVEN) {
            return state;
        }
        let state = state.with_unproven_reset(now);
        if self.client_isn.get() == ack { state.with(FlowState::CLOSED) } else { state }
    }

    /// Whether the client was given a cookie.
    #[inline(always)]
    #[must_use]
    pub const fn is_shielded(&self) -> bool {
        self.mss != 0
    }

    /// What a client that knows the cookie acknowledges first.
    #[inline(always)]
    #[must_use]
    pub const fn first_ack(&self) -> u32 {
        self.cookie.wrapping_add(1)
    }

    /// Whether a client that acknowledges `ack` knows the cookie. It may have seen the first bytes of its backend.
    #[inline(always)]
    #[must_use]
    pub const fn knows_cookie(&self, ack: u32) -> bool {
        ack.wrapping_sub(self.first_ack()) <= NEAR
    }

    /// The numbers of a shielded flow, at `now`; meaningful once the backend has answered.
    #[inline(always)]
    #[must_use]
    pub const fn numbers(&self, now: u32) -> Shielded {
        let backend_isn = self.backend_isn.get();
        Shielded { shift: backend_isn.wrapping_sub(self.cookie), backend_isn, at: now, reserved: 0 }
    }

    /// The entry as the agent reads it.
    #[must_use]
    pub const fn snapshot(&self) -> HalfOpen {
        HalfOpen {
            backend: self.backend,
            adopted: self.adopted,
            steered: self.steered,
            client_isn: self.client_isn.get(),
            backend_isn: self.backend_isn.get(),
            answered: self.answered.get(),
            at: self.at.get(),
            cookie: self.cookie,
            mss: self.mss,
            claimed: self.claimed.get(),
            reserved: self.reserved,
            hop: self.hop.read(),
        }
    }
}

impl From<HalfOpen> for HalfOpenCell {
    fn from(half: HalfOpen) -> Self {
        Self {
            backend: half.backend,
            adopted: half.adopted,
            steered: half.steered,
            client_isn: Cell::new(half.client_isn),
            backend_isn: Cell::new(half.backend_isn),
            answered: Cell::new(half.answered),
            at: Cell::new(half.at),
            cookie: half.cookie,
            mss: half.mss,
            claimed: Cell::new(half.claimed),
            reserved: half.reserved,
            hop: HopCell::new(&half.hop),
        }
    }
}

const _: () = assert!(size_of::<HalfOpen>() == 56);
const _: () = assert!(size_of::<HalfOpenCell>() == size_of::<HalfOpen>());
