//! Which parts of a preset's meaning are on a page, for people who try it.

use crate::preset::{AlarmWhen, Cores, Cpu, Limit, Meaning, Metric};
use crate::telemetry::page::Page;

/// One metric of a meaning, as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What it is for, as `connections` or `memory: limit`.
    pub what: String,
    /// Its name or names.
    pub metric: String,
    /// The sum of its series; `None` when there are none, or their values cannot be.
    pub value: Option<f64>,
    /// Whether a page without it is complete.
    pub optional: bool,
    /// Why there is no value: what is missing, and what has a similar name.
    pub problem: Option<String>,
}

/// Looks for everything that `meaning` names, missing or not.
pub(super) fn survey(meaning: &Meaning, page: &Page<'_>) -> Vec<Found> {
    let mut survey = Survey { page, found: Vec::new() };
    survey.cpu(&meaning.cpu);
    let quantities = [
        ("connections", &meaning.connections),
        ("connection limit", &meaning.max_connections),
        ("messages", &meaning.messages),
        ("cluster members", &meaning.cluster_members),
    ];
    for (what, quantity) in quantities {
        if let Some(quantity) = quantity {
            survey.look(what, &quantity.metric, quantity.optional);
        }
    }
    for rule in &meaning.resources {
        let name = format!("{:?}", rule.resource).to_lowercase();
        let (amount, limit) = match &rule.limit {
            Limit::UsedOf(a, b) => (("used", a), Some(("limit", b))),
            Limit::FreeOf(a, b) => (("free", a), Some(("limit", b))),
            Limit::FreeAbove(a, b) => (("free", a), Some(("floor", b))),
            Limit::Percent(a) => (("percent", a), None),
            Limit::Ratio(a) => (("ratio", a), None),
        };
        for (part, metric) in [Some(amount), limit].into_iter().flatten() {
            survey.look(&format!("{name}: {part}"), metric, rule.optional);
        }
    }
    for rule in &meaning.alarms {
        let metric = match &rule.when {
            AlarmWhen::Holds(condition) => &condition.metric,
            AlarmWhen::Grows(metric) => metric,
        };
        survey.look(&format!("alarm: {}", rule.name), metric, rule.optional);
    }
    for condition in &meaning.draining {
        survey.look("draining", &condition.metric, condition.optional);
    }
    if let Some(clock) = &meaning.clock {
        survey.look("clock", clock, false);
    }
    survey.found
}

struct Survey<'a, 'page> {
    page: &'a Page<'page>,
    found: Vec<Found>,
}

impl Survey<'_, '_> {
    /// The first way to tell utilisation that is there, or all of them.
    fn cpu(&mut self, ways: &[Cpu]) {
        let there = |cpu: &&Cpu| self.page.find(cpu.metric()).is_ok_and(|values| !values.is_empty());
        let Some(cpu) = ways.iter().find(there) else {
            if !ways.is_empty() {
                let names = ways.iter().flat_map(|cpu| cpu.metric().0.clone());
                self.look("cpu", &Metric(names.collect()), false);
            }
            return;
        };
        let cores = match cpu {
            Cpu::Counter { busy, per, cores, .. } => {
                self.look("cpu: time", busy, false);
                if let Some(per) = per {
                    self.look("cpu: clock", per, false);
                }
                cores
            }
            Cpu::Gauge { metric, cores, .. } => {
                self.look("cpu", metric, false);
                cores
            }
        };
        match cores {
            Some(Cores::Metric(metric)) => self.look("cpu: cores", metric, false),
            Some(Cores::Count { count, .. }) => self.look("cpu: cores", &Metric(vec![count.clone()]), false),
            Some(Cores::Fixed(_)) | None => {}
        }
    }

    fn look(&mut self, what: &str, metric: &Metric, optional: bool) {
        let (value, problem) = match self.page.find(metric) {
            Ok(values) if values.is_empty() => (None, Some(self.page.missing(metric).to_string())),
            Ok(values) => (Some(values.iter().sum()), None),
            Err(e) => (None, Some(e.to_string())),
        };
        self.found.push(Found {
            what: what.to_owned(),
            metric: metric.to_string(),
            value,
            optional,
            problem,
        });
    }
}
