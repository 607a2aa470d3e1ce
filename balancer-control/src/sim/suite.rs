//! Random cases: what nobody thought of when tuning.

use super::case::{BrokerSpec, Case, Clients, Event, Mix, Telemetry};
use super::catalogue::{PLAIN, TLS};
use super::random::Random;

/// Second from which on random cases are measured, and how long.
const FROM: f64 = 300.0;
const MEASURED: f64 = 600.0;

/// A random case. Cases of different seeds have nothing in common.
#[must_use]
pub fn random_case(seed: u64) -> Case {
    let mut random = Random::new(seed, 50);
    let brokers = brokers(&mut random);
    let n = brokers.len();
    let mixes = [Mix::LogNormal, Mix::Pareto, Mix::OneInAHundred];
    let period = random.between_ratios(1.0, 15.0);
    let mut case = Case {
        name: format!("R{seed}"),
        title: String::new(),
        clients: Clients {
            number: n as f64 * random.between_ratios(500.0, 4000.0),
            mix: mixes[random.below(mixes.len())],
            life: random.between_ratios(120.0, 3600.0),
            handshake: if random.chance(0.5) { TLS } else { PLAIN },
        },
        load: random.between(0.4, 0.75),
        cluster: if random.chance(0.5) { 0.3 } else { 0.0 },
        telemetry: Telemetry {
            period,
            delay: random.between(0.0, period / 2.0),
            noise: random.between(0.02, 0.12),
        },
        gateways: 1 + random.below(4),
        ramp: 120.0,
        from: FROM,
        until: FROM + MEASURED,
        events: Vec::new(),
        brokers,
    };
    let (event, title) = event(n, &mut random);
    case.events.extend(event.map(|event| (FROM, event)));
    case.title = title.to_owned();
    case
}

/// 3 to 24, half of the time all alike, and half of the time known to the configuration.
fn brokers(random: &mut Random) -> Vec<BrokerSpec> {
    let n = 3 + random.below(22);
    let (equal, known) = (random.chance(0.5), random.chance(0.5));
    let broker = |_| {
        let capacity = if equal { 1.0 } else { random.between_ratios(1.0, 4.0) };
        BrokerSpec { capacity, weight: if known { (capacity * 100.0) as u32 } else { 100 } }
    };
    (0..n).map(broker).collect()
}

fn event(brokers: usize, random: &mut Random) -> (Option<Event>, &'static str) {
    let broker = random.below(brokers);
    match random.below(4) {
        0 => (None, "no fault"),
        1 => (Some(Event::Restart { broker, down: random.between(5.0, 30.0) }), "restart"),
        2 => {
            let share = random.between(0.05, 0.5);
            (Some(Event::Reconnect { share, within: random.between(10.0, 60.0) }), "storm")
        }
        _ => (Some(Event::BrownOut { broker, left: random.between(0.4, 0.8) }), "brown-out"),
    }
}
