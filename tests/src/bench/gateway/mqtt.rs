//! MQTT clients that do one thing as fast as they can, or at a pace.
//!
//! Packets are encoded before the clock runs, and one thread serves all clients: what the load takes of the machine is
//! small, and the same for every rival.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rumqttc::mqttbytes::{
    Error, QoS,
    v4::{Connect, ConnectReturnCode, Packet, Publish},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    task::LocalSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_util::bytes::BytesMut;

use crate::{interrupt, lab::Host, mqtt::MAX_PACKET};

/// A connection that takes longer has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Pause after a failure, so that a refusal is not met with a storm.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a message.
const PAYLOAD: usize = 64;

/// Counts clients: a broker ends the connection of a client whose id comes a second time.
static CLIENTS: AtomicU32 = AtomicU32::new(0);

/// How clients leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// With DISCONNECT; the broker then closes the connection first.
    Politely,
    /// By closing the connection, as a device does that is switched off in good order.
    Abruptly,
}

/// What clients did.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Successes.
    pub(super) done: u64,
    /// Failures.
    pub(super) failed: u64,
    /// How long each success took, in microseconds.
    pub(super) micros: Vec<u32>,
    /// Successes and failures of each second.
    pub(super) seconds: Vec<(u64, u64)>,
}

impl Tally {
    fn second(&mut self, began: Instant) -> &mut (u64, u64) {
        let second = began.elapsed().as_secs() as usize;
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, (0, 0));
        }
        &mut self.seconds[second]
    }

    fn success(&mut self, began: Instant, took: Duration) {
        self.done += 1;
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.second(began).0 += 1;
    }

    fn failure(&mut self, began: Instant) {
        self.failed += 1;
        self.second(began).1 += 1;
    }

    /// The time in which a part of the successes came, in microseconds.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let mut micros = self.micros.clone();
        micros.sort_unstable();
        let rank = (part * micros.len() as f64).ceil() as usize;
        micros.get(rank.saturating_sub(1)).copied().map_or(f64::NAN, f64::from)
    }
}

/// Clients of a host, and where they connect to, in turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clients<'a> {
    /// Where they live.
    pub(super) host: &'a Host,
    /// The service, or all brokers.
    pub(super) to: &'a [SocketAddr],
    /// How many.
    pub(super) number: usize,
}

impl Clients<'_> {
    /// Connect and leave, each again and again, for a time.
    pub(super) fn connect(&self, leave: Leave, time: Duration) -> Result<Tally> {
        self.run(time, move |client| client.connect_again_and_again(leave))
    }

    /// Publish QoS 1 messages with `window` on the way, for a time.
    pub(super) fn publish(&self, window: u16, time: Duration) -> Result<Tally> {
        self.run(time, move |client| client.publish(window))
    }

    /// Publish `rate` messages a second in all, each client the next when the last was acknowledged.
    pub(super) fn publish_at(&self, rate: u32, time: Duration) -> Result<Tally> {
        let every = Duration::from_secs(1) * self.number as u32 / rate;
        self.run(time, move |client| client.publish_at(every))
    }

    fn run<F: Future<Output = io::Result<()>> + 'static>(
        &self,
        time: Duration,
        work: impl Fn(Client) -> F + Send,
    ) -> Result<Tally> {
        let (tally, broken) = self.host.netns.enter(move || -> Result<(Tally, u32)> {
            block_on(async {
                let tally = Rc::new(RefCell::new(Tally::default()));
                let broken = Rc::new(Cell::new(0));
                let tasks = LocalSet::new();
                let began = Instant::now();
                for number in 0..self.number {
                    let (tally, broken) = (Rc::clone(&tally), Rc::clone(&broken));
                    let work = work(Client { number, to: self.to.to_vec(), began, time, tally });
                    tasks.spawn_local(
                        async move { broken.set(broken.get() + u32::from(work.await.is_err())) },
                    );
                }
                tasks.await;
                (tally.take(), broken.get())
            })
        })??;
        interrupt::check()?;
        ensure!(tally.done > 0, "no client of {:?} got anything done; {} failed", self.to, tally.failed);
        ensure!(broken == 0, "{broken} of {} connections to {:?} broke", self.number, self.to);
        Ok(tally)
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    Ok(runtime()?.block_on(work))
}

pub(super) fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("failed to make a runtime")
}

/// One client.
struct Client {
    number: usize,
    to: Vec<SocketAddr>,
    began: Instant,
    time: Duration,
    tally: Rc<RefCell<Tally>>,
}

