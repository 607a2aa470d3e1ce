//! Flows that are closed on purpose, and that both ends hear of it.

use balancer_common::{
    abi::{Backend, FlowState, Hop},
    outcome::Outcome,
};

use super::link::{PAIRS, Tags};
use crate::{
    packet::{Extension, Tcp},
    table::{
        CLIENTS, Net, Scenario, Talk, World, tagged,
        world::{client_hop, server_hop},
    },
};

const CUT: u64 = FlowState::CUT | FlowState::CLOSED;
const LISTED: u8 = Backend::CLOSE_LISTED;
const ALL: u8 = Backend::CLOSE_ALL;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for net in Net::BOTH {
        scenarios.extend([
            by_client(net),
            by_backend(net),
            others(net),
            ends_by_itself(net),
            half_closed(net),
            successor(net),
            dead(net),
            dead_but_speaking(net),
            by_stack(net),
            odd_headers(net),
        ]);
        for tags in PAIRS {
            scenarios.push(tagged_links(net, tags));
        }
    }
    scenarios
}

/// The flow of `talk` is open and was chosen.
fn chosen(name: &str, world: World, talk: &Talk) -> Scenario {
    let mut s = Scenario::new(format!("{:?}: {name}", world.net), world);
    s.connect(talk);
    s.close(talk);
    let backend = talk.backend;
    s.change(|world| world.backend(backend).closing = LISTED);
    s
}

/// The client's data is what closes the flow: a RST for the backend, and one for the client when it sends again.
fn by_client(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = chosen("closed by the client's data", world, &talk);
    s.request(&talk, "a bare ACK passes", Tcp::ack(1001, 5001), Outcome::ForwardRequest);
    s.reply(&talk, "a bare ACK passes", Tcp::ack(5001, 1001), Outcome::ForwardReply);
    s.listed(&talk, true);
    s.flow(&talk, 0, 1001);
    s.cut(&talk, "data", Tcp::data(1001, 5001, b"PUBLISH"));
    s.flow(&talk, CUT, 1001);
    s.listed(&talk, false);
    s.refused(&talk, "again", Tcp::data(1001, 5001, b"PUBLISH"), Outcome::ResetCut, Tcp::rst(5001));
    s.refused(&talk, "a bare ACK", Tcp::ack(1008, 5001), Outcome::ResetCut, Tcp::rst(5001));
    s.refused(&talk, "FIN", Tcp::fin(1008, 5001), Outcome::ResetCut, Tcp::rst(5001));
    s.refused_reply(
        &talk,
        "data of the backend",
        Tcp::data(5001, 1001, b"x"),
        Outcome::ResetCut,
        Tcp::rst(1001),
    );
    s.refused_reply(&talk, "its ACK", Tcp::ack(5002, 1001), Outcome::ResetCut, Tcp::rst(1001));
    s.request(&talk, "RST of the client", Tcp::rst(1008), Outcome::ForwardRequest);
    s.reply(&talk, "RST of the backend", Tcp::rst(5002), Outcome::ForwardReply);
    s.change(|world| world.backend(0).closing = Backend::KEEP);
    s.refused(&talk, "later", Tcp::data(1001, 5001, b"PUBLISH"), Outcome::ResetCut, Tcp::rst(5001));
    s.refused_reply(&talk, "later", Tcp::data(5001, 1001, b"x"), Outcome::ResetCut, Tcp::rst(1001));
    s.flow(&talk, CUT | FlowState::RST_UNPROVEN, 1001);
    s
}

/// The backend's data is what closes the flow.
fn by_backend(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = chosen("closed by the backend's data", world, &talk);
    s.cut_reply(&talk, "data", Tcp::data(5001, 1001, b"PUBLISH"));
    s.flow(&talk, CUT, 1001);
    s.listed(&talk, false);
    let again = Tcp::data(5001, 1001, b"PUBLISH");
    s.refused_reply(&talk, "again", again, Outcome::ResetCut, Tcp::rst(1001));
    s.refused(&talk, "PINGREQ", Tcp::data(1001, 5001, b"\xc0\0"), Outcome::ResetCut, Tcp::rst(5001));
    s
}

