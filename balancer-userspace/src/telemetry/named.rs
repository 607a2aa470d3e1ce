//! The meaning of a page whose metrics are named in the configuration.

use super::SourceError;
use crate::config::MetricNames;
use crate::preset::{
    Cpu, CpuUnit, Limit, Meaning, Metric, Quantity, ResourceKind, ResourceRule, Selector, TimeUnit,
};

/// The meaning of `names`. `at` is named in errors.
pub(crate) fn meaning(names: &MetricNames, at: &str) -> Result<Meaning, SourceError> {
    let metric = |key: &str, name: &Option<String>| -> Result<Option<Metric>, SourceError> {
        let Some(name) = name else { return Ok(None) };
        let selector: Selector = name
            .parse()
            .map_err(|e| SourceError::Config { at: at.to_owned(), why: format!("{key}: {e}") })?;
        Ok(Some(Metric(vec![selector])))
    };
    let quantity = |key, name| {
        let metric = metric(key, name)?;
        Ok::<_, SourceError>(metric.map(|metric| Quantity {
            metric,
            optional: false,
            counts_agent: true,
            single: false,
        }))
    };
    let gauge = |metric, unit| Cpu::Gauge { metric, unit, cores: None, unknown: None };
    let cpu = [
        metric("cpu_ratio", &names.cpu_ratio)?.map(|metric| gauge(metric, CpuUnit::Ratio)),
        metric("cpu_percent", &names.cpu_percent)?.map(|metric| gauge(metric, CpuUnit::Percent)),
        metric("cpu_seconds", &names.cpu_seconds)?.map(|busy| Cpu::Counter {
            busy,
            per: None,
            unit: TimeUnit::Seconds,
            cores: None,
        }),
    ];
    let mut cpus = cpu.into_iter().flatten();
    let (cpu, second) = (cpus.next(), cpus.next());
    if second.is_some() {
        return Err(SourceError::Config {
            at: at.to_owned(),
            why: "give one of cpu_ratio, cpu_percent and cpu_seconds".to_owned(),
        });
    }
    let mut resources = Vec::new();
    match (metric("memory", &names.memory)?, metric("memory_limit", &names.memory_limit)?) {
        (Some(used), Some(limit)) => resources.push(ResourceRule {
            resource: ResourceKind::Memory,
            limit: Limit::UsedOf(used, limit),
            optional: false,
        }),
        (None, None) => {}
        _ => {
            return Err(SourceError::Config {
                at: at.to_owned(),
                why: "memory and memory_limit go together".to_owned(),
            });
        }
    }
    let plain = |quantity: Option<Quantity>| quantity.map(|q| Quantity { counts_agent: false, ..q });
    Ok(Meaning {
        cpu: cpu.into_iter().collect(),
        connections: quantity("connections", &names.connections)?,
        max_connections: plain(quantity("max_connections", &names.max_connections)?),
        messages: plain(quantity("messages", &names.messages)?),
        cluster_members: None,
        node: None,
        resources,
        alarms: Vec::new(),
        draining: Vec::new(),
        clock: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_a_meaning() {
        let names = MetricNames {
            cpu_percent: Some("cpu{node=\"a\"}".into()),
            connections: Some("conns".into()),
            memory: Some("mem".into()),
            memory_limit: Some("mem_max".into()),
            ..MetricNames::default()
        };
        let meaning = meaning(&names, "x").unwrap();
        assert!(matches!(meaning.cpu[..], [Cpu::Gauge { unit: CpuUnit::Percent, .. }]));
        assert!(meaning.connections.unwrap().counts_agent);
        assert_eq!(meaning.resources.len(), 1);
    }

    #[test]
    fn names_that_do_not_go_together_are_refused() {
        let name = || Some("x".to_owned());
        let two = MetricNames { cpu_ratio: name(), cpu_seconds: name(), ..MetricNames::default() };
        assert!(meaning(&two, "x").unwrap_err().to_string().contains("one of cpu_ratio"));
        let half = MetricNames { memory: name(), ..MetricNames::default() };
        assert!(meaning(&half, "x").unwrap_err().to_string().contains("memory_limit"));
        let broken = MetricNames { messages: Some("x{".into()), ..MetricNames::default() };
        assert!(meaning(&broken, "x").unwrap_err().to_string().contains("messages:"));
    }
}
