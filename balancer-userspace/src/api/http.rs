//! One loop that serves a router on a listener, with a bound on everything a peer could hold on to.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

/// Connections served at a time; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 64;

/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;

/// Time in which a peer must send the head of a request, the next one on a kept connection included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time in which a request must be read and answered.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Time after which a connection is closed, whatever it is doing: a peer that does not read its answer holds it so long.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Pause after an accept that failed, as it does for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections.
pub(crate) trait Accept {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What is known of the other end.
    type Peer: Clone + Send + Sync + 'static;

    /// Waits for the next one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

/// Who is at the other end of a unix socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnixPeer {
    /// User id.
    pub(crate) uid: u32,
    /// Process id, where the kernel tells it.
    pub(crate) pid: Option<i32>,
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;
    type Peer = UnixPeer;

    async fn accept(&self) -> io::Result<(Self::Stream, Self::Peer)> {
        let (stream, _) = Self::accept(self).await?;
        let credentials = stream.peer_cred()?;
        Ok((stream, UnixPeer { uid: credentials.uid(), pid: credentials.pid() }))
    }
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;
    type Peer = std::net::SocketAddr;

    async fn accept(&self) -> io::Result<(Self::Stream, Self::Peer)> {
        Self::accept(self).await
    }
}

/// The answer to a request that has taken too long.
type Late = fn() -> Response;

/// Serves `router` until the future is dropped, and answers by `late` what takes longer than [`REQUEST_TIMEOUT`]. Handlers
/// find the peer as a request extension.
pub(crate) async fn serve<A: Accept>(listener: A, router: Router, late: Late) -> Infallible {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        // Ended connections are forgotten here, those that are left end with the set.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let router = router.clone();
                connections.spawn(async move {
                    connection(stream, peer, router, late).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

pub(super) async fn connection<S, P>(stream: S, peer: P, router: Router, late: Late)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Clone + Send + Sync + 'static,
{
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        answer(router.clone(), request, late)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended"),
        Err(_) => tracing::debug!("a connection took too long"),
    }
}

/// The plain answer to a request that has taken too long.
pub(crate) fn late() -> Response {
    StatusCode::REQUEST_TIMEOUT.into_response()
}

async fn answer(router: Router, request: Request<Incoming>, late: Late) -> Result<Response, Infallible> {
    match timeout(REQUEST_TIMEOUT, router.oneshot(request)).await {
        Ok(answered) => answered,
        Err(_) => Ok(late()),
    }
}

#[cfg(test)]
mod tests;
