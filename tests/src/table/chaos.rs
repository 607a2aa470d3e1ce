//! Random packets: mostly plausible, often on the same few connections, sometimes damaged.

use balancer_common::abi::{Draw, Hop, ScoreFlags, ServiceFlags};
use fastrand::Rng;

use super::{
    CLIENTS, FLOWS, Net, SERVERS, Talk, World, client_hop,
    scenario::too_big::{Quoted, about_reply, about_request},
    server_hop, tagged,
    world::{BROKER_PORT, VIP_PORT},
};
use crate::packet::{Extension, Packet, Tcp};

/// A source of packets, and of changes to the world they are in.
pub struct Chaos {
    random: Rng,
    world: World,
    /// Whether the flow tables may count as nearly full.
    crowds: bool,
}

/// A frame and the interface it arrives on.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The bytes.
    pub frame: Vec<u8>,
    /// The interface.
    pub ingress: u32,
}

/// Tags of a link.
const TAGS: [&[(u16, u16)]; 4] =
    [&[], &[(0x8100, 0x6064)], &[(0x88a8, 7), (0x8100, 8)], &[(0x8100, 1), (0x8100, 2)]];

impl Chaos {
    /// The packets of one family and seed, always the same. With an even seed the flow tables are nearly full at
    /// times; from the first time on, unknown flows are adopted where others are reset.
    #[must_use]
    pub fn new(net: Net, seed: u64) -> Self {
        let mut world = World::new(net, 6);
        let mut second = world.services[0].clone();
        second.id = 1;
        second.vip = net.vip(2, VIP_PORT);
        second.draw = Draw::Counter;
        second.draws = 1;
        second.ring = vec![3, 4];
        second.standby = vec![5];
        second.flags = ServiceFlags::ADOPT;
        world.services[0].ring = vec![0, 1, 2];
        world.services.push(second);
        for id in 3..6 {
            world.backend(id).service = 1;
        }
        world.backend(1).hop = tagged(server_hop(12), TAGS[1]);
        world.backend(2).hop = Hop { ifindex: CLIENTS, ..tagged(server_hop(13), TAGS[2]) };
        world.backend(4).hop = Hop::UNKNOWN;
        Self { random: Rng::with_seed(seed), world, crowds: seed.is_multiple_of(2) }
    }

    /// The world of the next packets.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Something that an agent would do.
    pub fn change(&mut self) {
        let id = self.random.u16(0..6);
        let flag = [ScoreFlags::DRAIN, ScoreFlags::DOWN, ScoreFlags::EXHAUSTED];
        if self.crowds && self.random.u8(0..4) == 0 {
            let high = if self.random.bool() { 0 } else { FLOWS };
            (self.world.settings.flows4_high, self.world.settings.flows6_high) = (high, high);
        }
        match self.random.u8(0..6) {
            0 if self.world.backends[usize::from(id)].is_some() => {
                self.world.backends[usize::from(id)] = None
            }
            0 | 1 => {
                let fresh = Self::new(self.world.net, 0).world.backends.swap_remove(usize::from(id));
                self.world.backends[usize::from(id)] = fresh;
            }
            2 => {
                let flag = flag[self.random.usize(0..3)];
                if let Some(backend) = &mut self.world.backends[usize::from(id)] {
                    backend.score.flags ^= flag;
                }
            }
            5 => {
                let closing = self.random.u8(0..3);
                if let Some(backend) = &mut self.world.backends[usize::from(id)] {
                    backend.closing = closing;
                }
            }
            3 => {
                let (base, cap) = (self.random.u64(0..100), self.random.u32(0..4));
                if let Some(backend) = &mut self.world.backends[usize::from(id)] {
                    backend.score.base = base;
                    backend.score.cap = cap;
                }
            }
            _ => {
                let rings: [&[u16]; 3] = [&[0, 1, 2], &[2, 0], &[1]];
                self.world.services[0].ring = rings[self.random.usize(0..3)].to_vec();
            }
        }
        self.world.generation += 1;
    }

    /// The next packet.
    pub fn arrival(&mut self) -> Arrival {
        let talk = self.talk();
        let tcp = self.segment();
        let (mut frame, mut ingress) =
            if self.random.u8(0..12) == 0 { self.error(&talk, tcp) } else { self.packet(&talk, tcp) };
        if self.random.u8(0..6) == 0 {
            self.damage(&mut frame);
        }
        if self.random.u8(0..20) == 0 {
            ingress = [CLIENTS, SERVERS][self.random.usize(0..2)];
        }
        Arrival { frame, ingress }
    }