/// Nobody else is touched, and what the backend has already is not what closes a flow.
fn others(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let (talk, other) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = chosen("others go on", world, &talk);
    s.connect(&other);
    s.request(&other, "data", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.reply(&other, "data", Tcp::data(5001, 1005, b"data"), Outcome::ForwardReply);
    s.flow(&other, 0, 1005);
    s.reply(&talk, "ACK of more", Tcp::ack(5001, 1005), Outcome::ForwardReply);
    let old = Tcp::data(1001, 5001, b"data");
    s.request(&talk, "what is acknowledged already", old, Outcome::ForwardRequest);
    s.listed(&talk, true);
    s.cut(&talk, "data in flight", Tcp::data(1055, 5001, b"data"));
    s.request(&other, "data", Tcp::data(1005, 5005, b"data"), Outcome::ForwardRequest);
    s
}

/// A FIN closes a flow without our help; one with data is data.
fn ends_by_itself(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let (talk, other) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = chosen("it ends by itself", world, &talk);
    s.request(&talk, "FIN", Tcp::fin(1001, 5001), Outcome::ForwardRequest);
    s.reply(&talk, "FIN", Tcp::fin(5001, 1002), Outcome::ForwardReply).closes(0);
    s.request(&talk, "last ACK", Tcp::ack(1002, 5002), Outcome::ForwardRequest);
    let late = Tcp::data(1001, 5001, b"late");
    s.request(&talk, "data of a flow that is over", late, Outcome::ForwardRequest);
    s.listed(&talk, true);
    s.flow(&talk, FlowState::FIN_CLIENT | FlowState::FIN_BACKEND | FlowState::CLOSED, 1002);
    s.connect(&other);
    s.close(&other);
    let fin = Tcp { flags: Tcp::FIN | Tcp::ACK, ..Tcp::data(1001, 5001, b"DISCONNECT") };
    s.cut(&other, "FIN with data", fin);
    s
}

/// One side is done and the other sends on.
fn half_closed(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = chosen("half closed", world, &talk);
    s.request(&talk, "FIN", Tcp::fin(1001, 5001), Outcome::ForwardRequest);
    s.cut_reply(&talk, "data", Tcp::data(5001, 1002, b"more"));
    s.flow(&talk, CUT | FlowState::FIN_CLIENT, 1001);
    s
}

/// The client connects again from the same port: the successor is another flow, on the list or not.
fn successor(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let next = talk.with(&world, 1);
    let mut s = chosen("a successor on the same tuple", world, &talk);
    s.cut(&talk, "data", Tcp::data(1001, 5001, b"data"));
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    // The SYN was steered anew, so that this answers it.
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardReply).counts(0).answered = 1;
    s.request(&talk, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s.flow(&talk, 0, 1001);
    s.request(&talk, "data", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.close(&talk);
    s.change(|world| {
        world.services[0].ring = vec![1];
        world.backend(0).score.flags |= balancer_common::abi::ScoreFlags::DRAIN;
        world.backend(1).closing = LISTED;
    });
    s.request(&next, "SYN", Tcp::syn(8000), Outcome::ForwardSyn);
    s.reply(&next, "SYN-ACK", Tcp::syn_ack(6000, 8001), Outcome::ForwardHalfOpen);
    s.request(&next, "ACK", Tcp::ack(8001, 6001), Outcome::ForwardPromoted).closes(0);
    s.listed(&next, true);
    s.request(&next, "data of the successor", Tcp::data(8001, 6001, b"data"), Outcome::ForwardRequest);
    s.reply(&next, "data of the successor", Tcp::data(6001, 8005, b"data"), Outcome::ForwardReply);
    s.flow(&next, 0, 8005);
    s
}

/// The backend is dead: the client is told at once.
fn dead(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let (talk, idle) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = Scenario::new(format!("{net:?}: the backend is dead"), world);
    s.connect(&talk);
    s.connect(&idle);
    s.change(|world| world.backend(0).closing = ALL);
    s.request(&talk, "a bare ACK passes", Tcp::ack(1001, 5001), Outcome::ForwardRequest);
    let down = Outcome::ResetBackendDown;
    s.refused(&talk, "data", Tcp::data(1001, 5001, b"PINGREQ"), down, Tcp::rst(5001)).closes(0);
    s.flow(&talk, CUT, 1001);
    s.refused(&talk, "again", Tcp::data(1001, 5001, b"PINGREQ"), Outcome::ResetCut, Tcp::rst(5001));
    s.request(&talk, "RST", Tcp::rst(1001), Outcome::ForwardRequest);
    s.change(|world| world.backend(0).closing = Backend::KEEP);
    s.request(&idle, "who was idle goes on", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.refused(&talk, "who was cut does not", Tcp::ack(1001, 5001), Outcome::ResetCut, Tcp::rst(5001));
    s
}

/// Its probes fail, but it still sends: the client is told by that packet.
fn dead_but_speaking(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: the backend is dead, but sends"), world);
    s.connect(&talk);
    s.change(|world| world.backend(0).closing = ALL);
    s.reply(&talk, "a bare ACK passes", Tcp::ack(5001, 1001), Outcome::ForwardReply);
    s.cut_reply(&talk, "data", Tcp::data(5001, 1001, b"data"));
    s.refused_reply(&talk, "ACK", Tcp::ack(5005, 1001), Outcome::ResetCut, Tcp::rst(1001));
    s
}

/// Nobody but the host's stack knows the way to the backend.
fn by_stack(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).addr = net.server(66, 11883);
    world.backend(0).hop = Hop::UNKNOWN;
    let talk = world.talk(40000, 0);
    let mut s = chosen("closed by way of the host's stack", world, &talk);
    s.cut(&talk, "data", Tcp::data(1001, 5001, b"data"));
    s.refused(&talk, "again", Tcp::data(1001, 5001, b"data"), Outcome::ResetCut, Tcp::rst(5001));
    s
}

/// Options and extension headers are gone from the RST, and everything behind them is where it belongs.
fn odd_headers(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let shape: fn(&mut crate::packet::Packet) = match net {
        Net::V4 => |packet| packet.network.options = vec![1; 12],
        Net::V6 => |packet| packet.network.extensions = vec![Extension::hop_by_hop()],
    };
    let talks = [world.talk(40000, 0), world.talk(40001, 0)].map(|talk| talk.shaped(shape));
    let mut s = chosen("closed behind odd headers", world, &talks[0]);
    s.cut(&talks[0], "data of the client", Tcp::data(1001, 5001, b"odd"));
    s.refused(&talks[0], "again", Tcp::data(1001, 5001, b"odd"), Outcome::ResetCut, Tcp::rst(5001));
    s.connect(&talks[1]);
    s.close(&talks[1]);
    s.cut_reply(&talks[1], "data of the backend", Tcp::data(5001, 1001, b"odd"));
    let again = Tcp::data(5001, 1001, b"odd");
    s.refused_reply(&talks[1], "again", again, Outcome::ResetCut, Tcp::rst(1001));
    s
}

/// Links with tags, of which the RST gains and loses some.
fn tagged_links(net: Net, (client, server): (Tags, Tags)) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).hop = tagged(server_hop(11), server);
    let talk = |port, world: &World| {
        let talk = world.talk(port, 0);
        talk.from(talk.client, Hop { ifindex: CLIENTS, ..tagged(client_hop(10), client) })
    };
    let (first, second) = (talk(40000, &world), talk(40001, &world));
    let mut s = chosen(&format!("closed, tags {client:x?} to {server:x?}"), world, &first);
    s.cut(&first, "data of the client", Tcp::data(1001, 5001, b"data"));
    s.refused(&first, "again", Tcp::data(1001, 5001, b"data"), Outcome::ResetCut, Tcp::rst(5001));
    let late = Tcp::ack(5001, 1001);
    s.refused_reply(&first, "ACK of the backend", late, Outcome::ResetCut, Tcp::rst(1001));
    s.connect(&second);
    s.close(&second);
    s.cut_reply(&second, "data of the backend", Tcp::data(5001, 1001, b"data"));
    s
}
