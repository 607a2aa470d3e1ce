//! Connections from SYN to data.

use balancer_common::{abi::FlowState, outcome::Outcome};

use crate::{
    packet::Tcp,
    table::{Net, Scenario, World, tagged, world},
};

pub(super) fn scenarios() -> Vec<Scenario> {
    Net::BOTH
        .into_iter()
        .flat_map(|net| {
            [
                handshake(net),
                many(net),
                retransmitted(net),
                wrong_proof(net),
                refused(net),
                early_data(net),
                rerouted(net),
                rerouted_at_the_start(net),
                rerouted_again(net),
                rerouted_at_the_end(net),
            ]
        })
        .collect()
}

/// The client's packets come by another router: replies follow it.
fn rerouted(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let moved = talk.from(talk.client, world::client_hop(13));
    let mut s = Scenario::new(format!("{net:?}: the way to the client changes"), world);
    s.connect(&talk);
    s.request(
        &moved,
        "a number out of bounds",
        Tcp::data(1002 + (1 << 16), 5001, b"?"),
        Outcome::ForwardRequest,
    );
    s.reply(&talk, "the old way", Tcp::data(5001, 1001, b"data"), Outcome::ForwardReply);
    s.request(&moved, "data by another router", Tcp::data(1001, 5005, b"data"), Outcome::ForwardRequest);
    s.reply(&moved, "the other way", Tcp::data(5005, 1005, b"data"), Outcome::ForwardReply);
    s.flow(&moved, 0, 1005);
    s
}

