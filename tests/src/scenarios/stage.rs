//! One run: everything is started afresh, the steps are gone through, and the last look is the result.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use balancer_userspace::api::wire::{BackendState, RunState, Runs};

use super::{
    case::{Case, Kind, Step},
    result::{self, Run},
};
use crate::{
    agent::Agent,
    broker::Broker,
    chart::Mark,
    interrupt,
    lab::Lab,
    load::{Load, Records, wire::Group},
    plan::{Plan, ServicePlan},
    scene::{
        screen::Screen,
        watch::{Moment, Scene, Watch},
    },
    wait,
};

const SERVICE: &str = "mqtt";

/// A broker that is full takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run, and all that was seen of it.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) run: Run,
    pub(super) history: Vec<Moment>,
}

/// Plays one scenario under one policy.
pub(super) fn play(
    lab: &Lab,
    case: &Case,
    policy: &'static str,
    screen: Option<Screen>,
    caption: &str,
) -> Result<Played> {
    let started = Instant::now();
    let mut stage = Stage::set(lab, case, policy, screen)?;
    stage.watch.caption(caption);
    for step in case.steps {
        interrupt::check()?;
        stage.go(step).with_context(|| format!("in the step {step:?}"))?;
    }
    let Stage { watch, load, agent, brokers, looks, marks, kept, kinds, .. } = stage;
    let live = load.book().read(|records| records.live.clone());
    let history = watch.history();
    drop(watch);
    let records = load.finish().context("the clients did not come to an end")?;
    drop(agent);
    let names: Vec<String> = brokers.iter().map(|broker| broker.name().to_owned()).collect();
    let mut run = describe(&looks, &names, &records, &live)?;
    run.seconds = started.elapsed().as_secs_f64();
    if let Some(kept) = kept.filter(|_| case.rivals) {
        // Utilisation follows messages; what one costs is the same on equal brokers.
        let each = run.cpu.iter().sum::<f64>() / rate(&kinds, &records.flows);
        let kept: Vec<f64> = kept.iter().map(|rate| rate * each).collect();
        run.bound = result::bound(&kept, run.cpu.iter().sum::<f64>() - kept.iter().sum::<f64>());
    }
    run.over_time = over_time(&history);
    run.marks = marks;
    Ok(Played { run, history })
}

fn describe(
    looks: &[Look],
    names: &[String],
    records: &Records,
    live: &BTreeMap<String, u64>,
) -> Result<Run> {
    let last = looks.last().context("the scenario never looks")?;
    let totals = &records.totals;
    Ok(Run {
        stddev_cpu: result::deviation(&last.cpu),
        max_cpu: last.cpu.iter().copied().fold(0.0, f64::max),
        cores: last.cores,
        bound: 0.0,
        cpu: last.cpu.clone(),
        cpu_before: looks.iter().rev().nth(1).map(|look| look.cpu.clone()).unwrap_or_default(),
        connections: names.iter().map(|name| live.get(name).copied().unwrap_or(0)).collect(),
        connect_p99_s: result::percentile(&records.connects, 0.99),
        failed_connects: totals.failed,
        messages: totals.received,
        messages_lost: totals.lost + records.broken.iter().map(|broken| broken.lost).sum::<u64>(),
        messages_held_back: totals.held_back,
        flows_broken: totals.broken,
        seconds: 0.0,
        over_time: Vec::new(),
        marks: Vec::new(),
    })
}

/// The deviation over time, averaged over a few moments, which have half a second each.
fn over_time(history: &[Moment]) -> Vec<(f64, f64)> {
    const SMOOTH: usize = 6;
    let spread = |window: &[Moment]| {
        let brokers = 0..window[0].brokers.len();
        let mean = |broker: usize| window.iter().map(|m| m.brokers[broker].cpu).sum::<f64>() / SMOOTH as f64;
        let cpu: Vec<f64> = brokers.map(|broker| 100.0 * mean(broker)).collect();
        (window[SMOOTH - 1].at, result::deviation(&cpu))
    };
    history.windows(SMOOTH).map(spread).collect()
}

/// Messages per second of flows, each of the group that its kind is named after.
fn rate<'a>(kinds: &[Kind], flows: impl IntoIterator<Item = &'a (String, String)>) -> f64 {
    let of = |(name, _): &(String, String)| kinds.iter().find(|kind| kind.name == name);
    flows.into_iter().filter_map(of).map(|kind| 1_000.0 / kind.interval_ms as f64).sum()
}

/// CPU over a while in which nobody connected.
#[derive(Debug)]
struct Look {
    /// Of what each broker may use, %.
    cpu: Vec<f64>,
    /// Of all brokers together.
    cores: f64,
}

