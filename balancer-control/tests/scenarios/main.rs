//! The controller against a model of brokers, with figures.

use balancer_control::snapshot::{BackendState, Basis};
use balancer_control::{EjectionSpec, Input, Policy, Protection};

mod join;
mod plant;

use balancer_common::abi::BackendId;
use plant::{Plant, Setup};

/// Chance that a backend with share `p` of the ring is among `draws` candidates: what no score can exceed. A fourth
/// candidate is drawn only where that is at most three times the share.
fn bound(p: f64, draws: u8) -> f64 {
    let bound = 1.0 - (1.0 - p).powi(i32::from(draws));
    assert!(bound <= 3.0 * p, "{draws} draws: {bound:.3} of new flows at {p:.3} of the ring");
    bound
}

#[test]
fn unequal_brokers_end_equally_loaded_and_round_robin_does_not() {
    for seed in [1, 2, 3] {
        let adaptive = Plant::new(Setup { seed, ..Setup::unequal(Policy::Adaptive) });
        let imbalance = settled(adaptive);
        assert!(imbalance <= 1.10, "adaptive, seed {seed}: {imbalance:.3}");
    }
    let imbalance = settled(Plant::new(Setup::unequal(Policy::RoundRobin)));
    assert!(imbalance >= 1.4, "round robin: {imbalance:.3}");
}

/// New flows of each broker in some seconds.
fn opened_in(plant: &mut Plant, seconds: u64) -> Vec<u64> {
    let before: Vec<u64> = plant.brokers.iter().map(|broker| broker.opened).collect();
    plant.run(seconds, |_| {});
    plant.brokers.iter().zip(&before).map(|(broker, before)| broker.opened - before).collect()
}

/// Imbalance over the eleventh minute.
fn settled(mut plant: Plant) -> f64 {
    plant.run(600, |_| {});
    let imbalance = plant.imbalance(60);
    assert_eq!(plant.unserved, 0);
    imbalance
}

#[test]
fn every_policy_serves_everybody() {
    use Policy::{LeastConn, Maglev, Random, WeightedCpu};
    for policy in [LeastConn, WeightedCpu, Random, Maglev] {
        let mut plant = Plant::new(Setup::unequal(policy));
        plant.run(120, |_| {});
        assert_eq!(plant.unserved, 0, "{policy:?}");
        assert!(plant.connections().iter().all(|&live| live > 50), "{policy:?}: {:?}", plant.connections());
    }
}

#[test]
fn noise_rebuilds_no_ring_once_capacities_are_known() {
    let mut plant = Plant::new(Setup::unequal(Policy::Adaptive));
    plant.run(600, |_| {});
    let built = plant.rings_built;
    plant.run(600, |_| {});
    assert!(plant.rings_built - built <= 2, "{} rings in ten minutes", plant.rings_built - built);
}

#[test]
fn lost_telemetry_falls_back_to_counting() {
    let mut plant = Plant::new(Setup::unequal(Policy::Adaptive));
    plant.run(600, |_| {});
    plant.brokers[0].telemetry = false;
    plant.brokers[3].telemetry = false;
    plant.run(20, |_| {});
    assert_eq!(
        [0, 1, 2, 3].map(|i| plant.seen(i).basis),
        [Basis::Count, Basis::Level, Basis::Level, Basis::Count]
    );
    plant.run(100, |_| {});
    let imbalance = plant.imbalance(60);
    assert!(imbalance <= 1.15, "two of four silent for three minutes: {imbalance:.3}");
}

#[test]
fn without_any_telemetry_connections_follow_weights() {
    let mut plant =
        Plant::new(Setup { weights: vec![100, 100, 200, 400], ..Setup::unequal(Policy::Adaptive) });
    for broker in &mut plant.brokers {
        broker.telemetry = false;
    }
    plant.run(900, |_| {});
    let live = plant.connections();
    let total: u64 = live.iter().sum();
    for (live, share) in live.iter().zip([0.125, 0.125, 0.25, 0.5]) {
        let found = *live as f64 / total as f64;
        assert!((found / share - 1.0).abs() < 0.05, "{live} of {total}, {share}");
    }
    let imbalance = plant.imbalance(60);
    assert!(imbalance <= 1.15, "{imbalance:.3}");
}

