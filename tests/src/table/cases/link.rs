//! Link layers: VLAN tags on either side, one-armed gateways, hops that only the kernel knows.

use balancer_common::{abi::Hop, outcome::Outcome};

use crate::{
    packet::Tcp,
    table::{
        CLIENTS, Net, Scenario, Talk, World,
        scenario::stranger,
        tagged,
        world::{self, STRANGER, client_hop, server_hop},
    },
};

/// Tags of a link, outermost first.
pub(in crate::table) type Tags = &'static [(u16, u16)];

const PLAIN: Tags = &[];
/// Priority 3, VLAN 100.
const ONE: Tags = &[(0x8100, 0x6064)];
/// A service tag alone.
const SERVICE: Tags = &[(0x88a8, 0x0fff)];
/// QinQ.
const TWO: Tags = &[(0x88a8, 0x2007), (0x8100, 0x0065)];
/// Two customer tags, as some switches stack them.
const STACKED: Tags = &[(0x8100, 0x0001), (0x8100, 0x0002)];

/// Tags of the clients' link and of the servers', where more combinations would show nothing else.
pub(in crate::table) const PAIRS: [(Tags, Tags); 4] = [(PLAIN, ONE), (ONE, PLAIN), (TWO, ONE), (ONE, TWO)];

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for net in Net::BOTH {
        for client in [PLAIN, ONE, SERVICE, TWO, STACKED] {
            for server in [PLAIN, ONE, SERVICE, TWO, STACKED] {
                scenarios.push(tags(net, client, server));
            }
        }
        scenarios.extend([
            one_armed(net),
            by_routes(net),
            by_stack(net),
            no_headroom(net),
            tagged_reset(net),
            too_deep(net),
        ]);
    }
    scenarios
}

/// Frames gain and lose tags on the way, and keep everything else.
fn tags(net: Net, client: Tags, server: Tags) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).hop = tagged(server_hop(11), server);
    let talk = world.talk(40000, 0);
    let talk = talk.from(talk.client, tagged(client_hop(10), client));
    let mut s = Scenario::new(format!("{net:?}: tags {client:x?} to {server:x?}"), world);
    s.connect(&talk);
    s.request(&talk, "data", Tcp::data(1001, 5001, b"odd"), Outcome::ForwardRequest);
    s.reply(&talk, "data", Tcp::data(5001, 1004, b"even"), Outcome::ForwardReply);
    s.flow(&talk, 0, 1004);
    s
}

/// Clients and servers on one interface: packets leave where they came from.
fn one_armed(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).hop = tagged(Hop { ifindex: CLIENTS, ..server_hop(11) }, ONE);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: one interface for both sides"), world);
    s.connect(&talk);
    s.reply(&talk, "data", Tcp::data(5001, 1001, b"data"), Outcome::ForwardReply);
    s
}

/// The agent does not know the way to the backend, the kernel's routes do.
fn by_routes(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).hop = Hop::UNKNOWN;
    let talk = Talk { server_hop: server_hop(11), ..world.talk(40000, 0) };
    let mut s = Scenario::new(format!("{net:?}: the kernel's routes know the way"), world);
    s.connect(&talk);
    // A client behind a VLAN, so that the way out of the routes sheds its tags.
    let talk = talk.from(net.client(12, 40000), tagged(client_hop(12), TWO));
    s.connect(&talk);
    s
}

/// Nobody knows the way: the host's stack gets the translated packet and finds the neighbour.
fn by_stack(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).hop = Hop::UNKNOWN;
    world.backend(0).addr = net.server(STRANGER, world::BROKER_PORT);
    let talk = world.talk(40000, 0);
    let talk = Talk { server_hop: Hop::UNKNOWN, ..talk };
    let mut s = Scenario::new(format!("{net:?}: the host's stack has to find the way"), world);
    s.connect(&talk);
    s.request(&talk, "data", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.reply(&talk, "the way back was learnt", Tcp::data(5001, 1005, b"data"), Outcome::ForwardReply);
    let (client, hop) = stranger(net, 40000);
    let talk = talk.from(client, tagged(hop, ONE));
    s.connect(&talk);
    s
}

/// No room for tags before the frame.
fn no_headroom(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).hop = tagged(server_hop(11), TWO);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: no room for tags"), world);
    s.dropped(&talk, "SYN", &talk.request(Tcp::syn(1000)), Outcome::DropRewrite).headroom = false;
    if let Some(crate::table::Step::Packet(row)) = s.steps.last_mut() {
        row.counts(0).syns += 1;
    }
    s.half_open(&talk, 1000, None);
    s.request(&talk, "SYN again, with room", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s
}

/// A RST goes back with the tags that the packet came with.
fn tagged_reset(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let mut s = Scenario::new(format!("{net:?}: a RST keeps the tags"), world.clone());
    for tags in [PLAIN, ONE, SERVICE, TWO, STACKED] {
        let talk = world.talk(40000, 0);
        let talk = talk.from(talk.client, tagged(client_hop(10), tags));
        s.refused(&talk, "ACK", Tcp::ack(1, 2), Outcome::ResetUnknownFlow, Tcp::rst(2));
    }
    s
}

/// Three tags are more than are understood.
fn too_deep(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: three tags"), world);
    let mut packet = talk.request(Tcp::syn(1000));
    packet.link.tags = crate::packet::Ethernet::arriving(&tagged(server_hop(11), TWO)).tags;
    packet.link.tags.push(packet.link.tags[0]);
    s.passed("SYN", packet.bytes(), Outcome::PassVlanDepth);
    let cut = packet.bytes()[..24].to_vec();
    s.passed("cut before the third tag's end", cut, Outcome::PassVlanDepth);
    s
}
