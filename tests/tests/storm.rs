//! Herds of clients that come again until they are in, at real brokers: with what lets them in at a pace, and without.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use balancer_tests::{
    agent::Agent,
    broker::{self, Broker, TLS_PORT},
    lab::{Host, Lab, LabOptions},
    load::{
        Herd, Load, Outcome,
        wire::{Group, Order, Totals},
    },
    page::Page,
    plan::{EjectionPlan, Plan, ServicePlan, TelemetryPlan},
    tcp::EchoServer,
    wait::{PATIENCE, until},
};
use balancer_userspace::api::wire::{BackendState, Log, LogEvent};

/// Clients of a herd, all of which start within a second.
const CLIENTS: u32 = 5_000;
/// How long a herd is looked at. Clients give a connection up after ten seconds and come again.
const WATCHED: Duration = Duration::from_secs(120);
/// Clients that are there before it and go on publishing.
const DEVICES: u32 = 20;

fn group(name: &str, clients: u32, per_second: u32, interval_ms: u64) -> Group {
    Group { name: name.to_owned(), clients, per_second, interval_ms, payload: 64 }
}

fn herd() -> Order {
    Order::Add(group("herd", CLIENTS, CLIENTS, 600_000))
}

/// One Mosquitto alone, on its plain port.
fn plan(lab: &Lab) -> Plan {
    let mut plan = Plan::tcp(lab, "least-conn");
    let service = &mut plan.service[0];
    "mqtt".clone_into(&mut service.name);
    service.ramp = Some("0s");
    plan
}

/// The same on its TLS port.
fn tls_service(lab: &Lab) -> ServicePlan {
    let mut service = plan(lab).service.remove(0);
    (service.name, service.port) = ("mqtts".to_owned(), TLS_PORT);
    for (backend, host) in service.backend.iter_mut().zip(&lab.brokers) {
        backend.address = format!("{}:{TLS_PORT}", host.v4);
    }
    service
}

const TLS_VIP: SocketAddr = SocketAddr::new(Lab::VIP4.ip(), TLS_PORT);

fn tls_broker(lab: &Lab, index: usize) -> Broker<'_> {
    Broker::start_with(lab, index, broker::Options { tls: true, ..broker::Options::default() }).unwrap()
}

fn one_broker() -> Lab {
    Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap()
}

/// What a storm without protection must do to the broker, and one with it must not; then everybody gets in.
fn compare(without: &Outcome, with: &Outcome) {
    assert!(without.given_up_on_broker > CLIENTS as usize / 10, "the storm was no trouble: {without:#?}");
    assert!(with.given_up_on_broker * 20 < without.given_up_on_broker, "{with:#?}");
    assert!(with.connected * 100 >= u64::from(CLIENTS) * 99 && with.broken == 0, "{with:#?}");
}

/// How those who were connected before fared in a storm.
#[derive(Clone, Copy, Debug)]
struct Devices {
    messages: u64,
    /// Seconds, on average.
    round_trip: f64,
    broken: u64,
}

impl Devices {
    fn between(before: &Totals, after: &Totals) -> Self {
        let messages = after.received - before.received;
        let round_trip = (after.round_trips - before.round_trips) / messages.max(1) as f64;
        Self { messages, round_trip, broken: after.broken - before.broken }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, round_trip, broken } = self;
        write!(
            f,
            "{messages} messages of {DEVICES} devices took {:.0} ms on average, {broken} devices were broken",
            1000.0 * round_trip
        )
    }
}

/// A herd at a broker that can do some hundred TLS handshakes a second.
fn budgeted(budget: Option<&'static str>) -> (Outcome, Devices, u64) {
    const CORES: f64 = 0.1;
    let lab = one_broker();
    let mut broker = tls_broker(&lab, 0);
    let mut limited = Plan { service: vec![tls_service(&lab)], ..Plan::default() };
    limited.service[0].backend[0].max_connection_rate = budget;
    let agent = Agent::start(&lab, &limited).unwrap();
    let mut devices = Load::start_tls(&lab.clients[0], TLS_VIP).unwrap();
    devices.add(group("devices", DEVICES, 100, 1_000), PATIENCE).unwrap();
    broker.limit(Some(CORES)).unwrap();

    let before = devices.totals();
    let mut load = Load::start_tls(&lab.clients[0], TLS_VIP).unwrap();
    load.order(&herd()).unwrap();
    let outcome = Herd::new(&load, CLIENTS).watch(WATCHED).unwrap();
    let devices = Devices::between(&before, &devices.totals());
    let dropped = agent.control.outcome("drop_over_budget").unwrap();
    eprintln!("budget {budget:?}: {outcome}; {devices}; {dropped} SYNs dropped");
    (outcome, devices, dropped)
}

