//! Services and brokers behind VLAN devices of the gateway: the program takes the tags off the packet, and puts on
//! those of the way out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use anyhow::Result;
use balancer_tests::{
    agent::Agent,
    lab::{Lab, LabOptions, PORT},
    netns::Netns,
    plan::{BackendPlan, Plan, ServicePlan},
    tcp::{Connection, EchoServer, tally},
    wait::{PATIENCE, until_ok},
};

/// Protocol and number of a tag.
type Tag = (&'static str, u16);

/// The VIP that is on the clients' tagged network.
const VIP4: &str = "203.0.113.10";
const VIP6: &str = "2001:db8:64::10";
/// The broker that is on the other tagged network only.
const TAGGED4: &str = "10.72.0.12:1883";
const TAGGED6: &str = "[2001:db8:c8::12]:1883";
/// The same for the service of the untagged network.
const SECOND4: &str = "10.72.0.13:1883";

/// Room for two tags in what the interfaces below carry.
const MTU: u16 = 1492;

const FLOWS: usize = 12;
const ECHOED: usize = 20_000;

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn one_tag_on_both_sides() {
    tagged(&[("802.1Q", 100)], &[("802.1Q", 200)]);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn two_tags_on_both_sides() {
    tagged(&[("802.1ad", 10), ("802.1Q", 100)], &[("802.1ad", 20), ("802.1Q", 200)]);
}

/// A service with and one without tags towards its clients, each with brokers behind tags; the first has one without
/// besides.
fn tagged(clients: &[Tag], brokers: &[Tag]) {
    let lab = Lab::new(LabOptions { brokers: 3, clients: 1 }).unwrap();
    if let Some(reason) = missing(&lab.gateway) {
        println!("skipped: {reason}");
        return;
    }
    let (at_client, at_brokers) = (wire_clients(&lab, clients), wire_brokers(&lab, brokers));
    let client = &lab.clients[0].netns;
    for gateway in ["203.0.113.1", "2001:db8:64::1"] {
        until_ok("the tagged network", PATIENCE, || client.run("ping", &["-c1", "-W1", gateway])).unwrap();
    }
    let _servers = EchoServer::on(&lab.brokers).unwrap();
    let mut agent = Agent::start(&lab, &plan(&lab)).unwrap();

    let tagged_vips = [format!("{VIP4}:{PORT}"), format!("[{VIP6}]:{PORT}")];
    let before = [received(client, &at_client), received(&lab.brokers[1].netns, &at_brokers)];
    let mut connections = Vec::new();
    for vip in &tagged_vips {
        let opened = Connection::open_many(client, vip.parse().unwrap(), FLOWS).unwrap();
        let half = FLOWS / 2;
        let shares = [("broker0".to_owned(), half), ("broker1".to_owned(), half)].into();
        assert_eq!(tally(&opened), shares, "{vip}");
        echo(&opened);
        connections.extend(opened);
    }
    // Packets that came without their tags would be delivered as well, but not be counted there.
    let after = [received(client, &at_client), received(&lab.brokers[1].netns, &at_brokers)];
    let all = (connections.len() * ECHOED) as u64;
    assert!(
        after[0] - before[0] >= all,
        "{} bytes of {all} came to the client with tags",
        after[0] - before[0]
    );
    let half = all / 2;
    assert!(
        after[1] - before[1] >= half,
        "{} bytes of {half} came to the broker with tags",
        after[1] - before[1]
    );

    let untagged = Connection::open_many(client, Lab::VIP4, FLOWS).unwrap();
    assert_eq!(tally(&untagged), [("broker2".to_owned(), FLOWS)].into());
    echo(&untagged);
    connections.extend(untagged);

    agent.kill().unwrap();
    echo(&connections);
    agent.start_again().unwrap();
    echo(&connections);
    assert_eq!(agent.control.flows().unwrap().flows.len(), connections.len());
}

fn echo(connections: &[Connection]) {
    for connection in connections {
        connection.echo(ECHOED).unwrap_or_else(|error| panic!("{}: {error:#}", connection.server));
    }
}

/// Why there can be no VLANs here, if so.
fn missing(netns: &Netns) -> Option<String> {
    let error = netns.ip(&["link add link wan0 name probe type vlan id 1".to_owned()]).err();
    let Some(error) = error else {
        netns.ip(&["link del probe".to_owned()]).unwrap();
        return None;
    };
    let text = format!("{error:#}");
    assert!(text.contains("Unknown device type") || text.contains("not supported"), "{text}");
    Some("this kernel has no 802.1Q devices (module 8021q)".to_owned())
}

/// Makes VLAN devices on top of `below`, outermost tag first, and returns the name of the last one.
fn add_tags(netns: &Netns, below: &str, tags: &[Tag]) -> String {
    let mut device = below.to_owned();
    for (protocol, id) in tags {
        let name = format!("{device}.{id}");
        netns
            .ip(&[
                format!("link add link {device} name {name} type vlan protocol {protocol} id {id}"),
                format!("link set {name} mtu {MTU} up"),
            ])
            .unwrap();
        device = name;
    }
    device
}

/// A veth sets tags aside for its peer; a network card puts them into the packet, where the program looks for them.
fn tags_into_packets(netns: &Netns, interface: &str) {
    netns.run("ethtool", &["-K", interface, "txvlan", "off", "tx-vlan-stag-hw-insert", "off"]).unwrap();
}

fn wire_clients(lab: &Lab, tags: &[Tag]) -> String {
    let client = &lab.clients[0].netns;
    tags_into_packets(client, "eth0");
    let device = add_tags(&lab.gateway, "wan0", tags);
    lab.gateway
        .ip(&[
            format!("addr add 203.0.113.1/24 dev {device}"),
            format!("addr add {VIP4}/32 dev {device}"),
            format!("addr add 2001:db8:64::1/64 dev {device} nodad"),
            format!("addr add {VIP6}/128 dev {device} nodad"),
        ])
        .unwrap();
    let device = add_tags(client, "eth0", tags);
    client
        .ip(&[
            format!("addr add 203.0.113.2/24 dev {device}"),
            format!("addr add 2001:db8:64::2/64 dev {device} nodad"),
        ])
        .unwrap();
    device
}

/// All brokers but the first are on the tagged network alone.
fn wire_brokers(lab: &Lab, tags: &[Tag]) -> String {
    tags_into_packets(&lab.switch, "gw0");
    let device = add_tags(&lab.gateway, "lan0", tags);
    lab.gateway
        .ip(&[
            format!("addr add 10.72.0.1/24 dev {device}"),
            format!("addr add 2001:db8:c8::1/64 dev {device} nodad"),
        ])
        .unwrap();
    let mut last = String::new();
    for (host, octet) in lab.brokers.iter().zip(11_u8..).skip(1) {
        tags_into_packets(&host.netns, "eth0");
        last = add_tags(&host.netns, "eth0", tags);
        host.netns
            .ip(&[
                "addr flush dev eth0 scope global".to_owned(),
                format!("addr add 10.72.0.{octet}/24 dev {last}"),
                format!("addr add 2001:db8:c8::{octet}/64 dev {last} nodad"),
                format!("route replace default via 10.72.0.1 dev {last}"),
                format!("route replace default via 2001:db8:c8::1 dev {last}"),
            ])
            .unwrap();
    }
    last
}

fn plan(lab: &Lab) -> Plan {
    let with = |mut service: ServicePlan, name: &str, vip: &str, backends: Vec<BackendPlan>| {
        service.name = name.to_owned();
        service.vip = vip.to_owned();
        service.backend = backends;
        service
    };
    let (v4, v6) = (ServicePlan::v4(lab, "round-robin"), ServicePlan::v6(lab, "round-robin"));
    let at = |from: &BackendPlan, address: &str| BackendPlan { address: address.to_owned(), ..from.clone() };
    let untagged = with(v4.clone(), "untagged", &v4.vip, vec![at(&v4.backend[2], SECOND4)]);
    let pair4 = vec![v4.backend[0].clone(), at(&v4.backend[1], TAGGED4)];
    let pair6 = vec![v6.backend[0].clone(), at(&v6.backend[1], TAGGED6)];
    let service = vec![with(v4, "vlan4", VIP4, pair4), with(v6, "vlan6", VIP6, pair6), untagged];
    Plan { service, ..Plan::default() }
}

/// Bytes that came in by a VLAN device.
fn received(netns: &Netns, device: &str) -> u64 {
    let read = || -> Result<u64> {
        let text = netns.run("ip", &["-json", "-stats", "link", "show", "dev", device])?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        Ok(links[0]["stats64"]["rx"]["bytes"].as_u64().expect("ip tells the bytes received"))
    };
    read().unwrap()
}
