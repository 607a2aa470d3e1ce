//! What nobody can do to somebody else's connection.

use balancer_common::{
    abi::{FlowState, ScoreFlags},
    outcome::Outcome,
};

use crate::{
    packet::Tcp,
    table::{Net, Scenario, World, world},
};

pub(super) fn scenarios() -> Vec<Scenario> {
    Net::BOTH
        .into_iter()
        .flat_map(|net| [live_flow(net), drained(net), half_open(net), wrong_side(net)])
        .collect()
}

/// Spoofed SYN, FIN and RST on a live flow: it stays, stays where it is, and stays counted.
fn live_flow(net: Net) -> Scenario {
    /// Far from the client's own numbers.
    const GUESS: u32 = 0x7000_0000;
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    // The attacker is elsewhere: its packets come by another way.
    let spoofed = talk.from(talk.client, world::client_hop(13));
    let mut s = Scenario::new(format!("{net:?}: spoofed segments on a live flow"), world);
    s.connect(&talk);
    s.change(|world| world.services[0].ring = vec![1]);
    s.request(&spoofed, "SYN", Tcp::syn(GUESS), Outcome::ForwardSynAgain);
    s.flow(&talk, FlowState::SYN_PENDING, 1001);
    s.request(&spoofed, "ACK of no SYN-ACK", Tcp::ack(GUESS + 1, 1), Outcome::ForwardRequest);
    s.reply(&talk, "challenge ACK", Tcp::ack(5001, 1001), Outcome::ForwardReply);
    s.request(&spoofed, "RST", Tcp::rst(GUESS + 1), Outcome::ForwardRequest);
    s.request(&spoofed, "FIN", Tcp::fin(GUESS + 1, 1), Outcome::ForwardRequest);
    s.flow(&talk, FlowState::SYN_PENDING, 1001);
    s.request(&spoofed, "RST that may be the client's", Tcp::rst(1100), Outcome::ForwardRequest);
    s.request(&spoofed, "FIN that may be the client's", Tcp::fin(1100, 1), Outcome::ForwardRequest);
    let flags = FlowState::SYN_PENDING | FlowState::RST_UNPROVEN | FlowState::FIN_CLIENT;
    s.request(&spoofed, "SYN again", Tcp::syn(GUESS + 2), Outcome::ForwardSynAgain);
    s.request(&talk, "data", Tcp::data(1001, 5001, b"still here"), Outcome::ForwardRequest);
    s.reply(&talk, "data", Tcp::data(5001, 1011, b"so am I"), Outcome::ForwardReply);
    s.flow(&talk, flags, 1011);
    s
}

/// The flow's backend takes no new flows: a SYN on its tuple goes elsewhere, and the flow stays.
fn drained(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let other = talk.with(&world, 1);
    let mut s = Scenario::new(format!("{net:?}: a SYN on a live flow of a drained backend"), world);
    s.connect(&talk);
    s.change(|world| {
        world.services[0].ring = vec![1];
        world.backend(0).score.flags |= ScoreFlags::DRAIN;
    });
    s.request(&other, "SYN", Tcp::syn(77), Outcome::ForwardSyn);
    s.flow(&talk, FlowState::SYN_PENDING, 1001);
    s.request(&talk, "data", Tcp::data(1001, 5001, b"still here"), Outcome::ForwardRequest);
    s.reply(&other, "SYN-ACK of the other backend", Tcp::syn_ack(8000, 78), Outcome::ForwardHalfOpen);
    s.change(|world| world.backend(0).score.flags = ScoreFlags::READY);
    s.request(&other, "SYN again, after the drain", Tcp::syn(77), Outcome::ForwardSynAgain);
    s.half_open(&other, 77, Some(8000));
    s.request(&other, "RST of a client that never asked", Tcp::rst(78), Outcome::ForwardHalfOpen);
    s.flow(&talk, FlowState::SYN_PENDING, 1001);
    s.request(&talk, "RST of somebody who guesses", Tcp::rst(79), Outcome::ForwardRequest);
    s.reply(&talk, "data", Tcp::data(5001, 1011, b"so am I"), Outcome::ForwardReply);
    s.flow(&talk, FlowState::SYN_PENDING | FlowState::RST_UNPROVEN, 1011);
    s.request(&other, "a client that did ask", Tcp::ack(78, 8001), Outcome::ForwardPromoted).closes(0);
    s.flow(&other, 0, 78);
    s.passed(
        "the drained backend's flow is over",
        talk.reply(Tcp::ack(5011, 1011)).bytes(),
        Outcome::PassDirect,
    );
    s
}

/// What claims to be a backend's but comes from the clients' side is believed in nothing.
fn wrong_side(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: a backend's address on the clients' link"), world);
    s.passed("of no flow", talk.reply(Tcp::syn_ack(6000, 1001)).bytes(), Outcome::PassDirect);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.wrong_side(&talk, "forged SYN-ACK", Tcp::syn_ack(6000, 1001));
    s.half_open(&talk, 1000, None);
    s.request(&talk, "proof by it", Tcp::ack(1001, 6001), Outcome::ForwardHalfOpen);
    s.no_flow(&talk);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.request(&talk, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s.wrong_side(&talk, "forged RST", Tcp::rst(5001));
    s.flow(&talk, 0, 1001);
    s.reply(&talk, "data", Tcp::data(5001, 1001, b"by the way to it"), Outcome::ForwardReply);
    s
}

/// FIN and RST before the proof end nothing, and a SYN does not keep the client from its proof.
fn half_open(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: spoofed segments on a half-open flow"), world);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.request(&talk, "RST", Tcp::rst(1001), Outcome::ForwardHalfOpen);
    s.request(&talk, "SYN", Tcp::syn(77), Outcome::ForwardSynAgain);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.request(&talk, "FIN", Tcp::fin(1002, 5001), Outcome::ForwardHalfOpen);
    s.request(&talk, "SYN after the SYN-ACK", Tcp::syn(78), Outcome::ForwardSynAgain);
    s.half_open(&talk, 1000, Some(5000));
    s.request(&talk, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s.flow(&talk, 0, 1001);
    s
}
