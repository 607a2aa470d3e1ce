//! Storms of clients against brokers of which some are sick or full: with each protection, and without it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::time::Duration;

use balancer_tests::{
    agent::Agent,
    broker::{self, Broker},
    lab::{Host, Lab, LabOptions},
    plan::{EjectionPlan, Plan},
    storm::{Outcome, Storm},
    tcp::EchoServer,
    wait::{PATIENCE, until},
};
use balancer_userspace::api::wire::BackendState;

/// What probes ask, instead of the broker: a health port of its own is where probes and clients can disagree.
const PROBED: u16 = 1884;

const STORM: Storm = Storm { clients: 5000, per_second: 500, patience: Duration::from_secs(10) };
/// All of them within two seconds.
const CROWD: Storm = Storm { per_second: 2500, ..STORM };

fn brokers(lab: &Lab) -> Vec<Broker<'_>> {
    (0..lab.brokers.len()).map(|index| Broker::start(lab, index, None).unwrap()).collect()
}

fn health_ports(hosts: &[Host]) -> Vec<EchoServer> {
    hosts.iter().map(|host| EchoServer::start(&host.netns, PROBED, &host.name).unwrap()).collect()
}

/// Every broker probed on its health port, load known from counts alone.
fn plan(lab: &Lab) -> Plan {
    let mut plan = Plan::tcp(lab, "adaptive");
    let service = &mut plan.service[0];
    service.name = "mqtt".to_owned();
    (service.health.kind, service.health.port) = (Some("tcp"), Some(PROBED));
    plan
}

fn without_ejection(mut plan: Plan) -> Plan {
    plan.service[0].ejection = Some(EjectionPlan { enabled: false });
    plan
}

fn storm(lab: &Lab) -> Outcome {
    let (_raging, outcome) = STORM.rage(&lab.clients[0], Lab::VIP4).unwrap();
    outcome
}

