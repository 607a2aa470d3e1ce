//! The Prometheus text exposition format, version 0.0.4, and what OpenMetrics adds that exporters really send.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
//!
//! Strict where a library would skip: a line that is no metric is an error, because half a page is not a reading.
//! `# TYPE` is not looked at: a preset says what is a counter.

use std::iter;

use super::labels::{Labels, is_blank, is_name_byte, without_blanks};
use super::page::Row;

/// A line that is no metric.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine<'a> {
    /// Its number, from 1.
    pub(crate) line: usize,
    /// The line.
    pub(crate) text: &'a str,
}

/// What the times of a page are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// Milliseconds since the Unix epoch, as in the text format.
    Milliseconds,
    /// Seconds since the Unix epoch, with or without a fraction, as in OpenMetrics.
    Seconds,
}

impl Times {
    /// Those of a page whose content type is this.
    pub(crate) fn of(content_type: &str) -> Self {
        if content_type.trim_start().to_ascii_lowercase().starts_with("application/openmetrics-text") {
            Self::Seconds
        } else {
            Self::Milliseconds
        }
    }
}

/// The series of a page whose names are wanted; that the others are series is looked at all the same. Bytes are looked at
/// rather than characters: pages are long and many, and all that has a meaning is ASCII.
pub(crate) fn parse(
    text: &str,
    times: Times,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Row<'_>>, BadLine<'_>> {
    let mut rows = Vec::new();
    // Series of one name stand together.
    let (mut last, mut is_wanted) = ("", false);
    for (i, line) in series(text) {
        let (name, rest) = name(line);
        let row = row(name, rest, times).ok_or(BadLine { line: i + 1, text: line })?;
        if name != last {
            (last, is_wanted) = (name, wanted(name));
        }
        if is_wanted {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The names of all series of a page, those that stand together once.
pub(crate) fn names(text: &str) -> Vec<&str> {
    let mut names: Vec<_> = series(text).map(|(_, line)| name(line).0).collect();
    names.dedup();
    names
}

/// The lines of a page that are series, with their number from 0.
fn series(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(|line| without_blanks_at_end(without_blanks(line)));
    lines.enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// The name that a line begins with, and the rest.
fn name(line: &str) -> (&str, &str) {
    line.split_at(line.bytes().position(|byte| !is_name_byte(byte)).unwrap_or(line.len()))
}

/// `name{label="value",…} value [timestamp] [# exemplar]`
fn row<'a>(name: &'a str, after_name: &'a str, times: Times) -> Option<Row<'a>> {
    if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    let rest = without_blanks(after_name);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => Labels::parse(rest)?,
        // Without labels, a blank separates the name from the value.
        None if rest.len() < after_name.len() => (Labels::default(), rest),
        None => return None,
    };
    let mut words = words(rest);
    let value = number(words.next()?)?;
    let mut row = Row { name: name.into(), labels, value, timestamp_ms: None };
    match words.next() {
        None | Some("#") => return Some(row),
        Some(word) => row.timestamp_ms = Some(timestamp(word, times)?),
    }
    match words.next() {
        None | Some("#") => Some(row),
        Some(_) => None,
    }
}

/// What blanks separate.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = without_blanks(text);
    iter::from_fn(move || {
        let end = rest.bytes().position(is_blank).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = without_blanks(after);
        (!word.is_empty()).then_some(word)
    })
}

fn without_blanks_at_end(text: &str) -> &str {
    &text[..text.len() - text.bytes().rev().take_while(|byte| is_blank(*byte)).count()]
}

/// A float as Go's `ParseFloat` takes it, which is what Prometheus reads: without hexadecimal, but with `nan` and `-inf` as
/// C prints them.
fn number(word: &str) -> Option<f64> {
    word.parse().ok()
}

/// Milliseconds.
fn timestamp(word: &str, times: Times) -> Option<i64> {
    if times == Times::Milliseconds
        && let Ok(milliseconds) = word.parse()
    {
        return Some(milliseconds);
    }
    // Milliseconds have no fraction: whoever writes one means seconds, whatever the page is called.
    let seconds: f64 = word.parse().ok()?;
    seconds.is_finite().then_some((seconds * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_a_line() {
        let page = "# HELP x y\n# TYPE x counter\nx 1\n\nx{} 2\r\n x{a=\"b\"} 3 1700000000000\n\
                    x{a=\"b\",c=\"d \\\"e\\\" \\\\ \\n }\",} -4.5e-3\nx{a=\"\"}+Inf\nx NaN\n\
                    x{le=\"1\"} 5 # {trace=\"z\"} 0.5\nns:x_1 6 1700000000.250\n# EOF\n";
        let rows = parse(page, Times::Milliseconds, |_| true).unwrap();
        let row = |i: usize| &rows[i];
        assert_eq!(rows.len(), 8);
        assert_eq!((row(0).name.as_ref(), row(0).value, row(0).timestamp_ms), ("x", 1.0, None));
        assert_eq!(row(1).labels.iter().count(), 0);
        assert_eq!(row(2).timestamp_ms, Some(1_700_000_000_000));
        assert_eq!(row(2).labels.iter().collect::<Vec<_>>(), [("a", "b".into())]);
        assert_eq!(row(3).labels.get("c").unwrap(), "d \"e\" \\ \n }");
        assert_eq!(row(3).value, -0.0045);
        assert_eq!(row(4).value, f64::INFINITY);
        assert!(row(5).value.is_nan());
        assert_eq!(row(6).value, 5.0);
        assert_eq!((row(7).name.as_ref(), row(7).timestamp_ms), ("ns:x_1", Some(1_700_000_000_250)));
    }

    #[test]
    fn numbers_are_those_that_prometheus_reads() {
        let value =
            |word: &str| parse(&format!("x {word}\n"), Times::Milliseconds, |_| true).unwrap()[0].value;
        for word in ["NaN", "nan", "NAN"] {
            assert!(value(word).is_nan(), "{word}");
        }
        for word in ["+Inf", "Inf", "inf", "+inf", "infinity"] {
            assert_eq!(value(word), f64::INFINITY, "{word}");
        }
        assert_eq!(
            (value("-inf"), value("2.5E-1"), value("+.5"), value("1.")),
            (f64::NEG_INFINITY, 0.25, 0.5, 1.0)
        );
    }

    #[test]
    fn times_of_openmetrics_are_seconds() {
        let at = |kind: &str, word: &str| {
            parse(&format!("x 1 {word}\n"), Times::of(kind), |_| true).unwrap()[0].timestamp_ms.unwrap()
        };
        let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(at(openmetrics, "1700000000"), 1_700_000_000_000);
        assert_eq!(at(openmetrics, "1700000000.25"), 1_700_000_000_250);
        for text in ["text/plain; version=0.0.4", ""] {
            assert_eq!(at(text, "1700000000250"), 1_700_000_000_250);
        }
    }

    #[test]
    fn what_is_no_metric_is_named() {
        for line in [
            "<html>",
            "x",
            "x{",
            "x{a}",
            "x{a=1} 1",
            "x{a=\"b\" 1",
            "x{a=\"b} 1",
            "1x 1",
            "x one",
            "x 1 2 3",
            "x infinite",
            "x 1_000",
            "x -",
            "x 0x10",
            "x{a=\"\\q\"} 1",
            "{a=\"b\"} 1",
            "x{a=\"b\"}",
            "x 1 soon",
        ] {
            let page = format!("ok 1\n{line}\n");
            assert_eq!(
                parse(&page, Times::Milliseconds, |_| true),
                Err(BadLine { line: 2, text: line }),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_not_wanted_is_left_out_and_still_looked_at() {
        let page = "a 1\nab{l=\"x\"} 2\na{l=\"y\"} 3\nb 4\nb 5\na 6\n";
        let rows = parse(page, Times::Milliseconds, |name| name == "a").unwrap();
        let found: Vec<_> = rows.iter().map(|row| (row.name.as_ref(), row.value)).collect();
        assert_eq!(found, [("a", 1.0), ("a", 3.0), ("a", 6.0)]);
        let error = parse("a 1\nb one\n", Times::Milliseconds, |name| name == "a");
        assert_eq!(error, Err(BadLine { line: 2, text: "b one" }));
        assert_eq!(names("# HELP b x\na 1\na{l=\"x\"} 2\n b 3\n"), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,200}|[a-z{}=\",\\\\ 0-9.#\n+-]{0,200}") {
            let _ = parse(&text, Times::Milliseconds, |_| true);
        }

        #[test]
        fn a_written_row_is_read_back(
            name in "[a-z_:][a-z0-9_:]{0,12}", label in "[a-z_]{1,8}", value in "[a-z \"\\\\{},=\n]{0,12}",
            number in proptest::num::f64::NORMAL,
        ) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let page = format!("{name}{{{label}=\"{escaped}\"}} {number:e}\n");
            let rows = parse(&page, Times::Milliseconds, |_| true).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
            prop_assert_eq!(rows[0].name.as_ref(), name.as_str());
            prop_assert_eq!(rows[0].labels.get(&label), Some(value.as_str().into()));
            prop_assert_eq!(rows[0].value, number);
        }
    }
}
