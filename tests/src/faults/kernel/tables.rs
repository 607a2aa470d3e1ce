//! The flow table: full, and full of flows that say nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use balancer_common::abi::clock_from_seconds;
use balancer_userspace::kernel::{Flows, clock};

use crate::{
    faults::{
        crowd::{self, CROWD, Crowd},
        stage::{Setting, Stage},
    },
    interrupt,
    lab::Lab,
    wait::{PATIENCE, until_ok},
};

const SMALL: u32 = 1024;
const MANY: usize = 3_000;
const IDLE: usize = 1_000;
/// Longer than the two hours after which kernels probe idle connections (`net.ipv4.tcp_keepalive_time`).
const SILENT: Duration = Duration::from_secs(2 * 3600 + 5 * 60);

pub(super) fn small(lab: &Lab, setting: &mut Setting) -> Result<()> {
    setting.plan.datapath.flows_v4 = SMALL;
    with_idle(lab, setting)
}

pub(super) fn with_idle(lab: &Lab, setting: &mut Setting) -> Result<()> {
    crowd::add_service(lab, &mut setting.plan);
    setting.crowd = Some(Crowd::listen(lab)?);
    Ok(())
}

pub(super) fn full(stage: &mut Stage<'_>) -> Result<()> {
    stage.gather(MANY)?;
    let table = stage.status()?.tables.into_iter().find(|table| table.name == "ipv4");
    let table = table.context("there is an IPv4 table")?;
    ensure!(table.used >= table.high, "the table is not full: {table:?}");
    stage.note(format!("{} of {} entries used", table.used, table.capacity));
    stage.wait_said("flow table")?;
    stage.ask()?;
    stage.go_on(10.0)?;
    stage.ask()?;
    stage.do_not_count("flows beyond the table have no entry to be counted by");
    stage.over();
    Ok(())
}

pub(super) fn idle(stage: &mut Stage<'_>) -> Result<()> {
    stage.gather(IDLE)?;
    let status = stage.status()?;
    let service = status.services.iter().find(|service| service.name == CROWD);
    ensure!(service.is_some_and(|one| one.live == IDLE as u64), "{service:?} counts another number");
    let flows = Flows::open(&stage.agent.pins()).context("failed to open the flow tables")?;
    let crowd: Vec<_> = stage.agent.control.flows()?.flows;
    let ports: Vec<u16> =
        crowd.iter().filter(|flow| flow.service == CROWD).map(|flow| flow.client.port()).collect();
    let mut entries = Vec::new();
    flows.v4.for_each(|key, flow| entries.push((key, flow)))?;
    entries.retain(|(key, flow)| ports.contains(&u16::from_be_bytes(key.port)) && flow.state.is_live());
    let table = flows.v4.writer()?;
    for (key, mut flow) in entries {
        flow.last_seen = clock().wrapping_sub(clock_from_seconds(SILENT.as_secs()));
        table.put(&key, &flow)?;
    }
    let longest = stage.agent.control.flows()?.flows.iter().map(|flow| flow.idle_seconds).fold(0.0, f64::max);
    ensure!(longest >= SILENT.as_secs_f64() - 2.0, "the longest silence is only {longest} s");
    // Several sweeps pass.
    interrupt::pass(Duration::from_secs(4))?;
    stage.over();
    stage.ask()?;
    until_ok("counts to be those of the crowd", PATIENCE, || {
        let services = stage.status()?.services;
        let live = services.iter().find(|service| service.name == CROWD).map_or(0, |service| service.live);
        ensure!(live == IDLE as u64, "{live} of {IDLE}");
        Ok(())
    })
}
