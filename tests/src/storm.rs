//! A storm: thousands of MQTT clients that connect once, at a pace, and then stay.
//!
//! Each client tries once, so that what a client meets is a figure: connected, refused, or given up, and after how long.
//! The clients of [`crate::load`] try again until they are in.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use rumqttc::mqttbytes::v4::{Connect, Packet};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::bytes::BytesMut;

use crate::{lab::Host, mqtt::MAX_PACKET};

/// Counts clients: a broker ends the connection of a client whose id comes a second time.
static CLIENTS: AtomicU32 = AtomicU32::new(0);

/// What comes.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Clients.
    pub clients: u32,
    /// How many of them start a second.
    pub per_second: u32,
    /// When a client gives up.
    pub patience: Duration,
}

/// How one client fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Connected,
    Refused,
    TimedOut,
}

/// How all of them fared so far.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whose CONNECT was accepted.
    pub connected: usize,
    /// Whose connection was refused or closed.
    pub refused: usize,
    /// Who gave up.
    pub timed_out: usize,
    /// Connected clients whose connection the other side has ended since.
    pub broken: usize,
    /// Seconds until the end of each attempt, whatever it was, in rising order.
    pub took: Vec<f64>,
}

impl Outcome {
    /// Clients that did not get in.
    #[must_use]
    pub const fn failed(&self) -> usize {
        self.refused + self.timed_out
    }

    /// Clients that waited for longer than `seconds`.
    #[must_use]
    pub fn slower_than(&self, seconds: f64) -> usize {
        self.took.len() - self.took.partition_point(|took| *took <= seconds)
    }

    /// A quantile of the seconds, by the nearest rank.
    #[must_use]
    pub fn quantile(&self, part: f64) -> f64 {
        let rank = (part * self.took.len() as f64).ceil() as usize;
        self.took.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connected, {} refused, {} timed out; {} waited for more than 0.9 s; median {:.3} s, 99 % {:.3} s, longest {:.3} s",
            self.connected,
            self.refused,
            self.timed_out,
            self.slower_than(0.9),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0)
        )
    }
}

/// A running storm. Its clients leave when it is dropped.
#[derive(Debug)]
pub struct Raging {
    outcome: Arc<Mutex<Outcome>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    clients: u32,
}

impl Storm {
    /// Begins, from a host.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn begin(self, host: &Host, to: SocketAddr) -> Result<Raging> {
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let over = Arc::new(AtomicBool::new(false));
        let (notes, end) = (Arc::clone(&outcome), Arc::clone(&over));
        let thread = host.netns.spawn("storm", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(rage(self, to, notes, end));
        });
        Ok(Raging { outcome, over, thread: Some(thread?), clients: self.clients })
    }

    /// Begins and waits until every client has tried. They are still connected.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn rage(self, host: &Host, to: SocketAddr) -> Result<(Raging, Outcome)> {
        let raging = self.begin(host, to)?;
        let outcome = raging.wait()?;
        Ok((raging, outcome))
    }
}

impl Raging {
    /// How clients fared so far.
    #[must_use]
    pub fn so_far(&self) -> Outcome {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outcome.took.sort_unstable_by(f64::total_cmp);
        outcome
    }

    /// Waits until every client has tried.
    ///
    /// # Errors
    /// They have not in two minutes.
    pub fn wait(&self) -> Result<Outcome> {
        let tried = || self.so_far().took.len();
        crate::wait::until("every client of the storm to have tried", Duration::from_secs(120), || {
            tried() == self.clients as usize
        })
        .with_context(|| format!("{} of {} have", tried(), self.clients))?;
        Ok(self.so_far())
    }
}

impl Drop for Raging {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported.
            let _ = thread.join();
        }
    }
}

async fn rage(storm: Storm, to: SocketAddr, notes: Arc<Mutex<Outcome>>, over: Arc<AtomicBool>) {
    let mut clients = JoinSet::new();
    let mut pace = interval(Duration::from_secs(1) / storm.per_second.max(1));
    // What a busy machine holds back is not sent all at once.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..storm.clients {
        pace.tick().await;
        if over.load(Ordering::Relaxed) {
            return;
        }
        clients.spawn(client(to, storm.patience, Arc::clone(&notes)));
    }
    while !over.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(50)).await;
    }
}

async fn client(to: SocketAddr, patience: Duration, notes: Arc<Mutex<Outcome>>) {
    let note =
        |count: &dyn Fn(&mut Outcome)| count(&mut notes.lock().unwrap_or_else(PoisonError::into_inner));
    let began = Instant::now();
    let connected = timeout(patience, connect(to)).await;
    let took = began.elapsed().as_secs_f64();
    let (end, stream) = match connected {
        Ok(Ok(stream)) => (End::Connected, Some(stream)),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => (End::TimedOut, None),
        Ok(Err(_)) => (End::Refused, None),
        Err(_elapsed) => (End::TimedOut, None),
    };
    note(&|outcome| {
        outcome.took.push(took);
        match end {
            End::Connected => outcome.connected += 1,
            End::Refused => outcome.refused += 1,
            End::TimedOut => outcome.timed_out += 1,
        }
    });
    let Some(mut stream) = stream else { return };
    let mut rest = [0; 64];
    // Nothing is asked of the broker any more, so it says nothing until it ends the connection.
    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
    note(&|outcome| outcome.broken += 1);
}

async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    let mut output = BytesMut::new();
    let id = CLIENTS.fetch_add(1, Ordering::Relaxed);
    let mut connect = Connect::new(format!("storm-{}-{id}", std::process::id()));
    connect.keep_alive = 0;
    Packet::Connect(connect).write(&mut output, MAX_PACKET).map_err(std::io::Error::other)?;
    stream.write_all(&output).await?;
    let mut input = BytesMut::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        match Packet::read(&mut input, MAX_PACKET) {
            Ok(Packet::ConnAck(answer))
                if answer.code == rumqttc::mqttbytes::v4::ConnectReturnCode::Success =>
            {
                return Ok(stream);
            }
            Ok(_) => return Err(std::io::ErrorKind::ConnectionRefused.into()),
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
            Err(error) => return Err(std::io::Error::other(error)),
        }
    }
}
