//! The client of the API.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::server::VERSION_HEADER;
use super::wire::{self, API_VERSION, ApiError, ErrorCode};
use super::{BackendName, FlowFilter, LogFilter, Question, When};
use crate::history;

/// Time for one request, longer than the server's own.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Most bytes of an answer: [`wire::MAX_FLOWS`] take a tenth of it.
const MAX_ANSWER: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error(
        "no agent answers on {}: {source}; start it with \"balancer run\", or name its socket with --socket",
        socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The socket may not be used.
    #[error("{} may not be used by this user; run as root, or as a member of the socket's group", .0.display())]
    Denied(PathBuf),
    /// The agent speaks another version.
    #[error(
        "the agent speaks version {theirs} of the API, this client {API_VERSION}; use the client that came with the agent"
    )]
    Version {
        /// What it says it speaks.
        theirs: String,
    },
    /// The agent answered with an error.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// It took too long.
    #[error("the agent took longer than {} s; see its log", TIMEOUT.as_secs())]
    TimedOut,
    /// The connection failed under way.
    #[error("the connection to the agent failed: {0}")]
    Http(#[from] hyper::Error),
    /// The answer's body could not be read.
    #[error("the answer of the agent ended early: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not what this version says.
    #[error(
        "the answer of the agent is not understood: {0}; if the agent is of another version (balancer_build_info of its \
         metrics), use the client that came with it"
    )]
    Answer(#[from] serde_json::Error),
}

impl ClientError {
    /// Whether another attempt may succeed: there is no agent, or it is about to end.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut | Self::Http(_) | Self::Body(_) => true,
            Self::Refused(error) => matches!(error.code, ErrorCode::Failed | ErrorCode::Busy),
            Self::Denied(_) | Self::Version { .. } | Self::Answer(_) => false,
        }
    }
}

