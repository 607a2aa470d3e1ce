//! Errors about packets that were too big for the way, and errors that only look alike.

use std::net::SocketAddr;

use balancer_common::{
    abi::{FlowState, Hop},
    outcome::Outcome,
};

use super::link::PAIRS;
use crate::{
    packet::{Extension, Network, Tcp, TooBig, other},
    table::{
        Net, Scenario, Talk, World, client_hop,
        scenario::{
            shield::BACKEND,
            too_big::{Quoted, about_reply, about_request},
        },
        server_hop, tagged,
        world::{self, STRANGER},
    },
};

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![options4(), extensions6()];
    for net in Net::BOTH {
        scenarios.extend([
            both_ways(net),
            lengths(net),
            tags(net),
            by_routes(net),
            ended(net),
            strangers(net),
            other_messages(net),
            odd_quotes(net),
            truncated(net),
            hops(net),
            shielded(net),
        ]);
    }
    scenarios
}

const PLAIN: fn(&mut TooBig) = |_| {};

/// A world with one established flow.
fn connected(net: Net, name: &str) -> (Scenario, Talk) {
    let world = World::new(net, 2);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: {name}"), world);
    s.connect(&talk);
    (s, talk)
}

/// Both ends hear of it in their own words, and the flow is as it was.
fn both_ways(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "who sent what is too big hears of it");
    s.too_big(&talk, "a reply is too big", &Quoted::default(), PLAIN);
    s.too_big_reply(&talk, "a client's packet is too big", &Quoted::default(), PLAIN);
    s.flow(&talk, 0, 1001);
    let odd = Quoted { tcp: Tcp::data(0, 0xffff_ffff, b""), ..Quoted::default() };
    s.too_big(&talk, "from the first byte on", &odd, |error| error.mtu = 0);
    let odd = Quoted { tcp: Tcp::data(u32::MAX, 0, b""), ..Quoted::default() };
    s.too_big_reply(&talk, "from the last byte on", &odd, |error| error.mtu = 0xffff);
    s.flow(&talk, 0, 1001);
    s
}

/// Routers quote as much as they like.
fn lengths(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "errors that quote more and less");
    for len in [8, 9, 16, 17, 18, 19, 20, 32, 100, 528, 1200] {
        let quoted = Quoted { len, ..Quoted::default() };
        let note = format!("{len} bytes of TCP");
        s.too_big(&talk, &note, &quoted, PLAIN);
        s.too_big_reply(&talk, &note, &quoted, PLAIN);
        s.too_big(&talk, &note, &quoted, |error| error.trailer = vec![0x5c; 9]);
    }
    s
}

fn tags(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let mut s = Scenario::new(format!("{net:?}: errors gain and lose tags"), world);
    for (port, (client, server)) in (40000..).zip(PAIRS) {
        s.change(|world| world.backend(0).hop = tagged(server_hop(11), server));
        let talk = s.world.talk(port, 0);
        let talk = talk.from(talk.client, tagged(client_hop(10), client));
        s.connect(&talk);
        s.too_big(&talk, "to the backend", &Quoted::default(), PLAIN);
        s.too_big_reply(&talk, "to the client", &Quoted::default(), PLAIN);
    }
    s
}

/// The agent does not know the way to the backend.
fn by_routes(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.backend(0).hop = Hop::UNKNOWN;
    let talk = Talk { server_hop: server_hop(11), ..world.talk(40000, 0) };
    let mut s = Scenario::new(format!("{net:?}: the kernel's routes know an error's way"), world);
    s.connect(&talk);
    s.too_big(&talk, "by the routes", &Quoted::default(), PLAIN);
    s.change(|world| world.backend(0).addr = net.server(STRANGER, world::BROKER_PORT));
    let talk = Talk { server: net.server(STRANGER, world::BROKER_PORT), server_hop: Hop::UNKNOWN, ..talk };
    s.too_big(&talk, "by the host's stack", &Quoted::default(), PLAIN);
    s
}

/// Flows that end, end up at another backend, or have lost theirs.
fn ended(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "errors about flows that end");
    s.reply(&talk, "FIN", Tcp::fin(5001, 1001), Outcome::ForwardReply);
    s.request(&talk, "FIN", Tcp::fin(1001, 5001), Outcome::ForwardRequest).closes(0);
    s.too_big(&talk, "of what is still on its way", &Quoted::default(), PLAIN);
    s.flow(&talk, FlowState::FIN_CLIENT | FlowState::FIN_BACKEND | FlowState::CLOSED, 1001);
    let error = about_request(&talk.with(&s.world, 1), &Quoted::default());
    s.passed("of another backend", error.bytes(), Outcome::PassNotTcp);
    s.change(|world| world.backends[0] = None);
    let error = about_reply(&talk, &Quoted::default());
    s.passed("its backend is gone", error.bytes(), Outcome::PassNotTcp);
    s
}

