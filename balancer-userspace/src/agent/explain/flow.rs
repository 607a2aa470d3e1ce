//! Why a connection goes where it goes: the program's own decision, made again from the same maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use balancer_common::abi::{
    BackendId, Draw, FlowState, MAX_BACKENDS, Ring, Room, Score, ScoreFlags, ScoreTable, Service, ServiceId,
};
use balancer_common::packet::{Family, V4, V6};
use balancer_common::steer::{self, Candidate, Stage, Steering, hash};

use super::{invalid, words};
use crate::agent::answers::failed;
use crate::agent::clock;
use crate::agent::core::{Agent, from_q32};
use crate::agent::spells::Kind;
use crate::api::wire::{self, ApiError, Explanation};
use crate::config::ServiceConfig;
use crate::history::{Past, rfc3339};
use crate::kernel::{Error, FlowKey};

/// The maps as they are at one moment.
pub(super) struct Frozen {
    ring: Box<Ring>,
    scores: Box<ScoreTable>,
    live: BTreeMap<BackendId, u64>,
    /// Backends that have used up their budget of new connections for the moment.
    spent: BTreeSet<BackendId>,
    /// What the service has for one more connection, which the program asks for before it draws anybody.
    room: Room,
    /// Whether a SYN that finds no budget is answered with a RST, and not discarded.
    refuses: bool,
    /// Whether new flows leave no state for the moment, so that the ring alone decides.
    stateless: bool,
}

impl Steering for Frozen {
    fn ring(&self, _: ServiceId) -> Option<&Ring> {
        Some(&self.ring)
    }

    fn scores(&self) -> Option<&ScoreTable> {
        Some(&self.scores)
    }

    fn live(&self, backend: BackendId) -> u64 {
        self.live.get(&backend).copied().unwrap_or(0)
    }

    fn has_budget(&self, backend: BackendId) -> bool {
        !self.spent.contains(&backend)
    }
}

/// What was drawn and chosen.
pub(super) struct Decision {
    pub(super) service: Service,
    pub(super) seen: Vec<Candidate>,
    /// Who gets the flow.
    pub(super) chosen: Option<BackendId>,
    /// Why nobody does.
    pub(super) refusal: Option<Refusal>,
    /// Whether the ring alone decided.
    pub(super) stateless: bool,
}

/// Why a SYN goes to no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No backend takes it.
    NoBackend,
    /// The service has as many connections as it may have. With room it would go there.
    Full { else_to: Option<BackendId> },
    /// The service's budget is used up. With more it would go there.
    Spent { else_to: Option<BackendId>, refuses: bool },
    /// Backends would take it, but for their budgets.
    BackendsSpent { refuses: bool },
}

impl Refusal {
    /// What the program makes of its answer about room and the choice that followed, as `steer` of the packet path does.
    fn of(frozen: &Frozen, chosen: Option<BackendId>, seen: &[Candidate]) -> Option<Self> {
        let refuses = frozen.refuses;
        match frozen.room {
            Room::Full => Some(Self::Full { else_to: chosen }),
            Room::Spent => Some(Self::Spent { else_to: chosen, refuses }),
            Room::Open if chosen.is_some() => None,
            Room::Open if seen.iter().any(|candidate| candidate.spent) => {
                Some(Self::BackendsSpent { refuses })
            }
            Room::Open => Some(Self::NoBackend),
        }
    }

    /// What happens, and why.
    pub(super) const fn told(self) -> (&'static str, &'static str) {
        const AGAIN: &str = "dropped, so that the client's TCP tries again and is then steered afresh";
        const RST: &str = "refused with a RST";
        match self {
            Self::NoBackend => (RST, "no backend takes any"),
            Self::Full { .. } => (RST, "the service has as many connections as its max_connections allows"),
            Self::Spent { refuses: true, .. } => (RST, SERVICE_SPENT),
            Self::Spent { refuses: false, .. } => (AGAIN, SERVICE_SPENT),
            Self::BackendsSpent { refuses: true } => (RST, BACKENDS_SPENT),
            Self::BackendsSpent { refuses: false } => (AGAIN, BACKENDS_SPENT),
        }
    }

