//! From bytes to packets and what an agent does between them.

use std::{net::SocketAddr, sync::OnceLock};

use balancer_common::{
    abi::{Hop, ScoreFlags},
    path::Action,
};

use crate::{
    packet::{Extension, Packet, Tcp},
    table::{
        CLIENTS, Dataplane as _, FLOWS, Host, Image, Net, SERVERS, Talk, World, chaos::Chaos, client_hop,
        server_hop, tagged,
    },
};

/// Most things that happen in one input.
const ACTS: usize = 64;

/// Most changes of the configuration in one input: writing all maps takes a thousand times as long as a packet.
const CHANGES: usize = 4;

/// Numbers that packets have, so that some are right.
const NUMBERS: [u32; 6] = [1000, 1001, 5000, 5001, 5005, u32::MAX];

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Act {
    /// A frame arrives.
    Send {
        /// Its bytes.
        frame: Vec<u8>,
        /// The interface.
        ingress: u32,
    },
    /// The agent writes its maps.
    Configure(Box<World>),
    /// SYNs flood this CPU.
    Flood,
    /// The agent lists the flow of a client and service as one that is to be closed, if it is in the table.
    Close((SocketAddr, u16)),
}

/// What an input stands for.
#[derive(Clone, Debug)]
pub struct Play {
    /// The world that it begins in.
    pub start: World,
    /// What happens in it.
    pub acts: Vec<Act>,
}

/// One frame, behind a byte that says where it arrives, and of which family the connection is that is established before.
#[must_use]
pub fn frame(data: &[u8]) -> Play {
    let (first, frame) = data.split_first().unwrap_or((&0, &[]));
    let net = if first & 1 == 0 { Net::V4 } else { Net::V6 };
    let start = world(net);
    let talk = start.talk(40000, drawn(net));
    let mut acts = Vec::new();
    for (packet, ingress) in [
        (talk.request(Tcp::syn(1000)), talk.client_hop.ifindex),
        (talk.reply(Tcp::syn_ack(5000, 1001)), talk.server_hop.ifindex),
        (talk.request(Tcp::ack(1001, 5001)), talk.client_hop.ifindex),
    ] {
        acts.push(Act::Send { frame: packet.bytes(), ingress });
    }
    let ingress = if first & 2 == 0 { CLIENTS } else { SERVERS };
    // Twice: what the first leaves behind must not harm the second.
    acts.extend(vec![Act::Send { frame: frame.to_vec(), ingress }; 2]);
    Play { start, acts }
}

/// The backend that the connection of [`frame`] draws: a matter of the hash of its addresses.
fn drawn(net: Net) -> u16 {
    static DRAWN: [OnceLock<u16>; 2] = [const { OnceLock::new() }; 2];
    *DRAWN[usize::from(net == Net::V6)].get_or_init(|| {
        let world = world(net);
        let mut host = Host::new(Image::new(&world));
        let syn = world.talk(40000, 0).request(Tcp::syn(1000));
        host.send(&syn.bytes(), CLIENTS, true, Action::Transmit);
        host.state().half_open.into_values().next().expect("a SYN leaves a half-open flow").backend
    })
}

/// A sequence of packets, plausible ones and others, and of changes of the configuration.
#[must_use]
pub fn packets(data: &[u8]) -> Play {
    let mut bytes = Bytes(data);
    let net = if bytes.next() & 1 == 0 { Net::V4 } else { Net::V6 };
    let start = world(net);
    let (mut now, mut acts, mut changes) = (start.clone(), Vec::new(), 0);
    while !bytes.0.is_empty() && acts.len() < ACTS {
        acts.push(match bytes.next() % 16 {
            0 if changes < CHANGES => {
                changes += 1;
                Act::Configure(Box::new(change(&mut now, &mut bytes)))
            }
            1 => Act::Flood,
            2 => {
                let talk = talk(&now, bytes.next());
                Act::Close((talk.client, talk.service))
            }
            3 => {
                let length = usize::from(bytes.next());
                Act::Send { frame: bytes.take(length), ingress: ingress(&mut bytes) }
            }
            choice => plausible(&now, choice, &mut bytes),
        });
    }
    Play { start, acts }
}

/// Two services and six backends; one of them on the clients' link, one whose next hop nobody knows.
fn world(net: Net) -> World {
    Chaos::new(net, 1).world().clone()
}

/// Bytes of an input; zeroes behind its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    const fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

const fn ingress(bytes: &mut Bytes<'_>) -> u32 {
    if bytes.next() & 1 == 0 { CLIENTS } else { SERVERS }
}

