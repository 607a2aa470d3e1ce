//! The table of metric families.

use std::fmt::{self, Write};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::api::wire::{Backend, BackendState, Discovery, Service, Status, Table, Traffic};

/// Labels of a sample.
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// One sample of a family.
struct Sample<'a> {
    labels: Labels<'a>,
    value: Value,
}

#[derive(Clone, Copy)]
enum Value {
    Count(u64),
    Level(f64),
}

/// What a family is to Prometheus.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// One metric family.
pub(super) struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    labels: &'static str,
    samples: fn(&Status) -> Vec<Sample<'_>>,
}

impl Family {
    /// Writes its samples.
    pub(super) fn encode(&self, status: &Status, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let samples = (self.samples)(status);
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for sample in samples {
            let value = Typed { kind, value: sample.value };
            if sample.labels.is_empty() {
                value.encode(family)?;
                break;
            }
            value.encode(family.encode_family(&sample.labels.as_slice())?)?;
        }
        Ok(())
    }
}

struct Typed {
    kind: MetricType,
    value: Value,
}

impl EncodeMetric for Typed {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match (self.kind, self.value) {
            (MetricType::Counter, Value::Count(count)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)
            }
            (_, Value::Count(count)) => encoder.encode_gauge(&count),
            (_, Value::Level(level)) => encoder.encode_gauge(&level),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

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

/// Every family, in the order of the page.
pub(super) fn all() -> Vec<Family> {
    [backends(), traffic(), services(), closing(), tables(), agent()].into_iter().flatten().collect()
}

fn backends() -> Vec<Family> {
    vec![
        backend!("connections", Gauge, "Live connections", |b| count(b.live)),
        backend!("flows_opened", Counter, "Flows that the client has proven", |b| count(b.opened)),
        backend!("syns", Counter, "SYNs steered to the backend", |b| count(b.syns)),
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
        backend!("ejections", Counter, "Times that it was closed because its SYNs failed", |b| count(
            b.ejections
        )),
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

fn traffic() -> Vec<Family> {
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

fn discovered(status: &Status, value: fn(&Discovery) -> Option<Value>) -> Vec<Sample<'_>> {
    fn of(service: &Service, value: fn(&Discovery) -> Option<Value>) -> Option<Sample<'_>> {
        let value = value(service.discovery.as_ref()?)?;
        Some(Sample { labels: vec![("service", service.name.as_str())], value })
    }
    status.services.iter().filter_map(|service| of(service, value)).collect()
}

fn services() -> Vec<Family> {
    fn some(status: &Status, value: fn(&Service) -> Option<Value>) -> Vec<Sample<'_>> {
        let services = status.services.iter();
        services
            .filter_map(|s| Some(Sample { labels: vec![("service", s.name.as_str())], value: value(s)? }))
            .collect()
    }
    fn each(status: &Status, value: fn(&Service) -> u64) -> Vec<Sample<'_>> {
        let sample = |s: &'_ Service| Value::Count(value(s));
        status
            .services
            .iter()
            .map(|s| Sample { labels: vec![("service", s.name.as_str())], value: sample(s) })
            .collect()
    }
    vec![
        Family {
            name: "balancer_service_backends",
            kind: Kind::Gauge,
            help: "Backends of the service",
            labels: "service",
            samples: |status| each(status, |s| s.backends as u64),
        },
        Family {
            name: "balancer_discovery_backends",
            kind: Kind::Gauge,
            help: "Backends in the last good answer of the discovery, absent without one",
            labels: "service",
            samples: |status| discovered(status, |d| Some(Value::Count(d.backends as u64))),
        },
        Family {
            name: "balancer_discovery_missing_backends",
            kind: Kind::Gauge,
            help: "Backends that good answers lack, drained before they leave",
            labels: "service",
            samples: |status| discovered(status, |d| Some(Value::Count(d.missing as u64))),
        },
        Family {
            name: "balancer_discovery_answer_age_seconds",
            kind: Kind::Gauge,
            help: "Age of the last good answer, absent before the first",
            labels: "service",
            samples: |status| discovered(status, |d| d.answer_age_seconds.map(Value::Level)),
        },
        Family {
            name: "balancer_discovery_failures",
            kind: Kind::Counter,
            help: "Answers of the discovery that were not used, since the agent started",
            labels: "service",
            samples: |status| discovered(status, |d| Some(Value::Count(d.failures))),
        },
        Family {
            name: "balancer_service_backends_up",
            kind: Kind::Gauge,
            help: "Backends of the service that take new flows",
            labels: "service",
            samples: |status| each(status, |s| s.backends_up as u64),
        },
        Family {
            name: "balancer_service_panic",
            kind: Kind::Gauge,
            help: "1 while so few backends are up that what probes say is set aside",
            labels: "service",
            samples: |status| each(status, |s| u64::from(s.panic)),
        },
        Family {
            name: "balancer_service_alarm",
            kind: Kind::Gauge,
            help: "1 while brokers raise an alarm of their whole cluster, so that admission is slowed",
            labels: "service",
            samples: |status| each(status, |s| u64::from(!s.alarms.is_empty())),
        },
        Family {
            name: "balancer_service_cluster_disagrees",
            kind: Kind::Gauge,
            help: "1 while brokers do not count as many nodes of their cluster as others do: it may be split",
            labels: "service",
            samples: |status| each(status, |s| u64::from(s.cluster_disagrees)),
        },
        Family {
            name: "balancer_service_over_budget",
            kind: Kind::Counter,
            help: "SYNs dropped or refused because no budget of the service or of its backends was left",
            labels: "service",
            samples: |status| each(status, |s| s.over_budget),
        },
        Family {
            name: "balancer_service_max_connections",
            kind: Kind::Gauge,
            help: "Cap on live connections of the service, absent without one",
            labels: "service",
            samples: |status| some(status, |s| s.max_connections.map(|cap| Value::Count(u64::from(cap)))),
        },
        Family {
            name: "balancer_service_budget_connections_per_second",
            kind: Kind::Gauge,
            help: "New connections per second that are admitted now, absent without a budget",
            labels: "service",
            samples: |status| some(status, |s| s.budget.map(|budget| Value::Level(budget.per_second))),
        },
        Family {
            name: "balancer_service_open_priority",
            kind: Kind::Gauge,
            help: "The last priority group that new flows are steered to",
            labels: "service",
            samples: |status| each(status, |s| u64::from(s.open_priority)),
        },
    ]
}

