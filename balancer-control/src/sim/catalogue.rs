//! The named cases: one thing that goes wrong in each.

use super::case::{BrokerSpec, Case, Clients, Event, Mix, Telemetry};

/// Processor time of a handshake without and with TLS, in core seconds. A full TLS handshake costs a broker 13 to 25
/// times as much as a plain MQTT connect.
pub(crate) const PLAIN: f64 = 0.000_25;
pub(crate) const TLS: f64 = 0.004;

/// Seconds of a run before it is measured, where something goes wrong in it.
const QUIET: f64 = 300.0;

/// Capacities that the configuration says nothing of.
const UNEQUAL: [f64; 8] = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0];

/// The figure is taken ten minutes after the last event.
const AFTER: f64 = 600.0;

/// All named cases, in the order of the tables.
#[must_use]
pub fn catalogue() -> Vec<Case> {
    vec![
        case("S1", "CPUs of 1:4 that the configuration says nothing of", &UNEQUAL),
        Case {
            brokers: UNEQUAL
                .map(|capacity| BrokerSpec { capacity, weight: (400.0 / capacity) as u32 })
                .into(),
            ..case("SD", "CPUs of 1:4, configured the wrong way round", &UNEQUAL)
        },
        mixed(Mix::Pareto, case("S2", "heavy-tailed clients (Pareto 1.3)", &[1.0; 8])),
        mixed(Mix::OneInAHundred, case("S2h", "one client in a hundred sends 100 times as much", &[1.0; 8])),
        with_events(vec![restart(0.0, 0)], case("S3", "one broker restarts", &[1.0; 8])),
        with_events(
            (0..8).map(|i| restart(30.0 * i as f64, i)).collect(),
            case("S3b", "all eight brokers restart in turn", &[1.0; 8]),
        ),
        rolling_without_churn(),
        storm(1.0, case("S4", "hard storm: everybody reconnects within 10 s, TLS, CPUs 1:4", &UNEQUAL)),
        storm(0.25, case("SA", "mild storm: one in four reconnects within 10 s, TLS, CPUs 1:4", &UNEQUAL)),
        with_events(
            vec![(0.0, Event::BrownOut { broker: 0, left: 0.4 })],
            case("S5", "one broker loses 60 % of its CPU", &[1.0; 8]),
        ),
        with_events(
            vec![
                (0.0, Event::Silence { broker: 0 }),
                (0.0, Event::Silence { broker: 1 }),
                restart(20.0, 0),
                restart(20.0, 1),
            ],
            case("S6", "telemetry of two brokers is lost, then they restart", &[1.0; 8]),
        ),
        slow_telemetry(),
        Case {
            gateways: 4,
            ..mixed(Mix::Pareto, case("S8", "four gateways, heavy-tailed clients, CPUs 1:4", &UNEQUAL))
        },
        many_brokers(),
        cluster_work(case("SE", "CPUs 1:2, 30 % of the work cannot be steered", &[1.0; 8])),
        with_events(
            vec![restart(0.0, 0)],
            cluster_work(case("SF", "the same, and one broker restarts", &[1.0; 8])),
        ),
    ]
}

/// A case in which nothing goes wrong: 60 % load, 40,000 clients that stay ten minutes.
fn case(name: &str, title: &str, capacities: &[f64]) -> Case {
    Case {
        name: name.to_owned(),
        title: title.to_owned(),
        brokers: capacities.iter().map(|&capacity| BrokerSpec { capacity, weight: 100 }).collect(),
        clients: Clients { number: 40_000.0, mix: Mix::LogNormal, life: 600.0, handshake: PLAIN },
        load: 0.6,
        cluster: 0.0,
        telemetry: Telemetry { period: 2.0, delay: 0.5, noise: 0.05 },
        gateways: 1,
        ramp: 120.0,
        from: 120.0,
        until: 120.0 + AFTER,
        events: Vec::new(),
    }
}

fn mixed(mix: Mix, case: Case) -> Case {
    Case { clients: Clients { mix, ..case.clients }, ..case }
}

/// Events by the second after the quiet beginning.
fn with_events(events: Vec<(f64, Event)>, case: Case) -> Case {
    let last = events.iter().map(|(at, _)| *at).fold(0.0, f64::max);
    let events = events.into_iter().map(|(at, event)| (QUIET + at, event)).collect();
    Case { events, from: QUIET, until: QUIET + last + AFTER, ..case }
}

const fn restart(at: f64, broker: usize) -> (f64, Event) {
    (at, Event::Restart { broker, down: 10.0 })
}

fn storm(share: f64, case: Case) -> Case {
    let clients = Clients { handshake: TLS, ..case.clients };
    with_events(vec![(0.0, Event::Reconnect { share, within: 10.0 })], Case { clients, ..case })
}

fn rolling_without_churn() -> Case {
    let case = case("SB", "three brokers restart in turn, clients stay for ever, TLS", &[1.0; 3]);
    let clients = Clients { number: 6000.0, life: f64::INFINITY, handshake: TLS, ..case.clients };
    let case = Case { load: 0.4, ..case };
    with_events((0..3).map(|i| restart(120.0 * i as f64, i)).collect(), Case { clients, ..case })
}

fn slow_telemetry() -> Case {
    let case = case("S7", "readings every 10 s, 5 s late, clients stay 2 min, CPUs 1:4", &UNEQUAL);
    let clients = Clients { life: 120.0, ..case.clients };
    let telemetry = Telemetry { period: 10.0, delay: 5.0, ..case.telemetry };
    Case { clients, telemetry, ..case }
}

fn many_brokers() -> Case {
    let capacities: Vec<f64> = UNEQUAL.iter().cycle().take(64).copied().collect();
    let case = case("S9", "64 brokers of 1:4, four gateways, heavy-tailed clients", &capacities);
    let clients = Clients { number: 128_000.0, ..case.clients };
    mixed(Mix::Pareto, Case { clients, gateways: 4, ..case })
}

fn cluster_work(case: Case) -> Case {
    let brokers = (0..8).map(|i| BrokerSpec { capacity: if i < 4 { 1.0 } else { 2.0 }, weight: 100 });
    Case { brokers: brokers.collect(), cluster: 0.3, ..case }
}
