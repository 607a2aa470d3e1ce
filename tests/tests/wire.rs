//! What packets look like on the wire, and that traffic of others passes as if nobody were there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use balancer_tests::{
    agent::Agent,
    capture::Capture,
    lab::{GATEWAY4, GATEWAY6, Lab, LabOptions, PORT, VIP4, VIP6},
    netns::Netns,
    plan::{Plan, ServicePlan},
    tcp::{Connection, EchoServer},
    wait::PATIENCE,
};

const OTHER_PORT: u16 = 8080;

fn both(lab: &Lab) -> Plan {
    let service = vec![ServicePlan::v4(lab, "adaptive"), ServicePlan::v6(lab, "adaptive")];
    Plan { service, ..Plan::default() }
}

fn checksum_errors(netns: &Netns) -> u64 {
    let text = netns.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap()).unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split(' ').position(|name| name == "InCsumErrors").expect("the kernel counts them");
    values.split(' ').nth(place).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn checksums_are_right_on_both_sides() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let _agent = Agent::start(&lab, &both(&lab)).unwrap();
    let (client, broker) = (&lab.clients[0], &lab.brokers[0]);
    let hosts = [client, broker];
    let captures = hosts.map(|host| Capture::start(&lab, host).unwrap());
    for vip in [Lab::VIP4, Lab::VIP6] {
        let connections = Connection::open_many(&lab.clients[0].netns, vip, 10).unwrap();
        for (n, connection) in connections.iter().enumerate() {
            // Odd and even lengths, one segment and many.
            connection.echo(n + 1).unwrap();
            connection.echo(7_001 * n).unwrap();
        }
    }
    for (host, capture) in hosts.iter().zip(captures) {
        let mut packets = capture.finish().unwrap();
        // Not the gateway's own probes, whose checksums are left to its interface.
        let addresses = [format!(" {}.", client.v4), format!(" {}.", client.v6)];
        packets.retain(|packet| addresses.iter().any(|address| packet.contains(address)));
        let right = packets.iter().filter(|packet| packet.contains("(correct)")).count();
        let wrong: Vec<_> =
            packets.iter().filter(|p| p.contains("incorrect") || p.contains("bad cksum")).take(5).collect();
        assert!(wrong.is_empty(), "at {}: {wrong:#?}", host.name);
        assert!(right > 400, "at {}: {right} of {} packets", host.name, packets.len());
        assert_eq!(right, packets.len(), "at {}: every checksum was looked at", host.name);
        assert_eq!(checksum_errors(&host.netns), 0, "at {}", host.name);
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn the_client_sees_the_vip_and_the_broker_sees_the_client() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let _agent = Agent::start(&lab, &Plan::tcp(&lab, "adaptive")).unwrap();
    let (client, broker) = (&lab.clients[0], &lab.brokers[0]);
    let captures = [Capture::start(&lab, client).unwrap(), Capture::start(&lab, broker).unwrap()];
    let connection = Connection::open(&client.netns, Lab::VIP4).unwrap();
    connection.echo(10).unwrap();
    let port = connection.local().unwrap().port();
    let [at_client, at_broker] = captures.map(|capture| capture.finish().unwrap());
    let own = format!("{}.{port}", client.v4);
    let pair = |other: &str| [format!("{own} > {other}:"), format!("{other} > {own}:")];
    let flow = |packets: Vec<String>| packets.into_iter().filter(|p| p.contains(&own)).collect::<Vec<_>>();
    for (packets, other) in
        [(flow(at_client), format!("{VIP4}.{PORT}")), (flow(at_broker), format!("{}.{PORT}", broker.v4))]
    {
        let [out, back] = pair(&other);
        let both = packets.iter().any(|p| p.contains(&out)) && packets.iter().any(|p| p.contains(&back));
        assert!(both, "{out} and {back} in {packets:#?}");
        assert!(packets.iter().all(|p| p.contains(&out) || p.contains(&back)), "{packets:#?}");
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_packet_of_an_unknown_flow_is_answered_with_a_reset() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let client = &lab.clients[0].netns;
    // Flows that another box, here the gateway's own stack, has established before the service was there.
    let _before = EchoServer::start(&lab.gateway, PORT, "gateway").unwrap();
    let old = [Lab::VIP4, Lab::VIP6].map(|vip| Connection::open(client, vip).unwrap());
    let _agent = Agent::start(&lab, &both(&lab)).unwrap();
    for connection in &old {
        assert_eq!(connection.server, "gateway");
        let error = connection.echo(10).unwrap_err();
        let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(kind, Some(std::io::ErrorKind::ConnectionReset), "{error:#}");
    }
    for vip in [Lab::VIP4, Lab::VIP6] {
        assert_eq!(Connection::open(client, vip).unwrap().server, "broker0");
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn other_tcp_passes() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let (client, broker) = (&lab.clients[0], &lab.brokers[0]);
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let _other = EchoServer::start(&broker.netns, OTHER_PORT, "other").unwrap();
    let _own = EchoServer::start(&lab.gateway, OTHER_PORT, "gateway").unwrap();
    let at = |ip: IpAddr| SocketAddr::new(ip, OTHER_PORT);
    let cases = [
        ("gateway", at(GATEWAY4.into())),
        ("gateway", at(GATEWAY6.into())),
        ("gateway", at(VIP4.into())),
        ("gateway", at(VIP6.into())),
        // Routed through the gateway, past the service.
        ("other", at(broker.v4.into())),
        ("other", at(broker.v6.into())),
        ("broker0", broker.socket4()),
        ("broker0", broker.socket6()),
    ];
    let open = |to| Connection::open(&client.netns, to).unwrap();
    let before: Vec<Connection> = cases.iter().map(|&(_, to)| open(to)).collect();
    let _agent = Agent::start(&lab, &both(&lab)).unwrap();
    let after: Vec<Connection> = cases.iter().map(|&(_, to)| open(to)).collect();
    for ((name, to), connection) in cases.iter().zip(&after).chain(cases.iter().zip(&before)) {
        assert_eq!(&connection.server, name, "{to}");
        connection.echo(30_000).unwrap_or_else(|error| panic!("{to}: {error:#}"));
    }
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn ping_udp_and_fragments_pass() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let _agent = Agent::start(&lab, &both(&lab)).unwrap();
    let (client, broker) = (&lab.clients[0], &lab.brokers[0]);
    let targets: [(IpAddr, &Netns); 6] = [
        (GATEWAY4.into(), &lab.gateway),
        (GATEWAY6.into(), &lab.gateway),
        (VIP4.into(), &lab.gateway),
        (VIP6.into(), &lab.gateway),
        (broker.v4.into(), &broker.netns),
        (broker.v6.into(), &broker.netns),
    ];
    for (ip, home) in targets {
        for size in ["56", "4000"] {
            client
                .netns
                .run("ping", &["-c", "2", "-i", "0.1", "-W", "5", "-s", size, &ip.to_string()])
                .unwrap();
        }
        // The service's own port number, but not its protocol.
        for size in [10, 4_000] {
            udp_echo(&client.netns, home, SocketAddr::new(ip, PORT), size);
        }
    }
}

fn udp_echo(client: &Netns, home: &Netns, to: SocketAddr, size: usize) {
    let server = home.enter(|| UdpSocket::bind(to).unwrap()).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let unspecified: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = client.enter(|| UdpSocket::bind(unspecified).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (sent, mut got) = (vec![7; size], vec![0; size + 1]);
    client.enter(|| socket.send_to(&sent, to).unwrap()).unwrap();
    let (n, from) =
        server.recv_from(&mut got).unwrap_or_else(|error| panic!("{size} bytes to {to}: {error}"));
    server.send_to(&got[..n], from).unwrap();
    let (n, from) =
        socket.recv_from(&mut got).unwrap_or_else(|error| panic!("{size} bytes from {to}: {error}"));
    assert_eq!((&got[..n], from), (&sent[..], to));
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn an_agent_that_is_gone_for_good_leaves_nothing_in_the_way() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let _own = EchoServer::start(&lab.gateway, PORT, "gateway").unwrap();
    let client = &lab.clients[0].netns;
    let agent = Agent::start(&lab, &both(&lab)).unwrap();
    assert_eq!(Connection::open(client, Lab::VIP4).unwrap().server, "broker0");
    drop(agent);
    // Removing the pins detaches the program.
    balancer_tests::wait::until("the gateway's own service to answer", PATIENCE, || {
        Connection::open(client, Lab::VIP4).is_ok_and(|connection| connection.server == "gateway")
    })
    .unwrap();
}
