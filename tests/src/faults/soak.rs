//! A soak: churn, storms and faults at random, for as long as one likes.

use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fastrand::Rng;
use serde::Serialize;

use super::{
    catalogue::{Fault, Play, all},
    kernel::Agent,
    row::Row,
    runner::{Before, judge},
    stage::{Setting, Stage},
};
use crate::{
    bench::replace_section,
    interrupt,
    lab::{Lab, LabOptions},
    load::wire::Order,
    storm::Storm,
};

/// Clients of one storm, and how many come a second.
const STORM: Storm = Storm { clients: 1_000, per_second: 500, patience: Duration::from_secs(10) };

/// Flows that come and go between two faults.
const CHURN: usize = 200;

/// Time that traffic flows undisturbed between two rounds, seconds.
const PAUSE: Duration = Duration::from_secs(2);

/// From this part of the time on no fault ends the agent, so that what it grows by is its own.
const LAST_AGENT: f64 = 0.5;

/// From this part of the time on the agent's memory and descriptors must stay what they are.
const GROWN: f64 = 0.6;

/// What the agent's memory may grow by after that.
const GROWTH: f64 = 0.1;

/// Disturbs one gateway for minutes: connections come and go, storms pass, faults strike at random.
///
/// Fails when a flow broke, a message was lost, the live counts are wrong at the end, or the agent's memory or descriptors
/// grew.
#[derive(Clone, Debug, Parser)]
#[command(name = "balancer-soak")]
pub struct Options {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    pub minutes: f64,
    /// Chooses what happens when.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Writes the result into this page, docs/reliability.md.
    #[arg(long, value_name = "PAGE")]
    pub write: Option<PathBuf>,
}

/// What a soak came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Soaked {
    /// How long it was.
    pub minutes: f64,
    /// What chose.
    pub seed: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Storms that passed.
    pub storms: u64,
    /// Clients of storms, and how many of them did not get in.
    pub storm_clients: [u64; 2],
    /// Flows that came and went besides.
    pub churned: u64,
    /// Flows that lasted from the beginning to the end.
    pub flows: u64,
    /// How many of those were broken.
    pub flows_broken: u64,
    /// Messages that came back.
    pub messages: u64,
    /// Messages lost.
    pub messages_lost: u64,
    /// The agent's resident memory after six tenths of the time, and at the end, KiB. No agent was ended in the last half.
    pub agent_kib: [u64; 2],
    /// Its descriptors.
    pub agent_descriptors: [usize; 2],
    /// What did not hold.
    pub failures: Vec<String>,
}

impl Soaked {
    const fn ok(&self) -> bool {
        self.flows_broken == 0 && self.messages_lost == 0 && self.failures.is_empty()
    }

    fn text(&self) -> String {
        let [came, failed] = self.storm_clients;
        let verdict = if self.ok() { "All held." } else { "**Not all held.**" };
        let mut text = format!(
            "{verdict} {:.0} minutes, seed {}: {} faults, {} storms of {came} clients in all ({failed} did not get in), {} \
             flows that came and went.\n\
             {} flows were held all the time: {} broken. {} messages came back: {} lost.\n\
             The agent of the last half used {:.1} MiB and {} descriptors after six tenths of the time, {:.1} MiB and {} at \
             the end.\n",
            self.minutes,
            self.seed,
            self.faults,
            self.storms,
            self.churned,
            self.flows,
            self.flows_broken,
            self.messages,
            self.messages_lost,
            self.agent_kib[0] as f64 / 1024.0,
            self.agent_descriptors[0],
            self.agent_kib[1] as f64 / 1024.0,
            self.agent_descriptors[1],
        );
        for failure in &self.failures {
            text.push_str(&format!("- {failure}\n"));
        }
        text
    }
}

/// Soaks. Says whether all held.
///
/// # Errors
/// The lab could not be set up, or it was interrupted.
pub fn run(options: &Options) -> Result<bool> {
    interrupt::catch()?;
    let length = Duration::try_from_secs_f64(options.minutes * 60.0);
    let length = length.context("--minutes: give a number of minutes, such as 60")?;
    let lab = Lab::new(LabOptions::default()).context("failed to set the lab up")?;
    let soaked = Soak::begin(&lab, options.seed)?.last(length)?;
    if let Some(page) = &options.write {
        replace_section(page, "soak", &soaked.text())?;
    }
    let mut out = std::io::stdout();
    if options.json {
        let text = serde_json::to_string_pretty(&soaked).context("failed to write the result")?;
        writeln!(out, "{text}").context("failed to print the result")?;
    } else {
        write!(out, "{}", soaked.text()).context("failed to print the result")?;
    }
    Ok(soaked.ok())
}

struct Soak<'a> {
    stage: Stage<'a>,
    faults: Vec<Fault>,
    random: Rng,
    soaked: Soaked,
    begun: Instant,
}

