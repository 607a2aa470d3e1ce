//! Packets from clients.

mod decision;
mod opening;
mod promotion;
mod shielded;

pub(super) use decision::Decision;
pub(super) use promotion::enter;
pub(super) use shielded::bound;

use super::{
    End, OTHER, Packet, closing,
    egress::{cut_to_backend, to_backend, to_backend_by},
};
use crate::{
    abi::{
        Backend, BackendId, CpuState, FlowCell, FlowState, HalfOpen, HalfOpenCell, ServiceFlags, ServiceId,
    },
    outcome::{Class, Outcome},
    packet::{Family, Frame, Segment},
    steer::{self, hash},
    tables::{Direction, FamilyTables},
};

/// RSTs per clock unit and CPU that packets of unknown flows are answered with. Each is caused by a packet that is no
/// smaller, but goes to an address that anybody may have written there.
const RESETS: u32 = 20_000;

/// Sends on a packet of an established flow that does nothing but carry data. Most packets are such: they cost one
/// look-up of the flow and one of its backend. Any other is left as it is, with [`Outcome::PassDirect`].
///
/// It does not say whether the flow was there, although [`decide`] then looks it up again: a second answer would make
/// the verifier follow everything behind it twice.
#[inline(always)]
pub(super) fn data<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> End {
    if packet.ip.hops <= 1 || packet.segment.is_control() {
        return OTHER;
    }
    let key = F::key(packet.ip.source, packet.segment.source, packet.service);
    let Some(flow) = tables.likely_flow(&key) else { return OTHER };
    let state = flow.state();
    if state.is_none() || state.has(FlowState::SYN_PENDING) {
        return OTHER;
    }
    if !packet.link.is_answered_by(flow.hop(), packet.ingress) {
        return OTHER;
    }
    let id = state.backend();
    let Some(backend) = tables.backend(id) else { return OTHER };
    if backend.present == 0 || backend.service != packet.service || !backend.hop.is_known() {
        return OTHER;
    }
    if closing::concerns(state, backend) {
        return OTHER;
    }
    flow.touch(tables.now());
    to_backend_by(frame, packet, (id, backend), &backend.hop, Outcome::ForwardRequest)
}

/// [`data`] as a step of its own.
#[inline(never)]
pub(super) fn established<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
) -> End {
    data(frame, tables, packet)
}

/// Decides what is to be done with a packet to a service, and updates the tables. What opens a connection needs a backend
/// that [`steer`] chooses.
#[inline(never)]
pub(super) fn decide<F: Family, T: FamilyTables<F>>(tables: &T, packet: &Packet<F>) -> Decision {
    let request = Request::new(tables, packet);
    let decision = request.decide();
    if decision.wants_backend() { decision } else { request.confirmed(decision) }
}

/// Chooses a backend for what opens a connection, and remembers it.
///
/// A step of its own: what leads here are SYNs and cookies, and the verifier is to follow the choice once.
#[inline(never)]
pub(super) fn steer<F: Family, T: FamilyTables<F>>(
    tables: &T,
    packet: &Packet<F>,
    wanted: Decision,
) -> Decision {
    let request = Request::new(tables, packet);
    request.confirmed(request.open(wanted))
}

/// Sends a packet to the backend that was decided on.
#[inline(never)]
pub(super) fn forward<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    decision: Decision,
) -> End {
    match tables.backend(decision.backend) {
        Some(backend) => to_backend(frame, tables, packet, (decision.backend, backend), decision.outcome),
        None => End::at(packet.service, Outcome::DropUnconfigured),
    }
}

/// Sends the backend that was decided on a RST in place of the packet.
#[inline(never)]
pub(super) fn cut<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    decision: Decision,
) -> End {
    match tables.backend(decision.backend) {
        Some(backend) => {
            let ack = packet.segment.ack.wrapping_add(decision.shift);
            let segment = Segment { ack, ..packet.segment };
            cut_to_backend(frame, tables, packet, (decision.backend, backend), &segment)
        }
        None => End::at(packet.service, Outcome::DropUnconfigured),
    }
}

/// A packet from a client and where it belongs.
struct Request<'a, F: Family, T> {
    tables: &'a T,
    packet: &'a Packet<F>,
    service: ServiceId,
    key: F::Key,
    now: u32,
}

/// Rare paths are functions of their own: inlined, their variables would add up to more than the 512 bytes of stack
/// that a BPF program has.
impl<'a, F: Family, T: FamilyTables<F>> Request<'a, F, T> {
    #[inline(always)]
    fn new(tables: &'a T, packet: &'a Packet<F>) -> Self {
        let service = packet.service;
        let key = F::key(packet.ip.source, packet.segment.source, service);
        Self { tables, packet, service, key, now: tables.now() }
    }