    /// Who would get the flow if the service had room.
    const fn else_to(self) -> Option<BackendId> {
        match self {
            Self::Full { else_to } | Self::Spent { else_to, .. } => else_to,
            Self::NoBackend | Self::BackendsSpent { .. } => None,
        }
    }
}

const STATELESS: &str = "new flows leave no state for the moment: the slot of the ring that the client's address and port hash \
                         to decides, whatever the scores, and the first after it whose backend is up";

const SERVICE_SPENT: &str = "the service's budget of new connections is used up for the moment";

const BACKENDS_SPENT: &str = "the backends that take new flows have used up their budgets for the moment";

impl Agent {
    /// Where a connection of `client` goes or would go.
    pub(super) fn explain_client(
        &self,
        mut answer: Explanation,
        service: &ServiceConfig,
        client: SocketAddr,
    ) -> Result<Explanation, ApiError> {
        let id = self.id_for(service, client)?;
        answer.client = Some(client);
        let key = FlowKey::new(client, id);
        if let Some(flow) = self.flows.get(&key).map_err(failed)? {
            let backend = flow.state.backend();
            let shown = self.wire_flow(&key, &flow);
            answer
                .reasons
                .push(format!("{client} has a flow to {}; a flow stays where it is", self.name(backend)));
            if flow.state.any(FlowState::SHIELDED) {
                answer.reasons.push(
                    "it was opened by a SYN cookie while SYNs were flooding, and its numbers are translated"
                        .to_owned(),
                );
            }
            answer.reasons.extend(self.when_opened(&answer, shown.age_seconds));
            answer.backends.retain(|facts| facts.name == shown.backend);
            answer.backend = Some(shown.backend.clone());
            answer.flow = Some(shown);
            return Ok(answer);
        }
        if let Some(half) = self.flows.half_open(&key).map_err(failed)? {
            let name = self.short_name(half.backend);
            let backend = self.name(half.backend);
            answer.reasons.push(if half.mss == 0 {
                format!(
                    "{client} has sent a SYN that was steered to {backend} and has not been acknowledged yet; another SYN \
                     goes there too"
                )
            } else {
                format!("{client} has shown its SYN cookie, and {backend} was asked for the connection")
            });
            answer.backends.retain(|facts| facts.name == name);
            answer.backend = Some(name);
            return Ok(answer);
        }
        let frozen = self.frozen(id).map_err(failed)?;
        let decision = self.decide(&frozen, id, client, service.vip).map_err(failed)?;
        answer.backend = decision.chosen.map(|backend| self.short_name(backend));
        answer.candidates = self.candidates(&decision, &frozen);
        let drawn = |name: &str| answer.candidates.iter().any(|candidate| candidate.backend == name);
        answer.backends.retain(|facts| drawn(&facts.name));
        answer.reasons = self.why(client, &decision);
        let details = answer.backends.iter().flat_map(|facts| {
            let told = words::score(&answer, facts).into_iter();
            let told = told.chain(facts.conditions.iter().map(words::condition));
            told.map(|line| format!("{}: {line}", facts.name))
        });
        let details: Vec<String> = details.collect();
        answer.reasons.extend(details);
        Ok(answer)
    }

    fn id_for(&self, service: &ServiceConfig, client: SocketAddr) -> Result<ServiceId, ApiError> {
        if client.is_ipv4() != service.vip.is_ipv4() {
            let message =
                format!("client {client} and VIP {} are of different address families", service.vip);
            return Err(invalid(message));
        }
        Ok(self.registry.service_id(service.vip).expect("configured services are registered"))
    }

