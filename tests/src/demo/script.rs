//! The phases, one after the other.

use std::{thread, time::Duration};

use anyhow::{Context, Result};
use balancer_userspace::api::wire::BackendState;

use super::{
    Options, page,
    report::Report,
    stage::{SERVICE, Scale, Stage},
    write_files,
};
use crate::{
    interrupt,
    lab::{Lab, LabOptions},
    load::wire::Order,
    wait,
};

/// The broker that is loaded: the largest, which most flows would go to.
pub(super) const LOADED: usize = 0;
/// The broker that is restarted.
pub(super) const RESTARTED: usize = 1;
/// The broker that is drained.
pub(super) const DRAINED: usize = 0;

/// Milliseconds between the messages of a light and of a heavy client.
const LIGHT_MS: u64 = 2_000;
const HEAVY_MS: u64 = 100;

/// How many times the highest score of the others the score of the loaded broker becomes before new clients come.
const CLEARLY: f64 = 1.25;

/// Sets everything up, plays it, and takes it down.
pub(super) fn play(options: &Options) -> Result<Report> {
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    eprintln!("setting up: a network of namespaces, three brokers, the agent");
    let lab = Lab::new(LabOptions { brokers: 3, clients: 1 }).context("failed to set the lab up")?;
    let mut stage = Stage::set(&lab, scale)?;
    spread(&mut stage, scale)?;
    load_one(&mut stage, scale)?;
    restart_one(&mut stage, scale)?;
    drain_one(&mut stage, scale)?;
    kill_agent(&mut stage, scale)?;
    reload(&mut stage, scale)?;
    let counted = counts_agree(&stage);
    let Stage { watch, load, agent, brokers, phases, .. } = stage;
    let history = watch.history();
    drop(watch);
    let records = load.finish().context("the clients did not come to an end")?;
    let report = Report::new(&phases, &history, &records, counted);
    write_files(options, &report, &page::render(&report, &phases, &history)?)?;
    eprintln!("the page of charts is {}", options.out.join("demo.html").display());
    if options.keep {
        keep(&lab, &agent);
    }
    drop((agent, brokers));
    Ok(report)
}

fn spread(stage: &mut Stage<'_>, scale: Scale) -> Result<()> {
    let what = format!(
        "{} light and {} heavy clients connect; the brokers have 0.20, 0.10 and 0.05 cores",
        scale.light, scale.heavy
    );
    stage.phase("spread", &what, |stage| {
        // Mixed, as they come in life: a part of each, again and again.
        const PARTS: u32 = 4;
        for _ in 0..PARTS {
            stage.arrive("light", scale.light / PARTS, 100, LIGHT_MS)?;
            stage.arrive("heavy", scale.heavy / PARTS, 100, HEAVY_MS)?;
        }
        stage.look()
    })
}

fn load_one(stage: &mut Stage<'_>, scale: Scale) -> Result<()> {
    let name = stage.brokers[LOADED].name().to_owned();
    let hog = stage.hog(LOADED)?;
    stage.phase(
        "load",
        &format!("something else takes the CPU of {name}; then new clients come"),
        |stage| {
            let control = stage.agent.control.clone();
            wait::until_ok("telemetry to show it", Duration::from_secs(30), || {
                interrupt::check()?;
                let backends = control.status()?.backends;
                let (loaded, others): (Vec<_>, Vec<_>) =
                    backends.iter().partition(|backend| backend.name == name);
                let highest = others.iter().map(|backend| backend.score).fold(0.0, f64::max);
                let score = loaded.first().context("the agent has lost it")?.score;
                anyhow::ensure!(
                    score > CLEARLY * highest,
                    "its score is {score:.3}, the others' at most {highest:.3}"
                );
                Ok(())
            })?;
            stage.arrive("load", scale.newcomers, 20, LIGHT_MS)
        },
    )?;
    hog.kill()?;
    stage.phase("relief", &format!("{name} has its CPU back"), Stage::look_only)
}