#[test]
fn a_restarted_broker_is_filled_and_not_herded() {
    let mut plant = Plant::new(Setup::unequal(Policy::Adaptive));
    plant.run(600, |_| {});
    plant.kill(1);
    plant.run(20, |_| {});
    assert_eq!(plant.seen(1).state, BackendState::Down);
    plant.revive(1);
    while plant.seen(1).state != BackendState::Up {
        plant.run(2, |_| {});
    }
    let p = plant.seen(1).ring_share;
    let before: Vec<u64> = plant.brokers.iter().map(|broker| broker.opened).collect();
    plant.run(60, |_| {});
    let opened: Vec<u64> =
        plant.brokers.iter().zip(&before).map(|(broker, before)| broker.opened - before).collect();
    let total = opened.iter().sum::<u64>() as f64;
    let share = opened[1] as f64 / total;
    let bound = bound(p, plant.draws());
    let noise = 3.0 * (bound * (1.0 - bound) / total).sqrt();
    assert!(share <= bound + noise, "{share:.3} of {total} new flows at {p:.3} of the ring");
    assert!(share > p, "an empty broker is filled: {share:.3} at {p:.3}");
    plant.run(540, |_| {});
    let imbalance = plant.imbalance(60);
    assert!(imbalance <= 1.10, "ten minutes later: {imbalance:.3}");
}

#[test]
fn a_broker_that_lies_about_its_load_is_not_herded() {
    let mut plant = Plant::new(Setup { weights: vec![100; 4], ..Setup::unequal(Policy::Adaptive) });
    plant.run(300, |_| {});
    plant.brokers[0].claims = Some(0.0);
    let p = plant.seen(0).ring_share;
    let opened = opened_in(&mut plant, 60);
    let total = opened.iter().sum::<u64>() as f64;
    let share = opened[0] as f64 / total;
    let bound = bound(p, plant.draws());
    let noise = 3.0 * (bound * (1.0 - bound) / total).sqrt();
    assert!(share <= bound + noise, "{opened:?} at {p:.3}");
    assert!(share > 0.9 * bound - noise, "the bound is what held it: {opened:?} at {p:.3}");
}

/// What the delay compensation is for: between two readings hundreds of clients come, and nobody's utilisation shows it.
#[test]
fn a_crowd_that_comes_back_at_once_is_spread() {
    let weights = vec![100, 100, 200, 400];
    let mut plant =
        Plant::new(Setup { weights, stay: 2000.0, arrivals: 0.8, ..Setup::unequal(Policy::Adaptive) });
    plant.crowd(1000);
    plant.run(300, |_| {});
    plant.kill(3);
    plant.run(30, |_| {});
    let used: Vec<f64> = [0, 1, 2].map(|i| plant.brokers[i].utilisation).to_vec();
    let mean = used.iter().sum::<f64>() / 3.0;
    let worst = used.iter().copied().fold(0.0, f64::max) / mean;
    assert!(worst <= 1.10, "{used:.2?}");
}

/// A broker that refuses clients has room by its telemetry and by its counts, so that it draws all the more of them.
#[test]
fn a_broker_that_refuses_clients_while_its_probes_succeed_is_left_alone() {
    let refused = |ejection| {
        let protection = Protection { ejection, ..Protection::default() };
        let mut plant = Plant::new(Setup { protection, ..Setup::unequal(Policy::Adaptive) });
        plant.run(300, |_| {});
        plant.brokers[3].walled = true;
        plant.run(300, |_| {});
        let opened = opened_in(&mut plant, 1)[3];
        assert_eq!(opened, 0);
        let refused = plant.brokers[3].refused;
        plant.brokers[3].walled = false;
        // The longest ejection and a trial.
        plant.run(330, |_| {});
        assert!(opened_in(&mut plant, 60)[3] > 0, "it is taken back");
        refused
    };
    let (without, with) = (refused(None), refused(Some(EjectionSpec::default())));
    assert!(with * 20 < without, "{with} clients refused, {without} without ejection");
}

#[test]
fn a_drain_ends_by_itself_and_breaks_nothing() {
    let mut plant = Plant::new(Setup { stay: 30.0, ..Setup::unequal(Policy::Adaptive) });
    plant.run(120, |_| {});
    let opened = plant.brokers[3].opened;
    let live = plant.brokers[3].live;
    plant.tell(Input::Drain { backend: BackendId(3), drain: true });
    plant.run(2, |_| {});
    let slack = plant.brokers[3].opened - opened;
    plant.run(4, |plant| assert!(plant.brokers[3].live <= live + slack));
    assert!(plant.brokers[3].live > 0, "flows end when clients end them");
    let mut drained = false;
    plant.run(400, |plant| {
        assert_eq!(plant.brokers[3].opened, opened + slack, "no new flow");
        drained |= plant.seen(3).state == BackendState::Drained;
    });
    assert!(drained);
    assert_eq!((plant.brokers[3].live, plant.unserved), (0, 0));
}

#[test]
fn the_same_inputs_give_the_same_commands() {
    let run = || {
        let mut plant = Plant::new(Setup::unequal(Policy::Adaptive));
        plant.run(100, |_| {});
        let now = plant.now();
        (plant.connections(), plant.controller.resync(now))
    };
    assert!(run() == run());
}
