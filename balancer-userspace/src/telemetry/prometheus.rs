//! A page of Prometheus text, scraped.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balancer_control::Moment;
use hyper::Uri;

use super::error::excerpt;
use super::exposition;
use super::http::{Answer, Get, check_url};
use super::interpret::Interpreter;
use super::page::Page;
use super::{BODY_LIMIT, OwnClients, Reading, SourceError, Target, named};
use crate::config::telemetry::{HttpAuth, Meaning};

/// Asked for, so that exporters do not answer in a format of their own choice.
const ACCEPT: &str = "text/plain;version=0.0.4";

/// One page.
#[derive(Debug)]
pub struct PrometheusSource {
    url: Uri,
    name: String,
    auth: HttpAuth,
    interpreter: Interpreter,
    own: OwnClients,
}

impl PrometheusSource {
    pub(crate) fn new(
        url: &str,
        auth: HttpAuth,
        meaning: &Meaning,
        target: &Target,
    ) -> Result<Self, SourceError> {
        let checked = check_url(url).map_err(|why| SourceError::Config { at: "url".to_owned(), why })?;
        let (meaning, cores) = match meaning {
            Meaning::Named(names) => (named::meaning(names, url)?, target.cores),
            Meaning::Preset(preset) => (preset.meaning.clone(), target.cores.or(preset.cores)),
        };
        Ok(Self {
            url: checked,
            name: url.to_owned(),
            auth,
            interpreter: Interpreter::new(meaning, cores),
            own: target.own.clone(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn poll(&mut self, now: Moment, timeout: Duration) -> Result<Reading, SourceError> {
        let get = Get { url: &self.url, auth: &self.auth, accept: ACCEPT, limit: BODY_LIMIT, timeout };
        let answer = get.fetch().await?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        self.read(&answer, now, wall_ms)
    }

    fn read(&mut self, answer: &Answer, now: Moment, wall_ms: i64) -> Result<Reading, SourceError> {
        let text = page_text(answer, &self.name)?;
        let rows = exposition::parse(text).map_err(|bad| SourceError::Malformed {
            at: self.name.clone(),
            line: bad.line,
            text: excerpt(bad.text, 80),
        })?;
        let page = Page { at: &self.name, rows, wall_ms };
        self.interpreter.read(&page, now, self.own.count())
    }
}

/// The text of a page that is whole and not something else.
fn page_text<'a>(answer: &'a Answer, at: &str) -> Result<&'a str, SourceError> {
    let not_metrics = |saw: String| SourceError::NotMetrics { at: at.to_owned(), saw };
    let kind = answer.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let first = answer.body.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    match (kind.as_str(), first) {
        ("text/html" | "application/xhtml+xml", _) | (_, Some(b'<')) => {
            let kind = if kind.is_empty() { "markup" } else { &kind };
            return Err(not_metrics(format!("{} (login page?)", excerpt(kind, 60))));
        }
        ("application/json", _) => return Err(not_metrics("application/json".to_owned())),
        (_, None) => return Err(not_metrics("empty".to_owned())),
        _ => {}
    }
    let text = std::str::from_utf8(&answer.body)
        .map_err(|e| not_metrics(format!("not UTF-8 from byte {} on", e.valid_up_to())))?;
    // The format's last line ends with a line feed; without it and without a length, the rest may be missing.
    if !answer.delimited && !text.ends_with('\n') {
        return Err(SourceError::Truncated { at: at.to_owned(), got: text.len() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
