//! Flows whose numbers are translated, until they end.

use balancer_common::{
    abi::{Backend, FlowState},
    outcome::Outcome,
};

use super::shielded;
use crate::{
    packet::Tcp,
    table::{
        Net, Output, Scenario, Step,
        scenario::shield::{BACKEND, CLIENT, segment},
    },
};

const SHIELDED: u64 = FlowState::SHIELDED;
const ENDED: u64 = SHIELDED | FlowState::CLOSED;

pub(super) fn scenarios(net: Net) -> Vec<Scenario> {
    vec![
        both_ways(net),
        finished(net),
        reset(net),
        succeeded(net),
        closed_by_client(net),
        closed_by_backend(net),
        backend_down(net),
        untracked(net),
        rerouted(net),
        wrapping(net),
    ]
}

/// The first packets of a flow that is established.
fn connected(net: Net, name: &str, backends: u8) -> (Scenario, crate::table::Talk) {
    let mut s = shielded(net, name, backends, |_| {});
    let talk = s.world.talk(40000, 0);
    s.connect_shielded(&talk, net);
    (s, talk)
}

fn both_ways(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "data both ways in a shielded flow", 2);
    s.flow(&talk, SHIELDED, CLIENT + 1);
    s.change(|world| world.services[0].ring = vec![1]);
    s.shielded_request(&talk, "data", Tcp::data(CLIENT + 1, 1, b"CONNECT"), Outcome::ForwardRequest);
    s.shielded_reply(&talk, "data", Tcp::data(BACKEND + 1, CLIENT + 8, b"odd"), Outcome::ForwardReply);
    s.flow(&talk, SHIELDED, CLIENT + 8);
    s.shielded_request(&talk, "ACK", Tcp::ack(CLIENT + 8, 4), Outcome::ForwardRequest);
    s.shielded_reply(&talk, "ACK", Tcp::ack(BACKEND + 4, CLIENT + 8), Outcome::ForwardReply);
    let bare = Tcp { flags: 0, ack: 0, ..Tcp::data(CLIENT + 8, 0, b"x") };
    s.request(&talk, "what acknowledges nothing", bare, Outcome::ForwardRequest);
    let urgent = Tcp { flags: Tcp::ACK | Tcp::URG, urgent: 3, ..Tcp::data(CLIENT + 8, 4, b"urgent") };
    s.shielded_request(&talk, "urgent data", urgent, Outcome::ForwardRequest);
    s
}

fn finished(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "a shielded flow that ends", 1);
    s.shielded_request(&talk, "FIN", Tcp::fin(CLIENT + 1, 1), Outcome::ForwardRequest);
    s.shielded_reply(&talk, "ACK", Tcp::ack(BACKEND + 1, CLIENT + 2), Outcome::ForwardReply);
    s.flow(&talk, SHIELDED | FlowState::FIN_CLIENT, CLIENT + 2);
    s.shielded_reply(&talk, "FIN", Tcp::fin(BACKEND + 1, CLIENT + 2), Outcome::ForwardReply).closes(0);
    s.shielded_request(&talk, "ACK", Tcp::ack(CLIENT + 2, 2), Outcome::ForwardRequest);
    let mut s2 = s;
    let proof = s2.world.talk(40001, 0);
    s2.answered(&proof, "SYN", Tcp::syn(CLIENT));
    s2.accepted(&proof, "ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
    s2.prompted(&proof, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s2.shielded_request(&proof, "FIN at once", Tcp::fin(CLIENT + 1, 1), Outcome::ForwardPromoted);
    s2.flow(&proof, SHIELDED | FlowState::FIN_CLIENT, CLIENT + 1);
    s2
}

fn reset(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "shielded flows that are reset", 1);
    let other = s.world.talk(40001, 0);
    s.connect_shielded(&other, net);
    s.shielded_reply(&other, "RST", Tcp::rst(BACKEND + 1), Outcome::ForwardReply).closes(0);
    s.flow(&other, ENDED, CLIENT + 1);
    // The cookie is the other's by now; a RST needs none.
    s.request(&talk, "a guessed RST", Tcp::rst(77), Outcome::ForwardRequest);
    s.flow(&talk, SHIELDED | FlowState::RST_UNPROVEN, CLIENT + 1);
    s.request(&talk, "RST", Tcp::rst(CLIENT + 1), Outcome::ForwardRequest).closes(0);
    s
}

/// The client uses its port again: the flow that follows has no cookie, and is not translated.
fn succeeded(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "what follows a shielded flow", 1);
    s.request(&talk, "SYN", Tcp::syn(7000), Outcome::ForwardSynAgain);
    let challenge = Tcp::ack(BACKEND + 1, CLIENT + 1);
    s.shielded_reply(&talk, "the backend's challenge", challenge, Outcome::ForwardReply);
    s.request(&talk, "RST", Tcp::rst(CLIENT + 1), Outcome::ForwardRequest).closes(0);
    s.request(&talk, "SYN", Tcp::syn(7000), Outcome::ForwardSynAgain);
    s.reply(&talk, "SYN-ACK", Tcp::syn_ack(8000, 7001), Outcome::ForwardReply);
    s.request(&talk, "its proof", Tcp::ack(7001, 8001), Outcome::ForwardPromoted);
    s.flow(&talk, 0, 7001);
    s.request(&talk, "data", Tcp::data(7001, 8001, b"data"), Outcome::ForwardRequest);
    s.reply(&talk, "data", Tcp::data(8001, 7005, b"data"), Outcome::ForwardReply);
    s
}

