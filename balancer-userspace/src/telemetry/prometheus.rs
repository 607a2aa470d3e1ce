//! A page of Prometheus text, scraped.

use std::time::Duration;

use balancer_control::Moment;
use hyper::Uri;

use super::body::{self, Format};
use super::error::excerpt;
use super::exposition::{self, Times};
use super::http::{Answer, Extra, Get, Kept, check_url};
use super::interpret::Interpreter;
use super::page::{Page, wall_ms};
use super::{BODY_LIMIT, OwnClients, Reading, SourceError, Target};
use crate::config::telemetry::{HttpAuth, Meaning};
use crate::tls::TlsClient;

/// Asked for, so that exporters do not answer in a format of their own choice.
const ACCEPT: &str = "text/plain;version=0.0.4";

/// One page.
#[derive(Debug)]
pub struct PrometheusSource {
    url: Uri,
    name: String,
    auth: HttpAuth,
    tls: TlsClient,
    kept: Kept,
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
        Ok(Self {
            url: checked,
            name: url.to_owned(),
            tls: TlsClient::new(auth.tls.clone()),
            kept: Kept::default(),
            auth,
            interpreter: Interpreter::configured(meaning, target, url)?,
            own: target.own.clone(),
        })
    }

    pub(crate) const fn interpreter(&mut self) -> &mut Interpreter {
        &mut self.interpreter
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn poll(&mut self, now: Moment, timeout: Duration) -> Result<Reading, SourceError> {
        let (url, auth, tls) = (&self.url, &self.auth, &self.tls);
        let get = Get { url, auth, tls, accept: ACCEPT, limit: BODY_LIMIT, timeout };
        let answer = get.fetch(&Extra::default(), Some(&mut self.kept)).await?;
        self.read(&answer, now, wall_ms())
    }

    fn read(&mut self, answer: &Answer, now: Moment, wall_ms: i64) -> Result<Reading, SourceError> {
        let text = body::text(answer, &self.name, Format::Prometheus)?;
        let times = Times::of(&answer.content_type);
        let rows = exposition::parse(text, times, |name| self.interpreter.reads(name)).map_err(|bad| {
            SourceError::Malformed { at: self.name.clone(), line: bad.line, text: excerpt(bad.text, 80) }
        })?;
        let page = Page { at: &self.name, rows, text, texts: Vec::new(), wall_ms };
        self.interpreter.read(&page, now, self.own.count())
    }
}
