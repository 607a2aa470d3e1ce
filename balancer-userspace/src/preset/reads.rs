//! Which series of a page a preset looks at: of thousands it is a few.

use super::{AlarmWhen, Condition, Cores, Cpu, Limit, Meaning, Metric};

impl Meaning {
    /// Whether series of this name are looked at.
    pub(crate) fn reads(&self, name: &str) -> bool {
        // Named one by one, so that none that is added is forgotten here.
        let Self {
            cpu,
            connections,
            max_connections,
            messages,
            cluster_members,
            node,
            resources,
            alarms,
            draining,
            clock,
        } = self;
        let quantities = [connections, max_connections, messages, cluster_members];
        cpu.iter().any(|cpu| cpu.reads(name))
            || quantities.into_iter().flatten().any(|quantity| quantity.metric.reads(name))
            || node.iter().any(|node| node.metric.matches_name(name))
            || resources.iter().any(|rule| rule.limit.reads(name))
            || alarms.iter().any(|rule| rule.when.reads(name))
            || draining.iter().any(|condition| condition.reads(name))
            || clock.iter().any(|clock| clock.reads(name))
    }
}

impl Metric {
    fn reads(&self, name: &str) -> bool {
        self.0.iter().any(|selector| selector.matches_name(name))
    }
}

impl Condition {
    fn reads(&self, name: &str) -> bool {
        self.metric.reads(name) || self.minus.iter().any(|minus| minus.reads(name))
    }
}

impl AlarmWhen {
    fn reads(&self, name: &str) -> bool {
        match self {
            Self::Holds(condition) => condition.reads(name),
            Self::Grows(metric) => metric.reads(name),
        }
    }
}

impl Limit {
    fn reads(&self, name: &str) -> bool {
        match self {
            Self::UsedOf(a, b) | Self::FreeOf(a, b) | Self::FreeAbove(a, b) => a.reads(name) || b.reads(name),
            Self::Percent(a) | Self::Ratio(a) => a.reads(name),
        }
    }
}

impl Cpu {
    fn reads(&self, name: &str) -> bool {
        let (clock, cores) = match self {
            Self::Counter { busy: _, per, cores, unit: _ } => (per.as_ref(), cores),
            Self::Gauge { metric: _, cores, unit: _, unknown: _ } => (None, cores),
        };
        let counts = match cores {
            Some(Cores::Metric(metric)) => metric.reads(name),
            Some(Cores::Count { count, times: _ }) => count.matches_name(name),
            Some(Cores::Fixed(_)) | None => false,
        };
        counts || self.metric().reads(name) || clock.is_some_and(|clock| clock.reads(name))
    }
}
