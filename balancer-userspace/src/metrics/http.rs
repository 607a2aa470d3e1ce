//! `GET /metrics` on a TCP port.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::api::server::ask;
use crate::api::http::{late, serve};
use crate::api::{Call, Calls};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
