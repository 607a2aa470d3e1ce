//! Which series of a page a preset looks at.

use super::{AlarmWhen, Condition, Cores, Cpu, Limit, Meaning, Metric, Selector};

/// The selectors of everything that a meaning reads. Of a page of thousands of series it is a few.
#[derive(Debug)]
pub(crate) struct Wanted<'a>(Vec<&'a Selector>);

impl<'a> Wanted<'a> {
    /// All that `meaning` reads.
    pub(crate) fn of(meaning: &'a Meaning) -> Self {
        // Named one by one, so that none that is added is forgotten here.
        let Meaning {
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
        } = meaning;
        let mut wanted = Self(Vec::new());
        cpu.iter().for_each(|cpu| wanted.add_cpu(cpu));
        for quantity in [connections, max_connections, messages, cluster_members].into_iter().flatten() {
            wanted.add(&quantity.metric);
        }
        wanted.0.extend(node.iter().map(|node| &node.metric));
        for rule in resources {
            match &rule.limit {
                Limit::UsedOf(a, b) | Limit::FreeOf(a, b) | Limit::FreeAbove(a, b) => {
                    wanted.add(a);
                    wanted.add(b);
                }
                Limit::Percent(a) | Limit::Ratio(a) => wanted.add(a),
            }
        }
        for rule in alarms {
            match &rule.when {
                AlarmWhen::Holds(condition) => wanted.add_condition(condition),
                AlarmWhen::Grows(metric) => wanted.add(metric),
            }
        }
        draining.iter().for_each(|condition| wanted.add_condition(condition));
        clock.iter().for_each(|clock| wanted.add(clock));
        wanted
    }

    /// Whether series of this name are looked at.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|selector| selector.matches_name(name))
    }

    fn add(&mut self, metric: &'a Metric) {
        self.0.extend(&metric.0);
    }

    fn add_condition(&mut self, condition: &'a Condition) {
        self.add(&condition.metric);
        condition.minus.iter().for_each(|minus| self.add(minus));
    }

    fn add_cpu(&mut self, cpu: &'a Cpu) {
        let cores = match cpu {
            Cpu::Counter { busy, per, cores, unit: _ } => {
                self.add(busy);
                per.iter().for_each(|per| self.add(per));
                cores
            }
            Cpu::Gauge { metric, cores, unit: _, unknown: _ } => {
                self.add(metric);
                cores
            }
        };
        match cores {
            Some(Cores::Metric(metric)) => self.add(metric),
            Some(Cores::Count { count, times: _ }) => self.0.push(count),
            Some(Cores::Fixed(_)) | None => {}
        }
    }
}
