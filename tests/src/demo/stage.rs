//! Everything that takes part, and the phases it has gone through.

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context, Result};

use crate::{
    agent::Agent,
    broker::Broker,
    interrupt,
    lab::Lab,
    load::{Load, wire::Group},
    plan::{Plan, ServicePlan},
    process::Process,
    scene::{
        screen::Screen,
        watch::{Scene, Watch},
    },
};

/// The service of the demo.
pub(super) const SERVICE: &str = "mqtt";

/// Cores of the three brokers: unequal, and little enough for a small machine to fill.
pub(super) const CORES: [f64; 3] = [0.20, 0.10, 0.05];

/// Where metrics are served, in the gateway.
const METRICS: &str = "127.0.0.1:9100";

/// Connecting takes its time where all brokers together have a third of a core.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many clients and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Clients that publish every two seconds.
    pub(super) light: u32,
    /// Clients that publish ten times a second.
    pub(super) heavy: u32,
    /// Clients that come in each later phase.
    pub(super) newcomers: u32,
    /// Time to look at what became of a phase.
    pub(super) look: Duration,
}

impl Scale {
    /// Everything in less than a minute.
    pub(super) const QUICK: Self =
        Self { light: 200, heavy: 160, newcomers: 40, look: Duration::from_secs(3) };
    /// Time to watch.
    pub(super) const FULL: Self =
        Self { light: 400, heavy: 200, newcomers: 80, look: Duration::from_secs(15) };
}

/// A phase that is over.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    /// One or two words.
    pub(super) name: &'static str,
    /// What was done.
    pub(super) what: String,
    /// Seconds since the start.
    pub(super) start: f64,
    /// Seconds since the start.
    pub(super) end: f64,
    /// New flows by broker.
    pub(super) flows: BTreeMap<String, usize>,
    /// Which of the broken flows broke in it: a range of [`crate::load::Records::broken`].
    pub(super) broken: std::ops::Range<usize>,
    /// Connections that were not established.
    pub(super) failed: usize,
}

/// Everything that takes part. Fields end in this order.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) watch: Watch,
    pub(super) load: Load,
    pub(super) agent: Agent<'a>,
    pub(super) brokers: Vec<Broker<'a>>,
    pub(super) plan: Plan,
    pub(super) phases: Vec<Phase>,
    look: Duration,
}

impl<'a> Stage<'a> {
    /// Starts brokers, the agent, the clients' program and the watch.
    pub(super) fn set(lab: &'a Lab, scale: Scale) -> Result<Self> {
        let brokers = CORES.iter().enumerate().map(|(index, cores)| Broker::start(lab, index, Some(*cores)));
        let brokers = brokers.collect::<Result<Vec<_>>>().context("failed to start the brokers")?;
        let plan = plan(lab, &brokers);
        let agent = Agent::start_with_metrics(lab, &plan, METRICS).context("failed to start the agent")?;
        let load = Load::start(&lab.clients[0], Lab::VIP4)?;
        let sights =
            brokers.iter().zip(CORES).map(|(b, cores)| (b.name().to_owned(), cores, b.group().meter()));
        let scene = Scene { brokers: sights.collect(), control: agent.control.clone(), book: load.book() };
        let watch = Watch::start(scene, Some(Screen::new()))?;
        Ok(Self { watch, load, agent, brokers, plan, phases: Vec::new(), look: scale.look })
    }

    /// Does one phase, and notes what became of it.
    pub(super) fn phase(
        &mut self,
        name: &'static str,
        what: &str,
        act: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        interrupt::check()?;
        self.watch.caption(&format!("{name}: {what}"));
        let start = self.watch.now();
        let counts =
            |stage: &Self| stage.load.book().read(|r| (r.flows.len(), r.broken.len(), r.failed.len()));
        let before = counts(self);
        act(self).with_context(|| format!("in the phase \"{name}\""))?;
        let after = counts(self);
        let mut flows = BTreeMap::new();
        self.load.book().read(|records| {
            for (_, broker) in &records.flows[before.0..after.0] {
                *flows.entry(broker.clone()).or_default() += 1;
            }
        });
        self.phases.push(Phase {
            name,
            what: what.to_owned(),
            start,
            end: self.watch.now(),
            flows,
            broken: before.1..after.1,
            failed: after.2 - before.2,
        });
        Ok(())
    }

    /// Adds clients and waits for their flows.
    pub(super) fn arrive(
        &mut self,
        name: &str,
        clients: u32,
        per_second: u32,
        interval_ms: u64,
    ) -> Result<()> {
        let payload = if interval_ms < 1_000 { 256 } else { 64 };
        let group = Group { name: name.to_owned(), clients, per_second, interval_ms, payload };
        self.load.add(group, PATIENCE)
    }

    /// Waits until every client has a flow again.
    pub(super) fn settle(&self) -> Result<()> {
        let clients = self.load.totals().clients;
        self.load.wait_connected(clients, PATIENCE)
    }

    /// Gives people time to look, and telemetry time to tell.
    pub(super) fn look(&self) -> Result<()> {
        interrupt::pass(self.look)
    }

    /// Something that wants all the CPU of a broker's cgroup.
    pub(super) fn hog(&self, broker: usize) -> Result<Process> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "sh", "-c", "while :; do :; done"]);
        let hog = Process::start(&mut command, std::path::Path::new("/dev/null"))?;
        self.brokers[broker].group().add(hog.pid())?;
        Ok(hog)
    }
}

/// Adaptive, by readings twice a second.
fn plan(lab: &Lab, brokers: &[Broker<'_>]) -> Plan {
    Plan {
        service: vec![ServicePlan::mosquitto(lab, SERVICE, "adaptive", brokers, "500ms")],
        ..Plan::default()
    }
}
