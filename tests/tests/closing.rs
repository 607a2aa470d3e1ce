//! Flows that are closed on purpose: rebalancing, paced drains, backends that stay down.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{collections::BTreeMap, io::ErrorKind, time::Duration};

use balancer_tests::{
    agent::Agent,
    broker::Broker,
    lab::{Host, Lab, LabOptions, PORT},
    load::{Load, wire::Group},
    plan::{Plan, ServicePlan},
    tcp::{Connection, EchoServer, tally},
    wait::{PATIENCE, until, until_ok},
};
use balancer_userspace::api::wire::{BackendState, RunState, Runs};

/// Clients may have to wait for each other on a busy machine.
const CROWD_PATIENCE: Duration = Duration::from_secs(60);

/// Flows that are promoted in the clock unit in which a run begins count as too new for it.
const CLOCK_UNIT: Duration = Duration::from_millis(1100);

fn crowd(name: &str, clients: u32) -> Group {
    Group { name: name.to_owned(), clients, per_second: 200, interval_ms: 250, payload: 100 }
}

fn mqtt(lab: &Lab) -> Plan {
    let mut plan = Plan::tcp(lab, "least-conn");
    plan.service[0].name = "mqtt".to_owned();
    plan.service[0].preset = Some("mosquitto");
    plan
}

fn live(agent: &Agent<'_>) -> BTreeMap<String, u64> {
    let backends = agent.control.status().unwrap().backends;
    backends.into_iter().map(|backend| (backend.name, backend.live)).collect()
}

/// Connections from outside that the broker's own kernel has open.
fn at_broker(host: &Host) -> usize {
    let all =
        host.netns.run("ss", &["-Htn", "state", "established", "sport", &format!("= :{PORT}")]).unwrap();
    all.lines().filter(|line| line.contains("198.51.100.2:")).count()
}

