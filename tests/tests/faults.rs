//! What breaks and comes back, and that no live flow notices.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::time::Duration;

use balancer_tests::{
    agent::Agent,
    broker::Broker,
    lab::{Lab, LabOptions},
    load::{
        Load, Records,
        wire::{Group, Order},
    },
    plan::Plan,
    tcp::{Connection, EchoServer, tally},
    wait::{PATIENCE, factor, until},
};
use balancer_userspace::api::wire::BackendState;

/// Clients may have to wait for each other on a busy machine.
const CROWD_PATIENCE: Duration = Duration::from_secs(60);

fn mqtt(lab: &Lab) -> Plan {
    let mut plan = Plan::tcp(lab, "adaptive");
    plan.service[0].name = "mqtt".to_owned();
    plan.service[0].preset = Some("mosquitto");
    plan
}

fn brokers(lab: &Lab) -> Vec<Broker<'_>> {
    (0..lab.brokers.len()).map(|index| Broker::start(lab, index, None).unwrap()).collect()
}

fn crowd(name: &str, clients: u32) -> Group {
    Group { name: name.to_owned(), clients, per_second: 200, interval_ms: 250, payload: 100 }
}

fn wait_messages(load: &Load, n: u64) {
    let before = load.totals().received;
    until("messages to come back", PATIENCE, || load.totals().received >= before + n).unwrap();
}

fn assert_unharmed(records: &Records) {
    assert_eq!(records.broken, [], "no flow may break");
    let totals = &records.totals;
    assert_eq!((totals.lost, totals.pending, totals.received), (0, 0, totals.sent), "{totals:?}");
}

