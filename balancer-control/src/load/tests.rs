use super::*;
use crate::Counts;
use crate::fixture::at;
use crate::history::alone::Alone;

const STALE: Duration = Duration::from_secs(12);

/// One backend, read every two seconds.
#[derive(Default)]
struct Bench {
    load: Load,
    counted: Alone,
    second: u64,
    opened: u64,
    /// What a connection is taken to cost.
    cost: f64,
}

impl Bench {
    /// Two seconds later there are `live` connections, `opened` more were opened, and this is the reading.
    fn read(&mut self, live: u64, opened: u64, sample: Sample) {
        self.second += 2;
        self.opened += opened;
        self.counted.record(Counts { live, opened: self.opened, ..Counts::default() }, at(self.second));
        self.load.offer(&Sample { taken: at(self.second), ..sample });
        self.load.settle(self.counted.history(), 1, self.cost, STALE, at(self.second));
    }

    fn level(&self) -> Option<Level> {
        self.load.level(STALE, at(self.second))
    }
}

fn utilisation(utilisation: f64) -> Sample {
    Sample { utilisation: Some(utilisation), ..Sample::default() }
}

#[test]
fn the_first_reading_counts_as_it_is() {
    let mut bench = Bench::default();
    assert_eq!(bench.level(), None);
    bench.read(100, 0, utilisation(0.4));
    assert_eq!(bench.level(), Some(Level { utilisation: 0.4, own: 100.0 }));
}

/// The predictor's whole point: when utilisation follows connections exactly, the filtered pair predicts it exactly,
/// however fast connections change.
#[test]
fn what_the_filter_has_not_seen_the_count_adds() {
    let cost = 0.002;
    let mut bench = Bench { cost, ..Bench::default() };
    bench.read(100, 0, utilisation(100.0 * cost));
    let mut before = 100.0;
    for step in 1..=40_u64 {
        let live = 100 + 4 * step;
        // A source reports the mean since its last reading.
        let mean = (before + live as f64) / 2.0;
        bench.read(live, 4, utilisation(mean * cost));
        let Level { utilisation, own } = bench.level().unwrap();
        let predicted = utilisation + (live as f64 - own) * cost;
        assert!((predicted - live as f64 * cost).abs() < 1e-9, "step {step}: {predicted}");
        assert!(own < live as f64, "the filter lags behind");
        before = live as f64;
    }
}

/// Twenty clients that cost ten times what clients cost so far: a slow average alone would take 20 s for most of it.
#[test]
fn heavier_clients_are_noticed_within_a_few_readings() {
    let cost = 0.002;
    let mut bench = Bench { cost, ..Bench::default() };
    for _ in 0..20 {
        bench.read(100, 0, utilisation(0.2));
    }
    let noticed = |bench: &mut Bench| {
        bench.read(120, 0, utilisation(0.2 + 20.0 * 10.0 * cost));
        let Level { utilisation, own } = bench.level().unwrap();
        utilisation + (120.0 - own) * cost
    };
    let first = noticed(&mut bench);
    assert!(first < 0.3, "one reading may be a mistake: {first:.3}");
    let third = [(); 3].map(|()| noticed(&mut bench))[2];
    assert!(third > 0.5, "of 0.6: {third:.3}");
}

#[test]
fn noise_is_averaged_and_not_followed() {
    let mut bench = Bench::default();
    for step in 0..300_u64 {
        // Alternating, and now and then twice on the same side.
        let off = if (step * 7 / 5).is_multiple_of(2) { 0.04 } else { -0.04 };
        bench.read(100, 0, utilisation(0.4 + off));
        let level = bench.level().unwrap().utilisation;
        assert!(step < 60 || (level - 0.4).abs() < 0.02, "step {step}: {level:.3}");
    }
}

/// Connects cost more than what comes after them, and the very first reading has them.
#[test]
fn the_first_readings_count_alike() {
    let mut bench = Bench::default();
    for reading in [0.10, 0.02, 0.02, 0.02] {
        bench.read(100, 0, utilisation(reading));
    }
    let level = bench.level().unwrap().utilisation;
    assert!((level - 0.04).abs() < 0.005, "{level:.3}");
}

#[test]
fn a_storm_freezes_the_level_and_is_believed_after_a_minute() {
    let mut bench = Bench::default();
    for _ in 0..60 {
        bench.read(100, 2, utilisation(0.3));
    }
    let mut believed = bench.level().unwrap();
    let calm = believed.utilisation;
    let mut frozen = 0;
    for step in 1..=40_u64 {
        bench.read(100 + 100 * step, 100, utilisation(0.85));
        if bench.load.is_frozen() {
            assert_eq!(bench.level(), Some(believed), "step {step}");
            frozen += 1;
        } else {
            assert_eq!(step, 31, "one reading a minute is believed");
            believed = bench.level().unwrap();
            assert!(believed.utilisation > calm);
        }
    }
    assert_eq!(frozen, 39);
}

