//! From the SYN to the proof.

use balancer_common::{
    abi::{Hop, Pace, ScoreFlags, ServiceFlags, ServicePace},
    outcome::Outcome,
};

use super::shielded;
use crate::{
    packet::{Extension, Tcp},
    table::{
        Flood, Net, Scenario, Step, World,
        cases::link::{PAIRS, Tags},
        client_hop,
        scenario::shield::{BACKEND, CLIENT, segment},
        server_hop, tagged,
    },
};

pub(super) fn scenarios(net: Net) -> Vec<Scenario> {
    let mut scenarios = vec![
        connects(net),
        retransmits(net),
        ends_meanwhile(net),
        asks_another(net),
        begun_before(net),
        probes(net),
        bad_cookies(net),
        expects_segments(net),
        refused(net),
        begins_anew(net),
        wrong_numbers(net),
        no_shield(net),
        not_taken(net),
        by_stack(net),
        odd_headers(net),
    ];
    for tags in PAIRS {
        scenarios.push(tagged_links(net, tags));
    }
    scenarios
}

/// Nothing is remembered before the cookie is shown, and no backend hears of it.
fn connects(net: Net) -> Scenario {
    let mut s = shielded(net, "a connection by a cookie", 1, |_| {});
    let talk = s.world.talk(40000, 0);
    let mss = segment(net);
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    s.no_half_open(&talk);
    s.accepted(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), mss);
    s.half_shielded(&talk, None, mss);
    s.no_flow(&talk);
    s.prompted(&talk, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s.half_shielded(&talk, Some(BACKEND), mss);
    s.no_flow(&talk);
    s.shielded_request(&talk, "data", Tcp::data(CLIENT + 1, 1, b"CONNECT"), Outcome::ForwardPromoted);
    s.no_half_open(&talk);
    s.shielded_reply(&talk, "data", Tcp::data(BACKEND + 1, CLIENT + 8, b"CONNACK."), Outcome::ForwardReply);
    s.shielded_request(&talk, "data", Tcp::data(CLIENT + 8, 9, b"PUBLISH"), Outcome::ForwardRequest);
    s
}

/// Whatever is lost is sent again, by one of the two ends.
fn retransmits(net: Net) -> Scenario {
    let mut s = shielded(net, "a lossy connection by a cookie", 2, |_| {});
    let talk = s.world.talk(40000, 0);
    let mss = segment(net);
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    s.answered(&talk, "SYN, because the cookie was lost", Tcp::syn(CLIENT));
    s.accepted(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), mss);
    s.change(|world| world.services[0].ring = vec![1]);
    s.answered(&talk, "SYN that was long on its way", Tcp::syn(CLIENT));
    s.accepted_again(&talk, "data, too early", Tcp::data(CLIENT + 1, 1, b"CONNECT"), mss);
    s.accepted_again(&talk, "a probe, because the SYN was lost", Tcp::ack(CLIENT, 1), mss);
    s.prompted(&talk, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s.prompted(&talk, "SYN-ACK, because the prompt was lost", Tcp::syn_ack(BACKEND, CLIENT + 1))
        .answers_again(0);
    s.shielded_request(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), Outcome::ForwardPromoted);
    s.prompted(&talk, "SYN-ACK, because the ACK was lost", Tcp::syn_ack(BACKEND, CLIENT + 1))
        .answers_again(0);
    s.shielded_request(&talk, "ACK again", Tcp::ack(CLIENT + 1, 1), Outcome::ForwardRequest);
    s.shielded_reply(&talk, "data", Tcp::data(BACKEND + 1, CLIENT + 1, b"x"), Outcome::ForwardReply);
    s
}

/// The flood is over, or the shield is switched off, before the cookie is shown.
fn ends_meanwhile(net: Net) -> Scenario {
    let mut s = shielded(net, "a cookie that outlasts its flood", 1, |_| {});
    let (talk, later) = (s.world.talk(40000, 0), s.world.talk(40001, 0));
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    s.change(|world| world.settings.shield_syns = 0);
    s.request(&later, "SYN", Tcp::syn(CLIENT), Outcome::ForwardSyn);
    s.accepted(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
    s.prompted(&talk, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s.shielded_request(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), Outcome::ForwardPromoted);
    s.reply(&later, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1), Outcome::ForwardHalfOpen);
    s.request(&later, "ACK", Tcp::ack(CLIENT + 1, BACKEND + 1), Outcome::ForwardPromoted);
    s
}

