//! From named numbers to a reading, as a preset says.

mod survey;

use std::sync::Arc;

use balancer_control::{Moment, Resource, ResourceUse, Scope};

use super::page::Page;
use super::reading::{Reading, count};
use super::{SourceError, Target, named};
use crate::config;
use crate::preset::{
    AlarmScope, AlarmWhen, Condition, Cores, Cpu, CpuUnit, Limit, Meaning, Metric, Quantity, ResourceKind,
    ResourceRule, TimeUnit, Unknown,
};

pub use survey::Found;

/// A gauge of utilisation may be above 1 by this much before it is refused: exporters round, and windows overlap.
const GAUGE_SLACK: f64 = 1.05;

/// A broker that used more than this multiple of its cores has other cores than the preset or configuration says.
const COUNTER_SLACK: f64 = 2.0;

/// A counter of CPU time that stands still for this many times as long as its page was last kept for is that of an idle
/// broker.
const IDLE_AFTER: f64 = 4.0;

/// Reads pages of one source. Counters need its memory of the page before.
#[derive(Debug)]
pub(crate) struct Interpreter {
    meaning: Arc<Meaning>,
    /// Cores of the backend as configured.
    cores: Option<f64>,
    before: Option<CpuTime>,
    /// The clock of the page before.
    clock: Option<f64>,
    /// The counters of the alarms that grow, by the place of the alarm.
    grown: Vec<Option<f64>>,
    /// What was found on the last page, if somebody wants to know.
    survey: Option<Vec<Found>>,
}

/// A counter of CPU time, as it was last read.
#[derive(Clone, Copy, Debug)]
struct CpuTime {
    busy_s: f64,
    /// When it was first read as it is now, and when last: seconds by its clock.
    since_s: f64,
    read_s: f64,
    /// For how many seconds the page was kept that it was on before, if pages are made less often than they are read: an
    /// exporter or a proxy has a cache.
    kept_s: Option<f64>,
}

impl CpuTime {
    const fn new(busy_s: f64, at_s: f64) -> Self {
        Self { busy_s, since_s: at_s, read_s: at_s, kept_s: None }
    }

    /// Whether it has stood still for as long as a page that is kept would.
    fn is_kept(&self, at_s: f64) -> bool {
        self.kept_s.is_some_and(|kept| at_s - self.since_s <= IDLE_AFTER * kept)
    }
}

impl Interpreter {
    pub(crate) fn new(meaning: impl Into<Arc<Meaning>>, cores: Option<f64>) -> Self {
        let meaning = meaning.into();
        let grown = vec![None; meaning.alarms.len()];
        Self { meaning, cores, before: None, clock: None, grown, survey: None }
    }

    /// For a source as it is configured. `at` is named in errors.
    ///
    /// # Errors
    /// Names of metrics that do not go together.
    pub(crate) fn configured(
        meaning: &config::Meaning,
        target: &Target,
        at: &str,
    ) -> Result<Self, SourceError> {
        Ok(match meaning {
            config::Meaning::Named(names) => Self::new(named::meaning(names, at)?, target.cores),
            config::Meaning::Preset(preset) => {
                Self::new(Arc::clone(&preset.meaning), target.cores.or(preset.cores))
            }
        })
    }

    /// Whether it looks at series of this name.
    pub(crate) fn reads(&self, name: &str) -> bool {
        self.meaning.reads(name)
    }

    /// Notes from here on what of the meaning is on each page.
    pub(crate) fn begin_survey(&mut self) {
        self.survey = Some(Vec::new());
    }

    /// What of the meaning was on the last page.
    pub(crate) fn found(&self) -> &[Found] {
        self.survey.as_deref().unwrap_or_default()
    }

