//! What connections cost that do nothing.

use std::{
    io,
    net::SocketAddr,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use super::{
    machine,
    mqtt::{PATIENCE, open, runtime},
    rival::{Rival, Running},
};
use crate::{
    interrupt,
    lab::{Host, Lab},
};

/// Time for what is freed late, or allocated late, by the kernel.
const SETTLE: Duration = Duration::from_secs(2);

/// Connections of one thread: below what a table of descriptors can have on most machines.
const SHARE: usize = 10_000;

/// Handshakes under way at the same time.
const AT_ONCE: usize = 64;

/// Memory at one number of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Connections.
    pub(super) connections: usize,
    /// What the machine uses more than before the rival was started, bytes.
    pub(super) machine: u64,
    /// What its processes have resident, bytes.
    pub(super) resident: u64,
}

/// What was found out about one rival.
pub(super) struct Idle {
    /// Memory, one number of connections after the other.
    pub(super) memory: Vec<Memory>,
    /// Why there is none for the larger numbers, if there is not.
    pub(super) given_up: Option<String>,
}

/// Starts a rival and opens connections, one number after the other, as long as it takes them.
pub(super) fn measure(lab: &Lab, rival: Rival, numbers: &[usize]) -> Result<Idle> {
    thread::sleep(SETTLE);
    let before = machine::used()?;
    let most = numbers.iter().copied().max().unwrap_or(0);
    let running = rival.start(lab, most)?;
    let mut held = Vec::new();
    let mut memory = Vec::new();
    for number in numbers {
        match at(lab, &running, &mut held, *number, before) {
            Ok(one) => memory.push(one),
            Err(error) => {
                // Not the rival's doing.
                interrupt::check()?;
                let given_up =
                    format!("{} did not take {number} idle connections: {error:#}", rival.as_str());
                return Ok(Idle { memory, given_up: Some(given_up) });
            }
        }
    }
    Ok(Idle { memory, given_up: None })
}

fn at(lab: &Lab, running: &Running<'_>, held: &mut Vec<Held>, number: usize, before: u64) -> Result<Memory> {
    let mut open: usize = held.iter().map(|held| held.number).sum();
    while open < number {
        let more = (number - open).min(SHARE);
        let opened = Held::open(&lab.clients[0], &running.mqtt, more);
        let quoted = || match running.log().trim() {
            "" => format!("after {open} connections"),
            log => format!("after {open} connections; it says:\n{log}"),
        };
        held.push(opened.with_context(quoted)?);
        open += more;
    }
    thread::sleep(SETTLE);
    Ok(Memory {
        connections: open,
        machine: machine::used()?.saturating_sub(before),
        resident: running.resident()?,
    })
}

/// Connections that a thread with a table of descriptors of its own holds, until it is dropped.
struct Held {
    number: usize,
    release: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Held {
    fn open(host: &Host, to: &[SocketAddr], number: usize) -> Result<Self> {
        let (release, released) = mpsc::channel::<()>();
        let (opened, outcome) = mpsc::channel();
        let to = to.to_vec();
        let thread = host.netns.spawn("idle clients", move || {
            let streams = open_apart(&to, number);
            let (streams, outcome) = match streams {
                Ok(streams) => (streams, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            };
            // Whoever asked may have given up.
            let _ = opened.send(outcome);
            let _ = released.recv();
            drop(streams);
        })?;
        let held = Self { number, release: Some(release), thread: Some(thread) };
        let outcome = outcome.recv().context("the thread that opens connections ended")?;
        outcome.map(|()| held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported.
            let _ = thread.join();
        }
    }
}

/// In a table of descriptors of this thread's own, from here on.
fn open_apart(to: &[SocketAddr], number: usize) -> Result<Vec<std::net::TcpStream>> {
    // Made before: what it makes once for the whole process must be in the table that all threads have.
    let runtime = runtime()?;
    unshare(CloneFlags::CLONE_FILES).context("failed to make a table of descriptors")?;
    runtime.block_on(fill(to, number))
}

async fn fill(to: &[SocketAddr], number: usize) -> Result<Vec<std::net::TcpStream>> {
    let mut tasks = JoinSet::new();
    let mut streams = Vec::with_capacity(number);
    for turn in 0..number {
        interrupt::check()?;
        if tasks.len() >= AT_ONCE {
            streams.extend(next(&mut tasks, streams.len()).await?);
        }
        let to = to[turn % to.len()];
        tasks.spawn(async move {
            timeout(PATIENCE, open(to)).await.map_err(io::Error::from)?.and_then(TcpStream::into_std)
        });
    }
    while let Some(stream) = next(&mut tasks, streams.len()).await? {
        streams.push(stream);
    }
    Ok(streams)
}

async fn next(
    tasks: &mut JoinSet<io::Result<std::net::TcpStream>>,
    so_far: usize,
) -> Result<Option<std::net::TcpStream>> {
    let Some(stream) = tasks.join_next().await else { return Ok(None) };
    let stream = stream.context("a client panicked")?;
    Ok(Some(stream.with_context(|| format!("connection {} failed", so_far + 1))?))
}
