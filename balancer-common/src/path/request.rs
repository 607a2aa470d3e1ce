//! Packets from clients.

use super::{End, Packet, egress::to_backend, refuse};
use crate::{
    abi::{
        Backend, BackendId, Flow, FlowCell, FlowState, HalfOpen, HalfOpenCell, ScoreFlags, Service,
        ServiceFlags, ServiceId,
    },
    outcome::Outcome,
    packet::{Family, Frame, Segment},
    steer::{self, hash},
    tables::FamilyTables,
};

/// Attempts at a state transition. Each failure means that another CPU has just moved the same flow.
pub(super) const ATTEMPTS: usize = 4;

/// Handles a packet to a service.
#[inline(always)]
pub(super) fn handle<F: Family, P: Frame, T: FamilyTables<F>>(
    frame: &mut P,
    tables: &T,
    packet: &Packet<F>,
    service: ServiceId,
) -> End {
    // The host's stack would deliver a packet to the VIP locally, whatever its hops, and answer with a RST.
    if packet.ip.hops <= 1 {
        return End::at(service, Outcome::DropHopLimit);
    }
    let key = F::key(packet.ip.source, packet.segment.source, service);
    let request = Request { tables, packet, service, key, now: tables.now() };
    if packet.segment.is_syn() {
        return request.syn(frame);
    }
    if let Some(flow) = tables.flow(&key) {
        return request.known(frame, flow);
    }
    if let Some(half) = tables.half_open(&key) {
        return request.unproven(frame, half);
    }
    request.unknown(frame)
}

/// A packet from a client and where it belongs.
struct Request<'a, F: Family, T> {
    tables: &'a T,
    packet: &'a Packet<F>,
    service: ServiceId,
    key: F::Key,
    now: u32,
}

