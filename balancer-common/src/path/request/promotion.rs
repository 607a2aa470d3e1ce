//! Connections that have proven themselves.

use super::{Decision, Request};
use crate::{
    abi::{Entered, Flow, FlowCell, FlowState, HalfOpenCell},
    outcome::Outcome,
    packet::{Family, Segment},
    path::Packet,
    tables::FamilyTables,
};

/// Remembers a flow that has [proven](Decision::is_proven) itself; what then becomes of its packet.
///
/// A step of its own, for the stack that it takes.
#[inline(never)]
pub(in crate::path) fn enter<F: Family, T: FamilyTables<F>>(
    tables: &T,
    packet: &Packet<F>,
    decision: Decision,
) -> Decision {
    let request = Request::new(tables, packet);
    let on = |outcome| Decision { outcome, ..decision };
    let Some(half) = tables.half_open(&request.key) else {
        if tables.flow(&request.key).is_some() {
            // Another CPU has just promoted it by the same proof.
            return on(Outcome::ForwardRequest);
        }
        // Others have just displaced it.
        tables.adopt_from(request.now);
        return on(Outcome::ForwardUntracked);
    };
    if half.backend != decision.backend || !(half.is_shielded() || request.is_proof(half)) {
        // Its client has just begun anew.
        return on(Outcome::ForwardHalfOpen);
    }
    if half.is_shielded() && !tables.put_shielded(&request.key, &half.numbers(request.now)) {
        return on(Outcome::ForwardUntracked);
    }
    on(request.promote(half))
}

impl<F: Family, T: FamilyTables<F>> Request<'_, F, T> {
    /// The flow of a connection that is proven goes into the flow table.
    #[inline(always)]
    fn promote(&self, half: &HalfOpenCell) -> Outcome {
        let fresh = self.fresh(half);
        // Asked once: others may be given the half-open entry meanwhile.
        let is_shielded = half.is_shielded();
        let shielded = if is_shielded { FlowState::SHIELDED } else { 0 };
        match self.tables.enter(&self.key, &Flow { state: fresh.state.with(shielded), ..fresh }) {
            Entered::New => {
                self.tables.count_opened(self.service, fresh.state.backend());
                self.tables.remove_half_open(&self.key);
                Outcome::ForwardPromoted
            }
            // Another CPU has just promoted it by the same proof.
            Entered::Known => Outcome::ForwardRequest,
            // Another CPU may be about to, with the same numbers. Otherwise the next packet is the proof.
            Entered::Busy => Outcome::ForwardHalfOpen,
            // The half-open entry goes on for the flow, as long as the table of those has room.
            Entered::Full => {
                if is_shielded {
                    self.tables.remove_shielded(&self.key);
                } else {
                    self.tables.adopt_from(self.now);
                }
                Outcome::ForwardUntracked
            }
        }
    }

    /// The connection on the tuple of `flow` is over: its proven successor takes the entry. It is never shielded: a SYN on
    /// a flow's tuple is not answered with a cookie.
    #[inline(never)]
    pub(super) fn succeed(&self, flow: &FlowCell, half: &HalfOpenCell) -> Decision {
        let fresh = self.fresh(half);
        let backend = fresh.state.backend();
        if self.usable(backend).is_none() {
            return Decision::stop(Outcome::ResetBackendGone);
        }
        let old = flow.state();
        // First, so that nobody removes it for the silence of the flow before.
        flow.touch(self.now);
        if self.tables.transition(flow, old, fresh.state) {
            if old.is_live() {
                self.tables.count_closed(self.service, old.backend());
            }
            if old.any(FlowState::SHIELDED) {
                self.tables.remove_shielded(&self.key);
            }
            self.tables.count_opened(self.service, backend);
            flow.fill(&fresh);
            self.tables.remove_half_open(&self.key);
        }
        Decision::forward(backend, Outcome::ForwardPromoted)
    }

    #[inline(always)]
    const fn fresh(&self, half: &HalfOpenCell) -> Flow {
        let state = FlowState::open(half.backend, self.now);
        let fin = self.packet.segment.any(Segment::FIN);
        let state = if fin { state.with_fin(FlowState::FIN_CLIENT) } else { state };
        Flow::new(state, self.now, half.first_seq(), *half.hop())
    }
}