fn restart_one(stage: &mut Stage<'_>, scale: Scale) -> Result<()> {
    let name = stage.brokers[RESTARTED].name().to_owned();
    stage.phase("restart", &format!("{name} restarts: its own clients connect again"), |stage| {
        stage.brokers[RESTARTED].stop()?;
        stage.agent.control.wait_state(SERVICE, &name, BackendState::Down)?;
        stage.brokers[RESTARTED].start_again()?;
        stage.agent.control.wait_state(SERVICE, &name, BackendState::Up)?;
        stage.settle()?;
        stage.arrive("restart", scale.newcomers, 40, LIGHT_MS)?;
        stage.look()
    })
}

fn drain_one(stage: &mut Stage<'_>, scale: Scale) -> Result<()> {
    let name = stage.brokers[DRAINED].name().to_owned();
    let path = format!("{SERVICE}/{name}");
    stage.agent.control.run(&["backend", "drain", &path])?;
    stage.agent.control.wait_state(SERVICE, &name, BackendState::Draining)?;
    stage.phase(
        "drain",
        &format!("{name} is drained: it keeps its clients and gets no new ones"),
        |stage| {
            stage.arrive("drain", scale.newcomers, 40, LIGHT_MS)?;
            stage.look()
        },
    )?;
    stage.agent.control.run(&["backend", "undrain", &path])?;
    stage.agent.control.wait_state(SERVICE, &name, BackendState::Up)
}

fn kill_agent(stage: &mut Stage<'_>, scale: Scale) -> Result<()> {
    stage.load.order(&Order::Probe { interval_ms: 50 })?;
    stage.phase("kill", "the agent is killed with -9; clients come while it is dead", |stage| {
        stage.agent.kill()?;
        stage.arrive("kill", scale.newcomers, 40, LIGHT_MS)?;
        stage.look()
    })?;
    stage.phase("again", "the agent starts again", |stage| {
        stage.agent.start_again()?;
        stage.arrive("again", scale.newcomers, 40, LIGHT_MS)
    })?;
    stage.load.order(&Order::StopProbe)
}

fn reload(stage: &mut Stage<'_>, scale: Scale) -> Result<()> {
    stage.phase("reload", "the configuration is reloaded: least-conn by weights 4, 2 and 1", |stage| {
        let service = &mut stage.plan.service[0];
        service.policy = "least-conn";
        for (backend, weight) in service.backend.iter_mut().zip([400, 200, 100]) {
            backend.weight = Some(weight);
        }
        stage.agent.reload(&stage.plan)?;
        stage.arrive("reload", scale.newcomers, 40, LIGHT_MS)?;
        stage.look()
    })
}

/// Whether the agent's count of every broker's connections comes to be that of the clients.
fn counts_agree(stage: &Stage<'_>) -> std::result::Result<(), String> {
    let agree = || -> Result<()> {
        let live = stage.load.book().read(|records| records.live.clone());
        for backend in stage.agent.control.status()?.backends {
            let said = live.get(&backend.name).copied().unwrap_or(0);
            anyhow::ensure!(
                backend.live == said,
                "{} has {} by the agent and {said} by the clients",
                backend.name,
                backend.live
            );
        }
        Ok(())
    };
    wait::until_ok("the counts to agree", Duration::from_secs(5), agree).map_err(|error| format!("{error:#}"))
}

impl Stage<'_> {
    fn look_only(&mut self) -> Result<()> {
        self.look()
    }
}

fn keep(lab: &Lab, agent: &crate::agent::Agent<'_>) {
    eprintln!("the lab stays until Ctrl-C; look around with");
    eprintln!("  {}", agent.control.command_line(&["status"]));
    eprintln!("  nsenter --net={}", lab.gateway.path().display());
    eprintln!("  nsenter --net={}", lab.clients[0].netns.path().display());
    while interrupt::check().is_ok() {
        thread::sleep(Duration::from_millis(200));
    }
}
