//! Plain TCP inside namespaces: servers that say who they are, and clients that ask.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv6Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream as AsyncTcpStream},
    sync::oneshot,
    task::JoinSet,
};

use crate::{
    lab::{Host, PORT},
    netns::Netns,
    wait::PATIENCE,
};

/// A server that greets each connection with its name and a line feed, and then sends back what it gets. It closes
/// all its connections on drop.
#[derive(Debug)]
pub struct EchoServer {
    live: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// One on each host, on [`PORT`] and with the host's name.
    ///
    /// # Errors
    /// The port is in use.
    pub fn on(hosts: &[Host]) -> Result<Vec<Self>> {
        hosts.iter().map(|host| Self::start(&host.netns, PORT, &host.name)).collect()
    }

    /// Listens on `port` of all addresses of the namespace, IPv4 and IPv6.
    ///
    /// # Errors
    /// The port is in use.
    pub fn start(netns: &Netns, port: u16, name: &str) -> Result<Self> {
        let listener = netns
            .enter(|| std::net::TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))?
            .with_context(|| format!("failed to listen on port {port} of {}", netns.name()))?;
        listener.set_nonblocking(true).context("failed to make the listener non-blocking")?;
        let (stop, stopped) = oneshot::channel();
        let live = Arc::new(AtomicUsize::new(0));
        let greeting = Arc::from(format!("{name}\n"));
        let counter = Arc::clone(&live);
        let thread = netns.spawn(name, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
                tokio::select! {
                    () = serve(listener, greeting, counter) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { live, stop: Some(stop), thread: Some(thread) })
    }

    /// Connections it has open.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended with a panic.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, greeting: Arc<str>, live: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    // An accept fails when the client has gone in between; the next one need not.
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (greeting, live) = (Arc::clone(&greeting), Arc::clone(&live));
        connections.spawn(async move {
            live.fetch_add(1, Ordering::Relaxed);
            // A connection that breaks is the client's to notice.
            let _ = echo(stream, &greeting).await;
            live.fetch_sub(1, Ordering::Relaxed);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn echo(mut stream: AsyncTcpStream, greeting: &str) -> std::io::Result<()> {
    stream.write_all(greeting.as_bytes()).await?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

/// An open connection to an [`EchoServer`].
#[derive(Debug)]
pub struct Connection {
    /// The server's name.
    pub server: String,
    stream: TcpStream,
}

impl Connection {
    /// Connects from inside a namespace.
    ///
    /// # Errors
    /// The connection was refused, reset or not answered in time.
    pub fn open(netns: &Netns, to: SocketAddr) -> Result<Self> {
        netns.enter(|| Self::open_here(to))?
    }

    /// Opens `n` connections, one after the other.
    ///
    /// # Errors
    /// One of them failed.
    pub fn open_many(netns: &Netns, to: SocketAddr, n: usize) -> Result<Vec<Self>> {
        netns.enter(|| (0..n).map(|_| Self::open_here(to)).collect())?
    }

    fn open_here(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE);
        let stream = stream.with_context(|| format!("failed to connect to {to}"))?;
        stream.set_read_timeout(Some(PATIENCE)).context("failed to set a timeout")?;
        stream.set_nodelay(true).context("failed to set TCP_NODELAY")?;
        let mut server = String::new();
        // A buffered reader may read ahead, but the server says nothing more before it is asked.
        BufReader::new(&stream).read_line(&mut server).context("no greeting")?;
        ensure!(server.ends_with('\n'), "the connection was closed before the greeting");
        server.truncate(server.len() - 1);
        Ok(Self { server, stream })
    }

    /// The client's end.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn local(&self) -> Result<SocketAddr> {
        self.stream.local_addr().context("no local address")
    }

    /// Sends `n` bytes and wants them back.
    ///
    /// # Errors
    /// The connection is broken, or other bytes came back.
    pub fn echo(&self, n: usize) -> Result<()> {
        let sent: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
        let mut stream = &self.stream;
        // Chunks that fit the socket buffers on both sides, so that neither end waits for the other.
        for chunk in sent.chunks(8 * 1024) {
            let mut got = vec![0; chunk.len()];
            stream.write_all(chunk).context("failed to send")?;
            stream.read_exact(&mut got).context("failed to receive")?;
            ensure!(got == chunk, "other bytes came back than were sent");
        }
        Ok(())
    }

    /// Waits for the other end to end the connection and returns how it did: `Ok(())` for FIN, the error otherwise.
    ///
    /// # Errors
    /// The connection was reset, or nothing came in `patience`.
    pub fn wait_closed(&self, patience: Duration) -> std::io::Result<()> {
        self.stream.set_read_timeout(Some(patience))?;
        let mut stream = &self.stream;
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer)? > 0 {}
        Ok(())
    }
}

/// How many connections each server has.
#[must_use]
pub fn tally(connections: &[Connection]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for connection in connections {
        *tally.entry(connection.server.clone()).or_default() += 1;
    }
    tally
}
