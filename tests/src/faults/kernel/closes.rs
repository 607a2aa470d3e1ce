//! Ends of flows that are rare.

use std::{
    net::Shutdown,
    sync::Barrier,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    faults::{
        duel::{self, DUEL, Duel, Duels, ended, pass},
        stage::{Setting, Stage},
    },
    interrupt,
    lab::Lab,
    wait::until_ok,
};

/// Below the range of ports that the kernel gives out.
const FIRST_PORT: u16 = 20_000;

/// Longer than `net.ipv4.tcp_tw_reuse_delay`, after which Linux lets a client use a port again.
const REUSE: Duration = Duration::from_millis(1_100);

pub(super) fn with_duels(lab: &Lab, setting: &mut Setting) -> Result<()> {
    if setting.duels.is_some() {
        return Ok(());
    }
    duel::add_service(lab, &mut setting.plan);
    setting.duels = Some(Duels::listen(lab)?);
    Ok(())
}

pub(super) fn with_short_timeout(lab: &Lab, setting: &mut Setting) -> Result<()> {
    setting.plan.datapath.half_closed_timeout = Some("10s");
    with_duels(lab, setting)
}

fn open(stage: &Stage<'_>, n: u16) -> Result<Vec<Duel>> {
    let duels = stage.duels.as_ref().context("the fault was prepared")?;
    (0..n).map(|index| duels.open(&stage.lab.clients[0], FIRST_PORT + index)).collect()
}

fn wait_none_live(stage: &Stage<'_>) -> Result<()> {
    until_ok("live counts to be 0", crate::wait::PATIENCE, || {
        let live: Vec<_> = stage.status()?.backends.into_iter().filter(|one| one.service == DUEL).collect();
        let live: Vec<u64> = live.iter().map(|one| one.live).collect();
        ensure!(live.iter().all(|n| *n == 0), "they are {live:?}");
        Ok(())
    })
}

pub(super) fn port_reused(stage: &mut Stage<'_>) -> Result<()> {
    let n = if stage.short { 20 } else { 100 };
    let client = &stage.lab.clients[0].netns;
    client.enter(|| std::fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1"))??;
    for round in 0..2 {
        for who in ["the server", "a RST", "the client"] {
            let duels = open(stage, n).with_context(|| format!("round {round}, before {who} ended it"))?;
            stage.count_in(u64::from(n));
            for duel in duels {
                duel.exchange().with_context(|| format!("round {round}, before {who} ended it"))?;
                let Duel { near, far } = duel;
                match who {
                    "the server" => {
                        far.shutdown(Shutdown::Write).context("failed to close")?;
                        ended(&near)?;
                        drop(near);
                        ended(&far)?;
                    }
                    "a RST" => {
                        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                        setsockopt(&near, sockopt::Linger, &at_once).context("failed to set linger")?;
                        drop(near);
                    }
                    _ => {
                        near.shutdown(Shutdown::Write).context("failed to close")?;
                        ended(&far)?;
                        drop(far);
                        ended(&near)?;
                    }
                }
            }
        }
        interrupt::pass(REUSE)?;
    }
    stage.over();
    wait_none_live(stage)
}

pub(super) fn simultaneous(stage: &mut Stage<'_>) -> Result<()> {
    let n = if stage.short { 40 } else { 200 };
    let duels = open(stage, n)?;
    stage.count_in(u64::from(n));
    for duel in &duels {
        duel.exchange()?;
        let together = Barrier::new(2);
        std::thread::scope(|scope| {
            for stream in [&duel.near, &duel.far] {
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    // An end that is closed already says so when it is read.
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
        ended(&duel.near).context("at the client")?;
        ended(&duel.far).context("at the server")?;
    }
    stage.over();
    wait_none_live(stage)
}

pub(super) fn half_closed(stage: &mut Stage<'_>) -> Result<()> {
    let (rounds, pause) = if stage.short { (2, 1) } else { (3, 6) };
    let duels = open(stage, 60)?;
    stage.count_in(60);
    let (by_client, by_server) = duels.split_at(30);
    for duel in by_client {
        duel.near.shutdown(Shutdown::Write).context("failed to close")?;
        ended(&duel.far)?;
    }
    for duel in by_server {
        duel.far.shutdown(Shutdown::Write).context("failed to close")?;
        ended(&duel.near)?;
    }
    let begun = Instant::now();
    for round in 1..=rounds {
        let due = Duration::from_secs(pause) * round;
        interrupt::pass(due.saturating_sub(begun.elapsed()))?;
        for duel in by_client {
            pass(&duel.far, &duel.near, b"still here").context("the client has closed")?;
        }
        for duel in by_server {
            pass(&duel.near, &duel.far, b"still here").context("the server has closed")?;
        }
    }
    for duel in by_client {
        duel.far.shutdown(Shutdown::Write).context("failed to close")?;
        ended(&duel.near)?;
    }
    for duel in by_server {
        duel.near.shutdown(Shutdown::Write).context("failed to close")?;
        ended(&duel.far)?;
    }
    stage.over();
    wait_none_live(stage)
}
