//! Clients that connect, are accepted and close, for a minute.
//!
//! The clients close first, so that it is their ports that wait out TIME_WAIT, and they have all ports and may use one
//! again after a second. A proxy closes its own connection to the broker first as well: the ports that wait are its own.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{
    mqtt::{Clients, Leave},
    rival::Rival,
};
use crate::lab::Lab;

/// Clients at the same time.
const CLIENTS: usize = 64;

/// A second in which less than this part of the first seconds' rate was achieved is a bad one.
const BAD: f64 = 0.5;

/// Seconds that the rate is compared with.
const FIRST: usize = 5;

/// What became of the clients.
#[derive(Clone, Debug, Serialize)]
pub struct Churn {
    /// Who stood in between.
    pub rival: Rival,
    /// Connections that were accepted.
    pub done: u64,
    /// Connections that were not.
    pub failed: u64,
    /// Connections per second in the first five seconds.
    pub at_first: f64,
    /// Connections per second in the last ten.
    pub at_last: f64,
    /// Seconds with less than half of the first rate.
    pub bad_seconds: usize,
    /// After how many seconds a connection failed first.
    pub first_failure: Option<usize>,
    /// Successes and failures of each second.
    pub seconds: Vec<(u64, u64)>,
}

pub(super) fn measure(lab: &Lab, rival: Rival, time: Duration) -> Result<Churn> {
    let running = rival.start(lab, 0)?;
    let clients = Clients { host: &lab.clients[0], to: &running.mqtt, number: CLIENTS };
    let tally = clients.connect(Leave::Abruptly, time)?;
    Ok(Churn::new(rival, tally.seconds))
}

impl Churn {
    fn new(rival: Rival, seconds: Vec<(u64, u64)>) -> Self {
        let rate = |part: &[(u64, u64)]| {
            part.iter().map(|(done, _)| *done as f64).sum::<f64>() / part.len().max(1) as f64
        };
        let at_first = rate(&seconds[..seconds.len().min(FIRST)]);
        Self {
            rival,
            done: seconds.iter().map(|(done, _)| done).sum(),
            failed: seconds.iter().map(|(_, failed)| failed).sum(),
            at_first,
            at_last: rate(&seconds[seconds.len().saturating_sub(2 * FIRST)..]),
            bad_seconds: seconds.iter().filter(|(done, _)| (*done as f64) < at_first * BAD).count(),
            first_failure: seconds.iter().position(|(_, failed)| *failed > 0),
            seconds,
        }
    }

    /// The headings of [`Churn::cells`].
    pub(super) const HEADINGS: [&str; 7] = [
        "gateway",
        "connected",
        "failed",
        "1/s at first",
        "1/s at last",
        "seconds below half",
        "first failure after",
    ];

    pub(super) fn cells(&self) -> [String; 7] {
        [
            self.rival.as_str().to_owned(),
            self.done.to_string(),
            self.failed.to_string(),
            format!("{:.0}", self.at_first),
            format!("{:.0}", self.at_last),
            self.bad_seconds.to_string(),
            self.first_failure.map_or_else(|| "-".to_owned(), |second| format!("{second} s")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collapse_is_seen() {
        let mut seconds = vec![(1000, 0); 20];
        seconds.extend([(100, 400); 10]);
        let churn = Churn::new(Rival::Haproxy, seconds);
        assert_eq!((churn.done, churn.failed, churn.bad_seconds), (21_000, 4_000, 10));
        assert_eq!((churn.at_first, churn.at_last, churn.first_failure), (1000.0, 100.0, Some(20)));
    }
}
