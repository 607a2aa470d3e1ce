//! Why a connection goes where it goes: the program's own decision, made again from the same maps.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use balancer_common::abi::{BackendId, Draw, Ring, ScoreFlags, ScoreTable, Service, ServiceId};
use balancer_common::packet::{Family, V4, V6};
use balancer_common::steer::{self, Candidate, Stage, Steering, hash};

use super::core::{Agent, from_q32};
use crate::api::wire::{self, ApiError, ErrorCode, Explanation};
use crate::kernel::{Error, FlowKey};

/// The maps as they are at one moment.
struct Frozen {
    ring: Box<Ring>,
    scores: Box<ScoreTable>,
    live: BTreeMap<BackendId, u64>,
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
}

impl Agent {
    /// Where a connection of `client` to a service goes or would go.
    pub(super) fn explain(&self, name: &str, client: SocketAddr) -> Result<Explanation, ApiError> {
        let service = self.config.services.iter().find(|service| service.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.config.services.iter().map(|service| service.name.as_str()).collect();
            ApiError::new(ErrorCode::NotFound, format!("no service {name}; there are: {}", known.join(", ")))
        })?;
        if client.is_ipv4() != service.vip.is_ipv4() {
            let message =
                format!("client {client} and VIP {} are of different address families", service.vip);
            return Err(ApiError::new(ErrorCode::Invalid, message));
        }
        let id = self.registry.service_id(service.vip).expect("configured services are registered");
        let failed = |error: Error| ApiError::new(ErrorCode::Failed, error.to_string());
        self.explain_flow(name, id, client, service.vip).map_err(failed)
    }

    fn explain_flow(
        &self,
        name: &str,
        id: ServiceId,
        client: SocketAddr,
        vip: SocketAddr,
    ) -> Result<Explanation, Error> {
        let mut answer = Explanation {
            service: name.to_owned(),
            client,
            backend: None,
            flow: None,
            candidates: Vec::new(),
            reasons: Vec::new(),
        };
        let key = FlowKey::new(client, id);
        if let Some(flow) = self.flows.get(&key)? {
            let backend = self.name(flow.state.backend());
            answer.reasons.push(format!("{client} has a flow to {backend}; a flow stays where it is"));
            answer.backend = Some(self.short_name(flow.state.backend()));
            answer.flow = Some(self.wire_flow(&key, &flow));
            return Ok(answer);
        }
        let service = self.steering.service(id)?;
        let frozen = Frozen {
            ring: self.steering.ring(id)?,
            scores: self.steering.scores()?,
            live: self
                .registry
                .backends()
                .map(|(_, _, id, ..)| Ok((id, self.counters.live(id)?)))
                .collect::<Result<_, Error>>()?,
        };
        let words = match client {
            SocketAddr::V4(v4) => V4::words(v4.ip().octets(), port(client), port(vip)),
            SocketAddr::V6(v6) => V6::words(v6.ip().octets(), port(client), port(vip)),
        };
        let bits = hash::flow(words, self.steering.settings()?.hash_key);
        let mut seen = Vec::new();
        let chosen =
            steer::choose(&frozen, id, &service, service.draws, bits, |candidate| seen.push(candidate));
        answer.backend = chosen.map(|backend| self.short_name(backend));
        // The same backend may be drawn more than once; the first draw is the one that won.
        let winner = seen.iter().position(|candidate| candidate.open && Some(candidate.backend) == chosen);
        let candidates = seen.iter().enumerate();
        answer.candidates = candidates
            .map(|(index, candidate)| self.wire_candidate(candidate, &frozen, Some(index) == winner))
            .collect();
        answer.reasons = self.reasons(client, &service, &seen, chosen);
        Ok(answer)
    }

    fn reasons(
        &self,
        client: SocketAddr,
        service: &Service,
        seen: &[Candidate],
        chosen: Option<BackendId>,
    ) -> Vec<String> {
        let mut reasons = vec![match chosen {
            Some(backend) => format!("{client} has no flow; a new one would go to {}", self.name(backend)),
            None => format!("{client} has no flow; a new one would be refused: no backend takes any"),
        }];
        match service.draw() {
            Draw::Hash => reasons.push(format!(
                "{} candidates are drawn from the ring by hash of the client's address and port; the lowest \
                 predicted utilisation wins",
                service.draws
            )),
            Draw::Counter => reasons.push(
                "the policy takes the backends of the ring in turn, so the next one depends on what came before; \
                 the hash stands in for the turn here"
                    .to_owned(),
            ),
            Draw::Random => reasons.push(
                "the policy draws at random; the hash stands in for the draw here".to_owned(),
            ),
        }
        if seen.iter().any(|candidate| candidate.stage == Stage::Walk) {
            reasons.push(
                "every candidate drawn was closed, so the next slots of the ring were tried".to_owned(),
            );
        }
        if seen.iter().any(|candidate| candidate.stage == Stage::Standby) {
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
