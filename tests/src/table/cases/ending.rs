//! How connections end, and who is believed about it.

use balancer_common::{abi::FlowState, outcome::Outcome};

use crate::{
    packet::Tcp,
    table::{Net, Scenario, World},
};

const FIN_CLIENT: u64 = FlowState::FIN_CLIENT;
const FIN_BACKEND: u64 = FlowState::FIN_BACKEND;
const CLOSED: u64 = FlowState::CLOSED;
const BOTH: u64 = FIN_CLIENT | FIN_BACKEND | CLOSED;

pub(super) fn scenarios() -> Vec<Scenario> {
    Net::BOTH
        .into_iter()
        .flat_map(|net| {
            [
                client_first(net),
                backend_first(net),
                resets(net),
                port_reuse(net),
                spoofed_successor(net),
                elsewhere(net),
            ]
        })
        .collect()
}

/// The client closes first; the flow is counted out once, when both have.
fn client_first(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: the client closes first"), world);
    s.connect(&talk);
    s.request(&talk, "FIN", Tcp::fin(1001, 5001), Outcome::ForwardRequest);
    s.flow(&talk, FIN_CLIENT, 1001);
    s.request(&talk, "FIN again", Tcp::fin(1001, 5001), Outcome::ForwardRequest);
    s.reply(&talk, "data", Tcp::data(5001, 1002, b"last words"), Outcome::ForwardReply);
    s.flow(&talk, FIN_CLIENT, 1002);
    s.reply(&talk, "FIN", Tcp::fin(5011, 1002), Outcome::ForwardReply).closes(0);
    s.flow(&talk, BOTH, 1002);
    s.request(&talk, "last ACK", Tcp::ack(1002, 5012), Outcome::ForwardRequest);
    s.reply(&talk, "FIN again", Tcp::fin(5011, 1002), Outcome::ForwardReply);
    s.request(&talk, "FIN again", Tcp::fin(1001, 5012), Outcome::ForwardRequest);
    s.reply(&talk, "RST after all", Tcp::rst(5012), Outcome::ForwardReply);
    s.request(&talk, "RST after all", Tcp::rst(1002), Outcome::ForwardRequest);
    s.flow(&talk, BOTH, 1002);
    s
}

/// The backend closes first.
fn backend_first(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: the backend closes first"), world);
    s.connect(&talk);
    let fin = Tcp { flags: Tcp::FIN | Tcp::ACK | Tcp::PSH, ..Tcp::data(5001, 1001, b"DISCONNECT") };
    s.reply(&talk, "FIN with data", fin, Outcome::ForwardReply);
    s.flow(&talk, FIN_BACKEND, 1001);
    s.request(&talk, "ACK", Tcp::ack(1001, 5012), Outcome::ForwardRequest);
    s.flow(&talk, FIN_BACKEND, 1001);
    s.request(&talk, "FIN", Tcp::fin(1001, 5012), Outcome::ForwardRequest).closes(0);
    s.flow(&talk, BOTH, 1001);
    s.reply(&talk, "last ACK", Tcp::ack(5012, 1002), Outcome::ForwardReply);
    s
}

