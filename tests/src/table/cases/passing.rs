//! Traffic that is not ours: handed to the host as it came.

use std::net::SocketAddr;

use balancer_common::outcome::Outcome;

use crate::{
    packet::{Ethernet, Packet, Tcp, other},
    table::{Net, SERVERS, Scenario, ServiceSpec, Talk, World, client_hop, server_hop, tagged, world},
};

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![others4(), others6(), odd_ethertypes()];
    for net in Net::BOTH {
        scenarios.extend([not_ours(net), direct(net), same_port(net), shared_port(net), truncated(net)]);
    }
    scenarios
}

fn others4() -> Scenario {
    let world = World::new(Net::V4, 1);
    let talk = world.talk(1883, 0);
    let link = Ethernet::arriving(&client_hop(10));
    let (SocketAddr::V4(client), SocketAddr::V4(vip)) = (talk.client, talk.vip) else { unreachable!() };
    let (client, vip) = (*client.ip(), *vip.ip());
    let mut s = Scenario::new("V4: ICMP, ARP and UDP pass", world);
    s.passed("ping of the VIP", other::ping4(&link, client, vip), Outcome::PassNotTcp);
    s.passed("ping by the VIP", other::ping4(&link, vip, client), Outcome::PassNotTcp);
    s.passed("UDP to the VIP", other::udp4(&link, (client, vip), (9, 1883)), Outcome::PassNotTcp);
    s.passed("ARP", other::arp(&link, client, vip), Outcome::PassNotIp);
    let link = Ethernet::arriving(&tagged(client_hop(10), &[(0x88a8, 1), (0x8100, 2)]));
    s.passed("ARP with tags", other::arp(&link, client, vip), Outcome::PassNotIp);
    s.passed("UDP with tags", other::udp4(&link, (client, vip), (9, 1883)), Outcome::PassNotTcp);
    s
}

fn others6() -> Scenario {
    let world = World::new(Net::V6, 1);
    let talk = world.talk(1883, 0);
    let link = Ethernet::arriving(&client_hop(10));
    let (SocketAddr::V6(client), SocketAddr::V6(vip)) = (talk.client, talk.vip) else { unreachable!() };
    let (client, vip) = (*client.ip(), *vip.ip());
    let mut s = Scenario::new("V6: ICMP and UDP pass", world);
    s.passed("ping of the VIP", other::ping6(&link, client, vip), Outcome::PassNotTcp);
    s.passed("UDP to the VIP", other::udp6(&link, (client, vip), (9, 1883)), Outcome::PassNotTcp);
    let link = Ethernet::arriving(&tagged(client_hop(10), &[(0x8100, 2)]));
    s.passed("UDP with a tag", other::udp6(&link, (client, vip), (9, 1883)), Outcome::PassNotTcp);
    s
}

fn odd_ethertypes() -> Scenario {
    let world = World::new(Net::V4, 1);
    let packet = world.talk(40000, 0).request(Tcp::syn(1)).bytes();
    let link = Ethernet::arriving(&client_hop(10));
    let mut s = Scenario::new("odd EtherTypes pass", world);
    for (note, ethertype) in [
        ("802.3 length", 46),
        ("MPLS", 0x8847),
        ("PPPoE", 0x8864),
        ("LLDP", 0x88cc),
        ("old QinQ", 0x9100),
        ("PROFINET", 0x8892),
        ("zero", 0),
        ("all ones", 0xffff),
    ] {
        s.passed(note, link.frame(ethertype, &packet[14..]), Outcome::PassNotIp);
    }
    s.passed("no payload", link.frame(0x88cc, &[]), Outcome::PassNotIp);
    s.passed("IPv4 that says IPv6", link.frame(0x86dd, &packet[14..]), Outcome::PassMalformed);
    s
}

/// TCP of the host's own and of others.
fn not_ours(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: TCP of others passes"), world);
    let link = || Ethernet::arriving(&client_hop(10));
    let all = [Tcp::syn(1), Tcp::ack(1, 2), Tcp::data(1, 2, b"data"), Tcp::fin(1, 2), Tcp::rst(1)];
    let port = |addr: SocketAddr, port| SocketAddr::new(addr.ip(), port);
    for tcp in all {
        let mut send = |note: &str, source, destination| {
            let packet = Packet::new(link(), source, destination, tcp.clone());
            s.passed(note, packet.bytes(), Outcome::PassNotOurs);
        };
        send("another port of the VIP", talk.client, port(talk.vip, 22));
        send("the service's port of another address", talk.client, port(talk.server, world::VIP_PORT));
        send("the broker's port of the VIP", talk.client, port(talk.vip, world::BROKER_PORT));
        send("another port of the backend", port(talk.server, 22), talk.client);
        send("the broker's port of another host", net.server(19, world::BROKER_PORT), talk.client);
        send("to a backend, past the service", talk.client, talk.server);
        send("from the service's address", talk.vip, talk.client);
    }
    s
}

