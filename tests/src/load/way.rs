//! What clients connect to, and over what.

use std::{fmt, io, net::SocketAddr};

use balancer_userspace::tls::{TlsClient, TlsConfig};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A service and how it is reached.
#[derive(Debug)]
pub struct Way {
    to: SocketAddr,
    tls: Option<TlsClient>,
}

/// Bytes in both directions, encrypted or not.
pub(super) type Stream = Box<dyn Bytes>;

pub(super) trait Bytes: AsyncRead + AsyncWrite + fmt::Debug + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Unpin> Bytes for T {}

impl Way {
    /// To a service, with `tls` over TLS: a full handshake for each connection, and any certificate will do.
    #[must_use]
    pub fn new(to: SocketAddr, tls: bool) -> Self {
        let client = || TlsClient::new(TlsConfig { verify: false, ..TlsConfig::default() });
        Self { to, tls: tls.then(client) }
    }

    pub(super) const fn to(&self) -> SocketAddr {
        self.to
    }

    /// The TCP connection.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// What clients talk over, once there is a TCP connection.
    pub(super) async fn secure(&self, tcp: TcpStream) -> io::Result<Stream> {
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let stream = tls.connect(tcp, &self.to.ip().to_string()).await.map_err(io::Error::other)?;
        Ok(Box::new(stream))
    }
}