/// The backend that was asked is called down before it answers.
fn asks_another(net: Net) -> Scenario {
    let mut s = shielded(net, "a backend goes down before it answers a cookie's client", 2, |world| {
        world.services[0].ring = vec![0];
    });
    let talk = s.world.talk(40000, 0);
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    s.accepted(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
    s.change(|world| {
        world.services[0].ring = vec![1];
        world.backend(0).score.flags |= ScoreFlags::DOWN;
    });
    let other = talk.with(&s.world, 1);
    s.accepted(&other, "a probe", Tcp::ack(CLIENT, 1), segment(net));
    s.half_shielded(&other, None, segment(net));
    s.accepted_again(&other, "data", Tcp::data(CLIENT + 1, 1, b"CONNECT"), segment(net));
    s.prompted(&other, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s.change(|world| world.backend(1).score.flags |= ScoreFlags::DOWN);
    let proof = Tcp::data(CLIENT + 1, 1, b"CONNECT");
    s.shielded_request(&other, "data of a flow that has its backend", proof, Outcome::ForwardPromoted);
    s
}

/// A SYN of before the flood whose backend takes no new flows: the cookie is looked for in the ACK, and not the SYN-ACK.
fn begun_before(net: Net) -> Scenario {
    let mut s = shielded(net, "a connection begun before the cookies", 2, |_| {});
    let talk = s.world.talk(40000, 0);
    let other = talk.with(&s.world, 1);
    s.request(&talk, "SYN", Tcp::syn(CLIENT), Outcome::ForwardSyn);
    s.change(|world| {
        world.services[0].ring = vec![1];
        world.backend(0).score.flags |= ScoreFlags::DRAIN;
    });
    s.answered(&talk, "SYN again", Tcp::syn(CLIENT));
    s.no_half_open(&talk);
    s.accepted(&other, "ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
    s.prompted(&other, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s.shielded_request(&other, "ACK", Tcp::ack(CLIENT + 1, 1), Outcome::ForwardPromoted);
    s
}

/// The ACK with the cookie was lost, and a probe of the closed window is the first packet that has it.
fn probes(net: Net) -> Scenario {
    let mut s = shielded(net, "a cookie in a probe", 1, |_| {});
    let talk = s.world.talk(40000, 0);
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    s.accepted(&talk, "probe", Tcp::ack(CLIENT, 1), segment(net));
    s.prompted(&talk, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s.shielded_request(&talk, "a late probe", Tcp::ack(CLIENT, 1), Outcome::ForwardPromoted);
    s.shielded_request(&talk, "data", Tcp::data(CLIENT + 1, 1, b"CONNECT"), Outcome::ForwardRequest);
    s
}

/// A cookie is looked for only while some are out, and only a valid one is accepted.
fn bad_cookies(net: Net) -> Scenario {
    let mut s = shielded(net, "cookies that are none", 1, |_| {});
    let (talk, other) = (s.world.talk(40000, 0), s.world.talk(40001, 0));
    s.refused(&talk, "before any was sent", Tcp::ack(7, 8), Outcome::ResetUnknownFlow, Tcp::rst(8));
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    let bad = Outcome::ResetBadCookie;
    s.refused(&talk, "a guess", Tcp::ack(CLIENT + 1, 8), bad, Tcp::rst(8));
    s.shielded_refused(&talk, "of another SYN", Tcp::ack(CLIENT + 2, 1), bad, Tcp::rst(1));
    s.shielded_refused(&talk, "a number too high", Tcp::ack(CLIENT + 1, 51), bad, Tcp::rst(51));
    s.shielded_refused(&talk, "data that looks like a probe", Tcp::data(CLIENT, 1, b"x"), bad, Tcp::rst(1));
    s.shielded_refused(&other, "of another port", Tcp::ack(CLIENT + 1, 1), bad, Tcp::rst(1));
    s.dropped(&talk, "RST", &talk.request(Tcp::rst(CLIENT + 1)), Outcome::DropStrayReset);
    s.no_half_open(&talk);
    s.accepted(&talk, "the right one", Tcp::ack(CLIENT + 1, 1), segment(net));
    s
}

/// The backend is told how long the client's segments may be, as far as the cookie says it.
fn expects_segments(net: Net) -> Scenario {
    let mut s = shielded(net, "clients with small segments", 1, |_| {});
    let smallest = if net == Net::V4 { 536 } else { 1220 };
    let (small, padded, middle) = match net {
        Net::V4 => (1300, vec![1, 1, 2, 4, 5, 0x1e], 1300),
        Net::V6 => (1420, vec![1, 1, 2, 4, 5, 0x90], 1420),
    };
    let options = [
        ("none", vec![], smallest),
        ("padded", [padded, vec![0, 0]].concat(), middle),
        ("behind others", vec![4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4, 0x05, 0xb4], segment(net)),
        ("ends before it", vec![0, 0, 0, 0, 2, 4, 0x05, 0xb4], smallest),
        ("of no length", vec![3, 0, 0, 0, 2, 4, 0x05, 0xb4], smallest),
        ("behind eight others", [vec![1; 8], vec![2, 4, 0x05, 0xb4]].concat(), smallest),
        ("of a wrong length", vec![2, 6, 0x05, 0xb4, 0, 0, 0, 0], smallest),
    ];
    assert!(small <= middle);
    for (port, (note, options, mss)) in (40000..).zip(options) {
        let talk = s.world.talk(port, 0);
        s.answered(&talk, note, Tcp { options, ..Tcp::syn(CLIENT) });
        s.accepted(&talk, "ACK", Tcp { options: vec![], ..Tcp::ack(CLIENT + 1, 1) }, mss);
    }
    s
}

/// A backend that refuses ends the connection that its client believes to have.
fn refused(net: Net) -> Scenario {
    let mut s = shielded(net, "a backend that refuses a cookie's client", 1, |_| {});
    let talk = s.world.talk(40000, 0);
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    s.accepted(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
    let rst = Tcp::rst_ack(0, CLIENT + 1);
    s.shielded_reset(&talk, "RST", rst, Tcp::rst(1), Outcome::ForwardHalfOpen).refuses(0);
    s.accepted_again(&talk, "a probe that crossed it", Tcp::ack(CLIENT, 1), segment(net));
    s.prompted(&talk, "SYN-ACK after all", Tcp::syn_ack(BACKEND, CLIENT + 1));
    let gone = Tcp::rst(BACKEND + 1);
    s.shielded_reset(&talk, "RST", gone, Tcp::rst(1), Outcome::ForwardHalfOpen);
    s
}

/// The client gave up and uses its port again.
fn begins_anew(net: Net) -> Scenario {
    let mut s = shielded(net, "a client that begins anew", 1, |_| {});
    let talk = s.world.talk(40000, 0);
    s.answered(&talk, "SYN of before", Tcp::syn(77));
    let old = s.accepted(&talk, "ACK of before", Tcp::ack(78, 1), segment(net));
    let sent = Tcp { window: 502, ..Tcp::syn(77) };
    let mut fresh =
        talk.request_sent(Tcp { options: [&[2, 4], &segment(net).to_be_bytes()[..]].concat(), ..sent });
    fresh.network =
        crate::packet::Network { hops: 64, class: 0, identification: 0, flow_label: 0, ..fresh.network };
    old.expect.output = crate::table::Output::Bytes(fresh.bytes());
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    s.accepted(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
    s.half_shielded(&talk, None, segment(net));
    let late = talk.reply(Tcp::syn_ack(9000, 78));
    s.dropped(&talk, "SYN-ACK to the first SYN", &late, Outcome::DropUnproven);
    s.prompted(&talk, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s.shielded_request(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), Outcome::ForwardPromoted);
    s
}

/// What has wrong numbers on the tuple of a shielded flow changes nothing.
fn wrong_numbers(net: Net) -> Scenario {
    let mut s = shielded(net, "wrong numbers beside a cookie", 1, |_| {});
    let talk = s.world.talk(40000, 0);
    s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    s.accepted(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
    let unproven = Outcome::DropUnproven;
    s.dropped(&talk, "a guess", &talk.request(Tcp::ack(CLIENT + 1, 8)), unproven);
    s.dropped(&talk, "no ACK", &talk.request(Tcp { flags: 0, ..Tcp::ack(CLIENT + 1, 1) }), unproven);
    s.dropped(&talk, "RST without a number", &talk.request(Tcp::rst(CLIENT + 1)), unproven);
    let rst = talk.request(Tcp::rst_ack(CLIENT + 1, 1));
    Scenario::acknowledges_cookie(s.dropped(&talk, "RST", &rst, Outcome::DropStrayReset));
    let early = talk.reply(Tcp::data(BACKEND + 1, CLIENT + 1, b"x"));
    s.dropped(&talk, "data of a backend that has not answered", &early, unproven);
    s.half_shielded(&talk, None, segment(net));
    s.prompted(&talk, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    s.shielded_request(&talk, "RST", Tcp::rst_ack(CLIENT + 1, 1), Outcome::ForwardHalfOpen);
    s.dropped(&talk, "no ACK", &talk.request(Tcp { flags: 0, ..Tcp::ack(CLIENT + 1, 1) }), unproven);
    s.no_flow(&talk);
    s
}

/// Who is not shielded: known flows, services of several gateways, and everybody while the table is nearly full.
fn no_shield(net: Net) -> Scenario {
    let mut world = World::new(net, 2);
    world.settings.shield_syns = 1000;
    let (known, half) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut s = Scenario::new(format!("{net:?}: SYNs that are not answered with cookies"), world);
    s.connect(&known);
    s.request(&half, "SYN before the flood", Tcp::syn(1000), Outcome::ForwardSyn);
    s.steps.push(Step::Flood(Flood::Syns));
    s.request(&half, "the same again", Tcp::syn(1000), Outcome::ForwardSynAgain);
    s.reply(&half, "its SYN-ACK", Tcp::syn_ack(5000, 1001), Outcome::ForwardHalfOpen);
    s.request(&half, "its ACK", Tcp::ack(1001, 5001), Outcome::ForwardPromoted);
    s.request(&known, "SYN of a live flow", Tcp::syn(2000), Outcome::ForwardSynAgain);
    s.reply(&known, "RST", Tcp::rst(5001), Outcome::ForwardReply).closes(0);
    s.request(&known, "SYN of a closed flow", Tcp::syn(2000), Outcome::ForwardSynAgain);
    let third = s.world.talk(40002, 0);
    s.change(|world| (world.settings.flows4_high, world.settings.flows6_high) = (0, 0));
    s.request(&third, "a full table", Tcp::syn(1000), Outcome::ForwardSynStateless);
    s.change(|world| {
        (world.settings.flows4_high, world.settings.flows6_high) = (100, 100);
        world.services[0].flags = ServiceFlags::ADOPT;
    });
    let fourth = s.world.talk(40003, 0);
    s.request(&fourth, "a service of several gateways", Tcp::syn(1000), Outcome::ForwardSyn);
    s.change(|world| {
        world.services[0].flags = 0;
        world.settings.shield_syns = 0;
    });
    let fifth = s.world.talk(40004, 0);
    s.request(&fifth, "switched off", Tcp::syn(1000), Outcome::ForwardSyn);
    s
}

/// Budgets, caps and backends that take no new flows count when the cookie is shown.
fn not_taken(net: Net) -> Scenario {
    const HOUR: u64 = 3_600_000_000_000;
    let mut s = shielded(net, "cookies that find no backend", 1, |world| {
        world.services[0].pace = ServicePace { pace: Pace::new(HOUR, 0), ..ServicePace::default() };
    });
    let (first, talk) = (s.world.talk(40000, 0), s.world.talk(40001, 0));
    s.connect_shielded(&first, net);
    s.answered(&talk, "SYNs cost no budget", Tcp::syn(CLIENT));
    let ack = talk.request(Tcp::ack(CLIENT + 1, 1));
    Scenario::acknowledges_cookie(s.dropped(&talk, "no budget", &ack, Outcome::DropOverBudget));
    s.no_half_open(&talk);
    s.change(|world| world.services[0].pace.refuse = 1);
    let ack = || Tcp::ack(CLIENT + 1, 1);
    s.shielded_refused(&talk, "no budget", ack(), Outcome::ResetOverBudget, Tcp::rst(1));
    s.change(|world| world.services[0].pace = ServicePace { cap: 1, ..ServicePace::default() });
    s.shielded_refused(&talk, "at its cap", ack(), Outcome::ResetServiceFull, Tcp::rst(1));
    s.change(|world| {
        world.services[0].pace = ServicePace::default();
        world.backend(0).score.flags |= ScoreFlags::DRAIN;
    });
    s.shielded_refused(&talk, "drained", ack(), Outcome::ResetNoBackend, Tcp::rst(1));
    s.change(|world| world.backend(0).score.flags = ScoreFlags::READY);
    s.accepted(&talk, "a probe later", Tcp::ack(CLIENT, 1), segment(net));
    s
}

/// Neighbours that only the host's stack can find.
fn by_stack(net: Net) -> Scenario {
    let mut s = shielded(net, "cookies and the host's stack", 1, |world| {
        world.backend(0).addr = net.server(66, 11883);
        world.backend(0).hop = Hop::UNKNOWN;
    });
    let talk = s.world.talk(40000, 0);
    s.connect_shielded(&talk, net);
    s.shielded_request(&talk, "data", Tcp::data(CLIENT + 1, 1, b"data"), Outcome::ForwardRequest);
    s
}

/// Links with tags, on either side.
fn tagged_links(net: Net, (client, server): (Tags, Tags)) -> Scenario {
    let name = format!("cookies from {} tags to {}", client.len(), server.len());
    let name = format!("{name} ({:#x})", client.first().map_or(0, |tag| tag.0));
    let mut s = shielded(net, &name, 1, |world| world.backend(0).hop = tagged(server_hop(11), server));
    let talk = s.world.talk(40000, 0);
    let talk = talk.from(talk.client, tagged(client_hop(10), client));
    s.connect_shielded(&talk, net);
    s.shielded_request(&talk, "data", Tcp::data(CLIENT + 1, 1, b"data"), Outcome::ForwardRequest);
    s.shielded_reply(&talk, "data", Tcp::data(BACKEND + 1, CLIENT + 5, b"data"), Outcome::ForwardReply);
    s
}

/// Headers with options give way to plain ones in the handshake, and stay in what follows.
fn odd_headers(net: Net) -> Scenario {
    let mut s = shielded(net, "cookies and odd headers", 1, |_| {});
    let talk = s.world.talk(40000, 0);
    let odd = talk.shaped(|packet| {
        packet.network.options = vec![1; 8];
        packet.network.extensions = vec![Extension::hop_by_hop(), Extension::fragment(0, false)];
    });
    let plain = |row: &mut crate::table::Row, packet: &crate::packet::Packet| row.frame = packet.bytes();
    let row = s.answered(&talk, "SYN", Tcp::syn(CLIENT));
    plain(row, &odd.request(Tcp::syn(CLIENT)));
    let row = s.accepted(&talk, "ACK", Tcp::ack(CLIENT + 1, 1), segment(net));
    plain(row, &odd.request(Tcp::ack(CLIENT + 1, 1)));
    let row = s.prompted(&talk, "SYN-ACK", Tcp::syn_ack(BACKEND, CLIENT + 1));
    plain(row, &odd.reply(Tcp::syn_ack(BACKEND, CLIENT + 1)));
    s.shielded_request(&odd, "ACK", Tcp::ack(CLIENT + 1, 1), Outcome::ForwardPromoted);
    s.shielded_reply(&odd, "data", Tcp::data(BACKEND + 1, CLIENT + 1, b"odd"), Outcome::ForwardReply);
    s
}
