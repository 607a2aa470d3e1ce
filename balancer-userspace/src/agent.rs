//! The agent: tasks around the pure controller, and one lower half that writes the maps.
//!
//! ```text
//!  probes, telemetry ──┐                          ┌── Steering (maps)
//!  hops, sweeps ───────┤──► Agent ── Controller ──┤
//!  interfaces ─────────┤                          └── answers, metrics
//!  API calls, SIGHUP ──┘
//! ```
//!
//! The packet path needs none of this to run: maps, program and links are pinned.

mod admission;
mod answers;
mod changes;
mod clock;
mod closing;
mod core;
mod discovery;
mod explain;
mod flows;
mod hops;
mod interfaces;
mod keep;
mod lacks;
mod names;
mod notes;
mod observing;
mod overrides;
mod pins;
mod reach;
mod registry;
mod reload;
mod shield;
mod spells;
mod split;
mod start;
mod sweeping;
mod watchers;
mod watching;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use self::core::Agent;
use self::interfaces::Occasion;
pub use self::start::{datapath_options, lock_path};
use self::watching::Heard;
use crate::config::Checked;

/// What `balancer run` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file, read again at each reload.
    pub config: PathBuf,
    /// An object file to load in place of the one inside the binary.
    pub object: Option<PathBuf>,
    /// Whether flows in maps of another layout or size are carried over. Otherwise such maps are refused.
    pub upgrade: bool,
}

/// Runs the agent until it is asked to stop. What is pinned stays and goes on steering.
///
/// # Errors
///
/// When the data path cannot be opened or attached, a socket cannot be listened on, or the sweeper dies.
pub async fn run(options: Options, checked: Checked) -> Result<()> {
    // First: a start may take seconds, and whoever asks for a reload meanwhile is not to end the agent.
    let mut hangup = signal(SignalKind::hangup()).context("failed to listen for SIGHUP")?;
    let (mut agent, mut inputs) = start::start(options, checked).await?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let mut ticks = tokio::time::interval(agent.tick_period());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut steps = tokio::time::interval(closing::STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Heard::default();
    loop {
        // Whoever is ready has the same chance: no flood of calls, signals or readings can keep the others waiting.
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                heard.take_in(&mut agent, &mut inputs);
                agent.reload_on_signal();
            }
            Some(call) = inputs.calls.recv() => {
                heard.take_in(&mut agent, &mut inputs);
                agent.answer(call);
            }
            Some(event) = inputs.probes.recv(), if !heard.gathers() => heard.probe(event),
            Some(event) = inputs.samples.recv(), if !heard.gathers() => heard.sample(event),
            () = heard.gathered(), if heard.gathers() => heard.take_in(&mut agent, &mut inputs),
            Some(event) = inputs.walks.recv() => agent.walked(event),
            _ = steps.tick(), if agent.closing.is_busy() => agent.step_runs(),
            Some(event) = inputs.discoveries.recv() => {
                heard.take_in(&mut agent, &mut inputs);
                agent.discovered(event);
            }
            Some(event) = inputs.hops.recv() => agent.hopped(event, &mut inputs.hops),
            Some(()) = inputs.interfaces.recv() => agent.mind_interfaces(Occasion::Announcement),
            swept = inputs.sweeps.recv() => match swept {
                Some(event) => agent.swept(event),
                None => bail!("the sweeper has ended, and nobody would forget flows; start the agent again"),
            },
            _ = ticks.tick() => {
                agent.mind_pins();
                agent.mind_interfaces(Occasion::Tick);
                agent.mind_reach();
                agent.tick();
                agent.history.settle(clock::stamp());
            }
        }
        if let Some(period) = agent.period_changed() {
            ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
    }
    blocking(|| agent.history.stop(clock::stamp()));
    info!("stopping; the program goes on steering with the last scores");
    Ok(())
}

/// Map writes are short, but some wait for packets that may still see the old value.
fn blocking<T>(write: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(write)
}

impl Agent {
    fn reload_on_signal(&mut self) {
        match self.reload_for(None) {
            Ok(reload) if reload.changes.is_empty() => info!("configuration reloaded: nothing has changed"),
            Ok(reload) => info!("configuration reloaded: {}", reload.changes.join("; ")),
            Err(error) => warn!("configuration not reloaded: {error}: {}", error.problems.join("; ")),
        }
    }
}
