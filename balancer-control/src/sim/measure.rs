//! What is measured of a run.

use super::broker::Broker;
use super::case::Case;
use super::plant::CONNECT_TIMEOUT;

/// Seconds over which the share of new connections of a broker is taken.
const WINDOW: f64 = 5.0;

/// New connections that such a window must have: the share of fewer says nothing.
const LEAST_IN_WINDOW: u64 = 50;

/// Imbalance below which a run counts as settled; the figure at which EMQX's rebalancing takes a cluster for balanced
/// (`relative_conn_threshold`, <https://docs.emqx.com/en/emqx/latest/deploy/cluster/rebalancing.html>).
const SETTLED: f64 = 1.1;

/// Seconds at the end of a run that [`Outcome::max_over_mean`] is taken over.
const LAST: usize = 60;

/// What came of a run, from [`Case::from`] on.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Utilisation of the most loaded broker over that of all together, mean of the last minute. Utilisation is what the
    /// connected clients ask for over what the broker is capable of, and so may exceed 1.
    pub max_over_mean: f64,
    /// The same, mean of the whole run.
    pub average: f64,
    /// 99th percentile of the seconds from a client's first attempt to its connection, retries included.
    pub connect_p99: f64,
    /// Attempts given up after [`CONNECT_TIMEOUT`].
    pub timeouts: u64,
    /// Greatest share of the new connections of 5 s that went to one broker, over its share of the capacity.
    pub peak_share: f64,
    /// Seconds from [`Case::from`] until the imbalance stays below [`SETTLED`]; `None` when it never does.
    pub settled: Option<f64>,
    /// The imbalance of every second of the run, from its very beginning.
    pub series: Vec<f64>,
}

pub(crate) struct Measure {
    from: f64,
    capacities: Vec<f64>,
    series: Vec<f64>,
    latencies: Vec<f64>,
    timeouts: u64,
    window: f64,
    opened: Vec<u64>,
    peak_share: f64,
}

impl Measure {
    pub(crate) fn new(case: &Case) -> Self {
        let n = case.brokers.len();
        Self {
            from: case.from,
            capacities: vec![0.0; n],
            series: Vec::new(),
            latencies: Vec::new(),
            timeouts: 0,
            window: case.from,
            opened: vec![0; n],
            peak_share: 0.0,
        }
    }

    pub(crate) fn opened(&mut self, at: f64, broker: usize) {
        if at < self.from {
            return;
        }
        if at >= self.window + WINDOW {
            self.close_window();
            self.window += WINDOW * ((at - self.window) / WINDOW).floor();
        }
        self.opened[broker] += 1;
    }

    fn close_window(&mut self) {
        let total: u64 = self.opened.iter().sum();
        let capacity: f64 = self.capacities.iter().sum();
        if total >= LEAST_IN_WINDOW {
            for (opened, of_capacity) in self.opened.iter().zip(&self.capacities) {
                if *of_capacity > 0.0 {
                    let share = *opened as f64 / total as f64;
                    self.peak_share = self.peak_share.max(share / (of_capacity / capacity));
                }
            }
        }
        self.opened.fill(0);
    }

    pub(crate) fn connected(&mut self, wanted: f64, at: f64) {
        if wanted >= self.from {
            self.latencies.push(at - wanted);
        }
    }

    /// A client whose connection the end of the run leaves open.
    pub(crate) fn unconnected(&mut self, wanted: f64, now: f64) {
        if wanted >= self.from && wanted + CONNECT_TIMEOUT < now {
            self.latencies.push(now - wanted);
        }
    }

    pub(crate) const fn timed_out(&mut self, at: f64) {
        self.timeouts += (at >= self.from) as u64;
    }

    pub(crate) fn second(&mut self, _now: f64, brokers: &[Broker]) {
        let up = brokers.iter().filter(|broker| !broker.down);
        let (mut most, mut asked, mut capacity) = (0.0_f64, 0.0, 0.0);
        for broker in up {
            most = most.max(broker.utilisation());
            asked += broker.demand + broker.fixed;
            capacity += broker.capacity;
        }
        for (known, broker) in self.capacities.iter_mut().zip(brokers) {
            *known = if broker.down { 0.0 } else { broker.capacity };
        }
        self.series.push(if asked > 0.0 { most / (asked / capacity) } else { 1.0 });
    }

    pub(crate) fn finish(mut self, case: &Case) -> Outcome {
        self.close_window();
        let measured = &self.series[(case.from as usize).min(self.series.len())..];
        let last = &measured[measured.len().saturating_sub(LAST)..];
        let unsettled = measured.iter().rposition(|imbalance| *imbalance >= SETTLED);
        let settled = match unsettled {
            None => Some(0.0),
            Some(last) if last + LAST < measured.len() => Some((last + 1) as f64),
            Some(_) => None,
        };
        self.latencies.sort_unstable_by(f64::total_cmp);
        Outcome {
            max_over_mean: mean(last),
            average: mean(measured),
            connect_p99: quantile(&self.latencies, 0.99),
            timeouts: self.timeouts,
            peak_share: self.peak_share,
            settled,
            series: self.series,
        }
    }
}

/// The arithmetic mean; 0.0 of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The value below which a part of them lies, by the nearest rank; 0.0 of nothing. `sorted` is in rising order.
#[must_use]
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.5), 50.0);
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        assert_eq!(quantile(&[7.0], 0.01), 7.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