/// Whether nobody has been idle for less than a unit of the program's clock.
fn let_the_clock_move(load: &Load) {
    let since = std::time::Instant::now();
    until("the clock to move", PATIENCE, || since.elapsed() > CLOCK_UNIT).unwrap();
    assert_eq!(load.records().broken, []);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_third_broker_gets_its_share_and_nobody_else_is_touched() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let brokers: Vec<_> = (0..3).map(|index| Broker::start(&lab, index, None).unwrap()).collect();
    let mut plan = mqtt(&lab);
    let third = plan.service[0].backend.pop().unwrap();
    let agent = Agent::start(&lab, &plan).unwrap();
    let mut load = Load::start(&lab.clients[0], Lab::VIP4).unwrap();
    load.add(crowd("all", 120), CROWD_PATIENCE).unwrap();
    plan.service[0].backend.push(third);
    agent.reload(&plan).unwrap();
    agent.control.wait_state("mqtt", "broker2", BackendState::Up).unwrap();
    let_the_clock_move(&load);

    // A plan changes nothing.
    let order = ["rebalance", "mqtt", "--to", "10%", "--max", "100%", "--force"];
    let plan: Runs = agent.control.json(&[&order[..], &["--dry-run"]].concat()).unwrap();
    assert_eq!((plan.runs.len(), plan.runs[0].state), (1, RunState::Planned));
    let planned: u64 = plan.runs[0].backends.iter().map(|backend| backend.planned).sum();
    assert_eq!(planned, 120 - 2 * 44, "down to a tenth above 40 each: {plan:?}");
    let text = agent.control.run(&[&order[..], &["--dry-run"]].concat()).unwrap();
    assert!(text.contains("WOULD CLOSE"), "{text}");
    assert!(agent.control.status().unwrap().runs.is_empty());
    let_the_clock_move(&load);

    // More than half of the clients at once has to be meant.
    for max in ["100%", "61"] {
        let hasty = ["rebalance", "mqtt", "--to", "10%", "--max", max, "--rate", "100000/s"];
        let refused = format!("{:#}", agent.control.run(&hasty).unwrap_err());
        assert!(refused.contains("--force"), "{refused}");
    }
    assert!(agent.control.status().unwrap().runs.is_empty());

    // The default bound keeps a hasty order small.
    let small: Runs = agent.control.json(&["rebalance", "mqtt", "--to", "10%", "--wait"]).unwrap();
    assert_eq!((small.runs[0].state, small.runs[0].closed), (RunState::Ended, 12), "{small:?}");
    load.wait_connected(120, CROWD_PATIENCE).unwrap();

    let ended: Runs = agent.control.json(&[&order[..], &["--rate", "60/s", "--wait"]].concat()).unwrap();
    assert_eq!(ended.runs[0].reason, "the backends are balanced", "{}", agent.log());
    load.wait_connected(120, CROWD_PATIENCE).unwrap();
    let closed = ended.runs[0].closed + small.runs[0].closed;
    until_ok("the counts to be even", PATIENCE, || {
        let live = live(&agent);
        anyhow::ensure!(live.values().sum::<u64>() == 120 && live.values().all(|n| *n <= 44), "{live:?}");
        Ok(())
    })
    .unwrap();

    // Those that were closed noticed by a RST, and nobody else did.
    let records = load.records();
    assert_eq!(records.broken.len() as u64, closed, "{:?}", records.broken);
    assert!(records.broken.iter().all(|broken| broken.cause.contains("reset")), "{:?}", records.broken);
    let metrics = agent.control.status().unwrap().closed;
    assert_eq!(metrics.iter().map(|one| one.flows).sum::<u64>(), closed);
    // The brokers were told as well: they have no session that is not a client's.
    for broker in &brokers {
        let host = broker.host();
        until_ok("the broker to know", PATIENCE, || {
            let (counted, there) = (live(&agent)[&host.name], at_broker(host));
            anyhow::ensure!(counted == there as u64, "{} has {there}, of {counted}", host.name);
            Ok(())
        })
        .unwrap();
    }
    let before = load.totals().received;
    until("messages to come back", PATIENCE, || load.totals().received >= before + 400).unwrap();
    let records = load.finish().unwrap();
    assert_eq!((records.totals.lost, records.totals.pending), (0, 0), "{:?}", records.totals);
    assert_eq!(records.broken.len() as u64, closed);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_drain_empties_its_broker_at_a_pace() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let brokers: Vec<_> = (0..2).map(|index| Broker::start(&lab, index, None).unwrap()).collect();
    let agent = Agent::start(&lab, &mqtt(&lab)).unwrap();
    let mut load = Load::start(&lab.clients[0], Lab::VIP4).unwrap();
    load.add(crowd("all", 60), CROWD_PATIENCE).unwrap();
    let doomed = live(&agent)["broker0"];

    let drain = ["backend", "drain", "mqtt/broker0", "--rate", "10/s"];
    let ended: Runs = agent.control.json(&[&drain[..], &["--wait"]].concat()).unwrap();
    assert_eq!((ended.runs[0].reason.as_str(), ended.runs[0].done), ("the backend has no flow left", true));
    load.wait_connected(60, CROWD_PATIENCE).unwrap();
    assert_eq!(live(&agent), [("broker0".to_owned(), 0), ("broker1".to_owned(), 60)].into());
    let records = load.records();
    assert_eq!(records.broken.len() as u64, doomed);
    assert!(records.broken.iter().all(|broken| broken.broker.as_deref() == Some("broker0")));
    // No faster than it was told to; how much slower is the machine's business.
    let times: Vec<f64> = records.broken.iter().map(|broken| broken.at).collect();
    let took = times.iter().fold(0.0_f64, |max, at| max.max(*at))
        - times.iter().fold(f64::MAX, |min, at| min.min(*at));
    assert!(took >= (doomed as f64 - 10.0) / 10.0 - 1.0, "{doomed} flows in {took} s");
    until("the broker to know", PATIENCE, || at_broker(brokers[0].host()) == 0).unwrap();

    // The other is the last: that takes an order of its own.
    let refused = agent.control.run(&["backend", "drain", "mqtt/broker1", "--rate", "10/s"]).unwrap_err();
    assert!(format!("{refused:#}").contains("nowhere to go"), "{refused:#}");
    assert_eq!(agent.control.backend("mqtt", "broker1").unwrap().state, BackendState::Up);
    let before = load.totals().received;
    until("messages to come back", PATIENCE, || load.totals().received >= before + 200).unwrap();
    let records = load.finish().unwrap();
    assert_eq!((records.totals.lost, records.totals.pending), (0, 0), "{:?}", records.totals);
    assert_eq!(records.broken.len() as u64, doomed);
}

