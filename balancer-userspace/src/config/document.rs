//! The parsed TOML, with the line of every value.

use std::fmt::Write;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Finding, Place, Problem, Step};

/// The parsed file.
pub(super) struct Document<'a> {
    text: &'a str,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// Every problem of its syntax.
    pub(super) fn parse(text: &'a str) -> Result<Self, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self { text, root });
        }
        let problem = |error: &toml::de::Error| Problem {
            line: error.span().map(|span| line(text, span.start)),
            path: String::new(),
            message: format!("not TOML: {}", error.message().replace('\n', ", ")),
        };
        Err(errors.iter().map(problem).collect())
    }

    /// The top table.
    pub(super) fn root(&self) -> &DeTable<'a> {
        self.root.get_ref()
    }

    /// A finding with its place in words and its line.
    pub(super) fn problem(&self, finding: &Finding) -> Problem {
        let (path, offset) = self.locate(&finding.place);
        Problem { line: offset.map(|at| line(self.text, at)), path, message: finding.message.clone() }
    }

    /// Follows `place` as far as it exists. Elements are called by their name, where they have one.
    fn locate(&self, place: &Place) -> (String, Option<usize>) {
        let mut path = String::new();
        let mut offset = None;
        let mut table = Some(self.root());
        let mut value: Option<&DeValue<'_>> = None;
        for step in &place.0 {
            let next = match step {
                Step::Key(key) => {
                    let dot = if path.is_empty() { "" } else { "." };
                    write!(path, "{dot}{key}").expect("writing to a string cannot fail");
                    let entry = table.and_then(|table| table.get_key_value(key.as_str()));
                    offset = entry.map(|(key, _)| key.span().start).or(offset);
                    entry.map(|(_, value)| value)
                }
                Step::Index(index) => {
                    let element = value.and_then(DeValue::as_array).and_then(|array| array.get(*index));
                    let label = element.and_then(|element| label(element.get_ref()));
                    write!(path, "[{}]", label.unwrap_or(&format!("#{}", index + 1)))
                        .expect("writing to a string cannot fail");
                    offset = element.map(|element| element.span().start).or(offset);
                    element
                }
            };
            value = next.map(Spanned::get_ref);
            table = value.and_then(DeValue::as_table);
        }
        (path, offset)
    }
}

/// What people call an element of an array.
fn label<'a>(element: &'a DeValue<'_>) -> Option<&'a str> {
    ["name", "address"].iter().find_map(|key| element.as_table()?.get(*key)?.get_ref().as_str())
}

/// Line of the byte at `offset`, from 1.
fn line(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