impl<F: Family, T: FamilyTables<F>> Request<'_, F, T> {
    /// A packet of an established flow.
    #[inline(always)]
    fn known<P: Frame>(&self, frame: &mut P, flow: &FlowCell) -> End {
        let state = flow.state();
        if state.has(FlowState::SYN_PENDING)
            && let Some(half) = self.tables.half_open(&self.key)
            && self.is_proof(half)
        {
            return self.succeed(frame, flow, half);
        }
        if self.packet.segment.any(Segment::FIN | Segment::RST) {
            self.note_end(flow);
        }
        flow.touch(self.now);
        self.forward(frame, state.backend(), Outcome::ForwardRequest)
    }

    /// A packet of a flow that has not proven itself.
    #[inline(always)]
    fn unproven<P: Frame>(&self, frame: &mut P, half: &HalfOpenCell) -> End {
        let backend = half.backend;
        if half.adopted != 0 {
            return self.forward(frame, backend, Outcome::ForwardAdopted);
        }
        if !self.is_proof(half) {
            return self.forward(frame, backend, Outcome::ForwardHalfOpen);
        }
        if self.tables.insert_flow(&self.key, &self.fresh(half)) {
            self.tables.count_opened(backend);
            self.tables.remove_half_open(&self.key);
            return self.forward(frame, backend, Outcome::ForwardPromoted);
        }
        // The half-open entry goes on for the flow, as long as the table of those has room.
        self.tables.adopt_from(self.now);
        self.forward(frame, backend, Outcome::ForwardUntracked)
    }

    /// A packet, not a SYN, of a flow that nobody knows.
    #[inline(always)]
    fn unknown<P: Frame>(&self, frame: &mut P) -> End {
        if self.packet.segment.any(Segment::RST) {
            return End::at(self.service, Outcome::DropStrayReset);
        }
        let Some(service) = self.tables.service(self.service) else { return self.unconfigured() };
        if service.flags & ServiceFlags::ADOPT == 0 && !self.tables.is_adopting(self.now) {
            return refuse(frame, self.packet, self.service, Outcome::ResetUnknownFlow);
        }
        let Some(hash) = self.hash() else { return self.unconfigured() };
        let Some(backend) = steer::by_ring(self.tables, self.service, hash) else {
            return refuse(frame, self.packet, self.service, Outcome::ResetNoBackend);
        };
        let half = HalfOpen { adopted: 1, ..self.half_open(backend) };
        self.tables.put_half_open(&self.key, &half);
        self.forward(frame, backend, Outcome::ForwardAdopted)
    }

    /// A request for a connection.
    #[inline(always)]
    fn syn<P: Frame>(&self, frame: &mut P) -> End {
        let flow = self.tables.flow(&self.key);
        // A spoofed SYN must neither move nor end a live flow: the entry stays as it is until an ACK proves the
        // SYN, and the broker's own TCP answers it (RFC 5961 section 4).
        if let Some(flow) = flow
            && flow.state().is_live()
            && self.takes_new(flow.state().backend())
        {
            return self.syn_again(frame, flow.state().backend(), Some(flow));
        }
        if let Some(half) = self.tables.half_open(&self.key)
            && half.adopted == 0
            && self.takes_new(half.backend)
        {
            return self.syn_again(frame, half.backend, flow);
        }
        self.syn_new(frame, flow)
    }

    /// A SYN whose backend is known already.
    #[inline(always)]
    fn syn_again<P: Frame>(&self, frame: &mut P, backend: BackendId, flow: Option<&FlowCell>) -> End {
        match self.tables.half_open(&self.key) {
            Some(half) if half.backend == backend && half.adopted == 0 => {
                half.resyn(self.packet.segment.seq, self.now);
            }
            _ => self.tables.put_half_open(&self.key, &self.half_open(backend)),
        }
        self.expect_successor(flow);
        self.forward(frame, backend, Outcome::ForwardSynAgain)
    }

    /// A SYN that a backend has to be chosen for.
    #[inline(always)]
    fn syn_new<P: Frame>(&self, frame: &mut P, flow: Option<&FlowCell>) -> End {
        let Some(service) = self.tables.service(self.service) else { return self.unconfigured() };
        let Some(hash) = self.hash() else { return self.unconfigured() };
        let limit = self.tables.settings().map_or(0, |settings| settings.flood_syns);
        let flooded = self.tables.with_cpu(|cpu, _| steer::note_syn(cpu, self.now, limit)).unwrap_or(false);
        if flooded || self.tables.is_crowded() {
            let Some(backend) = steer::by_ring(self.tables, self.service, hash) else {
                return refuse(frame, self.packet, self.service, Outcome::ResetNoBackend);
            };
            self.tables.adopt_from(self.now);
            self.tables.count_syn(backend);
            return self.forward(frame, backend, Outcome::ForwardSynStateless);
        }
        let Some(backend) = self.choose(service, hash) else {
            return refuse(frame, self.packet, self.service, Outcome::ResetNoBackend);
        };
        self.tables.count_syn(backend);
        self.tables.put_half_open(&self.key, &self.half_open(backend));
        self.expect_successor(flow);
        self.forward(frame, backend, Outcome::ForwardSyn)
    }

    #[inline(always)]
    fn choose(&self, service: &Service, hash: u64) -> Option<BackendId> {
        let cursor = || self.tables.with_cpu(steer::advance).unwrap_or(0);
        let bits = steer::draw_bits(service.draw(), hash, cursor, || self.tables.random());
        steer::choose(self.tables, self.service, service, service.draws, bits, |_| {})
    }

    /// The connection on the tuple of `flow` is over: its proven successor takes the entry.
    #[inline(always)]
    fn succeed<P: Frame>(&self, frame: &mut P, flow: &FlowCell, half: &HalfOpenCell) -> End {
        let backend = half.backend;
        let old = flow.state();
        if flow.transition(old, FlowState::open(backend)) {
            if old.is_live() {
                self.tables.count_closed(old.backend());
            }
            self.tables.count_opened(backend);
            self.tables.replace_flow(&self.key, &self.fresh(half));
            self.tables.remove_half_open(&self.key);
        }
        self.forward(frame, backend, Outcome::ForwardPromoted)
    }

    /// Notes the client's FIN or RST.
    #[inline(always)]
    fn note_end(&self, flow: &FlowCell) {
        let segment = &self.packet.segment;
        for _ in 0..ATTEMPTS {
            let old = flow.state();
            let next = if !segment.any(Segment::RST) {
                old.with_fin(FlowState::FIN_CLIENT)
            } else if segment.seq == flow.acked() {
                // Only the client knows what its backend last acknowledged (RFC 5961 section 3).
                old.with(FlowState::CLOSED)
            } else {
                old.with(FlowState::RST_UNPROVEN)
            };
            if old == next || flow.transition(old, next) {
                if old.is_live() && !next.is_live() {
                    self.tables.count_closed(old.backend());
                }
                return;
            }
        }
    }

    /// Makes the flow's next packets look for a proof of the SYN.
    #[inline(always)]
    fn expect_successor(&self, flow: Option<&FlowCell>) {
        let Some(flow) = flow else { return };
        for _ in 0..ATTEMPTS {
            let old = flow.state();
            let next = old.with(FlowState::SYN_PENDING);
            if old == next || flow.transition(old, next) {
                return;
            }
        }
    }

    #[inline(always)]
    fn forward<P: Frame>(&self, frame: &mut P, id: BackendId, outcome: Outcome) -> End {
        match self.usable(id) {
            Some(backend) => {
                to_backend(frame, self.tables, self.packet, self.service, (id, backend), outcome)
            }
            None if self.packet.segment.any(Segment::RST) => End::at(self.service, Outcome::DropStrayReset),
            None => refuse(frame, self.packet, self.service, Outcome::ResetBackendGone),
        }
    }

    #[inline(always)]
    fn usable(&self, id: BackendId) -> Option<&Backend> {
        self.tables.backend(id).filter(|backend| backend.present != 0 && backend.service == self.service)
    }

    #[inline(always)]
    fn takes_new(&self, id: BackendId) -> bool {
        let Some(scores) = self.tables.scores() else { return false };
        let flags = scores.0.get(usize::from(id.0)).map_or(0, |score| score.flags);
        flags & (ScoreFlags::READY | ScoreFlags::CLOSED) == ScoreFlags::READY && self.usable(id).is_some()
    }

    #[inline(always)]
    fn is_proof(&self, half: &HalfOpenCell) -> bool {
        let segment = &self.packet.segment;
        segment.any(Segment::ACK) && !segment.any(Segment::RST) && half.is_proven_by(segment.seq, segment.ack)
    }

    #[inline(always)]
    fn hash(&self) -> Option<u64> {
        let segment = &self.packet.segment;
        let words = F::words(self.packet.ip.source, segment.source, segment.destination);
        Some(hash::flow(words, self.tables.settings()?.hash_key))
    }

    #[inline(always)]
    fn half_open(&self, backend: BackendId) -> HalfOpen {
        HalfOpen {
            backend,
            client_isn: self.packet.segment.seq,
            at: self.now,
            hop: self.packet.link.back(self.packet.ingress),
            ..HalfOpen::default()
        }
    }

    #[inline(always)]
    fn fresh(&self, half: &HalfOpenCell) -> Flow {
        Flow {
            state: FlowState::open(half.backend),
            last_seen: self.now,
            opened: self.now,
            acked: self.packet.segment.seq,
            hop: half.hop,
        }
    }

    const fn unconfigured(&self) -> End {
        End::at(self.service, Outcome::DropUnconfigured)
    }
}