impl<'a> Soak<'a> {
    fn begin(lab: &'a Lab, seed: u64) -> Result<Self> {
        // Faults are short: many are better than long ones.
        let setting = Setting::usual(lab, true);
        let stage = Stage::set(lab, setting, seed)?;
        let faults = all().into_iter().filter(|fault| fault.soak).collect();
        let soaked = Soaked { seed, flows: stage.flows(), ..Soaked::default() };
        Ok(Self { stage, faults, random: Rng::with_seed(seed), soaked, begun: Instant::now() })
    }

    fn last(mut self, length: Duration) -> Result<Soaked> {
        let mut first = None;
        while self.begun.elapsed() < length {
            match self.random.u8(..10) {
                0 => self.storm()?,
                1..4 => self.churn()?,
                _ => self.fault(self.begun.elapsed() < length.mul_f64(LAST_AGENT))?,
            }
            interrupt::pass(PAUSE)?;
            if first.is_none() && self.begun.elapsed() > length.mul_f64(GROWN) {
                first = Some(Agent::of(&self.stage)?);
            }
        }
        self.end(first)
    }

    fn say(&self, what: &str) {
        let minutes = self.begun.elapsed().as_secs_f64() / 60.0;
        eprintln!("{minutes:6.1} min  {what}");
    }

    /// One fault strikes; one that ends the agent only where that is allowed.
    fn fault(&mut self, may_end_agent: bool) -> Result<()> {
        let fault = loop {
            let fault = self.faults[self.random.usize(..self.faults.len())];
            if may_end_agent || !fault.ends_agent {
                break fault;
            }
        };
        let Play::Live(strike) = fault.play else { return Ok(()) };
        let before = Before::of(&mut self.stage)?;
        let mut row = Row::default();
        judge(&mut row, &mut self.stage, strike);
        interrupt::check()?;
        let row = before.so_far(row, &self.stage);
        self.soaked.faults += 1;
        self.say(&format!("{}: {}", fault.name, row.line()));
        if !row.ok() {
            let failure = row.failures.join("; ");
            let minutes = self.begun.elapsed().as_secs_f64() / 60.0;
            self.soaked.failures.push(format!("{} at {minutes:.1} min: {failure}", fault.name));
        }
        Ok(())
    }

    fn storm(&mut self) -> Result<()> {
        let (raging, outcome) = STORM.rage(&self.stage.lab.clients[0], Lab::VIP4)?;
        self.soaked.storms += 1;
        self.soaked.storm_clients[0] += u64::from(STORM.clients);
        self.soaked.storm_clients[1] += outcome.failed() as u64;
        drop(raging);
        self.say(&format!("storm: {outcome}"));
        if outcome.failed() > 0 {
            let minutes = self.begun.elapsed().as_secs_f64() / 60.0;
            self.soaked
                .failures
                .push(format!("a storm at {minutes:.1} min, with nothing else amiss: {outcome}"));
        }
        Ok(())
    }

    /// Flows that come, are answered, and go.
    fn churn(&mut self) -> Result<()> {
        let mut failed = None;
        for _ in 0..CHURN {
            interrupt::check()?;
            let came = self.stage.open(1).and_then(|flows| flows.iter().try_for_each(|flow| flow.echo(100)));
            self.soaked.churned += 1;
            failed = failed.or(came.err());
        }
        self.say(&format!("{CHURN} flows came and went"));
        if let Some(error) = failed {
            self.soaked.failures.push(format!("a flow that came and went: {error:#}"));
        }
        Ok(())
    }

    fn end(mut self, first: Option<Agent>) -> Result<Soaked> {
        self.stage.load.order(&Order::StopProbe)?;
        let (last, minutes) = (Agent::of(&self.stage)?, self.begun.elapsed().as_secs_f64() / 60.0);
        let first = first.unwrap_or(last);
        let mut soaked = self.soaked;
        soaked.minutes = minutes;
        soaked.agent_kib = [first.kib, last.kib];
        soaked.agent_descriptors = [first.descriptors, last.descriptors];
        if let Err(error) = self.stage.check_counts() {
            soaked.failures.push(format!("at the end: {error:#}"));
        }
        let flat = || -> Result<()> {
            let most = first.kib as f64 * (1.0 + GROWTH);
            ensure!(last.kib as f64 <= most, "the agent's memory grew: {first:?}, {last:?}");
            ensure!(
                last.descriptors <= first.descriptors + 16,
                "the agent leaks descriptors: {first:?}, {last:?}"
            );
            Ok(())
        };
        if let Err(error) = flat() {
            soaked.failures.push(format!("{error:#}"));
        }
        soaked.flows_broken = self.stage.streams.broken().len() as u64;
        let records = self.stage.finish()?;
        soaked.flows_broken += records.broken.len() as u64;
        soaked.messages = records.totals.received;
        soaked.messages_lost =
            records.totals.lost + records.broken.iter().map(|broken| broken.lost).sum::<u64>();
        Ok(soaked)
    }
}
