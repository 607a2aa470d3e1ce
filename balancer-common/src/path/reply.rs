//! Packets from backends.

use super::{
    End, OTHER, Packet, closing,
    egress::{cut_to_client, to_client},
    whose,
};
use crate::{
    abi::{Backend, Entered, Flow, FlowCell, FlowState, HalfOpenCell, Hop, Service},
    outcome::Outcome,
    packet::{Family, Frame, Segment},
    steer::{self, hash},
    tables::{Direction, FamilyTables, Route},
};

/// Sends on a packet of an established flow; [`Outcome::PassDirect`] when it belongs to none. [`Outcome::ResetCut`] when
/// it may be closed with its flow and was not judged.
#[inline(never)]
pub(super) fn established<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    is_judged: bool,
) -> End {
    let Some(reply) = Reply::from_its_side(tables, packet) else { return End::of(Outcome::PassDirect) };
    match tables.likely_flow(&reply.key) {
        Some(flow) if flow.state().backend() == packet.backend => {
            if !is_judged && closing::concerns(flow.state(), reply.backend) {
                return End::of(Outcome::ResetCut);
            }
            reply.known(flow);
            to_client(frame, tables, packet, (reply.backend, flow.hop()), Outcome::ForwardReply)
        }
        _ => End::of(Outcome::PassDirect),
    }
}

/// Sends on a packet of an established flow that does nothing but carry data, by a backend of the packet's service that
/// the flow tells; [`Outcome::PassDirect`], and nothing done, for any other, or [`Outcome::PassNotOurs`] where no backend
/// has sent it.
#[inline(always)]
pub(super) fn data<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    mut packet: Packet<F>,
) -> End {
    if packet.ip.hops <= 1 || packet.segment.is_control() {
        return OTHER;
    }
    let key = F::key(packet.ip.destination, packet.segment.destination, packet.service);
    let Some(flow) = tables.likely_flow(&key) else {
        let sender = whose::backend(tables, (packet.ip.source, packet.segment.source));
        return sender.map_or(End::of(Outcome::PassNotOurs), |_| OTHER);
    };
    let state = flow.state();
    if state.is_none() {
        return OTHER;
    }
    packet.backend = state.backend();
    let Some(reply) = Reply::from_its_side(tables, &packet) else { return OTHER };
    if !reply.is_of_its_backend() || closing::concerns(state, reply.backend) {
        return OTHER;
    }
    reply.known(flow);
    to_client(frame, tables, &packet, (reply.backend, flow.hop()), Outcome::ForwardReply)
}

/// What becomes of a packet that may be closed with its flow; [`Outcome::PassDirect`] when it goes on as any other.
#[inline(never)]
pub(super) fn judge<F: Family, T: FamilyTables<F>>(tables: &T, packet: &Packet<F>) -> Outcome {
    const GOES_ON: Outcome = Outcome::PassDirect;
    let Some(reply) = Reply::from_its_side(tables, packet) else { return GOES_ON };
    match tables.flow(&reply.key) {
        Some(flow) if flow.state().backend() == packet.backend => {
            let of = (flow, reply.backend);
            closing::judge(tables, (packet.service, &reply.key), of, &packet.segment, Direction::Reply)
                .unwrap_or(GOES_ON)
        }
        _ => GOES_ON,
    }
}

/// Sends the client a RST in place of the packet.
#[inline(never)]
pub(super) fn cut<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> End {
    let key = F::key(packet.ip.destination, packet.segment.destination, packet.service);
    let Some(flow) = tables.flow(&key) else { return End::of(Outcome::PassDirect) };
    let mut segment = packet.segment;
    if flow.state().any(FlowState::SHIELDED)
        && let Some(numbers) = tables.shielded(&key)
    {
        segment.seq = segment.seq.wrapping_sub(numbers.shift);
    }
    cut_to_client(frame, tables, packet, (flow.hop(), &segment), Outcome::ForwardCutReply)
}

