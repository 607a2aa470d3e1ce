//! Waiting for conditions, never for time.

use std::{
    env,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long most things may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The variable that says how many times longer to wait: an emulated processor is many times slower.
const FACTOR_VARIABLE: &str = "BALANCER_TEST_PATIENCE";

const INTERVAL: Duration = Duration::from_millis(20);

/// Calls `attempt` until it succeeds. The variable `BALANCER_TEST_PATIENCE` multiplies `patience`.
///
/// # Errors
/// `patience` is over; the message holds `what` and the last error.
///
/// # Panics
/// The variable is not a whole number.
pub fn until_ok<T>(what: &str, patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let patience = patience * factor();
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

/// How many times longer than on a real processor things may take: `BALANCER_TEST_PATIENCE`, or 1.
///
/// # Panics
/// The variable is not a whole number.
#[must_use]
pub fn factor() -> u32 {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| match env::var(FACTOR_VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{FACTOR_VARIABLE} is no whole number: {text}")),
        Err(_) => 1,
    });
    *FACTOR
}

/// Calls `condition` until it is true.
///
/// # Errors
/// `patience` is over; the message holds `what`.
pub fn until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    until_ok(what, patience, || if condition() { Ok(()) } else { bail!("it did not come about") })
}
