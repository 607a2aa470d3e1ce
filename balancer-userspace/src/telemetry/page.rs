//! Named numbers as a source found them, and the search for those that are meant.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use super::SourceError;
use crate::preset::{Metric, Selector};

/// A time of a row further from the present than this is not a reading of the present.
const NOW_WITHIN_S: f64 = 60.0;

/// Labels and their values, in the order of the page.
pub(crate) type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row<'a> {
    /// Metric name, topic or JSON pointer.
    pub(crate) name: Cow<'a, str>,
    /// Its labels.
    pub(crate) labels: Labels<'a>,
    /// The value; may be anything a float can be.
    pub(crate) value: f64,
    /// Milliseconds since the Unix epoch, when the row carries a time.
    pub(crate) timestamp_ms: Option<i64>,
}

/// Everything one poll of one source found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Page<'a> {
    /// Where it was found, for messages.
    pub(crate) at: &'a str,
    /// All series.
    pub(crate) rows: Vec<Row<'a>>,
    /// Wall-clock time of the poll, milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
}

/// The time of the wall clock, milliseconds since the Unix epoch.
pub(crate) fn wall_ms() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
}

impl Page<'_> {
    /// The series of the first alternative that is there, finite and of the present; empty when none is.
    pub(crate) fn find(&self, metric: &Metric) -> Result<Vec<f64>, SourceError> {
        for selector in &metric.0 {
            let values = self.select(selector)?;
            if !values.is_empty() {
                return Ok(values);
            }
        }
        Ok(Vec::new())
    }

    /// The sum of the series, each finite and not negative; `None` when there is none.
    pub(crate) fn sum(&self, metric: &Metric) -> Result<Option<f64>, SourceError> {
        let values = self.find(metric)?;
        if values.is_empty() {
            return Ok(None);
        }
        for &value in &values {
            if value < 0.0 {
                return Err(self.value_error(metric, value, "must not be negative"));
            }
        }
        Ok(Some(values.iter().sum()))
    }

    /// As [`Page::sum`], but the metric must be there.
    pub(crate) fn require(&self, metric: &Metric) -> Result<f64, SourceError> {
        self.sum(metric)?.ok_or_else(|| self.missing(metric))
    }

    /// The values of the series of one selector.
    pub(crate) fn select(&self, selector: &Selector) -> Result<Vec<f64>, SourceError> {
        let mut values = Vec::new();
        let mut seen = BTreeSet::new();
        for row in &self.rows {
            let label = |name: &str| {
                row.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.to_string())
            };
            if !selector.matches_name(&row.name) || !selector.matches(&row.name, label) {
                continue;
            }
            if !row.value.is_finite() {
                return Err(SourceError::Value {
                    at: self.at.to_owned(),
                    name: selector.to_string(),
                    value: row.value,
                    why: "must be a finite number",
                });
            }
            self.check_time(row, selector)?;
            let mut labels: Vec<_> =
                row.labels.iter().map(|(label, value)| (*label, value.as_ref())).collect();
            labels.sort_unstable();
            if !seen.insert((row.name.as_ref(), labels)) {
                return Err(SourceError::Duplicate { at: self.at.to_owned(), name: selector.to_string() });
            }
            values.push(row.value);
        }
        Ok(values)
    }

    fn check_time(&self, row: &Row<'_>, selector: &Selector) -> Result<(), SourceError> {
        let Some(at_ms) = row.timestamp_ms else { return Ok(()) };
        let offset_s = (at_ms as f64 - self.wall_ms as f64) / 1000.0;
        if offset_s.abs() <= NOW_WITHIN_S {
            return Ok(());
        }
        Err(SourceError::NotNow { at: self.at.to_owned(), name: selector.to_string(), offset_s })
    }

    /// The error for a metric that is not there.
    pub(crate) fn missing(&self, metric: &Metric) -> SourceError {
        let name = metric.0.first().map_or("", |selector| &selector.name);
        let names: BTreeSet<&str> = self.rows.iter().map(|row| row.name.as_ref()).collect();
        let mut ranked: Vec<(f64, &str)> =
            names.into_iter().map(|found| (strsim::jaro_winkler(name, found), found)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        SourceError::Missing {
            at: self.at.to_owned(),
            name: metric.to_string(),
            similar: ranked.iter().take(3).map(|(_, found)| (*found).to_owned()).collect(),
        }
    }

    /// The error for a value that cannot be.
    pub(crate) fn value_error(&self, metric: &Metric, value: f64, why: &'static str) -> SourceError {
        SourceError::Value { at: self.at.to_owned(), name: metric.to_string(), value, why }
    }
}
