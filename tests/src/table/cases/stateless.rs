//! Flows without state: full tables, floods, flows that another gateway steered.

use balancer_common::{
    abi::{FlowState, ScoreFlags, ServiceFlags},
    outcome::Outcome,
};

use super::Change;
use crate::{
    packet::{Packet, Tcp},
    table::{Flood, Net, SERVERS, Scenario, Step, Talk, World, scenario::stranger, world::client_hop},
};

pub(super) fn scenarios() -> Vec<Scenario> {
    Net::BOTH
        .into_iter()
        .flat_map(|net| {
            [
                crowded(net),
                flood(net),
                begun_before(net),
                succeeding(net),
                full(net),
                adopting_service(net),
                adopted_end(net),
                ended_before(net),
                reset_before(net),
                ring_only(net),
            ]
        })
        .collect()
}

/// Above the mark new flows are steered by the ring alone, and their packets find the way without an entry.
fn crowded(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.settings.flows4_high = 1;
    world.settings.flows6_high = 1;
    let known = world.talk(40000, 0);
    let talk = world.talk(40001, 0);
    let mut s = Scenario::new(format!("{net:?}: the flow table is nearly full"), world);
    s.refused(&talk, "nothing is adopted before", Tcp::ack(1, 2), Outcome::ResetUnknownFlow, Tcp::rst(2));
    s.connect(&known);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSynStateless);
    s.no_half_open(&talk);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardReplyStateless);
    s.no_half_open(&talk);
    let (client, hop) = stranger(net, 40001);
    let far = Talk { client_hop: balancer_common::abi::Hop::UNKNOWN, ..talk.from(client, hop) };
    s.reply(&far, "to a client that the stack must find", Tcp::ack(5001, 1), Outcome::ForwardReplyStateless);
    let probe = Packet { destination: net.server(1, 50000), ..talk.reply(Tcp::ack(1, 2)) };
    s.passed("reply to the agent's probe", probe.bytes(), Outcome::PassDirect).ingress = SERVERS;
    let direct = talk.with(&s.world, 1);
    let answer = direct.reply(Tcp::ack(5001, 1)).bytes();
    s.passed("a connection made with another backend directly", answer, Outcome::PassDirect).ingress =
        SERVERS;
    let mut last = talk.reply(Tcp::ack(1, 2));
    last.network.hops = 1;
    s.dropped(&talk, "no hop left", &last, Outcome::DropHopLimit);

    s.request(&talk, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardAdopted);
    s.adopted(&talk);
    s.request(&talk, "data", Tcp::data(1001, 5001, b"data"), Outcome::ForwardAdopted);
    s.reply(&talk, "the backend knows it", Tcp::data(5001, 1005, b"data"), Outcome::ForwardHalfOpen).opens(0);
    s.no_half_open(&talk);
    s.flow(&talk, 0, 1005);
    s.request(&talk, "data", Tcp::data(1005, 5005, b"data"), Outcome::ForwardRequest);
    s.request(&known, "the known flow", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s
}

