//! The program `balancer-crowd`: one end of many flows. A process has so many descriptors and no more, so that a large
//! crowd is several of them.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, stdin},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, Semaphore},
    task::{LocalSet, spawn_local},
    time::{interval, timeout},
};

/// Connections that are being opened at a time.
const AT_A_TIME: usize = 200;
/// Time for one to be opened, and for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two reports.
const REPORT: Duration = Duration::from_millis(100);
/// Causes that are told.
const CAUSES: usize = 5;

/// Holds one end of many flows that say nothing, until its standard input ends.
#[derive(Debug, Parser)]
pub enum Role {
    /// Accepts, and sends back what it gets.
    Serve {
        /// Where.
        at: SocketAddr,
    },
    /// Connects, and says nothing until it is asked to by a line of its input.
    Hold {
        /// To what.
        to: SocketAddr,
        /// How many.
        n: usize,
    },
}

/// A line of standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// Whether it listens.
    pub(super) listens: bool,
    /// Flows that are open.
    pub(super) open: usize,
    /// Flows that were not opened.
    pub(super) failed: usize,
    /// Flows that broke.
    pub(super) broken: usize,
    /// Answers since they were last asked for.
    pub(super) answered: usize,
    /// How often they were asked for.
    pub(super) asked: usize,
    /// Why the first ones failed or broke.
    pub(super) causes: Vec<String>,
}

/// Plays a role.
///
/// # Errors
/// The runtime could not be made, or the port is in use.
pub fn run(role: Role) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("failed to make a runtime")?;
    let result = LocalSet::new().block_on(&runtime, async {
        let desk = Rc::new(Desk::default());
        match role {
            Role::Serve { at } => {
                let listener = listen(at).with_context(|| format!("failed to listen on {at}"))?;
                desk.note(|report| report.listens = true);
                spawn_local(serve(listener));
            }
            Role::Hold { to, n } => {
                spawn_local(connect(to, n, Rc::clone(&desk)));
            }
        }
        desk.run().await
    });
    // Standard input may still be waited for by the runtime's blocking thread.
    runtime.shutdown_background();
    result
}

/// What all flows share.
#[derive(Debug, Default)]
struct Desk {
    report: RefCell<Report>,
    ask: Notify,
    round: Cell<usize>,
}

impl Desk {
    fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.borrow_mut());
    }

    fn note_cause(&self, cause: String) {
        self.note(|report| {
            if report.causes.len() < CAUSES {
                report.causes.push(cause);
            }
        });
    }

    /// Reports, and asks when it is told to, until its input ends.
    async fn run(&self) -> Result<()> {
        let mut orders = BufReader::new(stdin()).lines();
        let mut due = interval(REPORT);
        loop {
            tokio::select! {
                order = orders.next_line() => match order.context("failed to read standard input")? {
                    None => return Ok(()),
                    Some(_) => {
                        self.round.set(self.round.get() + 1);
                        self.note(|report| (report.answered, report.asked) = (0, self.round.get()));
                        self.ask.notify_waiters();
                    }
                },
                _ = due.tick() => {
                    let mut line = serde_json::to_vec(&*self.report.borrow()).context("failed to write a report")?;
                    line.push(b'\n');
                    let mut output = std::io::stdout().lock();
                    output.write_all(&line).and_then(|()| output.flush()).context("failed to report")?;
                }
            }
        }
    }
}

fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(u16::MAX.into())
}

async fn serve(listener: TcpListener) {
    loop {
        // An accept fails when the client has gone in between; the next one need not.
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        spawn_local(async move {
            let mut question = [0; 8];
            while stream.read_exact(&mut question).await.is_ok() && stream.write_all(&question).await.is_ok()
            {
            }
        });
    }
}

async fn connect(to: SocketAddr, n: usize, desk: Rc<Desk>) {
    let permits = Rc::new(Semaphore::new(AT_A_TIME));
    for number in 0..n {
        let (desk, permits) = (Rc::clone(&desk), Rc::clone(&permits));
        spawn_local(async move {
            let permit = permits.acquire().await;
            let stream = timeout(PATIENCE, TcpStream::connect(to)).await;
            drop(permit);
            let cause = match stream {
                Ok(Ok(stream)) => return hold(stream, number as u64, &desk).await,
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => "no handshake".to_owned(),
            };
            desk.note(|report| report.failed += 1);
            desk.note_cause(cause);
        });
    }
}

/// Says nothing until everybody is asked.
async fn hold(mut stream: TcpStream, number: u64, desk: &Desk) {
    desk.note(|report| report.open += 1);
    let mut early = [0; 1];
    let cause = loop {
        let asked = desk.ask.notified();
        tokio::select! {
            () = asked => {}
            read = stream.read(&mut early) => break match read {
                Ok(_) => "closed by the server".to_owned(),
                Err(error) => error.to_string(),
            },
        }
        match timeout(PATIENCE, ask(&mut stream, number)).await {
            Ok(Ok(true)) => desk.note(|report| report.answered += 1),
            Ok(Ok(false)) => break "other bytes came back".to_owned(),
            Ok(Err(error)) => break error.to_string(),
            Err(_elapsed) => break format!("no answer for {} s", PATIENCE.as_secs()),
        }
    };
    desk.note(|report| (report.open, report.broken) = (report.open - 1, report.broken + 1));
    desk.note_cause(cause);
}

async fn ask(stream: &mut TcpStream, number: u64) -> std::io::Result<bool> {
    stream.write_all(&number.to_be_bytes()).await?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await?;
    Ok(answer == number.to_be_bytes())
}
