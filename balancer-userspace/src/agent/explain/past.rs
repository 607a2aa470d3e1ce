//! How it was, by the decision log.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::flow::Refusal;
use super::words;
use super::{invalid, missing};
use crate::agent::answers::failed;
use crate::agent::clock;
use crate::agent::core::Agent;
use crate::api::Question;
use crate::api::wire::{ApiError, BackendFacts, Basis, Condition, Explanation};
use crate::history::{Held, Past, PastBackend, rfc3339};

impl Agent {
    /// What the decision log has of a service, one of its backends or a connection at a wall-clock time.
    pub(super) fn past(
        &self,
        service: &str,
        question: &Question,
        wall: i64,
    ) -> Result<Explanation, ApiError> {
        let past = self.history.at(service, wall, clock::stamp()).map_err(missing)?;
        let mut answer = answer(service, &past, wall);
        if let Some(backend) = &question.backend {
            answer.backends.retain(|facts| facts.name == *backend);
            if answer.backends.is_empty() {
                let known: Vec<&str> = past.backends.keys().map(String::as_str).collect();
                let message = format!(
                    "the decision log knows no backend {backend} of service {service} at {}; it knows: {}",
                    rfc3339(wall),
                    known.join(", ")
                );
                return Err(missing(message));
            }
            answer.backend = Some(backend.clone());
        }
        answer.reasons = told(&answer, &past, wall);
        if let Some(client) = question.client {
            answer.client = Some(client);
            let found = self.client_then(&mut answer, &past, client)?;
            answer.reasons.splice(0..0, found);
        }
        Ok(answer)
    }

    /// Which candidates a client drew. The ring of then is not kept, but known where it is that of now.
    fn client_then(
        &self,
        answer: &mut Explanation,
        past: &Past,
        client: SocketAddr,
    ) -> Result<Vec<String>, ApiError> {
        let service = self.configured(&answer.service)?;
        if client.is_ipv4() != service.vip.is_ipv4() {
            let vip = service.vip;
            return Err(invalid(format!("client {client} and VIP {vip} are of different address families")));
        }
        if !past.same_ring {
            return Ok(vec![format!(
                "which candidates {client} drew is not known any more, as the ring has changed since; the service was:"
            )]);
        }
        let id = self.registry.service_id(service.vip).expect("configured services are registered");
        let frozen = self.frozen_past(id, past).map_err(failed)?;
        let decision = self.decide(&frozen, id, client, service.vip).map_err(failed)?;
        answer.backend = decision.chosen.map(|backend| self.short_name(backend));
        answer.candidates = self.candidates(&decision, &frozen);
        let chosen = match (decision.chosen, decision.refusal) {
            (Some(backend), _) => format!("a new flow of {client} would have gone to {}", self.name(backend)),
            (None, Some(Refusal::Full { .. })) => format!(
                "a new flow of {client} would have been refused: the service had as many connections as its \
                 max_connections allowed"
            ),
            (None, _) => format!("a new flow of {client} would have been refused: no backend took any"),
        };
        let mut reasons = vec![format!(
            "{chosen}, by the scores of the last summary before; the ring is the same since, and each connection in \
             between moved the scores a little"
        )];
        reasons.extend(self.how_drawn(&decision));
        Ok(reasons)
    }
}

fn answer(service: &str, past: &Past, wall: i64) -> Explanation {
    Explanation {
        service: service.to_owned(),
        at: Some(rfc3339(wall)),
        conditions: conditions(&past.conditions, wall),
        backends: past.backends.iter().map(|(name, backend)| facts(name, backend, wall)).collect(),
        ..Explanation::default()
    }
}

fn conditions(held: &BTreeMap<String, Held>, wall: i64) -> Vec<Condition> {
    let condition = |(word, (reason, closes, since)): (&String, &Held)| Condition {
        condition: word.clone(),
        reason: reason.clone(),
        seconds: since.map(|since| seconds(since, wall)),
        closes: *closes,
    };
    held.iter().map(condition).collect()
}

fn seconds(since: i64, wall: i64) -> f64 {
    (wall - since).max(0) as f64 / 1e3
}

fn facts(name: &str, past: &PastBackend, wall: i64) -> BackendFacts {
    let conditions = conditions(&past.conditions, wall);
    let open = was_open(past, &conditions);
    let facts = BackendFacts {
        name: name.to_owned(),
        state: past.state.clone(),
        reason: past.reason.clone(),
        state_seconds: past.since.map(|since| seconds(since, wall)),
        open,
        leaving: conditions.iter().any(|condition| condition.condition == "leaving"),
        standby: conditions.iter().any(|condition| condition.condition == "standby"),
        conditions,
        ..BackendFacts::default()
    };
    let Some((row, at)) = &past.row else { return facts };
    BackendFacts {
        capacity: Some(row.capacity),
        ring_share: row.ring_share,
        live: row.live,
        score: row.score,
        basis: Basis::from_word(&row.basis),
        utilisation: row.utilisation,
        sample_age_seconds: row.sample_age_seconds.map(|age| age + seconds(*at, wall)),
        as_of: Some(rfc3339(*at)),
        ..facts
    }
}

/// Whether it took new flows: as the last summary says, unless something has changed since.
fn was_open(past: &PastBackend, conditions: &[Condition]) -> bool {
    let same = past
        .row
        .as_ref()
        .map(|(row, _)| row)
        .filter(|row| row.state == past.state && row.conditions.iter().eq(past.conditions.keys()));
    let closes = || past.state != "up" || conditions.iter().any(|condition| condition.closes);
    same.map_or_else(|| !closes(), |row| row.open)
}

/// The past in sentences.
fn told(answer: &Explanation, past: &Past, wall: i64) -> Vec<String> {
    let at = rfc3339(wall);
    let mut lines = past.notes.clone();
    lines.push(format!("service {} at {at}, by the decision log:", answer.service));
    if let Some((when, why, moved, slots)) = &past.ring {
        let ago = words::span(seconds(*when, wall));
        lines.push(format!("the ring had changed {ago} before: {why}; {moved} of {slots} slots moved"));
    }
    lines.extend(answer.conditions.iter().map(words::condition));
    for facts in &answer.backends {
        lines.extend(told_of(answer, facts));
    }
    lines
}

fn told_of(answer: &Explanation, facts: &BackendFacts) -> Vec<String> {
    let since =
        facts.state_seconds.map(|seconds| format!(" for {}", words::span(seconds))).unwrap_or_default();
    let reason = facts.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let took = if facts.open { "took new flows" } else { "took no new flows" };
    let mut lines =
        vec![format!("{}/{} was {}{since}{reason}; it {took}", answer.service, facts.name, facts.state)];
    lines.extend(facts.conditions.iter().map(|held| format!("{}: {}", facts.name, words::condition(held))));
    if let Some(as_of) = &facts.as_of {
        let level = facts
            .utilisation
            .map(|level| format!(", utilisation {}", words::percent(level)))
            .unwrap_or_default();
        let age = facts
            .sample_age_seconds
            .map(|age| format!(", last reading {} old", words::span(age)))
            .unwrap_or_default();
        lines.push(format!(
            "{}: score {}, {} live, {} of the ring{level}{age}, by the summary of {as_of}",
            facts.name,
            words::number(answer, facts.score),
            facts.live,
            words::percent(facts.ring_share)
        ));
    }
    lines
}