fn closed(status: &Status) -> Vec<Sample<'_>> {
    (status.closed.iter())
        .map(|c| Sample {
            labels: vec![
                ("service", c.service.as_str()),
                ("backend", c.backend.as_str()),
                ("reason", c.reason.word()),
            ],
            value: Value::Count(c.flows),
        })
        .collect()
}

fn listed(status: &Status) -> Vec<Sample<'_>> {
    (status.runs.iter())
        .map(|run| Sample {
            labels: vec![("service", run.service.as_str()), ("reason", run.kind.word())],
            value: Value::Count(run.listed),
        })
        .collect()
}

fn closing() -> Vec<Family> {
    vec![
        Family {
            name: "balancer_flows_closed",
            kind: Kind::Counter,
            help: "Flows closed by order of the operator, since the agent started",
            labels: "service, backend, reason",
            samples: closed,
        },
        Family {
            name: "balancer_flows_listed",
            kind: Kind::Gauge,
            help: "Flows that a rebalancing or drain closes at their next packet with data",
            labels: "service, reason",
            samples: listed,
        },
    ]
}

fn tables() -> Vec<Family> {
    fn each(status: &Status, value: fn(&Table) -> u64) -> Vec<Sample<'_>> {
        let sample = |t: &'_ Table| Value::Count(value(t));
        status
            .tables
            .iter()
            .map(|t| Sample { labels: vec![("table", t.name.as_str())], value: sample(t) })
            .collect()
    }
    vec![
        Family {
            name: "balancer_flow_table_entries",
            kind: Kind::Gauge,
            help: "Flows in the table",
            labels: "table",
            samples: |status| each(status, |t| t.used),
        },
        Family {
            name: "balancer_flow_table_capacity",
            kind: Kind::Gauge,
            help: "Flows that the table has room for",
            labels: "table",
            samples: |status| each(status, |t| t.capacity),
        },
        Family {
            name: "balancer_flow_table_high",
            kind: Kind::Gauge,
            help: "Flows from which on new ones are steered by the ring alone",
            labels: "table",
            samples: |status| each(status, |t| t.high),
        },
    ]
}