    /// The reading of one page. `own` sessions of the agent are taken off the broker's count.
    pub(crate) fn read(&mut self, page: &Page<'_>, now: Moment, own: u64) -> Result<Reading, SourceError> {
        let meaning = Arc::clone(&self.meaning);
        let mut reading = Reading::default();
        let sample = &mut reading.sample;
        sample.taken = now;
        if let Some(found) = &mut self.survey {
            *found = survey::survey(&meaning, page);
        }
        self.check_clock(page)?;
        match cpu(&meaning, page)? {
            None => {}
            Some(Cpu::Counter { busy, per, unit, cores }) => {
                let cores = self.cores(page, cores.as_ref(), busy)?;
                sample.cores = Some(cores);
                sample.utilisation = self.counted(page, now, busy, per.as_ref(), *unit, cores)?;
            }
            Some(Cpu::Gauge { metric, unit, cores, unknown }) => {
                if cores.is_some() || self.cores.is_some() || unit.is_of_cores() {
                    sample.cores = Some(self.cores(page, cores.as_ref(), metric)?);
                }
                sample.utilisation = gauged(page, metric, *unit, sample.cores, *unknown)?;
            }
        }
        sample.connections = quantity(page, meaning.connections.as_ref(), own)?;
        sample.messages = quantity(page, meaning.messages.as_ref(), own)?;
        sample.cluster_members = quantity(page, meaning.cluster_members.as_ref(), own)?;
        sample.node = meaning.node.as_ref().and_then(|name| page.node(name));
        for rule in &meaning.resources {
            sample.resources.extend(resource(page, rule)?);
        }
        for (rule, before) in meaning.alarms.iter().zip(&mut self.grown) {
            let raised = match &rule.when {
                AlarmWhen::Holds(condition) => holds(page, condition, rule.optional)?,
                AlarmWhen::Grows(metric) => grows(page, metric, rule.optional, before)?,
            };
            if raised {
                sample.alarms.push((rule.name.clone(), scope(rule.scope)));
            }
        }
        for condition in &meaning.draining {
            sample.draining |= holds(page, condition, condition.optional)?;
        }
        reading.max_connections = quantity(page, meaning.max_connections.as_ref(), own)?;
        Ok(reading)
    }

    /// Refuses a page that is the one before.
    fn check_clock(&mut self, page: &Page<'_>) -> Result<(), SourceError> {
        let Some(metric) = &self.meaning.clock else { return Ok(()) };
        let clock = page.require(metric)?;
        if self.clock.replace(clock) == Some(clock) {
            return Err(SourceError::Stuck { at: page.at.to_owned(), name: metric.to_string() });
        }
        Ok(())
    }

    fn cores(&self, page: &Page<'_>, cores: Option<&Cores>, of: &Metric) -> Result<f64, SourceError> {
        let (cores, metric) = match cores {
            // What the operator says of a backend stands.
            _ if self.cores.is_some() => return Ok(self.cores.unwrap_or_default()),
            Some(Cores::Fixed(cores)) => return Ok(*cores),
            Some(Cores::Metric(metric)) => (page.require(metric)?, metric.clone()),
            Some(Cores::Count { count, times }) => {
                (page.select(count)?.len() as f64 * times, Metric(vec![count.clone()]))
            }
            None => {
                return Err(SourceError::Config {
                    at: page.at.to_owned(),
                    why: format!(
                        "{} is CPU time, but of how many cores is not known; give the backend `cores`",
                        of.0.first().map_or(String::new(), ToString::to_string)
                    ),
                });
            }
        };
        if cores > 0.0 {
            Ok(cores)
        } else {
            Err(page.value_error(&metric, cores, "must be at least one core"))
        }
    }