/// Everything that takes part. Fields end in this order.
#[derive(Debug)]
struct Stage<'a> {
    watch: Watch,
    load: Load,
    agent: Agent<'a>,
    brokers: Vec<Broker<'a>>,
    plan: Plan,
    cores: [f64; 3],
    looks: Vec<Look>,
    marks: Vec<Mark>,
    /// Kinds of clients so far.
    kinds: Vec<Kind>,
    /// Messages per second of the clients that each broker had at the join.
    kept: Option<Vec<f64>>,
}

impl<'a> Stage<'a> {
    fn set(lab: &'a Lab, case: &Case, policy: &'static str, screen: Option<Screen>) -> Result<Self> {
        let start = |(index, cores): (usize, &f64)| -> Result<Broker<'a>> {
            let broker = Broker::start(lab, index, Some(*cores))?;
            broker.group().prefer()?;
            Ok(broker)
        };
        let brokers = case.cores.iter().enumerate().map(start).collect::<Result<Vec<_>>>();
        let mut brokers = brokers.context("failed to start the brokers")?;
        let plan = Plan {
            service: vec![ServicePlan::mosquitto(lab, SERVICE, policy, &brokers, "1s")],
            ..Plan::default()
        };
        let mut first = plan.clone();
        if case.joins() {
            first.service[0].backend.pop();
            brokers.last_mut().context("there are no brokers")?.stop()?;
        }
        let agent = Agent::start(lab, &first).context("failed to start the agent")?;
        let load = Load::start(&lab.clients[0], Lab::VIP4)?;
        let sights =
            brokers.iter().zip(case.cores).map(|(b, cores)| (b.name().to_owned(), cores, b.group().meter()));
        let scene = Scene { brokers: sights.collect(), control: agent.control.clone(), book: load.book() };
        let watch = Watch::start(scene, screen)?;
        Ok(Self {
            watch,
            load,
            agent,
            brokers,
            plan,
            cores: case.cores,
            looks: Vec::new(),
            marks: Vec::new(),
            kinds: Vec::new(),
            kept: None,
        })
    }

    fn go(&mut self, step: &Step) -> Result<()> {
        match *step {
            Step::Arrive(kind, clients, per_second) => {
                self.mark(kind.name);
                self.kinds.push(kind);
                self.arrive(kind, clients, per_second)
            }
            Step::Look(seconds) => {
                self.mark("look");
                self.look(Duration::from_secs(seconds))
            }
            Step::Join => {
                self.mark("join");
                self.join()
            }
            Step::Rebalance => {
                self.mark("rebalance");
                self.rebalance()
            }
        }
    }

    fn mark(&mut self, name: &'static str) {
        self.marks.push(Mark { name: name.to_owned(), at: self.watch.now() });
    }

    fn arrive(&mut self, kind: Kind, clients: u32, per_second: u32) -> Result<()> {
        let group = Group {
            name: kind.name.to_owned(),
            clients,
            per_second,
            interval_ms: kind.interval_ms,
            payload: kind.payload,
        };
        self.load.add(group, PATIENCE)
    }

    fn look(&mut self, time: Duration) -> Result<()> {
        // The last connects are over.
        interrupt::pass(Duration::from_secs(1))?;
        let read = |stage: &Self| -> Result<Vec<(Instant, Duration)>> {
            stage.brokers.iter().map(|broker| Ok((Instant::now(), broker.group().usage()?))).collect()
        };
        let before = read(self)?;
        interrupt::pass(time)?;
        let after = read(self)?;
        let used = before.iter().zip(&after).map(|(before, after)| {
            after.1.saturating_sub(before.1).as_secs_f64() / (after.0 - before.0).as_secs_f64()
        });
        let used: Vec<f64> = used.collect();
        let cpu = used.iter().zip(self.cores).map(|(used, cores)| 100.0 * used / cores).collect();
        self.looks.push(Look { cpu, cores: used.iter().sum() });
        Ok(())
    }

    fn join(&mut self) -> Result<()> {
        let broker = self.brokers.last_mut().context("there are no brokers")?;
        broker.start_again()?;
        let name = broker.name().to_owned();
        let flows = self.load.records().flows;
        let kept =
            |broker: &Broker<'_>| rate(&self.kinds, flows.iter().filter(|(_, name)| name == broker.name()));
        self.kept = Some(self.brokers.iter().map(kept).collect());
        self.agent.reload(&self.plan)?;
        self.agent.control.wait_state(SERVICE, &name, BackendState::Up)
    }

    fn rebalance(&self) -> Result<()> {
        let control = &self.agent.control;
        // The default rate, but no default limit: what the surplus allows is the question here.
        control.run(&["rebalance", SERVICE, "--to", "10%", "--max", "100%", "--force"])?;
        wait::until_ok("the rebalancing to end", PATIENCE, || {
            interrupt::check()?;
            let runs: Runs = control.json(&["rebalance", "status"])?;
            let going =
                runs.runs.iter().find(|run| matches!(run.state, RunState::Running | RunState::Waiting));
            ensure!(going.is_none(), "{going:?}");
            Ok(())
        })?;
        self.load.wait_connected(self.load.totals().clients, PATIENCE)
    }
}