/// Notes what a packet of a half-open flow tells of it. A step of its own, behind [`half_open`]: what it takes of the stack would
/// add up with that of a packet that is sent on.
#[inline(never)]
pub(super) fn note_unproven<F: Family, T: FamilyTables<F>>(tables: &T, packet: &Packet<F>) {
    if let Some(reply) = Reply::from_its_side(tables, packet)
        && let Some(half) = tables.half_open(&reply.key)
        && half.backend == packet.backend
        && !half.is_shielded()
    {
        reply.unproven(half);
    }
}

/// Sends on a packet of a half-open flow, of which [`note_unproven`] is to take note; [`Outcome::PassDirect`] when it belongs to
/// none. [`Outcome::ForwardPrompt`], and nothing done, when it is one of a shielded flow.
#[inline(never)]
pub(super) fn half_open<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> End {
    let Some(reply) = Reply::from_its_side(tables, packet) else { return End::of(Outcome::PassDirect) };
    match tables.half_open(&reply.key) {
        Some(half) if half.backend == packet.backend => {
            if half.is_shielded() {
                return End::of(Outcome::ForwardPrompt);
            }
            to_client(frame, tables, packet, (reply.backend, half.hop()), Outcome::ForwardHalfOpen)
        }
        _ => End::of(Outcome::PassDirect),
    }
}

/// A packet of no flow: passed on, unless it is not from [its side](Reply::from_its_side) and could otherwise be of one. The
/// host would send it to the client with the backend's address, and the client's RST would end the flow.
#[inline(never)]
pub(super) fn other_side<F: Family, T: FamilyTables<F>>(tables: &T, packet: &Packet<F>) -> End {
    if Reply::from_its_side(tables, packet).is_some() {
        return End::of(Outcome::PassDirect);
    }
    let key = F::key(packet.ip.destination, packet.segment.destination, packet.service);
    let is_known = tables.flow(&key).is_some_and(|flow| flow.state().backend() == packet.backend)
        || tables.half_open(&key).is_some_and(|half| half.backend == packet.backend);
    if is_known { End::at(packet.service, Outcome::DropOtherSide) } else { End::of(Outcome::PassDirect) }
}

/// Sends on a packet that nothing is known of, if it may be of a flow that was steered without state;
/// [`Outcome::PassDirect`] otherwise. It is one that answers a SYN, or any while the table may have no room for the flow: a
/// later packet of the client has made it known.
#[inline(never)]
pub(super) fn stateless<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> End {
    if !tables.is_adopting(tables.now()) || !(packet.segment.answers_syn() || tables.is_crowded()) {
        return End::of(Outcome::PassDirect);
    }
    let Some(reply) = Reply::from_its_side(tables, packet) else { return End::of(Outcome::PassDirect) };
    let Some(service) = tables.service(packet.service) else {
        return End::at(packet.service, Outcome::DropUnconfigured);
    };
    if !reply.may_be_stateless(service) {
        return End::of(Outcome::PassDirect);
    }
    let hop = match tables.route(F::narrow(&service.addr), packet.ip.destination) {
        Route::Hop(hop) => hop,
        Route::Stack => Hop::UNKNOWN,
        Route::Local => return End::of(Outcome::PassDirect),
    };
    to_client(frame, tables, packet, (reply.backend, &hop), Outcome::ForwardReplyStateless)
}

/// A packet from a backend and where it belongs.
pub(super) struct Reply<'a, F: Family, T> {
    tables: &'a T,
    packet: &'a Packet<F>,
    pub(super) backend: &'a Backend,
    pub(super) key: F::Key,
}

impl<'a, F: Family, T: FamilyTables<F>> Reply<'a, F, T> {
    /// The packet, if it arrived on the interface that its backend is reached by. Anybody can send from a backend's
    /// address on another one, and what a backend says is believed: its SYN-ACK and its RST.
    #[inline(always)]
    pub(super) fn from_its_side(tables: &'a T, packet: &'a Packet<F>) -> Option<Self> {
        let backend = tables.backend(packet.backend)?;
        if backend.hop.is_known() && backend.hop.ifindex != packet.ingress {
            return None;
        }
        let key = F::key(packet.ip.destination, packet.segment.destination, packet.service);
        Some(Self { tables, packet, backend, key })
    }