    /// Utilisation since the page before; `None` for the first page, and after a counter went back (a restart).
    ///
    /// A counter that tells no time of its own may be on a page that was made long ago: it stands still, and then grows by more
    /// than the cores can do between two readings. From there on its growth is over the time since it grew before, and while it
    /// stands still nothing is known.
    fn counted(
        &mut self,
        page: &Page<'_>,
        now: Moment,
        busy: &Metric,
        per: Option<&Metric>,
        unit: TimeUnit,
        cores: f64,
    ) -> Result<Option<f64>, SourceError> {
        let busy_s = page.require(busy)? * unit.seconds();
        let at_s = match per {
            Some(per) => page.require(per)? * unit.seconds(),
            None => now.0.as_secs_f64(),
        };
        let stuck = |name| Err(SourceError::Stuck { at: page.at.to_owned(), name });
        let now_read = CpuTime::new(busy_s, at_s);
        let Some(before) = self.before.replace(now_read) else { return Ok(None) };
        let (used, passed) = (busy_s - before.busy_s, at_s - before.read_s);
        if used < 0.0 || passed < 0.0 {
            return Ok(None);
        }
        if passed == 0.0 {
            let clock = per.and_then(|per| per.0.first());
            return stuck(clock.map_or_else(|| "the agent's clock".to_owned(), ToString::to_string));
        }
        if per.is_none() && used == 0.0 {
            self.before = Some(CpuTime { read_s: at_s, ..before });
            return if before.is_kept(at_s) { stuck(busy.to_string()) } else { Ok(Some(0.0)) };
        }
        let stood_still = before.read_s > before.since_s;
        let kept = stood_still && (before.kept_s.is_some() || used / passed / cores > GAUGE_SLACK);
        let passed = if kept { at_s - before.since_s } else { passed };
        self.before = Some(CpuTime { kept_s: kept.then_some(passed), ..now_read });
        let utilisation = used / passed / cores;
        if utilisation > COUNTER_SLACK {
            return Err(page.value_error(
                busy,
                busy_s / unit.seconds(),
                "grew by more than twice what the cores can do; the number of cores or the unit is wrong",
            ));
        }
        Ok(Some(utilisation.min(1.0)))
    }
}

/// The first way to tell utilisation whose metric is there.
fn cpu<'a>(meaning: &'a Meaning, page: &Page<'_>) -> Result<Option<&'a Cpu>, SourceError> {
    for cpu in &meaning.cpu {
        if !page.find(cpu.metric())?.is_empty() {
            return Ok(Some(cpu));
        }
    }
    if meaning.cpu.is_empty() {
        return Ok(None);
    }
    let names = meaning.cpu.iter().flat_map(|cpu| cpu.metric().0.clone());
    Err(page.missing(&Metric(names.collect())))
}

fn gauged(
    page: &Page<'_>,
    metric: &Metric,
    unit: CpuUnit,
    cores: Option<f64>,
    unknown: Option<Unknown>,
) -> Result<Option<f64>, SourceError> {
    match unknown {
        Some(Unknown::Negative) if page.find(metric)?.iter().any(|value| *value < 0.0) => return Ok(None),
        Some(Unknown::Zero) if page.require(metric)? == 0.0 => return Ok(None),
        Some(Unknown::Negative | Unknown::Zero) | None => {}
    }
    let value = page.require(metric)?;
    let (utilisation, why) = match unit {
        CpuUnit::Percent => (value / 100.0, "must be from 0 to 100"),
        CpuUnit::Ratio => (value, "must be from 0 to 1"),
        CpuUnit::IdleRatio if value > 1.0 => (f64::INFINITY, "must be from 0 to 1"),
        CpuUnit::IdleRatio => (1.0 - value, "must be from 0 to 1"),
        CpuUnit::PercentOfCore => {
            (value / 100.0 / cores.unwrap_or(1.0), "must be from 0 to 100 times the number of cores")
        }
        CpuUnit::Cores => (value / cores.unwrap_or(1.0), "must be from 0 to the number of cores"),
    };
    if utilisation > GAUGE_SLACK {
        return Err(page.value_error(metric, value, why));
    }
    Ok(Some(utilisation.min(1.0)))
}