/// A client of one agent.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the agent that listens on `socket`. Connects with each request.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// `GET /v1/version`.
    ///
    /// # Errors
    ///
    /// See [`ClientError`], also of what follows.
    pub async fn version(&self) -> Result<wire::Version, ClientError> {
        self.get("/v1/version").await
    }

    /// `GET /v1/status`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn status(&self) -> Result<wire::Status, ClientError> {
        self.get("/v1/status").await
    }

    /// `GET /v1/services`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn services(&self) -> Result<Vec<wire::Service>, ClientError> {
        self.get("/v1/services").await
    }

    /// `GET /v1/backends`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn backends(&self) -> Result<Vec<wire::Backend>, ClientError> {
        self.get("/v1/backends").await
    }

    /// `POST /v1/backends/{service}/{backend}/drain` or `undrain`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn drain(&self, backend: &BackendName, drain: bool) -> Result<wire::Backend, ClientError> {
        let action = if drain { "drain" } else { "undrain" };
        self.send(Method::POST, &backend_path(backend, action), None).await
    }

    /// `POST /v1/backends/{service}/{backend}/drain`, with a pace.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn drain_at(
        &self,
        backend: &BackendName,
        pace: &wire::DrainRequest,
    ) -> Result<wire::Backend, ClientError> {
        self.send(Method::POST, &backend_path(backend, "drain"), Some(serde_json::to_vec(pace)?)).await
    }

    /// `GET /v1/rebalance`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn runs(&self) -> Result<wire::Runs, ClientError> {
        self.get("/v1/rebalance").await
    }

    /// `POST /v1/rebalance`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn rebalance(&self, request: &wire::RebalanceRequest) -> Result<wire::Runs, ClientError> {
        self.send(Method::POST, "/v1/rebalance", Some(serde_json::to_vec(request)?)).await
    }

    /// `POST /v1/rebalance/stop`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn stop_runs(&self, service: Option<String>) -> Result<wire::Runs, ClientError> {
        let body = serde_json::to_vec(&wire::StopRequest { service })?;
        self.send(Method::POST, "/v1/rebalance/stop", Some(body)).await
    }

    /// `PUT /v1/backends/{service}/{backend}/weight`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn weight(
        &self,
        backend: &BackendName,
        weight: Option<u32>,
    ) -> Result<wire::Backend, ClientError> {
        let body = serde_json::to_vec(&wire::WeightRequest { weight })?;
        self.send(Method::PUT, &backend_path(backend, "weight"), Some(body)).await
    }

    /// `GET /v1/flows`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn flows(&self, filter: &FlowFilter) -> Result<wire::Flows, ClientError> {
        let client = filter.client.as_ref().map(IpAddr::to_string);
        let query = [
            ("limit", &Some(filter.limit.to_string())),
            ("service", &filter.service),
            ("backend", &filter.backend),
            ("client", &client),
        ];
        self.get(&format!("/v1/flows?{}", query_of(&query))).await
    }

    /// `GET /v1/explain`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn explain(&self, question: &Question) -> Result<wire::Explanation, ClientError> {
        let Question { service, backend, client, when } = question;
        let client = client.as_ref().map(SocketAddr::to_string);
        let (at, since) = match when {
            When::Now => (None, None),
            When::Since(since) => (None, Some(since.as_secs_f64().to_string())),
            When::At(millis) => (Some(history::rfc3339(*millis)), None),
        };
        let query =
            [("service", service), ("backend", backend), ("client", &client), ("at", &at), ("since", &since)];
        self.get(&format!("/v1/explain?{}", query_of(&query))).await
    }

    /// `GET /v1/log`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn log(&self, filter: &LogFilter) -> Result<wire::Log, ClientError> {
        let since = filter.since.map(|since| since.as_secs_f64().to_string());
        let after = filter.after.map(|after| after.to_string());
        let query = [
            ("limit", &Some(filter.limit.to_string())),
            ("since", &since),
            ("service", &filter.service),
            ("backend", &filter.backend),
            ("after", &after),
            ("summaries", &filter.summaries.then(|| "true".to_owned())),
        ];
        self.get(&format!("/v1/log?{}", query_of(&query))).await
    }

    /// `POST /v1/reload`.
    #[expect(clippy::missing_errors_doc, reason = "see `version`")]
    pub async fn reload(&self) -> Result<wire::Reload, ClientError> {
        self.send(Method::POST, "/v1/reload", None).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, None).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        match timeout(TIMEOUT, self.exchange(method, path, body)).await {
            Ok(answer) => Ok(serde_json::from_slice(&answer?)?),
            Err(_) => Err(ClientError::TimedOut),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Bytes, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| {
            let socket = self.socket.clone();
            if source.kind() == io::ErrorKind::PermissionDenied {
                ClientError::Denied(socket)
            } else {
                ClientError::Unreachable { socket, source }
            }
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .expect("names are encoded and numbers are digits, so the path is valid");
        let answer = async { read(sender.send_request(request).await?).await };
        // The connection is driven here and not in a task, so that it ends with the request.
        let drive = async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the agent ended");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = answer => answer,
            () = drive => unreachable!("it waits for ever"),
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let (head, body) = response.into_parts();
    let theirs = head.headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("(none)");
    if theirs != API_VERSION.to_string() {
        return Err(ClientError::Version { theirs: theirs.to_owned() });
    }
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
        Ok(_) => ClientError::Body(format!("more than {MAX_ANSWER} bytes; ask for fewer flows").into()),
        Err(error) => ClientError::Body(error),
    })?;
    let body = body.to_bytes();
    if head.status.is_success() {
        return Ok(body);
    }
    Err(serde_json::from_slice::<ApiError>(&body)?.into())
}

fn backend_path(name: &BackendName, action: &str) -> String {
    format!("/v1/backends/{}/{}/{action}", encoded(&name.service), encoded(&name.backend))
}

fn query_of(pairs: &[(&str, &Option<String>)]) -> String {
    let pairs = pairs.iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(value.as_ref()?))));
    pairs.collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