    /// The decision, provided that its backend is still configured.
    #[inline(always)]
    fn confirmed(&self, decision: Decision) -> Decision {
        if !matches!(decision.outcome.class(), Class::Forward) || self.usable(decision.backend).is_some() {
            return decision;
        }
        if self.packet.segment.any(Segment::RST) {
            return Decision::stop(Outcome::DropStrayReset);
        }
        Decision::stop(Outcome::ResetBackendGone)
    }

    #[inline(always)]
    fn decide(&self) -> Decision {
        // The host's stack would deliver a packet to the VIP locally, whatever its hops, and answer with a RST.
        if self.packet.ip.hops <= 1 {
            return Decision::stop(Outcome::DropHopLimit);
        }
        if self.packet.segment.is_syn() {
            return self.syn();
        }
        match self.tables.flow(&self.key) {
            Some(flow) if !flow.state().is_none() => self.known(flow),
            // One that has just been removed is none.
            _ => self.not_established(),
        }
    }

    /// A packet of an established flow.
    #[inline(always)]
    fn known(&self, flow: &FlowCell) -> Decision {
        let state = flow.state();
        if state.has(FlowState::SYN_PENDING) {
            match self.tables.half_open(&self.key) {
                Some(half) if self.is_proof(half) => return self.succeed(flow, half),
                Some(half) if self.is_refusal(half) && half.backend != state.backend() => {
                    return Decision::forward(half.backend, Outcome::ForwardHalfOpen);
                }
                Some(_) => {}
                None => self.expect_none(flow),
            }
        }
        let mut shift = 0;
        if state.any(FlowState::SHIELDED) {
            let Some(numbers) = self.tables.shielded(&self.key) else {
                return Decision::stop(Outcome::DropUnproven);
            };
            shift = numbers.shift;
        }
        if let Some(backend) = self.usable(state.backend())
            && closing::concerns(state, backend)
            && let Some(outcome) = self.judge(flow, backend)
        {
            return Decision { shift, ..Decision::forward(state.backend(), outcome) };
        }
        if self.packet.segment.any(Segment::FIN | Segment::RST) {
            self.note_end(flow);
        }
        if !self.packet.segment.any(Segment::RST)
            && !self.packet.link.is_answered_by(flow.hop(), self.packet.ingress)
        {
            self.relearn(flow);
        }
        flow.touch(self.now);
        Decision { shift, ..Decision::forward(state.backend(), Outcome::ForwardRequest) }
    }

    /// Others have displaced the successor: the flow's packets need not look for its proof any more.
    #[inline(never)]
    fn expect_none(&self, flow: &FlowCell) {
        let _moved = self.tables.advance(self.service, flow, |old| old.without(FlowState::SYN_PENDING));
    }

    /// A packet of a flow that is closed, or may have been chosen to be.
    #[inline(never)]
    fn judge(&self, flow: &FlowCell, backend: &Backend) -> Option<Outcome> {
        let segment = &self.packet.segment;
        closing::judge(self.tables, (self.service, &self.key), (flow, backend), segment, Direction::Request)
    }

    /// The client's packets come by another router, interface or VLAN: its replies must follow. Only for a number that
    /// may be the client's, which whoever merely spoofs the address has to guess: one of a thousand is taken, until the
    /// client's next packet.
    #[inline(never)]
    fn relearn(&self, flow: &FlowCell) {
        if !flow.expects(self.packet.segment.seq) {
            return;
        }
        flow.set_hop(&self.packet.link.back(self.packet.ingress));
    }

    /// A packet, not a SYN, of a flow that is not in the flow table.
    #[inline(never)]
    fn not_established(&self) -> Decision {
        match self.tables.half_open(&self.key) {
            Some(half) => self.unproven(half),
            None => self.unknown(),
        }
    }

    /// A packet of a flow that has not proven itself.
    #[inline(always)]
    fn unproven(&self, half: &HalfOpenCell) -> Decision {
        let backend = half.backend;
        if half.is_shielded() {
            return self.shielded(half);
        }
        if half.adopted != 0 {
            self.note_claim(half);
            return Decision::forward(backend, Outcome::ForwardAdopted);
        }
        if !self.is_proof(half) {
            return Decision::forward(backend, Outcome::ForwardHalfOpen);
        }
        if self.usable(backend).is_none() {
            return Decision::stop(Outcome::ResetBackendGone);
        }
        Decision::proven(backend, 0)
    }