/// Something that an agent would do.
fn change(world: &mut World, bytes: &mut Bytes<'_>) -> World {
    let (what, id) = (bytes.next(), usize::from(bytes.next() % 6));
    match what % 8 {
        0 => world.backends[id] = None,
        1 => world.backends[id] = self::world(world.net).backends.swap_remove(id),
        2 => world.settings.flows4_high = if id.is_multiple_of(2) { 0 } else { FLOWS },
        3 => world.settings.flows6_high = if id.is_multiple_of(2) { 0 } else { FLOWS },
        4 => world.services[0].ring = [&[0, 1, 2][..], &[2, 0], &[1]][id % 3].to_vec(),
        number => {
            if let Some(backend) = &mut world.backends[id] {
                match number {
                    5 => backend.closing = bytes.next() % 3,
                    6 => backend.score.cap = u32::from(bytes.next() % 4),
                    _ => {
                        let flags = [ScoreFlags::DRAIN, ScoreFlags::DOWN, ScoreFlags::EXHAUSTED];
                        backend.score.flags ^= flags[usize::from(bytes.next() % 3)];
                    }
                }
            }
        }
    }
    world.generation += 1;
    world.clone()
}

/// One of few conversations, so that packets meet.
fn talk(world: &World, byte: u8) -> Talk {
    let backend = u16::from(byte % 6);
    let service = u16::from(backend >= 3);
    let n = 10 + byte / 6 % 3;
    // Also a backend that is gone sends on.
    let original = self::world(world.net).backends.swap_remove(usize::from(backend));
    let (server, hop) =
        original.map_or((world.net.server(11, 1), Hop::UNKNOWN), |spec| (spec.addr, spec.hop));
    let tags: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 0x6064)], &[(0x88a8, 7), (0x8100, 8)]];
    Talk {
        client: world.net.client(n, 40000 + u16::from(byte / 18 % 4)),
        client_hop: tagged(client_hop(n), tags[usize::from(n - 10)]),
        vip: world.services[usize::from(service)].vip,
        service,
        backend,
        server,
        server_hop: hop,
        shape: |_| {},
    }
}

/// A packet of a conversation, more or less odd.
fn plausible(world: &World, choice: u8, bytes: &mut Bytes<'_>) -> Act {
    let talk = talk(world, bytes.next());
    let tcp = segment(choice, bytes);
    let how = bytes.next();
    let (mut packet, mut ingress) = if how & 1 == 0 {
        (talk.request(tcp), talk.client_hop.ifindex)
    } else {
        (talk.reply(tcp), if talk.server_hop.is_known() { talk.server_hop.ifindex } else { SERVERS })
    };
    if how & 2 != 0 {
        shape(&mut packet, bytes);
    }
    let mut frame = packet.bytes();
    if how & 4 != 0 {
        for _ in 0..=bytes.next() % 4 {
            let at = usize::from(bytes.next());
            let value = bytes.next();
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
    }
    if how & 8 != 0 {
        frame.truncate(usize::from(bytes.next()));
    }
    if how & 16 != 0 {
        ingress = self::ingress(bytes);
    }
    Act::Send { frame, ingress }
}

fn segment(choice: u8, bytes: &mut Bytes<'_>) -> Tcp {
    let mut number = || NUMBERS[usize::from(bytes.next() % 6)];
    let mut tcp = match choice {
        4 | 5 => Tcp::syn(1000),
        6 | 7 => Tcp::syn_ack(5000, 1001),
        8 | 9 => Tcp::ack(1001, 5001),
        10 => Tcp::data(number(), number(), b"data"),
        11 => Tcp::fin(number(), number()),
        12 => Tcp::rst(number()),
        13 => Tcp::rst_ack(number(), number()),
        14 => Tcp::ack(number(), number()),
        _ => Tcp { flags: bytes.next(), ..Tcp::data(1001, 5001, b"odd") },
    };
    if choice.is_multiple_of(2) {
        tcp.options.clear();
    }
    tcp
}

fn shape(packet: &mut Packet, bytes: &mut Bytes<'_>) {
    let value = bytes.next();
    match value % 6 {
        0 => packet.network.hops = value / 6 % 3,
        1 => packet.network.options = vec![1; 4 * usize::from(value / 6 % 11)],
        2 => packet.network.fragment = (u16::from(value / 6 % 3), value >= 128),
        3 => {
            let one = |n: u8| match n % 5 {
                0 => Extension::hop_by_hop(),
                1 => Extension::destination_options(1 + n / 5 % 39),
                2 => Extension::routing(n / 5 % 2),
                3 => Extension::fragment(u16::from(n / 5 % 2), n >= 128),
                _ => Extension::fragment(0, false),
            };
            packet.network.extensions = (0..value / 6 % 8).map(|_| one(bytes.next())).collect();
        }
        4 => packet.trailer = vec![0; usize::from(value / 6 % 20)],
        _ => {
            packet.link.tags = crate::packet::Ethernet::arriving(&tagged(server_hop(10), &[(0x8100, 1)])).tags
        }
    }
}
