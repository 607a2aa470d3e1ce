//! A connection that pages of one place are asked for on, one after the other.
//!
//! A new connection costs both sides several times what the page does. It is not kept for long, so that a name that leads
//! elsewhere, a certificate that has changed and a place that somebody has left are noticed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::link::Stream;

/// Largest head of an answer in bytes, and most that is read at once: hyper's minimum. Every connection that is kept has
/// such a buffer.
const BUFFER: usize = 8192;

/// How long a connection lives at most.
const LONGEST: Duration = Duration::from_secs(60);

/// What is kept for the next request to the same place: a connection, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Kept(Option<Connection>);

impl Kept {
    /// The connection, if one is kept that has `time` to live.
    pub(super) fn take(&mut self, time: Duration) -> Option<Connection> {
        let is_usable = |kept: &Connection| !kept.sender.is_closed() && Instant::now() + time < kept.end;
        self.0.take().filter(is_usable)
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn put(&mut self, connection: Connection) {
        self.0 = Some(connection);
    }
}

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    end: Instant,
    _task: AbortOnDropHandle<()>,
}

impl Connection {
    /// Speaks HTTP/1.1 over a stream.
    pub(super) async fn over(stream: Stream) -> hyper::Result<Self> {
        let handshake = Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake?;
        let end = Instant::now() + LONGEST;
        let task = tokio::spawn(async move {
            // The request's own result tells what went wrong.
            let _ = timeout_at(end, connection).await;
        });
        Ok(Self { sender, end, _task: AbortOnDropHandle::new(task) })
    }

    /// Sends a request, and reads the head of the answer.
    pub(super) async fn ask(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}
