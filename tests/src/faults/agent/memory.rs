//! An agent that has too little memory.

use std::{fs, time::Instant};

use anyhow::{Context, Result, ensure};

use super::ensure_adopted;
use crate::{
    faults::{
        cell::Cell,
        stage::{PATIENCE, Setting, Stage},
    },
    interrupt,
    lab::Lab,
    wait,
};

const MIB: u64 = 1 << 20;

pub(super) fn cell(lab: &Lab, setting: &mut Setting) -> Result<()> {
    let cell = Cell::new(lab.serial, "agent")?;
    setting.start.prefix = cell.prefix();
    setting.cell = Some(cell);
    Ok(())
}

pub(super) fn pressed(stage: &mut Stage<'_>) -> Result<()> {
    let cell = stage.cell.take().context("the agent has a cell")?;
    let start = cell.usage()?;
    cell.limit(start + 16 * MIB)?;
    for _ in 0..if stage.short { 50 } else { 1000 } {
        interrupt::check()?;
        stage.status()?;
    }
    stage.note(format!("{} MiB at the start, {} after the requests", start / MIB, cell.usage()? / MIB));
    let pid = stage.agent.pid();
    let mut limit = cell.usage()?;
    let begun = Instant::now();
    let mut killed = false;
    while limit > MIB && begun.elapsed() < PATIENCE && !killed {
        limit -= MIB / 4;
        // The kernel refuses what it cannot reclaim, and the next page kills.
        let refused = cell.limit(limit).is_err();
        killed = stage.status().is_err();
        if refused && !killed {
            break;
        }
    }
    let end = if killed { "killed" } else { "alive" };
    stage.note(format!("{end} at {} MiB", limit / MIB));
    if !killed {
        for _ in 0..20 {
            killed |= stage.status().is_err();
        }
    }
    stage.can_connect()?;
    cell.limit(start + 64 * MIB)?;
    if killed {
        stage.agent.kill()?;
        stage.agent.start_again()?;
        ensure_adopted(stage)?;
        ensure!(stage.agent.pid() != pid, "it was not killed");
    }
    stage.over();
    stage.recover()?;
    stage.cell = Some(cell);
    Ok(())
}

/// Comments make a configuration that takes memory to read and means nothing else.
const COMMENT: &str = "# This line is here for its length alone, and there are very many like it.\n";

pub(super) fn out_of_memory(stage: &mut Stage<'_>) -> Result<()> {
    let cell = stage.cell.take().context("the agent has a cell")?;
    let (pid, before) = (stage.agent.pid(), cell.kills()?);
    let path = stage.agent.config();
    let config = fs::read_to_string(&path).context("failed to read the configuration")?;
    let comments = COMMENT.repeat(7 * MIB as usize / COMMENT.len());
    fs::write(&path, format!("{config}{comments}")).context("failed to write a configuration")?;
    // As little as the kernel can press it into, which is refused where it can do no more.
    let mut limit = cell.usage()? + MIB;
    cell.limit(limit)?;
    while limit > MIB && cell.kills()? == before && cell.limit(limit - MIB / 4).is_ok() {
        interrupt::check()?;
        limit -= MIB / 4;
    }
    ensure!(stage.agent.control.run(&["reload"]).is_err(), "it had memory enough");
    wait::until_ok("the kernel to kill the agent", PATIENCE, || {
        ensure!(cell.kills()? > before, "it lives");
        Ok(())
    })?;
    fs::write(&path, config).context("failed to write the configuration")?;
    stage.go_on(5.0)?;
    let new = stage.open(10)?;
    cell.limit(1 << 32)?;
    stage.agent.kill()?;
    stage.agent.start_again()?;
    stage.over();
    ensure_adopted(stage)?;
    ensure!(stage.agent.pid() != pid, "it was not killed");
    for connection in &new {
        connection.echo(1_000)?;
    }
    stage.cell = Some(cell);
    Ok(())
}