/// What a backend sends of its own, or to who connects to it directly, is not a reply of ours.
fn direct(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: direct connections to a backend"), world);
    s.connect(&talk);
    let from = |client, tcp| Packet::new(Ethernet::arriving(&server_hop(11)), talk.server, client, tcp);
    for tcp in [Tcp::syn_ack(1, 2), Tcp::ack(1, 2), Tcp::data(1, 2, b"PINGRESP"), Tcp::fin(1, 2), Tcp::rst(1)]
    {
        let probe = from(net.server(1, 50000), tcp.clone());
        s.passed("reply to the agent's probe", probe.bytes(), Outcome::PassDirect);
        let other = from(net.client(10, 40001), tcp.clone());
        s.passed("another port of a client of ours", other.bytes(), Outcome::PassDirect);
        let second = Packet { source: net.server(12, world::BROKER_PORT), ..from(talk.client, tcp) };
        s.passed("another backend than the flow's", second.bytes(), Outcome::PassDirect);
    }
    s.flow(&talk, 0, 1001);
    s.reply(&talk, "the flow goes on", Tcp::data(5001, 1001, b"data"), Outcome::ForwardReply);
    s
}

/// A broker's port says whose reply a packet may be, and no more than that.
fn same_port(net: Net) -> Scenario {
    let mut world = World::new(net, 3);
    let neighbour = SocketAddr::new(net.server(11, 0).ip(), 21883);
    world.backend(1).addr = neighbour;
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: senders from a broker's port"), world);
    s.connect(&talk);
    senders(&mut s, net, &talk, neighbour);
    s
}

/// The same where backends of two services have the port, and the client a flow of each.
fn shared_port(net: Net) -> Scenario {
    let mut world = World::new(net, 4);
    let neighbour = SocketAddr::new(net.server(11, 0).ip(), 21883);
    world.backend(1).addr = neighbour;
    let second = ServiceSpec { id: 1, vip: net.vip(2, 21883), ring: vec![3], ..world.services[0].clone() };
    world.services.push(second);
    world.backend(3).service = 1;
    let (talk, other) = (world.talk(40000, 0), world.talk(40000, 3));
    let mut s = Scenario::new(format!("{net:?}: senders from a port of two services' brokers"), world);
    s.connect(&talk);
    s.connect(&other);
    senders(&mut s, net, &talk, neighbour);
    s.reply(&other, "the other service's", Tcp::data(5001, 1001, b"data"), Outcome::ForwardReply);
    s
}

fn senders(s: &mut Scenario, net: Net, talk: &Talk, neighbour: SocketAddr) {
    let mut passed = |note, source, outcome| {
        let packet = Packet { source, ..talk.reply(Tcp::data(5001, 1001, b"data")) };
        s.passed(note, packet.bytes(), outcome).ingress = SERVERS;
    };
    passed("another host", net.server(19, world::BROKER_PORT), Outcome::PassNotOurs);
    passed("another backend of the host", neighbour, Outcome::PassDirect);
    passed("another backend of the port", net.server(13, world::BROKER_PORT), Outcome::PassDirect);
    s.reply(talk, "the backend", Tcp::data(5001, 1001, b"data"), Outcome::ForwardReply);
}

/// Frames cut at every length.
fn truncated(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let tags = tagged(client_hop(10), &[(0x88a8, 7), (0x8100, 8)]);
    let mut s = Scenario::new(format!("{net:?}: frames cut at every length"), world);
    s.connect(&talk);
    let request = talk.from(talk.client, tags).request(Tcp::data(1001, 5001, b"data"));
    for packet in [request, talk.reply(Tcp::data(5001, 1001, b"data"))] {
        let bytes = packet.bytes();
        for length in 0..bytes.len() {
            s.passed(&format!("{length} bytes"), bytes[..length].to_vec(), Outcome::PassTruncated);
        }
    }
    s.flow(&talk, 0, 1001);
    s
}
