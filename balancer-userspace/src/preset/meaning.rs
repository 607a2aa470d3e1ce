//! Which metrics mean what.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::{Cores, Selector};

/// What the metrics of one page mean. What a page does not tell is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meaning {
    /// Utilisation: the first of these whose metric is there.
    pub cpu: Vec<Cpu>,
    /// Client connections, a gauge.
    pub connections: Option<Quantity>,
    /// Most client connections the broker accepts, a gauge.
    pub max_connections: Option<Quantity>,
    /// Messages received, a counter.
    pub messages: Option<Quantity>,
    /// Nodes that the broker believes its cluster to have, itself among them, a gauge.
    pub cluster_members: Option<Quantity>,
    /// Where the broker tells the name of its node.
    pub node: Option<NodeName>,
    /// Exhaustible resources.
    pub resources: Vec<ResourceRule>,
    /// Alarms.
    pub alarms: Vec<AlarmRule>,
    /// Any of them means that the broker asks for no new connections.
    pub draining: Vec<Condition>,
    /// Differs between any two pages, unless they are one page from a cache.
    pub clock: Option<Metric>,
}

/// One metric under one of several names: versions of a broker rename them. The first that is there is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric(pub Vec<Selector>);

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(" or "))
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Metric;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a metric, or a list of names")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Metric, E> {
                Ok(Metric(vec![text.parse().map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Metric, A::Error> {
                let mut selectors = Vec::new();
                while let Some(selector) = names.next_element()? {
                    selectors.push(selector);
                }
                if selectors.is_empty() {
                    Err(de::Error::invalid_length(0, &self))
                } else {
                    Ok(Metric(selectors))
                }
            }
        }
        deserializer.deserialize_any(Names)
    }
}

/// Where a broker tells the name of its node, by which two backends that are one node are found out. No other node may
/// have that name: a default that every broker has until somebody changes it is none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeName {
    /// The series that has the name in its labels; of JSON documents the place of the name itself.
    pub metric: Selector,
    /// The labels that make the name together. None for JSON.
    #[serde(default)]
    pub labels: Vec<String>,
}

/// How utilisation follows from metrics.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cpu {
    /// From CPU time: Δbusy / Δtime / cores.
    Counter {
        /// CPU time used, in `unit`.
        busy: Metric,
        /// The broker's clock, in `unit`. Without it the agent's own clock is used, which adds the delay of the network.
        per: Option<Metric>,
        /// Unit of both.
        unit: TimeUnit,
        /// Cores that are 100 %. Without it the configured cores of the backend.
        cores: Option<Cores>,
    },
    /// From a ready-made figure.
    Gauge {
        /// The figure.
        metric: Metric,
        /// What it is.
        unit: CpuUnit,
        /// Cores that are 100 %.
        cores: Option<Cores>,
        /// What the broker says when it does not know.
        unknown: Option<Unknown>,
    },
}

impl Cpu {
    /// The metric that it cannot do without.
    #[must_use]
    pub const fn metric(&self) -> &Metric {
        match self {
            Self::Counter { busy, .. } => busy,
            Self::Gauge { metric, .. } => metric,
        }
    }
}

/// What stands for a figure that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// 0.
    Zero,
    /// Anything below 0.
    Negative,
}

/// What a ready-made figure of utilisation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuUnit {
    /// 0 to 100, of all cores.
    Percent,
    /// 0 to 1, of all cores.
    Ratio,
    /// 0 (busy) to 1 (idle), of all cores.
    IdleRatio,
    /// 100 is one core.
    PercentOfCore,
    /// 1 is one core.
    Cores,
}

impl CpuUnit {
    /// Whether it takes the number of cores to make a utilisation of it.
    #[must_use]
    pub const fn is_of_cores(self) -> bool {
        match self {
            Self::PercentOfCore | Self::Cores => true,
            Self::Percent | Self::Ratio | Self::IdleRatio => false,
        }
    }
}

/// Unit of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    /// s.
    Seconds,
    /// ms.
    Milliseconds,
    /// µs.
    Microseconds,
    /// ns.
    Nanoseconds,
}

impl TimeUnit {
    /// Of one unit.
    #[must_use]
    pub const fn seconds(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Milliseconds => 1e-3,
            Self::Microseconds => 1e-6,
            Self::Nanoseconds => 1e-9,
        }
    }
}

/// One quantity. Series of one name are summed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// The metric.
    pub metric: Metric,
    /// Whether a page without it is complete.
    #[serde(default)]
    pub optional: bool,
    /// Whether the agent's own sessions with the broker are among those counted.
    #[serde(default)]
    pub counts_agent: bool,
    /// Whether more than one series is an error: they would be those of other nodes.
    #[serde(default)]
    pub single: bool,
}

