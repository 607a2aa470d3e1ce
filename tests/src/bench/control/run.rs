//! The run, part by part.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum;

use super::{
    agent::{self, Care, PERCENT},
    brokers::Brokers,
    figure::{Figure, Report},
    floor,
    rings::{self, milliseconds},
};
use crate::{
    agent::Agent,
    bench::gateway,
    interrupt,
    lab::{Lab, LabOptions},
};

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Rings, made and exchanged.
    Rings,
    /// The agent at work: without flows and with many.
    Agent,
    /// A table of ten million flows.
    Huge,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rings, Self::Agent, Self::Huge];
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Parts, in any order.
    pub parts: Vec<Part>,
    /// Backends of the service.
    pub backends: u16,
    /// Flows in the table.
    pub flows: u32,
    /// Flows in the huge table.
    pub huge: u32,
    /// How long the agent is watched in each state.
    pub watch: Duration,
}

/// Milliseconds in which an agent with a huge table is to answer.
const HUGE_START: f64 = 15_000.0;

/// Measures. `progress` is told what is done next.
///
/// # Errors
/// When the agent does not start, or brokers do not answer.
pub fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Report> {
    ensure!(!plan.parts.is_empty(), "nothing is to be measured");
    ensure!((1..=2_000).contains(&plan.backends), "backends: {} is not in 1..=2000", plan.backends);
    interrupt::catch()?;
    let mut report = Report { background: gateway::background()?, rows: Vec::new() };
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 })?;
    let brokers = Brokers::start(&lab.brokers[0], plan.backends)?;
    if plan.parts.contains(&Part::Agent) || plan.parts.contains(&Part::Rings) {
        progress(&format!("starting the agent with {} backends", plan.backends));
        let mut agent = Agent::start(&lab, &agent_plan(plan, &lab, Care::None))?;
        if plan.parts.contains(&Part::Agent) {
            report.rows.extend(at_work(plan, &lab, &mut agent, &brokers, &mut progress)?);
        }
        if plan.parts.contains(&Part::Rings) {
            progress("rings");
            // Nobody else may write the maps.
            agent.kill()?;
            report.rows.extend(rings::measure(&agent.pins())?);
        }
    }
    if plan.parts.contains(&Part::Huge) {
        report.rows.extend(huge(plan, &lab, &mut progress)?);
    }
    Ok(report)
}

/// Room for flows below the mark from which on new ones get no entry.
const fn table_for(flows: u32) -> u32 {
    flows / 8 * 10 + 1024
}

fn agent_plan(plan: &Plan, lab: &Lab, care: Care) -> crate::plan::Plan {
    agent::plan(lab, plan.backends, table_for(plan.flows), care)
}

fn at_work(
    plan: &Plan,
    lab: &Lab,
    agent: &mut Agent<'_>,
    brokers: &Brokers,
    progress: &mut impl FnMut(&str),
) -> Result<Vec<Figure>> {
    let Plan { backends, flows, watch, .. } = plan;
    let mut rows = Vec::new();
    for care in Care::ALL {
        progress(&format!("{} s without flows, {}", watch.as_secs(), care.as_str()));
        agent.reload(&agent_plan(plan, lab, care))?;
        agent.wait_ready()?;
        rows.extend(agent::watch(agent, brokers, *watch)?.cpu_rows(*backends, care));
        if care == Care::Probes {
            progress("a loop that makes as many connections");
            let floor = floor::connections(lab, *backends, *watch / 4)? * 100.0;
            let name = format!("{backends} connections every two seconds by a plain loop");
            rows.push(Figure::new(name, floor, PERCENT));
        }
    }
    progress(&format!("putting {flows} flows into the table"));
    agent::fill(&agent.pins(), *flows)?;
    progress("killing the agent, starting it again");
    let (answers, ready) = agent::restart(agent)?;
    let state = format!("{backends} backends, {flows} flows");
    rows.push(Figure::new(format!("{state}: start until it answers"), answers, "ms"));
    rows.push(Figure::new(format!("{state}: start until all backends take flows"), ready, "ms"));
    progress(&format!("{} s with these flows", watch.as_secs()));
    let spent = agent::watch(agent, brokers, *watch)?;
    rows.extend(spent.rows(&state, agent::resident(agent)?));
    progress("listing flows");
    let listed = agent::list(agent)?;
    rows.push(Figure::new(format!("{state}: `flow list` that looks at all of them"), listed, "ms"));
    let longest = agent.control.status()?.agent.work.longest_tick_seconds * 1e3;
    rows.push(Figure::new(format!("{state}: longest tick, that time included"), longest, "ms"));
    Ok(rows)
}

fn huge(plan: &Plan, lab: &Lab, progress: &mut impl FnMut(&str)) -> Result<Vec<Figure>> {
    /// What matters is the table.
    const BACKENDS: u16 = 16;
    let flows = plan.huge;
    progress(&format!("starting an agent with a table for {flows} flows"));
    let began = Instant::now();
    let mut agent = Agent::start(
        lab,
        &agent::plan(lab, BACKENDS.min(plan.backends), table_for(flows), Care::ProbesAndPages),
    )?;
    let made = milliseconds(began.elapsed());
    progress(&format!("putting {flows} flows into it"));
    agent::fill(&agent.pins(), flows)?;
    progress("killing the agent, starting it again");
    let (answers, _) = agent::restart(&mut agent)?;
    progress("waiting for a sweep");
    let sweep = first_sweep(&agent)?;
    let state = format!("{flows} flows");
    Ok(vec![
        Figure::new(
            format!("{state}: first start, until the table is made and backends take flows"),
            made,
            "ms",
        )
        .below(HUGE_START),
        Figure::new(format!("{state}: start on the full table until it answers"), answers, "ms")
            .below(HUGE_START),
        Figure::new(format!("{state}: sweep"), sweep, "ms"),
        Figure::new(format!("{state}: resident memory"), agent::resident(&agent)?, "MiB"),
    ])
}

/// Milliseconds that the first sweep took.
fn first_sweep(agent: &Agent<'_>) -> Result<f64> {
    crate::wait::until_ok("a sweep", Duration::from_secs(60), || {
        interrupt::check()?;
        let work = agent.control.status()?.agent.work;
        ensure!(work.sweeps > 0, "there was none");
        Ok(work.sweep_seconds * 1e3 / work.sweeps as f64)
    })
}
