//! JSON documents, asked for by HTTP and joined.

use std::collections::BTreeMap;
use std::time::Duration;

use balancer_control::Moment;
use futures_util::future::try_join_all;
use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::body::{self, Format};
use super::document;
use super::http::{Extra, Get, Kept, check_url};
use super::interpret::Interpreter;
use super::page::{Page, wall_ms};
use super::{BODY_LIMIT, OwnClients, Reading, SourceError, Target};
use crate::config::telemetry::{HttpAuth, JsonDocument, Meaning};
use crate::tls::TlsClient;

/// Asked for.
const ACCEPT: &str = "application/json";

/// Documents that make one page together.
#[derive(Debug)]
pub struct JsonSource {
    name: String,
    documents: Vec<Document>,
    auth: HttpAuth,
    tls: TlsClient,
    interpreter: Interpreter,
    own: OwnClients,
}

#[derive(Debug)]
struct Document {
    name: String,
    url: Uri,
    extra: Extra,
    kept: Kept,
}

impl JsonSource {
    pub(crate) fn new(
        documents: &[JsonDocument],
        headers: &BTreeMap<String, String>,
        auth: HttpAuth,
        meaning: &Meaning,
        target: &Target,
    ) -> Result<Self, SourceError> {
        let name = documents.first().map(|document| document.url.clone()).unwrap_or_default();
        let headers = self::headers(headers, &name)?;
        let interpreter = Interpreter::configured(meaning, target, &name)?;
        let documents = documents.iter().map(|document| {
            let url = check_url(&document.url);
            let url = url.map_err(|why| SourceError::Config { at: "url".to_owned(), why })?;
            let extra = Extra { headers: headers.clone(), post: document.post.clone() };
            Ok(Document { name: document.name.clone(), url, extra, kept: Kept::default() })
        });
        Ok(Self {
            documents: documents.collect::<Result<_, SourceError>>()?,
            name,
            tls: TlsClient::new(auth.tls.clone()),
            auth,
            interpreter,
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
        let (auth, tls) = (&self.auth, &self.tls);
        let fetched = self.documents.iter_mut().map(|document| document.fetch(auth, tls, timeout));
        let mut whole = document::Document::default();
        for document in try_join_all(fetched).await? {
            whole.rows.extend(document.rows);
            whole.texts.extend(document.texts);
            whole.error = whole.error.or(document.error);
        }
        let (rows, texts) = (whole.rows, whole.texts);
        let page = Page { at: &self.name, rows, texts, wall_ms: wall_ms(), ..Page::default() };
        let reading = self.interpreter.read(&page, now, self.own.count());
        reading.map_err(|e| match (e, whole.error) {
            (missing @ SourceError::Missing { .. }, Some(said)) => {
                SourceError::Said { missing: Box::new(missing), said }
            }
            (e, _) => e,
        })
    }
}

impl Document {
    async fn fetch(
        &mut self,
        auth: &HttpAuth,
        tls: &TlsClient,
        timeout: Duration,
    ) -> Result<document::Document<'static>, SourceError> {
        let get = Get { url: &self.url, auth, tls, accept: ACCEPT, limit: BODY_LIMIT, timeout };
        let answer = get.fetch(&self.extra, Some(&mut self.kept)).await?;
        let at = self.url.to_string();
        let text = body::text(&answer, &at, Format::Json)?;
        document::parse(text, &self.name).map_err(|e| {
            if e.is_eof() {
                return SourceError::Truncated { at, got: text.len() };
            }
            SourceError::NotJson { at, why: e.to_string() }
        })
    }
}

fn headers(headers: &BTreeMap<String, String>, at: &str) -> Result<HeaderMap, SourceError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let bad =
            || SourceError::Config { at: at.to_owned(), why: format!("{name}: {value:?} is no header") };
        let header: HeaderName = name.parse().map_err(|_invalid| bad())?;
        map.insert(header, HeaderValue::try_from(value).map_err(|_invalid| bad())?);
    }
    Ok(map)
}
