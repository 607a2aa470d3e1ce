//! Waiting for conditions, never for time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long most things may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

const INTERVAL: Duration = Duration::from_millis(20);

/// Calls `attempt` until it succeeds.
///
/// # Errors
/// `patience` is over; the message holds `what` and the last error.
pub fn until_ok<T>(what: &str, patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                bail!("waited {patience:?} for {what}: {error:#}");
            }
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}

/// Calls `condition` until it is true.
///
/// # Errors
/// `patience` is over; the message holds `what`.
pub fn until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    until_ok(what, patience, || if condition() { Ok(()) } else { bail!("it did not come about") })
}
