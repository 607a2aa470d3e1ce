//! The lab itself: without a balancer, clients reach brokers by the gateway's routing.

use std::time::Duration;

use balancer_tests::{
    broker::Broker,
    lab::{GATEWAY4, Lab, LabOptions},
    load::{Load, wire::Group},
    mqtt::Session,
    tcp::{Connection, EchoServer, tally},
    wait::{PATIENCE, until},
};

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn clients_reach_every_broker_by_routing() {
    let lab = Lab::new(LabOptions { brokers: 2, clients: 2 }).unwrap();
    let servers = EchoServer::on(&lab.brokers).unwrap();
    for client in &lab.clients {
        for (host, server) in lab.brokers.iter().zip(&servers) {
            let connections = [
                Connection::open(&client.netns, host.socket4()).unwrap(),
                Connection::open(&client.netns, host.socket6()).unwrap(),
            ];
            assert_eq!(tally(&connections), [(host.name.clone(), 2)].into());
            assert_eq!(server.live(), 2);
            for connection in &connections {
                connection.echo(100_000).unwrap();
            }
            drop(connections);
            until("the connections to end", PATIENCE, || server.live() == 0).unwrap();
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_broker_answers_stops_and_starts_again() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let mut broker = Broker::start(&lab, 0, Some(0.5)).unwrap();
    let client = &lab.clients[0].netns;
    let ping = |to| {
        client
            .enter(|| Session::connect(to, "probe", Duration::from_secs(1)).and_then(|mut s| s.ping()))
            .unwrap()
    };
    ping(lab.brokers[0].socket4()).unwrap();
    ping(lab.brokers[0].socket6()).unwrap();
    assert!(broker.group().usage().unwrap() > Duration::ZERO);
    broker.stop().unwrap();
    assert_eq!(broker.pid(), None);
    ping(lab.brokers[0].socket4()).unwrap_err();
    broker.start_again().unwrap();
    ping(lab.brokers[0].socket4()).unwrap();
    broker.kill().unwrap();
    ping(lab.brokers[0].socket4()).unwrap_err();
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn nothing_is_left_behind() {
    let lab = Lab::new(LabOptions::default()).unwrap();
    let paths: Vec<_> = lab.clients.iter().chain(&lab.brokers).map(|host| host.netns.path()).collect();
    lab.clients[0].netns.run("ping", &["-c1", "-W2", &GATEWAY4.to_string()]).unwrap();
    let broker = Broker::start(&lab, 0, None).unwrap();
    let (pid, group) = (broker.pid().unwrap(), broker.group().counter_directory());
    drop(broker);
    drop(lab);
    assert!(paths.iter().all(|path| !path.exists()));
    assert!(!group.exists());
    assert!(!std::path::Path::new("/proc").join(pid.to_string()).exists());
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn clients_notice_a_broker_that_restarts_and_nothing_else() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let mut broker = Broker::start(&lab, 0, None).unwrap();
    let mut load = Load::start(&lab.clients[0], lab.brokers[0].socket4()).unwrap();
    let group = Group { name: "light".into(), clients: 50, per_second: 200, interval_ms: 100, payload: 64 };
    load.add(group, PATIENCE).unwrap();
    until("messages to come back", PATIENCE, || load.totals().received > 200).unwrap();
    assert_eq!(load.totals().broken, 0);
    broker.stop().unwrap();
    until("all flows to break", PATIENCE, || load.totals().broken == 50).unwrap();
    broker.start_again().unwrap();
    load.wait_connected(50, PATIENCE).unwrap();
    let received = load.totals().received;
    until("messages to come back", PATIENCE, || load.totals().received > received + 200).unwrap();
    let records = load.finish().unwrap();
    assert_eq!(records.broken.len(), 50);
    assert!(records.broken.iter().all(|broken| broken.broker.as_deref() == Some("broker0")), "{records:?}");
    assert_eq!(records.tally("light"), [("broker0".to_owned(), 100)].into());
    let totals = records.totals;
    assert_eq!((totals.lost, totals.pending, totals.connected), (0, 0, 0), "{totals:?}");
    assert_eq!(
        totals.received + records.broken.iter().map(|b| b.lost).sum::<u64>(),
        totals.sent,
        "{totals:?}"
    );
}