/// One exhaustible resource: `used` against `limit`, `free` of `limit`, `free` above `floor`, a `percent` or a
/// `ratio`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "ResourceFile")]
pub struct ResourceRule {
    /// Which one.
    pub resource: ResourceKind,
    /// How its use is told.
    pub limit: Limit,
    /// Whether a page without it is complete.
    pub optional: bool,
}

/// How the use of a resource is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// used / limit.
    UsedOf(Metric, Metric),
    /// 1 - free / limit.
    FreeOf(Metric, Metric),
    /// floor / free: the resource counts as used up when no more than the floor is left.
    FreeAbove(Metric, Metric),
    /// 0 to 100.
    Percent(Metric),
    /// 0 to 1.
    Ratio(Metric),
}

/// Name of a resource in a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// Memory.
    Memory,
    /// File descriptors.
    Descriptors,
    /// Disk.
    Disk,
    /// Connections.
    Connections,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceFile {
    resource: ResourceKind,
    used: Option<Metric>,
    limit: Option<Metric>,
    free: Option<Metric>,
    floor: Option<Metric>,
    percent: Option<Metric>,
    ratio: Option<Metric>,
    #[serde(default)]
    optional: bool,
}

impl TryFrom<ResourceFile> for ResourceRule {
    type Error = &'static str;

    fn try_from(file: ResourceFile) -> Result<Self, Self::Error> {
        let limit = match (file.used, file.free, file.limit, file.floor, file.percent, file.ratio) {
            (Some(used), None, Some(limit), None, None, None) => Limit::UsedOf(used, limit),
            (None, Some(free), Some(limit), None, None, None) => Limit::FreeOf(free, limit),
            (None, Some(free), None, Some(floor), None, None) => Limit::FreeAbove(free, floor),
            (None, None, None, None, Some(percent), None) => Limit::Percent(percent),
            (None, None, None, None, None, Some(ratio)) => Limit::Ratio(ratio),
            _ => {
                return Err(
                    "a resource is told by used and limit, free and limit, free and floor, percent, or ratio",
                );
            }
        };
        Ok(Self { resource: file.resource, limit, optional: file.optional })
    }
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "AlarmFile")]
pub struct AlarmRule {
    /// Its name, for people.
    pub name: String,
    /// Whom it concerns.
    pub scope: AlarmScope,
    /// When it is raised.
    pub when: AlarmWhen,
    /// Whether a page without it is complete.
    pub optional: bool,
}

/// When an alarm is raised.
#[derive(Clone, Debug, PartialEq)]
pub enum AlarmWhen {
    /// While a comparison holds.
    Holds(Condition),
    /// When a counter is greater than at the reading before.
    Grows(Metric),
}

/// Scope of an alarm in a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmScope {
    /// This broker alone.
    Node,
    /// All brokers of the cluster.
    Cluster,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlarmFile {
    name: String,
    metric: Metric,
    minus: Option<Metric>,
    above: Option<f64>,
    below: Option<f64>,
    #[serde(default)]
    grows: bool,
    scope: AlarmScope,
    #[serde(default)]
    optional: bool,
}

impl TryFrom<AlarmFile> for AlarmRule {
    type Error = &'static str;

    fn try_from(file: AlarmFile) -> Result<Self, Self::Error> {
        let when = match (file.grows, file.above.is_some() || file.below.is_some()) {
            (true, true) => return Err("an alarm has above and below, or grows"),
            (true, false) if file.minus.is_some() => return Err("an alarm that grows has no minus"),
            (true, false) => AlarmWhen::Grows(file.metric),
            (false, false) => return Err("an alarm needs above, below, or grows = true"),
            (false, true) => AlarmWhen::Holds(Condition {
                metric: file.metric,
                minus: file.minus,
                above: file.above,
                below: file.below,
                optional: false,
            }),
        };
        Ok(Self { name: file.name, scope: file.scope, when, optional: file.optional })
    }
}

/// A comparison. Holds when the value is beyond one of the bounds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// What is compared; the largest (smallest) series counts for `above` (`below`).
    pub metric: Metric,
    /// Taken off each series before: the sum of its own series.
    pub minus: Option<Metric>,
    /// Holds for values greater than this.
    pub above: Option<f64>,
    /// Holds for values smaller than this.
    pub below: Option<f64>,
    /// Whether a page without the metric is complete.
    #[serde(default)]
    pub optional: bool,
}
