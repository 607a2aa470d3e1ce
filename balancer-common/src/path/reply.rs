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
        return reply.known(frame, flow);
    }
    if let Some(half) = tables.half_open(&key)
        && half.backend == endpoint.backend
    {
        return reply.unproven(frame, half);
    }
    reply.unknown(frame)
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
    fn known<P: Frame>(&self, frame: &mut P, flow: &FlowCell) -> End {
        let segment = &self.packet.segment;
        if segment.is_syn_ack() {
            if let Some(half) = self.tables.half_open(&self.key) {
                half.answer(segment.seq);
            }
        } else {
            if segment.any(Segment::FIN | Segment::RST) {
                self.note_end(flow);
            }
            if segment.any(Segment::ACK) {
                flow.set_acked(segment.ack);
            }
        }
        flow.touch(self.tables.now());
        self.send(frame, &flow.hop, Outcome::ForwardReply)
    }

    /// A packet of a flow that has not proven itself.
    #[inline(always)]
    fn unproven<P: Frame>(&self, frame: &mut P, half: &HalfOpenCell) -> End {
        let segment = &self.packet.segment;
        let hop = half.hop;
        if segment.any(Segment::RST) {
            if half.is_waiting() {
                self.tables.count_refused(self.endpoint.backend);
            }
        } else if segment.is_syn_ack() {
            half.answer(segment.seq);
        } else if half.adopted != 0 && segment.any(Segment::ACK) {
            // The backend knows the connection: that is proof.
            let now = self.tables.now();
            let flow = Flow {
                state: FlowState::open(self.endpoint.backend),
                last_seen: now,
                opened: now,
                acked: segment.ack,
                hop,
            };
            if self.tables.insert_flow(&self.key, &flow) {
                self.tables.count_opened(self.endpoint.backend);
                self.tables.remove_half_open(&self.key);
            }
        }
        self.send(frame, &hop, Outcome::ForwardHalfOpen)
    }

    /// A packet of no flow that we know: of one without state, or none of ours.
    #[inline(always)]
    fn unknown<P: Frame>(&self, frame: &mut P) -> End {
        if !self.tables.is_adopting(self.tables.now()) {
            return End::of(Outcome::PassDirect);
        }
        match self.tables.route(F::narrow(&self.endpoint.vip), self.packet.ip.destination) {
            Route::Hop(hop) => self.send(frame, &hop, Outcome::ForwardReplyStateless),
            Route::Stack => self.send(frame, &Hop::UNKNOWN, Outcome::ForwardReplyStateless),
            Route::Local => End::of(Outcome::PassDirect),
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
            if old == next || flow.transition(old, next) {
                if old.is_live() && !next.is_live() {
                    self.tables.count_closed(old.backend());
                }
                return;
            }
        }
    }

    #[inline(always)]
    fn send<P: Frame>(&self, frame: &mut P, hop: &Hop, outcome: Outcome) -> End {
        if self.packet.ip.hops <= 1 {
            return End::at(self.endpoint.service, Outcome::DropHopLimit);
        }
        to_client(frame, self.packet, self.endpoint, hop, outcome)
    }
}
