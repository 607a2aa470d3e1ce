//! What is to be done with a client's packet.

use crate::{abi::BackendId, outcome::Outcome};

/// What is to be done with a client's packet. Not an enum with a backend in some variants: the verifier refuses code
/// that copies the bytes that such a variant leaves unset.
#[repr(align(8))]
#[derive(Clone, Copy)]
pub(in crate::path) struct Decision {
    pub(in crate::path) outcome: Outcome,
    /// What [`super::steer`] has to know, [`Decision::SUCCEEDS`], [`Decision::PROBES`] and [`Decision::REPLACES`], and whether
    /// [`super::enter`] is to follow.
    pub(super) notes: u8,
    /// Where it goes, if it is forwarded; [`BackendId::NONE`] until it is steered.
    pub(in crate::path) backend: BackendId,
    /// What is added to the number that the client acknowledges.
    pub(in crate::path) shift: u32,
}

impl Decision {
    /// There is a flow on the tuple, which the connection would follow.
    pub(super) const SUCCEEDS: u8 = 1 << 0;
    /// The packet that carries the cookie is a probe, with the number of the SYN and not the one behind it.
    pub(super) const PROBES: u8 = 1 << 1;
    /// There is a half-open flow on the tuple, in whose place the connection comes.
    pub(super) const REPLACES: u8 = 1 << 3;
    /// The packet proves a flow that is not in the flow table.
    const IS_PROVEN: u8 = 1 << 2;

    #[inline(always)]
    pub(super) const fn forward(backend: BackendId, outcome: Outcome) -> Self {
        Self { outcome, notes: 0, backend, shift: 0 }
    }

    #[inline(always)]
    pub(super) const fn stop(outcome: Outcome) -> Self {
        Self { outcome, notes: 0, backend: BackendId::NONE, shift: 0 }
    }

    /// A connection is opened, by a SYN or by a cookie.
    #[inline(always)]
    pub(super) const fn open(outcome: Outcome, notes: u8) -> Self {
        Self { outcome, notes, backend: BackendId::NONE, shift: 0 }
    }

    /// A flow has proven itself, and is to be [entered](super::enter).
    #[inline(always)]
    pub(super) const fn proven(backend: BackendId, shift: u32) -> Self {
        Self { outcome: Outcome::ForwardPromoted, notes: Self::IS_PROVEN, backend, shift }
    }

    /// Whether a flow has to be entered into the flow table.
    #[inline(always)]
    pub(in crate::path) const fn is_proven(&self) -> bool {
        self.notes & Self::IS_PROVEN != 0
    }

    /// Whether a backend has to be chosen.
    #[inline(always)]
    pub(in crate::path) const fn wants_backend(&self) -> bool {
        matches!(self.outcome, Outcome::ForwardSyn | Outcome::ForwardCookie)
            && self.backend.0 == BackendId::NONE.0
    }
}