/// The way changes before the client has proven itself: SYN-ACKs follow a SYN that comes again, and no other.
fn rerouted_at_the_start(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let moved = talk.from(talk.client, world::client_hop(13));
    let third = talk.from(talk.client, world::client_hop(14));
    let mut s = Scenario::new(format!("{net:?}: the way to the client changes in the handshake"), world);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.request(&moved, "SYN by another router", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s.half_open(&moved, 1000, None);
    s.reply(&moved, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.request(&third, "SYN by a third", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s.request(&talk, "SYN of somebody else", Tcp::syn(77), Outcome::ForwardSynAgain);
    s.half_open(&third, 1000, Some(5000));
    s.reply(&third, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen).answers_again(0);
    s.request(&third, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s.flow(&third, 0, 1001);
    s
}

/// The way changes while an acknowledgement is on it: all that the client can send is what was acknowledged already.
fn rerouted_again(net: Net) -> Scenario {
    const BULK: u32 = 1 << 22;
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let moved = talk.from(talk.client, world::client_hop(13));
    let third = talk.from(talk.client, world::client_hop(14));
    let mut s = Scenario::new(format!("{net:?}: the way to the client changes, and an ACK is lost"), world);
    s.connect(&talk);
    s.request(&talk, "data", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.reply(&talk, "its ACK, which is lost", Tcp::ack(5001, 1005), Outcome::ForwardReply);
    s.request(&moved, "the data again", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.reply(&moved, "its ACK again", Tcp::ack(5001, 1005), Outcome::ForwardReply);
    s.flow(&moved, 0, 1005);
    s.reply(&moved, "much is acknowledged", Tcp::ack(5001, 1005 + BULK), Outcome::ForwardReply);
    s.request(&third, "older than that", Tcp::data(1004, 5001, b"data"), Outcome::ForwardRequest);
    s.flow(&moved, 0, 1005 + BULK);
    s.request(&third, "all of it again", Tcp::data(1005, 5001, b"data"), Outcome::ForwardRequest);
    s.flow(&third, 0, 1005 + BULK);
    s
}

/// The way changes when the client has nothing left to send but its FIN, once more.
fn rerouted_at_the_end(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let moved = talk.from(talk.client, world::client_hop(13));
    let mut s =
        Scenario::new(format!("{net:?}: the way to the client changes, and its FIN comes again"), world);
    s.connect(&talk);
    s.request(&talk, "FIN", Tcp::fin(1001, 5001), Outcome::ForwardRequest);
    s.reply(&talk, "its ACK, which is lost", Tcp::ack(5001, 1002), Outcome::ForwardReply);
    s.request(&moved, "FIN again", Tcp::fin(1001, 5001), Outcome::ForwardRequest);
    s.reply(&moved, "what the backend still has", Tcp::data(5001, 1002, b"data"), Outcome::ForwardReply);
    s.flow(&moved, FlowState::FIN_CLIENT, 1002);
    s
}

/// SYN, SYN-ACK, ACK, data both ways.
fn handshake(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: a connection, then data both ways"), world);
    s.no_flow(&talk);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.half_open(&talk, 1000, None);
    s.no_flow(&talk);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.half_open(&talk, 1000, Some(5000));
    s.no_flow(&talk);
    s.request(&talk, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s.no_half_open(&talk);
    s.flow(&talk, 0, 1001);
    s.request(&talk, "data", Tcp::data(1001, 5001, b"CONNECT"), Outcome::ForwardRequest);
    s.flow(&talk, 0, 1001);
    s.reply(&talk, "data", Tcp::data(5001, 1008, b"CONNACK."), Outcome::ForwardReply);
    s.flow(&talk, 0, 1008);
    s.reply(&talk, "odd length", Tcp::data(5009, 1008, b"PUBLISH"), Outcome::ForwardReply);
    s.request(
        &talk,
        "no options",
        Tcp { options: Vec::new(), ..Tcp::ack(1008, 5016) },
        Outcome::ForwardRequest,
    );
    let flags = Tcp::ACK | Tcp::URG | Tcp::ECE | Tcp::CWR | Tcp::PSH;
    let urgent = Tcp { flags, urgent: 3, ..Tcp::data(1008, 5016, b"urgent data") };
    s.request(&talk, "every other flag", urgent, Outcome::ForwardRequest);
    let long = vec![0x5a; 1400];
    s.reply(&talk, "full segment", Tcp::data(5016, 1019, &long), Outcome::ForwardReply);
    s.flow(&talk, 0, 1019);
    s
}

/// Clients and services are told apart by each part of the key.
fn many(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    let mut second = world.services[0].clone();
    second.id = 1;
    second.vip = net.vip(2, world::VIP_PORT);
    second.ring = vec![1];
    world.services.push(second);
    world.backend(1).service = 1;
    let talks = [
        world.talk(40000, 0),
        world.talk(40001, 0),
        world.talk(40000, 0).from(net.client(11, 40000), world::client_hop(11)),
        world.talk(40000, 1),
        world.talk(40000, 0).from(net.client(12, 40000), tagged(world::client_hop(12), &[(0x8100, 5)])),
    ];
    let mut s = Scenario::new(format!("{net:?}: connections of several clients and services"), world);
    for talk in &talks {
        s.connect(talk);
    }
    for talk in &talks {
        s.flow(talk, 0, 1001);
        s.request(talk, "data", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
        s.reply(talk, "data", Tcp::data(5001, 1005, b"data"), Outcome::ForwardReply);
        s.flow(talk, 0, 1005);
    }
    s
}

/// Repeated segments of the handshake go where the first ones went.
fn retransmitted(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: retransmissions of the handshake"), world);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.change(|world| world.services[0].ring = vec![1]);
    s.request(&talk, "SYN again, after the ring changed", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s.half_open(&talk, 1000, None);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.request(&talk, "SYN again, after the SYN-ACK", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s.half_open(&talk, 1000, Some(5000));
    s.reply(&talk, "SYN-ACK again", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen).answers_again(0);
    s.request(&talk, "SYN with another number", Tcp::syn(2000), Outcome::ForwardSynAgain);
    s.half_open(&talk, 1000, Some(5000));
    s.request(&talk, "ACK of the other number", Tcp::ack(2001, 5001), Outcome::ForwardHalfOpen);
    s.reply(&talk, "SYN-ACK of the other number", Tcp::syn_ack(6000, 2001), Outcome::ForwardHalfOpen)
        .answers_again(0);
    s.half_open(&talk, 2000, Some(6000));
    s.request(&talk, "ACK of the old number", Tcp::ack(1001, 5001), Outcome::ForwardHalfOpen);
    s.request(&talk, "ACK", Tcp::ack(2001, 6001), Outcome::ForwardPromoted);
    s.request(&talk, "ACK again", Tcp::ack(2001, 6001), Outcome::ForwardRequest);
    s.reply(&talk, "late SYN-ACK", Tcp::syn_ack(6000, 2001), Outcome::ForwardReply);
    s.flow(&talk, 0, 2001);
    s
}

/// Only a client that has seen the SYN-ACK is believed.
fn wrong_proof(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: an ACK with wrong numbers proves nothing"), world);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.request(&talk, "ACK before the SYN-ACK", Tcp::ack(1001, 1), Outcome::ForwardHalfOpen);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    for (note, tcp) in [
        ("wrong server number", Tcp::ack(1001, 5002)),
        ("the server's first number itself", Tcp::ack(1001, 5000)),
        ("wrong client number", Tcp::ack(1002, 5001)),
        ("no ACK flag", Tcp { flags: 0, ..Tcp::ack(1001, 5001) }),
        ("RST with the right numbers", Tcp::rst_ack(1001, 5001)),
        ("data before the proof", Tcp::data(1002, 5001, b"out of order")),
    ] {
        s.request(&talk, note, tcp, Outcome::ForwardHalfOpen);
        s.no_flow(&talk);
        s.half_open(&talk, 1000, Some(5000));
    }
    s.request(&talk, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s.flow(&talk, 0, 1001);
    s
}

/// A backend that refuses is counted, and the client may try again.
fn refused(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: the backend refuses the SYN"), world);
    s.request(&talk, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    s.reply(&talk, "RST", Tcp::rst_ack(0, 1001), Outcome::ForwardHalfOpen).refuses(0);
    s.no_flow(&talk);
    s.request(&talk, "SYN again", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.reply(&talk, "RST after the SYN-ACK is no refusal", Tcp::rst(5001), Outcome::ForwardHalfOpen);
    s.request(&talk, "ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s
}

/// The proving segment may carry data, or the end of it.
fn early_data(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let (first, second) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = Scenario::new(format!("{net:?}: the proof carries data, or a FIN"), world);
    for talk in [&first, &second] {
        s.request(talk, "SYN", Tcp::syn(u32::MAX), Outcome::ForwardSyn);
        s.reply(talk, "SYN-ACK", Tcp::syn_ack(u32::MAX, 0), Outcome::ForwardHalfOpen);
    }
    s.request(&first, "numbers wrap around", Tcp::data(0, 0, b"CONNECT"), Outcome::ForwardPromoted);
    s.flow(&first, 0, 0);
    s.request(&second, "FIN", Tcp::fin(0, 0), Outcome::ForwardPromoted);
    s.flow(&second, FlowState::FIN_CLIENT, 0);
    s.reply(&second, "FIN", Tcp::fin(0, 1), Outcome::ForwardReply).closes(0);
    s
}
