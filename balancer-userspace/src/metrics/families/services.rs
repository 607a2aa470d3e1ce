//! Families of services, and of flows that are closed by order.

use super::{Family, Kind, Sample, Value};
use crate::api::wire::{Discovery, Service, Status};

fn discovered(status: &Status, value: fn(&Discovery) -> Option<Value>) -> Vec<Sample<'_>> {
    fn of(service: &Service, value: fn(&Discovery) -> Option<Value>) -> Option<Sample<'_>> {
        let value = value(service.discovery.as_ref()?)?;
        Some(Sample { labels: vec![("service", service.name.as_str())], value })
    }
    status.services.iter().filter_map(|service| of(service, value)).collect()
}

pub(super) fn services() -> Vec<Family> {
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
            help: "Backends of the service that are up: neither down, drained, ejected nor exhausted",
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
            name: "balancer_service_cookies_sent",
            kind: Kind::Counter,
            help: "SYNs answered with a SYN cookie, because SYNs were flooding",
            labels: "service",
            samples: |status| each(status, |s| s.cookies.sent),
        },
        Family {
            name: "balancer_service_cookies_accepted",
            kind: Kind::Counter,
            help: "Clients that have shown their SYN cookie, so that a backend was asked",
            labels: "service",
            samples: |status| each(status, |s| s.cookies.accepted),
        },
        Family {
            name: "balancer_service_cookies_refused",
            kind: Kind::Counter,
            help: "Packets of unknown flows that could have carried a SYN cookie and carried no valid one",
            labels: "service",
            samples: |status| each(status, |s| s.cookies.refused),
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

pub(super) fn closing() -> Vec<Family> {
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
