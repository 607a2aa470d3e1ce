//! Packets from backends.

use super::{End, Packet, egress::to_client, request::ATTEMPTS};
use crate::{
    abi::{Endpoint, Flow, FlowCell, FlowState, HalfOpenCell, Hop},
    outcome::Outcome,
    packet::{Family, Frame, Segment},
    tables::{FamilyTables, Route},
};

/// Handles a packet from a backend's address and port.
#[inline(always)]
pub(super) fn handle<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    endpoint: &Endpoint,
) -> End {
    let key = F::key(packet.ip.destination, packet.segment.destination, endpoint.service);
    let reply = Reply { tables, packet, endpoint, key };
    if let Some(flow) = tables.flow(&key)
        && flow.state().backend() == endpoint.backend
    {
        reply.known(flow);
        return to_client(frame, packet, endpoint, &flow.hop, Outcome::ForwardReply);
    }
    if let Some(half) = tables.half_open(&key)
        && half.backend == endpoint.backend
    {
        let hop = half.hop;
        reply.unproven(half);
        return to_client(frame, packet, endpoint, &hop, Outcome::ForwardHalfOpen);
    }
    if !tables.is_adopting(tables.now()) {
        return End::of(Outcome::PassDirect);
    }
    match tables.route(F::narrow(&endpoint.vip), packet.ip.destination) {
        Route::Hop(hop) => to_client(frame, packet, endpoint, &hop, Outcome::ForwardReplyStateless),
        Route::Stack => to_client(frame, packet, endpoint, &Hop::UNKNOWN, Outcome::ForwardReplyStateless),
        Route::Local => End::of(Outcome::PassDirect),
    }
}

/// A packet from a backend and where it belongs.
struct Reply<'a, F: Family, T> {
    tables: &'a T,
    packet: &'a Packet<F>,
    endpoint: &'a Endpoint,
    key: F::Key,
}

impl<F: Family, T: FamilyTables<F>> Reply<'_, F, T> {
    /// A packet of an established flow.
    #[inline(always)]
    fn known(&self, flow: &FlowCell) {
        let segment = &self.packet.segment;
        if segment.any(Segment::SYN | Segment::FIN | Segment::RST) {
            self.note_control(flow);
        }
        if segment.any(Segment::ACK) && !segment.any(Segment::SYN) {
            flow.set_acked(segment.ack);
        }
        flow.touch(self.tables.now());
    }

    /// A packet of a flow that has not proven itself.
    #[inline(never)]
    fn unproven(&self, half: &HalfOpenCell) {
        let segment = &self.packet.segment;
        if segment.any(Segment::RST) {
            if half.is_waiting() {
                self.tables.count_refused(self.endpoint.backend);
            }
        } else if segment.is_syn_ack() {
            half.answer(segment.seq);
        } else if half.adopted != 0 && segment.any(Segment::ACK) {
            // The backend knows the connection: that is proof.
            let now = self.tables.now();
            let state = FlowState::open(self.endpoint.backend, now);
            let flow = Flow { state, last_seen: now, acked: segment.ack, hop: half.hop };
            if self.tables.insert_flow(&self.key, &flow) {
                self.tables.count_opened(self.endpoint.backend);
                self.tables.remove_half_open(&self.key);
            }
        }
    }

    /// Notes the backend's SYN-ACK, FIN or RST.
    #[inline(never)]
    fn note_control(&self, flow: &FlowCell) {
        if !self.packet.segment.is_syn_ack() {
            self.note_end(flow);
        } else if let Some(half) = self.tables.half_open(&self.key) {
            half.answer(self.packet.segment.seq);
        }
    }

    /// Notes the backend's FIN or RST.
    #[inline(always)]
    fn note_end(&self, flow: &FlowCell) {
        for _ in 0..ATTEMPTS {
            let old = flow.state();
            let next = if self.packet.segment.any(Segment::RST) {
                old.with(FlowState::CLOSED)
            } else {
                old.with_fin(FlowState::FIN_BACKEND)
            };
            if old == next || self.tables.transition(flow, old, next) {
                if old.is_live() && !next.is_live() {
                    self.tables.count_closed(old.backend());
                }
                return;
            }
        }
    }
}
