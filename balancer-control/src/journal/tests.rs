use balancer_common::abi::{BackendId, MAX_BACKENDS, Score, ScoreTable, ServiceId};

use super::*;
use crate::fixture::{at, down, hasty, model, probed, up};
use crate::{BackendSpec, Command, Controller, Input, Model, Policy, Sample, ServiceSpec};

fn known(policy: Policy, backends: u16) -> Input {
    model(hasty(policy, (0..backends).map(probed).collect()))
}

/// A controller that is observed as the agent does.
struct Bench {
    controller: Controller,
    journal: Journal,
}

impl Bench {
    fn new(policy: Policy, backends: u16) -> Self {
        let mut bench = Self { controller: Controller::new(), journal: Journal::default() };
        bench.controller.handle(known(policy, backends), at(0));
        for id in 0..backends {
            bench.controller.handle(up(id), at(0));
        }
        bench
    }

    fn look(&mut self, second: u64) -> Vec<Entry> {
        self.controller.tick(at(second));
        let (controller, now) = (&self.controller, at(second));
        self.journal.observe(&controller.outline(now), |id| controller.service_snapshot(id, now), now)
    }

    /// What is told but summaries, in short.
    fn told(&mut self, second: u64) -> Vec<String> {
        let entries = self.look(second).into_iter();
        entries.filter(|entry| !matches!(entry.event, Event::Summary(_))).map(|entry| short(&entry)).collect()
    }

    fn read(&mut self, id: u16, second: u64, utilisation: f64) {
        let sample = Sample { taken: at(second), utilisation: Some(utilisation), ..Sample::default() };
        self.controller.handle(Input::Sample { backend: BackendId(id), sample }, at(second));
    }
}

fn short(entry: &Entry) -> String {
    let who = entry.backend.as_deref().unwrap_or(&entry.service);
    let what = match &entry.event {
        Event::State { from, to, .. } => {
            let word = |state| format!("{state:?}").to_lowercase();
            format!("{} to {}", from.map_or_else(|| "nothing".to_owned(), word), word(*to))
        }
        Event::Began { word, .. } => format!("+{word}"),
        Event::Ended { word, held } => format!("-{word} after {} s", held.as_secs()),
        Event::Ring(change) => format!("ring, {} moved: {}", change.moved, change.why),
        Event::Renamed { from } => format!("is the name of {from}"),
        Event::Gone => "gone".to_owned(),
        Event::Summary(rows) => format!("summary of {}", rows.len()),
    };
    format!("{who} {what}")
}

#[test]
fn the_first_look_tells_everything_and_the_next_nothing() {
    let mut bench = Bench::new(Policy::Adaptive, 2);
    let told: Vec<String> = bench.look(0).iter().map(short).collect();
    let expected = [
        "b0 nothing to up",
        "b0 +no-telemetry",
        "b1 nothing to up",
        "b1 +no-telemetry",
        "mqtt +counting",
        "mqtt ring, 65536 moved: the first ring of the service",
        "mqtt summary of 2",
    ];
    assert_eq!(told, expected);
    assert_eq!(bench.look(1), []);
}

#[test]
fn states_and_conditions_come_and_go_with_their_reasons() {
    let mut bench = Bench::new(Policy::Adaptive, 3);
    bench.look(0);
    bench.read(0, 2, 0.5);
    assert_eq!(bench.told(2), ["b0 -no-telemetry after 2 s", "mqtt -counting after 2 s"]);
    assert_eq!(bench.told(15), ["b0 +stale", "mqtt +counting"]);
    bench.controller.handle(down(1, "no answer"), at(16));
    bench.controller.handle(Input::Drain { backend: BackendId(2), drain: true }, at(16));
    let entries = bench.look(16);
    let reasons: Vec<_> = entries
        .iter()
        .filter_map(
            |entry| if let Event::State { reason, .. } = &entry.event { Some(reason.as_str()) } else { None },
        )
        .collect();
    assert_eq!(reasons, ["failed probes in a row: 1, the last: no answer", "drained by the operator"]);
    bench.read(0, 20, 0.5);
    // Stale since second 14, when the limit of 12 s was passed.
    assert_eq!(bench.told(20), ["b0 -stale after 6 s", "mqtt -counting after 5 s"]);
}

#[test]
fn a_ring_tells_who_left_and_the_shares() {
    let mut bench = Bench::new(Policy::LeastConn, 4);
    bench.look(0);
    bench.controller.handle(down(1, "no answer"), at(1));
    bench.look(1);
    // It keeps its slots for a minute.
    let entries = bench.look(61);
    let change = entries
        .iter()
        .find_map(|entry| if let Event::Ring(change) = &entry.event { Some(change) } else { None });
    let change = change.unwrap_or_else(|| panic!("no ring in {entries:?}"));
    assert_eq!((change.why.as_str(), change.routine, change.slots), ("b1 left", false, 65_536));
    assert!(change.moved >= 65_536 / 4 && change.moved < 65_536 / 3, "{}", change.moved);
    let (name, before, after) = &change.shares[1];
    assert_eq!((name.as_str(), *after), ("b1", 0.0));
    assert!((before - 0.25).abs() < 0.001, "{before}");
}