/// What nobody can have sent who knows a flow of ours.
fn strangers(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "errors about nothing of ours");
    let half_open = s.world.talk(40001, 0);
    s.request(&half_open, "SYN", Tcp::syn(1000), Outcome::ForwardSyn);
    let port = |addr: SocketAddr, port| SocketAddr::new(addr.ip(), port);
    let others = [
        ("a flow that is half open", half_open),
        ("another port of the client", talk.from(port(talk.client, 40002), talk.client_hop)),
        ("another client", talk.from(net.client(12, 40000), talk.client_hop)),
        ("another port of the VIP", Talk { vip: port(talk.vip, 22), ..talk.clone() }),
        ("another address than the VIP", Talk { vip: net.vip(2, world::VIP_PORT), ..talk.clone() }),
    ];
    for (note, other) in others {
        let error = about_reply(&other, &Quoted::default());
        s.passed(note, error.bytes(), Outcome::PassNotTcp);
    }
    let others = [
        ("another client's packet", talk.from(net.client(12, 40000), talk.client_hop)),
        ("a packet to another port", Talk { server: port(talk.server, 22), ..talk.clone() }),
        ("a packet to nobody of ours", Talk { server: net.server(19, world::BROKER_PORT), ..talk.clone() }),
    ];
    for (note, other) in others {
        let error = about_request(&other, &Quoted::default());
        s.passed(note, error.bytes(), Outcome::PassNotTcp);
    }
    let mut error = about_reply(&talk, &Quoted::default());
    error.to = net.client(1, 0).ip();
    s.passed("to another address of the host", error.bytes(), Outcome::PassNotTcp);
    let backwards = Quoted::default().bytes(talk.client, talk.vip);
    let error = TooBig { quote: backwards, ..about_reply(&talk, &Quoted::default()) };
    s.passed("a client's packet, as if the VIP had sent it", error.bytes(), Outcome::PassNotTcp);
    s
}

/// Other messages with the same content.
fn other_messages(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "other ICMP messages pass");
    let kinds: &[(u8, u8)] = match net {
        Net::V4 => {
            &[(3, 0), (3, 1), (3, 3), (3, 13), (0, 4), (4, 0), (5, 1), (8, 0), (11, 0), (12, 0), (2, 0)]
        }
        Net::V6 => &[(1, 0), (1, 4), (3, 0), (3, 1), (3, 4), (4, 0), (128, 0), (129, 0), (135, 0), (137, 0)],
    };
    for kind in kinds {
        for error in [about_reply(&talk, &Quoted::default()), about_request(&talk, &Quoted::default())] {
            let error = TooBig { kind: *kind, ..error };
            s.passed(&format!("{kind:?}"), error.bytes(), Outcome::PassNotTcp);
        }
    }
    if net == Net::V6 {
        s.too_big(&talk, "the code says nothing", &Quoted::default(), |error| error.kind = (2, 7));
    }
    s
}

/// Quotes that are no TCP, or of which nobody can tell what they are.
fn odd_quotes(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "errors that quote something else");
    let quotes = |s: &mut Scenario, note: &str, quote: Vec<u8>| {
        let error = TooBig { quote, ..about_reply(&talk, &Quoted::default()) };
        s.passed(note, error.bytes(), Outcome::PassNotTcp);
    };
    let good = Quoted::default().bytes(talk.vip, talk.client);
    let link = about_reply(&talk, &Quoted::default()).link;
    let (ports, others) = ((talk.vip.port(), talk.client.port()), ["UDP", "a ping"]);
    let frames = match (talk.vip, talk.client) {
        (SocketAddr::V4(vip), SocketAddr::V4(client)) => {
            let ends = (*vip.ip(), *client.ip());
            [other::udp4(&link, ends, ports), other::ping4(&link, ends.0, ends.1)]
        }
        (SocketAddr::V6(vip), SocketAddr::V6(client)) => {
            let ends = (*vip.ip(), *client.ip());
            [other::udp6(&link, ends, ports), other::ping6(&link, ends.0, ends.1)]
        }
        _ => unreachable!("both are of one family"),
    };
    for (note, frame) in others.into_iter().zip(frames) {
        quotes(&mut s, note, frame[14..].to_vec());
    }
    quotes(&mut s, "another version", [&[good[0] ^ 0x20], &good[1..]].concat());
    quotes(&mut s, "nothing", Vec::new());
    let network = match net {
        Net::V4 => Network { fragment: (100, false), ..Network::default() },
        Net::V6 => Network { extensions: vec![Extension::fragment(100, false)], ..Network::default() },
    };
    let fragment = Quoted { network, ..Quoted::default() };
    quotes(&mut s, "a fragment without ports", fragment.bytes(talk.vip, talk.client));
    s
}