    fn packet(&mut self, talk: &Talk, tcp: Tcp) -> (Vec<u8>, u32) {
        let (mut packet, ingress) = if self.random.u8(0..5) < 3 {
            (talk.request(tcp), talk.client_hop.ifindex)
        } else {
            (talk.reply(tcp), talk.reply_hop().ifindex)
        };
        self.shape(&mut packet);
        (packet.bytes(), ingress)
    }

    /// A router says that such a packet was too big.
    fn error(&mut self, talk: &Talk, tcp: Tcp) -> (Vec<u8>, u32) {
        let len = [8, 20, 1000][self.random.usize(0..3)];
        let quoted = Quoted { tcp, len, ..Quoted::default() };
        if self.random.bool() {
            (about_reply(talk, &quoted).bytes(), talk.client_hop.ifindex)
        } else {
            (about_request(talk, &quoted).bytes(), talk.reply_hop().ifindex)
        }
    }

    /// One of few connections, so that packets meet.
    fn talk(&mut self) -> Talk {
        let net = self.world.net;
        let backend = self.random.u16(0..6);
        let service = u16::from(backend >= 3);
        // Also a backend that is gone sends on.
        let server = net.server(11 + u8::try_from(backend).expect("few backends"), BROKER_PORT);
        let spec = self.world.backends[usize::from(backend)].as_ref();
        let n = self.random.u8(10..13);
        Talk {
            client: net.client(n, 40000 + self.random.u16(0..4)),
            client_hop: tagged(client_hop(n), TAGS[usize::from(n - 10)]),
            vip: self.world.services[usize::from(service)].vip,
            service,
            backend,
            server,
            server_hop: spec.map_or(Hop::UNKNOWN, |spec| spec.hop),
            shape: |_| {},
        }
    }

    /// Few numbers, so that some are right.
    fn segment(&mut self) -> Tcp {
        let seq = |random: &mut Rng| [1000, 1001, 5000, 5001, 5002, random.u32(..)][random.usize(0..6)];
        let (a, b) = (seq(&mut self.random), seq(&mut self.random));
        let mut tcp = match self.random.u8(0..12) {
            0 | 1 => Tcp::syn(1000),
            2 | 3 => Tcp::syn_ack(5000, 1001),
            4 | 5 => Tcp::ack(1001, 5001),
            6 => Tcp::data(a, b, b"data"),
            7 => Tcp::fin(a, b),
            8 => Tcp::rst(a),
            9 => Tcp::rst_ack(a, b),
            10 => Tcp::ack(a, b),
            _ => Tcp { flags: self.random.u8(..), ..Tcp::data(a, b, b"odd") },
        };
        if self.random.bool() {
            tcp.options.clear();
        }
        tcp
    }

    fn shape(&mut self, packet: &mut Packet) {
        match self.random.u8(0..24) {
            0 => packet.network.hops = self.random.u8(0..3),
            1 => packet.network.options = vec![1; 4 * self.random.usize(0..11)],
            2 => packet.network.fragment = (self.random.u16(0..3), self.random.bool()),
            3 => packet.network.extensions = self.extensions(),
            4 => packet.trailer = vec![0; self.random.usize(0..20)],
            5 => packet.link.tags = crate::packet::Ethernet::arriving(&tagged(client_hop(10), TAGS[2])).tags,
            _ => {}
        }
    }

    fn extensions(&mut self) -> Vec<Extension> {
        let one = |random: &mut Rng| match random.u8(0..5) {
            0 => Extension::hop_by_hop(),
            1 => Extension::destination_options(random.u8(1..40)),
            2 => Extension::routing(random.u8(0..2)),
            3 => Extension::fragment(random.u16(0..2), random.bool()),
            _ => Extension::fragment(0, false),
        };
        (0..self.random.usize(0..8)).map(|_| one(&mut self.random)).collect()
    }

    fn damage(&mut self, frame: &mut Vec<u8>) {
        let at = self.random.usize(..frame.len());
        match self.random.u8(0..5) {
            0 => frame.truncate(at.max(1)),
            1 => frame[at] ^= 1 << self.random.u8(0..8),
            2 => frame[at] = self.random.u8(..),
            // The headers, where a byte means most.
            3 => {
                let at = self.random.usize(..frame.len().min(60));
                frame[at] = self.random.u8(..);
            }
            _ => frame.iter_mut().skip(at).for_each(|byte| *byte = self.random.u8(..)),
        }
    }
}