#[test]
fn a_restart_that_moves_no_slot_says_so() {
    for policy in [Policy::Adaptive, Policy::Maglev, Policy::RoundRobin] {
        let mut before = Bench::new(policy, 3);
        let ring = before
            .controller
            .tick(at(0))
            .into_iter()
            .find_map(|command| if let Command::Ring { ring, .. } = command { Some(ring) } else { None });
        let ring = ring.expect("a first ring");
        let restart = |first: u16| {
            let mut bench = Bench::new(policy, 0);
            let scores = Box::new(ScoreTable([Score::default(); MAX_BACKENDS]));
            let rings = vec![(ServiceId(0), ring.clone())];
            let backends = (first..first + 3).map(probed).collect();
            bench.controller.handle(model(hasty(policy, backends)), at(0));
            bench.controller.handle(Input::Adopt { scores, rings }, at(0));
            (first..first + 3).for_each(|id| bench.controller.handle(up(id), at(0)));
            bench.told(0).into_iter().filter(|text| text.contains("ring")).collect::<Vec<_>>()
        };
        assert_eq!(restart(0), ["mqtt ring, 0 moved: taken over from an earlier agent"], "{policy:?}");
        // Slots of other backends alone are not this service's.
        assert_eq!(restart(7), ["mqtt ring, 65536 moved: the first ring of the service"], "{policy:?}");
    }
}

#[test]
fn rings_that_follow_telemetry_are_told_of_together() {
    let mut bench = Bench::new(Policy::WeightedCpu, 2);
    bench.look(0);
    let mut told = Vec::new();
    for second in 1..=30 {
        bench.read(0, second, if second % 2 == 0 { 0.2 } else { 0.8 });
        bench.read(1, second, 0.5);
        told.extend(bench.told(second).into_iter().filter(|text| text.contains("ring")));
    }
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn summaries_come_every_ten_seconds() {
    let mut bench = Bench::new(Policy::Adaptive, 2);
    let mut summaries = Vec::new();
    for second in 0..35 {
        bench.read(0, second, 0.25);
        for entry in bench.look(second) {
            if let Event::Summary(rows) = entry.event {
                summaries.push((second, rows));
            }
        }
    }
    let seconds: Vec<u64> = summaries.iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [0, 10, 20, 30]);
    let row = &summaries[3].1[0];
    assert_eq!((row.state, row.open, row.basis), (BackendState::Up, true, Basis::Level));
    assert_eq!((row.utilisation, row.sample_age), (Some(0.25), Some(Duration::ZERO)));
    assert_eq!(summaries[3].1[1].conditions, ["no-telemetry"]);
}

#[test]
fn what_is_removed_is_told_once() {
    let mut bench = Bench::new(Policy::Adaptive, 3);
    bench.look(0);
    bench.controller.handle(known(Policy::Adaptive, 2), at(1));
    let told = bench.told(1);
    assert_eq!(told[0], "b2 gone", "{told:?}");
    bench.controller.handle(Input::Model(Model::default()), at(2));
    assert_eq!(bench.told(2), ["mqtt gone"]);
    assert_eq!(bench.told(3), [] as [String; 0]);
}

#[test]
fn an_id_that_another_backend_has_by_now_is_not_taken_for_the_first() {
    let mut bench = Bench::new(Policy::Adaptive, 2);
    bench.look(0);
    let other = BackendSpec { name: "other".to_owned(), seed: 99, ..probed(1) };
    bench.controller.handle(model(hasty(Policy::Adaptive, vec![probed(0), other])), at(1));
    let told = bench.told(1);
    assert_eq!(told[0], "b1 gone", "{told:?}");
    assert!(told[1].starts_with("other nothing to "), "{told:?}");
}

#[test]
fn a_backend_that_gives_its_name_up_is_told_by_its_address_until_it_is_gone() {
    let mut bench = Bench::new(Policy::LeastConn, 2);
    bench.look(0);
    let address = "192.0.2.11:1883";
    let old = BackendSpec { name: address.to_owned(), probed: false, leaving: true, ..probed(1) };
    let new = || BackendSpec { name: "b1".to_owned(), ..probed(2) };
    bench.controller.handle(model(hasty(Policy::LeastConn, vec![probed(0), new(), old])), at(1));
    let expected = [
        "192.0.2.11:1883 is the name of b1",
        "b1 nothing to starting",
        "192.0.2.11:1883 nothing to draining",
        "192.0.2.11:1883 +leaving",
    ];
    let told = bench.told(1);
    assert_eq!(told[..4], expected, "{told:?}");
    assert!(told[4..].iter().all(|text| text.starts_with("mqtt ")), "{told:?}");
    bench.controller.handle(model(hasty(Policy::LeastConn, vec![probed(0), new()])), at(2));
    assert_eq!(bench.told(2)[0], "192.0.2.11:1883 gone");
}

#[test]
fn a_service_under_another_name_is_told_anew_but_its_ring() {
    let mut bench = Bench::new(Policy::LeastConn, 2);
    bench.look(0);
    let named = |name: &str, id: u16, backend: u16| {
        let backends = vec![probed(backend), probed(backend + 1)];
        let service = hasty(Policy::LeastConn, backends);
        ServiceSpec { id: ServiceId(id), name: name.to_owned(), ..service }
    };
    // Another service takes the name that has become free.
    let services = vec![named("mqtt", 1, 4), named("mqtt2", 0, 0)];
    bench.controller.handle(Input::Model(Model { services }), at(1));
    let told: Vec<String> =
        bench.look(1).iter().map(|entry| format!("{}: {}", entry.service, short(entry))).collect();
    assert_eq!(told[0], "mqtt2: mqtt2 is the name of mqtt");
    let (new, old): (Vec<&str>, Vec<&str>) =
        told[1..].iter().map(String::as_str).partition(|text| text.starts_with("mqtt: "));
    assert!(new.iter().any(|text| text.contains("the first ring")), "{new:?}");
    assert_eq!(old, ["mqtt2: b0 nothing to up", "mqtt2: b1 nothing to up", "mqtt2: mqtt2 summary of 2"]);
    bench.controller.handle(Input::Model(Model { services: vec![named("mqtt", 1, 4)] }), at(2));
    assert_eq!(bench.told(2), ["mqtt2 gone"]);
}
