//! Where new flows go when the CPU of brokers is unequally used.

use std::time::Duration;

use balancer_tests::{
    agent::Agent,
    broker::Broker,
    lab::{Lab, LabOptions},
    load::{Load, wire::Group},
    plan::{HealthPlan, Plan},
    wait::until_ok,
};
use balancer_userspace::api::wire::{Backend, BackendState, Basis, Status};

const SERVICE: &str = "mqtt";
const LOADED: &str = "broker0";
/// Cores of the brokers; the first one is loaded.
const CORES: [f64; 3] = [0.10, 0.20, 0.20];
/// Together they use most of a tenth of a core, and on a slow machine all of it.
const PUBLISHERS: u32 = 150;
const NEWCOMERS: u32 = 90;
const PATIENCE: Duration = Duration::from_secs(60);

/// Adaptive, by the CPU of each broker's own control group. The kernel answers probes, however busy the broker.
fn plan(lab: &Lab, brokers: &[Broker<'_>]) -> Plan {
    let mut plan = Plan::tcp(lab, "adaptive");
    let service = &mut plan.service[0];
    SERVICE.clone_into(&mut service.name);
    service.preset = Some("mosquitto");
    service.health = HealthPlan { kind: Some("tcp"), ..HealthPlan::default() };
    service.read_groups(brokers, "500ms");
    plan
}

/// Fails while the loaded broker is not known to be the fuller one by far.
fn check_loaded(status: &Status) -> anyhow::Result<()> {
    let seen = |b: &Backend| {
        format!("{}: score {:.3}, utilisation {:?}, {:?}", b.name, b.score, b.utilisation, b.basis)
    };
    let (loaded, others): (Vec<_>, Vec<_>) = status.backends.iter().partition(|b| b.name == LOADED);
    let highest = others.iter().map(|backend| backend.score).fold(0.0, f64::max);
    let all_told = status.backends.iter().all(|backend| backend.basis == Basis::Level);
    anyhow::ensure!(
        all_told && loaded[0].utilisation > Some(0.2) && loaded[0].score > 3.0 * highest,
        "{:?}",
        status.backends.iter().map(seen).collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn new_flows_avoid_the_broker_whose_cpu_is_used() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let brokers: Vec<_> =
        CORES.iter().enumerate().map(|(i, cores)| Broker::start(&lab, i, Some(*cores)).unwrap()).collect();
    let agent = Agent::start(&lab, &plan(&lab, &brokers)).unwrap();

    // Publishers that come to the broker by another way than the VIP: its connections there say nothing of them.
    let mut publishers = Load::start(&lab.clients[0], lab.brokers[0].socket4()).unwrap();
    let group = |name: &str, clients, interval_ms| {
        let name = name.to_owned();
        Group { name, clients, per_second: 150, interval_ms, payload: 256 }
    };
    publishers.add(group("publishers", PUBLISHERS, 50), PATIENCE).unwrap();
    until_ok("telemetry to show the load", PATIENCE, || check_loaded(&agent.control.status()?)).unwrap();

    let mut load = Load::start(&lab.clients[0], Lab::VIP4).unwrap();
    load.add(Group { per_second: 30, ..group("newcomers", NEWCOMERS, 2_000) }, PATIENCE).unwrap();
    let records = load.records();
    let tally = records.tally("newcomers");
    let loaded = agent.control.backend(SERVICE, LOADED).unwrap();
    let share = tally.get(LOADED).copied().unwrap_or(0) as f64 / f64::from(NEWCOMERS);
    println!("{tally:?}; {LOADED} has {share:.2} of new flows and {:.2} of the ring", loaded.ring_share);
    assert_eq!(loaded.state, BackendState::Up, "it must have been avoided, and not been unavailable");
    assert!(loaded.ring_share > 0.1, "the ring has {:.3} for it", loaded.ring_share);
    assert!(
        share < loaded.ring_share / 2.0,
        "{tally:?}, with a share of the ring of {:.3}",
        loaded.ring_share
    );
    for other in ["broker1", "broker2"] {
        assert!(tally.get(other).is_some_and(|n| *n > 0), "{tally:?}");
    }
    assert_eq!(records.broken, []);
    assert!(publishers.totals().received > 0, "the publishers did not publish");
}
