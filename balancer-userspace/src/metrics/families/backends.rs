//! Families of backends and of their traffic.

use super::{Family, Kind, Labels, Sample, Value};
use crate::api::wire::{Backend, BackendState, Status, Traffic};

/// A family with one sample per backend, where it has a value.
macro_rules! backend {
    ($name:literal, $kind:ident, $help:literal, |$backend:ident| $value:expr) => {
        Family {
            name: concat!("balancer_backend_", $name),
            kind: Kind::$kind,
            help: $help,
            labels: "service, backend",
            samples: |status| per_backend(status, |$backend| $value),
        }
    };
}

fn per_backend(status: &Status, value: fn(&Backend) -> Option<Value>) -> Vec<Sample<'_>> {
    let sample = |backend| Some(Sample { labels: labels(backend), value: value(backend)? });
    status.backends.iter().filter_map(sample).collect()
}

fn labels(backend: &Backend) -> Labels<'_> {
    vec![("service", backend.service.as_str()), ("backend", backend.name.as_str())]
}

#[expect(clippy::unnecessary_wraps, reason = "a row's value is an option, because telemetry may be missing")]
const fn count(count: u64) -> Option<Value> {
    Some(Value::Count(count))
}

#[expect(clippy::unnecessary_wraps, reason = "as of `count`")]
const fn level(level: f64) -> Option<Value> {
    Some(Value::Level(level))
}

pub(super) fn backends() -> Vec<Family> {
    vec![
        backend!("connections", Gauge, "Live connections", |b| count(b.live)),
        backend!("flows_opened", Counter, "Flows that the client has proven", |b| count(b.opened)),
        backend!(
            "syns",
            Counter,
            "SYNs steered to the backend, but for those that a flood leaves without state",
            |b| count(b.syns)
        ),
        backend!("syns_refused", Counter, "SYNs that the backend answered with a RST", |b| count(b.refused)),
        backend!(
            "syns_answered",
            Counter,
            "SYNs that the backend answered with a SYN-ACK, each once however often it was sent",
            |b| count(b.answered)
        ),
        backend!(
            "budget_connects_per_second",
            Gauge,
            "Plain connects per second that are admitted now, absent without a budget",
            |b| b.budget.map(|budget| Value::Level(budget.per_second))
        ),
        backend!(
            "ejections",
            Counter,
            "Times that it was closed because its SYNs failed, since the agent started",
            |b| count(b.ejections)
        ),
        backend!("trial", Gauge, "1 while it is on trial after an ejection", |b| count(u64::from(b.trial))),
        backend!("score_ratio", Gauge, "Predicted utilisation that new flows are steered by", |b| level(
            b.score
        )),
        backend!(
            "utilisation_ratio",
            Gauge,
            "Filtered utilisation from telemetry, absent when not in use",
            |b| b.utilisation.map(Value::Level)
        ),
        backend!(
            "connection_cost_ratio",
            Gauge,
            "Predicted cost of one more connection, as utilisation",
            |b| level(b.cost)
        ),
        backend!("ring_share_ratio", Gauge, "Share of the ring", |b| level(b.ring_share)),
        backend!("weight", Gauge, "Weight in force, 1 to 1000", |b| count(u64::from(b.weight))),
        backend!("max_connections", Gauge, "Cap on live connections, absent without one", |b| b
            .max_connections
            .map(|cap| Value::Count(u64::from(cap)))),
        backend!(
            "sample_age_seconds",
            Gauge,
            "Age of the last accepted reading, absent before the first",
            |b| b.sample_age_seconds.map(Value::Level)
        ),
        backend!(
            "broker_connections",
            Gauge,
            "Connections that the broker itself counts, absent when it does not",
            |b| b.broker_connections.map(Value::Count)
        ),
        backend!(
            "cluster_members",
            Gauge,
            "Nodes that the broker believes its cluster to have, absent when it does not tell",
            |b| b.cluster_members.map(Value::Count)
        ),
        Family {
            name: "balancer_backend_state",
            kind: Kind::Gauge,
            help: "1 for the state that the backend is in, 0 for the others",
            labels: "service, backend, state",
            samples: states,
        },
    ]
}

fn states(status: &Status) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for backend in &status.backends {
        for state in BackendState::ALL {
            let mut labels = labels(backend);
            labels.push(("state", state.word()));
            samples.push(Sample { labels, value: Value::Count(u64::from(backend.state == state)) });
        }
    }
    samples
}

fn directions(status: &Status, values: fn(&Traffic) -> [u64; 2]) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for backend in &status.backends {
        for (direction, value) in ["in", "out"].into_iter().zip(values(&backend.traffic)) {
            let mut labels = labels(backend);
            labels.push(("direction", direction));
            samples.push(Sample { labels, value: Value::Count(value) });
        }
    }
    samples
}

fn outcomes(status: &Status) -> Vec<Sample<'_>> {
    (status.outcomes.iter())
        .map(|o| Sample {
            labels: vec![("service", o.service.as_deref().unwrap_or("")), ("outcome", o.outcome.as_str())],
            value: Value::Count(o.packets),
        })
        .collect()
}

pub(super) fn traffic() -> Vec<Family> {
    vec![
        Family {
            name: "balancer_backend_packets",
            kind: Kind::Counter,
            help: "Packets forwarded, from clients (in) and to them (out)",
            labels: "service, backend, direction",
            samples: |status| directions(status, |traffic| [traffic.packets_in, traffic.packets_out]),
        },
        Family {
            name: "balancer_backend_bytes",
            kind: Kind::Counter,
            help: "Bytes of the frames forwarded, from clients (in) and to them (out)",
            labels: "service, backend, direction",
            samples: |status| directions(status, |traffic| [traffic.bytes_in, traffic.bytes_out]),
        },
        Family {
            name: "balancer_packets",
            kind: Kind::Counter,
            help: "Packets by outcome; without a service those that are not for one",
            labels: "service, outcome",
            samples: outcomes,
        },
    ]
}
