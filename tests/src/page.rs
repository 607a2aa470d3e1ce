//! A page of metrics, as a broker serves it.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

use crate::netns::Netns;

/// What is served, made anew for each request.
type Text = Arc<dyn Fn() -> String + Send + Sync>;

/// A server that answers every request over HTTP with one page, until it is dropped.
#[derive(Debug)]
pub struct Page {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Page {
    /// Listens on `port` of all addresses of the namespace.
    ///
    /// # Errors
    /// The port is in use.
    pub fn start(
        netns: &Netns,
        port: u16,
        text: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = netns
            .enter(|| std::net::TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))?
            .with_context(|| format!("failed to listen on port {port} of {}", netns.name()))?;
        listener.set_nonblocking(true).context("failed to make the listener non-blocking")?;
        let (stop, stopped) = oneshot::channel();
        let text: Text = Arc::new(text);
        let thread = netns.spawn("page", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            runtime.expect("a runtime can be made").block_on(async {
                let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
                tokio::select! {
                    () = serve(listener, text) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Page {
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

async fn serve(listener: TcpListener, text: Text) {
    let mut requests = JoinSet::new();
    loop {
        // An accept fails when the client has gone in between; the next one need not.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let text = Arc::clone(&text);
        // Whoever asks notices a connection that breaks.
        requests.spawn(async move { answer(stream, &text()).await.unwrap_or_default() });
        while requests.try_join_next().is_some() {}
    }
}

/// Answers one request, which has no body, and closes.
async fn answer(stream: TcpStream, text: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
