//! One broker, from its start to its end.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};

use super::{
    checks::{Bench, SERVICE},
    link::{self, Links},
    recipe::{Place, Programs, Recipe, Trial, preset},
    report::{Check, Finding, Row},
    running::{Running, fresh_directory},
};
use crate::{
    agent::Agent,
    lab::{Lab, LabOptions, VIP4},
    plan::{BackendPlan, HealthPlan, Plan, ServicePlan, TelemetryPlan},
};

/// Tries a broker. What keeps it from being tried is its row.
pub(super) fn run(recipe: &'static dyn Recipe, programs: &Programs, out: &Path) -> Row {
    let started = Instant::now();
    let mut row = Row::new(recipe);
    if let Err(error) = attempt(recipe, programs, out, &mut row) {
        row.note(Check::Start, Err(error), started);
    }
    row.seconds = started.elapsed().as_secs();
    row
}

fn attempt(recipe: &'static dyn Recipe, programs: &Programs, out: &Path, row: &mut Row) -> Result<()> {
    row.version = recipe.version(programs)?;
    let directory = out.join(recipe.name());
    fresh_directory(&directory)?;
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 })?;
    let place = Place { host: &lab.brokers[0], directory: directory.clone(), programs };
    let running = Running::start(recipe, place, lab.serial)?;
    let plan = match recipe.trial() {
        Trial::Whole | Trial::Deaf => plan(recipe, &lab, &running)?,
        Trial::Links => link::plan(recipe, &running.place)?,
    };
    let agent = Agent::start(&lab, &plan)?;
    let log = match recipe.trial() {
        Trial::Whole => {
            let mut bench = Bench { recipe, lab: &lab, agent, running };
            whole(&mut bench, row);
            bench.agent.log()
        }
        Trial::Deaf => {
            let bench = Bench { recipe, lab: &lab, agent, running };
            let started = Instant::now();
            row.note(Check::Probe, bench.deaf(), started);
            bench.agent.log()
        }
        Trial::Links => {
            let mut links = Links { recipe, lab: &lab, agent, running };
            let started = Instant::now();
            row.note(Check::Probe, links.follow(), started);
            links.agent.log()
        }
    };
    std::fs::write(directory.join("agent.log"), log).context("failed to keep the agent's log")
}

fn whole(bench: &mut Bench<'_>, row: &mut Row) {
    let started = Instant::now();
    let traffic = match bench.client() {
        Ok((_, traffic)) => traffic,
        Err(error) => return row.note(Check::Client, Err(error), started),
    };
    let telemetry = Instant::now();
    let told = bench.telemetry();
    row.resident_mib = bench.running.resident_mib().ok();
    let clients = bench.recipe.load().clients;
    let protocol = bench.recipe.protocol().name();
    let finished = traffic.finish();
    row.note(
        Check::Client,
        finished.map(|n| format!("{clients} clients, {protocol}, {n} messages came back")),
        started,
    );
    row.note(Check::Telemetry, told, telemetry);
    let started = Instant::now();
    row.note(Check::Probe, bench.probe(), started);
    if let Some(drain) = bench.recipe.drain() {
        let started = Instant::now();
        row.note(Check::Drain, bench.drain(drain), started);
    }
}

/// One service with the broker's preset, which supplies everything but how often the broker is asked.
fn plan(recipe: &dyn Recipe, lab: &Lab, running: &Running<'_>) -> Result<Plan> {
    // What the preset does not tell is read from the control group, as it is for a broker on the agent's own machine.
    let cgroup = preset(recipe)?.meaning.cpu.is_empty().then(|| running.group());
    let backend = BackendPlan {
        name: lab.brokers[0].name.clone(),
        address: running.address().to_string(),
        telemetry: Some(TelemetryPlan { cgroup, ..TelemetryPlan::default() }),
        ..BackendPlan::default()
    };
    let (username, password_file) = recipe.login(&running.place)?.unzip();
    let password_file = password_file.map(|path| path.display().to_string());
    let service = ServicePlan {
        name: SERVICE.to_owned(),
        vip: VIP4.to_string(),
        port: recipe.protocol().port(),
        preset: Some(recipe.preset()),
        policy: "adaptive",
        // There is but one backend: when its probe fails, it is to be out of rotation.
        panic: Some("off"),
        health: HealthPlan { interval: "1s", timeout: "1s", ..HealthPlan::default() },
        telemetry: Some(TelemetryPlan {
            interval: Some("1s"),
            username,
            password_file,
            ..TelemetryPlan::default()
        }),
        backend: vec![backend],
        ..ServicePlan::default()
    };
    Ok(Plan { service: vec![service], ..Plan::default() })
}

/// Tries one broker for an ordinary test.
///
/// # Panics
/// When something does not hold.
pub fn must_hold(name: &str) {
    let out = tempfile::tempdir().expect("a directory can be made");
    let recipe = super::RECIPES.iter().find(|recipe| recipe.name() == name).expect("there is such a broker");
    let row = run(*recipe, &Programs::default(), out.path());
    let failed = row.findings.iter().filter(|finding| !finding.held).collect::<Vec<&Finding>>();
    assert!(failed.is_empty(), "{failed:#?}");
    for finding in &row.findings {
        println!("{name}: {:?}: {}", finding.check, finding.detail);
    }
    assert!(row.held(), "{row:#?}");
}
