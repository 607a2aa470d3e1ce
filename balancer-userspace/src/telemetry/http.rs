//! One request whose answer is not trusted: bounded in time and size, whatever the other side does.
//!
//! Redirects are not followed: they would send credentials to a place nobody configured.

mod kept;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use self::kept::Connection;
pub(crate) use self::kept::Kept;
use super::SourceError;
use super::error::excerpt;
use crate::config::telemetry::HttpAuth;
use crate::link::Stream;
use crate::tls::TlsClient;

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    /// Whether the protocol said where the body ends. Otherwise it ended when the connection did, and may be cut short.
    pub(crate) delimited: bool,
}

/// What is asked of whom.
#[derive(Debug)]
pub(crate) struct Get<'a> {
    pub(crate) url: &'a Uri,
    pub(crate) auth: &'a HttpAuth,
    /// For `https` URLs.
    pub(crate) tls: &'a TlsClient,
    pub(crate) accept: &'static str,
    /// Largest body in bytes.
    pub(crate) limit: usize,
    /// For all of it: connect, request, head and body.
    pub(crate) timeout: Duration,
}

/// What is sent besides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) headers: HeaderMap,
    /// A JSON document that is posted; without it the page is got.
    pub(crate) post: Option<String>,
}

/// A URL that telemetry can be read from.
///
/// # Errors
/// Says what is wrong and what to write instead.
pub fn check_url(url: &str) -> Result<Uri, String> {
    // Even a URL that is none may have a password in it.
    if url.contains('@') {
        return Err("the URL has credentials in it; use username and password_file".to_owned());
    }
    let uri: Uri = url.parse().map_err(|e| format!("{url:?} is no URL: {e}; write http://HOST:PORT/PATH"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("{url:?}: only http and https are read; write http://HOST:PORT/PATH"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(format!("{url:?} has no host; write http://HOST:PORT/PATH"));
    }
    port_of(&uri).map_err(|why| format!("{url:?} {why}; write http://HOST:PORT/PATH"))?;
    Ok(uri)
}

/// The port that a URL names, if it names one. [`Uri::port_u16`] alone would take that of the scheme for one that is none.
///
/// # Errors
/// Says that what stands behind the colon is no port.
pub(crate) fn port_of(uri: &Uri) -> Result<Option<u16>, &'static str> {
    // The last colon of `[2001:db8::1]` is the address's own.
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let Some((_, port)) = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) else {
        return Ok(None);
    };
    match port.parse() {
        Ok(port @ 1..) => Ok(Some(port)),
        Ok(0) | Err(_) => Err("has no port from 1 to 65535 behind its colon"),
    }
}