impl Client {
    fn is_over(&self) -> bool {
        self.began.elapsed() >= self.time || interrupt::check().is_err()
    }

    async fn connect_again_and_again(self, leave: Leave) -> io::Result<()> {
        let mut turn = self.number;
        while !self.is_over() {
            let to = self.to[turn % self.to.len()];
            turn += 1;
            let began = Instant::now();
            let attempt = timeout(PATIENCE, async {
                let mut stream = open(to).await?;
                let took = began.elapsed();
                if leave == Leave::Politely {
                    stream.write_all(&encode(&Packet::Disconnect)).await?;
                    while stream.read(&mut [0; 16]).await? > 0 {}
                }
                Ok::<_, io::Error>(took)
            });
            match attempt.await {
                // What ends after the time is over belongs to nobody.
                _ if self.is_over() => {}
                Ok(Ok(took)) => self.tally.borrow_mut().success(self.began, took),
                Ok(Err(_)) | Err(_) => {
                    self.tally.borrow_mut().failure(self.began);
                    sleep(PAUSE).await;
                }
            }
        }
        Ok(())
    }

    async fn publish(self, window: u16) -> io::Result<()> {
        let mut stream = open(self.to[self.number % self.to.len()]).await?;
        let messages: Vec<_> = (1..=window).map(|id| self.message(id)).collect();
        stream.write_all(&messages.concat()).await?;
        let (mut input, mut output) = (BytesMut::with_capacity(4096), Vec::with_capacity(4096));
        while !self.is_over() {
            output.clear();
            let acknowledged = acknowledgements(&mut stream, &mut input).await?;
            for id in &acknowledged {
                output.extend_from_slice(&messages[usize::from(*id) - 1]);
            }
            self.tally.borrow_mut().done += acknowledged.len() as u64;
            stream.write_all(&output).await?;
        }
        Ok(())
    }

    async fn publish_at(self, every: Duration) -> io::Result<()> {
        let mut stream = open(self.to[self.number % self.to.len()]).await?;
        let message = self.message(1);
        // Clients take turns, and do not come all at once.
        let offset = every.mul_f64((self.number as f64 * 0.618).fract());
        let mut due = interval_at(Instant::now() + offset, every);
        due.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut input = BytesMut::new();
        while !self.is_over() {
            due.tick().await;
            let sent = Instant::now();
            stream.write_all(&message).await?;
            while acknowledgements(&mut stream, &mut input).await?.is_empty() {}
            self.tally.borrow_mut().success(self.began, sent.elapsed());
        }
        Ok(())
    }

    fn message(&self, id: u16) -> Vec<u8> {
        let mut publish =
            Publish::new(format!("bench/{}", self.number), QoS::AtLeastOnce, vec![0x55; PAYLOAD]);
        publish.pkid = id;
        encode(&Packet::Publish(publish))
    }
}

/// Identifiers of the messages that the next bytes acknowledge.
async fn acknowledgements(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<Vec<u16>> {
    if stream.read_buf(input).await? == 0 {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let mut ids = Vec::new();
    loop {
        match Packet::read(input, MAX_PACKET) {
            Ok(Packet::PubAck(ack)) => ids.push(ack.pkid),
            Ok(_) => {}
            Err(Error::InsufficientBytes(_)) => return Ok(ids),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// Connects, and waits for the broker's acceptance.
pub(super) async fn open(to: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let id = CLIENTS.fetch_add(1, Ordering::Relaxed);
    let mut connect = Connect::new(format!("bench-{}-{id}", std::process::id()));
    connect.keep_alive = 0;
    stream.write_all(&encode(&Packet::Connect(connect))).await?;
    let mut input = BytesMut::with_capacity(64);
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        match Packet::read(&mut input, MAX_PACKET) {
            Ok(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => return Ok(stream),
            Ok(_) => return Err(io::ErrorKind::ConnectionRefused.into()),
            Err(Error::InsufficientBytes(_)) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn encode(packet: &Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, MAX_PACKET).expect("the packets of the benchmark are small");
    bytes.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_the_nearest_rank() {
        let tally = Tally { micros: vec![40, 10, 30, 20], ..Tally::default() };
        assert_eq!([0.5, 0.99, 1.0].map(|part| tally.quantile(part)), [20.0, 40.0, 40.0]);
        assert!(Tally::default().quantile(0.5).is_nan());
    }
}
