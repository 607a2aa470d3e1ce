//! The table of metric families.

mod agent;
mod backends;
mod services;

use std::fmt::{self, Write};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::api::wire::Status;

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
            (MetricType::Counter, Value::Level(level)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(&level, None)
            }
            (_, Value::Count(count)) => encoder.encode_gauge(&count),
            (_, Value::Level(level)) => encoder.encode_gauge(&level),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

/// Every family, in the order of the page.
pub(super) fn all() -> Vec<Family> {
    let groups = [
        backends::backends(),
        backends::traffic(),
        services::services(),
        services::closing(),
        agent::tables(),
        agent::agent(),
    ];
    groups.into_iter().flatten().collect()
}

/// The reference as Markdown: the contents of `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = "\
# Metrics

`GET /metrics` on `agent.metrics` (by default `http://127.0.0.1:9464/metrics`), in OpenMetrics text. Values are read when
they are scraped. Counters start when the maps are made; they outlive a restart of the agent, except those of the
agent itself. Samples of a service or a backend are there for as long as one has that name, those of one that was
removed from the configuration until its last flow has ended. This page is generated from the table that the metrics are
made from (`cargo xtask docs`).

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
