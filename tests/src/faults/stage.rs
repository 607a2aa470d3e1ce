//! The live traffic that faults strike: brokers, the agent, MQTT clients and raw TCP flows.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use balancer_userspace::api::wire::{BackendState, Flows, Status};
use fastrand::Rng;

use tempfile::TempDir;

use super::{cell::Cell, crowd::Crowd, duel::Duels, streams::Streams};
use crate::{
    agent::{Agent, Start},
    broker::Broker,
    clock, interrupt,
    lab::{Lab, VIP4},
    load::{Load, Records, wire::Group},
    peer::Pass,
    plan::{Plan, ServicePlan},
    tcp::{Connection, EchoServer},
    wait,
};

/// The service of the MQTT clients.
pub(crate) const MQTT: &str = "mqtt";
/// The service of the raw TCP flows.
pub(crate) const TCP: &str = "tcp";
/// The port of the raw TCP flows.
pub(crate) const TCP_PORT: u16 = 1884;

/// How long things may take that do come back.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A SYN that was dropped is sent again after a second.
const AT_ONCE: Duration = Duration::from_millis(900);

const MESSAGE_INTERVAL_MS: u64 = 250;

/// What a fault may change before everything starts.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The agent's configuration.
    pub(crate) plan: Plan,
    /// How the agent is started.
    pub(crate) start: Start,
    /// MQTT clients, four messages a second each.
    pub(crate) clients: u32,
    /// Raw TCP flows, about ten questions a second each.
    pub(crate) streams: usize,
    /// Whether the fault takes seconds in place of minutes.
    pub(crate) short: bool,
    /// Where the agent's memory is limited.
    pub(crate) cell: Option<Cell>,
    /// What the fault needs a file for.
    pub(crate) directory: Option<TempDir>,
    /// Servers of idle flows.
    pub(crate) crowd: Option<Crowd>,
    /// Servers of flows of which both ends are at hand.
    pub(crate) duels: Option<Duels>,
}

impl Setting {
    pub(super) fn usual(lab: &Lab, short: bool) -> Self {
        let mut mqtt = ServicePlan::v4(lab, "adaptive");
        MQTT.clone_into(&mut mqtt.name);
        mqtt.preset = Some("mosquitto");
        let mut tcp = ServicePlan::v4(lab, "least-conn");
        TCP.clone_into(&mut tcp.name);
        tcp.port = TCP_PORT;
        for (backend, host) in tcp.backend.iter_mut().zip(&lab.brokers) {
            backend.address = SocketAddr::from((host.v4, TCP_PORT)).to_string();
        }
        let plan = Plan { service: vec![mqtt, tcp], ..Plan::default() };
        let (clients, streams) = if short { (30, 15) } else { (150, 60) };
        Self {
            plan,
            start: Start::default(),
            clients,
            streams,
            short,
            cell: None,
            directory: None,
            crowd: None,
            duels: None,
        }
    }
}

/// Broken flows that are somebody else's doing.
#[derive(Clone, Debug)]
pub(super) struct Excuse {
    pub(super) broker: String,
    /// From then on.
    pub(super) broken_before: usize,
    pub(super) mqtt: u64,
    pub(super) streams: u64,
    pub(super) why: String,
}

/// Everything that takes part. Fields end in this order.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) load: Load,
    pub(crate) streams: Streams,
    pub(crate) crowd: Option<Crowd>,
    pub(crate) duels: Option<Duels>,
    pub(crate) agent: Agent<'a>,
    pub(crate) brokers: Vec<Broker<'a>>,
    /// Of the raw TCP flows, by broker.
    _echoes: Vec<EchoServer>,
    pub(crate) plan: Plan,
    pub(crate) lab: &'a Lab,
    pub(crate) random: Rng,
    pub(crate) short: bool,
    /// Ends after the agent, which lives in it.
    pub(crate) cell: Option<Cell>,
    pub(crate) directory: Option<TempDir>,
    /// On the far ends of interfaces that were made anew.
    pub(crate) passes: Vec<Pass>,
    over: Option<Instant>,
    recovered: Option<Duration>,
    /// Flows of the fault's own.
    pub(super) own_flows: u64,
    pub(super) excuses: Vec<Excuse>,
    pub(super) notes: Vec<String>,
    /// Why live counts cannot be compared with the flows of the clients, if so.
    pub(super) uncounted: Option<&'static str>,
}

