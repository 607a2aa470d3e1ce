//! Named numbers as a source found them, and the search for those that are meant.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use super::SourceError;
use super::error::excerpt;
use super::exposition;
use super::labels::Labels;
use crate::preset::{Metric, NodeName, Selector};

/// A time of a row further from the present than this is not a reading of the present.
const NOW_WITHIN_S: f64 = 60.0;

/// Longest part of a name that a message shows, in characters.
const NAME_CHARS: usize = 100;

/// Longest name of a node that is kept, in characters.
const NODE_CHARS: usize = 128;

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
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page<'a> {
    /// Where it was found, for messages.
    pub(crate) at: &'a str,
    /// The series: all, or all that are wanted of `text`.
    pub(crate) rows: Vec<Row<'a>>,
    /// Prometheus text that the rows are from; empty for other formats.
    pub(crate) text: &'a str,
    /// Short texts of JSON documents, by their pointer.
    pub(crate) texts: Vec<(String, String)>,
    /// Wall-clock time of the poll, milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
}

/// Whether the selector means this series.
fn is_of(row: &Row<'_>, selector: &Selector) -> bool {
    selector.matches_name(&row.name) && selector.matches(&row.name, |label| label_of(row, label))
}

fn label_of(row: &Row<'_>, name: &str) -> Option<String> {
    row.labels.get(name).map(Cow::into_owned)
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
        // Most selectors are a name, and most rows are of another.
        let is_pattern = selector.is_pattern();
        for row in &self.rows {
            if !(is_pattern || row.name == selector.name) || !is_of(row, selector) {
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
            let mut labels: Vec<_> = row.labels.iter().collect();
            labels.sort_unstable();
            if !seen.insert((row.name.as_ref(), labels)) {
                return Err(SourceError::Duplicate { at: self.at.to_owned(), name: selector.to_string() });
            }
            values.push(row.value);
        }
        Ok(values)
    }

    /// The name of the node; `None` when the page does not tell it, or tells several.
    pub(crate) fn node(&self, name: &NodeName) -> Option<String> {
        let texts = self.texts.iter().filter(|(pointer, _)| name.metric.matches_name(pointer));
        let texts = texts.map(|(_, text)| text.clone());
        let labelled = self.rows.iter().filter(|row| !name.labels.is_empty() && is_of(row, &name.metric));
        let labelled = labelled.filter_map(|row| {
            let values: Option<Vec<_>> = name.labels.iter().map(|label| label_of(row, label)).collect();
            Some(values?.join(" of "))
        });
        let mut names = texts.chain(labelled);
        let first = names.next()?;
        names.all(|other| other == first).then(|| excerpt(&first, NODE_CHARS))
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
        let of_rows = self.rows.iter().map(|row| row.name.as_ref());
        let names: BTreeSet<&str> = of_rows.chain(exposition::names(self.text)).collect();
        let mut ranked: Vec<(f64, &str)> =
            names.into_iter().map(|found| (strsim::jaro_winkler(name, found), found)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        SourceError::Missing {
            at: self.at.to_owned(),
            name: metric.to_string(),
            similar: ranked.iter().take(3).map(|(_, found)| excerpt(found, NAME_CHARS)).collect(),
        }
    }

    /// The error for a value that cannot be.
    pub(crate) fn value_error(&self, metric: &Metric, value: f64, why: &'static str) -> SourceError {
        SourceError::Value { at: self.at.to_owned(), name: metric.to_string(), value, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::document;
    use crate::telemetry::exposition::Times;

    fn name(metric: &str, labels: &[&str]) -> NodeName {
        NodeName {
            metric: metric.parse().unwrap(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        }
    }

    #[test]
    fn names_of_a_page_are_shown_in_part() {
        let text = format!(r#"{{"cpu\u001b[2J\n": 1, "{}": 1}}"#, "cpu".repeat(1000));
        let page = Page { rows: document::parse(&text, "").unwrap().rows, ..Page::default() };
        let message = page.missing(&Metric(vec!["/cpu".parse().unwrap()])).to_string();
        assert!(message.contains("/cpu\u{fffd}[2J ") && message.len() < 300, "{message:?}");
    }

    #[test]
    fn the_name_of_a_node_is_in_labels() {
        let read = |text: &'static str| {
            let page = Page {
                rows: exposition::parse(text, Times::Milliseconds, |_| true).unwrap(),
                ..Page::default()
            };
            page.node(&name("identity_info", &["node", "cluster"]))
        };
        let both = "up 1\nidentity_info{cluster=\"c\",node=\"a\"} 1\n";
        assert_eq!(read(both), Some("a of c".to_owned()));
        assert_eq!(read("identity_info{node=\"a\"} 1\n"), None, "half of it");
        assert_eq!(read("up 1\n"), None);
        let two = "identity_info{node=\"a\",cluster=\"c\"} 1\nidentity_info{node=\"b\",cluster=\"c\"} 1\n";
        assert_eq!(read(two), None, "a page of several nodes");
    }

    #[test]
    fn the_name_of_a_node_is_a_text() {
        let read = |text: &str| {
            let texts = document::parse(text, "").unwrap().texts;
            Page { texts, ..Page::default() }.node(&name("/server/id", &[]))
        };
        assert_eq!(read(r#"{"id": "x", "server": {"id": "NDQ5"}}"#), Some("NDQ5".to_owned()));
        assert_eq!(read(r#"{"server": {"id": 7}}"#), None);
        let long = format!(r#"{{"server": {{"id": "{}"}}}}"#, "x".repeat(1000));
        assert_eq!(read(&long), None, "no name is as long");
    }
}