    /// What the decision log has of the moment at which a flow was established.
    fn when_opened(&self, answer: &Explanation, age: f64) -> Option<String> {
        let now = clock::stamp();
        let ago = i64::try_from(Duration::try_from_secs_f64(age).ok()?.as_millis()).ok()?;
        let wall = now.wall - ago;
        let past = self.history.at(&answer.service, wall, now).ok()?;
        let mut rows: Vec<_> =
            past.backends.iter().filter_map(|(name, backend)| Some((name, backend.row.as_ref()?))).collect();
        rows.sort_by(|(_, (a, _)), (_, (b, _))| a.score.total_cmp(&b.score));
        let (_, (_, at)) = rows.first()?;
        let scores: Vec<String> = rows
            .iter()
            .map(|(name, (row, _))| {
                let closed = if row.open { "" } else { " (took none)" };
                format!("{name} {}{closed}", words::number(answer, row.score))
            })
            .collect();
        Some(format!(
            "it was established about {}, and by the summary of {} scores were: {}",
            rfc3339(wall),
            rfc3339(*at),
            scores.join(", ")
        ))
    }

    /// The maps that decide about a service's new flows.
    fn frozen(&self, id: ServiceId) -> Result<Frozen, Error> {
        Ok(Frozen {
            ring: self.steering.ring(id)?,
            scores: self.steering.scores()?,
            live: self.live(),
            spent: self.without_budget()?,
            room: self.room(id)?,
            refuses: self.steering.service_pace(id)?.refuse != 0,
            stateless: self.spells.since(id, Kind::RingAlone).is_some(),
        })
    }

    /// The ring of the present with the scores of the past.
    pub(super) fn frozen_past(&self, id: ServiceId, past: &Past) -> Result<Frozen, Error> {
        let mut scores = Box::new(ScoreTable([Score::default(); MAX_BACKENDS]));
        let mut live = BTreeMap::new();
        for (_, _, backend, name, _) in self.registry.backends().filter(|(service, ..)| *service == id) {
            let row = past.backends.get(name).and_then(|backend| backend.row.as_ref());
            if let (Some((row, _)), Some(score)) = (row, scores.0.get_mut(usize::from(backend.0))) {
                let flags = if row.open { ScoreFlags::READY } else { 0 };
                let base = (row.score * Score::ONE as f64).clamp(0.0, u64::MAX as f64) as u64;
                *score = Score { base, flags, counted: row.live, ..Score::default() };
                live.insert(backend, row.live);
            }
        }
        // What was left of a budget at a moment is not logged.
        let full = past.conditions.contains_key("service-capped");
        let room = if full { Room::Full } else { Room::Open };
        let (ring, spent) = (self.steering.ring(id)?, BTreeSet::new());
        let stateless = past.conditions.contains_key(Kind::RingAlone.word());
        Ok(Frozen { ring, scores, live, spent, room, refuses: false, stateless })
    }

    /// Decides as the program would.
    pub(super) fn decide(
        &self,
        frozen: &Frozen,
        id: ServiceId,
        client: SocketAddr,
        vip: SocketAddr,
    ) -> Result<Decision, Error> {
        let service = self.steering.service(id)?;
        let words = match client {
            SocketAddr::V4(v4) => V4::words(v4.ip().octets(), port(client), port(vip)),
            SocketAddr::V6(v6) => V6::words(v6.ip().octets(), port(client), port(vip)),
        };
        let bits = hash::flow(words, self.steering.settings()?.hash_key);
        let mut seen = Vec::new();
        let chosen = if frozen.stateless {
            steer::by_ring(frozen, id, bits)
        } else {
            steer::choose(frozen, id, &service, service.draws, bits, |candidate| seen.push(candidate))
        };
        let refusal = Refusal::of(frozen, chosen, &seen);
        let chosen = chosen.filter(|_| refusal.is_none());
        Ok(Decision { service, seen, chosen, refusal, stateless: frozen.stateless })
    }

