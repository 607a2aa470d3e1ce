//! What was found, for people and machines.

use std::fmt;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but slower or less safely than it could.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was examined: a word, with the interface or address after a space where there are several.
    pub check: String,
    /// What was found.
    pub what: String,
    /// Why it matters; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// A command or a setting that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    pub(super) fn new(level: Level, check: impl Into<String>, what: impl Into<String>) -> Self {
        Self { level, check: check.into(), what: what.into(), why: String::new(), fix: None }
    }

    pub(super) fn ok(check: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, what)
    }

    pub(super) fn warn(check: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Level::Warn, check, what)
    }

    pub(super) fn fail(check: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Level::Fail, check, what)
    }

    #[must_use]
    pub(super) fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    #[must_use]
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Everything that was found, in the order it was examined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The worst level; [`Level::Ok`] when nothing was examined.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    /// How many findings have this level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
        for finding in &self.findings {
            let level = match finding.level {
                Level::Ok => "ok  ",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            writeln!(f, "{level}  {:width$}  {}", finding.check, finding.what)?;
            let indent = width + 8;
            if !finding.why.is_empty() {
                writeln!(f, "{:indent$}why: {}", "", finding.why)?;
            }
            if let Some(fix) = &finding.fix {
                writeln!(f, "{:indent$}fix: {fix}", "")?;
            }
        }
        let (warn, fail) = (self.count(Level::Warn), self.count(Level::Fail));
        writeln!(f, "{} examined, {warn} to look at, {fail} to mend", self.findings.len())
    }
}