    /// Whether the packet's sender is its backend, which was found by the flow. The backend's id may have changed hands since
    /// the port named the service.
    #[inline(always)]
    fn is_of_its_backend(&self) -> bool {
        let Self { backend, packet, .. } = self;
        backend.service == packet.service
            && backend.port == packet.segment.source
            && F::is_in(backend.addr, packet.ip.source)
    }

    /// Whether a flow without state to this client would be the backend's by the ring. The others are connections
    /// that clients made with the backend directly.
    #[inline(never)]
    fn may_be_stateless(&self, service: &Service) -> bool {
        let Packet { ip, segment, .. } = self.packet;
        let Some(settings) = self.tables.settings() else { return false };
        let words = F::words(ip.destination, segment.destination, service.port);
        let hash = hash::flow(words, settings.hash_key);
        steer::by_ring(self.tables, self.packet.service, hash) == Some(self.packet.backend)
    }

    /// A packet of an established flow.
    #[inline(always)]
    fn known(&self, flow: &FlowCell) {
        let segment = &self.packet.segment;
        if segment.is_control() {
            self.note_control(flow);
        }
        if segment.any(Segment::ACK) && !segment.any(Segment::SYN) {
            flow.set_acked(segment.ack);
        }
        flow.touch(self.tables.now());
    }

    /// A packet of a flow that has not proven itself.
    #[inline(always)]
    fn unproven(&self, half: &HalfOpenCell) {
        let segment = &self.packet.segment;
        if segment.any(Segment::RST) {
            self.refused(half);
        } else if segment.is_syn_ack() {
            self.answered(half);
        } else if half.adopted != 0 && segment.any(Segment::ACK) {
            self.adopted(half);
        }
    }

    /// The backend knows the connection: that is proof. Its client may have ended it before.
    #[inline(always)]
    fn adopted(&self, half: &HalfOpenCell) {
        let segment = &self.packet.segment;
        let now = self.tables.now();
        let state = half.known_by(segment.ack, now);
        let state = if segment.any(Segment::FIN) { state.with_fin(FlowState::FIN_BACKEND) } else { state };
        let flow = Flow::new(state, now, segment.ack, *half.hop());
        if self.tables.enter(&self.key, &flow) == Entered::New {
            self.tables.count_opened(self.packet.service, self.packet.backend);
            if !state.is_live() {
                self.tables.count_closed(self.packet.service, self.packet.backend);
            }
            self.tables.remove_half_open(&self.key);
        }
    }

    /// Notes the backend's RST, which is a refusal if it is the first that it says.
    #[inline(always)]
    pub(super) fn refused(&self, half: &HalfOpenCell) {
        if half.is_waiting() {
            self.tables.count_refused(self.packet.backend);
        }
    }

    /// Notes the backend's SYN-ACK. The first is counted, if the SYN was.
    #[inline(always)]
    pub(super) fn answered(&self, half: &HalfOpenCell) {
        if half.steered != 0 && half.is_waiting() {
            self.tables.count_answered(self.packet.backend);
        }
        half.answer(self.packet.segment.seq, self.packet.segment.ack);
    }

    /// Notes the backend's SYN-ACK, FIN or RST.
    #[inline(never)]
    fn note_control(&self, flow: &FlowCell) {
        if !self.packet.segment.is_syn_ack() {
            self.note_end(flow);
        } else if let Some(half) = self.tables.half_open(&self.key) {
            self.answered(half);
        }
    }

    /// Notes the backend's FIN or RST.
    #[inline(always)]
    fn note_end(&self, flow: &FlowCell) {
        let is_reset = self.packet.segment.any(Segment::RST);
        let next = |old: FlowState| {
            if is_reset { old.with(FlowState::CLOSED) } else { old.with_fin(FlowState::FIN_BACKEND) }
        };
        let _moved = self.tables.advance(self.packet.service, flow, next);
    }
}