    /// A packet, not a SYN, of a flow that nobody knows.
    #[inline(always)]
    fn unknown(&self) -> Decision {
        if self.packet.segment.any(Segment::RST) {
            return Decision::stop(Outcome::DropStrayReset);
        }
        let Some(service) = self.tables.service(self.service) else {
            return Decision::stop(Outcome::DropUnconfigured);
        };
        let adopts = service.flags & ServiceFlags::ADOPT != 0;
        let awaits_cookies = !adopts && self.tables.awaits_cookies(self.now);
        if awaits_cookies && let Some(decision) = self.accept() {
            return decision;
        }
        if !adopts && !self.tables.is_adopting(self.now) {
            return self.refuse_unknown(awaits_cookies);
        }
        let Some(hash) = self.hash() else { return Decision::stop(Outcome::DropUnconfigured) };
        let Some(backend) = steer::by_ring(self.tables, self.service, hash) else {
            return Decision::stop(Outcome::ResetNoBackend);
        };
        let fin = if self.packet.segment.any(Segment::FIN) { FlowState::FIN_CLIENT } else { 0 };
        let half = HalfOpen { claimed: fin as u16, ..self.half_open(backend, 1) };
        self.tables.put_half_open(&self.key, &half);
        Decision::forward(backend, Outcome::ForwardAdopted)
    }

    /// Notes the FIN or RST of an adopted flow's client.
    #[inline(always)]
    fn note_claim(&self, half: &HalfOpenCell) {
        let segment = &self.packet.segment;
        if segment.any(Segment::RST) {
            half.claim_reset(segment.seq);
        } else if segment.any(Segment::FIN) {
            half.claim_fin();
        }
    }

    /// A RST for a packet of a flow that nobody knows, as long as there have not been too many.
    #[inline(always)]
    fn refuse_unknown(&self, awaits_cookies: bool) -> Decision {
        let exceeds = |cpu: &mut CpuState, _| cpu.resets.exceeds(self.now, RESETS);
        Decision::stop(if self.tables.with_cpu(exceeds).unwrap_or(false) {
            Outcome::DropUnknownFlow
        } else if awaits_cookies {
            Outcome::ResetBadCookie
        } else {
            Outcome::ResetUnknownFlow
        })
    }

    /// Notes the client's FIN or RST, unless its number cannot be the client's: its backend takes no notice either.
    #[inline(never)]
    fn note_end(&self, flow: &FlowCell) {
        let segment = &self.packet.segment;
        if !flow.expects(segment.seq) {
            return;
        }
        let next = |old: FlowState| {
            if !segment.any(Segment::RST) {
                old.with_fin(FlowState::FIN_CLIENT)
            } else if segment.seq == flow.acked() {
                // Only the client knows what its backend last acknowledged (RFC 5961 section 3).
                old.with(FlowState::CLOSED)
            } else {
                old.with_unproven_reset(self.now)
            }
        };
        let _moved = self.tables.advance(self.service, flow, next);
    }

    #[inline(always)]
    fn usable(&self, id: BackendId) -> Option<&Backend> {
        self.tables.backend(id).filter(|backend| backend.present != 0 && backend.service == self.service)
    }

    #[inline(always)]
    const fn is_proof(&self, half: &HalfOpenCell) -> bool {
        let segment = &self.packet.segment;
        segment.any(Segment::ACK) && !segment.any(Segment::RST) && half.is_proven_by(segment.seq, segment.ack)
    }

    /// Whether the client refuses a connection that somebody has asked for in its name. The backend that was asked must
    /// hear it: it would answer every other SYN on the tuple with a challenge (RFC 5961 section 4) until it gives up.
    #[inline(always)]
    const fn is_refusal(&self, half: &HalfOpenCell) -> bool {
        self.packet.segment.any(Segment::RST) && self.packet.segment.seq == half.first_seq()
    }

    #[inline(always)]
    fn hash(&self) -> Option<u64> {
        let segment = &self.packet.segment;
        let words = F::words(self.packet.ip.source, segment.source, segment.destination);
        Some(hash::flow(words, self.tables.settings()?.hash_key))
    }

    #[inline(always)]
    fn half_open(&self, backend: BackendId, adopted: u8) -> HalfOpen {
        HalfOpen {
            backend,
            adopted,
            client_isn: self.packet.segment.seq,
            at: self.now,
            hop: self.packet.link.back(self.packet.ingress),
            ..HalfOpen::default()
        }
    }
}
