//! What brokers say of their load.

use std::sync::Arc;
use std::time::Duration;

use balancer_control::Moment;

use super::agent_check::{Said, read_line};
use super::body::{self, Format};
use super::document;
use super::exposition::{self, Times};
use super::http::Answer;
use super::interpret::Interpreter;
use super::labels::Labels;
use super::page::{Page, Row};
use super::reading::{check, merge};
use crate::fuzz::{Pieces, check_message, now};
use crate::preset::{Meaning, Preset, Presets, SourceKind};

/// Wall-clock time of every reading.
const WALL_MS: i64 = 1_700_000_000_000;

/// Two pages of a preset that the first byte chooses, cut where a byte is zero.
pub(crate) fn prometheus(data: &[u8]) {
    let Some((&first, pages)) = data.split_first() else { return };
    let is_read = |source: &SourceKind| matches!(source, SourceKind::Prometheus { .. });
    let Some(preset) = preset(first, is_read) else { return };
    let answers: Vec<Answer> = pages.splitn(2, |byte| *byte == 0).map(answer).collect();
    let mut found = Vec::new();
    for answer in &answers {
        let text = match body::text(answer, "x", Format::Prometheus) {
            Ok(text) => text,
            Err(error) => return check_message(&error.to_string()),
        };
        match exposition::parse(text, Times::of(&answer.content_type), |name| preset.meaning.reads(name)) {
            Ok(rows) => found.push(Page { rows, text, ..Page::default() }),
            Err(bad) => {
                assert_eq!(text.lines().nth(bad.line - 1).map(str::trim), Some(bad.text.trim()));
                return;
            }
        }
    }
    read(&preset.meaning, found);
}

/// Two documents of a preset that the first byte chooses, cut where a byte is zero.
pub(crate) fn json(data: &[u8]) {
    let Some((&first, documents)) = data.split_first() else { return };
    let Some(preset) = preset(first, |source| matches!(source, SourceKind::Json { .. })) else { return };
    let SourceKind::Json { pages, .. } = &preset.source else { return };
    let name = pages.first().map_or("", |page| page.name.as_str());
    let mut found = Vec::new();
    for part in documents.splitn(2, |byte| *byte == 0) {
        let answer = answer(part);
        let Ok(text) = body::text(&answer, "x", Format::Json) else { return };
        match document::parse(text, name) {
            Ok(document) => {
                // Every number is written with a digit at least, and the largest has a limit of its own.
                assert!(document.rows.len() <= text.len());
                document.error.iter().for_each(|error| assert!(error.len() <= 4 * 201));
                assert!(document.texts.len() <= text.len());
                found.push(Page { rows: document.rows, texts: document.texts, ..Page::default() });
            }
            Err(error) => return check_message(&error.to_string()),
        }
    }
    read(&preset.meaning, found);
}

/// Lines that arrive in pieces, cut where a byte is zero; each adds to what the ones before said.
pub(crate) fn agent_check(data: &[u8]) {
    let mut said = Said::default();
    for one in data.split(|byte| *byte == 0) {
        let line = match now(read_line(&mut Pieces::new(one), "x")) {
            Ok(line) => line,
            Err(error) => return check_message(&error.to_string()),
        };
        assert!(!line.contains(['\n', '\r']));
        match said.hear(&line, "x") {
            Ok(heard) => said = heard,
            Err(error) => check_message(&error.to_string()),
        }
        assert!(said.percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
    }
}

fn answer(body: &[u8]) -> Answer {
    let delimited = body.first().is_some_and(|byte| byte & 1 == 0);
    Answer { content_type: String::new(), body: body.to_vec().into(), delimited }
}

/// The preset that a byte chooses among those of a kind.
pub(super) fn preset(byte: u8, kind: fn(&SourceKind) -> bool) -> Option<&'static Arc<Preset>> {
    let presets =
        || Presets::embedded().iter().map(|(preset, _)| preset).filter(|preset| kind(&preset.source));
    presets().nth(usize::from(byte) % presets().count().max(1))
}

/// A page that has something of everything.
pub(crate) fn page() -> Page<'static> {
    let row = |(name, labels, value): &(&'static str, &'static str, f64)| Row {
        name: (*name).into(),
        labels: Labels::parse(labels).expect("they are labels").0,
        value: *value,
        timestamp_ms: None,
    };
    let rows = [
        ("a", "}", 0.0),
        ("b", "l=\"x\"}", 1.0),
        ("b", "l=\"y\"}", 0.25),
        ("c", "}", 1e15),
        ("/a", "}", 50.0),
        ("a/b", "}", -1.0),
    ];
    let texts = vec![("/n".to_owned(), "node".to_owned())];
    Page { rows: rows.iter().map(row).collect(), texts, ..Page::default() }
}

/// Reads pages one after the other. What comes of it is a sample that can be, or a message.
pub(crate) fn read(meaning: &Meaning, pages: Vec<Page<'_>>) {
    let mut interpreter = Interpreter::new(meaning.clone(), None);
    interpreter.begin_survey();
    for (number, page) in pages.into_iter().enumerate() {
        let page = Page { at: "x", wall_ms: WALL_MS, ..page };
        let at = Moment(Duration::from_secs(10 * number as u64));
        match interpreter.read(&page, at, 1) {
            Ok(reading) => {
                let (sample, _) = merge(vec![reading]);
                if let Err(error) = check(&sample, "x") {
                    check_message(&error.to_string());
                    continue;
                }
                assert!(sample.utilisation.is_none_or(|used| (0.0..=1.0).contains(&used)), "{sample:?}");
                assert!(sample.cores.is_none_or(|cores| cores > 0.0), "{sample:?}");
                assert!(sample.resources.iter().all(|used| (0.0..=1.0).contains(&used.used)), "{sample:?}");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
