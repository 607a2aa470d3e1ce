//! What is looked at while a broker runs.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use balancer_userspace::{
    api::wire::{Backend, BackendState, Basis},
    preset::SourceKind,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    recipe::{Protocol, Recipe, preset},
    running::Running,
    traffic::Traffic,
};
use crate::{
    agent::Agent,
    lab::{Lab, VIP4},
    netns, wait,
};

/// The service of the lab.
pub(super) const SERVICE: &str = "brokers";
/// Of the clients' network, in what `ss` prints.
const CLIENTS: &str = "198.51.100.";
/// CPU is compared over this time.
const WINDOW: Duration = Duration::from_secs(3);
/// Least utilisation that is worth comparing.
const LEAST: f64 = 0.02;

/// A lab with one broker and an agent.
pub(super) struct Bench<'a> {
    pub(super) recipe: &'static dyn Recipe,
    pub(super) lab: &'a Lab,
    pub(super) agent: Agent<'a>,
    pub(super) running: Running<'a>,
}

impl Bench<'_> {
    /// Where clients connect to.
    pub(super) fn vip(&self) -> SocketAddr {
        SocketAddr::new(VIP4.into(), self.recipe.protocol().port())
    }

    pub(super) fn backend(&self) -> Result<Backend> {
        self.agent.control.backend(SERVICE, &self.lab.brokers[0].name)
    }

    pub(super) fn patience(&self) -> Duration {
        self.recipe.patience()
    }

    pub(super) fn wait_up(&self) -> Result<()> {
        wait::until_ok("the broker to be in rotation", self.patience(), || {
            let backend = self.backend()?;
            ensure!(backend.state == BackendState::Up, "it is {:?}: {}", backend.state, backend.reason);
            ensure!(backend.ring_share > 0.0, "it has no share of the ring");
            Ok(())
        })
    }

    /// Clients work through the VIP. They are left running for the next check.
    pub(super) fn client(&self) -> Result<(String, Traffic)> {
        let (protocol, load) = (self.recipe.protocol(), self.recipe.load());
        let traffic = Traffic::start(&self.lab.clients[0], self.vip(), protocol, load)?;
        let seen = self.running.clients(CLIENTS)?;
        ensure!(seen == u64::from(load.clients), "ss on the broker's host shows {seen} clients");
        Ok((format!("{} clients, {}", load.clients, protocol.name()), traffic))
    }

    /// What the agent makes of the broker's telemetry is what the kernel says of the broker.
    pub(super) fn telemetry(&self) -> Result<String> {
        let mut cpu = CpuWatch::default();
        let mut last = "nothing was read".to_owned();
        let mut told = wait::until_ok("telemetry to agree with the kernel", Duration::from_secs(60), || {
            // Looking costs CPU too.
            if !cpu.is_due() {
                bail!("{last}");
            }
            let told = self.agreement(&mut cpu);
            last = told.as_ref().map_or_else(|error| format!("{error:#}"), Clone::clone);
            told
        })?;
        if let Some(node) = self.node()? {
            told = format!("{told}, node {node}");
        }
        if let Some(read) = self.understood()? {
            told = format!("{told}, {read} metrics by preset test");
        }
        if let Some(more) = self.recipe.cross_check(&self.running, u64::from(self.recipe.load().clients))? {
            told = format!("{told}, {more}");
        }
        Ok(told)
    }

    /// The name of the broker's node, which its telemetry tells if the preset knows where.
    fn node(&self) -> Result<Option<String>> {
        let (tells, node) = (preset(self.recipe)?.meaning.node.is_some(), self.backend()?.node);
        ensure!(
            tells == node.is_some(),
            "the preset {} a node, and {node:?} was read",
            if tells { "names" } else { "names no" }
        );
        Ok(node)
    }

    /// How many metrics `balancer preset test` finds in what the broker says; all that are not optional must be there.
    fn understood(&self) -> Result<Option<usize>> {
        let preset = preset(self.recipe)?;
        if preset.source == SourceKind::None {
            return Ok(None);
        }
        let mut command = self.lab.gateway.command(self.agent.control.program());
        command.args(["preset", "test", &self.running.place.host.v4.to_string(), "--preset", &preset.name]);
        if let Some((user, file)) = self.recipe.login(&self.running.place)? {
            command.args(["--username", user, "--password-file"]).arg(file);
        }
        let said = netns::run(command.args(["--timeout", "10s", "--json"]))?;
        let answer: Value =
            serde_json::from_str(&said).context("preset test says something else than JSON")?;
        let metrics = answer["metrics"].as_array().context("preset test names no metrics")?;
        let found = metrics.iter().filter(|metric| metric["value"].is_number()).count();
        let missing = metrics.iter().find(|m| m["value"].is_null() && m["optional"] == Value::Bool(false));
        ensure!(missing.is_none(), "preset test misses {missing:?}");
        ensure!(found > 0, "preset test found nothing: {said}");
        Ok(Some(found))
    }

    fn agreement(&self, cpu: &mut CpuWatch) -> Result<String> {
        let measured = cpu.look(&self.running)?;
        let backend = self.backend()?;
        if let Some(problem) = &backend.telemetry_problem {
            bail!("{problem}");
        }
        ensure!(backend.basis == Basis::Level, "the score rests on {:?}", backend.basis);
        Ok(format!("{}, {}", self.connections(&backend)?, self.cpu(&backend, measured)?))
    }

    fn connections(&self, backend: &Backend) -> Result<String> {
        let clients = self.running.clients(CLIENTS)?;
        let tells = preset(self.recipe)?.meaning.connections.is_some();
        match (tells, backend.broker_connections) {
            (true, Some(told)) => {
                ensure!(told == clients, "the broker tells of {told} clients, ss of {clients}");
                Ok(format!("{told} connections as in ss"))
            }
            (false, None) => Ok("connections counted by the program".to_owned()),
            (true, None) => bail!("the preset tells no connections"),
            (false, Some(told)) => bail!("the preset tells {told} connections and is expected not to"),
        }
    }

    fn cpu(&self, backend: &Backend, measured: f64) -> Result<String> {
        let measured = measured / self.recipe.cores();
        let told = backend.utilisation.context("no utilisation")?;
        ensure!(measured > LEAST, "the broker does too little: {measured:.3}");
        ensure!(
            (told - measured).abs() < 0.02 + 0.25 * measured,
            "utilisation is {told:.3}, and {measured:.3} by /proc"
        );
        let told_by_broker = !preset(self.recipe)?.meaning.cpu.is_empty();
        let from = if told_by_broker { "" } else { " (control group)" };
        Ok(format!("utilisation {told:.2}{from}, {measured:.2} by /proc"))
    }

    /// The probe sees the broker hang, go on, die and come back; and clients are steered accordingly.
    pub(super) fn probe(&mut self) -> Result<String> {
        self.running.signal(Signal::SIGSTOP)?;
        let hung = self.wait_down("hang");
        let accepted = self.running.accepts();
        self.running.signal(Signal::SIGCONT)?;
        let hung = hung?;
        accepted.context("the kernel no longer accepts connections for the stopped broker")?;
        self.wait_up().context("after the hang")?;

        let killed = Instant::now();
        self.running.kill()?;
        self.wait_down("die")?;
        let died = killed.elapsed();
        refused(self.lab, self.vip())?;
        self.running.start_again()?;
        let back = Instant::now();
        self.wait_up().context("after the start")?;
        self.serves()?;
        Ok(format!(
            "hang, death and return seen ({:.1}, {:.1} and {:.1} s)",
            hung.as_secs_f64(),
            died.as_secs_f64(),
            back.elapsed().as_secs_f64()
        ))
    }

    fn wait_down(&self, what: &str) -> Result<Duration> {
        let since = Instant::now();
        wait::until_ok(&format!("the agent to see the broker {what}"), self.patience(), || {
            let backend = self.backend()?;
            ensure!(backend.state == BackendState::Down, "it is {:?}: {}", backend.state, backend.reason);
            Ok(since.elapsed())
        })
    }

    /// A few clients work through the VIP.
    pub(super) fn serves(&self) -> Result<()> {
        let load = super::Load { clients: 4, interval_ms: 10 };
        let client = &self.lab.clients[0];
        Traffic::start(client, self.vip(), self.recipe.protocol(), load)?.finish().map(|_| ())
    }

    /// The broker accepts connections and serves none: TCP believes in it, its own protocol does not.
    pub(super) fn deaf(&self) -> Result<String> {
        let backend = wait::until_ok("the probe to have its answer", self.patience(), || {
            let backend = self.backend()?;
            ensure!(backend.state == BackendState::Down, "it is {:?}", backend.state);
            Ok(backend)
        })?;
        self.running.accepts()?;
        refused(self.lab, self.vip())?;
        ensure!(self.recipe.protocol() == Protocol::Mqtt, "only MQTT can be expected to be deaf");
        Ok(format!("its port accepts; {}", backend.reason))
    }
}

