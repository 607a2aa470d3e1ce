//! IPv4 options, IPv6 extension headers, fragments, padding, hops.

use balancer_common::outcome::Outcome;

use crate::{
    packet::{Extension, Packet, Tcp},
    table::{Net, Scenario, World},
};

/// A way of being special.
type Shape = fn(&mut Packet);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        kept(Net::V4, "IPv4 options", &[router_alert, longest_options, may_fragment]),
        kept(
            Net::V6,
            "IPv6 extension headers",
            &[hop_by_hop, options, routing, atomic, all_kinds, long_options],
        ),
        fragments4(),
        fragments6(),
        extensions6(),
        reset_without_options(),
        odd_headers4(),
    ];
    for net in Net::BOTH {
        scenarios.extend([kept(net, "Ethernet padding", &[padded]), hops(net), empty_segments(net)]);
    }
    scenarios
}

fn router_alert(packet: &mut Packet) {
    packet.network.options = vec![0x94, 4, 0, 0];
}

fn longest_options(packet: &mut Packet) {
    packet.network.options = vec![1; 40];
}

const fn may_fragment(packet: &mut Packet) {
    packet.network.whole = false;
    packet.network.identification = 0xffff;
    packet.network.hops = 2;
}

fn hop_by_hop(packet: &mut Packet) {
    packet.network.extensions = vec![Extension::hop_by_hop()];
}

fn options(packet: &mut Packet) {
    packet.network.extensions = vec![Extension::destination_options(1)];
}

fn routing(packet: &mut Packet) {
    packet.network.extensions = vec![Extension::routing(0)];
}

fn atomic(packet: &mut Packet) {
    packet.network.extensions = vec![Extension::fragment(0, false)];
}

fn all_kinds(packet: &mut Packet) {
    packet.network.extensions = vec![
        Extension::hop_by_hop(),
        Extension::destination_options(1),
        Extension::routing(0),
        Extension::fragment(0, false),
        Extension::destination_options(2),
        Extension::destination_options(1),
    ];
}

fn long_options(packet: &mut Packet) {
    packet.network.extensions = vec![Extension::destination_options(150)];
}

fn padded(packet: &mut Packet) {
    packet.trailer = vec![0x5c; 13];
}

/// Whole connections of packets that are special in both directions.
fn kept(net: Net, what: &str, shapes: &[Shape]) -> Scenario {
    let world = World::new(net, 1);
    let mut s = Scenario::new(format!("{net:?}: {what} are kept"), world.clone());
    for (port, shape) in (40000..).zip(shapes) {
        let talk = world.talk(port, 0).shaped(*shape);
        s.connect(&talk);
        s.request(&talk, "data", Tcp::data(1001, 5001, b"odd"), Outcome::ForwardRequest);
        s.reply(&talk, "data", Tcp::data(5001, 1004, b"even"), Outcome::ForwardReply);
    }
    s
}