impl<'a> Stage<'a> {
    /// Starts everything and waits until traffic flows.
    pub(super) fn set(lab: &'a Lab, setting: Setting, seed: u64) -> Result<Self> {
        let Setting { plan, start, clients, streams, short, cell, directory, crowd, duels } = setting;
        let brokers = (0..lab.brokers.len()).map(|index| Broker::start(lab, index, None));
        let brokers = brokers.collect::<Result<Vec<_>>>().context("failed to start the brokers")?;
        let echo = |host: &crate::lab::Host| EchoServer::start(&host.netns, TCP_PORT, &host.name);
        let echoes = lab.brokers.iter().map(echo).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start_as(lab, &plan, start).context("failed to start the agent")?;
        let streams = Streams::open(&lab.clients[0], Self::tcp_vip(), streams)?;
        let mut load = Load::start(&lab.clients[0], Lab::VIP4)?;
        let group = Group {
            name: "all".to_owned(),
            clients,
            per_second: 200,
            interval_ms: MESSAGE_INTERVAL_MS,
            payload: 100,
        };
        load.add(group, PATIENCE)?;
        let stage = Self {
            load,
            streams,
            crowd,
            duels,
            agent,
            brokers,
            _echoes: echoes,
            plan,
            lab,
            random: Rng::with_seed(seed),
            short,
            cell,
            directory,
            passes: Vec::new(),
            over: None,
            recovered: None,
            own_flows: 0,
            excuses: Vec::new(),
            notes: Vec::new(),
            uncounted: None,
        };
        stage.wait_messages(u64::from(clients))?;
        Ok(stage)
    }

    /// The service of the raw TCP flows.
    pub(crate) fn tcp_vip() -> SocketAddr {
        SocketAddr::from((VIP4, TCP_PORT))
    }

    /// Ends the traffic of MQTT clients and returns what they noted.
    pub(super) fn finish(self) -> Result<Records> {
        self.load.finish()
    }

    /// Flows that are established.
    pub(super) fn flows(&self) -> u64 {
        self.load.totals().connected + self.streams.open_now()
    }

    /// Waits until `n` more messages have come back.
    pub(crate) fn wait_messages(&self, n: u64) -> Result<()> {
        let before = self.load.totals().received;
        wait::until_ok("messages to come back", PATIENCE, || {
            let came = self.load.totals().received - before;
            ensure!(came >= n, "{came} of {n} have");
            Ok(())
        })
    }

    /// Lets traffic flow for a while: `seconds`, or a tenth of that in the short form.
    pub(crate) fn go_on(&self, seconds: f64) -> Result<()> {
        let seconds = if self.short { (seconds / 10.0).max(0.5) } else { seconds };
        interrupt::pass(Duration::from_secs_f64(seconds))
    }

    /// Says what else was going on, for the table.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    /// Says that flows of a broker that break from now on are not ours to keep. Only those that it has now are excused.
    pub(crate) fn excuse(&mut self, broker: usize, mqtt: bool, streams: bool, why: &str) {
        let name = self.lab.brokers[broker].name.clone();
        let (live, broken_before) = self
            .load
            .book()
            .read(|records| (records.live.get(&name).copied().unwrap_or_default(), records.broken.len()));
        let excuse = Excuse {
            mqtt: if mqtt { live } else { 0 },
            streams: if streams { self.streams.open_on(&name) } else { 0 },
            why: format!("{name} {why}"),
            broken_before,
            broker: name,
        };
        self.excuses.push(excuse);
    }

    /// Says that live counts are not to be compared with the flows of the clients.
    pub(crate) const fn do_not_count(&mut self, why: &'static str) {
        self.uncounted = Some(why);
    }

    /// Says that the cause has ended: the time to recover begins.
    pub(crate) fn over(&mut self) {
        (self.over, self.recovered) = (Some(Instant::now()), None);
    }

    /// Starts a new measurement.
    pub(super) fn begin(&mut self) {
        (self.over, self.recovered, self.uncounted) = (None, None, None);
        self.own_flows = 0;
        self.excuses.clear();
        self.notes.clear();
        self.streams.forget_waits();
    }

    /// Waits until nothing is left of the fault, and returns how long after its end that was.
    pub(crate) fn recover(&mut self) -> Result<Duration> {
        if let Some(recovered) = self.recovered {
            return Ok(recovered);
        }
        if self.over.is_none() {
            self.over();
        }
        let over = self.over.unwrap_or_else(Instant::now);
        // By the clock that the clients' program shares.
        let over_at = clock::nanos().saturating_sub(over.elapsed().as_nanos() as u64);
        wait::until_ok("everything to be as before", PATIENCE, || {
            interrupt::check()?;
            let totals = self.load.totals();
            ensure!(
                totals.connected == totals.clients,
                "{} of {} clients are connected",
                totals.connected,
                totals.clients
            );
            ensure!(totals.back > over_at, "not every client has had a message back since");
            let silent = self.streams.views().into_iter().filter(|v| v.is_open() && v.answered < over);
            let silent = silent.count();
            ensure!(silent == 0, "{silent} TCP flows are not answered");
            self.can_connect()?;
            self.is_content()
        })?;
        let took = over.elapsed();
        self.recovered = Some(took);
        Ok(took)
    }

