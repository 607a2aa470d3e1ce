//! What cannot be served: answered with a RST, or dropped when there is nobody to tell.

use balancer_common::{
    abi::{FlowState, ScoreFlags},
    outcome::Outcome,
};

use super::Change;
use crate::{
    packet::Tcp,
    table::{Net, Scenario, World, world},
};

pub(super) fn scenarios() -> Vec<Scenario> {
    Net::BOTH
        .into_iter()
        .flat_map(|net| [unknown(net), no_backend(net), gone(net), gone_half_open(net), unconfigured(net)])
        .collect()
}

/// A mid-stream packet of a flow that nobody knows (RFC 9293 section 3.10.7.1).
fn unknown(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: packets of unknown flows"), world);
    let reset = Outcome::ResetUnknownFlow;
    s.refused(&talk, "ACK", Tcp::ack(1000, 2000), reset, Tcp::rst(2000));
    s.refused(&talk, "data", Tcp::data(1000, 2000, b"PINGREQ"), reset, Tcp::rst(2000));
    s.refused(&talk, "FIN", Tcp::fin(1000, u32::MAX), reset, Tcp::rst(u32::MAX));
    s.refused(&talk, "SYN-ACK", Tcp::syn_ack(1000, 2000), reset, Tcp::rst(2000));
    let no_ack = |flags, seq, payload: &[u8]| Tcp { flags, ..Tcp::data(seq, 0, payload) };
    s.refused(&talk, "no flag", no_ack(0, 1000, b""), reset, Tcp::rst_ack(0, 1000));
    s.refused(&talk, "data, no ACK", no_ack(0, 1000, b"12345"), reset, Tcp::rst_ack(0, 1005));
    s.refused(&talk, "FIN, no ACK", no_ack(Tcp::FIN, 1000, b"12345"), reset, Tcp::rst_ack(0, 1006));
    s.refused(&talk, "numbers wrap", no_ack(Tcp::FIN, u32::MAX, b"1"), reset, Tcp::rst_ack(0, 1));
    for (note, tcp) in [("RST", Tcp::rst(1000)), ("RST with ACK", Tcp::rst_ack(1000, 2000))] {
        s.dropped(&talk, note, &talk.request(tcp), Outcome::DropStrayReset);
    }
    let both = Tcp { flags: Tcp::SYN | Tcp::RST, ..Tcp::rst(1000) };
    s.dropped(&talk, "SYN and RST", &talk.request(both), Outcome::DropStrayReset);
    s.no_flow(&talk);
    s.no_half_open(&talk);
    s
}

/// A SYN that no backend takes.
fn no_backend(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: no backend takes new flows"), world);
    s.connect(&talk);
    let late = talk.from(net.client(11, 40000), world::client_hop(11));
    let closing: [Change; 6] = [
        ("drained", |world| world.backend(0).score.flags = ScoreFlags::READY | ScoreFlags::DRAIN),
        ("down", |world| world.backend(0).score.flags = ScoreFlags::READY | ScoreFlags::DOWN),
        ("exhausted", |world| world.backend(0).score.flags = ScoreFlags::READY | ScoreFlags::EXHAUSTED),
        ("never seen", |world| world.backend(0).score.flags = 0),
        ("at its cap", |world| {
            world.backend(0).score.flags = ScoreFlags::READY;
            world.backend(0).score.cap = 1;
        }),
        ("an empty ring", |world| {
            world.backend(0).score.cap = 0;
            world.services[0].ring.clear();
        }),
    ];
    for (note, close) in closing {
        s.change(close);
        let data = Tcp { payload: b"fast open".to_vec(), ..Tcp::syn(1000) };
        s.refused(&late, note, Tcp::syn(1000), Outcome::ResetNoBackend, Tcp::rst_ack(0, 1001));
        s.refused(&late, note, data, Outcome::ResetNoBackend, Tcp::rst_ack(0, 1010));
        s.no_half_open(&late);
        s.request(&talk, "the flow goes on", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
        s.reply(&talk, "the flow goes on", Tcp::data(5001, 1001, b"data"), Outcome::ForwardReply);
    }
    s
}

/// The backend of a flow is taken out of the configuration.
fn gone(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: the flow's backend is gone"), world.clone());
    s.connect(&talk);
    s.change(|world| {
        world.services[0].ring = vec![1];
        world.backends[0] = None;
    });
    let gone = Outcome::ResetBackendGone;
    s.refused(&talk, "data", Tcp::data(1001, 5001, b"data"), gone, Tcp::rst(5001));
    s.dropped(&talk, "RST", &talk.request(Tcp::rst(77)), Outcome::DropStrayReset);
    s.passed("its late replies", talk.reply(Tcp::ack(5001, 1001)).bytes(), Outcome::PassNotOurs);
    let other = talk.with(&world, 1);
    s.request(&other, "SYN of the client that reconnects", Tcp::syn(9000), Outcome::ForwardSyn);
    s.reply(&other, "SYN-ACK", Tcp::syn_ack(7000, 9001), Outcome::ForwardHalfOpen);
    s.request(&other, "ACK", Tcp::ack(9001, 7001), Outcome::ForwardPromoted).closes(0);
    s.flow(&other, 0, 9001);
    s
}

/// The backend is gone before the proof: the client is told, and nothing is counted.
fn gone_half_open(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let other = talk.with(&world, 1);
    let mut s = Scenario::new(format!("{net:?}: the half-open flow's backend is gone"), world.clone());
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.change(|world| {
        world.services[0].ring = vec![1];
        world.backends[0] = None;
    });
    s.refused(&talk, "ACK", Tcp::ack(1001, 5001), Outcome::ResetBackendGone, Tcp::rst(5001));
    s.no_flow(&talk);
    s.connect(&other);
    s.change(|current| *current = World { generation: current.generation, ..world.clone() });
    s.change(|world| {
        world.services[0].ring = vec![0];
        world.backend(1).score.flags |= ScoreFlags::DRAIN;
    });
    s.request(&talk, "SYN of a successor", Tcp::syn(8000), Outcome::ForwardSyn);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(6000, 8001), Outcome::ForwardHalfOpen);
    s.change(|world| world.backends[0] = None);
    s.refused(&talk, "ACK", Tcp::ack(8001, 6001), Outcome::ResetBackendGone, Tcp::rst(6001));
    s.flow(&other, FlowState::SYN_PENDING, 1001);
    s
}

/// An endpoint of a service that the maps have no room for.
fn unconfigured(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.services[0].id = 99;
    world.backend(0).service = 99;
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: a service without its maps"), world);
    for (note, tcp) in [("SYN", Tcp::syn(1)), ("ACK", Tcp::ack(1, 2))] {
        let row = s.dropped(&talk, note, &talk.request(tcp), Outcome::DropUnconfigured);
        // Counted with the packets of no service.
        row.expect.service = None;
    }
    s
}