fn closed_by_client(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "a shielded flow is closed by its client's data", 1);
    s.close(&talk);
    s.change(|world| world.backend(0).closing = Backend::CLOSE_LISTED);
    s.shielded_request(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), Outcome::ForwardRequest);
    let row = s.cut(&talk, "data", Tcp::data(CLIENT + 1, 1, b"x"));
    row.expect.output = Output::Bytes(talk.cut_sent(Tcp::rst_ack(CLIENT + 1, BACKEND + 1)).bytes());
    Scenario::acknowledges_cookie(row);
    let data = Tcp::data(CLIENT + 1, 1, b"x");
    s.shielded_refused(&talk, "data again", data, Outcome::ResetCut, Tcp::rst(1));
    s
}

fn closed_by_backend(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "a shielded flow is closed by its backend's data", 1);
    s.close(&talk);
    s.change(|world| world.backend(0).closing = Backend::CLOSE_LISTED);
    let reset = Tcp::rst_ack(1, CLIENT + 1);
    let data = Tcp::data(BACKEND + 1, CLIENT + 1, b"x");
    s.shielded_reset(&talk, "data", data, reset, Outcome::ForwardCutReply).closes(0);
    let data = Tcp::data(CLIENT + 1, 1, b"x");
    s.shielded_refused(&talk, "data of the client", data, Outcome::ResetCut, Tcp::rst(1));
    s.refused_reply(
        &talk,
        "data again",
        Tcp::data(BACKEND + 1, CLIENT + 1, b"x"),
        Outcome::ResetCut,
        Tcp::rst(CLIENT + 1),
    );
    s
}

fn backend_down(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "the backend of a shielded flow is down, or gone", 2);
    let other = s.world.talk(40001, 0);
    s.connect_shielded(&other, net);
    s.change(|world| world.backend(0).closing = Backend::CLOSE_ALL);
    let data = Tcp::data(CLIENT + 1, 1, b"x");
    s.shielded_refused(&other, "data", data.clone(), Outcome::ResetBackendDown, Tcp::rst(1)).closes(0);
    s.change(|world| world.backends[0] = None);
    s.shielded_refused(&other, "data", data, Outcome::ResetBackendGone, Tcp::rst(1));
    s.refused(&talk, "a guess", Tcp::ack(CLIENT + 1, 9), Outcome::ResetBackendGone, Tcp::rst(9));
    s
}

/// No room in the flow table: the flow goes on by its half-open entry, and is entered when there is room.
fn untracked(net: Net) -> Scenario {
    let mut s = shielded(net, "a shielded flow finds the table full", 1, |world| {
        (world.settings.flows4_high, world.settings.flows6_high) = (u32::MAX, u32::MAX);
    });
    let talk = s.world.talk(40000, 0);
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    s.accepted(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
    s.prompted(&talk, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s.steps.push(Step::Fill);
    s.shielded_request(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), Outcome::ForwardUntracked);
    s.no_flow(&talk);
    s.shielded_reply(&talk, "data", Tcp::data(BACKEND + 1, CLIENT + 1, b"data"), Outcome::ForwardHalfOpen);
    s.shielded_request(&talk, "ACK", Tcp::ack(CLIENT + 1, 5), Outcome::ForwardUntracked);
    s.shielded_request(&talk, "much later", Tcp::ack(CLIENT + 1, 70_000), Outcome::ForwardHalfOpen);
    s.half_shielded(&talk, Some(BACKEND), segment(net));
    s
}

/// The client's packets come by another router.
fn rerouted(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "the way to a shielded client changes", 1);
    let moved = talk.from(talk.client, crate::table::client_hop(13));
    s.shielded_request(&moved, "data", Tcp::data(CLIENT + 1, 1, b"data"), Outcome::ForwardRequest);
    s.shielded_reply(&moved, "data", Tcp::data(BACKEND + 1, CLIENT + 5, b"data"), Outcome::ForwardReply);
    s.flow(&moved, SHIELDED, CLIENT + 5);
    s
}

/// Numbers wrap around.
fn wrapping(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "the numbers of a shielded flow wrap around", 1);
    let far = u32::MAX - 3;
    s.shielded_reply(&talk, "data", Tcp::data(far, CLIENT + 1, b"12345678"), Outcome::ForwardReply);
    let ack = far.wrapping_sub(BACKEND).wrapping_add(8);
    s.shielded_request(&talk, "ACK", Tcp::ack(CLIENT + 1, ack), Outcome::ForwardRequest);
    s
}