/// Both families at once: idle flows are listed, and closed by what they say next.
#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn what_is_stopped_is_not_closed_and_what_is_not_hears_a_reset() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let servers = EchoServer::on(&lab.brokers).unwrap();
    let mut plan = Plan { service: vec![ServicePlan::v4(&lab, "least-conn")], ..Plan::default() };
    plan.service.push(ServicePlan::v6(&lab, "least-conn"));
    let spare: Vec<_> = plan.service.iter_mut().map(|service| service.backend.pop().unwrap()).collect();
    let mut agent = Agent::start(&lab, &plan).unwrap();
    let client = &lab.clients[0].netns;
    let v4 = Connection::open_many(client, Lab::VIP4, 20).unwrap();
    let v6 = Connection::open_many(client, Lab::VIP6, 20).unwrap();
    for (service, backend) in plan.service.iter_mut().zip(spare) {
        service.backend.push(backend);
    }
    agent.reload(&plan).unwrap();
    for service in ["tcp4", "tcp6"] {
        agent.control.wait_state(service, "broker1", BackendState::Up).unwrap();
    }
    let begin = |agent: &Agent<'_>| {
        let since = std::time::Instant::now();
        until("the clock to move", PATIENCE, || since.elapsed() > CLOCK_UNIT).unwrap();
        agent
            .control
            .run(&["rebalance", "--to", "10%", "--max", "100%", "--rate", "100/s", "--force"])
            .unwrap();
        until("flows to be listed", PATIENCE, || {
            let runs = agent.control.status().unwrap().runs;
            runs.len() == 2 && runs.iter().all(|run| run.listed == 9)
        })
        .unwrap();
    };

    // Stopped: everybody goes on.
    begin(&agent);
    let again = agent.control.run(&["rebalance", "--to", "10%"]).unwrap_err();
    assert!(format!("{again:#}").contains("--stop"), "{again:#}");
    let stopped: Runs = agent.control.json(&["rebalance", "--stop"]).unwrap();
    assert!(
        stopped.runs.len() == 2 && stopped.runs.iter().all(|run| run.closed == 0 && !run.done),
        "{stopped:?}"
    );
    for connection in v4.iter().chain(&v6) {
        connection.echo(100).unwrap();
    }

    // The agent dies: the one that comes back closes nobody.
    begin(&agent);
    agent.kill().unwrap();
    agent.start_again().unwrap();
    assert!(agent.control.status().unwrap().runs.is_empty());
    for connection in v4.iter().chain(&v6) {
        connection.echo(100).unwrap();
    }

    // Gone on with: the flows that were listed, and no other, end with a reset at both ends.
    begin(&agent);
    for (connections, service) in [(&v4, "tcp4"), (&v6, "tcp6")] {
        let ends: Vec<_> = connections.iter().map(|connection| connection.echo(100)).collect();
        let reset = ends.iter().flat_map(|end| end.as_ref().err()).filter(|error| {
            let cause = error.root_cause().downcast_ref::<std::io::Error>();
            cause.is_some_and(|error| error.kind() == ErrorKind::ConnectionReset)
        });
        let broken = ends.iter().filter(|end| end.is_err()).count();
        assert_eq!((reset.count(), broken), (9, 9), "{service}: {ends:?}");
    }
    until("the servers to know", PATIENCE, || servers.iter().map(EchoServer::live).sum::<usize>() == 22)
        .unwrap();
    assert_eq!(agent.control.outcome("forward_cut").unwrap(), 18);
    until("the runs to end", PATIENCE, || agent.control.status().unwrap().runs.is_empty()).unwrap();
    let new = Connection::open_many(client, Lab::VIP4, 9).unwrap();
    assert!(tally(&new).contains_key("broker1"));
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_backend_that_stays_down_loses_its_flows_and_a_flap_does_not() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let mut plan = Plan::tcp(&lab, "round-robin");
    (plan.service[0].when_down, plan.service[0].down_grace) = (Some("close"), Some("1h"));
    let agent = Agent::start(&lab, &plan).unwrap();
    let client = &lab.clients[0].netns;
    let old = Connection::open_many(client, Lab::VIP4, 20).unwrap();
    assert_eq!(tally(&old), [("broker0".to_owned(), 10), ("broker1".to_owned(), 10)].into());
    let down = |on: &str| {
        // The broker's answers to the gateway itself are dropped; clients' packets are only routed by it.
        lab.brokers[0].netns.ip(&[format!("route {on} blackhole 10.71.0.1/32")]).unwrap();
        let state = if on == "add" { BackendState::Down } else { BackendState::Up };
        agent.control.wait_state("tcp4", "broker0", state).unwrap();
    };

    // Within the grace nothing happens, however long that is.
    down("add");
    for connection in &old {
        connection.echo(1_000).unwrap();
    }
    down("del");
    for connection in &old {
        connection.echo(1_000).unwrap();
    }

    // Beyond it, the flows of that backend alone are closed; the client is told at once.
    plan.service[0].down_grace = Some("1s");
    agent.reload(&plan).unwrap();
    down("add");
    until("the grace to pass", PATIENCE, || agent.log().contains("stays down")).unwrap();
    let (lost, kept): (Vec<_>, Vec<_>) = old.iter().partition(|connection| connection.server == "broker0");
    for connection in &kept {
        connection.echo(1_000).unwrap();
    }
    for connection in &lost[..5] {
        let error = connection.echo(10).unwrap_err();
        let cause = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(cause, Some(ErrorKind::ConnectionReset), "{error:#}");
    }
    assert_eq!(agent.control.outcome("reset_backend_down").unwrap(), 5);
    agent.control.wait_live("tcp4", "broker0", 5).unwrap();

    // It comes back: who said nothing meanwhile goes on.
    down("del");
    until("the flows to be kept", PATIENCE, || agent.log().contains("kept again")).unwrap();
    for connection in &lost[5..] {
        connection.echo(1_000).unwrap();
    }

    // All down is nobody's turn to be closed.
    lab.brokers[1].netns.ip(&["route add blackhole 10.71.0.1/32".to_owned()]).unwrap();
    agent.control.wait_state("tcp4", "broker1", BackendState::Down).unwrap();
    down("add");
    for connection in lost[5..].iter().chain(&kept) {
        connection.echo(1_000).unwrap();
    }
}
