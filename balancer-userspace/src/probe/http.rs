//! A GET, judged by its status and body.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use balancer_control::ProbeResult;
use hyper::{StatusCode, Uri};

use super::{Answer, Fault};
use crate::config::HttpAuth;
use crate::telemetry::{Get, SourceError, check_url};
use crate::tls::TlsClient;

/// Bytes of a body that are read: pages about health are short.
const BODY_LIMIT: usize = 64 << 10;

/// A request that is made again and again.
pub(super) struct Request {
    url: Result<Uri, String>,
    auth: HttpAuth,
    tls: TlsClient,
}

impl Request {
    pub(super) fn new(url: &str, auth: HttpAuth) -> Self {
        Self { url: check_url(url), tls: TlsClient::new(auth.tls.clone()), auth }
    }

    /// The status, and the body if it is wanted.
    pub(super) async fn send(
        &self,
        body: bool,
        limit: Duration,
    ) -> Result<(StatusCode, String), SourceError> {
        let url = match &self.url {
            Ok(url) => url,
            Err(why) => return Err(SourceError::Config { at: "url".to_owned(), why: why.clone() }),
        };
        let get =
            Get { url, auth: &self.auth, tls: &self.tls, accept: "*/*", limit: BODY_LIMIT, timeout: limit };
        if !body {
            return Ok((get.status().await?, String::new()));
        }
        let (status, body) = get.page().await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// The URL, for people.
    pub(super) fn at(&self) -> String {
        self.url.as_ref().map_or_else(Clone::clone, ToString::to_string)
    }
}

/// The probe of one backend.
pub(super) struct HttpProbe {
    request: Request,
    expect: RangeInclusive<u16>,
    body: Option<String>,
    /// Whether the page is served on another port than the one that clients use.
    aside: bool,
}

impl HttpProbe {
    pub(super) fn new(
        url: &str,
        auth: HttpAuth,
        expect: RangeInclusive<u16>,
        body: Option<String>,
        service: SocketAddr,
    ) -> Self {
        let request = Request::new(url, auth);
        let port = request.url.as_ref().ok().and_then(|url| {
            url.port_u16().or_else(|| Some(if url.scheme_str() == Some("https") { 443 } else { 80 }))
        });
        Self { request, expect, body, aside: port != Some(service.port()) }
    }

    /// Asks and compares.
    pub(super) async fn probe(&self, limit: Duration) -> Answer {
        let at = self.request.at();
        match self.request.send(self.body.is_some(), limit).await {
            Ok((status, body)) if self.expect.contains(&status.as_u16()) => match &self.body {
                Some(wanted) if !body.contains(wanted) => Answer::Is(ProbeResult::Down(format!(
                    "{at}: {status}, but {wanted:?} is not in the body"
                ))),
                Some(_) | None => Answer::Is(ProbeResult::Up),
            },
            Ok((StatusCode::NOT_FOUND, _)) => {
                Answer::Unknown(format!("{at}: 404: the broker does not have this check"))
            }
            Ok((status, _)) => {
                Answer::Is(ProbeResult::Down(format!("{at}: {status}, expected {}", expected(&self.expect))))
            }
            // The page may be switched off, or its server hang, while the broker works.
            Err(error @ (SourceError::Io { .. } | SourceError::Timeout { .. }))
                if self.aside && !error.is_lack() =>
            {
                Answer::Unknown(error.to_string())
            }
            Err(error) => Fault::from(error).into(),
        }
    }
}

fn expected(range: &RangeInclusive<u16>) -> String {
    if range.start() == range.end() {
        range.start().to_string()
    } else {
        format!("{} to {}", range.start(), range.end())
    }
}