/// Without a budget the broker takes on more than it can answer: clients give up while it works for them, come again, and
/// it works for those that have left. With one, all that it takes on it answers.
#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_a_budget_keeps_a_broker_from_working_for_clients_that_have_given_up() {
    let (without, _, none) = budgeted(None);
    // Of TLS connections 80 a second.
    let (with, devices, dropped) = budgeted(Some("1200/s"));
    assert!(none == 0 && dropped > 0);
    compare(&without, &with);
    assert_eq!(devices.broken, 0);
}

/// Clients that come to two brokers, one of which has just been started again and is slow at first.
fn started_again(ramp: &'static str) -> (Outcome, u64) {
    /// Of a core: at first, and once it has read its sessions and filled its caches.
    const CORES: [f64; 2] = [0.02, 0.15];
    const COLD: Duration = Duration::from_secs(30);
    /// How many clients start a second: the other broker could take all of them.
    const PACE: u32 = 300;
    const PROBED: u16 = 1884;
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let mut brokers: Vec<_> = (0..2).map(|index| tls_broker(&lab, index)).collect();
    let mut limited = Plan { service: vec![tls_service(&lab)], ..Plan::default() };
    let service = &mut limited.service[0];
    service.ramp = Some(ramp);
    // What else finds a slow broker out: probes of its own port, and SYNs that it does not answer.
    (service.health.kind, service.health.port) = (Some("tcp"), Some(PROBED));
    service.ejection = Some(EjectionPlan { enabled: false });
    // Of TLS connections a hundred a second.
    service.backend[1].max_connection_rate = Some("1500/s");
    let probed = |host: &Host| EchoServer::start(&host.netns, PROBED, &host.name).unwrap();
    let _first = probed(&lab.brokers[0]);
    let second = probed(&lab.brokers[1]);
    let agent = Agent::start(&lab, &limited).unwrap();
    drop(second);
    brokers[1].kill().unwrap();
    agent.control.wait_state("mqtts", "broker1", BackendState::Down).unwrap();
    brokers[1].start_again().unwrap();
    brokers[1].limit(Some(CORES[0])).unwrap();
    let _second = probed(&lab.brokers[1]);
    agent.control.wait_state("mqtts", "broker1", BackendState::Up).unwrap();

    let mut load = Load::start_tls(&lab.clients[0], TLS_VIP).unwrap();
    load.order(&Order::Add(group("herd", CLIENTS, PACE, 600_000))).unwrap();
    let herd = Herd::new(&load, CLIENTS);
    herd.watch(COLD).unwrap();
    brokers[1].limit(Some(CORES[1])).unwrap();
    let outcome = herd.watch(WATCHED).unwrap();
    let dropped = agent.control.outcome("drop_over_budget").unwrap();
    let live = agent.control.backend("mqtts", "broker1").unwrap().live;
    eprintln!("started again, ramp {ramp}: {outcome}; {dropped} SYNs dropped, {live} connections are its");
    (outcome, dropped)
}

/// A budget is what a broker can do once it is warm. Before that it is a storm, while others could take it.
#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_a_ramp_spares_a_broker_that_has_just_come_back() {
    let ((without, _), (with, dropped)) = (started_again("0s"), started_again("60s"));
    assert_eq!(dropped, 0, "the other broker takes what this one has no budget for");
    assert!(without.timed_out() > CLIENTS as usize / 20, "the storm was no trouble: {without:#?}");
    assert!(with.timed_out() * 10 < without.timed_out(), "{with:#?}");
    assert!(with.connected == u64::from(CLIENTS) && with.broken == 0, "{with:#?}");
}

/// As RabbitMQ 3.10 serves it, of a node that is short of memory: so is then every node of its cluster.
fn alarmed() -> impl Fn() -> String + Send + Sync + 'static {
    const PAGE: &str = include_str!("../../balancer-userspace/tests/fixtures/rabbitmq-3.10.8.metrics");
    let start = Instant::now();
    let raised = |line: &str| line.replace("memory_used_watermark 0", "memory_used_watermark 1");
    move || {
        let wall = start.elapsed().as_millis();
        let clock = |line: &str| match line.split_once(' ') {
            Some((name @ "erlang_vm_statistics_wallclock_time_milliseconds", _)) => format!("{name} {wall}"),
            Some((name @ "erlang_vm_statistics_runtime_milliseconds", _)) => format!("{name} {}", wall / 2),
            _ => raised(line),
        };
        PAGE.lines().map(clock).map(|line| line + "\n").collect()
    }
}

