//! Why a reading failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::lack::is_lack;
use crate::tls::TlsError;

/// Why a source gave no reading. Every variant says where and what was seen there.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The configuration of the source cannot work.
    #[error("{at}: {why}")]
    Config {
        /// What was configured.
        at: String,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// No connection, or it broke.
    #[error("{at}: {doing}: {source}")]
    Io {
        /// Where.
        at: String,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No TLS connection.
    #[error("{at}: {source}")]
    Tls {
        /// Where.
        at: String,
        /// Why not.
        source: TlsError,
    },
    /// Not finished in time.
    #[error("{at}: {doing}: not finished within {:.1} s", after.as_secs_f64())]
    Timeout {
        /// Where.
        at: String,
        /// What was being done, and how far it came.
        doing: String,
        /// The time that was given.
        after: Duration,
    },
    /// The answer is no HTTP.
    #[error("{at}: no valid HTTP answer: {why}")]
    Http {
        /// Where.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// The answer has another status than 200.
    #[error("{at}: {status}{hint}")]
    Status {
        /// Where.
        at: String,
        /// The status.
        status: u16,
        /// What to do about it.
        hint: String,
    },
    /// The body is something else.
    #[error("{at}: 200 but body is {saw}")]
    NotMetrics {
        /// Where.
        at: String,
        /// What it is.
        saw: String,
    },
    /// The body is larger than it may be.
    #[error("{at}: body is larger than {limit} bytes; reading was stopped")]
    TooLong {
        /// Where.
        at: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The body ended before its end.
    #[error("{at}: body was cut short after {got} bytes")]
    Truncated {
        /// Where.
        at: String,
        /// Bytes that arrived.
        got: usize,
    },
    /// A line is not in the format.
    #[error("{at}: line {line} is no metric: {text:?}")]
    Malformed {
        /// Where.
        at: String,
        /// Line number from 1.
        line: usize,
        /// The line, shortened.
        text: String,
    },
    /// The body is no JSON.
    #[error("{at}: no JSON: {why}")]
    NotJson {
        /// Where.
        at: String,
        /// What is wrong with it, and where in it.
        why: String,
    },
    /// One series is there twice, so that neither can be believed.
    #[error("{at}: {name} is there twice with the same labels; two exporters behind one URL?")]
    Duplicate {
        /// Where.
        at: String,
        /// The metric.
        name: String,
    },
    /// A metric is missing.
    #[error("{at}: no metric {name}{}", similar_names(similar))]
    Missing {
        /// Where.
        at: String,
        /// The metric.
        name: String,
        /// The most similar ones that are there.
        similar: Vec<String>,
    },
    /// A metric is missing from a document that says why.
    #[error("{missing}; the document says: {said}")]
    Said {
        /// The error for the metric.
        missing: Box<SourceError>,
        /// What the document says.
        said: String,
    },
    /// A metric has a value that cannot be.
    #[error("{at}: {name} is {value}: {why}")]
    Value {
        /// Where.
        at: String,
        /// The metric.
        name: String,
        /// Its value.
        value: f64,
        /// What it should be.
        why: &'static str,
    },
    /// A metric carries a time that is not now.
    #[error("{at}: {name} carries a time {:.0} s {}; it does not describe the present (clock skew, or a page that is relayed)",
        offset_s.abs(), if *offset_s > 0.0 { "in the future" } else { "in the past" })]
    NotNow {
        /// Where.
        at: String,
        /// The metric.
        name: String,
        /// Seconds from now; positive is the future.
        offset_s: f64,
    },
    /// A counter that always moves has not moved.
    #[error(
        "{at}: {name} has not moved since the last reading: the page is cached, or the interval is too short"
    )]
    Stuck {
        /// Where.
        at: String,
        /// The counter.
        name: String,
    },
    /// There is no MQTT session; the reason names the broker.
    #[error("{why}")]
    Session {
        /// Why the last attempt or session ended.
        why: String,
    },
    /// The broker refused an MQTT session.
    #[error("{at}: {why}")]
    Refused {
        /// Where.
        at: String,
        /// Why, and what to do about it.
        why: String,
    },
    /// The answer is not in the protocol.
    #[error("{at}: {why}")]
    Protocol {
        /// Where.
        at: String,
        /// What was seen.
        why: String,
    },
    /// The broker answers but has not published what telemetry needs.
    #[error("{at}: connected, but {topic} has not been published for more than {:.0} s{hint}", limit.as_secs_f64())]
    Silent {
        /// Where.
        at: String,
        /// The heartbeat.
        topic: String,
        /// For longer than this. How long exactly is not told: each poll would give another reason, and each is logged.
        limit: Duration,
        /// What to do about it.
        hint: &'static str,
    },
    /// Nothing is wrong; the first reading has not arrived.
    #[error("{at}: waiting for the first {what}")]
    Waiting {
        /// Where.
        at: String,
        /// What is waited for.
        what: String,
    },
    /// The process or control group of a local source is not there.
    #[error("{at}: {why}")]
    Local {
        /// What was configured.
        at: String,
        /// What is missing.
        why: String,
    },
}

impl SourceError {
    /// Whether it is about what this host has, a file or the configuration, and says nothing of the broker.
    pub(crate) const fn is_own(&self) -> bool {
        matches!(self, Self::Config { .. } | Self::File { .. })
            || matches!(self, Self::Tls { source, .. } if source.is_own())
    }

    /// Whether this host lacks what asking takes, so that the broker was not asked.
    pub(crate) fn is_lack(&self) -> bool {
        matches!(self, Self::Io { source, .. } | Self::File { source, .. } if is_lack(source))
            || matches!(self, Self::Tls { source, .. } if source.is_lack())
    }
}

fn similar_names(similar: &[String]) -> String {
    match similar {
        [] => "; the page has no metric at all".to_owned(),
        names => format!("; most similar: {}", names.join(", ")),
    }
}

/// The start of a text of unknown origin, fit for one line of a message: whoever has written it does not get to move the
/// cursor of who reads it, to begin a line of his own, or to turn the line round.
pub(crate) fn excerpt(text: &str, chars: usize) -> String {
    let mut rest = text.chars();
    let mut short: String = rest.by_ref().take(chars).map(shown).collect();
    if rest.next().is_some() {
        short.push('…');
    }
    short
}

/// A character, or what is shown in its place.
const fn shown(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        // What changes the direction of writing.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_written_is_one_line_and_no_command_to_a_terminal() {
        for (text, expected) in [
            ("fine: ä \u{feff}x", "fine: ä \u{feff}x"),
            ("a\nproblem: b\r\n", "a problem: b  "),
            ("\u{1b}[2J\u{9b}2J\u{7f}\0", "\u{fffd}[2J\u{fffd}2J\u{fffd}\u{fffd}"),
            ("\u{202e}moor", "\u{fffd}moor"),
        ] {
            assert_eq!(excerpt(text, 100), expected);
        }
        assert_eq!((excerpt("äöü", 2), excerpt("äöü", 3)), ("äö…".to_owned(), "äöü".to_owned()));
    }
}
