//! Brokers that do nothing but answer probes and show a page of metrics.

use std::{
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

use crate::lab::Host;

/// The port of the first; the others have those that follow.
const FIRST: u16 = 10_000;

/// Lines of a page besides those that are read: brokers tell much more than load.
const OTHER_LINES: u32 = 100;

/// Brokers on ports of one host. They end with it.
#[derive(Debug)]
pub(super) struct Brokers {
    pages: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Brokers {
    /// Makes so many listen.
    pub(super) fn start(host: &Host, number: u16) -> Result<Self> {
        let listen = |index| {
            let listener = std::net::TcpListener::bind(address(host, index))
                .with_context(|| format!("failed to listen on {}", address(host, index)))?;
            listener.set_nonblocking(true).context("failed to make a listener non-blocking")?;
            Ok(listener)
        };
        let listeners = host.netns.enter(|| (0..number).map(listen).collect::<Result<Vec<_>>>())??;
        let pages = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel();
        let counter = Arc::clone(&pages);
        let thread = host.netns.spawn("brokers", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async {
                let mut servers = JoinSet::new();
                for (index, listener) in listeners.into_iter().enumerate() {
                    servers.spawn(serve(listener, index, Arc::clone(&counter)));
                }
                // An error means that whoever asked for the brokers is gone, which ends them as well.
                let _ = stopped.await;
            });
        })?;
        Ok(Self { pages, stop: Some(stop), thread: Some(thread) })
    }

    /// Pages that were shown so far.
    pub(super) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported.
            let _ = thread.join();
        }
    }
}

/// Where a broker listens.
pub(super) fn address(host: &Host, index: u16) -> SocketAddr {
    SocketAddr::from((host.v4, FIRST + index))
}

async fn serve(listener: std::net::TcpListener, index: usize, pages: Arc<AtomicU64>) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    let began = Instant::now();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // An accept fails when the other side has gone in between; the next one need not.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let pages = Arc::clone(&pages);
        connections.spawn(async move {
            // A connection that breaks is the agent's to notice.
            let _ = answer(stream, index, began, &pages).await;
        });
    }
}

/// Answers requests until the other side closes. A probe closes at once.
async fn answer(mut stream: TcpStream, index: usize, began: Instant, pages: &AtomicU64) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        if input.ends_with(b"\r\n\r\n") {
            input.clear();
            let page = page(index, began.elapsed().as_secs_f64());
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
                page.len()
            );
            stream.write_all((head + &page).as_bytes()).await?;
            pages.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A page whose load goes up and down, another way at each broker, so that every tick has scores to write.
fn page(index: usize, seconds: f64) -> String {
    let load = 0.5 + 0.3 * (seconds / 7.0 + index as f64).sin();
    let connections = 2_000.0 + 100.0 * (seconds / 11.0 + index as f64).sin();
    let mut page = String::with_capacity(8192);
    for number in 0..OTHER_LINES {
        writeln!(
            page,
            "broker_other_messages_total{{queue=\"queue-{number}\",protocol=\"mqtt\"}} {}",
            number * 7
        )
        .expect("writing to a string cannot fail");
    }
    writeln!(page, "broker_cpu_ratio {load:.4}\nbroker_connections {connections:.0}")
        .expect("writing to a string cannot fail");
    page
}