fn live(agent: &Agent<'_>) -> Vec<u64> {
    agent.control.status().unwrap().backends.iter().map(|backend| backend.live).collect()
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_a_broker_that_refuses_is_ejected() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let mut brokers = brokers(&lab);
    let _ports = health_ports(&lab.brokers);
    brokers[0].kill().unwrap();
    let without = {
        let agent = Agent::start(&lab, &without_ejection(plan(&lab))).unwrap();
        let outcome = storm(&lab);
        assert_eq!(agent.control.backend("mqtt", "broker0").unwrap().state, BackendState::Up);
        outcome
    };
    let agent = Agent::start(&lab, &plan(&lab)).unwrap();
    let raging = STORM.begin(&lab.clients[0], Lab::VIP4).unwrap();
    agent.control.wait_state("mqtt", "broker0", BackendState::Ejected).unwrap();
    let with = raging.wait().unwrap();
    eprintln!("a broker that refuses, without ejection: {without}");
    eprintln!("a broker that refuses, with ejection: {with}");
    assert!(without.refused > 1000, "{without}");
    assert!(with.failed() * 5 < without.failed(), "{with}");
    let broker = agent.control.backend("mqtt", "broker0").unwrap();
    assert!(broker.ejections >= 1 && broker.refused > 0, "{broker:?}");
    // It comes back on trial, and then for good.
    brokers[0].start_again().unwrap();
    agent.control.wait_state("mqtt", "broker0", BackendState::Up).unwrap();
    let before = agent.control.backend("mqtt", "broker0").unwrap().opened;
    let again = storm(&lab);
    assert_eq!(again.failed(), 0, "{again}");
    assert!(agent.control.backend("mqtt", "broker0").unwrap().opened > before + 500);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_a_host_that_drops_syns_is_ejected_and_clients_that_wait_go_elsewhere() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _brokers = brokers(&lab);
    let _ports = health_ports(&lab.brokers);
    // The host answers the gateway's probes, and what it sends to clients is lost.
    let clients = "198.51.100.0/24";
    lab.brokers[0].netns.ip(&[format!("route add blackhole {clients}")]).unwrap();
    let without = {
        let _agent = Agent::start(&lab, &without_ejection(plan(&lab))).unwrap();
        storm(&lab)
    };
    let agent = Agent::start(&lab, &plan(&lab)).unwrap();
    let with = storm(&lab);
    eprintln!("a host that drops SYNs, without ejection: {without}");
    eprintln!("a host that drops SYNs, with ejection: {with}");
    assert!(without.timed_out > 1000, "{without}");
    assert!(with.failed() * 20 < without.failed(), "{with}");
    let broker = agent.control.backend("mqtt", "broker0").unwrap();
    assert!(broker.ejections >= 1 && broker.refused == 0, "{broker:?}");
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_a_panic_spares_the_last_broker() {
    /// Of a core. Enough for a quarter of the storm, and not for all of it.
    const CORES: f64 = 0.01;
    let lab = Lab::new(LabOptions { brokers: 4, clients: 1 }).unwrap();
    let _brokers: Vec<_> = (0..4).map(|index| Broker::start(&lab, index, Some(CORES)).unwrap()).collect();
    // Probes of three of them are wrong.
    let _port = health_ports(&lab.brokers[3..]);
    let mut off = plan(&lab);
    off.service[0].panic = Some("off");
    let (without, crowded) = {
        let agent = Agent::start(&lab, &off).unwrap();
        agent.control.wait_state("mqtt", "broker0", BackendState::Down).unwrap();
        let (_raging, outcome) = CROWD.rage(&lab.clients[0], Lab::VIP4).unwrap();
        (outcome, live(&agent))
    };
    let agent = Agent::start(&lab, &plan(&lab)).unwrap();
    let panics = || agent.control.status().unwrap().services[0].panic;
    until("the service to panic", PATIENCE, panics).unwrap();
    let (raging, with) = CROWD.rage(&lab.clients[0], Lab::VIP4).unwrap();
    let spread = live(&agent);
    eprintln!("three of four called down, panic = \"off\": {without}, spread {crowded:?}");
    eprintln!("three of four called down, panic = \"50%\": {with}, spread {spread:?}");
    assert!(without.failed() > 500 && with.failed() * 5 < without.failed(), "{without}; {with}");
    assert!(spread[..3].iter().all(|live| *live > 500), "{spread:?}");
    drop(raging);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_the_next_group_takes_over_in_a_storm_and_keeps_what_it_took() {
    let lab = Lab::new(LabOptions { brokers: 4, clients: 1 }).unwrap();
    let mut brokers = brokers(&lab);
    let mut without_groups = Plan::tcp(&lab, "adaptive");
    without_groups.service[0].name = "mqtt".to_owned();
    without_groups.service[0].backend.truncate(2);
    let mut groups = Plan::tcp(&lab, "adaptive");
    groups.service[0].name = "mqtt".to_owned();
    for backend in &mut groups.service[0].backend[2..] {
        backend.priority = Some(1);
    }
    let mut outcomes = Vec::new();
    for plan in [&without_groups, &groups] {
        let agent = Agent::start(&lab, plan).unwrap();
        let raging = STORM.begin(&lab.clients[0], Lab::VIP4).unwrap();
        until("the storm to begin", PATIENCE, || raging.so_far().connected > 1000).unwrap();
        let before = live(&agent);
        assert!(before[2..].iter().all(|live| *live == 0), "the second group waits: {before:?}");
        for broker in &mut brokers[..2] {
            broker.kill().unwrap();
        }
        let outcome = raging.wait().unwrap();
        for broker in &mut brokers[..2] {
            broker.start_again().unwrap();
        }
        if plan.service[0].backend.len() == 4 {
            let taken = live(&agent)[2..].to_vec();
            until("the first group to be back", PATIENCE, || {
                agent.control.status().unwrap().services[0].open_priority == 0
            })
            .unwrap();
            let again = storm(&lab);
            assert_eq!(
                (again.failed(), live(&agent)[2..].to_vec()),
                (0, taken),
                "who waits again keeps its flows"
            );
        }
        outcomes.push(outcome);
    }
    eprintln!("both brokers die, without a second group: {}", outcomes[0]);
    eprintln!("both brokers die, with a second group: {}", outcomes[1]);
    assert!(outcomes[0].failed() > 1000, "{}", outcomes[0]);
    assert!(outcomes[1].failed() * 5 < outcomes[0].failed(), "{}", outcomes[1]);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_a_broker_short_of_descriptors_is_closed_before_its_clients_suffer() {
    /// Below its share of the storm.
    const DESCRIPTORS: u32 = 1200;
    let lab = Lab::new(LabOptions::default()).unwrap();
    let brokers = brokers(&lab);
    brokers[0].limit_descriptors(DESCRIPTORS).unwrap();
    let _ports = health_ports(&lab.brokers);
    let without = {
        let agent = Agent::start(&lab, &plan(&lab)).unwrap();
        let outcome = storm(&lab);
        assert_eq!(agent.control.backend("mqtt", "broker0").unwrap().state, BackendState::Up);
        outcome
    };
    let mut read = plan(&lab);
    read.service[0].read_groups(&brokers, "100ms");
    let agent = Agent::start(&lab, &read).unwrap();
    agent.control.wait_state("mqtt", "broker0", BackendState::Up).unwrap();
    let (_raging, with) = STORM.rage(&lab.clients[0], Lab::VIP4).unwrap();
    let broker = agent.control.backend("mqtt", "broker0").unwrap();
    eprintln!("one has {DESCRIPTORS} descriptors, not read: {without}");
    eprintln!("one has {DESCRIPTORS} descriptors, read: {with}; {} live, {}", broker.live, broker.reason);
    assert!(without.refused > 500, "{without}");
    assert!(with.failed() * 20 < without.failed(), "{with}");
    assert_eq!(broker.state, BackendState::Exhausted, "{broker:?}");
    assert!(broker.reason.contains("descriptors") && broker.live > u64::from(DESCRIPTORS) / 2, "{broker:?}");
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_a_cap_keeps_brokers_from_refusing_who_is_over_their_own() {
    /// What brokers take, by their own configuration.
    const MOST: [Option<u32>; 3] = [Some(800), Some(1200), None];
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _brokers: Vec<_> = (MOST.iter().enumerate())
        .map(|(index, &clients)| {
            let options = broker::Options { clients, ..broker::Options::default() };
            Broker::start_with(&lab, index, options).unwrap()
        })
        .collect();
    let _ports = health_ports(&lab.brokers);
    let without = {
        let _agent = Agent::start(&lab, &plan(&lab)).unwrap();
        CROWD.rage(&lab.clients[0], Lab::VIP4).unwrap().1
    };
    let mut capped = plan(&lab);
    for (backend, most) in capped.service[0].backend.iter_mut().zip(MOST) {
        backend.max_connections = most;
    }
    let agent = Agent::start(&lab, &capped).unwrap();
    let (_raging, with) = CROWD.rage(&lab.clients[0], Lab::VIP4).unwrap();
    let spread = live(&agent);
    eprintln!("brokers that take {MOST:?}, no caps: {without}");
    eprintln!("brokers that take {MOST:?}, capped there: {with}, spread {spread:?}");
    assert!(without.refused > 1000, "{without}");
    assert!(with.failed() * 20 < without.failed(), "{with}");
    assert!(
        spread.iter().zip(MOST).all(|(live, most)| most.is_none_or(|most| *live <= u64::from(most))),
        "{spread:?}"
    );
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_who_is_over_budget_waits_or_is_told_at_once() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let _broker = brokers(&lab);
    let _port = health_ports(&lab.brokers);
    let [dropped, refused] = ["drop", "refuse"].map(|word| {
        let mut plan = plan(&lab);
        let service = &mut plan.service[0];
        (service.max_connection_rate, service.ramp) = (Some("250/s"), Some("0s"));
        service.over_budget = Some(word);
        let _agent = Agent::start(&lab, &plan).unwrap();
        let outcome = CROWD.rage(&lab.clients[0], Lab::VIP4).unwrap().1;
        eprintln!("250 of 2500 a second are admitted, over_budget = {word:?}: {outcome}");
        outcome
    });
    assert!(dropped.refused == 0 && dropped.timed_out > 500, "{dropped}");
    assert!(refused.refused > 2000 && refused.timed_out == 0, "{refused}");
    assert!(refused.connected > 200 && dropped.connected > 2 * refused.connected, "{dropped}; {refused}");
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_without_its_agent_the_program_spreads_a_storm_by_its_counts() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _brokers = brokers(&lab);
    let _ports = health_ports(&lab.brokers);
    let mut agent = Agent::start(&lab, &plan(&lab)).unwrap();
    // Two have a thousand flows each and the third has none when the agent dies.
    agent.control.run(&["backend", "drain", "mqtt/broker0"]).unwrap();
    let first = Storm { clients: 2000, ..STORM };
    let (_first, outcome) = first.rage(&lab.clients[0], Lab::VIP4).unwrap();
    assert_eq!(outcome.failed(), 0, "{outcome}");
    agent.control.run(&["backend", "undrain", "mqtt/broker0"]).unwrap();
    agent.control.wait_state("mqtt", "broker0", BackendState::Up).unwrap();
    let before = live(&agent);
    assert!(before[0] < 50 && before[1] > 800 && before[2] > 800, "{before:?}");
    agent.kill().unwrap();
    let (_second, outcome) = STORM.rage(&lab.clients[0], Lab::VIP4).unwrap();
    assert_eq!(outcome.failed(), 0, "{outcome}");
    agent.start_again().unwrap();
    let after = live(&agent);
    eprintln!("agent killed at {before:?}, 5000 clients later: {after:?}");
    assert_eq!(after.iter().sum::<u64>(), 7000);
    let mean = 7000.0 / 3.0;
    assert!(after.iter().all(|live| (*live as f64 / mean - 1.0).abs() < 0.05), "{after:?}");
}