#[test]
fn the_usual_rate_of_connects_freezes_nothing() {
    let mut bench = Bench::default();
    for step in 0..300 {
        bench.read(1000, 16, utilisation(0.3));
        assert!(step < 100 || !bench.load.is_frozen(), "8 a second are usual after {step} readings");
    }
}

#[test]
fn stale_readings_are_not_used_and_a_new_one_starts_afresh() {
    let mut bench = Bench::default();
    bench.read(100, 0, utilisation(0.2));
    bench.second += 12;
    assert!(bench.level().is_some());
    bench.second += 2;
    assert_eq!(bench.level(), None);
    bench.read(500, 0, utilisation(0.6));
    assert_eq!(bench.level(), Some(Level { utilisation: 0.6, own: 500.0 }));
}

#[test]
fn a_saturated_level_is_not_one() {
    let mut bench = Bench::default();
    bench.read(100, 0, utilisation(0.95));
    assert_eq!(bench.level(), None);
    assert!(bench.load.is_saturated(STALE, at(bench.second)));
    bench.second += 20;
    assert!(!bench.load.is_saturated(STALE, at(bench.second)), "a stale level is not known to be saturated");
}

#[test]
fn capacity_is_messages_over_utilisation() {
    let mut bench = Bench::default();
    let mut messages = 0;
    for _ in 0..60 {
        messages += 2000;
        bench.read(100, 0, Sample { messages: Some(messages), ..utilisation(0.25) });
    }
    let work = bench.load.work();
    assert!((work.messages / work.utilisation - 4000.0).abs() < 1.0, "{work:?}");
    let rate = bench.load.rate(STALE, at(bench.second)).unwrap();
    assert!((rate.messages - 1000.0).abs() < 1e-6 && (rate.connections - 100.0).abs() < 1e-6, "{rate:?}");
}

#[test]
fn idle_and_full_readings_teach_no_capacity() {
    let mut bench = Bench::default();
    for (step, used) in [0.0, 0.04, 0.96, 1.0].into_iter().enumerate() {
        bench.read(100, 0, Sample { messages: Some(1000 * step as u64), ..utilisation(used) });
    }
    assert_eq!(bench.load.work(), Work::default());
}

#[test]
fn a_message_counter_that_goes_back_is_a_restart() {
    let mut bench = Bench::default();
    for messages in [1_000_000, 1_002_000, 1_004_000] {
        bench.read(500, 0, Sample { messages: Some(messages), ..utilisation(0.5) });
    }
    let learnt = bench.load.work();
    bench.read(3, 0, Sample { messages: Some(10), ..utilisation(0.02) });
    assert_eq!(bench.level(), Some(Level { utilisation: 0.02, own: 3.0 }), "the old level is gone");
    assert_eq!(bench.load.rate(STALE, at(bench.second)), None);
    assert_eq!(bench.load.work(), learnt, "what it is capable of stays");
}

#[test]
fn the_brokers_own_count_is_kept_beside_ours() {
    let mut bench = Bench::default();
    bench.read(40, 0, Sample { connections: Some(70), ..Sample::default() });
    let population = bench.load.population(STALE, at(bench.second));
    assert_eq!(population, Some(Population { connections: 70.0, own: 40.0 }));
    assert_eq!(bench.level(), None, "connections are no utilisation");
}

#[test]
fn after_three_minutes_of_silence_everything_is_forgotten() {
    let mut bench = Bench::default();
    for step in 0..10 {
        bench.read(100, 0, Sample { messages: Some(1000 * step), ..utilisation(0.25) });
    }
    bench.load.settle(bench.counted.history(), 1, 0.0, STALE, at(bench.second + 180));
    assert_ne!(bench.load.work(), Work::default());
    bench.load.settle(bench.counted.history(), 1, 0.0, STALE, at(bench.second + 181));
    assert_eq!(bench.load.work(), Work::default());
}

#[test]
fn readings_that_nobody_settles_are_bounded() {
    let mut load = Load::default();
    for second in 0..1000 {
        load.offer(&Sample { taken: at(second), ..utilisation(0.5) });
    }
    assert_eq!(load.pending.len(), PENDING);
}

/// The first clients of a service come faster than any later ones, and are no reason to learn nothing.
#[test]
fn a_service_that_fills_is_no_storm() {
    let mut bench = Bench::default();
    for step in 1..=40_u64 {
        bench.read(80 * step, 80, utilisation(0.001 * step as f64));
        assert!(!bench.load.is_frozen(), "step {step}");
    }
    bench.read(3200, 2, utilisation(0.04));
    bench.read(4000, 800, utilisation(0.5));
    assert!(bench.load.is_frozen(), "ten times as fast is one");
}