/// While SYNs flood, they leave no state.
fn flood(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.settings.flood_syns = 1000;
    let talk = world.talk(40000, 0);
    let flooding = world.talk(40001, 0);
    let refused = world.talk(40002, 0);
    let direct = world.talk(40003, 0);
    let mut s = Scenario::new(format!("{net:?}: a flood of SYNs"), world);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.steps.push(Step::Flood(Flood::Syns));
    s.request(&flooding, "SYN", Tcp::syn(1000), Outcome::ForwardSynStateless);
    s.no_half_open(&flooding);
    s.request(&talk, "SYN of before, again", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.request(&talk, "its proof", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s.request(&refused, "SYN", Tcp::syn(1000), Outcome::ForwardSynStateless);
    s.reply(&refused, "RST that answers it", Tcp::rst_ack(0, 1001), Outcome::ForwardReplyStateless);
    let of_direct = [
        ("data of a connection made with the ring's backend directly", Tcp::data(5001, 1001, b"data")),
        ("its RST", Tcp::rst(5005)),
        ("its RST with an ACK", Tcp::rst_ack(5005, 1001)),
    ];
    for (note, tcp) in of_direct {
        s.passed(note, direct.reply(tcp).bytes(), Outcome::PassDirect).ingress = SERVERS;
    }
    s
}

/// A SYN that has to do without an entry, and whose backend of before takes no new flows: its ACK goes where it went.
fn begun_before(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.settings.flood_syns = 1000;
    let talk = world.talk(40000, 0);
    let other = talk.with(&world, 1);
    let mut s = Scenario::new(format!("{net:?}: a connection begun before a flood of SYNs"), world);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.change(|world| {
        world.services[0].ring = vec![1];
        world.backend(0).score.flags |= ScoreFlags::DRAIN;
    });
    s.steps.push(Step::Flood(Flood::Syns));
    s.request(&other, "SYN again", Tcp::syn(1000), Outcome::ForwardSynStateless);
    s.no_half_open(&other);
    s.reply(&other, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardReplyStateless);
    s.request(&other, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardAdopted);
    s.adopted(&other);
    s
}

/// SYNs on tuples that have an entry in the flow table: their ACK finds that, so they are remembered in a flood too.
fn succeeding(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.settings.flood_syns = 1000;
    let (closed, live) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = Scenario::new(format!("{net:?}: known tuples in a flood of SYNs"), world);
    s.connect(&closed);
    s.reply(&closed, "RST", Tcp::rst(5001), Outcome::ForwardReply).closes(0);
    s.connect(&live);
    s.change(|world| {
        world.services[0].ring = vec![1];
        world.backend(0).score.flags |= ScoreFlags::DRAIN;
    });
    let (after, beside) = (closed.with(&s.world, 1), live.with(&s.world, 1));
    s.steps.push(Step::Flood(Flood::Syns));
    s.connect(&after);
    s.flow(&after, 0, 1001);
    s.request(&beside, "SYN on a live flow", Tcp::syn(77), Outcome::ForwardSyn);
    s.half_open(&beside, 77, None);
    s.reply(&beside, "SYN-ACK", Tcp::syn_ack(8000, 78), Outcome::ForwardHalfOpen);
    s.request(&live, "data", Tcp::data(1001, 5001, b"still here"), Outcome::ForwardRequest);
    s.request(&beside, "a client that did ask", Tcp::ack(78, 8001), Outcome::ForwardPromoted).closes(0);
    s.flow(&beside, 0, 78);
    s
}

/// No room in the flow table at all: a proven flow goes on by its half-open entry.
fn full(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.settings.flows4_high = u32::MAX;
    world.settings.flows6_high = u32::MAX;
    let talk = world.talk(40000, 0);
    let late = world.talk(40001, 1);
    let mut s = Scenario::new(format!("{net:?}: the flow table is full"), world);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.steps.push(Step::Fill);
    s.request(&talk, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardUntracked);
    s.no_flow(&talk);
    s.half_open(&talk, 1000, Some(5000));
    s.request(&talk, "data", Tcp::data(1001, 5001, b"data"), Outcome::ForwardUntracked);
    s.request(&talk, "more data", Tcp::data(1005, 5001, b"data"), Outcome::ForwardHalfOpen);
    s.reply(&talk, "data", Tcp::data(5001, 1009, b"data"), Outcome::ForwardHalfOpen);
    s.no_flow(&talk);
    s.change(|world| world.services[0].ring = vec![1]);
    s.request(&late, "unknown flows are adopted by then", Tcp::ack(7, 8), Outcome::ForwardAdopted);
    s.reply(&late, "no room for it either", Tcp::ack(8, 7), Outcome::ForwardHalfOpen);
    s.no_flow(&late);
    s.adopted(&late);
    s
}

/// A service whose flows may be another gateway's.
fn adopting_service(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.services[0].flags = ServiceFlags::ADOPT;
    let (first, second) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = Scenario::new(format!("{net:?}: a service that adopts"), world);
    s.request(&first, "data of another gateway's flow", Tcp::data(7, 8, b"data"), Outcome::ForwardAdopted);
    s.adopted(&first);
    s.change(|world| world.services[0].ring = vec![1]);
    s.request(&first, "it stays", Tcp::data(11, 8, b"data"), Outcome::ForwardAdopted);
    s.request(&first, "its numbers prove nothing", Tcp::ack(8, 1), Outcome::ForwardAdopted);
    s.no_flow(&first);
    s.reply(&first, "the backend knows it", Tcp::ack(8, 15), Outcome::ForwardHalfOpen).opens(0);
    s.flow(&first, 0, 15);
    s.change(|world| world.services[0].ring = vec![0]);
    s.request(&second, "data", Tcp::data(7, 8, b"data"), Outcome::ForwardAdopted);
    s.reply(&second, "the backend does not know it", Tcp::rst(8), Outcome::ForwardHalfOpen);
    s.no_flow(&second);
    s.dropped(
        &second.with(&s.world.clone(), 0).from(net.client(11, 1), client_hop(11)),
        "a RST is not adopted",
        &second.from(net.client(11, 1), client_hop(11)).request(Tcp::rst(7)),
        Outcome::DropStrayReset,
    );
    s.request(&second, "SYN on an adopted tuple", Tcp::syn(900), Outcome::ForwardSyn);
    s.half_open(&second, 900, None);
    s
}

/// A FIN that is the first packet of an adopted flow that the backend sends is noted.
fn adopted_end(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.services[0].flags = ServiceFlags::ADOPT;
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: an adopted flow that ends"), world);
    s.request(&talk, "data", Tcp::data(7, 8, b"data"), Outcome::ForwardAdopted);
    s.reply(&talk, "FIN", Tcp::fin(8, 11), Outcome::ForwardHalfOpen).opens(0);
    s.flow(&talk, FlowState::FIN_BACKEND, 11);
    s.request(&talk, "FIN", Tcp::fin(11, 9), Outcome::ForwardRequest).closes(0);
    s
}

/// Clients that have closed an adopted flow before its backend says anything.
fn ended_before(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.services[0].flags = ServiceFlags::ADOPT;
    let talk = world.talk(40000, 0);
    let (at_once, first) = (world.talk(40001, 0), world.talk(40002, 0));
    let mut s = Scenario::new(format!("{net:?}: clients end adopted flows first"), world);
    s.request(&talk, "data", Tcp::data(7, 8, b"data"), Outcome::ForwardAdopted);
    s.request(&talk, "FIN", Tcp::fin(11, 8), Outcome::ForwardAdopted);
    s.no_flow(&talk);
    s.reply(&talk, "ACK of the data", Tcp::ack(8, 11), Outcome::ForwardHalfOpen).opens(0);
    s.flow(&talk, FlowState::FIN_CLIENT, 11);
    s.reply(&talk, "ACK of the FIN", Tcp::ack(8, 12), Outcome::ForwardReply);
    s.reply(&talk, "FIN", Tcp::fin(8, 12), Outcome::ForwardReply).closes(0);
    s.request(&talk, "ACK", Tcp::ack(12, 9), Outcome::ForwardRequest);

    s.request(&at_once, "data", Tcp::data(7, 8, b"data"), Outcome::ForwardAdopted);
    s.request(&at_once, "FIN", Tcp::fin(11, 8), Outcome::ForwardAdopted);
    s.reply(&at_once, "FIN", Tcp::fin(8, 12), Outcome::ForwardHalfOpen).opens(0).closes(0);
    s.flow(&at_once, FlowState::FIN_CLIENT | FlowState::FIN_BACKEND | FlowState::CLOSED, 12);

    s.request(&first, "FIN that is the first packet", Tcp::fin(7, 8), Outcome::ForwardAdopted);
    s.reply(&first, "FIN", Tcp::fin(8, 8), Outcome::ForwardHalfOpen).opens(0).closes(0);
    s
}

/// A RST ends an adopted flow by the number that its backend acknowledges, and by no other.
fn reset_before(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.services[0].flags = ServiceFlags::ADOPT;
    let (talk, other) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = Scenario::new(format!("{net:?}: clients reset adopted flows first"), world);
    s.request(&talk, "data", Tcp::data(7, 8, b"data"), Outcome::ForwardAdopted);
    s.request(&talk, "RST", Tcp::rst(11), Outcome::ForwardAdopted);
    s.no_flow(&talk);
    s.reply(&talk, "ACK that crossed it", Tcp::ack(8, 11), Outcome::ForwardHalfOpen).opens(0).closes(0);
    s.flow(&talk, FlowState::RST_UNPROVEN | FlowState::CLOSED, 11);

    s.request(&other, "data", Tcp::data(7, 8, b"data"), Outcome::ForwardAdopted);
    s.request(&other, "somebody's guess", Tcp::rst(99), Outcome::ForwardAdopted);
    s.reply(&other, "ACK", Tcp::ack(8, 11), Outcome::ForwardHalfOpen).opens(0);
    s.flow(&other, FlowState::RST_UNPROVEN, 11);
    s.request(&other, "it goes on", Tcp::data(11, 8, b"data"), Outcome::ForwardRequest);
    s
}

/// Flows without state stay on their backend when it is drained or at its cap, and leave it only when it is down.
fn ring_only(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.services[0].flags = ServiceFlags::ADOPT;
    world.services[0].ring = vec![0; 1];
    let mut s = Scenario::new(format!("{net:?}: the ring alone decides"), world);
    let closing: [Change; 3] = [
        ("drained", |world| world.backend(0).score.flags |= ScoreFlags::DRAIN),
        ("exhausted", |world| world.backend(0).score.flags |= ScoreFlags::EXHAUSTED),
        ("over its cap", |world| {
            world.backend(0).score.cap = 1;
            world.backend(0).removed = -5;
        }),
    ];
    for (port, (note, close)) in (40000..).zip(closing) {
        s.change(close);
        let talk = s.world.talk(port, 0);
        s.request(&talk, note, Tcp::ack(7, 8), Outcome::ForwardAdopted);
    }
    s.change(|world| {
        world.services[0].ring = [vec![0; 20], vec![1; 5]].concat();
        world.backend(0).score.flags |= ScoreFlags::DOWN;
    });
    let talk = s.world.talk(41000, 1);
    s.request(&talk, "down", Tcp::ack(7, 8), Outcome::ForwardAdopted);
    s.change(|world| world.backend(1).score.flags = 0);
    let talk = s.world.talk(41001, 0);
    s.refused(&talk, "nobody", Tcp::ack(7, 8), Outcome::ResetNoBackend, Tcp::rst(8));
    s
}