/// A SYN that was dropped is sent again after a second, so a quick handshake had no gap. On an emulated processor,
/// where a handshake alone takes about a second, only long gaps can be told.
fn assert_never_unsteered(records: &Records) {
    assert!(!records.probes.is_empty());
    let quick = 0.9 * f64::from(factor());
    let slow: Vec<_> =
        records.probes.iter().filter(|probe| probe.error.is_some() || probe.took > quick).collect();
    assert!(slow.is_empty(), "{} of {} probes: {slow:?}", slow.len(), records.probes.len());
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_flap_of_a_health_check_cuts_no_flow() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let agent = Agent::start(&lab, &Plan::tcp(&lab, "round-robin")).unwrap();
    let client = &lab.clients[0].netns;
    let old = Connection::open_many(client, Lab::VIP4, 20).unwrap();
    assert_eq!(tally(&old).len(), 2);

    // The broker's answers to the gateway itself are dropped; clients' packets are only routed by it.
    lab.brokers[0].netns.ip(&["route add blackhole 10.71.0.1/32".to_owned()]).unwrap();
    agent.control.wait_state("tcp4", "broker0", BackendState::Down).unwrap();
    let meanwhile = Connection::open_many(client, Lab::VIP4, 20).unwrap();
    assert_eq!(tally(&meanwhile), [("broker1".to_owned(), 20)].into());
    for connection in &old {
        connection.echo(1_000).unwrap();
    }

    lab.brokers[0].netns.ip(&["route del blackhole 10.71.0.1/32".to_owned()]).unwrap();
    agent.control.wait_state("tcp4", "broker0", BackendState::Up).unwrap();
    let new = Connection::open_many(client, Lab::VIP4, 20).unwrap();
    assert_eq!(tally(&new).len(), 2);
    for connection in old.iter().chain(&meanwhile).chain(&new) {
        connection.echo(1_000).unwrap();
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn clients_of_a_dead_broker_find_another_and_it_returns() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let mut brokers = brokers(&lab);
    let agent = Agent::start(&lab, &mqtt(&lab)).unwrap();
    let mut load = Load::start(&lab.clients[0], Lab::VIP4).unwrap();
    load.add(crowd("first", 120), CROWD_PATIENCE).unwrap();
    let before = load.records().tally("first");
    let doomed = before["broker0"];
    wait_messages(&load, 200);

    brokers[0].kill().unwrap();
    agent.control.wait_state("mqtt", "broker0", BackendState::Down).unwrap();
    load.wait_connected(120, CROWD_PATIENCE).unwrap();
    load.add(crowd("second", 60), CROWD_PATIENCE).unwrap();
    assert_eq!(load.records().tally("second").get("broker0"), None);
    // Those of the dead broker alone noticed, and sent again what was not acknowledged.
    let records = load.records();
    assert_eq!(records.broken.len(), doomed);
    assert!(records.broken.iter().all(|broken| broken.broker.as_deref() == Some("broker0")));

    brokers[0].start_again().unwrap();
    agent.control.wait_state("mqtt", "broker0", BackendState::Up).unwrap();
    load.add(crowd("third", 60), CROWD_PATIENCE).unwrap();
    assert!(load.records().tally("third").contains_key("broker0"));
    wait_messages(&load, 200);
    let records = load.finish().unwrap();
    assert_eq!(records.broken.len(), doomed);
    assert_eq!((records.totals.lost, records.totals.pending), (0, 0));
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_killed_agent_is_not_missed() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _brokers = brokers(&lab);
    let mut agent = Agent::start(&lab, &mqtt(&lab)).unwrap();
    let mut load = Load::start(&lab.clients[0], Lab::VIP4).unwrap();
    load.add(crowd("before", 150), CROWD_PATIENCE).unwrap();
    load.order(&Order::Probe { interval_ms: 50 }).unwrap();
    wait_messages(&load, 200);

    agent.kill().unwrap();
    load.add(crowd("meanwhile", 60), CROWD_PATIENCE).unwrap();
    wait_messages(&load, 400);
    agent.start_again().unwrap();
    assert!(
        agent.control.status().unwrap().agent.adopted,
        "the agent made maps of its own:\n{}",
        agent.log()
    );
    load.add(crowd("after", 60), CROWD_PATIENCE).unwrap();
    load.order(&Order::StopProbe).unwrap();
    wait_messages(&load, 400);

    let records = load.records();
    for host in &lab.brokers {
        let n = ["before", "meanwhile", "after"]
            .map(|group| records.tally(group).get(&host.name).copied().unwrap_or(0));
        agent.control.wait_live("mqtt", &host.name, n.iter().sum::<usize>() as u64).unwrap();
    }
    let records = load.finish().unwrap();
    assert_never_unsteered(&records);
    assert_unharmed(&records);
    assert_eq!(records.totals.failed, 0, "{:?}", records.failed);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn an_agent_that_is_stopped_and_started_again_is_not_missed() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _brokers = brokers(&lab);
    let mut agent = Agent::start(&lab, &mqtt(&lab)).unwrap();
    let mut load = Load::start(&lab.clients[0], Lab::VIP4).unwrap();
    load.add(crowd("before", 60), CROWD_PATIENCE).unwrap();
    agent.stop().unwrap();
    load.add(crowd("meanwhile", 60), CROWD_PATIENCE).unwrap();
    agent.start_again().unwrap();
    wait_messages(&load, 200);
    assert_unharmed(&load.finish().unwrap());
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn reloads_under_load_break_nothing() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _brokers = brokers(&lab);
    let mut plan = mqtt(&lab);
    let removed = plan.service[0].backend.pop().unwrap();
    let agent = Agent::start(&lab, &plan).unwrap();
    let mut load = Load::start(&lab.clients[0], Lab::VIP4).unwrap();
    load.order(&Order::Probe { interval_ms: 50 }).unwrap();
    load.add(crowd("two", 80), CROWD_PATIENCE).unwrap();

    // A backend comes, weights and policy change.
    plan.service[0].backend.push(removed);
    plan.service[0].backend[0].weight = Some(300);
    plan.service[0].policy = "least-conn";
    agent.reload(&plan).unwrap();
    agent.control.wait_state("mqtt", "broker2", BackendState::Up).unwrap();
    load.add(crowd("three", 80), CROWD_PATIENCE).unwrap();
    assert!(load.records().tally("three").contains_key("broker2"));

    // A configuration with a problem changes nothing.
    let mut bad = plan.clone();
    bad.service[0].backend[1].weight = Some(0);
    let refusal = agent.reload(&bad).unwrap_err();
    assert!(format!("{refusal:#}").contains("weight"), "{refusal:#}");
    assert_eq!(agent.control.backend("mqtt", "broker0").unwrap().configured_weight, 300);

    // A backend goes, and keeps its flows until they end.
    plan.service[0].backend.remove(0);
    agent.write(&plan).unwrap();
    agent.hang_up().unwrap();
    let reloads = || agent.control.status().unwrap().agent.reloads_applied;
    until("the reload", PATIENCE, || reloads() >= 2).unwrap();
    load.add(crowd("rest", 80), CROWD_PATIENCE).unwrap();
    assert_eq!(load.records().tally("rest").get("broker0"), None);
    load.order(&Order::StopProbe).unwrap();
    wait_messages(&load, 400);
    let records = load.finish().unwrap();
    assert_never_unsteered(&records);
    assert_unharmed(&records);
}
