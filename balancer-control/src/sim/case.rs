//! What is simulated: brokers, clients, telemetry, and what goes wrong.

use super::random::Random;

/// Everything that a run depends on besides the policy and the seed.
#[derive(Clone, Debug)]
pub struct Case {
    /// Short and unique, such as `S1`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// The brokers.
    pub brokers: Vec<BrokerSpec>,
    /// The clients.
    pub clients: Clients,
    /// What is asked of all brokers over what they are capable of, once the clients are there, 0.0 to 1.0.
    pub load: f64,
    /// Part of that which no steering moves, 0.0 to 1.0, the same on every broker.
    pub cluster: f64,
    /// The telemetry.
    pub telemetry: Telemetry,
    /// Gateways that share the service.
    pub gateways: usize,
    /// Seconds over which the first clients come.
    pub ramp: f64,
    /// Second from which on a run is measured; what goes wrong does so from here on.
    pub from: f64,
    /// Second at which it ends.
    pub until: f64,
    /// What goes wrong, and when.
    pub events: Vec<(f64, Event)>,
}

/// One broker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrokerSpec {
    /// Cores' worth of work it does in a second.
    pub capacity: f64,
    /// The weight in the configuration.
    pub weight: u32,
}

/// The clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clients {
    /// How many are connected once all are there.
    pub number: f64,
    /// How unequal they are.
    pub mix: Mix,
    /// Mean seconds that one stays (exponential); infinite is for ever.
    pub life: f64,
    /// Processor time of one handshake at the broker, in core seconds.
    pub handshake: f64,
}

/// How unequal clients are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Log-normal, sigma 1: the usual spread of one kind of device.
    LogNormal,
    /// Pareto with exponent 1.3, cut off at a thousand times the least.
    Pareto,
    /// One in a hundred sends a hundred times as much as the others.
    OneInAHundred,
}

/// The telemetry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Telemetry {
    /// Seconds from one reading to the next.
    pub period: f64,
    /// Seconds until a reading arrives.
    pub delay: f64,
    /// Standard deviation of a reading of the processor, relative to it.
    pub noise: f64,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A broker process stops and starts again; its clients come back.
    Restart {
        /// Which one.
        broker: usize,
        /// Seconds until it is back.
        down: f64,
    },
    /// A broker loses part of its processor for good.
    BrownOut {
        /// Which one.
        broker: usize,
        /// What is left, 0.0 to 1.0.
        left: f64,
    },
    /// Telemetry of a broker ends for good.
    Silence {
        /// Which one.
        broker: usize,
    },
    /// Clients lose their connections and come back.
    Reconnect {
        /// How many of them, 0.0 to 1.0.
        share: f64,
        /// Seconds within which they are back.
        within: f64,
    },
}

/// Exponent of [`Mix::Pareto`], and where it is cut off, as a multiple of the least.
const PARETO: (f64, f64) = (1.3, 1000.0);

impl Mix {
    /// What a client asks for, relative to the mean of all.
    pub(crate) fn draw(self, random: &mut Random) -> f64 {
        match self {
            // The mean of a log-normal number of mu 0 and sigma 1 is the square root of e.
            Self::LogNormal => (random.normal() - 0.5).exp(),
            Self::Pareto => {
                let (exponent, most) = PARETO;
                let x = (1.0 - random.uniform()).powf(-1.0 / exponent).min(most);
                // The mean of the number that is cut off: the integral of its tail.
                x / (1.0 + (1.0 - most.powf(1.0 - exponent)) / (exponent - 1.0))
            }
            Self::OneInAHundred => {
                let x = if random.chance(0.01) { 100.0 } else { 1.0 };
                x / (0.99 + 0.01 * 100.0)
            }
        }
    }
}

impl Case {
    /// Sum of the capacities.
    pub(crate) fn capacity(&self) -> f64 {
        self.brokers.iter().map(|broker| broker.capacity).sum()
    }

    /// Work of a mean client, in cores.
    pub(crate) fn mean_work(&self) -> f64 {
        self.load * (1.0 - self.cluster) * self.capacity() / self.clients.number
    }

    /// Work of one broker that no steering moves, in cores.
    pub(crate) fn fixed(&self) -> f64 {
        self.load * self.cluster * self.capacity() / self.brokers.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_ask_for_1_on_average() {
        for (mix, tolerance) in [(Mix::LogNormal, 0.02), (Mix::Pareto, 0.10), (Mix::OneInAHundred, 0.05)] {
            let mut random = Random::new(3, 0);
            let mean = (0..400_000).map(|_| mix.draw(&mut random)).sum::<f64>() / 400_000.0;
            assert!((mean - 1.0).abs() < tolerance, "{mix:?}: {mean}");
        }
    }
}
