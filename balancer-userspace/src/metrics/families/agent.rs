//! Families of the flow tables and of the agent itself.

use super::{Family, Kind, Sample, Value};
use crate::api::wire::{Status, Table};

pub(super) fn tables() -> Vec<Family> {
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

pub(super) fn agent() -> Vec<Family> {
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
        one!("agent_ticks", Counter, "Runs of the controller", |s| Value::Count(s.agent.work.ticks)),
        one!("agent_tick_seconds", Counter, "Time that runs of the controller took", |s| Value::Level(
            s.agent.work.tick_seconds
        )),
        one!("agent_longest_tick_seconds", Gauge, "Time of the longest run of the controller", |s| {
            Value::Level(s.agent.work.longest_tick_seconds)
        }),
        one!("agent_sweeps", Counter, "Walks of the flow tables for flows that have ended", |s| {
            Value::Count(s.agent.work.sweeps)
        }),
        one!("agent_sweep_seconds", Counter, "Time that these walks took", |s| Value::Level(
            s.agent.work.sweep_seconds
        )),
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
