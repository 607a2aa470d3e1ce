//! What connections cost that a plain loop makes: what no agent that probes can be below.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

use super::brokers;
use crate::{interrupt, lab::Lab, wait::PATIENCE};

/// Every two seconds a connection to each, as probes are made.
const EVERY: Duration = Duration::from_secs(2);

/// CPU time in a second, in seconds, of a loop in the gateway that makes as many connections as probes do, and closes
/// them. What the kernel does at once for the other end is in it, as it is in the agent's.
pub(super) fn connections(lab: &Lab, backends: u16, time: Duration) -> Result<f64> {
    lab.gateway.enter(|| {
        let (began, before) = (Instant::now(), cpu()?);
        let mut due = began;
        'time: loop {
            for index in 0..backends {
                interrupt::check()?;
                if began.elapsed() >= time {
                    break 'time;
                }
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due += EVERY / u32::from(backends);
                let to = brokers::address(&lab.brokers[0], index);
                TcpStream::connect_timeout(&to, PATIENCE)
                    .with_context(|| format!("failed to connect to {to}"))?;
            }
        }
        Ok((cpu()? - before).as_secs_f64() / began.elapsed().as_secs_f64())
    })?
}

/// CPU time of this thread.
fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("failed to read the CPU time")?.into())
}
