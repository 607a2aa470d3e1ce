//! Problems of a configuration: where, what, and what to write instead.

use std::fmt;

/// One step from the top of the file to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A key of a table.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

/// The place of a value in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(pub(super) Vec<Step>);

impl Place {
    /// The value of `key` here.
    pub(super) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// The element `index` here.
    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }
}

/// A problem whose place has not been looked up in the file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) message: String,
}

/// Findings, and the places where no more are wanted because one of them is the cause.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    muted: Vec<Place>,
}

impl Findings {
    /// Something that keeps the configuration from being used. One per place, and none below the place of another.
    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>) {
        if !self.muted.iter().any(|muted| place.0.starts_with(&muted.0)) {
            self.muted.push(place.clone());
            self.errors.push(Finding { place: place.clone(), message: message.into() });
        }
    }

    /// Something odd.
    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        let finding = Finding { place: place.clone(), message: message.into() };
        // What a service says is looked at once for every backend.
        if !self.warnings.contains(&finding) {
            self.warnings.push(finding);
        }
    }

    /// Keeps what follows from a problem from being reported as well.
    pub(super) fn mute(&mut self, place: Place) {
        self.muted.push(place);
    }
}

/// One problem, or one oddity, of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1, where there is one.
    pub line: Option<usize>,
    /// Place in the file, as `service[mqtt].backend[b3].weight`; empty for the syntax of the file.
    pub path: String,
    /// The value, what is wrong with it, and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}
