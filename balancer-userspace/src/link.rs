//! A byte stream to a broker: over TCP, with or without TLS, with or without WebSocket.

mod websocket;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::{TlsClient, TlsConfig, TlsError};

/// What a protocol is spoken over; by default plain TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// TLS, if it is used.
    pub tls: Option<TlsConfig>,
    /// Path of the WebSocket, if it is used.
    pub websocket: Option<String>,
}

/// Where and how connections are made, each of them anew.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    tls: Option<TlsClient>,
    websocket: Option<String>,
    /// What the broker is called in a WebSocket request.
    host: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// No TCP connection, or it broke.
    #[error("connecting: {0}")]
    Io(#[from] io::Error),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No WebSocket.
    #[error("no WebSocket: {0}")]
    WebSocket(String),
}

impl Link {
    /// Connects to nothing yet.
    pub(crate) fn new(address: SocketAddr, via: Via) -> Self {
        let name = via.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
        let host = name.map_or_else(|| address.to_string(), |name| format!("{name}:{}", address.port()));
        Self { address, tls: via.tls.map(TlsClient::new), websocket: via.websocket, host }
    }

    /// What the link leads to when it carries `protocol`, for people: `mqtt://`, `mqtts://`, `wss://`.
    pub(crate) fn name(&self, protocol: &str) -> String {
        let s = if self.tls.is_some() { "s" } else { "" };
        match &self.websocket {
            None => format!("{protocol}{s}://{}", self.address),
            Some(path) => format!("ws{s}://{}{path}", self.address),
        }
    }

    /// Connects; a WebSocket is asked for `protocol`. Takes as long as the other side does: bound it by a timeout.
    pub(crate) async fn open(&self, protocol: &'static str) -> Result<Stream, LinkError> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Stream::new(stream),
            Some(tls) => Stream::new(tls.connect(stream, &self.address.ip().to_string()).await?),
        };
        let Some(path) = &self.websocket else { return Ok(stream) };
        let s = if self.tls.is_some() { "s" } else { "" };
        websocket::open(stream, &format!("ws{s}://{}{path}", self.host), protocol).await
    }
}

/// Bytes in both directions, whatever carries them.
pub(crate) struct Stream(Box<dyn Bytes>);

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

impl Stream {
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(stream))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}
