//! AMQP 0-9-1 clients.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use amqprs::{
    BasicProperties,
    channel::{
        BasicConsumeArguments, BasicPublishArguments, Channel, ConsumerMessage, QueueDeclareArguments,
    },
    connection::{Connection, OpenConnectionArguments},
};
use anyhow::{Context, Result, bail, ensure};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::Load;
use crate::{netns::Netns, wait::PATIENCE};

/// Counts of all clients.
#[derive(Debug, Default)]
struct Counts {
    connected: AtomicU64,
    received: AtomicU64,
}

/// Running clients: each has a queue of its own, publishes numbered messages to it and consumes them.
#[derive(Debug)]
pub(super) struct AmqpLoad {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl AmqpLoad {
    pub(super) fn start(netns: &Netns, to: SocketAddr, load: Load) -> Result<Self> {
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let file = netns.path();
        let clients = (Arc::clone(&counts), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("amqp".to_owned()).spawn(move || {
            let file = std::fs::File::open(file).context("failed to open the namespace")?;
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)
                .context("failed to enter the namespace")?;
            runtime()?.block_on(all(to, load, clients.0, clients.1))
        });
        Ok(Self { counts, stop, thread: Some(thread.context("failed to start a thread")?) })
    }

    pub(super) fn connected(&self) -> u64 {
        self.counts.connected.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self) -> u64 {
        self.counts.received.load(Ordering::Relaxed)
    }

    /// Fails when the clients have.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            None => Ok(()),
            Some(thread) => match thread.join() {
                Ok(result) => result.and_then(|()| bail!("the AMQP clients ended by themselves")),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    }

    /// Ends publishing, waits for what is on the way, and closes the connections.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the AMQP clients have ended already")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(self.received())
    }
}

impl Drop for AmqpLoad {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its failure was of no use to anybody.
            let _ = thread.join();
        }
    }
}

/// Connects, sends one message to itself, and leaves.
pub(super) fn try_once(netns: &Netns, to: SocketAddr) -> Result<()> {
    netns.enter(|| {
        runtime()?.block_on(async {
            let trip = async {
                let (connection, mut client) = Client::connect(to, 0).await?;
                client.publish().await?;
                client.receive().await?;
                connection.close().await.context("failed to close the connection")
            };
            timeout(Duration::from_secs(5), trip).await.context("no AMQP round trip in 5 s")?
        })
    })?
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to make a runtime")
}

async fn all(to: SocketAddr, load: Load, counts: Arc<Counts>, stop: Arc<AtomicBool>) -> Result<()> {
    let mut clients = JoinSet::new();
    for number in 0..load.clients {
        let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
        clients.spawn(async move {
            let every = Duration::from_millis(load.interval_ms);
            one(to, number, every, &counts, &stop).await.with_context(|| format!("AMQP client {number}"))
        });
    }
    while let Some(end) = clients.join_next().await {
        end.context("a client panicked")??;
    }
    Ok(())
}

async fn one(to: SocketAddr, number: u32, every: Duration, counts: &Counts, stop: &AtomicBool) -> Result<()> {
    let (connection, mut client) =
        timeout(PATIENCE, Client::connect(to, number)).await.context("no connection in time")??;
    counts.connected.fetch_add(1, Ordering::Relaxed);
    let mut due = interval(every);
    due.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !stop.load(Ordering::Relaxed) {
        due.tick().await;
        client.publish().await?;
        timeout(PATIENCE, client.receive()).await.context("a message did not come back in time")??;
        counts.received.fetch_add(1, Ordering::Relaxed);
    }
    connection.close().await.context("failed to close the connection")
}

/// One connection with one channel.
struct Client {
    channel: Channel,
    queue: String,
    messages: UnboundedReceiver<ConsumerMessage>,
    sent: u64,
}

impl Client {
    async fn connect(to: SocketAddr, number: u32) -> Result<(Connection, Self)> {
        let arguments = OpenConnectionArguments::new(&to.ip().to_string(), to.port(), "guest", "guest");
        let connection =
            Connection::open(&arguments).await.with_context(|| format!("failed to open {to}"))?;
        let channel = connection.open_channel(None).await.context("failed to open a channel")?;
        let name = format!("load-{}-{number}", std::process::id());
        let declared = channel.queue_declare(QueueDeclareArguments::transient_autodelete(&name)).await;
        let (queue, _, _) = declared.context("failed to declare a queue")?.context("no answer")?;
        let consume = BasicConsumeArguments::new(&queue, "load").manual_ack(false).finish();
        let (_, messages) = channel.basic_consume_rx(consume).await.context("failed to consume")?;
        Ok((connection, Self { channel, queue, messages, sent: 0 }))
    }

    async fn publish(&mut self) -> Result<()> {
        self.sent += 1;
        let to = BasicPublishArguments::new("", &self.queue);
        let content = self.sent.to_be_bytes().to_vec();
        self.channel.basic_publish(BasicProperties::default(), content, to).await.context("failed to publish")
    }

    /// The message that was published last.
    async fn receive(&mut self) -> Result<()> {
        let message = self.messages.recv().await.context("the channel was closed")?;
        let content = message.content.context("a message without content")?;
        ensure!(content == self.sent.to_be_bytes(), "message {content:?} came back and not {}", self.sent);
        Ok(())
    }
}
