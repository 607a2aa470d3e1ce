//! Floods of SYNs, and clients that connect all the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use balancer_tests::{
    agent::Agent,
    broker::Broker,
    flood::Flood,
    lab::{Host, Lab, LabOptions},
    netns::Netns,
    plan::{Plan, ServicePlan},
    tcp::{Connection, EchoServer},
    wait::{PATIENCE, until},
};

/// Clients that try to connect.
const CLIENTS: usize = 20;

/// How long one of them tries.
const PATIENCE_OF_CLIENTS: Duration = Duration::from_secs(4);

/// An MQTT 3.1.1 CONNECT without a client id, and the CONNACK that accepts it.
const CONNECT: [u8; 14] = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0];
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// A broker without SYN cookies of its own, as many an appliance has none. The host's own limit is far above the listener's:
/// below it the kernel keeps a quarter for clients that it remembers.
fn weaken(host: &Host) {
    let sysctl = |key: &str, value: &str| fs::write(format!("/proc/sys/net/ipv4/{key}"), value).unwrap();
    let set = || {
        sysctl("tcp_syncookies", "0");
        sysctl("tcp_max_syn_backlog", "4096");
    };
    host.netns.enter(set).unwrap();
}

/// Whether a client gets a CONNACK in time.
fn is_accepted(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE_OF_CLIENTS)?;
    stream.set_read_timeout(Some(PATIENCE_OF_CLIENTS))?;
    stream.write_all(&CONNECT)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer == CONNACK { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

/// How many of [`CLIENTS`] that come at once get a CONNACK.
fn accepted(netns: &Netns) -> usize {
    let (sender, results) = std::sync::mpsc::channel();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let sender = sender.clone();
            netns.spawn(&format!("client {n}"), move || sender.send(is_accepted(Lab::VIP4)).unwrap()).unwrap()
        })
        .collect();
    drop(sender);
    let accepted = results.into_iter().filter(Result::is_ok).count();
    clients.into_iter().for_each(|client| client.join().unwrap());
    accepted
}

fn plan(lab: &Lab, shield_syns: u32) -> Plan {
    let mut plan = Plan::tcp(lab, "round-robin");
    plan.datapath.shield_syns = Some(shield_syns);
    plan
}

/// A flood that fills the broker's backlog keeps clients away, and with the shield they do not notice it.
///
/// With the shield comes first: a backlog that was filled once stays so for a minute, until the broker's kernel gives up.
#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn clients_connect_during_a_flood() {
    /// SYNs a second from each CPU.
    const RATE: u32 = 1000;
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    weaken(&lab.brokers[0]);
    let _broker = Broker::start(&lab, 0, None).unwrap();
    let mut shielded = plan(&lab, 20);
    // The broker's backlog is full for the gateway, too: what its probes say must not decide here.
    shielded.service[0].health.fall = 100;
    let agent = Agent::start(&lab, &shielded).unwrap();
    let client = &lab.clients[0].netns;
    assert_eq!(accepted(client), CLIENTS, "without a flood");

    let flood = Flood::start(client, Lab::VIP4, RATE).unwrap();
    let cookies = || agent.control.outcome("answer_cookie").unwrap();
    until("cookies from every CPU", PATIENCE, || cookies() > u64::from(4 * RATE)).unwrap();
    let with = accepted(client);
    let counted = agent.control.status().unwrap().services[0].cookies;
    assert_eq!(with, CLIENTS, "with the shield; {counted:?}");
    assert!(
        counted.accepted >= CLIENTS as u64 && counted.sent > 10 * counted.accepted,
        "cookies of the flood that were accepted: {counted:?}"
    );

    let mut open = shielded.clone();
    open.datapath.shield_syns = Some(0);
    agent.reload(&open).unwrap();
    let broker = lab.brokers[0].socket4();
    let reach = || TcpStream::connect_timeout(&broker, Duration::from_millis(300));
    let is_full = || lab.gateway.enter(reach).is_ok_and(|reached| reached.is_err());
    until("the broker's backlog to be full", PATIENCE, is_full).unwrap();
    let without = accepted(client);
    let rate = RATE * u32::try_from(thread::available_parallelism().unwrap().get()).unwrap();
    println!("| | SYNs a second | clients that connected |\n|---|---:|---:|");
    println!("| no flood | 0 | {CLIENTS} of {CLIENTS} |");
    println!("| `shield_syns = 0` | {rate} | {without} of {CLIENTS} |");
    println!("| shield | {rate} | {with} of {CLIENTS} |");
    assert!(without <= CLIENTS / 4, "{without} of {CLIENTS} connected: the flood does not harm anybody");
    drop(flood);
    agent.control.wait_live("tcp4", "broker0", 0).unwrap();
}

/// Flows that were opened by a cookie live as long as others: server-first greetings, megabytes both ways, another agent, and
/// an end that is counted.
#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_shielded_flow_lives_like_any_other() {
    const FLOWS: usize = 6;
    let lab = Lab::new(LabOptions { brokers: 2, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let mut plan = plan(&lab, 20);
    plan.service.push(ServicePlan::v6(&lab, "round-robin"));
    let mut agent = Agent::start(&lab, &plan).unwrap();
    let client = &lab.clients[0].netns;
    let flood = Flood::start(client, Lab::VIP4, 200).unwrap();
    until("cookies", PATIENCE, || agent.control.outcome("answer_cookie").is_ok_and(|sent| sent > 100))
        .unwrap();
    // The rate is of the clock unit before: from the second one on every CPU answers with cookies.
    thread::sleep(Duration::from_secs(2));

    let mut connections = Connection::open_many(client, Lab::VIP4, FLOWS).unwrap();
    connections.extend(Connection::open_many(client, Lab::VIP6, FLOWS).unwrap());
    drop(flood);
    let status = agent.control.status().unwrap();
    let accepted: Vec<u64> = status.services.iter().map(|service| service.cookies.accepted).collect();
    assert_eq!(accepted, [FLOWS as u64; 2], "clients by cookie");
    for connection in &connections {
        connection.echo(2_000_000).unwrap();
    }
    for (service, name) in
        [("tcp4", "broker0"), ("tcp4", "broker1"), ("tcp6", "broker0"), ("tcp6", "broker1")]
    {
        agent.control.wait_live(service, name, FLOWS as u64 / 2).unwrap();
    }

    agent.kill().unwrap();
    for connection in &connections {
        connection.echo(100_000).unwrap();
    }
    agent.start_again().unwrap();
    // A sweep finds nothing to remove.
    thread::sleep(Duration::from_secs(7));
    for connection in &connections {
        connection.echo(100_000).unwrap();
    }
    let local = connections[0].local().unwrap();
    let explained = agent.control.run(&["explain", &local.to_string(), "--service", "tcp4"]).unwrap();
    assert!(explained.contains("opened by a SYN cookie"), "{explained}");

    drop(connections);
    for (service, name) in
        [("tcp4", "broker0"), ("tcp4", "broker1"), ("tcp6", "broker0"), ("tcp6", "broker1")]
    {
        agent.control.wait_live(service, name, 0).unwrap();
    }
    let lost = agent.control.outcome("drop_unproven").unwrap();
    assert_eq!(lost, 0, "packets whose numbers were not known");
}
