//! A herd: thousands of clients of a [`Load`] that all want in at once, and come again until they are.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{Load, Records};
use crate::wait::until_ok;

/// Start of the cause of a connection that no TCP took in time.
pub(super) const NO_HANDSHAKE: &str = "no handshake";

/// Start of the cause of a connection that the broker's TCP took and the broker did not answer in time.
pub(super) const NO_CONNACK: &str = "no CONNACK";

/// Clients that have no connection, and what their load had reported before.
#[derive(Debug)]
pub struct Herd<'a> {
    load: &'a Load,
    clients: u64,
    start: Instant,
    before: Records,
}

/// How a herd has fared.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Clients of the herd.
    pub clients: u64,
    /// Those with a connection at the end.
    pub connected: u64,
    /// When all of them had one, or the time was up.
    pub took: Duration,
    /// Connections that the broker's kernel took, and the broker did not answer in time: work for nobody.
    pub given_up_on_broker: usize,
    /// Connections that nobody's kernel took in time: their SYNs were dropped on the way, or by a backlog that is full.
    pub given_up_before: usize,
    /// Connections that were refused.
    pub refused: usize,
    /// Connections that were established and broken again.
    pub broken: usize,
    /// 99 of 100 connections that were established took no longer, from the first SYN of the last attempt on.
    pub slowest: Duration,
}

impl<'a> Herd<'a> {
    /// Of `clients` clients from now on.
    #[must_use]
    pub fn new(load: &'a Load, clients: u32) -> Self {
        Self { load, clients: u64::from(clients), start: Instant::now(), before: load.records() }
    }

    /// Waits until all are connected, for at most `time`.
    ///
    /// # Errors
    /// Clients stopped reporting.
    pub fn watch(&self, time: Duration) -> Result<Outcome> {
        let patience = time + Duration::from_secs(60);
        until_ok("the herd to be in or the time to be up", patience, || {
            let totals = self.load.totals();
            let is_in = totals.clients >= self.clients && totals.connected == totals.clients;
            ensure!(is_in || self.start.elapsed() >= time, "{totals:?}");
            Ok(())
        })?;
        Ok(self.so_far())
    }

    /// How it has fared so far.
    #[must_use]
    pub fn so_far(&self) -> Outcome {
        let took = self.start.elapsed();
        let Records { totals, connects, broken, failed, .. } = self.load.records();
        let failed = &failed[self.before.failed.len()..];
        let given_up = |start: &str| failed.iter().filter(|cause| cause.starts_with(start)).count();
        let (given_up_on_broker, given_up_before) = (given_up(NO_CONNACK), given_up(NO_HANDSHAKE));
        let mut connects = connects[self.before.connects.len()..].to_vec();
        connects.sort_unstable_by(f64::total_cmp);
        let rank = (connects.len() * 99).div_ceil(100);
        let slowest = connects.get(rank.saturating_sub(1)).copied().unwrap_or_default();
        Outcome {
            clients: self.clients,
            connected: totals.connected,
            took,
            given_up_on_broker,
            given_up_before,
            refused: failed.len() - given_up_on_broker - given_up_before,
            broken: broken.len() - self.before.broken.len(),
            slowest: Duration::from_secs_f64(slowest),
        }
    }
}

impl Outcome {
    /// Connections that were given up.
    #[must_use]
    pub const fn timed_out(&self) -> usize {
        self.given_up_on_broker + self.given_up_before
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} clients are connected after {:.0} s; {} connections were given up waiting for the broker, {} before \
             they reached it, {} refused, {} broken; of those established 99 % took no more than {:.1} s",
            self.connected,
            self.clients,
            self.took.as_secs_f64(),
            self.given_up_on_broker,
            self.given_up_before,
            self.refused,
            self.broken,
            self.slowest.as_secs_f64()
        )
    }
}
