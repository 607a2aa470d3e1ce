//! Flows of which both ends are at hand, so that each can do what real ones do rarely.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::{
    socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt},
    time::{TimeVal, TimeValLike},
};

use crate::{
    lab::{Host, Lab, VIP4},
    plan::{Plan, ServicePlan},
    wait::{PATIENCE, until_ok},
};

/// The service of duels.
pub(crate) const DUEL: &str = "duel";
const PORT: u16 = 1886;

/// Adds the service.
pub(crate) fn add_service(lab: &Lab, plan: &mut Plan) {
    let mut service = ServicePlan::v4(lab, "round-robin");
    DUEL.clone_into(&mut service.name);
    service.port = PORT;
    for (backend, host) in service.backend.iter_mut().zip(&lab.brokers) {
        backend.address = SocketAddr::from((host.v4, PORT)).to_string();
    }
    plan.service.push(service);
}

/// Ends that wait for their client, by its address.
type Arrived = Arc<Mutex<HashMap<SocketAddr, TcpStream>>>;

/// Listeners on every broker's machine.
#[derive(Debug)]
pub(crate) struct Duels {
    arrived: Arrived,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Duels {
    /// Listens. To be done before the agent starts.
    pub(crate) fn listen(lab: &Lab) -> Result<Self> {
        let mut duels = Self { arrived: Arc::default(), over: Arc::default(), threads: Vec::new() };
        for host in &lab.brokers {
            let listener = host.netns.enter(|| TcpListener::bind((host.v4, PORT)))?;
            let listener = listener.with_context(|| format!("failed to listen on port {PORT}"))?;
            listener.set_nonblocking(true).context("failed to make a listener non-blocking")?;
            let (arrived, over) = (Arc::clone(&duels.arrived), Arc::clone(&duels.over));
            duels.threads.push(host.netns.spawn("duels", move || accept(&listener, &arrived, &over))?);
        }
        Ok(duels)
    }

    /// Opens a flow, from a port of the client's or any, within 0.9 s. Returns the client's and the server's end.
    pub(crate) fn open(&self, client: &Host, port: u16) -> Result<Duel> {
        let near = client.netns.enter(|| dial(client, port))??;
        let local = near.local_addr().context("no local address")?;
        let far = until_ok("the server to have the flow", PATIENCE, || {
            let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.remove(&local).context("it has not")
        })?;
        far.set_nonblocking(false).context("failed to make a flow blocking")?;
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(PATIENCE)).context("failed to set a timeout")?;
        }
        Ok(Duel { near, far })
    }
}

impl Drop for Duels {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its panic has been reported.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, arrived: &Arrived, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, peer)) => {
                arrived.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, stream);
            }
            // Probes come and go.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// A SYN that is not answered is sent again after a second, so that a timeout below it tells of a SYN that was lost.
fn dial(client: &Host, port: u16) -> Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let socket = socket.context("failed to open a socket")?;
    setsockopt(&socket, sockopt::ReuseAddr, &true).context("failed to reuse an address")?;
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::milliseconds(900))
        .context("failed to set a timeout")?;
    let own = SockaddrIn::from(SocketAddrV4::new(client.v4, port));
    bind(socket.as_raw_fd(), &own).with_context(|| format!("failed to bind port {port}"))?;
    let vip = SockaddrIn::from(SocketAddrV4::new(VIP4, PORT));
    connect(socket.as_raw_fd(), &vip).with_context(|| format!("from port {port}"))?;
    Ok(TcpStream::from(socket))
}

/// Both ends of a flow.
#[derive(Debug)]
pub(crate) struct Duel {
    /// The client's.
    pub(crate) near: TcpStream,
    /// The server's.
    pub(crate) far: TcpStream,
}

impl Duel {
    /// Sends some bytes there and back.
    pub(crate) fn exchange(&self) -> Result<()> {
        pass(&self.near, &self.far, b"question")?;
        pass(&self.far, &self.near, b"answer")
    }
}

/// Sends bytes from one end, and wants them at the other.
pub(crate) fn pass(mut from: &TcpStream, mut to: &TcpStream, bytes: &[u8]) -> Result<()> {
    from.write_all(bytes).context("failed to send")?;
    let mut got = vec![0; bytes.len()];
    to.read_exact(&mut got).context("failed to receive")?;
    ensure!(got == bytes, "other bytes came than were sent");
    Ok(())
}

/// Waits for the end of what the other side sends, without an error.
pub(crate) fn ended(mut stream: &TcpStream) -> Result<()> {
    let mut rest = [0; 16];
    match stream.read(&mut rest) {
        Ok(0) => Ok(()),
        Ok(_) => anyhow::bail!("it sends on"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => anyhow::bail!("its FIN never came"),
        Err(error) => Err(error).context("it did not end in peace"),
    }
}
