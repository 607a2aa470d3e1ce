//! The text of an answer that is whole and not something else.

use super::SourceError;
use super::error::excerpt;
use super::http::Answer;

/// What the text should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text.
    Prometheus,
    /// JSON.
    Json,
}

/// The text of `answer`. What it is called does not decide: exporters call their pages anything but HTML.
pub(crate) fn text<'a>(answer: &'a Answer, at: &str, format: Format) -> Result<&'a str, SourceError> {
    let not_metrics = |saw: String| SourceError::NotMetrics { at: at.to_owned(), saw };
    let kind = answer.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let first = answer.body.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    match (kind.as_str(), first) {
        ("text/html" | "application/xhtml+xml", _) => {
            return Err(not_metrics(format!("{} (login page?)", excerpt(&kind, 60))));
        }
        (_, Some(b'<')) => return Err(not_metrics("markup (login page?)".to_owned())),
        ("application/json", _) if format == Format::Prometheus => {
            return Err(not_metrics("application/json".to_owned()));
        }
        (_, None) => return Err(not_metrics("empty".to_owned())),
        _ => {}
    }
    let text = std::str::from_utf8(&answer.body)
        .map_err(|e| not_metrics(format!("not UTF-8 from byte {} on", e.valid_up_to())))?;
    // The format's last line ends with a line feed; without it and without a length, the rest may be missing.
    if format == Format::Prometheus && !answer.delimited && !text.ends_with('\n') {
        return Err(SourceError::Truncated { at: at.to_owned(), got: text.len() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