/// Clients that come to a VIP are refused, as no broker takes them.
pub(super) fn refused(lab: &Lab, vip: SocketAddr) -> Result<()> {
    wait::until_ok("clients to be refused", wait::PATIENCE, || {
        let attempt =
            lab.clients[0].netns.enter(|| TcpStream::connect_timeout(&vip, Duration::from_secs(2)))?;
        match attempt {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => bail!("a client that connects gets {other:?}"),
        }
    })
}

/// CPU time of a broker at the times it was looked at.
#[derive(Default)]
struct CpuWatch(VecDeque<(Instant, f64)>);

impl CpuWatch {
    /// Whether the last look is some time ago.
    fn is_due(&self) -> bool {
        self.0.back().is_none_or(|(at, _)| at.elapsed() > Duration::from_millis(250))
    }

    /// Cores used over the last [`WINDOW`]; fails until that is known.
    fn look(&mut self, running: &Running<'_>) -> Result<f64> {
        let now = Instant::now();
        self.0.push_back((now, running.cpu_seconds()?));
        while self.0.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            self.0.pop_front();
        }
        let ((from, before), (to, after)) =
            (*self.0.front().context("nothing yet")?, *self.0.back().context("nothing yet")?);
        ensure!(to - from >= WINDOW, "it has been looked at for {:?}", to - from);
        Ok((after - before) / (to - from).as_secs_f64())
    }
}
