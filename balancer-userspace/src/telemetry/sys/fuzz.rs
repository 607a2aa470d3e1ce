//! What a broker publishes below `$SYS`.

use crate::preset::SourceKind;
use crate::telemetry::fuzz::{preset, read};
use crate::telemetry::labels::Labels;
use crate::telemetry::page::{Page, Row};

use super::state::Topics;

/// Most readings of one input: each compares every name that is missing with all that are there.
const READINGS: usize = 4;

/// The first byte chooses a preset. Every line is a topic, and what follows a blank its payload; an empty line ends what
/// was published before a reading.
pub(crate) fn topics(data: &[u8]) {
    let Some((&first, lines)) = data.split_first() else { return };
    let Some(preset) = preset(first, |source| matches!(source, SourceKind::MqttSys { .. })) else { return };
    let mut topics = Topics::default();
    let mut pages = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            if pages.len() + 1 < READINGS {
                pages.push(topics.snapshot());
            }
            continue;
        }
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (topic, payload) = line.split_at(end);
        topics.put(String::from_utf8_lossy(topic).into_owned(), payload.get(1..).unwrap_or_default());
    }
    pages.push(topics.snapshot());
    let found = pages.iter().map(|page| {
        let row = |(topic, value): (&String, &f64)| Row {
            name: topic.clone().into(),
            labels: Labels::default(),
            value: *value,
            timestamp_ms: None,
        };
        Page { rows: page.iter().map(row).collect(), ..Page::default() }
    });
    read(&preset.meaning, found.collect());
}