/// Quotes that end too early, be it because the message does or because the frame does.
fn truncated(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "errors that are cut short");
    let whole = about_reply(&talk, &Quoted::default());
    for len in 0..whole.quote.len() {
        let quote = whole.quote[..len].to_vec();
        // The rest of the quote is there, but behind the message.
        let trailer = whole.quote[len..].to_vec();
        let error = TooBig { quote: quote.clone(), trailer, ..whole.clone() };
        s.passed(&format!("{len} bytes quoted, and more behind"), error.bytes(), Outcome::PassNotTcp);
        let error = TooBig { quote, ..whole.clone() };
        s.passed(&format!("{len} bytes quoted"), error.bytes(), Outcome::PassNotTcp);
    }
    let bytes = whole.bytes();
    let headers = if net == Net::V4 { 14 + 20 } else { 14 + 40 };
    for len in 0..bytes.len() {
        let outcome = if len < headers { Outcome::PassTruncated } else { Outcome::PassNotTcp };
        s.passed(&format!("{len} bytes"), bytes[..len].to_vec(), outcome);
    }
    s.flow(&talk, 0, 1001);
    s
}

fn hops(net: Net) -> Scenario {
    let (mut s, talk) = connected(net, "errors without a hop left");
    for hops in [0, 1] {
        for error in [about_reply(&talk, &Quoted::default()), about_request(&talk, &Quoted::default())] {
            let network = Network { hops, ..Network::default() };
            let error = TooBig { network, ..error };
            s.lost(talk.service, &format!("{hops} hops"), error.bytes(), Outcome::DropHopLimit);
        }
    }
    s.too_big(&talk, "2 hops", &Quoted::default(), |error| error.network.hops = 2);
    s.too_big_reply(&talk, "255 hops", &Quoted::default(), |error| error.network.hops = 255);
    s
}

/// What the client acknowledges counts from a cookie, and so do the numbers that it is sent.
fn shielded(net: Net) -> Scenario {
    let mut world = World::new(net, 1);
    world.settings.shield_syns = 1000;
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: errors about a shielded flow"), world);
    s.connect_shielded(&talk, net);
    let quoted = Quoted { tcp: Tcp::data(BACKEND + 1, 1001, &[0xd5; 100]), ..Quoted::default() };
    s.shielded_too_big(&talk, "a reply is too big", &quoted);
    s.too_big_reply(&talk, "a client's packet is too big", &Quoted::default(), PLAIN);
    s
}

/// IPv4 options in either header; fragments of errors.
fn options4() -> Scenario {
    let (mut s, talk) = connected(Net::V4, "errors with options");
    for options in [vec![], vec![0x94, 4, 0, 0], vec![1; 40]] {
        let network = Network { options, hops: 60, ..Network::default() };
        for len in [8, 20, 100] {
            let quoted = Quoted { network: network.clone(), len, ..Quoted::default() };
            s.too_big(&talk, "quoted", &quoted, PLAIN);
            s.too_big_reply(&talk, "quoted", &quoted, PLAIN);
            s.too_big(&talk, "on both", &quoted, |error| error.network.options = vec![1; 40]);
        }
    }
    for fragment in [(0, true), (100, false)] {
        let mut error = about_reply(&talk, &Quoted::default());
        error.network.fragment = fragment;
        s.passed("a fragment of an error", error.bytes(), Outcome::PassNotTcp);
    }
    s
}

/// Extension headers before the error, and in what it quotes: neither routers nor hosts put any there.
fn extensions6() -> Scenario {
    let (mut s, talk) = connected(Net::V6, "errors with extension headers");
    let mut error = about_reply(&talk, &Quoted::default());
    error.network.extensions = vec![Extension::hop_by_hop()];
    s.passed("options", error.bytes(), Outcome::PassNotTcp);
    let network = Network { extensions: vec![Extension::hop_by_hop()], ..Network::default() };
    let quoted = Quoted { network, ..Quoted::default() };
    let error = about_reply(&talk, &quoted);
    s.passed("quoted", error.bytes(), Outcome::PassNotTcp);
    s
}