fn quantity(page: &Page<'_>, quantity: Option<&Quantity>, own: u64) -> Result<Option<u64>, SourceError> {
    let Some(quantity) = quantity else { return Ok(None) };
    if quantity.single {
        let n = page.find(&quantity.metric)?.len();
        if n > 1 {
            let why = "is there for several nodes at once; read the page of this backend's node alone";
            return Err(page.value_error(&quantity.metric, n as f64, why));
        }
    }
    let Some(value) = page.sum(&quantity.metric)? else {
        return if quantity.optional { Ok(None) } else { Err(page.missing(&quantity.metric)) };
    };
    let value = count(value)
        .ok_or_else(|| page.value_error(&quantity.metric, value, "is more than can be counted"))?;
    Ok(Some(value.saturating_sub(if quantity.counts_agent { own } else { 0 })))
}

fn resource(page: &Page<'_>, rule: &ResourceRule) -> Result<Option<ResourceUse>, SourceError> {
    let (value, limit) = match &rule.limit {
        Limit::UsedOf(a, b) | Limit::FreeOf(a, b) | Limit::FreeAbove(a, b) => (a, Some(b)),
        Limit::Percent(a) | Limit::Ratio(a) => (a, None),
    };
    let (Some(amount), limit) = (page.sum(value)?, limit.map(|limit| page.sum(limit)).transpose()?.flatten())
    else {
        return if rule.optional { Ok(None) } else { Err(page.missing(value)) };
    };
    let used = match (&rule.limit, limit) {
        (Limit::Percent(_), _) if amount > 100.0 => {
            return Err(page.value_error(value, amount, "must be from 0 to 100"));
        }
        (Limit::Percent(_), _) => amount / 100.0,
        (Limit::Ratio(_), _) if amount > GAUGE_SLACK => {
            return Err(page.value_error(value, amount, "must be from 0 to 1"));
        }
        (Limit::Ratio(_), _) => amount,
        (Limit::UsedOf(_, limit_metric) | Limit::FreeOf(_, limit_metric), Some(0.0)) => {
            return Err(page.value_error(limit_metric, 0.0, "is no limit"));
        }
        (Limit::UsedOf(..), Some(limit)) => amount / limit,
        (Limit::FreeOf(..), Some(limit)) => 1.0 - amount / limit,
        (Limit::FreeAbove(..), Some(floor)) if amount <= floor => 1.0,
        (Limit::FreeAbove(..), Some(floor)) => floor / amount,
        (_, None) if rule.optional => return Ok(None),
        (Limit::UsedOf(_, limit) | Limit::FreeOf(_, limit) | Limit::FreeAbove(_, limit), None) => {
            return Err(page.missing(limit));
        }
    };
    let resource = match rule.resource {
        ResourceKind::Memory => Resource::Memory,
        ResourceKind::Descriptors => Resource::Descriptors,
        ResourceKind::Disk => Resource::Disk,
        ResourceKind::Connections => Resource::Connections,
    };
    Ok(Some(ResourceUse { resource, used: used.clamp(0.0, 1.0) }))
}

fn holds(page: &Page<'_>, condition: &Condition, optional: bool) -> Result<bool, SourceError> {
    let values = page.find(&condition.metric)?;
    if values.is_empty() && !optional {
        return Err(page.missing(&condition.metric));
    }
    let minus = match &condition.minus {
        Some(minus) => page.sum(minus)?.unwrap_or_default(),
        None => 0.0,
    };
    Ok(values.iter().map(|value| value - minus).any(|value| {
        condition.above.is_some_and(|bound| value > bound)
            || condition.below.is_some_and(|bound| value < bound)
    }))
}

/// Whether a counter is greater than at the page before. A counter that went back has started again.
fn grows(
    page: &Page<'_>,
    metric: &Metric,
    optional: bool,
    before: &mut Option<f64>,
) -> Result<bool, SourceError> {
    match page.sum(metric)? {
        None if optional => Ok(false),
        None => Err(page.missing(metric)),
        Some(value) => Ok(before.replace(value).is_some_and(|before| value > before)),
    }
}

const fn scope(scope: AlarmScope) -> Scope {
    match scope {
        AlarmScope::Node => Scope::Node,
        AlarmScope::Cluster => Scope::Cluster,
    }
}

#[cfg(test)]
mod tests;
