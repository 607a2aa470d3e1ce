//! A storm of clients that all come at once, at a real broker, with and without a budget of new connections.

use std::time::{Duration, Instant};

use balancer_tests::{
    agent::Agent,
    broker::Broker,
    lab::{Lab, LabOptions},
    load::{Load, NO_CONNACK, wire::Group},
    plan::Plan,
    wait::until_ok,
};
use balancer_userspace::api::wire::BackendState;

const SERVICE: &str = "mqtt";
const BROKER: &str = "broker0";
/// What the broker can use: 5,000 plain connects are no trouble for a Mosquitto with a core to itself. A small quota stands
/// in for what others have to do for each (TLS, a database of users), and on smaller machines.
const CORES: f64 = 0.01;
/// Clients of the storm, all of which start within a second.
const CLIENTS: u32 = 5_000;
/// Clients that are there before it and go on publishing.
const DEVICES: u32 = 20;
/// What the broker can be given, below what it can do.
const BUDGET: &str = "60/s";
/// How long the storm is looked at. Clients give a connection up after ten seconds and come again.
const WATCHED: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);

fn plan(lab: &Lab, budget: Option<&'static str>) -> Plan {
    let mut plan = Plan::tcp(lab, "least-conn");
    SERVICE.clone_into(&mut plan.service[0].name);
    plan.service[0].ramp = Some("0s");
    plan.service[0].backend[0].max_connection_rate = budget;
    plan
}

fn group(name: &str, clients: u32, interval_ms: u64) -> Group {
    Group { name: name.to_owned(), clients, per_second: 5_000, interval_ms, payload: 64 }
}

/// What became of a storm after a while.
#[derive(Debug)]
struct Storm {
    /// Clients with a connection at the end.
    connected: u64,
    /// Connections that the broker's kernel took, and the broker did not answer in time.
    given_up_on_broker: usize,
    /// Connections that ended before the broker's kernel took them, or in another way.
    failed_otherwise: usize,
    /// Connections that were established and broken again.
    broken: usize,
    /// SYNs that the program dropped.
    dropped: u64,
    /// Messages of the devices that came back during the storm, and seconds that one took on average.
    messages: u64,
    round_trip: f64,
    /// Devices that lost their connection.
    devices_broken: u64,
    state: BackendState,
}

impl Storm {
    fn show(&self, name: &str) {
        println!(
            "{name}: {} of {CLIENTS} clients are connected; {} connections were given up waiting for the broker, {} failed \
             before they reached it, {} were broken; {} SYNs dropped; {} messages of the devices took {:.0} ms on average",
            self.connected,
            self.given_up_on_broker,
            self.failed_otherwise,
            self.broken,
            self.dropped,
            self.messages,
            1000.0 * self.round_trip,
        );
    }
}

fn storm(budget: Option<&'static str>) -> anyhow::Result<Storm> {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 })?;
    let mut broker = Broker::start(&lab, 0, None)?;
    let agent = Agent::start(&lab, &plan(&lab, None))?;
    let mut devices = Load::start(&lab.clients[0], Lab::VIP4)?;
    devices.add(group("devices", DEVICES, 1_000), PATIENCE)?;
    agent.reload(&plan(&lab, budget))?;
    broker.limit(Some(CORES))?;

    let before = devices.totals();
    let mut load = Load::start(&lab.clients[0], Lab::VIP4)?;
    load.order(&balancer_tests::load::wire::Order::Add(group("storm", CLIENTS, 600_000)))?;
    let start = Instant::now();
    until_ok("the storm to be over or the time to be up", WATCHED + PATIENCE, || {
        let done = load.totals().connected == u64::from(CLIENTS) || start.elapsed() >= WATCHED;
        anyhow::ensure!(done, "{:?}", load.totals());
        Ok(())
    })?;

    let (records, after) = (load.records(), devices.totals());
    let given_up_on_broker = records.failed.iter().filter(|cause| cause.starts_with(NO_CONNACK)).count();
    let messages = after.received - before.received;
    Ok(Storm {
        connected: records.totals.connected,
        given_up_on_broker,
        failed_otherwise: records.failed.len() - given_up_on_broker,
        broken: records.broken.len(),
        dropped: agent.control.outcome("drop_over_budget")?,
        messages,
        round_trip: (after.round_trips - before.round_trips) / messages.max(1) as f64,
        devices_broken: after.broken - before.broken,
        state: agent.control.backend(SERVICE, BROKER)?.state,
    })
}

/// Without a budget the broker takes on more than it can answer: clients give up while it works for them, come again, and
/// it works for those that have left. With one, all that it takes on it answers.
#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn storm_a_budget_keeps_a_broker_from_working_for_clients_that_have_given_up() {
    let without = storm(None).unwrap();
    without.show("without a budget");
    let with = storm(Some(BUDGET)).unwrap();
    with.show(&format!("with a budget of {BUDGET}"));

    assert_eq!(without.dropped, 0);
    assert!(without.given_up_on_broker > CLIENTS as usize / 20, "the storm was no trouble: {without:#?}");
    assert!(with.dropped > 0, "{with:#?}");
    assert!(
        with.given_up_on_broker * 20 < without.given_up_on_broker,
        "{} clients gave up on the broker with a budget, {} without",
        with.given_up_on_broker,
        without.given_up_on_broker
    );
    assert!(with.connected > 0 && with.broken == 0, "{with:#?}");
    assert_eq!((with.devices_broken, with.state), (0, BackendState::Up), "{with:#?}");
}
