//! Tens of thousands of flows that say nothing, and answer when they are asked.

mod program;

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use self::program::Report;
pub use self::program::{Role, run};
use crate::{
    interrupt,
    lab::{Host, Lab, VIP4},
    plan::{Plan, ServicePlan},
    process::sibling,
    wait,
};

/// The service of the crowd.
pub(crate) const CROWD: &str = "crowd";
const PORT: u16 = 1885;

/// Flows of one process, below the limit of descriptors that most systems have at the least for root.
const OF_ONE: usize = 17_000;

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

/// Servers on every broker's machine, and clients that are connected to them. Clients end first: who closes first has to
/// wait for late packets.
#[derive(Debug)]
pub(crate) struct Crowd {
    clients: Vec<End>,
    _servers: Vec<End>,
}

impl Crowd {
    /// Listens on the brokers' machines, without clients. To be done before the agent starts.
    pub(crate) fn listen(lab: &Lab) -> Result<Self> {
        let serve = |host: &Host| -> Result<End> {
            host.netns.enter(|| {
                std::fs::write("/proc/sys/net/core/somaxconn", "65535")?;
                std::fs::write("/proc/sys/net/ipv4/tcp_max_syn_backlog", "65535")
            })??;
            let at = SocketAddr::from((host.v4, PORT)).to_string();
            let end = End::start(host, &["serve", &at])?;
            wait::until("a server of the crowd to listen", wait::PATIENCE, || end.report().listens)?;
            Ok(end)
        };
        let servers = lab.brokers.iter().map(serve).collect::<Result<_>>()?;
        Ok(Self { clients: Vec::new(), _servers: servers })
    }

    /// Opens `n` flows from the first client, `n` being at most 60,000, and waits until all are open.
    pub(crate) fn open(&mut self, lab: &Lab, n: usize) -> Result<()> {
        let host = &lab.clients[0];
        host.netns.enter(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "2000 65000"))??;
        let (to, mut left) = (SocketAddr::from((VIP4, PORT)).to_string(), n);
        while left > 0 {
            let part = left.min(OF_ONE);
            self.clients.push(End::start(host, &["hold", &to, &part.to_string()])?);
            left -= part;
        }
        wait::until_ok("the crowd to be connected", Duration::from_secs(240), || {
            interrupt::check()?;
            let (open, failed) = (self.sum(|report| report.open), self.sum(|report| report.failed));
            ensure!(open == n || failed > 0, "{open} of {n} are");
            Ok(())
        })?;
        let failed = self.sum(|report| report.failed);
        ensure!(failed == 0, "{failed} of {n} flows of the crowd were not opened: {:?}", self.causes());
        Ok(())
    }

    /// Number and causes of flows that broke.
    pub(crate) fn broken(&self) -> (usize, Vec<String>) {
        (self.sum(|report| report.broken), self.causes())
    }

    /// Asks everybody, and waits for the answers. What has not answered then is broken.
    pub(crate) fn ask(&mut self) -> Result<()> {
        let (all, round) = (self.sum(|report| report.open), self.round() + 1);
        for client in &mut self.clients {
            client.ask()?;
        }
        wait::until_ok("the crowd to answer", program::PATIENCE * 2, || {
            interrupt::check()?;
            ensure!(self.round() == round, "not everybody has been asked");
            let (answered, broken) = (self.sum(|report| report.answered), self.sum(|report| report.broken));
            ensure!(answered + broken >= all, "{answered} of {all} have, {broken} are broken");
            Ok(())
        })
    }

    fn round(&self) -> usize {
        self.clients.iter().map(|client| client.report().asked).min().unwrap_or_default()
    }

    fn sum(&self, number: impl Fn(&Report) -> usize) -> usize {
        self.clients.iter().map(|client| number(&client.report())).sum()
    }

    fn causes(&self) -> Vec<String> {
        self.clients.iter().flat_map(|client| client.report().causes).collect()
    }
}

/// One process.
#[derive(Debug)]
struct End {
    child: Child,
    orders: Option<ChildStdin>,
    report: Arc<Mutex<Report>>,
    reader: Option<JoinHandle<()>>,
}

impl End {
    fn start(host: &Host, arguments: &[&str]) -> Result<Self> {
        let mut command = host.netns.command(sibling("balancer-crowd")?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("failed to start balancer-crowd")?;
        let orders = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("standard output was piped"));
        let report = Arc::new(Mutex::new(Report::default()));
        let latest = Arc::clone(&report);
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let said = serde_json::from_str(&line).expect("balancer-crowd says what its types say");
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = said;
            }
        });
        Ok(Self { child, orders, report, reader: Some(reader) })
    }

    fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ask(&mut self) -> Result<()> {
        let orders = self.orders.as_mut().context("balancer-crowd takes no orders")?;
        orders.write_all(b"ask\n").context("balancer-crowd takes no orders")
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.orders = None;
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            // Its panic has been reported.
            let _ = reader.join();
        }
    }
}