    /// The candidates as they go over the socket.
    pub(super) fn candidates(&self, decision: &Decision, frozen: &Frozen) -> Vec<wire::Candidate> {
        // The same backend may be drawn more than once; the first draw is the one that won.
        let won = |candidate: &Candidate| candidate.open && Some(candidate.backend) == decision.chosen;
        let winner = decision.seen.iter().position(won);
        let candidates = decision.seen.iter().enumerate();
        candidates
            .map(|(index, candidate)| self.wire_candidate(candidate, frozen, Some(index) == winner))
            .collect()
    }

    fn why(&self, client: SocketAddr, decision: &Decision) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(backend) = decision.chosen {
            reasons.push(format!("{client} has no flow; a new one would go to {}", self.name(backend)));
        }
        if let Some(refusal) = decision.refusal {
            let (end, why) = refusal.told();
            reasons.push(format!("{client} has no flow; a new one would be {end}: {why}"));
            let else_to = refusal.else_to().map(|backend| self.name(backend));
            reasons.extend(else_to.map(|name| format!("if it were admitted it would go to {name}")));
        }
        reasons.extend(self.how_drawn(decision));
        reasons
    }

    /// How the candidates were found, and why the winner won.
    pub(super) fn how_drawn(&self, decision: &Decision) -> Vec<String> {
        if decision.stateless {
            return vec![STATELESS.to_owned()];
        }
        let mut reasons = Vec::new();
        match decision.service.draw() {
            Draw::Hash if decision.service.draws == 1 => {
                reasons.push("the slot of the ring that the client's address and port hash to decides".to_owned());
            }
            Draw::Hash => reasons.push(format!(
                "{} candidates are drawn from the ring by hash of the client's address and port; the lowest score wins",
                decision.service.draws
            )),
            Draw::Counter => reasons.push(
                "the policy takes the backends of the ring in turn, so the next one depends on what came before; \
                 the hash stands in for the turn here"
                    .to_owned(),
            ),
            Draw::Random => reasons
                .push("the policy draws at random; the hash stands in for the draw here".to_owned()),
        }
        if decision.seen.iter().any(|candidate| candidate.stage == Stage::Walk) {
            reasons.push(
                "every candidate drawn was closed, so the next slots of the ring were tried".to_owned(),
            );
        }
        if decision.seen.iter().any(|candidate| candidate.stage == Stage::Standby) {
            reasons.push("no backend of the ring takes new flows, so the standbys were asked".to_owned());
        }
        reasons
    }

    fn wire_candidate(&self, candidate: &Candidate, frozen: &Frozen, chosen: bool) -> wire::Candidate {
        let score = frozen.scores.get(candidate.backend);
        let closed = (!candidate.open).then(|| {
            let flags = score.flags;
            let reasons = [
                (flags & ScoreFlags::READY == 0, "not in rotation"),
                (flags & ScoreFlags::DRAIN != 0, "draining"),
                (flags & ScoreFlags::DOWN != 0, "down"),
                (flags & ScoreFlags::EXHAUSTED != 0, "a resource is nearly used up"),
                (flags & ScoreFlags::EJECTED != 0, "SYNs to it fail"),
                (score.cap != 0 && candidate.live >= u64::from(score.cap), "at its cap"),
                (candidate.spent, "over its budget of new connections for the moment"),
            ];
            let reasons: Vec<&str> =
                reasons.iter().filter(|(holds, _)| *holds).map(|(_, text)| *text).collect();
            reasons.join(", ")
        });
        wire::Candidate {
            backend: self.short_name(candidate.backend),
            slot: (candidate.stage != Stage::Standby).then(|| u32::from(candidate.slot)),
            score: from_q32(candidate.predicted),
            live: candidate.live,
            closed,
            chosen,
        }
    }
}

const fn port(address: SocketAddr) -> [u8; 2] {
    address.port().to_be_bytes()
}

#[cfg(test)]
mod tests;
