//! Floods of frames in other clients' names.

use std::{fs, net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use balancer_common::abi::HALF_OPEN;

use crate::{
    faults::{
        crowd::{self, Crowd},
        raw::{Flood, Shot},
        stage::{MQTT, Setting, Stage, TCP, TCP_PORT},
    },
    interrupt,
    lab::{Lab, PORT},
    packet::Tcp,
    wait::until_ok,
};

/// Flows that wait.
const IDLE: usize = 50_000;
const FEW_IDLE: usize = 500;

fn prepare(lab: &Lab, setting: &mut Setting) -> Result<()> {
    crowd::add_service(lab, &mut setting.plan);
    setting.crowd = Some(Crowd::listen(lab)?);
    Ok(())
}

pub(super) fn without_guard(lab: &Lab, setting: &mut Setting) -> Result<()> {
    (setting.plan.datapath.flood_syns, setting.plan.datapath.shield_syns) = (Some(0), Some(0));
    prepare(lab, setting)
}

pub(super) fn with_many_idle(lab: &Lab, setting: &mut Setting) -> Result<()> {
    setting.plan.datapath.flows_v4 = 131_072;
    prepare(lab, setting)
}

/// SYNs reach the brokers and leave no state, as where the kernel has no cookies.
pub(super) fn without_shield(lab: &Lab, setting: &mut Setting) -> Result<()> {
    setting.plan.datapath.shield_syns = Some(0);
    with_many_idle(lab, setting)
}

pub(super) fn half_open_full(stage: &mut Stage<'_>) -> Result<()> {
    stage.gather(FEW_IDLE)?;
    let seed = stage.random.u64(..);
    let flood = Flood::begin(stage.lab, 1, seed, Shot::random_syn)?;
    let enough = if stage.short { 20_000 } else { 2 * u64::from(HALF_OPEN) };
    let filled = until_ok("enough SYNs", super::super::stage::PATIENCE, || {
        interrupt::check()?;
        ensure!(flood.sent() >= enough, "{} of {enough}", flood.sent());
        Ok(())
    });
    let rate = flood.end();
    stage.over();
    stage.note(format!("{rate:.0} SYNs/s"));
    filled?;
    stage.ask()
}

pub(super) fn syn_flood(stage: &mut Stage<'_>) -> Result<()> {
    stage.gather(if stage.short { 2_000 } else { IDLE })?;
    // Who is called down for want of a CPU is not what is asked here.
    stage.recover()?;
    let before = Agent::of(stage)?;
    let seed = stage.random.u64(..);
    let flood = Flood::begin(stage.lab, 2, seed, Shot::random_syn)?;
    let lasted = stage.go_on(20.0);
    let sent = flood.sent();
    let rate = flood.end();
    stage.over();
    lasted?;
    let after = Agent::of(stage)?;
    stage.note(format!(
        "{sent} SYNs at {rate:.0}/s; agent {} to {} MiB, {} to {} descriptors",
        before.kib / 1024,
        after.kib / 1024,
        before.descriptors,
        after.descriptors
    ));
    ensure!(
        after.descriptors <= before.descriptors + 16,
        "the agent leaks descriptors: {before:?}, {after:?}"
    );
    ensure!(
        after.kib <= before.kib + before.kib / 10 + 2048,
        "the agent's memory grew: {before:?}, {after:?}"
    );
    stage.ask()
}

/// What the agent's process uses.
#[derive(Clone, Copy, Debug)]
pub(in crate::faults) struct Agent {
    pub(in crate::faults) kib: u64,
    pub(in crate::faults) descriptors: usize,
}

impl Agent {
    pub(in crate::faults) fn of(stage: &Stage<'_>) -> Result<Self> {
        let pid = stage.agent.pid().context("the agent does not run")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the agent has ended")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).context("the agent has ended")?.count();
        Ok(Self { kib, descriptors })
    }
}

pub(super) fn acks(stage: &mut Stage<'_>) -> Result<()> {
    on_live(stage, Tcp::ACK)
}

pub(super) fn rsts(stage: &mut Stage<'_>) -> Result<()> {
    on_live(stage, Tcp::RST)
}

pub(super) fn fins(stage: &mut Stage<'_>) -> Result<()> {
    on_live(stage, Tcp::FIN | Tcp::ACK)
}

pub(super) fn syns_on_live(stage: &mut Stage<'_>) -> Result<()> {
    on_live(stage, Tcp::SYN)
}

/// Frames with random numbers in the name of every live flow. A number that is right by chance (a RST's has to be
/// exact, RFC 5961; data and FINs need a right acknowledgement besides, RFC 9293, section 3.10.7.4) is not to be expected.
fn on_live(stage: &mut Stage<'_>, flags: u8) -> Result<()> {
    let flows = stage.agent.control.flows()?.flows;
    let live = flows.iter().filter_map(|flow| {
        let IpAddr::V4(client) = flow.client.ip() else { return None };
        let port = match flow.service.as_str() {
            MQTT => PORT,
            TCP => TCP_PORT,
            _ => return None,
        };
        Some(((client, flow.client.port()), port))
    });
    let live: Vec<_> = live.collect();
    ensure!(live.len() as u64 >= stage.flows(), "only {} flows are listed", live.len());
    let seed = stage.random.u64(..);
    let flood = Flood::begin(stage.lab, 1, seed, move |random| {
        let (client, port) = live[random.usize(..live.len())];
        Shot { client, port, seq: random.u32(..), ack: random.u32(..), flags }
    })?;
    let lasted = stage.go_on(10.0);
    let sent = flood.sent();
    let rate = flood.end();
    stage.over();
    lasted?;
    stage.note(format!("{sent} frames at {rate:.0}/s"));
    // What was stirred up settles, and everybody is answered again.
    interrupt::pass(Duration::from_millis(500))
}
