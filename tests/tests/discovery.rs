//! Backends that come and go at run time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{collections::BTreeSet, path::PathBuf};

use balancer_tests::{
    agent::Agent,
    lab::{Host, Lab, LabOptions},
    plan::{DiscoveryPlan, Plan},
    tcp::{Connection, EchoServer},
    wait::{PATIENCE, until},
};
use tempfile::TempDir;

/// A registry: one file.
struct Registry(TempDir);

impl Registry {
    fn new(hosts: &[Host]) -> Self {
        let registry = Self(tempfile::tempdir().unwrap());
        registry.name(hosts);
        registry
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("brokers.json")
    }

    fn name(&self, hosts: &[Host]) {
        let group = |host: &Host| serde_json::json!({ "targets": [host.socket4().to_string()], "labels": { "name": host.name } });
        self.write(&serde_json::Value::from(hosts.iter().map(group).collect::<Vec<_>>()).to_string());
    }

    fn write(&self, text: &str) {
        let unfinished = self.path().with_extension("new");
        std::fs::write(&unfinished, text).unwrap();
        std::fs::rename(unfinished, self.path()).unwrap();
    }

    /// A service without backends but those of this registry.
    fn plan(&self, lab: &Lab) -> Plan {
        let mut plan = Plan::tcp(lab, "round-robin");
        plan.service[0].backend.clear();
        plan.service[0].discovery = Some(DiscoveryPlan {
            kind: "file",
            files: vec![self.path().display().to_string()],
            refresh: "1s",
            hold_down: "2s",
        });
        plan
    }
}

fn open(lab: &Lab, n: usize) -> Vec<Connection> {
    Connection::open_many(&lab.clients[0].netns, Lab::VIP4, n).unwrap()
}

fn names(connections: &[Connection]) -> BTreeSet<&str> {
    connections.iter().map(|connection| connection.server.as_str()).collect()
}

fn wait_up(agent: &Agent<'_>, n: usize) {
    until("the backends to be up", PATIENCE, || {
        agent.control.status().is_ok_and(|status| status.services[0].backends_up == n)
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn brokers_come_and_go_by_a_file_and_no_flow_breaks() {
    let lab = Lab::new(LabOptions { brokers: 4, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let registry = Registry::new(&lab.brokers[..2]);
    let agent = Agent::start(&lab, &registry.plan(&lab)).unwrap();
    wait_up(&agent, 2);
    let first = open(&lab, 20);
    assert_eq!(names(&first), ["broker0", "broker1"].into());

    registry.name(&lab.brokers);
    wait_up(&agent, 4);
    let second = open(&lab, 40);
    assert_eq!(names(&second), ["broker0", "broker1", "broker2", "broker3"].into());

    registry.name(&lab.brokers[..2]);
    wait_up(&agent, 2);
    let third = open(&lab, 20);
    assert_eq!(names(&third), ["broker0", "broker1"].into());
    until("both to leave", PATIENCE, || {
        let backends = agent.control.status().map(|status| status.backends).unwrap_or_default();
        backends.iter().filter(|backend| backend.leaving).count() == 2
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    for connection in first.iter().chain(&second).chain(&third) {
        connection.echo(1000).unwrap();
    }
    drop(second);
    until("both to be forgotten", PATIENCE, || {
        agent.control.status().is_ok_and(|status| status.backends.len() == 2)
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    for connection in first.iter().chain(&third) {
        connection.echo(1000).unwrap();
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_registry_that_lies_or_is_away_removes_nobody() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let registry = Registry::new(&lab.brokers);
    let mut agent = Agent::start(&lab, &registry.plan(&lab)).unwrap();
    wait_up(&agent, 2);
    let flows = open(&lab, 20);
    let vip = format!("[{{\"targets\": [\"{}\", \"127.0.0.1:1883\"]}}]", Lab::VIP4);
    let thousands: Vec<String> =
        (0..4000).map(|n| format!("\"10.9.{}.{}:1883\"", n / 250, n % 250)).collect();
    for (lie, why) in [
        ("<html>Please log in</html>", "not the JSON of Prometheus"),
        ("[]", "empty"),
        (&*vip, "on a VIP"),
        (&*format!("[{{\"targets\": [{}]}}]", thousands.join(",")), "discovery.max allows 256"),
    ] {
        registry.write(lie);
        until(why, PATIENCE, || {
            agent
                .control
                .status()
                .is_ok_and(|status| status.warnings.iter().any(|warning| warning.contains(why)))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
        assert_eq!(agent.control.status().unwrap().services[0].backends_up, 2, "{why}");
    }
    std::fs::remove_file(registry.path()).unwrap();
    agent.kill().unwrap();
    agent.start_again().unwrap();
    wait_up(&agent, 2);
    for connection in &flows {
        connection.echo(1000).unwrap();
    }
    assert_eq!(names(&open(&lab, 20)), ["broker0", "broker1"].into());
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_service_opens_when_enough_backends_are_ready() {
    let lab = Lab::new(LabOptions { brokers: 3, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let registry = Registry::new(&lab.brokers[..2]);
    let mut plan = registry.plan(&lab);
    plan.service[0].min_ready = Some(3);
    let agent = Agent::start(&lab, &plan).unwrap();
    let problem = |says: &str| {
        until(says, PATIENCE, || {
            let status = agent.control.status();
            status.is_ok_and(|status| status.problems.iter().any(|problem| problem.contains(says)))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    };
    problem("2 of the 3 backends of min_ready are ready");
    let refused = Connection::open(&lab.clients[0].netns, Lab::VIP4);
    assert!(refused.is_err(), "the service is open: {refused:?}");
    registry.name(&lab.brokers);
    until("the service to open", PATIENCE, || Connection::open(&lab.clients[0].netns, Lab::VIP4).is_ok())
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    // It stays open with fewer.
    registry.name(&lab.brokers[..1]);
    wait_up(&agent, 1);
    assert_eq!(names(&open(&lab, 5)), ["broker0"].into());
}
