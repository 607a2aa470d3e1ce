//! The routes of the API: each checks its request, asks the agent, and answers in JSON.

mod closing;
mod request;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Extension, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::request::{Body, Named, refusal};
use super::http::{REQUEST_TIMEOUT, UnixPeer, serve};
use super::socket::Socket;
use super::wire::{self, API_VERSION, ApiError, ErrorCode, MAX_ENTRIES, MAX_FLOWS};
use super::{BackendName, Call, Calls, FlowFilter, LogFilter, Peer, Question, Reply, When};
use crate::history;

/// Header of every answer: [`API_VERSION`].
pub(super) const VERSION_HEADER: HeaderName = HeaderName::from_static("balancer-api");

/// Most bytes of a request's body.
const MAX_BODY: usize = 4 << 10;

/// Time that the agent has for an answer. Reading a flow table of millions takes seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Flows in an answer, unless the request says otherwise.
const DEFAULT_FLOWS: usize = 1000;

/// Entries of the decision log in an answer, unless the request says otherwise.
const DEFAULT_ENTRIES: usize = 1000;

/// Serves the API on `socket` until the future is dropped. Where somebody has removed its file it is made again.
pub async fn run(mut socket: Socket, calls: Calls) -> Infallible {
    loop {
        tokio::select! {
            never = serve(socket.take(), router(calls.clone()), late) => match never {},
            next = socket.made_again() => socket = next,
        }
    }
}

pub(super) fn router(calls: Calls) -> Router {
    Router::new()
        .route("/v1/version", get(version))
        .route("/v1/health", get(health))
        .route("/v1/status", get(status))
        .route("/v1/services", get(services))
        .route("/v1/backends", get(backends))
        .route("/v1/backends/{service}/{backend}/drain", post(drain))
        .route("/v1/backends/{service}/{backend}/undrain", post(undrain))
        .route("/v1/backends/{service}/{backend}/weight", put(weight))
        .route("/v1/rebalance", get(closing::runs).post(closing::rebalance))
        .route("/v1/rebalance/stop", post(closing::stop))
        .route("/v1/flows", get(flows))
        .route("/v1/explain", get(explain))
        .route("/v1/log", get(log))
        .route("/v1/reload", post(reload))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::map_response(async |response| stamp(response)))
        .with_state(calls)
}

type Answer<T> = Result<Json<T>, ApiError>;

/// Asks the agent.
pub(crate) async fn ask<T>(calls: &Calls, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, ApiError> {
    let (reply, answer) = oneshot::channel();
    calls.try_send(call(reply)).map_err(|error| match error {
        tokio::sync::mpsc::error::TrySendError::Full(_) => {
            ApiError::new(ErrorCode::Busy, "the agent has too many requests waiting; try again")
        }
        tokio::sync::mpsc::error::TrySendError::Closed(_) => {
            ApiError::new(ErrorCode::Failed, "the agent is stopping")
        }
    })?;
    match timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(ApiError::new(ErrorCode::Failed, "the agent gave no answer; see its log")),
        Err(_) => Err(ApiError::new(
            ErrorCode::Busy,
            "the agent did not answer in time; try again, and see its log",
        )),
    }
}

async fn version() -> Json<wire::Version> {
    Json(wire::Version { api: API_VERSION, version: env!("CARGO_PKG_VERSION").to_owned() })
}

async fn health(State(calls): State<Calls>) -> Result<Response, ApiError> {
    let wire::Status { problems, warnings, .. } = ask(&calls, Call::Status).await?;
    let health = wire::Health { ok: problems.is_empty(), problems, warnings };
    let code = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((code, Json(health)).into_response())
}

async fn status(State(calls): State<Calls>) -> Answer<wire::Status> {
    ask(&calls, Call::Status).await.map(Json)
}

async fn services(State(calls): State<Calls>) -> Answer<Vec<wire::Service>> {
    Ok(Json(ask(&calls, Call::Status).await?.services))
}

async fn backends(State(calls): State<Calls>) -> Answer<Vec<wire::Backend>> {
    Ok(Json(ask(&calls, Call::Status).await?.backends))
}

async fn drain(
    State(calls): State<Calls>,
    peer: Extension<UnixPeer>,
    Named(backend): Named,
    Body(body): Body,
) -> Answer<wire::Backend> {
    let pace = closing::pace(&body)?;
    set_drain(&calls, *peer, backend, true, pace).await
}

async fn undrain(
    State(calls): State<Calls>,
    peer: Extension<UnixPeer>,
    Named(backend): Named,
) -> Answer<wire::Backend> {
    set_drain(&calls, *peer, backend, false, None).await
}

async fn set_drain(
    calls: &Calls,
    peer: UnixPeer,
    backend: BackendName,
    drain: bool,
    pace: Option<wire::DrainRequest>,
) -> Answer<wire::Backend> {
    let action = if drain { "drain" } else { "undrain" };
    let rate = pace.as_ref().map(|pace| pace.rate);
    tracing::info!(uid = peer.uid, pid = peer.pid, action, %backend, rate, "asked by API");
    let peer = peer.into();
    ask(calls, |reply| Call::Drain { peer, backend, drain, pace, reply }).await.map(Json)
}

