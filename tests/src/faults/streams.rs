//! Raw TCP flows that ask once in a while and want their question back.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    lab::Host,
    wait::{self, PATIENCE},
};

/// Time from an answer to the next question.
const INTERVAL: Duration = Duration::from_millis(100);

/// A server that owes an answer for longer has left the flow dead.
const SILENCE: Duration = Duration::from_secs(30);

/// Flows to one service, held open until they break or this is dropped.
#[derive(Debug)]
pub(crate) struct Streams {
    book: Arc<Mutex<Book>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What is known of all flows.
#[derive(Debug)]
struct Book {
    views: Vec<View>,
    /// Server and cause of those that broke, in order.
    broken: Vec<(String, String)>,
}

/// What is known of one flow.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Who greeted it; empty before.
    pub(crate) server: String,
    /// The client's end.
    pub(crate) local: Option<SocketAddr>,
    /// How it broke, if it did.
    pub(crate) broken: Option<String>,
    /// Answers so far.
    pub(crate) answers: u64,
    /// The last answer.
    pub(crate) answered: Instant,
    /// The longest wait for an answer, the one that lasts included.
    longest: Duration,
    asked: Option<Instant>,
}

impl View {
    /// Whether it is established.
    pub(crate) const fn is_open(&self) -> bool {
        self.broken.is_none() && !self.server.is_empty()
    }

    fn wait(&self) -> Duration {
        self.longest.max(self.asked.map_or(Duration::ZERO, |asked| asked.elapsed()))
    }
}

impl Streams {
    /// Opens `n` flows from a host and waits until each was greeted by its server.
    pub(crate) fn open(host: &Host, to: SocketAddr, n: usize) -> Result<Self> {
        let fresh = View {
            server: String::new(),
            local: None,
            broken: None,
            answers: 0,
            answered: Instant::now(),
            longest: Duration::ZERO,
            asked: None,
        };
        let book = Arc::new(Mutex::new(Book { views: vec![fresh; n], broken: Vec::new() }));
        let (stop, stopped) = watch::channel(false);
        let notes = Arc::clone(&book);
        let thread = host.netns.spawn("streams", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(talk_all(to, n, notes, stopped));
        })?;
        let streams = Self { book, stop, thread: Some(thread) };
        wait::until_ok("all TCP flows to be open", PATIENCE, || {
            let views = streams.views();
            let missing = views.iter().filter(|view| !view.is_open()).count();
            let broken = views.iter().find_map(|view| view.broken.as_ref());
            ensure!(missing == 0, "{missing} of {n} are not; one says {broken:?}");
            Ok(())
        })?;
        Ok(streams)
    }

    /// All flows.
    pub(crate) fn views(&self) -> Vec<View> {
        lock(&self.book).views.clone()
    }

    /// Server and cause of those that broke, in order.
    pub(crate) fn broken(&self) -> Vec<(String, String)> {
        lock(&self.book).broken.clone()
    }

    /// How many are open.
    pub(crate) fn open_now(&self) -> u64 {
        lock(&self.book).views.iter().filter(|view| view.is_open()).count() as u64
    }

    /// How many are open on one server.
    pub(crate) fn open_on(&self, server: &str) -> u64 {
        lock(&self.book).views.iter().filter(|view| view.is_open() && view.server == server).count() as u64
    }

    /// Answers so far.
    pub(crate) fn answers(&self) -> u64 {
        lock(&self.book).views.iter().map(|view| view.answers).sum()
    }

    /// The longest wait of any flow since the last call of [`Streams::forget_waits`].
    pub(crate) fn longest_wait(&self) -> Duration {
        lock(&self.book).views.iter().filter(|view| view.is_open()).map(View::wait).max().unwrap_or_default()
    }

    /// Measures waits from now on.
    pub(crate) fn forget_waits(&self) {
        for view in lock(&self.book).views.iter_mut() {
            view.longest = Duration::ZERO;
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported.
            let _ = thread.join();
        }
    }
}

async fn talk_all(to: SocketAddr, n: usize, book: Arc<Mutex<Book>>, mut stopped: watch::Receiver<bool>) {
    let mut flows = JoinSet::new();
    for index in 0..n {
        let book = Arc::clone(&book);
        flows.spawn(async move {
            let Err(error) = talk(to, index, &book).await else { return };
            let (mut book, cause) = (lock(&book), format!("{error:#}"));
            book.views[index].broken = Some(cause.clone());
            let server = book.views[index].server.clone();
            book.broken.push((server, cause));
        });
        // A gentle start: this is not the storm.
        sleep(Duration::from_millis(2)).await;
    }
    // The sender is dropped after it has said so.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn talk(to: SocketAddr, index: usize, book: &Mutex<Book>) -> Result<()> {
    let note = |change: &dyn Fn(&mut View)| change(&mut lock(book).views[index]);
    let stream = timeout(PATIENCE, TcpStream::connect(to)).await.context("no handshake")??;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let mut stream = BufStream::new(stream);
    let mut server = String::new();
    timeout(SILENCE, stream.read_line(&mut server)).await.context("no greeting")??;
    note(&|view| {
        server.trim_end().clone_into(&mut view.server);
        view.local = Some(local);
    });
    for number in 0_u64.. {
        sleep(INTERVAL).await;
        let asked = Instant::now();
        note(&|view| view.asked = Some(asked));
        stream.write_all(&number.to_be_bytes()).await?;
        stream.flush().await?;
        let mut answer = [0; 8];
        let read = timeout(SILENCE, stream.read_exact(&mut answer)).await;
        read.with_context(|| format!("no answer for {} s", SILENCE.as_secs()))??;
        if answer != number.to_be_bytes() {
            bail!("{number} was sent, {} came back", u64::from_be_bytes(answer));
        }
        note(&|view| {
            view.asked = None;
            view.answers += 1;
            view.answered = Instant::now();
            view.longest = view.longest.max(asked.elapsed());
        });
    }
    Ok(())
}

/// A flow that panicked has left whole views.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