fn interfaces(status: &Status) -> Vec<Sample<'_>> {
    (status.interfaces.iter())
        .map(|i| Sample {
            labels: vec![("interface", i.name.as_str()), ("mode", i.mode.word())],
            value: Value::Count(1),
        })
        .collect()
}

/// A family with one sample and no labels.
macro_rules! one {
    ($name:literal, $kind:ident, $help:literal, |$status:ident| $value:expr) => {
        Family {
            name: concat!("balancer_", $name),
            kind: Kind::$kind,
            help: $help,
            labels: "",
            samples: |$status| vec![Sample { labels: Vec::new(), value: $value }],
        }
    };
}

fn agent() -> Vec<Family> {
    vec![
        one!("agent_uptime_seconds", Gauge, "How long the agent has been running", |s| Value::Level(
            s.agent.uptime_seconds
        )),
        one!("agent_config_age_seconds", Gauge, "How long the configuration has been in force", |s| {
            Value::Level(s.agent.config_age_seconds)
        }),
        one!("agent_commands", Counter, "Commands of the controller applied to the maps", |s| Value::Count(
            s.agent.commands
        )),
        one!("agent_resyncs", Counter, "Times that all maps were written again", |s| Value::Count(
            s.agent.resyncs
        )),
        Family {
            name: "balancer_agent_reloads",
            kind: Kind::Counter,
            help: "Reloads of the configuration",
            labels: "result",
            samples: |status| {
                let results =
                    [("applied", status.agent.reloads_applied), ("refused", status.agent.reloads_refused)];
                let sample =
                    |(result, n)| Sample { labels: vec![("result", result)], value: Value::Count(n) };
                results.into_iter().map(sample).collect()
            },
        },
        one!("problems", Gauge, "Things that somebody should look at; `balancer status` says which", |s| {
            Value::Count(s.problems.len() as u64)
        }),
        one!("warnings", Gauge, "Things that are odd but may be meant; `balancer status` says which", |s| {
            Value::Count(s.warnings.len() as u64)
        }),
        Family {
            name: "balancer_interface_info",
            kind: Kind::Gauge,
            help: "Always 1: an interface that the program is attached to",
            labels: "interface, mode",
            samples: interfaces,
        },
        Family {
            name: "balancer_build_info",
            kind: Kind::Gauge,
            help: "Always 1: the agent that is running",
            labels: "version",
            samples: |status| {
                vec![Sample {
                    labels: vec![("version", status.agent.version.as_str())],
                    value: Value::Count(1),
                }]
            },
        },
    ]
}

/// The reference as Markdown: the contents of `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = "\
# Metrics

`GET /metrics` on `agent.metrics` (by default `http://127.0.0.1:9464/metrics`), in OpenMetrics text. Values are read when
they are scraped. Counters start when the maps are made; they outlive a restart of the agent, except those of the
agent itself. This page is generated from the table that the metrics are made from (`cargo xtask docs`).

| Name | Kind | Labels | Meaning |
|---|---|---|---|
"
    .to_owned();
    for family in all() {
        let (kind, suffix) = match family.kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
        };
        let labels: Vec<_> =
            family.labels.split(", ").filter(|l| !l.is_empty()).map(|l| format!("`{l}`")).collect();
        writeln!(page, "| `{}{suffix}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help)
            .expect("writing to a string cannot fail");
    }
    page
}
