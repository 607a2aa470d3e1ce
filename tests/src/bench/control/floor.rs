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

/// Connections are made in bursts, as probes are.
const BURST: Duration = Duration::from_millis(20);

/// CPU time in a second, in seconds, of a loop in the gateway that makes as many connections as probes do, and closes
/// them. What the kernel does at once for the other end is in it, as it is in the agent's.
pub(super) fn connections(lab: &Lab, backends: u16, time: Duration) -> Result<f64> {
    lab.gateway.enter(|| {
        let (began, before) = (Instant::now(), cpu()?);
        let mut made = 0_u32;
        while began.elapsed() < time {
            interrupt::check()?;
            thread::sleep(BURST);
            let due = began.elapsed().as_secs_f64() / EVERY.as_secs_f64() * f64::from(backends);
            for number in made..due as u32 {
                let to = brokers::address(&lab.brokers[0], (number % u32::from(backends)) as u16);
                TcpStream::connect_timeout(&to, PATIENCE)
                    .with_context(|| format!("failed to connect to {to}"))?;
            }
            made = due as u32;
        }
        Ok((cpu()? - before).as_secs_f64() / began.elapsed().as_secs_f64())
    })?
}

/// CPU time of this thread.
fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("failed to read the CPU time")?.into())
}