impl Get<'_> {
    /// Fetches the page. Any status but 200 is an error. With `kept`, on the connection that is kept there, or a new one
    /// that is left there for the next page.
    pub(crate) async fn fetch(
        &self,
        extra: &Extra,
        mut kept: Option<&mut Kept>,
    ) -> Result<Answer, SourceError> {
        let deadline = Instant::now() + self.timeout;
        let (response, connection) = self.head(extra, deadline, kept.as_deref_mut()).await?;
        if response.status() != StatusCode::OK {
            return Err(self.bad_status(&response));
        }
        let header = |name| text(response.headers().get(name));
        let encoding = header(header::CONTENT_ENCODING);
        if !encoding.is_empty() && encoding != "identity" {
            let saw = format!("encoded as {} although that was not asked for", excerpt(&encoding, 40));
            return Err(SourceError::NotMetrics { at: self.at(), saw });
        }
        let content_type = header(header::CONTENT_TYPE);
        // hyper knows the exact size from a content-length; a chunked body has its own end mark.
        let delimited = response.body().size_hint().exact().is_some()
            || header(header::TRANSFER_ENCODING).to_ascii_lowercase().contains("chunked");
        let body = self.body(response.into_body(), deadline).await?;
        if let Some(kept) = kept {
            kept.put(connection);
        }
        Ok(Answer { content_type, body, delimited })
    }

    /// The status alone; redirects and errors are answers too.
    pub(crate) async fn status(&self) -> Result<StatusCode, SourceError> {
        let (response, _connection) =
            self.head(&Extra::default(), Instant::now() + self.timeout, None).await?;
        Ok(response.status())
    }

    /// The status with the whole body; redirects and errors are answers too.
    pub(crate) async fn page(&self) -> Result<(StatusCode, Bytes), SourceError> {
        let deadline = Instant::now() + self.timeout;
        let (response, _connection) = self.head(&Extra::default(), deadline, None).await?;
        let status = response.status();
        Ok((status, self.body(response.into_body(), deadline).await?))
    }

    /// Asks and reads the head. The connection lives as long as the second value.
    async fn head(
        &self,
        extra: &Extra,
        deadline: Instant,
        kept: Option<&mut Kept>,
    ) -> Result<(Response<Incoming>, Connection), SourceError> {
        const ASKING: &str = "connected, waiting for an answer";
        let authorization = self.in_time(deadline, "reading the credentials", self.authorization()).await??;
        let keep = kept.is_some();
        if let Some(mut connection) = kept.and_then(|kept| kept.take(self.timeout)) {
            let request = self.request(extra, authorization.clone(), keep)?;
            // That it broke says nothing of the other side, which may close it at any time: a new one decides.
            if let Ok(response) = self.in_time(deadline, ASKING, connection.ask(request)).await? {
                return Ok((response, connection));
            }
        }
        // Seldom needed, and large: not a part of every poll.
        let mut connection = Box::pin(self.connect(deadline)).await?;
        let request = self.request(extra, authorization, keep)?;
        let response = self.in_time(deadline, ASKING, connection.ask(request)).await?;
        Ok((response.map_err(|e| self.http_error(&e))?, connection))
    }

    async fn connect(&self, deadline: Instant) -> Result<Connection, SourceError> {
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']);
        let encrypted = self.url.scheme_str() == Some("https");
        let port = self.url.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let stream = self.in_time(deadline, "connecting", TcpStream::connect((host, port))).await?;
        let stream =
            stream.map_err(|source| SourceError::Io { at: self.at(), doing: "connecting", source })?;
        let stream = if encrypted {
            let agreed = self.in_time(deadline, "agreeing on TLS", self.tls.connect(stream, host)).await?;
            Stream::new(agreed.map_err(|source| SourceError::Tls { at: self.at(), source })?)
        } else {
            Stream::new(stream)
        };
        Connection::over(stream).await.map_err(|e| self.http_error(&e))
    }

    fn request(
        &self,
        extra: &Extra,
        authorization: Option<HeaderValue>,
        keep: bool,
    ) -> Result<Request<Full<Bytes>>, SourceError> {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let method = if extra.post.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .header(header::ACCEPT, self.accept)
            .header(header::USER_AGENT, concat!("balancer/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, if keep { "keep-alive" } else { "close" });
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        for (name, value) in &extra.headers {
            request = request.header(name, value);
        }
        if extra.post.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request
            .body(Full::from(extra.post.clone().unwrap_or_default()))
            .map_err(|e| SourceError::Config { at: self.at(), why: format!("cannot be asked for: {e}") })
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, SourceError> {
        let value = if let Some(file) = &self.auth.token_file {
            format!("Bearer {}", super::secret::read(file).await?)
        } else if let Some(username) = &self.auth.username {
            let password = match &self.auth.password_file {
                Some(file) => super::secret::read(file).await?,
                None => String::new(),
            };
            format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")))
        } else {
            return Ok(None);
        };
        let mut value = HeaderValue::try_from(value).map_err(|_invalid| SourceError::Config {
            at: self.at(),
            why: "the credentials have characters that HTTP cannot carry".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn body(&self, mut body: Incoming, deadline: Instant) -> Result<Bytes, SourceError> {
        let mut whole = Bytes::new();
        if body.size_hint().lower() > self.limit as u64 {
            return Err(SourceError::TooLong { at: self.at(), limit: self.limit });
        }
        loop {
            let doing = || format!("reading the body ({} bytes so far)", whole.len());
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_elapsed| {
                SourceError::Timeout { at: self.at(), doing: doing(), after: self.timeout }
            })?;
            let Some(frame) = frame else { return Ok(whole) };
            let frame = frame.map_err(|e| {
                if e.is_incomplete_message() || e.is_body_write_aborted() || is_cut(&e) {
                    SourceError::Truncated { at: self.at(), got: whole.len() }
                } else {
                    self.http_error(&e)
                }
            })?;
            if let Ok(data) = frame.into_data() {
                if whole.len() + data.len() > self.limit {
                    return Err(SourceError::TooLong { at: self.at(), limit: self.limit });
                }
                whole = joined(whole, data);
            }
        }
    }

    async fn in_time<T>(
        &self,
        deadline: Instant,
        doing: &str,
        step: impl Future<Output = T>,
    ) -> Result<T, SourceError> {
        timeout_at(deadline, step).await.map_err(|_elapsed| SourceError::Timeout {
            at: self.at(),
            doing: doing.to_owned(),
            after: self.timeout,
        })
    }

    fn bad_status(&self, response: &Response<Incoming>) -> SourceError {
        let status = response.status();
        let hint = match status.as_u16() {
            300..=399 => {
                let location = text(response.headers().get(header::LOCATION));
                // What follows may be a session of ours, or what we were asked with.
                let place = location.split(['?', '#']).next().unwrap_or_default();
                format!(
                    " to {}; redirects are not followed, configure that URL if it is the right one",
                    excerpt(place, 200)
                )
            }
            401 | 403 => self.refused(),
            404 => "; the path is wrong, or the exporter is not enabled".to_owned(),
            _ => status.canonical_reason().map_or_else(String::new, |reason| format!(" {reason}")),
        };
        SourceError::Status { at: self.at(), status: status.as_u16(), hint }
    }

    /// What to do about refused credentials. Names their files and nothing in them.
    fn refused(&self) -> String {
        match (&self.auth.username, &self.auth.password_file, &self.auth.token_file) {
            (_, _, Some(token)) => format!("; the token in {} is not accepted", token.display()),
            (Some(user), Some(password), None) => {
                format!("; user {user:?} with the password in {} is not accepted", password.display())
            }
            (Some(user), None, None) => format!("; user {user:?} is not accepted; give password_file"),
            (None, _, None) => "; give username and password_file, or token_file".to_owned(),
        }
    }

    fn http_error(&self, e: &hyper::Error) -> SourceError {
        let mut why = e.to_string();
        let mut cause = std::error::Error::source(e);
        while let Some(inner) = cause {
            why = format!("{why}: {inner}");
            cause = inner.source();
        }
        if why.contains("CertificateRequired") {
            why.push_str("; it wants a client certificate: write tls.certificate_file and tls.key_file");
        }
        SourceError::Http { at: self.at(), why }
    }

    fn at(&self) -> String {
        self.url.to_string()
    }
}

/// Two pieces as one. Most bodies are one piece, which is left where it is.
fn joined(whole: Bytes, data: Bytes) -> Bytes {
    if whole.is_empty() {
        return data;
    }
    let mut whole = BytesMut::from(whole);
    whole.extend_from_slice(&data);
    whole.freeze()
}

/// Whether the connection broke while a body was read.
fn is_cut(e: &hyper::Error) -> bool {
    let io = std::error::Error::source(e).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| {
        matches!(io.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset)
    })
}

fn text(value: Option<&HeaderValue>) -> String {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_none_is_not_taken_for_that_of_the_scheme() {
        for (url, port) in [
            ("http://10.0.0.11/m", None),
            ("http://10.0.0.11:15692/m:1", Some(15692)),
            ("http://[2001:db8::1]/m", None),
            ("https://[2001:db8::1]:8443", Some(8443)),
        ] {
            assert_eq!(port_of(&check_url(url).unwrap()), Ok(port), "{url}");
        }
        for url in [
            "http://10.0.0.11:99999/m",
            "http://b:/m",
            "http://b:0",
            "http://[2001:db8::1]:x/m",
            "http://b:-1/",
        ] {
            let error = check_url(url).unwrap_err();
            assert!(error.contains(url), "{error}");
        }
    }
}
