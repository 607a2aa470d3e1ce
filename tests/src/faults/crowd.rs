//! Tens of thousands of flows that say nothing, and answer when they are asked.

use std::{
    net::{SocketAddr, SocketAddrV4},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, oneshot},
    task::JoinSet,
    time::timeout,
};

use crate::{
    lab::{Host, Lab, VIP4},
    plan::{Plan, ServicePlan},
    wait,
};

/// The service of the crowd.
pub(crate) const CROWD: &str = "crowd";
const PORT: u16 = 1885;

/// Connections that are being opened at a time.
const AT_A_TIME: usize = 200;
/// Time for one to be opened, and for all to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Adds the service that a crowd connects to.
pub(crate) fn add_service(lab: &Lab, plan: &mut Plan) {
    let mut service = ServicePlan::v4(lab, "round-robin");
    CROWD.clone_into(&mut service.name);
    service.port = PORT;
    for (backend, host) in service.backend.iter_mut().zip(&lab.brokers) {
        backend.address = SocketAddr::from((host.v4, PORT)).to_string();
    }
    plan.service.push(service);
}

/// Servers on every broker's machine, and clients that are connected to them.
#[derive(Debug)]
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    stops: Vec<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    open: AtomicUsize,
    failed: AtomicUsize,
    answered: AtomicUsize,
    broken: Mutex<Vec<String>>,
    ask: Notify,
}

impl Crowd {
    /// Listens on the brokers' machines, without clients. To be done before the agent starts.
    pub(crate) fn listen(lab: &Lab) -> Result<Self> {
        raise_limit()?;
        let mut crowd = Self { shared: Arc::default(), stops: Vec::new(), threads: Vec::new() };
        for host in &lab.brokers {
            let listener = host.netns.enter(|| {
                std::fs::write("/proc/sys/net/core/somaxconn", "65535")?;
                std::fs::write("/proc/sys/net/ipv4/tcp_max_syn_backlog", "65535")?;
                listen(host)
            })?;
            let listener = listener.with_context(|| format!("failed to listen on port {PORT}"))?;
            crowd.spawn(host, "crowd-server", move |stop| serve(listener, stop))?;
        }
        Ok(crowd)
    }

    /// Opens `n` flows from the first client, `n` being at most 60,000, and waits until all are open.
    pub(crate) fn open(&mut self, lab: &Lab, n: usize) -> Result<()> {
        let host = &lab.clients[0];
        host.netns.enter(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "2000 65000"))??;
        let shared = Arc::clone(&self.shared);
        self.spawn(host, "crowd", move |stop| connect(shared, n, stop))?;
        wait::until_ok("the crowd to be connected", Duration::from_secs(240), || {
            crate::interrupt::check()?;
            let (open, failed) = (self.open_now(), self.shared.failed.load(Ordering::Relaxed));
            ensure!(open == n || failed > 0, "{open} of {n} are");
            Ok(())
        })?;
        let failed = self.shared.failed.load(Ordering::Relaxed);
        ensure!(failed == 0, "{failed} of {n} flows of the crowd were not opened: {:?}", self.broken());
        Ok(())
    }

    /// Flows that are open.
    pub(crate) fn open_now(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Causes of those that broke.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.shared.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks everybody, and waits for the answers. What has not answered then is broken.
    pub(crate) fn ask(&self) -> Result<()> {
        let all = self.open_now();
        self.shared.answered.store(0, Ordering::Relaxed);
        self.shared.ask.notify_waiters();
        wait::until_ok("the crowd to answer", PATIENCE * 2, || {
            crate::interrupt::check()?;
            let (answered, broken) = (self.shared.answered.load(Ordering::Relaxed), self.broken().len());
            ensure!(answered + broken >= all, "{answered} of {all} have, {broken} are broken");
            Ok(())
        })
    }

    fn spawn<F>(
        &mut self,
        host: &Host,
        name: &str,
        work: impl FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> Result<()>
    where
        F: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let thread = host.netns.spawn(name, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(work(stopped));
        })?;
        self.stops.push(stop);
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // Clients first: who closes first has to wait for late packets, and they are many.
        while let (Some(stop), Some(thread)) = (self.stops.pop(), self.threads.pop()) {
            // The thread may have ended with a panic.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

/// Two descriptors for each flow: both ends are in this process.
fn raise_limit() -> Result<()> {
    const WANTED: u64 = 200_000;
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).context("failed to read the limit of descriptors")?;
    if soft >= WANTED {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, WANTED, hard.max(WANTED))
        .context("failed to raise the limit of descriptors")
}

fn listen(host: &Host) -> std::io::Result<std::net::TcpListener> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((host.v4, PORT)))?;
    socket.listen(65_535)?.into_std()
}

async fn serve(listener: std::net::TcpListener, stop: oneshot::Receiver<()>) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    let mut flows = JoinSet::new();
    let accept = async {
        loop {
            // An accept fails when the client has gone in between; the next one need not.
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            flows.spawn(async move {
                let mut question = [0; 8];
                while stream.read_exact(&mut question).await.is_ok()
                    && stream.write_all(&question).await.is_ok()
                {}
            });
            while flows.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stop => {}
    }
}

async fn connect(shared: Arc<Shared>, n: usize, stop: oneshot::Receiver<()>) {
    let permits = Arc::new(tokio::sync::Semaphore::new(AT_A_TIME));
    let mut flows = JoinSet::new();
    for index in 0..n {
        let (shared, permits) = (Arc::clone(&shared), Arc::clone(&permits));
        flows.spawn(async move {
            let permit = permits.acquire_owned().await.expect("it is never closed");
            let to = SocketAddr::V4(SocketAddrV4::new(VIP4, PORT));
            let stream = timeout(PATIENCE, TcpStream::connect(to)).await;
            drop(permit);
            match stream {
                Ok(Ok(stream)) => hold(stream, index as u64, &shared).await,
                Ok(Err(error)) => fail(&shared, error.to_string()),
                Err(_elapsed) => fail(&shared, "no handshake".to_owned()),
            }
        });
    }
    // The sender is dropped when it is time, at the latest.
    let _ = stop.await;
    flows.shutdown().await;
}

fn fail(shared: &Shared, cause: String) {
    note(shared, cause);
    shared.failed.fetch_add(1, Ordering::Relaxed);
}

fn note(shared: &Shared, cause: String) {
    shared.broken.lock().unwrap_or_else(PoisonError::into_inner).push(cause);
}

/// Says nothing until everybody is asked.
async fn hold(mut stream: TcpStream, number: u64, shared: &Shared) {
    shared.open.fetch_add(1, Ordering::Relaxed);
    let mut early = [0; 1];
    let cause = loop {
        let asked = shared.ask.notified();
        tokio::select! {
            () = asked => {}
            read = stream.read(&mut early) => break match read {
                Ok(_) => "closed by the server".to_owned(),
                Err(error) => error.to_string(),
            },
        }
        match timeout(PATIENCE, ask(&mut stream, number)).await {
            Ok(Ok(true)) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Ok(false)) => break "other bytes came back".to_owned(),
            Ok(Err(error)) => break error.to_string(),
            Err(_elapsed) => break format!("no answer for {} s", PATIENCE.as_secs()),
        }
    };
    shared.open.fetch_sub(1, Ordering::Relaxed);
    note(shared, cause);
}

async fn ask(stream: &mut TcpStream, number: u64) -> std::io::Result<bool> {
    stream.write_all(&number.to_be_bytes()).await?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await?;
    Ok(answer == number.to_be_bytes())
}