/// A cluster in alarm, each node of which has little to spare.
fn in_alarm(rate: &'static str) -> Outcome {
    const CORES: f64 = 0.04;
    let lab = Lab::new(LabOptions::default()).unwrap();
    let mut brokers: Vec<_> = (0..3).map(|index| tls_broker(&lab, index)).collect();
    let pages = lab.brokers.iter().map(|host| Page::start(&host.netns, 15_692, alarmed()).unwrap());
    let _pages: Vec<_> = pages.collect();
    let mut plan = Plan { service: vec![tls_service(&lab)], ..Plan::default() };
    let service = &mut plan.service[0];
    service.preset = Some("rabbitmq");
    service.health.kind = Some("tcp");
    service.telemetry = Some(TelemetryPlan { interval: Some("500ms"), ..TelemetryPlan::default() });
    service.alarm_rate = Some(rate);
    let agent = Agent::start(&lab, &plan).unwrap();
    until("the alarm to be seen", PATIENCE, || {
        agent.control.status().is_ok_and(|status| status.services[0].alarms == ["memory"])
    })
    .unwrap();
    for broker in &mut brokers {
        broker.limit(Some(CORES)).unwrap();
    }
    let mut load = Load::start_tls(&lab.clients[0], TLS_VIP).unwrap();
    load.order(&herd()).unwrap();
    let outcome = Herd::new(&load, CLIENTS).watch(WATCHED).unwrap();
    let dropped = agent.control.outcome("drop_over_budget").unwrap();
    eprintln!("in alarm, alarm_rate {rate}: {outcome}; {dropped} SYNs dropped");
    let log: Log = agent.control.json(&["log"]).unwrap();
    let went = |to: &str| {
        let left = |event: &LogEvent| matches!(event, LogEvent::State { to: state, .. } if state == to);
        log.entries.iter().any(|entry| left(&entry.event))
    };
    assert!(!went("exhausted"), "an alarm of all closes nobody: {:#?}", log.entries);
    if rate != "off" {
        assert!(!went("ejected") && !went("down"), "{:#?}", log.entries);
    }
    outcome
}

/// Closing who raises the alarm would close all of them.
#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_an_alarm_of_the_cluster_slows_admission_and_closes_nobody() {
    compare(&in_alarm("off"), &in_alarm("80/s"));
}

/// What a connection on the TLS port is said to cost, and what else limits that service.
#[derive(Clone, Copy, Debug)]
struct Dear {
    handshake_cost: Option<u32>,
    max_connection_rate: Option<&'static str>,
}

/// A herd at the TLS port of a broker, while others connect to its plain port. Returns how both fared.
fn at_tls(dear: Dear) -> (Outcome, Outcome, Devices) {
    const CORES: f64 = 0.1;
    /// Plain connects, and how many of them start a second.
    const PLAIN: (u32, u32) = (400, 10);
    const BUDGET: Option<&str> = Some("1200/s");
    let lab = one_broker();
    let mut broker = tls_broker(&lab, 0);
    let mut limited = plan(&lab);
    let Dear { handshake_cost, max_connection_rate } = dear;
    limited.service.push(ServicePlan { handshake_cost, max_connection_rate, ..tls_service(&lab) });
    for service in &mut limited.service {
        service.backend[0].max_connection_rate = BUDGET;
    }
    let agent = Agent::start(&lab, &limited).unwrap();
    let mut devices = Load::start(&lab.clients[0], Lab::VIP4).unwrap();
    devices.add(group("devices", DEVICES, 100, 1_000), PATIENCE).unwrap();
    broker.limit(Some(CORES)).unwrap();

    let before = devices.totals();
    let mut load = Load::start_tls(&lab.clients[0], TLS_VIP).unwrap();
    load.order(&herd()).unwrap();
    let mut others = Load::start(&lab.clients[0], Lab::VIP4).unwrap();
    others.order(&Order::Add(group("plain", PLAIN.0, PLAIN.1, 600_000))).unwrap();
    let plain = Herd::new(&others, PLAIN.0);
    let outcome = Herd::new(&load, CLIENTS).watch(WATCHED).unwrap();
    let plain = plain.watch(WATCHED).unwrap();
    let devices = Devices::between(&before, &devices.totals());
    let dropped = agent.control.outcome("drop_over_budget").unwrap();
    eprintln!("{dear:?}: TLS: {outcome}; plain: {plain}; {devices}; {dropped} SYNs dropped");
    (outcome, plain, devices)
}

/// A TLS handshake is charged to the same budget as fifteen plain connects.
#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_the_cost_of_tls_keeps_a_herd_at_its_port_from_taking_the_broker() {
    let free = Dear { handshake_cost: Some(1), max_connection_rate: None };
    let charged = Dear { handshake_cost: None, ..free };
    let bounded = Dear { max_connection_rate: Some("60/s"), ..charged };
    let (without, ..) = at_tls(free);
    for dear in [charged, bounded] {
        let (with, plain, devices) = at_tls(dear);
        compare(&without, &with);
        assert_eq!((plain.given_up_on_broker, plain.connected), (0, plain.clients), "{dear:?}: {plain:#?}");
        assert_eq!(devices.broken, 0);
    }
}