fn fragments4() -> Scenario {
    let world = World::new(Net::V4, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new("V4: fragments are not ours", world);
    s.connect(&talk);
    for (note, fragment) in
        [("first", (0, true)), ("middle", (100, true)), ("last", (185, false)), ("furthest", (0x1fff, false))]
    {
        let mut packet = talk.request(Tcp::data(1001, 5001, b"data"));
        packet.network.whole = false;
        packet.network.fragment = fragment;
        s.passed(note, packet.bytes(), Outcome::PassFragment);
        let mut packet = talk.reply(Tcp::data(5001, 1001, b"data"));
        packet.network.fragment = fragment;
        s.passed(note, packet.bytes(), Outcome::PassFragment);
    }
    s
}

fn fragments6() -> Scenario {
    let world = World::new(Net::V6, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new("V6: fragments are not ours", world);
    s.connect(&talk);
    for (note, fragment) in [("first", (0, true)), ("middle", (100, true)), ("last", (185, false))] {
        for before in [vec![], vec![Extension::hop_by_hop()]] {
            let mut packet = talk.request(Tcp::data(1001, 5001, b"data"));
            packet.network.extensions = before;
            packet.network.extensions.push(Extension::fragment(fragment.0, fragment.1));
            s.passed(note, packet.bytes(), Outcome::PassFragment);
        }
    }
    s
}

fn extensions6() -> Scenario {
    let world = World::new(Net::V6, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new("V6: extension headers that are not walked", world);
    let mut with = |note: &str, extensions: Vec<Extension>, outcome| {
        let mut packet = talk.request(Tcp::syn(1000));
        packet.network.extensions = extensions;
        s.passed(note, packet.bytes(), outcome);
    };
    with("segments left", vec![Extension::routing(1)], Outcome::PassNotTcp);
    with("seven", vec![Extension::destination_options(1); 7], Outcome::PassExtensionDepth);
    with("authentication", vec![Extension { kind: 51, body: vec![4; 23] }], Outcome::PassNotTcp);
    with("no next header", vec![Extension { kind: 59, body: vec![0; 7] }], Outcome::PassNotTcp);
    with("unknown", vec![Extension { kind: 253, body: vec![0; 7] }], Outcome::PassNotTcp);

    let mut packet = talk.request(Tcp::syn(1000));
    packet.network.extensions = vec![Extension::destination_options(1)];
    let mut bytes = packet.bytes();
    bytes[55] = 255;
    s.passed("an extension longer than the packet", bytes, Outcome::PassMalformed);
    let mut bytes = talk.request(Tcp::syn(1000)).bytes();
    bytes[18..20].fill(0);
    s.passed("no payload, or a jumbogram", bytes, Outcome::PassMalformed);
    let mut bytes = talk.request(Tcp::syn(1000)).bytes();
    bytes[14] = 0x5b;
    s.passed("another version", bytes, Outcome::PassMalformed);
    s
}

/// The RST that answers a packet with options has none.
fn reset_without_options() -> Scenario {
    let world = World::new(Net::V4, 1);
    let mut s = Scenario::new("a RST has no options", world.clone());
    let talk = world.talk(40000, 0).shaped(longest_options);
    s.steps.extend(plain_reset(&world, &talk.request(Tcp::data(7, 8, &[0x5a; 100]))));
    let world = World::new(Net::V6, 1);
    let talk = world.talk(40000, 0).shaped(all_kinds);
    s.change(|current| *current = world.clone());
    s.steps.extend(plain_reset(&world, &talk.request(Tcp::data(7, 8, &[0x5a; 100]))));
    s
}

fn plain_reset(world: &World, packet: &Packet) -> Vec<crate::table::Step> {
    let mut s = Scenario::new("", world.clone());
    let talk = world.talk(40000, 0);
    let row = s.refused(&talk, "data", packet.tcp.clone(), Outcome::ResetUnknownFlow, Tcp::rst(8));
    row.frame = packet.bytes();
    s.steps
}

/// Headers that contradict themselves.
fn odd_headers4() -> Scenario {
    let world = World::new(Net::V4, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new("V4: headers that contradict themselves", world);
    let good = talk.request(Tcp::syn(1000)).bytes();
    let mut with = |note: &str, offset: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[offset..offset + value.len()].copy_from_slice(value);
        s.passed(note, bytes, Outcome::PassMalformed);
    };
    with("another version", 14, &[0x55]);
    with("header of sixteen bytes", 14, &[0x44]);
    with("total shorter than the header", 16, &[0, 19]);
    with("total that ends inside the TCP header", 16, &[0, 39]);
    with("total that ends inside the TCP options", 16, &[0, 43]);
    with("TCP header of sixteen bytes", 14 + 20 + 12, &[0x40]);
    with("TCP header longer than the packet", 14 + 20 + 12, &[0xf0]);
    let mut bytes = good.clone();
    bytes[16..18].copy_from_slice(&[0x10, 0]);
    s.passed("total longer than the frame", bytes, Outcome::PassTruncated);
    s
}

/// The last hop is no reason to answer in the host's name.
fn hops(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: no hop left"), world);
    s.connect(&talk);
    for hops in [0, 1] {
        for tcp in [Tcp::syn(9), Tcp::data(1001, 5001, b"data"), Tcp::rst(1001), Tcp::fin(1001, 5001)] {
            let mut packet = talk.request(tcp);
            packet.network.hops = hops;
            s.dropped(&talk, &format!("{hops} hops, to the backend"), &packet, Outcome::DropHopLimit);
        }
        s.flow(&talk, 0, 1001);
    }
    let mut packet = talk.reply(Tcp::data(5001, 1001, b"data"));
    packet.network.hops = 1;
    s.dropped(&talk, "1 hop, to the client", &packet, Outcome::DropHopLimit);
    let talk = talk.shaped(|packet| packet.network.hops = 2);
    s.request(&talk, "2 hops", Tcp::data(1001, 5001, b"data"), Outcome::ForwardRequest);
    s.reply(&talk, "2 hops", Tcp::data(5001, 1005, b"data"), Outcome::ForwardReply);
    let talk = talk.shaped(|packet| packet.network.hops = 255);
    s.request(&talk, "255 hops", Tcp::data(1005, 5005, b"data"), Outcome::ForwardRequest);
    s
}

/// Segments without a flag or payload, with all flags, and with the largest window.
fn empty_segments(net: Net) -> Scenario {
    let world = World::new(net, 1);
    let talk = world.talk(40000, 0);
    let mut s = Scenario::new(format!("{net:?}: odd flags"), world);
    s.connect(&talk);
    let bare = Tcp { options: Vec::new(), ..Tcp::new(0, 1001, 0) };
    s.request(&talk, "no flag", bare, Outcome::ForwardRequest);
    s.request(
        &talk,
        "all flags but SYN and RST",
        Tcp { flags: 0xf9, ..Tcp::ack(1001, 5001) },
        Outcome::ForwardRequest,
    );
    let zero = Tcp { window: 0xffff, ..Tcp::data(1001, 5001, &[0xff; 64]) };
    s.request(&talk, "all ones", zero, Outcome::ForwardRequest);
    s
}
