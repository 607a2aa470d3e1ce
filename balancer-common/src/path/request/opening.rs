//! New connections.

use super::{Decision, Request};
use crate::{
    abi::{
        BackendId, CpuState, FlowCell, FlowState, HalfOpen, Room, ScoreFlags, Service, ServiceFlags, Settings,
    },
    outcome::Outcome,
    packet::Family,
    steer::{self, Candidate},
    tables::FamilyTables,
};

impl<F: Family, T: FamilyTables<F>> Request<'_, F, T> {
    /// A request for a connection.
    #[inline(never)]
    pub(super) fn syn(&self) -> Decision {
        let flow = self.tables.flow(&self.key);
        let half = self.tables.half_open(&self.key);
        if let Some(half) = half
            && half.adopted == 0
        {
            // Its client has the cookie: this is a SYN that was long on its way, or another connection's.
            if half.is_shielded() {
                return Decision::stop(Outcome::AnswerCookie);
            }
            if self.takes_new(half.backend) {
                half.resyn(self.packet.segment.seq, &self.packet.link.back(self.packet.ingress), self.now);
                return Decision::forward(half.backend, Outcome::ForwardSynAgain);
            }
        }
        // A spoofed SYN must neither move nor end a live flow: the entry stays as it is until an ACK proves the
        // SYN, and the broker's own TCP answers it (RFC 5961 section 4).
        let known = match flow {
            Some(flow) if flow.state().is_live() => Some(flow.state().backend()),
            _ => None,
        };
        if let Some(backend) = known
            && self.takes_new(backend)
        {
            self.remember(backend, 0);
            self.expect_successor(flow);
            return Decision::forward(backend, Outcome::ForwardSynAgain);
        }
        if flow.is_some() {
            return Decision::open(Outcome::ForwardSyn, Decision::SUCCEEDS);
        }
        if self.is_shielding() {
            // Of a flood's SYNs there is hardly ever one.
            if half.is_some() {
                self.forget();
            }
            return Decision::stop(Outcome::AnswerCookie);
        }
        Decision::open(Outcome::ForwardSyn, if half.is_some() { Decision::REPLACES } else { 0 })
    }

    /// Whether SYNs are answered with cookies. Not in a service whose flows other gateways must be able to carry on, and
    /// not when flows have to do without an entry, for the numbers of shielded ones are remembered.
    #[inline(always)]
    fn is_shielding(&self) -> bool {
        let limit = self.tables.settings().map_or(0, |settings| settings.shield_syns);
        if limit == 0 {
            return false;
        }
        let floods = self.tables.with_cpu(|cpu, _| cpu.syns.floods(self.now, limit)).unwrap_or(false);
        floods
            && self
                .tables
                .service(self.service)
                .is_some_and(|service| service.flags & ServiceFlags::ADOPT == 0)
            && !self.tables.is_crowded()
    }

    /// Chooses a backend for a SYN or a cookie, and remembers it.
    #[inline(always)]
    pub(super) fn open(&self, wanted: Decision) -> Decision {
        let decision = self.choose(wanted);
        if decision.outcome == Outcome::ForwardSyn {
            self.remember(decision.backend, 1);
            if wanted.notes & Decision::SUCCEEDS != 0 {
                self.expect_successor(self.tables.flow(&self.key));
            }
        } else if decision.outcome == Outcome::ForwardCookie {
            self.remember_cookie(decision.backend, wanted);
        } else if decision.outcome == Outcome::ForwardSynStateless && wanted.notes & Decision::REPLACES != 0 {
            self.forget();
        }
        decision
    }

    /// Chooses a backend.
    #[inline(never)]
    fn choose(&self, wanted: Decision) -> Decision {
        let (Some(service), Some(settings)) = (self.tables.service(self.service), self.tables.settings())
        else {
            return Decision::stop(Outcome::DropUnconfigured);
        };
        let Some(hash) = self.hash() else { return Decision::stop(Outcome::DropUnconfigured) };
        match self.tables.room(self.service) {
            Room::Open => {}
            Room::Full => return Decision::stop(Outcome::ResetServiceFull),
            Room::Spent => return self.over_budget(),
        }
        let stateless = self.is_stateless(wanted, settings);
        let chosen = if stateless {
            steer::by_ring(self.tables, self.service, hash)
        } else {
            self.draw(service, hash)
        };
        let Some(backend) = chosen else {
            let spent = self.tables.with_cpu(|cpu, _| cpu.spent != 0).unwrap_or(false);
            return if spent { self.over_budget() } else { Decision::stop(Outcome::ResetNoBackend) };
        };
        // Flows without state have no budget of their backend: it must be the ring's at every packet. Another CPU may
        // have taken what was left since it was looked at.
        if !(stateless || self.tables.spend(backend)) || !self.tables.spend_of_service(self.service) {
            return self.over_budget();
        }
        if stateless {
            self.tables.adopt_from(self.now);
            return Decision::forward(backend, Outcome::ForwardSynStateless);
        }
        self.tables.count_syn(backend);
        Decision::forward(backend, wanted.outcome)
    }

    /// Whether a new flow must do without an entry. Not one that was opened by a cookie: its numbers are remembered, and
    /// its client's address is proven. Nor one that would take over the entry of the flow before: its ACK finds that.
    #[inline(always)]
    fn is_stateless(&self, wanted: Decision, settings: &Settings) -> bool {
        let begin = |cpu: &mut CpuState, _| {
            cpu.spent = 0;
            cpu.flows.floods(self.now, settings.flood_syns)
        };
        let floods = self.tables.with_cpu(begin).unwrap_or(false);
        let is_new = wanted.outcome == Outcome::ForwardSyn && wanted.notes & Decision::SUCCEEDS == 0;
        is_new && (floods || self.tables.is_crowded())
    }

    /// Draws candidates and takes the best.
    #[inline(always)]
    fn draw(&self, service: &Service, hash: u64) -> Option<BackendId> {
        let cursor = || self.tables.with_cpu(steer::advance).unwrap_or(0);
        let bits = steer::draw_bits(service.draw(), hash, cursor, || self.tables.random());
        let note = |candidate: Candidate| {
            if candidate.spent {
                self.tables.with_cpu(|cpu, _| cpu.spent = 1);
            }
        };
        steer::choose(self.tables, self.service, service, service.draws, bits, note)
    }

    /// What finds no budget. It leaves no trace, so that it is steered afresh when it comes again.
    #[inline(always)]
    fn over_budget(&self) -> Decision {
        let refuses = self.tables.refuses_excess(self.service);
        Decision::stop(if refuses { Outcome::ResetOverBudget } else { Outcome::DropOverBudget })
    }

    /// Makes the flow's next packets look for a proof of the SYN.
    #[inline(always)]
    fn expect_successor(&self, flow: Option<&FlowCell>) {
        if let Some(flow) = flow {
            let _moved = self.tables.advance(self.service, flow, |old| old.with(FlowState::SYN_PENDING));
        }
    }

    /// Remembers the SYN, so that its retransmission goes the same way and its ACK proves it.
    #[inline(never)]
    fn remember(&self, backend: BackendId, steered: u8) {
        let half = HalfOpen { steered, ..self.half_open(backend, 0) };
        self.tables.put_half_open(&self.key, &half);
    }

    /// Forgets the connection that was begun on the tuple: the ACK of this SYN would be taken for one of that.
    #[inline(always)]
    fn forget(&self) {
        self.tables.remove_half_open(&self.key);
    }

    #[inline(always)]
    pub(super) fn takes_new(&self, id: BackendId) -> bool {
        let Some(scores) = self.tables.scores() else { return false };
        let flags = scores.get(id).flags;
        flags & (ScoreFlags::READY | ScoreFlags::CLOSED) == ScoreFlags::READY && self.usable(id).is_some()
    }
}
