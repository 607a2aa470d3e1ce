//! Flows that are closed on purpose: by a paced drain, by a rebalancing, or because their backend is dead.
//!
//! A flow that was chosen is closed by its next packet that carries data. What the packet would have brought its receiver
//! is a RST with the packet's own number, which its receiver therefore believes. Its sender, whose data nobody
//! acknowledges, sends it again and is answered with a RST by the number that it waits for. Until then nothing of the flow
//! has changed: an acknowledgement alone passes, and so does a FIN, because such a flow ends by itself.

use crate::{
    abi::{Backend, FlowCell, FlowState, ServiceId},
    outcome::Outcome,
    packet::{Family, Segment},
    tables::{Direction, FamilyTables},
};

/// Whether a packet in a flow of this state may need [`judge`], or other numbers. Bits of words that are loaded for every
/// packet.
#[inline(always)]
pub(super) const fn concerns(state: FlowState, backend: &Backend) -> bool {
    backend.closing != Backend::KEEP || state.any(FlowState::CUT | FlowState::SHIELDED)
}

/// What becomes of a packet that is closed with its flow; `None` when it goes on as any other.
#[inline(always)]
pub(super) fn judge<F: Family, T: FamilyTables<F>>(
    tables: &T,
    (service, key): (ServiceId, &F::Key),
    (flow, backend): (&FlowCell, &Backend),
    segment: &Segment,
    direction: Direction,
) -> Option<Outcome> {
    // A SYN or SYN-ACK is the successor's, and a RST has nobody to tell.
    if segment.any(Segment::SYN | Segment::RST) {
        return None;
    }
    let state = flow.state();
    if state.any(FlowState::CUT) {
        // Kept in the table for as long as somebody has not heard of it.
        flow.touch(tables.now());
        return Some(Outcome::ResetCut);
    }
    if segment.payload == 0 || !state.is_live() {
        return None;
    }
    let outcome = match (backend.closing, direction) {
        (Backend::KEEP, _) => return None,
        (Backend::CLOSE_LISTED, _) if !tables.is_closing(key, state) => return None,
        (Backend::CLOSE_LISTED, Direction::Request) => {
            // What the backend has acknowledged already it would not believe.
            if !flow.is_ahead(segment.seq) {
                return None;
            }
            Outcome::ForwardCut
        }
        (_, Direction::Request) => Outcome::ResetBackendDown,
        (_, Direction::Reply) => Outcome::ForwardCutReply,
    };
    // When another packet moved the flow just then, the next one is asked.
    if !tables.step(service, flow, state, state.with(FlowState::CUT | FlowState::CLOSED)) {
        return None;
    }
    tables.closed(key);
    Some(outcome)
}