/// A RST of the backend ends the flow; one of the client only with the number that the backend last acknowledged.
fn resets(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let (first, second, third) = (world.talk(40000, 0), world.talk(40001, 0), world.talk(40002, 0));
    let mut s = Scenario::new(format!("{net:?}: resets, proven and not"), world);
    s.connect(&first);
    s.reply(&first, "RST of the backend", Tcp::rst(5001), Outcome::ForwardReply).closes(0);
    s.flow(&first, CLOSED, 1001);

    s.connect(&second);
    s.request(&second, "data", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.reply(&second, "ACK", Tcp::ack(5001, 1005), Outcome::ForwardReply);
    for (note, seq) in [("one less", 1004), ("one more", 1006), ("the start", 1001), ("zero", 0)] {
        s.request(&second, &format!("RST of {note}"), Tcp::rst(seq), Outcome::ForwardRequest);
        s.flow(&second, FlowState::RST_UNPROVEN, 1005);
    }
    s.reply(&second, "data all the same", Tcp::data(5001, 1005, b"data"), Outcome::ForwardReply);
    s.request(&second, "RST proven", Tcp::rst_ack(1005, 5005), Outcome::ForwardRequest).closes(0);
    s.flow(&second, FlowState::RST_UNPROVEN | CLOSED, 1005);
    s.reply(&second, "RST of the backend", Tcp::rst(5005), Outcome::ForwardReply);

    s.connect(&third);
    s.request(&third, "FIN, then RST", Tcp::fin(1001, 5001), Outcome::ForwardRequest);
    s.request(&third, "RST", Tcp::rst(1001), Outcome::ForwardRequest).closes(0);
    s.flow(&third, FIN_CLIENT | CLOSED, 1001);
    s
}

/// The client uses the port again: the proven successor takes the entry.
fn port_reuse(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let next = talk.with(&world, 1);
    let pending = FlowState::SYN_PENDING;
    let mut s = Scenario::new(format!("{net:?}: a port is used again after the close"), world);
    s.connect(&talk);
    s.request(&talk, "FIN", Tcp::fin(1001, 5001), Outcome::ForwardRequest);
    s.reply(&talk, "FIN", Tcp::fin(5001, 1002), Outcome::ForwardReply).closes(0);
    s.change(|world| world.services[0].ring = vec![1]);
    s.request(&next, "SYN of the successor", Tcp::syn(9000), Outcome::ForwardSyn);
    s.flow(&talk, BOTH | pending, 1002);
    s.half_open(&next, 9000, None);
    s.request(&talk, "late ACK of the old one", Tcp::ack(1002, 5002), Outcome::ForwardRequest);
    s.reply(&talk, "late FIN of the old one", Tcp::fin(5001, 1002), Outcome::ForwardReply);
    s.reply(&next, "SYN-ACK", Tcp::syn_ack(7000, 9001), Outcome::ForwardHalfOpen);
    s.request(&next, "ACK", Tcp::ack(9001, 7001), Outcome::ForwardPromoted);
    s.flow(&next, 0, 9001);
    s.no_half_open(&next);
    s.request(&next, "data", Tcp::data(9001, 7001, b"data"), Outcome::ForwardRequest);
    s.reply(&next, "data", Tcp::data(7001, 9005, b"data"), Outcome::ForwardReply);
    s.passed(
        "the old backend has no flow any more",
        talk.reply(Tcp::ack(5002, 1002)).bytes(),
        Outcome::PassDirect,
    );
    s
}

/// Somebody asks for a connection on the port of a client that has closed its own. The client's refusal reaches the
/// backend that was asked, so that the client can use the port again.
fn spoofed_successor(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let next = talk.with(&world, 1);
    let mut s = Scenario::new(format!("{net:?}: a spoofed SYN on a port that was closed"), world);
    s.connect(&talk);
    s.request(&talk, "FIN", Tcp::fin(1001, 5001), Outcome::ForwardRequest);
    s.reply(&talk, "FIN", Tcp::fin(5001, 1002), Outcome::ForwardReply).closes(0);
    s.change(|world| world.services[0].ring = vec![1]);
    s.request(&next, "spoofed SYN", Tcp::syn(77), Outcome::ForwardSyn);
    s.reply(&next, "SYN-ACK of it", Tcp::syn_ack(7000, 78), Outcome::ForwardHalfOpen);
    s.request(
        &talk,
        "ACK of a client that remembers its connection",
        Tcp::ack(1002, 5002),
        Outcome::ForwardRequest,
    );
    s.request(&next, "RST of one that does not", Tcp::rst(78), Outcome::ForwardHalfOpen);
    s.request(&next, "SYN", Tcp::syn(9000), Outcome::ForwardSynAgain);
    s.reply(&next, "challenge ACK", Tcp::ack(7001, 78), Outcome::ForwardHalfOpen);
    s.request(&next, "RST of who did not ask for that", Tcp::rst(78), Outcome::ForwardHalfOpen);
    s.request(&next, "SYN again", Tcp::syn(9000), Outcome::ForwardSynAgain);
    s.reply(&next, "SYN-ACK", Tcp::syn_ack(8000, 9001), Outcome::ForwardHalfOpen).answers_again(1);
    s.request(&next, "ACK", Tcp::ack(9001, 8001), Outcome::ForwardPromoted);
    s.flow(&next, 0, 9001);
    s
}

/// A client that lost its connection (power, address change) comes back on the same port while the old one counts.
fn elsewhere(net: Net) -> Scenario {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: a client comes back on the port of a live flow"), world);
    s.connect(&talk);
    s.request(&talk, "SYN", Tcp::syn(9000), Outcome::ForwardSynAgain);
    s.flow(&talk, FlowState::SYN_PENDING, 1001);
    s.half_open(&talk, 9000, None);
    s.reply(&talk, "challenge ACK", Tcp::ack(5001, 1001), Outcome::ForwardReply);
    s.request(&talk, "RST that answers it", Tcp::rst(1001), Outcome::ForwardRequest).closes(0);
    s.flow(&talk, FlowState::SYN_PENDING | CLOSED, 1001);
    s.request(&talk, "SYN again", Tcp::syn(9000), Outcome::ForwardSynAgain);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(7000, 9001), Outcome::ForwardReply);
    s.half_open(&talk, 9000, Some(7000));
    s.request(&talk, "ACK", Tcp::ack(9001, 7001), Outcome::ForwardPromoted);
    s.flow(&talk, 0, 9001);

    s.request(
        &talk,
        "SYN, with the backend's old one in TIME-WAIT",
        Tcp::syn(20000),
        Outcome::ForwardSynAgain,
    );
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(30000, 20001), Outcome::ForwardReply);
    s.request(&talk, "ACK", Tcp::ack(20001, 30001), Outcome::ForwardPromoted).closes(0);
    s.flow(&talk, 0, 20001);
    s.no_half_open(&talk);
    s
}