    /// Whether a new flow of either service is opened at once.
    pub(crate) fn can_connect(&self) -> Result<()> {
        let connect = || -> std::io::Result<()> {
            for vip in [Lab::VIP4, Self::tcp_vip()] {
                std::net::TcpStream::connect_timeout(&vip, AT_ONCE)?;
            }
            Ok(())
        };
        self.lab.clients[0].netns.enter(connect)?.context("a new flow is not opened at once")
    }

    /// Whether the agent answers, with all backends of running brokers in rotation.
    fn is_content(&self) -> Result<()> {
        let status = self.agent.control.status()?;
        for (index, broker) in self.brokers.iter().enumerate() {
            let name = &self.lab.brokers[index].name;
            if broker.pid().is_some() {
                let backend = status.backends.iter().find(|b| b.service == MQTT && b.name == *name);
                let backend = backend.with_context(|| format!("the agent has no backend {name}"))?;
                ensure!(
                    backend.state == BackendState::Up,
                    "{name} is {:?}: {}",
                    backend.state,
                    backend.reason
                );
            }
        }
        Ok(())
    }

    /// Says that flows of the fault's own were open before it struck.
    pub(crate) const fn count_in(&mut self, flows: u64) {
        self.own_flows += flows;
    }

    /// Opens `n` idle flows, which count from now on.
    pub(crate) fn gather(&mut self, n: usize) -> Result<()> {
        self.crowd.as_mut().context("the fault has a crowd")?.open(self.lab, n)?;
        self.count_in(n as u64);
        self.note(format!("{n} idle flows"));
        Ok(())
    }

    /// Has every idle flow answer.
    pub(crate) fn ask(&mut self) -> Result<()> {
        self.crowd.as_mut().context("the fault has a crowd")?.ask()
    }

    /// Number and causes of idle flows that broke.
    pub(super) fn broken_idle(&self) -> (usize, Vec<String>) {
        self.crowd.as_ref().map(Crowd::broken).unwrap_or_default()
    }

    /// Opens `n` raw TCP flows that are answered, to any backend.
    pub(crate) fn open(&self, n: usize) -> Result<Vec<Connection>> {
        Connection::open_many(&self.lab.clients[0].netns, Self::tcp_vip(), n)
    }

    /// The agent's status.
    pub(crate) fn status(&self) -> Result<Status> {
        self.agent.control.status()
    }

    /// Waits until the agent says something among its problems and warnings that holds `words`.
    pub(crate) fn wait_said(&self, words: &str) -> Result<()> {
        wait::until_ok(&format!("the agent to say {words:?}"), wait::PATIENCE, || {
            let status = self.status()?;
            let mut said = status.problems.iter().chain(&status.warnings);
            ensure!(said.any(|one| one.contains(words)), "{:?} {:?}", status.problems, status.warnings);
            Ok(())
        })
    }

    /// What the flow table holds of a backend: how many in which state, and the shortest and longest silence.
    fn in_table(&self, service: &str, backend: &str) -> String {
        let list = ["flow", "list", "--service", service, "--backend", backend, "--limit", "100000"];
        let Ok(flows) = self.agent.control.json::<Flows>(&list) else { return "unknown flows".to_owned() };
        let mut states = BTreeMap::<_, (usize, f64, f64)>::new();
        for flow in &flows.flows {
            let entry = states.entry(format!("{:?}", flow.state)).or_insert((0, f64::MAX, 0.0));
            *entry = (entry.0 + 1, entry.1.min(flow.idle_seconds), entry.2.max(flow.idle_seconds));
        }
        let states = states.iter().map(|(state, (n, least, most))| {
            format!("{n} {state}, silent for {least:.0} to {most:.0} s").to_lowercase()
        });
        states.collect::<Vec<_>>().join(", ")
    }

    /// Waits until the live counts are those of the clients' flows.
    pub(super) fn check_counts(&self) -> Result<()> {
        wait::until_ok("live counts to be true", wait::PATIENCE, || {
            let status = self.status()?;
            let live = self.load.book().read(|records| records.live.clone());
            for backend in status.backends {
                let truth = match backend.service.as_str() {
                    MQTT => live.get(&backend.name).copied().unwrap_or_default(),
                    TCP => self.streams.open_on(&backend.name),
                    _ => continue,
                };
                let (service, name) = (&backend.service, &backend.name);
                ensure!(
                    backend.live == truth,
                    "{service}/{name} counts {}, of {truth}; in the table are {}",
                    backend.live,
                    self.in_table(service, name)
                );
            }
            Ok(())
        })
    }
}
