//! `GET /metrics` on a TCP port.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::api::http::{late, serve};
use crate::api::server::ask;
use crate::api::{Call, Calls};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Time after which somebody who could not listen tries again.
const AGAIN: Duration = Duration::from_secs(5);

/// The port, listening.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else listens there.
    #[error(
        "agent.metrics: {0} is in use by another program (\"ss -ltnp\" shows which); write another port, or \"off\""
    )]
    InUse(SocketAddr),
    /// Whatever the system says.
    #[error(
        "agent.metrics: failed to listen on {address}: {source}; write an address of this host, or \"off\""
    )]
    System {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

impl Listener {
    /// Listens on `address`. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`ListenError`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        TcpListener::bind(address).await.map(Self).map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                ListenError::InUse(address)
            } else {
                ListenError::System { address, source }
            }
        })
    }

    /// The address, with the port that the system chose for port 0.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves metrics on `address` from now on. Where nobody can listen there it is tried again and again, as an agent without
/// metrics steers as well as one with them. The watch has why they are not served.
pub async fn start(address: SocketAddr, calls: Calls) -> watch::Receiver<Option<String>> {
    let (state, problem) = watch::channel(None);
    let first = listen(address, &state).await;
    tokio::spawn(async move {
        let mut listener = first;
        loop {
            match listener {
                Some(listener) => match run(listener, calls).await {},
                None => sleep(AGAIN).await,
            }
            listener = listen(address, &state).await;
        }
    });
    problem
}

/// Listens on `address`, if that can be done, and says of every change.
async fn listen(address: SocketAddr, state: &watch::Sender<Option<String>>) -> Option<Listener> {
    let (listener, problem) = match Listener::bind(address).await {
        Ok(listener) => (Some(listener), None),
        Err(error) => (
            None,
            Some(format!(
                "metrics are not served, which is tried again every {} s: {error}",
                AGAIN.as_secs()
            )),
        ),
    };
    let changed = state.send_if_modified(|before| {
        let changed = *before != problem;
        before.clone_from(&problem);
        changed
    });
    match problem {
        Some(problem) if changed => warn!("{problem}"),
        None if changed => info!("metrics are served on {address}"),
        Some(_) | None => {}
    }
    listener
}

/// Serves metrics until the future is dropped.
pub async fn run(listener: Listener, calls: Calls) -> Infallible {
    let router = Router::new().route("/metrics", get(metrics)).fallback(elsewhere).with_state(calls);
    serve(listener.0, router, late).await
}

async fn metrics(State(calls): State<Calls>) -> Response {
    let status = match ask(&calls, Call::Status).await {
        Ok(status) => status,
        Err(error) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    };
    match super::page(status) {
        Ok(page) => ([(header::CONTENT_TYPE, OPENMETRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn elsewhere() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "metrics are at /metrics\n")
}