async fn weight(
    State(calls): State<Calls>,
    Extension(peer): Extension<UnixPeer>,
    Named(backend): Named,
    Body(body): Body,
) -> Answer<wire::Backend> {
    let wire::WeightRequest { weight } = serde_json::from_slice(&body).map_err(|error| {
        invalid(format!("{error}; send {{\"weight\": 1 to 1000}}, or null to end an override"))
    })?;
    if let Some(weight) = weight
        && !(1..=1000).contains(&weight)
    {
        return Err(invalid(format!("{weight} is not a weight; use 1 to 1000, or drain the backend")));
    }
    tracing::info!(uid = peer.uid, pid = peer.pid, action = "weight", %backend, weight, "asked by API");
    let peer = peer.into();
    ask(&calls, |reply| Call::Weight { peer, backend, weight, reply }).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowQuery {
    service: Option<String>,
    backend: Option<String>,
    client: Option<IpAddr>,
    limit: Option<usize>,
}

async fn flows(
    State(calls): State<Calls>,
    query: Result<Query<FlowQuery>, QueryRejection>,
) -> Answer<wire::Flows> {
    let Query(query) = query.map_err(|error| invalid(error.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_FLOWS);
    if !(1..=MAX_FLOWS).contains(&limit) {
        return Err(invalid(format!("limit {limit} is out of range; use 1 to {MAX_FLOWS}")));
    }
    let filter = FlowFilter { service: query.service, backend: query.backend, client: query.client, limit };
    ask(&calls, |reply| Call::Flows { filter, reply }).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    service: Option<String>,
    backend: Option<String>,
    client: Option<SocketAddr>,
    at: Option<String>,
    since: Option<f64>,
}

async fn explain(
    State(calls): State<Calls>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Answer<wire::Explanation> {
    let Query(query) = query.map_err(|error| {
        invalid(format!(
            "{}; write ?service=NAME, with &backend=NAME or &client=ADDRESS:PORT",
            error.body_text()
        ))
    })?;
    let ExplainQuery { service, backend, client, at, since } = query;
    if service.is_none() && client.is_none() {
        return Err(invalid(
            "nothing to explain; write ?service=NAME, with &backend=NAME or &client=ADDRESS:PORT",
        ));
    }
    if backend.is_some() && client.is_some() {
        return Err(invalid("backend and client exclude each other; ask about one of them"));
    }
    let when = match (at, since) {
        (None, None) => When::Now,
        (None, Some(since)) => When::Since(seconds("since", since)?),
        (Some(at), None) => When::At(history::millis(&at).ok_or_else(|| {
            invalid(format!("at {at:?} is no time; write it as 2026-01-31T14:32:00Z (RFC 3339)"))
        })?),
        (Some(_), Some(_)) => return Err(invalid("at and since exclude each other; write one of them")),
    };
    let question = Question { service, backend, client, when };
    ask(&calls, |reply| Call::Explain { question, reply }).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    since: Option<f64>,
    service: Option<String>,
    backend: Option<String>,
    after: Option<u64>,
    summaries: Option<bool>,
    limit: Option<usize>,
}

async fn log(
    State(calls): State<Calls>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Answer<wire::Log> {
    let Query(query) = query.map_err(|error| invalid(error.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_ENTRIES);
    if !(1..=MAX_ENTRIES).contains(&limit) {
        return Err(invalid(format!("limit {limit} is out of range; use 1 to {MAX_ENTRIES}")));
    }
    let filter = LogFilter {
        since: query.since.map(|since| seconds("since", since)).transpose()?,
        service: query.service,
        backend: query.backend,
        after: query.after,
        summaries: query.summaries.unwrap_or(false),
        limit,
    };
    ask(&calls, |reply| Call::Log { filter, reply }).await.map(Json)
}

fn seconds(key: &str, value: f64) -> Result<Duration, ApiError> {
    Duration::try_from_secs_f64(value)
        .map_err(|error| invalid(format!("{key} {value} is no duration ({error}); write seconds, 0 or more")))
}

async fn reload(State(calls): State<Calls>, Extension(peer): Extension<UnixPeer>) -> Answer<wire::Reload> {
    tracing::info!(uid = peer.uid, pid = peer.pid, action = "reload", "asked by API");
    let peer = peer.into();
    ask(&calls, |reply| Call::Reload { peer, reply }).await.map(Json)
}

async fn no_route(uri: Uri) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("no route {}; the routes of /v1/ are in docs/api.md", uri.path()),
    )
}

async fn no_method(uri: Uri) -> Response {
    let message = format!("{} takes another method; see docs/api.md", uri.path());
    refusal(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// The answer to a request that has not arrived as a whole in time.
pub(super) fn late() -> Response {
    let seconds = REQUEST_TIMEOUT.as_secs();
    let message = format!("the request took longer than {seconds} s; send all of its body at once");
    stamp(refusal(StatusCode::REQUEST_TIMEOUT, message))
}

fn stamp(mut response: Response) -> Response {
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from(API_VERSION));
    response
}

impl From<UnixPeer> for Peer {
    fn from(UnixPeer { uid, pid }: UnixPeer) -> Self {
        Self { uid, pid }
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Invalid, message)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.code {
            ErrorCode::Invalid => StatusCode::BAD_REQUEST,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::BadConfiguration => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Failed | ErrorCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self)).into_response()
    }
}
