//! Where new flows go, and that flows stay where they are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{collections::BTreeMap, io::ErrorKind};

use balancer_tests::{
    agent::Agent,
    lab::{Lab, LabOptions},
    plan::{Plan, ServicePlan},
    tcp::{Connection, EchoServer, tally},
    wait::{PATIENCE, until, until_ok},
};
use balancer_userspace::api::wire::{BackendState, FlowState};

fn open(lab: &Lab, n: usize) -> Vec<Connection> {
    Connection::open_many(&lab.clients[0].netns, Lab::VIP4, n).unwrap()
}

fn count(tally: &BTreeMap<String, usize>, name: &str) -> usize {
    tally.get(name).copied().unwrap_or(0)
}

/// Five standard deviations of a binomial count: a right program fails once in two million runs.
fn assert_share(tally: &BTreeMap<String, usize>, name: &str, n: usize, share: f64) {
    let (n, got) = (n as f64, count(tally, name) as f64);
    let tolerance = 5.0 * (n * share * (1.0 - share)).sqrt();
    assert!((got - n * share).abs() <= tolerance, "{name} has {got} of {n}, not about {share}: {tally:?}");
}

fn weighted(lab: &Lab, policy: &'static str, weights: [u32; 3]) -> Plan {
    let mut plan = Plan::tcp(lab, policy);
    for (backend, weight) in plan.service[0].backend.iter_mut().zip(weights) {
        backend.weight = Some(weight);
    }
    plan
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn new_flows_are_shared_by_weight() {
    const FLOWS: usize = 600;
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    for policy in ["round-robin", "random", "maglev", "least-conn", "adaptive"] {
        let _agent = Agent::start(&lab, &weighted(&lab, policy, [100, 200, 300])).unwrap();
        let tally = tally(&open(&lab, FLOWS));
        eprintln!("{policy}: {tally:?}");
        for (name, share) in [("broker0", 1.0 / 6.0), ("broker1", 2.0 / 6.0), ("broker2", 3.0 / 6.0)] {
            assert_share(&tally, name, FLOWS, share);
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn the_generic_mode_steers_as_well() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let mut plan = Plan::tcp(&lab, "round-robin");
    plan.datapath.mode = "generic";
    let _agent = Agent::start(&lab, &plan).unwrap();
    let connections = open(&lab, 90);
    assert_eq!(tally(&connections).len(), 3, "{:?}", tally(&connections));
    for connection in &connections {
        connection.echo(20_000).unwrap();
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn ipv6_is_steered_and_forwarded() {
    const FLOWS: usize = 300;
    let lab = Lab::new(LabOptions { brokers: 3, clients: 2 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let plan = Plan { service: vec![ServicePlan::v6(&lab, "random")], ..Plan::default() };
    let agent = Agent::start(&lab, &plan).unwrap();
    for client in &lab.clients {
        let connections = Connection::open_many(&client.netns, Lab::VIP6, FLOWS).unwrap();
        let tally = tally(&connections);
        for host in &lab.brokers {
            assert_share(&tally, &host.name, FLOWS, 1.0 / 3.0);
            agent.control.wait_live("tcp6", &host.name, count(&tally, &host.name) as u64).unwrap();
        }
        for connection in connections.iter().take(30) {
            connection.echo(50_000).unwrap();
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn both_families_share_backends_hosts_and_clients() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 2 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let service = vec![ServicePlan::v4(&lab, "round-robin"), ServicePlan::v6(&lab, "round-robin")];
    let agent = Agent::start(&lab, &Plan { service, ..Plan::default() }).unwrap();
    let mut connections = Vec::new();
    for client in &lab.clients {
        for vip in [Lab::VIP4, Lab::VIP6] {
            connections.extend(Connection::open_many(&client.netns, vip, 20).unwrap());
        }
    }
    for connection in &connections {
        connection.echo(3_000).unwrap();
    }
    let listed = agent.control.flows().unwrap().flows;
    for connection in &connections {
        let local = connection.local().unwrap();
        let flow = listed.iter().find(|flow| flow.client == local).expect("every open flow is listed");
        assert_eq!((&flow.backend, flow.state), (&connection.server, FlowState::Established));
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_drained_backend_keeps_its_flows_and_gets_no_new_ones() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let agent = Agent::start(&lab, &Plan::tcp(&lab, "round-robin")).unwrap();
    let old = open(&lab, 60);
    assert!(count(&tally(&old), "broker0") > 0);
    agent.control.run(&["backend", "drain", "tcp4/broker0"]).unwrap();
    agent.control.wait_state("tcp4", "broker0", BackendState::Draining).unwrap();
    let new = open(&lab, 60);
    assert_eq!(count(&tally(&new), "broker0"), 0);
    for connection in &old {
        connection.echo(1_000).unwrap();
    }
    drop(old);
    agent.control.wait_state("tcp4", "broker0", BackendState::Drained).unwrap();
    agent.control.run(&["backend", "undrain", "tcp4/broker0"]).unwrap();
    agent.control.wait_state("tcp4", "broker0", BackendState::Up).unwrap();
    let newest = open(&lab, 60);
    assert!(count(&tally(&newest), "broker0") > 0);
    for connection in new.iter().chain(&newest) {
        connection.echo(1_000).unwrap();
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_cap_is_exact_and_what_finds_no_place_is_refused() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    for policy in ["adaptive", "round-robin", "maglev"] {
        let mut plan = Plan::tcp(&lab, policy);
        for (backend, cap) in plan.service[0].backend.iter_mut().zip([5, 10, 15]) {
            backend.max_connections = Some(cap);
        }
        let agent = Agent::start(&lab, &plan).unwrap();
        let mut connections = open(&lab, 30);
        let full = [("broker0".to_owned(), 5), ("broker1".to_owned(), 10), ("broker2".to_owned(), 15)].into();
        assert_eq!(tally(&connections), full, "{policy}");
        let refused = Connection::open(&lab.clients[0].netns, Lab::VIP4).unwrap_err();
        let kind = refused.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(kind, Some(ErrorKind::ConnectionRefused), "{policy}: {refused:#}");

        // A place that becomes free is taken again.
        connections.retain(|connection| connection.server != "broker1");
        agent.control.wait_live("tcp4", "broker1", 0).unwrap();
        connections.extend(open(&lab, 10));
        assert_eq!(tally(&connections), full, "{policy}");
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_standby_takes_over_when_nobody_else_can() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let mut plan = Plan::tcp(&lab, "adaptive");
    plan.service[0].backend[2].standby = true;
    let agent = Agent::start(&lab, &plan).unwrap();
    let first = open(&lab, 40);
    assert_eq!(count(&tally(&first), "broker2"), 0);
    for name in ["broker0", "broker1"] {
        agent.control.run(&["backend", "drain", &format!("tcp4/{name}")]).unwrap();
        agent.control.wait_state("tcp4", name, BackendState::Draining).unwrap();
    }
    let second = open(&lab, 40);
    assert_eq!(tally(&second), [("broker2".to_owned(), 40)].into());
    agent.control.run(&["backend", "undrain", "tcp4/broker1"]).unwrap();
    agent.control.wait_state("tcp4", "broker1", BackendState::Up).unwrap();
    let third = open(&lab, 40);
    assert_eq!(tally(&third), [("broker1".to_owned(), 40)].into());
    for connection in first.iter().chain(&second).chain(&third) {
        connection.echo(1_000).unwrap();
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn counts_are_those_of_the_servers() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let servers = EchoServer::on(&lab.brokers).unwrap();
    let agent = Agent::start(&lab, &Plan::tcp(&lab, "adaptive")).unwrap();
    let mut connections = open(&lab, 120);
    // Some are closed by FIN, the rest stay.
    connections.truncate(70);
    let expected = tally(&connections);
    for (host, server) in lab.brokers.iter().zip(&servers) {
        let n = count(&expected, &host.name);
        agent.control.wait_live("tcp4", &host.name, n as u64).unwrap();
        // Besides flows a server has a probe now and then.
        until("the server to have only its flows", PATIENCE, || server.live() == n).unwrap();
    }
    let status = agent.control.status().unwrap();
    assert_eq!(status.services[0].opened, 120);
    assert_eq!(status.services[0].live, 70);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn what_a_backend_carried_stays_counted_and_is_nobody_elses() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let both = Plan::tcp(&lab, "round-robin");
    let mut one = both.clone();
    one.service[0].backend.pop();
    let mut agent = Agent::start(&lab, &both).unwrap();
    let flows = open(&lab, 20);
    flows.iter().for_each(|flow| flow.echo(5_000).unwrap());
    drop(flows);
    agent.control.wait_live("tcp4", "broker1", 0).unwrap();
    let gone = |agent: &Agent<'_>| {
        until_ok("the backend to be forgotten", PATIENCE, || {
            let backends = agent.control.status()?.backends.len();
            anyhow::ensure!(backends == 1, "{backends} backends");
            Ok(())
        })
    };
    let packets = |agent: &Agent<'_>| {
        ["forward_request", "forward_reply"].map(|outcome| agent.control.outcome(outcome).unwrap())
    };
    let before = packets(&agent);
    let assert_kept = |agent: &Agent<'_>| {
        let now = packets(agent);
        assert!(now.iter().zip(before).all(|(now, before)| *now >= before), "{now:?}, before {before:?}");
    };
    agent.reload(&one).unwrap();
    gone(&agent).unwrap();
    assert_kept(&agent);

    // An agent that starts gives the same id to the next.
    agent.kill().unwrap();
    agent.start_again().unwrap();
    assert_kept(&agent);
    agent.reload(&both).unwrap();
    let new = agent.control.backend("tcp4", "broker1").unwrap();
    assert_eq!((new.opened, new.traffic.packets_in, new.live), (0, 0, 0));
    assert_kept(&agent);
}
